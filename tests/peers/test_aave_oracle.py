"""Aave v3's own AaveOracle, as it is in the npm package of its contracts, with our faces as price sources.

It reads `latestAnswer` and asks its fallback oracle when that is 0 or less; the fallback here is the settable
PriceOracle of the same package.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from oracle.chain.faces import Face
from tests.peers.conftest import EMPTY, PRICE, Place, ask
from tests.peers.solidity import MODULES, Built

ARTIFACTS = MODULES / "@aave" / "core-v3" / "artifacts" / "contracts"
NOBODY = "0x" + "00" * 20
USD_UNIT = 10**8
FALLBACK_PRICE = 77
INVALID = 1
REASONS = {
    "stale": "feed: stale", "invalid": "feed: invalid", "paused": "feed: paused", "no round": "No data present",
}  # fmt: skip
"""What the strict face says in each state."""


def published(path: str) -> Built:
    """What Aave compiled."""
    told = json.loads((ARTIFACTS / f"{path}.sol" / f"{path.split('/')[-1]}.json").read_text(encoding="utf-8"))
    return Built(told["abi"], told["bytecode"])


def oracle_over(place: Place, face: Face, number: int = PRICE) -> tuple[Any, str]:
    """An AaveOracle for one asset with our face as its source, and that asset."""
    asset = place.net.chain.accounts[50]
    fallback = place.deploy(published("mocks/oracle/PriceOracle"))
    place.send(fallback.functions.setAssetPrice(asset, FALLBACK_PRICE))
    source = place.face(face, number).address
    given = (place.net.chain.accounts[51], [asset], [source], fallback.address, NOBODY, USD_UNIT)
    return place.deploy(published("misc/AaveOracle"), *given), asset


@pytest.mark.parametrize("face", [Face.FEED, Face.STRICT, Face.POSITIVE], ids=lambda face: face.contract)
def test_aave__fresh_price__is_the_face_s(place, face):
    place.tell(123_456)
    oracle, asset = oracle_over(place, face)
    assert ask(oracle, "getAssetPrice", asset) == 123_456
    assert ask(oracle, "getAssetsPrices", [asset, NOBODY]) == [123_456, USD_UNIT]


@pytest.mark.parametrize(("state", "reason"), REASONS.items())
def test_aave__price_that_cannot_be_relied_on__positive_asks_the_fallback_and_strict_reverts(
    place, refused, state, reason
):
    number = EMPTY if state == "no round" else PRICE
    place.tell(100)
    positive, asset = oracle_over(place, Face.POSITIVE, number)
    strict, _ = oracle_over(place, Face.STRICT, number)
    bring_about(place, state)
    assert ask(positive, "getAssetPrice", asset) == FALLBACK_PRICE
    with refused(reason):
        ask(strict, "getAssetPrice", asset)


def bring_about(place: Place, state: str) -> None:
    if state == "stale":
        place.net.chain.move_to(place.net.chain.now + 10_000)
    elif state == "invalid":
        place.tell(999, flags=INVALID)
    elif state == "paused":
        place.send(place.net.core.aggregator.functions.setGuardian(place.net.core.owner))
        place.send(place.net.core.aggregator.functions.pause(PRICE))


def test_aave__recovered_price__is_the_face_s_again(place):
    place.tell(100)
    oracle, asset = oracle_over(place, Face.POSITIVE)
    bring_about(place, "invalid")
    assert ask(oracle, "getAssetPrice", asset) == FALLBACK_PRICE
    place.tell(101)
    assert ask(oracle, "getAssetPrice", asset) == 101


def test_aave__plain_feed__knows_no_staleness_but_asks_the_fallback_before_the_first_round(place):
    """Why Aave is to be given a PositiveFeed."""
    place.tell(100)
    oracle, asset = oracle_over(place, Face.FEED)
    bring_about(place, "stale")
    assert ask(oracle, "getAssetPrice", asset) == 100
    empty, _ = oracle_over(place, Face.FEED, EMPTY)
    assert ask(empty, "getAssetPrice", asset) == FALLBACK_PRICE
