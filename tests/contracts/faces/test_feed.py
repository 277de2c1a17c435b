"""The plain Feed: AggregatorV2V3 with real history, and what only our feeds show. Its states: test_states.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import constant_int
from oracle.chain.deploy import TransactionReverted, list_feeds, send
from oracle.chain.faces import Face, create_face, create_proxy
from oracle.chain.localnet import name32, price_spec, sample_words
from oracle.consensus.words import FeedWord, pack_confidence, pack_vector, pack_word, unpack_confidence

FAST = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


def test_feed__unlisted_number__cannot_be_made(net):
    with pytest.raises(TransactionReverted):
        net.face(3)


TERMS = {
    "heartbeat": "heartbeat", "deviation": "deviation", "jump": "jump", "vetoBand": "veto_band",
    "maxDispersion": "max_dispersion", "minSources": "min_sources", "minObservers": "min_observers",
    "maxFamilyShare": "max_family_share", "methodology": "methodology", "sourceList": "sources",
}  # fmt: skip


def test_feed_table__every_field__readable_and_changed_by_the_next_config(net, ask):
    face = net.face(1)
    first = price_spec(1)
    second = price_spec(
        1, heartbeat=7_200, deviation=1, jump=2, veto_band=3, max_dispersion=4, min_sources=5, min_observers=3,
        max_family_share=6_000, methodology=name32("new method"), sources=name32("new list"), min_value=-9, max_value=9,
    )  # fmt: skip
    shown = {name: getattr(first, field) for name, field in TERMS.items()}
    list_feeds(net.chain.w3, net.core, [second])
    assert {name: ask(face, name) for name in TERMS} == shown
    assert list(ask(face, "bounds")) == [1, 10**20]
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    assert {name: ask(face, name) for name in TERMS} == {name: getattr(second, field) for name, field in TERMS.items()}
    assert list(ask(face, "bounds")) == [-9, 9]


def test_feed_table__listed_but_in_no_config_yet__reverts_and_the_rest_works(net, ask, reverts):
    list_feeds(net.chain.w3, net.core, [price_spec(20)])
    face = net.face(20)
    for name in [*TERMS, "bounds"]:
        with reverts("configurator: unknown feed"):
            ask(face, name)
    assert (ask(face, "description"), ask(face, "retiresAt"), ask(face, "latestAnswer")) == ("S20 / USD", 0, 0)
    assert ask(face, "status") == constant_int("STATUS_EMPTY") | constant_int("STATUS_STALE")


@pytest.mark.parametrize(("late", "stale"), [(0, False), (3_600 + 150, False), (3_600 + 151, True)])
def test_is_stale__age_against_heartbeat_and_report_age__told(net, told, ask, late, stale):
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


ROUNDS = st.one_of(st.integers(0, 4), st.integers(0, 2**80 - 1), st.integers(0, 2**256 - 1))
PHASES = st.one_of(st.integers(0, 3), st.integers(0, 2**16 - 1))


@FAST
@given(round_=ROUNDS, phase=PHASES, face=st.sampled_from(Face))
def test_history__any_round_id__known_or_zero_and_no_data(net, made, told, ask, reverts, round_, phase, face):
    """Two rounds are known at the face, and behind the proxy the same two in phase 1."""
    through_proxy = phase << 64 | round_ % 2**64
    for at, id_, known in (
        (made.faces[face], round_, round_ in (1, 2)),
        (made.proxies[face], through_proxy, phase == 1 and round_ % 2**64 in (1, 2)),
    ):
        assert (ask(at, "getTimestamp", id_) != 0) == known
        assert (ask(at, "getAnswer", id_) != 0) == known
        if known:
            assert ask(at, "getRoundData", id_)[0] == id_
        elif id_ < 2**80:
            with reverts("No data present"):
                ask(at, "getRoundData", id_)


@pytest.fixture(scope="module")
def scales(made, first_net):
    """The network with one more price at each scale, decimals 0..18, and a Feed of each, in the order of decimals."""
    taken, net = first_net.chain.snapshot(), replace(first_net)
    w3, anyone = net.chain.w3, net.chain.accounts[-1]
    specs = [price_spec(100 + places, decimals=places, base=name32("X"), max_value=10**30) for places in range(19)]
    list_feeds(w3, net.core, specs)
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    yield net, [create_face(w3, made.factory, anyone, Face.FEED, spec.number) for spec in specs]
    first_net.chain.revert(taken)


@settings(FAST, max_examples=10)
@given(data=st.data())
def test_decimals__any_value_at_0_to_18__comes_through_at_the_feeds_scale(scales, ask, data):
    net, faces = scales
    values = data.draw(st.lists(st.integers(-(10**30), 10**30), min_size=19, max_size=19))
    words = {100 + places: pack_word(FeedWord(100 + places, value, 1, 9_000, 0)) for places, value in enumerate(values)}
    with net.chain.rewound():
        net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 1) | words)))
        assert [ask(face, "latestAnswer") for face in faces] == values
        assert [ask(face, "decimals") for face in faces] == list(range(19))


@FAST
@given(first=st.integers(0, 18), second=st.integers(0, 18))
def test_decimals__proxy_offered_another_scale__refuses(scales, made, ask, reverts, first, second):
    net, faces = scales
    w3, anyone = net.chain.w3, net.chain.accounts[-1]
    with net.chain.rewound():
        proxy = create_proxy(w3, made.factory, anyone, faces[first].address, made.owner)
        assert ask(proxy, "decimals") == first
        offer = proxy.functions.proposeAggregator(faces[second].address)
        if first == second:
            send(w3, offer, made.owner)
        else:
            with reverts("proxy: another series"):
                offer.call({"from": made.owner})
