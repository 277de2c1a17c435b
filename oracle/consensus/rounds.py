"""What one validator knows of one slot.

Why this file exists: `Core` keeps one `Round` per slot and forgets it whole; nothing carries over between slots. Never
in it: decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from oracle.consensus.aggregate import Aggregate
from oracle.consensus.events import AttestedReport
from oracle.consensus.messages import Attestation, Kind, Observation, Proposal, SignedObservation, SignedProposal
from oracle.consensus.network import NetworkConfig, Slot
from oracle.consensus.schedule import fewest_signers


class Sending(Enum):
    """How far this validator is with putting the slot's report on chain."""

    IDLE = auto()
    WAITING = auto()
    READING = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A valid proposal and the report that its observations give."""

    signed: SignedProposal
    aggregate: Aggregate


@dataclass(slots=True)
class Round:
    """State of one slot. Every message kept here had its signature checked.

    `collected`: observations sent to us as leader. `sighted`: first observation of each row, wherever seen.
    `asked`: digest put to the journal and key, per kind: one a slot. `candidates`: valid proposals by struct hash;
    `first` is the one attested. `names`: proposals that each row's attestations name (a name is not signed, so it says
    whom to ask and no more).
    """

    slot: Slot
    collected: dict[int, SignedObservation] = field(default_factory=dict)
    sighted: dict[int, SignedObservation] = field(default_factory=dict)
    asked: dict[Kind, bytes] = field(default_factory=dict)
    own_observation: Observation | None = None
    own_proposal: Proposal | None = None
    grace_set: bool = False
    grace_over: bool = False
    leader_said: SignedProposal | None = None
    candidates: dict[bytes, Candidate] = field(default_factory=dict)
    first: bytes | None = None
    names: dict[int, set[bytes]] = field(default_factory=dict)
    attestations: dict[int, Attestation] = field(default_factory=dict)
    served: dict[int, int] = field(default_factory=dict)
    accused: set[tuple[Kind, int]] = field(default_factory=set)
    complete: bool = False
    sending: Sending = Sending.IDLE

    def named_beside(self, leader: int, name: bytes) -> bool:
        """Whether an attestation of a row other than the leader's names this proposal."""
        return any(name in names for row, names in self.names.items() if row != leader)

    def assemble(self, config: NetworkConfig) -> tuple[AttestedReport, SignedProposal] | None:
        """The attested report, from the fewest signatures now known, and the proposal that gives it.

        None while no candidate has a quorum.
        """
        for candidate in self.candidates.values():
            found = candidate.aggregate
            rows = [row for row, item in self.attestations.items() if item.report == found.report]
            chosen = fewest_signers(config, rows)
            if chosen is not None:
                signatures = tuple((row, self.attestations[row].signature) for row in chosen)
                return AttestedReport(found.report, found.results, found.pages, signatures), candidate.signed
        return None
