"""Chainlink's own EACAggregatorProxy, unchanged, with a face of ours as its aggregator.

`@chainlink/contracts` 0.1.4 has the source of the proxy that stands before Chainlink's feeds on Ethereum; it is
compiled with its own compiler, solc 0.6.6.
"""

from __future__ import annotations

from typing import Any

import pytest
from eth_tester.exceptions import TransactionFailed

from oracle.chain.faces import Face
from tests.peers.conftest import EMPTY, PRICE, PRICE_FACES, Place, ask
from tests.peers.solidity import MODULES, compile_file

SOURCE = MODULES / "@chainlink" / "contracts-0.1.4" / "v0.6" / "EACAggregatorProxy.sol"
NOBODY = "0x" + "00" * 20
PHASE = 1 << 64
EACH_FACE = pytest.mark.parametrize("face", PRICE_FACES, ids=lambda face: face.contract)


def theirs_over(place: Place, face: Any) -> Any:
    """Chainlink's proxy, open to all readers."""
    return place.deploy(compile_file(SOURCE, "solc-0.6.6")["EACAggregatorProxy"], face.address, NOBODY)


@EACH_FACE
def test_proxy__over_each_face__answers_as_the_face(place, face):
    for value in (100, 90, 110):
        place.tell(value)
    at = place.face(face)
    proxy = theirs_over(place, at)
    for same in ("latestAnswer", "latestTimestamp", "decimals", "description", "version"):
        assert ask(proxy, same) == ask(at, same), same
    assert (ask(proxy, "latestRound"), ask(proxy, "phaseId")) == (PHASE | 3, 1)
    assert ask(proxy, "aggregator") == ask(proxy, "phaseAggregators", 1) == at.address
    round_, answer, started, updated, answered = ask(proxy, "latestRoundData")
    assert (round_, answered, answer) == (PHASE | 3, PHASE | 3, 110)
    assert 0 < started <= updated <= place.net.chain.now
    assert [answer, started, updated] == ask(at, "latestRoundData")[1:4]


@EACH_FACE
def test_proxy__history__is_the_face_s_with_the_phase_in_the_id(place, face, refused):
    values = (100, 90, 110)
    for value in values:
        place.tell(value)
    at = place.face(face)
    proxy = theirs_over(place, at)
    for round_, value in enumerate(values, 1):
        theirs = ask(at, "getRoundData", round_)
        assert ask(proxy, "getRoundData", PHASE | round_) == [PHASE | round_, *theirs[1:4], PHASE | round_]
        assert ask(proxy, "getAnswer", PHASE | round_) == theirs[1] == value
        assert ask(proxy, "getTimestamp", PHASE | round_) == theirs[3]
    for missing in (0, 4, 2**64 - 1):
        assert (ask(proxy, "getAnswer", PHASE | missing), ask(proxy, "getTimestamp", PHASE | missing)) == (0, 0)
        with refused("No data present"):
            ask(proxy, "getRoundData", PHASE | missing)


@EACH_FACE
def test_proxy__feed_without_a_round__says_so(place, face, refused):
    proxy = theirs_over(place, place.face(face, EMPTY))
    assert ask(proxy, "latestRound") == PHASE
    with refused("No data present"):
        ask(proxy, "latestRoundData")


def test_proxy__next_phase__goes_on_and_keeps_the_old_rounds(place, refused):
    """How Chainlink's users would move to us: our face is proposed, previewed, confirmed; ids keep growing."""
    for value in (100, 110):
        place.tell(value)
    first, second = place.face(Face.FEED), place.face(Face.STRICT)
    proxy = theirs_over(place, first)
    before = ask(proxy, "latestRound")
    with refused("No proposed aggregator present"):
        ask(proxy, "proposedLatestRoundData")
    place.send(proxy.functions.proposeAggregator(second.address))
    assert ask(proxy, "proposedLatestRoundData") == ask(second, "latestRoundData")
    assert ask(proxy, "proposedGetRoundData", 1) == ask(second, "getRoundData", 1)
    place.send(proxy.functions.confirmAggregator(second.address))
    place.tell(120)
    assert (ask(proxy, "phaseId"), ask(proxy, "aggregator")) == (2, second.address)
    assert ask(proxy, "latestRoundData")[:2] == [2 * PHASE | 3, 120]
    assert ask(proxy, "latestRound") > before
    assert ask(proxy, "getRoundData", before)[:2] == [before, 110]
    assert (ask(proxy, "phaseAggregators", 1), ask(proxy, "phaseAggregators", 2)) == (first.address, second.address)


def test_proxy__strict_face_turned_stale__reverts_with_the_face_s_reason(place, refused):
    place.tell(100)
    plain, strict = (theirs_over(place, place.face(face)) for face in (Face.FEED, Face.STRICT))
    place.net.chain.move_to(place.net.chain.now + 10_000)
    assert ask(plain, "latestAnswer") == 100
    for getter in ("latestRoundData", "latestAnswer"):
        with refused("feed: stale"):
            ask(strict, getter)


READ = {
    "latestRoundData", "latestAnswer", "latestTimestamp", "latestRound", "getRoundData", "getAnswer", "getTimestamp",
    "decimals", "description", "version", "aggregator", "phaseId", "phaseAggregators", "proposedAggregator",
    "proposedLatestRoundData", "proposedGetRoundData", "owner",
}  # fmt: skip
"""All that can be read from Chainlink's proxy but for its access list."""
SERIES = [(face, PRICE, 0) for face in PRICE_FACES] + [(Face.FORECAST, 2, 1), (Face.EVENT, 4, 1)]
"""Face, feed number, component."""
IDS = (0, 1, 2, 3, 2**64 - 1, PHASE, PHASE | 1, PHASE | 2, PHASE | 3, 2 * PHASE | 1, 2**80 - 1)


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series[0].contract)
@pytest.mark.parametrize("rounds", [0, 2])
def test_our_proxy__beside_theirs_over_one_face__answers_the_same(place, series, rounds):
    """Every getter, with usual and senseless arguments: the same answer, or both refuse."""
    for value in range(100, 100 + rounds):
        place.tell(value)
    face = place.face(*series)
    ours, theirs = place.proxy(face), theirs_over(place, face)
    getters = {e["name"]: e["inputs"] for e in theirs.abi if e.get("stateMutability") == "view"}
    assert set(getters) - READ == {"accessController"}
    for name in READ:
        if not getters[name]:
            assert told(ours, name) == told(theirs, name), name
        for given in IDS if getters[name] else ():
            if given < 2 ** int(getters[name][0]["type"].removeprefix("uint")):
                assert told(ours, name, given) == told(theirs, name, given), (name, given)


def told(contract: Any, name: str, *arguments: int) -> Any:
    try:
        return ask(contract, name, *arguments)
    except TransactionFailed:
        return "refused"
