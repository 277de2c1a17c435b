"""Python and Vyper agree: digests, effective stakes, words, trees. Inputs by Hypothesis."""

from __future__ import annotations

from dataclasses import astuple, replace
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contracts import constant_str
from oracle.chain.deploy import list_feeds, send
from oracle.chain.localnet import MINUTE, LocalChain, LocalNet, event_spec, forecast_spec, price_spec, sample_words
from oracle.consensus.messages import Report
from oracle.consensus.network import FeedSpec, effective_stakes
from oracle.consensus.words import FeedWord, pack_confidence, pack_vector, pack_word, unpack_word
from oracle.keys import possession_digest
from tests.contracts.mock_code import deploy_mock

# No shrinking: an example on a chain is slow, and the first failing one tells enough.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
FAST = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=PHASES
)
UINT32, UINT64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
HASH = st.binary(min_size=32, max_size=32)
STAKE = st.one_of(st.integers(1, 20), st.integers(1, 2**96 - 1))


@FAST
@given(slot=UINT32, observed_at=UINT64, root=HASH)
def test_report_digest__any_report__same_in_vyper(net, ask, slot, observed_at, root):
    ours = Report(net.active.digest, slot, observed_at, root).digest(net.active)
    assert ask(net.core.aggregator, "reportDigest", net.active.digest, slot, observed_at, root) == ours


@FAST
@given(owner=st.binary(min_size=20, max_size=20), key=st.binary(min_size=20, max_size=20))
def test_registration_digest__any_owner_and_key__same_in_vyper(net, ask, owner, key):
    staking = net.core.staking
    ours = possession_digest(net.active.chain_id, bytes.fromhex(staking.address[2:]), owner, key, 0)
    checksum = net.chain.w3.to_checksum_address
    assert ask(staking, "registrationDigest", checksum(owner), checksum(key)) == ours


def test_domains__both_contracts__are_the_constants(net, ask):
    version = constant_str("DOMAIN_VERSION")
    for contract, name in ((net.core.aggregator, "DOMAIN_NAME"), (net.core.staking, "STAKING_DOMAIN_NAME")):
        fields = ask(contract, "eip712Domain")
        assert list(fields[1:5]) == [constant_str(name), version, net.active.chain_id, contract.address]


@FAST
@given(stakes=st.lists(STAKE, max_size=64))
def test_effective_stakes__asked_of_the_configurator__are_those_of_python(net, ask, stakes):
    ordered = sorted(stakes, reverse=True)
    assert ask(net.core.configurator, "effectiveStakes", ordered) == effective_stakes(ordered)


def test_effective_stakes__not_sorted_or_too_large__reverts(net, ask, reverts):
    for stakes in ([1, 2], [5, 5, 6], [2**96]):
        with reverts("configurator: not sorted"):
            ask(net.core.configurator, "effectiveStakes", stakes)


@settings(FAST, max_examples=40)
@given(stakes=st.lists(STAKE, max_size=64))
def test_effective_stakes__any_table__same_in_vyper(stake_cap, ask, stakes):
    ordered = sorted(stakes, reverse=True)
    assert ask(stake_cap, "effectiveStakes", ordered) == effective_stakes(ordered)


@pytest.fixture(scope="module")
def stake_cap(first_net):
    with first_net.chain.rewound():
        yield deploy_mock(first_net.chain.w3, first_net.chain.accounts[0], "StakeCapMock")


@settings(FAST, max_examples=100)
@given(stakes=st.lists(STAKE, min_size=4, max_size=64))
def test_effective_stakes__four_or_more__nobody_above_the_cap(stakes):
    """The cap is a fixed point up to rounding down: no row above 30 % of the sum, and none may veto."""
    capped = effective_stakes(stakes)
    share = Fraction(max(capped), sum(capped))
    assert share <= Fraction(3, 10) or max(capped) - Fraction(3, 10) * sum(capped) < 2
    assert all(weight <= stake for weight, stake in zip(capped, stakes, strict=True))
    smallest = min(stakes)
    assert min(capped) >= min(smallest, max(capped))


@st.composite
def specs(draw) -> FeedSpec:
    """A spec for feed 40 with every field free within its type."""
    make = draw(st.sampled_from([price_spec, forecast_spec, event_spec]))
    base = make(40)
    low = draw(st.integers(-(2**127), 2**127 - 1))
    return replace(
        base, decimals=draw(st.integers(0, 36)), heartbeat=draw(st.integers(1, 2**32 - 1)), deviation=draw(UINT32),
        min_value=low, max_value=draw(st.integers(low, 2**127 - 1)), max_dispersion=draw(UINT32), jump=draw(UINT32),
        veto_band=draw(UINT32), min_sources=draw(st.integers(1, 64)), max_family_share=draw(st.integers(0, 10_000)),
        methodology=draw(HASH), sources=draw(HASH), horizon=draw(st.integers(1, 2**32 - 1)) if base.horizon else 0,
    )  # fmt: skip


@settings(FAST, max_examples=4)
@given(spec=specs(), grace=st.integers(0, 59_999), stage=st.integers(0, 59_999), age=st.integers(1, 600))
def test_config_digest__any_spec_and_timing__same_in_vyper(net, ask, spec, grace, stage, age):
    """`read_config` rebuilds the config from the views; its digest is computed in Python alone."""
    with net.chain.rewound():
        timing = replace(MINUTE, grace_ms=grace, stage_ms=stage, max_report_age=age)
        send(net.chain.w3, net.core.configurator.functions.stageTiming(astuple(timing)), net.core.owner)
        list_feeds(net.chain.w3, net.core, [spec])
        net.chain.move_to(net.chain.now + 1_000)
        config = net.roll()
        assert config.feed(40) == spec
        assert ask(net.core.configurator, "configOf", 2)[12:15] == (config.table_hash, config.feeds_hash, config.digest)


@settings(FAST, max_examples=15)
@given(
    value=st.integers(-(2**127), 2**127 - 1), confidence=st.one_of(st.integers(0, 2**33), st.integers(0, 10**40)),
    turnout=st.integers(0, 10_000), flags=st.sampled_from([0, 2, 4, 8, 16, 32]),
)  # fmt: skip
def test_word__any_value__read_back_by_the_face(net, price_face, ask, value, confidence, turnout, flags):
    with net.chain.rewound():
        word = FeedWord(1, value, confidence, turnout, flags)
        net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 1) | {1: pack_word(word)})))
        read = unpack_word(ask(net.core.aggregator, "latest", 1)[1])
        assert (ask(price_face, "latestAnswer"), ask(price_face, "turnout"), ask(price_face, "flags")) == (
            value, turnout, flags,
        )  # fmt: skip
        assert ask(price_face, "confidence") == read.confidence >= confidence
        assert pack_confidence(read.confidence) == pack_confidence(confidence)


@pytest.fixture
def price_face(net):
    return net.face(1)


@settings(FAST, max_examples=10)
@given(data=st.data())
def test_vectors__any_components__read_back_by_the_face(net, vector_faces, ask, data):
    with net.chain.rewound():
        forecast, event = (next(feed for feed in net.active.feeds if feed.number == number) for number in (2, 4))
        quantiles = sorted(data.draw(st.lists(st.integers(-(2**23), 2**23 - 1), min_size=9, max_size=9)))
        first = data.draw(st.integers(0, 10_000))
        second = data.draw(st.integers(0, 10_000 - first))
        shares = [first, second, 10_000 - first - second]
        vectors = {3: pack_vector(forecast, quantiles), 5: pack_vector(event, shares)}
        net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 1) | vectors)))
        assert [ask(face, "vector", 1) for face in vector_faces] == [quantiles, shares]


@pytest.fixture
def vector_faces(net):
    return net.face(2), net.face(4)


@pytest.fixture(scope="module")
def forest() -> list[tuple[int, LocalNet]]:
    """Networks with 1, 2, 3, 5, 7, 12 and 32 pages, side by side on one chain."""
    chain = LocalChain()
    return [
        (count, LocalNet.start([4, 3, 2, 1], [price_spec(4 * page + page % 4) for page in range(count)], chain=chain))
        for count in (1, 2, 3, 5, 7, 12, 32)
    ]


@settings(FAST, max_examples=40)
@given(data=st.data())
def test_multiproof__any_pages_of_any_tree__accepted_by_vyper(forest, ask, data):
    count, net = data.draw(st.sampled_from(forest))
    assert len(net.active.pages) == count
    chosen = data.draw(st.integers(1, (1 << count) - 1))
    draft = net.draft(sample_words(net.active.feeds, data.draw(st.integers(0, 2**100))))
    assert ask(net.core.aggregator, "transmit", net.blob(draft, chosen=chosen)) == chosen.bit_count()


def test_multiproof__every_single_page_and_all__accepted_by_vyper(forest, ask):
    for count, net in forest:
        draft = net.draft(sample_words(net.active.feeds, 5))
        for chosen in {1, 1 << (count - 1), (1 << count) - 1, 1 << (count // 2)}:
            assert ask(net.core.aggregator, "transmit", net.blob(draft, chosen=chosen)) == chosen.bit_count()
