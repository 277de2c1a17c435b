"""ForecastFeed and EventFeed: one component of a vector as a feed of its own, and the whole vector in one call."""

from __future__ import annotations

import pytest

from contracts import constant_int
from oracle.chain.deploy import list_feeds, send
from oracle.chain.faces import Face, create_face
from oracle.chain.localnet import event_spec, sample_words
from oracle.consensus.words import FeedWord, pack_vector, pack_word
from tests.contracts.faces.conftest import EVENT, FORECAST, OUTCOME, QUANTILE

LEVELS = (1, 5, 10, 25, 50, 75, 90, 95, 99)
QUANTILES = [-(2**23), -99, -9, -1, 0, 1, 9, 99, 2**23 - 1]
VECTOR, FINAL, INVALID = (constant_int(f"FLAG_{name}") for name in ("VECTOR", "FINAL", "INVALID"))
ID = b"question 4".ljust(32, b"\0")


def spec_of(net, number: int):
    return next(feed for feed in net.active.feeds if feed.number == number)


def tell(net, words: dict[int, int]):
    draft = net.draft(sample_words(net.active.feeds, 300) | words)
    net.transmit(net.blob(draft))
    return draft


def decide(net, outcome: int, flags: int = FINAL | VECTOR) -> None:
    vector = [10_000 if place == outcome else 0 for place in range(3)]
    word = pack_word(FeedWord(EVENT, outcome, 0, 10_000, flags))
    tell(net, {EVENT: word, EVENT + 1: pack_vector(spec_of(net, EVENT), vector)})


def test_forecast_feed__each_quantile__is_a_feed_of_its_own(net, made, told, ask):
    draft = tell(net, {FORECAST + 1: pack_vector(spec_of(net, FORECAST), QUANTILES)})
    for place, (level, value) in enumerate(zip(LEVELS, QUANTILES, strict=True)):
        face = create_face(net.chain.w3, made.factory, net.core.owner, Face.FORECAST, FORECAST, place)
        assert (ask(face, "component"), ask(face, "level"), ask(face, "decimals")) == (place, level, 6)
        assert ask(face, "description") == f"S2 / USD forecast 3600 s, {level} % quantile"
        assert (ask(face, "latestAnswer"), ask(face, "getAnswer", 3)) == (value, value)
        assert ask(face, "getAnswer", 2) == 1_000 * (place - 4)
        assert list(ask(face, "latestRoundData"))[:3] == [3, value, draft.observed_at]
        assert list(ask(face, "quantiles")) == [3, draft.observed_at, QUANTILES]
        assert list(ask(face, "latestVector")) == [3, QUANTILES]


def test_event_feed__each_outcome__is_a_feed_of_its_own(net, made, told, ask):
    shares = [2_500, 7_499, 1]
    draft = tell(net, {EVENT + 1: pack_vector(spec_of(net, EVENT), shares)})
    for outcome, share in enumerate(shares):
        face = create_face(net.chain.w3, made.factory, net.core.owner, Face.EVENT, EVENT, outcome)
        assert (ask(face, "component"), ask(face, "decimals"), ask(face, "outcomes")) == (outcome, 4, 3)
        assert ask(face, "description") == f"outcome {outcome} of event 0x{ID.hex()}"
        assert (ask(face, "latestAnswer"), ask(face, "getAnswer", 3)) == (share, share)
        assert list(ask(face, "latestRoundData"))[:3] == [3, share, draft.observed_at]
        assert list(ask(face, "probabilities")) == [3, draft.observed_at, shares]


def test_identity__faces_of_one_series__shared_by_scalars_alone(made, ask):
    identity = {face: ask(at, "identity") for face, at in made.faces.items()}
    assert identity[Face.FEED] == identity[Face.STRICT] == identity[Face.POSITIVE]
    assert len(set(identity.values())) == 3
    assert {ask(made.faces[face], "component") for face in (Face.FEED, Face.STRICT, Face.POSITIVE)} == {2**256 - 1}


def test_component__round_without_a_vector__is_unknown_to_the_face(net, made, told, ask, reverts):
    """A quorum may sign a scalar without its vector: the Feed has the round, the face of a component has none."""
    tell(net, {FORECAST: pack_word(FeedWord(FORECAST, 5, 0, 9_000, 0)), FORECAST + 1: 0})
    face = made.faces[Face.FORECAST]
    assert ask(face, "latestRound") == 3 and ask(face, "status") == 0
    assert (ask(face, "getAnswer", 3), ask(face, "getTimestamp", 3)) == (0, 0)
    for name, *arguments in [
        ("getRoundData", 3), ("latestRoundData",), ("latestAnswer",), ("latestTimestamp",), ("quantiles",),
    ]:  # fmt: skip
        with reverts("No data present"):
            ask(face, name, *arguments)
    assert ask(face, "getAnswer", 2) == 1_000 * (QUANTILE - 4)
    receipt = send(net.chain.w3, face.functions.sync(), net.core.owner)
    assert (len(receipt["logs"]), ask(face, "lastSynced")) == (4, 3)


def test_resolved__event_decided__final_with_its_outcome(net, made, told, ask):
    face = made.faces[Face.EVENT]
    assert list(ask(face, "resolved")) == [False, 204]
    decide(net, OUTCOME)
    assert list(ask(face, "resolved")) == [True, OUTCOME]
    net.chain.move_to(net.chain.now + 10**7)
    assert list(ask(face, "resolved")) == [True, OUTCOME], "a decision does not age"


def test_resolved__before_the_first_round__is_not_decided(made, ask):
    assert list(ask(made.faces[Face.EVENT], "resolved")) == [False, 0]


def test_resolved__paused_or_taken_back_as_invalid__reverts(net, made, told, ask, reverts):
    face, aggregator = made.faces[Face.EVENT], net.core.aggregator.functions
    decide(net, OUTCOME)
    with net.chain.rewound():
        send(net.chain.w3, aggregator.setGuardian(net.core.owner), net.core.owner)
        send(net.chain.w3, aggregator.pause(EVENT), net.core.owner)
        with reverts("feed: paused"):
            ask(face, "resolved")
    net.chain.move_to(net.chain.now + 60)
    decide(net, OUTCOME, VECTOR | INVALID)
    with reverts("feed: invalid"):
        ask(face, "resolved")


@pytest.mark.parametrize("outcomes", [2, 16])
def test_event_feed__id_of_any_bytes__described_in_hex(net, made, ask, outcomes):
    name = bytes(range(0xE0, 0x100))
    list_feeds(net.chain.w3, net.core, [event_spec(12, outcomes, base=name)])
    face = create_face(net.chain.w3, made.factory, net.core.owner, Face.EVENT, 12, outcomes - 1)
    assert ask(face, "description") == f"outcome {outcomes - 1} of event 0x{name.hex()}"
    assert ask(face, "base") == name
