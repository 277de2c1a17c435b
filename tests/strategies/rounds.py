"""A single core and what its peers would send it, for one slot led by row 0."""

from oracle.consensus.aggregate import aggregate
from oracle.consensus.events import Count, JournalState, Received, Signed, SlotStarted
from oracle.consensus.messages import Attestation, Observation, Proposal, SignedObservation, SignedProposal
from oracle.consensus.protocol import Core
from oracle.consensus.schedule import leader
from oracle.consensus.simulate_node import recover, sign
from tests.strategies.consensus import CONFIG

SLOT = next(slot for slot in range(60, 200) if leader(CONFIG, slot) == 0)
START = CONFIG.slot_start_ms(SLOT)
NOW = START + 1_000
NOTHING = (None,) * len(CONFIG.feeds)


def key(row):
    return CONFIG.rows[row].address


def signed_observation(row, slot=SLOT, at=1):
    observation = Observation(CONFIG.digest, slot, CONFIG.slot_start_ms(slot) // 1000 + at, NOTHING)
    return SignedObservation(observation, row, sign(key(row), observation.digest(CONFIG)))


def signed_proposal(rows=(0, 1, 2), slot=SLOT, at=1, signer=0, items=None):
    items = tuple(signed_observation(row, slot, at) for row in rows) if items is None else items
    proposal = Proposal(CONFIG.digest, slot, items)
    return SignedProposal(proposal, sign(key(signer), proposal.digest(CONFIG)))


def report_of(proposal):
    items = proposal.proposal.observations
    return aggregate(CONFIG, {item.signer: item.observation for item in items}).report


def attestation(row, proposal, report=None):
    report = report or report_of(proposal)
    return Attestation(report, proposal.proposal.struct_hash, row, sign(key(row), report.digest(CONFIG)))


def core_in_slot(me, slot=SLOT, now=NOW):
    core = Core(CONFIG, me, recover)
    core.receive(JournalState(empty=False), now)
    core.receive(SlotStarted(slot), now)
    return core


def do_sign(core, want, now=NOW):
    return core.receive(Signed(want.kind, want.slot, want.digest, sign(key(core.me), want.digest)), now)


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def refused(effects):
    return [effect.detail for effect in of(Count, effects) if effect.name.startswith("refused")]


def leader_with(rows, now=NOW):
    """Leader core that was sent the observations of `rows`; returns it and the last effects."""
    core, effects = core_in_slot(0, now=now), []
    for row in rows:
        effects = core.receive(Received(signed_observation(row)), now)
    return core, effects
