"""Valid consensus input by construction: configs, observations, messages."""

from hypothesis import strategies as st

from oracle.consensus.aggregate import leading, rescale
from oracle.consensus.messages import (
    Attestation,
    FeedObservation,
    Observation,
    Proposal,
    ProposalRequest,
    Report,
    SignedObservation,
    SignedProposal,
)
from oracle.consensus.network import INT128, FeedKind
from oracle.consensus.simulate_world import small_config

CONFIG = small_config((40, 30, 20, 10))
SLOT = 50
hashes = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
int128s = st.integers(-INT128, INT128 - 1)
stakes = st.integers(1, 2**96 - 1)
stake_lists = st.one_of(st.lists(stakes, min_size=1, max_size=64), st.lists(st.integers(1, 50), min_size=1, max_size=9))


@st.composite
def feed_observations(draw, spec):
    value, components = draw(int128s), ()
    if spec.kind is FeedKind.FORECAST:
        quantiles = st.lists(st.integers(-(2**23), 2**23 - 1), min_size=9, max_size=9)
        components = tuple(draw(quantiles))
        value = components[4]
    if spec.kind is FeedKind.EVENT:
        parts = draw(st.lists(st.integers(0, 1000), min_size=spec.outcomes, max_size=spec.outcomes))
        components = rescale(parts)
        value = leading(components)
    return FeedObservation(
        feed=spec.number,
        value=value,
        confidence=draw(st.integers(0, INT128 - 1)),
        previous=draw(st.tuples(st.none() | int128s, st.none() | int128s)),
        sources=draw(st.integers(0, 2**64 - 1)),
        family_share=draw(st.integers(0, 10_000)),
        outside_run=draw(st.integers(-127, 127)),
        components=components,
        resolved=spec.kind is FeedKind.EVENT and draw(st.booleans()),
    )


@st.composite
def observations(draw, config=CONFIG, slot=SLOT):
    values = tuple(draw(st.none() | feed_observations(spec)) for spec in config.feeds)
    start = config.slot_start_ms(slot) // 1000
    observed_at = draw(st.integers(start, start + config.slot_seconds - 1))
    return Observation(config.digest, slot, observed_at, values, draw(hashes))


@st.composite
def signed_observations(draw, config=CONFIG, slot=SLOT, signer=None):
    row = draw(st.integers(0, len(config.rows) - 1)) if signer is None else signer
    return SignedObservation(draw(observations(config, slot)), row, draw(signatures))


@st.composite
def proposals(draw, config=CONFIG, slot=SLOT):
    rows = draw(st.sets(st.integers(0, len(config.rows) - 1)))
    items = tuple(draw(signed_observations(config, slot, row)) for row in sorted(rows))
    return SignedProposal(Proposal(config.digest, slot, items), draw(signatures))


@st.composite
def attestations(draw, config=CONFIG):
    report = Report(config.digest, draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**64 - 1)), draw(hashes))
    return Attestation(report, draw(hashes), draw(st.integers(0, len(config.rows) - 1)), draw(signatures))


@st.composite
def requests(draw, config=CONFIG):
    slot, row = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, len(config.rows) - 1))
    return ProposalRequest(config.digest, slot, draw(hashes), row)


def messages(config=CONFIG):
    return st.one_of(signed_observations(config), proposals(config), attestations(config), requests(config))
