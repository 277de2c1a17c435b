"""A core that is told anything, truly signed, in any order: it never raises, never signs twice, never grows."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.consensus.events import ChainHeads, Observe, Observed, ReadHeads, Received, SetTimer, Sign, TimerFired
from oracle.consensus.messages import Kind, Proposal, ProposalRequest, SignedObservation, SignedProposal
from oracle.consensus.rounds import PROPOSALS
from oracle.consensus.simulate_node import sign
from tests.strategies.consensus import hashes, observations
from tests.strategies.rounds import (
    CONFIG,
    NOTHING,
    NOW,
    SLOT,
    START,
    attestation,
    core_in_slot,
    do_sign,
    key,
    of,
    signed_proposal,
)

ROWS = range(len(CONFIG.rows))


@st.composite
def signed(draw):
    """A message of some row, with that row's own signature."""
    row, observation = draw(st.sampled_from(ROWS)), draw(observations(CONFIG, SLOT))
    said = SignedObservation(observation, row, sign(key(row), observation.digest(CONFIG)))
    items = [*signed_proposal().proposal.observations]
    if row < 3 and draw(st.booleans()):
        items[row] = said
    proposal = Proposal(CONFIG.digest, SLOT, tuple(items))
    led = SignedProposal(proposal, sign(key(0), proposal.digest(CONFIG)))
    attested = attestation(row, led)
    return draw(st.sampled_from((
        said, led, attested, replace(attested, proposal=draw(hashes)),
        attestation(row, led, replace(attested.report, root=draw(hashes))),
        ProposalRequest(CONFIG.digest, SLOT, proposal.struct_hash, row),
    )))  # fmt: skip


@settings(max_examples=60)
@given(st.lists(signed(), max_size=25), st.sampled_from([0, 1, 3]))
def test_core__any_truly_signed_messages__signs_once_a_kind_and_stays_small(messages, me):
    core, asked = core_in_slot(me), []
    effects = [Observe(SLOT)]
    for message in [*messages, None]:
        for effect in effects:
            match effect:
                case Observe():
                    asked += of(Sign, core.receive(Observed(SLOT, START // 1000 + 1, NOTHING), NOW))
                case Sign():
                    asked.append(effect)
                case SetTimer(timer, _):
                    if of(ReadHeads, core.receive(TimerFired(timer), NOW)):
                        core.receive(ChainHeads({}, revoked=frozenset({2})), NOW)
        for want in asked[:2]:
            asked += [more for more in of(Sign, do_sign(core, want)) if more not in asked]
        effects = core.receive(Received(message), NOW) if message is not None else []
    kinds = [want.kind for want in asked]
    assert sorted(kinds) == sorted(set(kinds)) and set(kinds) <= set(Kind)
    round_ = core._rounds[SLOT]
    assert len(core._rounds) == 1 and len(round_.checked) <= PROPOSALS
    assert len(round_.attestations) <= len(ROWS) and all(len(names) <= 4 for names in round_.names.values())
