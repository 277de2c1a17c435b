"""The Feed face: AggregatorV2V3 with real history, and what only our feeds show."""

from __future__ import annotations

import pytest

from contracts import constant_int
from oracle.chain.deploy import TransactionReverted
from oracle.chain.localnet import sample_words
from oracle.consensus.words import FeedWord, pack_confidence, pack_vector, pack_word, unpack_confidence

V2V3 = {
    "latestAnswer", "latestTimestamp", "latestRound", "getAnswer", "getTimestamp", "decimals", "description", "version",
    "getRoundData", "latestRoundData",
}  # fmt: skip


@pytest.fixture
def told(net):
    """Two rounds of every feed: 100 + number, then 200 + number."""
    drafts = []
    for value in (100, 200):
        drafts.append(net.draft(sample_words(net.active.feeds, value), late=2))
        net.chain.move_to(drafts[-1].observed_at + 5)
        net.transmit(net.blob(drafts[-1]))
        net.chain.move_to(net.chain.now + 60)
    return drafts


def test_feed__v3__answers_every_round(net, told, ask):
    face = net.face(1)
    for round_, (draft, value) in enumerate(zip(told, (101, 201), strict=True), start=1):
        expected = [round_, value, draft.observed_at, draft.observed_at + 5, round_]
        assert list(ask(face, "getRoundData", round_)) == expected
    assert list(ask(face, "latestRoundData")) == expected


def test_feed__v2__answers_every_round(net, told, ask):
    face = net.face(1)
    assert [ask(face, "getAnswer", round_) for round_ in (1, 2)] == [101, 201]
    assert [ask(face, "getTimestamp", round_) for round_ in (1, 2)] == [draft.observed_at + 5 for draft in told]
    assert (ask(face, "latestAnswer"), ask(face, "latestRound")) == (201, 2)
    assert ask(face, "latestTimestamp") == told[1].observed_at + 5
    assert [ask(face, "slotOf", round_) for round_ in (1, 2, 3)] == [told[0].slot, told[1].slot, 0]


def test_feed__unknown_round__v2_is_zero_and_v3_reverts(net, told, ask, reverts):
    face = net.face(1)
    for round_ in (0, 3, 2**64):
        assert (ask(face, "getAnswer", round_), ask(face, "getTimestamp", round_)) == (0, 0)
        with reverts("No data present"):
            ask(face, "getRoundData", round_)


def test_feed__before_the_first_round__is_empty(net, ask, reverts):
    face = net.face(1)
    assert (ask(face, "latestAnswer"), ask(face, "latestTimestamp"), ask(face, "latestRound")) == (0, 0, 0)
    assert ask(face, "isStale")
    assert list(ask(face, "latestVector")) == [0, []]
    with reverts("No data present"):
        ask(face, "latestRoundData")


def test_feed__identity__is_that_of_the_spec(net, ask):
    price, forecast, event = net.face(1), net.face(2), net.face(4)
    assert [ask(face, "description") for face in (price, forecast, event)] == [
        "S1 / USD", "S2 / USD forecast 3600 s", "event",
    ]  # fmt: skip
    assert [ask(face, "kind") for face in (price, forecast, event)] == [0, 1, 2]
    assert [ask(face, "decimals") for face in (price, forecast, event)] == [8, 6, 0]
    assert [ask(face, "horizon") for face in (price, forecast, event)] == [0, 3600, 0]
    assert [ask(face, "outcomes") for face in (price, forecast, event)] == [0, 0, 3]
    assert ask(price, "base") == b"S1".ljust(32, b"\0")
    assert (ask(price, "quote"), ask(event, "quote")) == (b"USD".ljust(32, b"\0"), bytes(32))
    assert (ask(price, "heartbeat"), ask(price, "deviation")) == (3600, 5000)
    assert list(ask(price, "bounds")) == [1, 10**20]
    assert ask(price, "aggregator") == net.core.aggregator.address
    assert (ask(price, "number"), ask(price, "version")) == (1, 1)


def test_feed__interface__holds_every_view_of_v2_and_v3(net):
    face = net.face(1)
    names = {entry["name"] for entry in face.abi if entry["type"] == "function"}
    assert names >= V2V3
    assert all(entry["stateMutability"] == "view" for entry in face.abi if entry["type"] == "function")


def test_feed__unlisted_number__cannot_be_made(net):
    with pytest.raises(TransactionReverted):
        net.face(3)


@pytest.mark.parametrize(("late", "stale"), [(0, False), (3_600, False), (3_601, True)])
def test_is_stale__age_against_heartbeat__told(net, told, ask, late, stale):
    face = net.face(1)
    net.chain.move_to(told[1].observed_at + max(late, 70))
    assert ask(face, "isStale") is stale


def test_quality__of_the_newest_round__is_readable(net, ask):
    word = FeedWord(1, -5, 123_456_789_012, 7_777, constant_int("FLAG_OUT_OF_BOUNDS"))
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 100) | {1: pack_word(word)})))
    face = net.face(1)
    assert ask(face, "confidence") == unpack_confidence(pack_confidence(123_456_789_012))
    assert (ask(face, "turnout"), ask(face, "flags")) == (7_777, constant_int("FLAG_OUT_OF_BOUNDS"))
    assert ask(face, "latestAnswer") == -5
    assert not ask(face, "invalid")


def test_invalid__report_after_a_good_one__keeps_the_round_and_tells(net, told, ask):
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 300, constant_int("FLAG_INVALID")))))
    face = net.face(1)
    assert (ask(face, "latestAnswer"), ask(face, "latestRound"), ask(face, "invalid")) == (201, 2, True)


def test_vector__forecast__signed_quantiles_of_each_round(net, told, ask):
    face = net.face(2)
    quantiles = [-(2**23), -9, -1, 0, 1, 9, 99, 999, 2**23 - 1]
    spec = next(feed for feed in net.active.feeds if feed.number == 2)
    words = sample_words(net.active.feeds, 300) | {3: pack_vector(spec, quantiles)}
    net.transmit(net.blob(net.draft(words)))
    assert list(ask(face, "latestVector")) == [3, quantiles] == [3, ask(face, "vector", 3)]
    assert ask(face, "vector", 2) == [1000 * step for step in range(-4, 5)]
    assert ask(face, "vector", 4) == [] == ask(net.face(1), "vector", 1)


def test_vector__event__probabilities_and_resolution(net, told, ask):
    face, spec = net.face(4), next(feed for feed in net.active.feeds if feed.number == 4)
    assert sum(ask(face, "vector", 1)) == 10_000
    assert list(ask(face, "resolved")) == [False, 204]
    flags = constant_int("FLAG_FINAL") | constant_int("FLAG_VECTOR")
    words = sample_words(net.active.feeds, 300) | {
        4: pack_word(FeedWord(4, 1, 0, 10_000, flags)), 5: pack_vector(spec, [0, 10_000, 0])
    }  # fmt: skip
    net.transmit(net.blob(net.draft(words)))
    assert list(ask(face, "resolved")) == [True, 1]
    assert ask(face, "vector", 3) == [0, 10_000, 0]
    assert ask(net.face(1), "resolved")[0] is False
