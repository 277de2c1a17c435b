"""One simulated validator: a real `Core` with a journal, a skewed clock and the habit of crashing.

Why this file exists: it does in memory what the node does with sockets, files and keys. Never in it: real time, real
keys (a signature is a keyed hash that `recover` undoes; nobody in here can make another's).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

from oracle.consensus.events import (
    Accuse,
    Attested,
    Broadcast,
    ChainHeads,
    Count,
    Effect,
    Event,
    JournalState,
    Observe,
    Observed,
    ReadHeads,
    Received,
    Send,
    SetTimer,
    Sign,
    Signed,
    SignRefused,
    SlotStarted,
    Superseded,
    TimerFired,
    Transmit,
)
from oracle.consensus.messages import (
    Attestation,
    Kind,
    Message,
    ProposalRequest,
    SignedObservation,
    SignedProposal,
)
from oracle.consensus.network import NetworkConfig, Slot
from oracle.consensus.protocol import SILENT_SLOTS, Core
from oracle.consensus.wire import encode

if TYPE_CHECKING:
    from oracle.consensus.simulate import Simulation


class Behaviour(StrEnum):
    """What a simulated validator does; all but `HONEST` are Byzantine (see `simulate_adversaries.py`)."""

    HONEST = "honest"
    SILENT_LEADER = "silent_leader"
    EQUIVOCATING_LEADER = "equivocating_leader"
    OMITTING_LEADER = "omitting_leader"
    FORGING_LEADER = "forging_leader"
    LATE_LEADER = "late_leader"
    DOUBLE_SIGNER = "double_signer"
    GARBAGE = "garbage"
    REPLAY = "replay"
    WRONG_DIGEST = "wrong_digest"
    HUGE_VALUES = "huge_values"
    ADAPTIVE = "adaptive"
    TWO_FACED = "two_faced"
    COLLUDING = "colluding"
    FLOODING_LEADER = "flooding_leader"


def sign(address: bytes, digest: bytes) -> bytes:
    """Fake signature of 64 bytes: who, and a hash that binds the digest."""
    return address.ljust(32, b"\0") + blake2b(address + digest, digest_size=32).digest()


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """Address that made a fake signature of `digest`, or None."""
    address = signature[:20]
    return address if len(signature) == 64 and sign(address, digest) == signature else None


def config_digest(message: Message) -> bytes:
    """Digest of the config that a message is for."""
    match message:
        case SignedObservation(inner) | SignedProposal(inner) | Attestation(inner):
            return inner.config_digest
        case ProposalRequest(digest):
            return digest


@dataclass(frozen=True, slots=True)
class Settings:
    """A run: odds are per 1,000 messages, signatures or slots; times in milliseconds.

    `hunt`: odds that a slot's leader is cut off from a random part of the others while it leads. `edge`: every clock is
    off by all of `skew_ms`, one way or the other. `change_after`: slots until the next config (same rows, another
    digest) begins, 0 for never; each validator learns of it at a time of its own, some too late. `outcomes`: of the
    event feed.
    """

    stakes: tuple[int, ...] = (40, 30, 20, 10)
    slots: int = 200
    seed: int = 1
    byzantine: tuple[tuple[int, Behaviour], ...] = ()
    loss: int = 20
    late: int = 10
    duplicate: int = 30
    delay_ms: int = 400
    budget_ms: int = 1_000
    skew_ms: int = 2_000
    crash: int = 4
    journal_loss: int = 250
    partition: int = 30
    slot_seconds: int = 20
    hunt: int = 0
    edge: bool = False
    change_after: int = 0
    outcomes: int = 2


class SimulatedNode:
    """One validator: a real `Core`, a journal, a skewed clock, and the habit of crashing."""

    def __init__(self, run: Simulation, row: int, skew_ms: int) -> None:
        """Down until `start`."""
        self.run, self.row, self.skew_ms = run, row, skew_ms
        self.address = run.config.rows[row].address
        self.journal: dict[Kind, tuple[int, bytes]] = {}
        self.cores: dict[bytes, Core] = {}
        self.configs: tuple[NetworkConfig, ...] = run.configs[:1]
        self.life = 0

    @property
    def byzantine(self) -> bool:
        """Whether this validator may do anything."""
        return False

    def start(self) -> None:
        """Come up with whatever journal there is, in mid-slot."""
        self.life += 1
        slot = self.run.config.slot_at(self.local_ms)
        silent = range(slot, slot + (1 if self.journal else SILENT_SLOTS))
        self.run.verdict.unwell.update((each, self.row) for each in silent)
        for config in self.configs:
            self._work_on(config)
        self.tell(SlotStarted(slot))
        self.next_slot(slot)

    def _work_on(self, config: NetworkConfig) -> None:
        self.cores[config.digest] = Core(config, self.row, recover)
        self.tell(JournalState(empty=not self.journal), config)
        for older, newer in pairwise(self.configs):
            self.tell(Superseded(newer.first_slot), older)

    def adopt(self) -> None:
        """Learn of the next config, up or down."""
        self.configs = self.run.configs
        if self.cores:
            self._work_on(self.configs[-1])
            slot = self.run.config.slot_at(self.local_ms)
            if not self.journal:
                self.run.verdict.unwell.update((each, self.row) for each in range(slot, slot + SILENT_SLOTS))
            if slot >= self.configs[-1].first_slot:
                self.tell(SlotStarted(slot))

    def config_of(self, slot: int) -> NetworkConfig:
        """The config that this node takes the slot for."""
        return [config for config in self.configs if config.first_slot <= slot or config == self.configs[0]][-1]

    def next_slot(self, slot: int) -> None:
        """Schedule the start of the slot after `slot` on this node's clock."""

        def _begin() -> None:
            self.tell(SlotStarted(Slot(slot + 1)))
            self.next_slot(slot + 1)

        self.later(self.run.config.slot_start_ms(slot + 1) - self.local_ms, _begin)

    def crash(self) -> None:
        """Lose everything but the journal (and sometimes that); come back within two slots."""
        run = self.run
        slots = run.settings.slot_seconds * 2_000
        back = run.now_ms + run.chance.randrange(50, slots)
        first, last = (run.config.slot_at(at + self.skew_ms) for at in (run.now_ms, back))
        run.verdict.unwell.update((slot, self.row) for slot in range(first, last + 1))
        run.verdict.crashes += 1
        self.cores, self.life = {}, self.life + 1
        if run.chance.randrange(1_000) < run.settings.journal_loss:
            self.journal = {}
        run.at(back, self.start)

    @property
    def local_ms(self) -> int:
        """Time on the clock of this node."""
        return self.run.now_ms + self.skew_ms

    def later(self, wait_ms: int, action: Callable[[], None]) -> None:
        """Do something after a wait, unless this life has ended by then."""
        life = self.life
        self.run.at(self.run.now_ms + max(0, wait_ms), lambda: action() if self.life == life else None)

    def tell(self, event: Event, config: NetworkConfig | None = None) -> None:
        """Give the core of a config (that of the event's slot) an event and perform what it wants."""
        life = self.life
        if config is None:
            message = event.message if isinstance(event, Received) else event
            slot = message.timer.slot if isinstance(message, TimerFired) else getattr(message, "slot", None)
            assert slot is not None, "an event that names no slot is for a stated config"
            config = self.config_of(slot)
        core = self.cores.get(config.digest)
        if core is not None:
            for effect in core.receive(event, self.local_ms):
                if self.life == life:
                    self.perform(effect, config)

    def perform(self, effect: Effect, config: NetworkConfig) -> None:
        """Do what an honest node does for an effect of the core of a config."""
        run = self.run
        match effect:
            case Observe(slot):
                self.later(run.chance.randrange(20, 300), lambda: self.observe(slot, config))
            case Sign():
                self.put_signature(effect, config)
            case Broadcast(message):
                for row in range(len(run.config.rows)):
                    self.send(row, message)
            case Send(to, message):
                known = config.index_of(to)
                assert known is not None
                self.send(known, message)
            case SetTimer(timer, at_ms):
                self.later(at_ms - self.local_ms, lambda: self.tell(TimerFired(timer), config))
            case ReadHeads():
                self.later(run.chance.randrange(5, 100), lambda: self.tell(ChainHeads(run.chain.heads()), config))
            case Transmit(attested, pages):
                blob, wait = attested.blob(pages), run.chance.randrange(50, 800)
                run.at(run.now_ms + wait, lambda: run.land(blob))
            case Attested(attested, proposal):
                run.verdict.attested(config, attested, proposal, run.byzantine_rows)
            case Accuse(evidence):
                run.verdict.accused(config, evidence, run.byzantine_rows, recover)
            case Count(name, detail):
                run.verdict.counts[f"{name}:{detail}" if detail else name] += 1

    def observe(self, slot: Slot, config: NetworkConfig) -> None:
        """See the world as of now."""
        values = self.run.world.observe(slot, self.run.chance)
        if not self.byzantine:
            self.run.said.setdefault(slot, []).append(values)
        self.tell(Observed(slot, self.local_ms // 1000, values), config)

    def put_signature(self, want: Sign, config: NetworkConfig) -> None:
        """Journal, then sign; crash now and then before, between and after."""
        run, crash_at = self.run, -1
        if run.chance.randrange(1_000) < run.settings.crash and not self.byzantine:
            crash_at = run.chance.randrange(3)
        if crash_at == 0:
            return self.crash()
        slot, digest = self.journal.get(want.kind, (-1, b""))
        if want.slot < slot or (want.slot == slot and want.digest != digest):
            return self.tell(SignRefused(want.kind, want.slot, "SlotAlreadySigned"), config)
        self.journal[want.kind] = (want.slot, want.digest)
        if crash_at == 1:
            return self.crash()
        signature = sign(self.address, want.digest)
        run.verdict.signed(self.row, want.kind, want.slot, want.digest)
        if crash_at == 2:
            return self.crash()
        signed = Signed(want.kind, want.slot, want.digest, signature)
        self.later(run.chance.randrange(1, 5), lambda: self.tell(signed, config))
        return None

    def send(self, row: int, message: Message) -> None:
        """Encode and hand to the network; nothing goes to oneself."""
        if row != self.row:
            known = {config.digest: config for config in self.run.configs}
            self.run.carry(self.row, row, encode(message, known[config_digest(message)]), message.slot)
