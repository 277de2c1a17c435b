"""What one validator knows of one slot.

Why this file exists: `Core` keeps one `Round` per slot and forgets it whole; nothing carries over between slots. Never
in it: decisions.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from enum import Enum, auto

from oracle.consensus.aggregate import Aggregate
from oracle.consensus.events import Accuse, AttestedReport, Evidence
from oracle.consensus.messages import (
    Attestation,
    Kind,
    Message,
    Observation,
    Proposal,
    SignedObservation,
    SignedProposal,
)
from oracle.consensus.network import NetworkConfig, Slot
from oracle.consensus.schedule import fewest_signers

PROPOSALS = 8
"""Proposals of one slot that are checked in full: each costs a signature check an observation, and its leader may sign
any number. An honest leader signs one."""


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
    whom to ask and no more). `checked`: names of the proposals that were checked in full, valid or not.
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
    checked: set[bytes] = field(default_factory=set)
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

    def sight(self, signed: SignedObservation) -> list[Accuse]:
        """Remember a row's first observation wherever it was seen; a different one is evidence."""
        known = self.sighted.setdefault(signed.signer, signed)
        if known.observation == signed.observation:
            return []
        return self.accuse(Kind.OBSERVATION, signed.signer, known, signed)

    def accuse(self, kind: Kind, row: int, first: Message, second: Message) -> list[Accuse]:
        """Evidence against a row, once a kind."""
        if (kind, row) in self.accused:
            return []
        self.accused.add((kind, row))
        return [Accuse(Evidence(kind, row, self.slot, first, second))]

    def assemble(
        self, config: NetworkConfig, revoked: Set[int] = frozenset()
    ) -> tuple[AttestedReport, SignedProposal] | None:
        """The attested report, from the fewest signatures now known, and the proposal that gives it.

        `revoked`: rows whose signatures the chain takes no more. None while no candidate has a quorum without them.
        """
        for candidate in self.candidates.values():
            found = candidate.aggregate
            signed = (row for row, item in self.attestations.items() if item.report == found.report)
            rows = [row for row in signed if row not in revoked]
            chosen = fewest_signers(config, rows)
            if chosen is not None:
                signatures = tuple((row, self.attestations[row].signature) for row in chosen)
                return AttestedReport(found.report, found.results, found.pages, signatures), candidate.signed
        return None
