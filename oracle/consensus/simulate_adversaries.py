"""Byzantine validators of the simulator: each holds its own key only, and uses it as badly as its kind says.

Why this file exists: `Core` must keep its promises beside any of these. An adversary runs a real core (so that it is
always plausible) and bends what that core wants done. Never in it: powers no real adversary has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from oracle.consensus.aggregate import aggregate
from oracle.consensus.events import Broadcast, Effect, Received, Send, Sign, SlotStarted
from oracle.consensus.messages import (
    Attestation,
    FeedObservation,
    Kind,
    Message,
    Observation,
    Proposal,
    ProposalRequest,
    Report,
    SignedObservation,
    SignedProposal,
    Values,
)
from oracle.consensus.network import FeedKind, FeedSpec, NetworkConfig, Slot, has_quorum
from oracle.consensus.schedule import leader
from oracle.consensus.simulate_node import Behaviour, SimulatedNode, config_digest, sign
from oracle.consensus.wire import encode

if TYPE_CHECKING:
    from oracle.consensus.events import Event
    from oracle.consensus.simulate import Simulation

HUGE = 10**30
BIG_BODY = bytes(10_000_000)


class Adversary(SimulatedNode):
    """A validator of one Byzantine kind."""

    def __init__(self, run: Simulation, row: int, skew_ms: int, kind: Behaviour) -> None:
        """Down until `start`."""
        super().__init__(run, row, skew_ms)
        self.kind = kind
        self.seen: list[tuple[bytes, int]] = []
        foreign = replace(run.config, chain_id=run.config.chain_id + 1)
        self.foreign: NetworkConfig = foreign

    @property
    def byzantine(self) -> bool:
        """Yes."""
        return True

    def tell(self, event: Event, config: NetworkConfig | None = None) -> None:
        """Keep what is heard, and be a nuisance once a slot."""
        if isinstance(event, Received) and self.kind is Behaviour.REPLAY:
            self._keep(event.message)
        super().tell(event, config)
        if isinstance(event, SlotStarted):
            self._nuisance(event.slot)

    def perform(self, effect: Effect, config: NetworkConfig) -> None:
        """Bend what the core wants done, by kind."""
        match self.kind, effect:
            case Behaviour.SILENT_LEADER, Broadcast(SignedProposal()):
                return
            case (
                (Behaviour.EQUIVOCATING_LEADER | Behaviour.OMITTING_LEADER | Behaviour.FORGING_LEADER),
                Sign(Kind.PROPOSAL, slot, _),
            ):
                self._propose_badly(slot)
                return
            case Behaviour.LATE_LEADER, Broadcast(message) | Send(_, message) if self._leads(message):
                self._hold_back(message)
                return
            case Behaviour.DOUBLE_SIGNER, Broadcast(message) | Send(_, message):
                self._sign_twice(message)
            case Behaviour.WRONG_DIGEST, Broadcast(message) | Send(_, message):
                self._send_foreign(message)
            case Behaviour.HUGE_VALUES, Sign(Kind.OBSERVATION, slot, _):
                self._send_huge(slot)
                return
            case ((Behaviour.GARBAGE | Behaviour.REPLAY), Broadcast(message) | Send(_, message)):
                self._keep(message)
        super().perform(effect, config)

    def _leads(self, message: Message) -> bool:
        return self._leads_slot(message.slot)

    def _leads_slot(self, slot: int) -> bool:
        return leader(self.run.config_at(slot), slot) == self.row

    def _others(self) -> list[int]:
        return [row for row in range(len(self.run.config.rows)) if row != self.row]

    def _keep(self, message: Message) -> None:
        self.seen = [*self.seen[-60:], (encode(message, self._config_of(message)), message.slot)]

    def _config_of(self, message: Message) -> NetworkConfig:
        return next(config for config in self.run.configs if config.digest == config_digest(message))

    def _sign_observation(self, observation: Observation) -> SignedObservation:
        signature = sign(self.address, observation.digest(self.run.config))
        return SignedObservation(observation, self.row, signature)

    def _sign_report(self, report: Report, proposal: bytes) -> Attestation:
        return Attestation(report, proposal, self.row, sign(self.address, report.digest(self.run.config)))

    def _collected(self, slot: Slot) -> tuple[SignedObservation, ...]:
        """What its core would have proposed; nothing where it worked on another config."""
        core = self.cores.get(self.run.config_at(slot).digest)
        proposal = core.proposed(slot) if core is not None else None
        return proposal.observations if proposal is not None else ()

    # --- leaders ---

    def _propose_badly(self, slot: Slot) -> None:
        """Leave out, forge, or tell two halves two things."""
        config, items = self.run.config_at(slot), self._collected(slot)
        if not items:
            return
        victims = [place for place, item in enumerate(items) if item.signer != self.row]
        victim = self.run.chance.choice(victims)
        fewer = items[:victim] + items[victim + 1 :]
        if not has_quorum(sum(config.rows[item.signer].stake for item in fewer), config.total_stake):
            fewer = items
        if self.kind is Behaviour.FORGING_LEADER:
            forged = replace(items[victim], observation=replace(items[victim].observation, values=self._huge_values()))
            self._publish(slot, (*items[:victim], forged, *items[victim + 1 :]), self._others())
        elif self.kind is Behaviour.OMITTING_LEADER:
            self._publish(slot, fewer, self._others())
        else:
            others = self._others()
            changed = [self._changed(item) if item.signer == self.row else item for item in fewer]
            self._publish(slot, items, others[::2])
            self._publish(slot, changed, others[1::2])

    def _publish(self, slot: Slot, items: Sequence[SignedObservation], rows: list[int]) -> None:
        """Sign a proposal of these observations, send it to some, and attest it to everybody."""
        config = self.run.config_at(slot)
        proposal = Proposal(config.digest, slot, tuple(items))
        signed = SignedProposal(proposal, sign(self.address, proposal.digest(config)))
        report = aggregate(config, {item.signer: item.observation for item in items}).report
        for row in rows:
            self.send(row, signed)
        for row in self._others():
            self.send(row, self._sign_report(report, proposal.struct_hash))

    def _changed(self, item: SignedObservation) -> SignedObservation:
        return self._sign_observation(replace(item.observation, values=self._huge_values()))

    def _hold_back(self, message: Message) -> None:
        """Send what belongs to an own slot in its last millisecond, and to every other validator only."""
        if isinstance(message, ProposalRequest):
            return
        wait = self.run.config.slot_start_ms(message.slot + 1) - 1 - self.local_ms
        for row in self._others()[::2]:
            self.later(wait, partial(self.send, row, message))

    # --- signers ---

    def _sign_twice(self, message: Message) -> None:
        """Say something else as well, to everybody it concerns."""
        if isinstance(message, SignedObservation):
            self.send(leader(self._config_of(message), message.slot), self._changed(message))
        if isinstance(message, Attestation):
            other = replace(message.report, root=bytes(32))
            for row in self._others()[:: self.run.chance.choice((1, -1))]:
                self.send(row, self._sign_report(other, message.proposal))

    def _send_foreign(self, message: Message) -> None:
        """Repeat a message under another chain's config, properly signed there."""
        foreign, data = self.foreign, b""
        if isinstance(message, SignedObservation):
            observation = replace(message.observation, config_digest=foreign.digest)
            signature = sign(self.address, observation.digest(foreign))
            data = encode(SignedObservation(observation, self.row, signature), foreign)
        if isinstance(message, Attestation):
            report = replace(message.report, config_digest=foreign.digest)
            signature = sign(self.address, report.digest(foreign))
            data = encode(Attestation(report, message.proposal, self.row, signature), foreign)
            # The same bytes under our digest: a signature of another domain.
            local = replace(message, signature=signature)
            self.run.carry(self.row, self._others()[0], encode(local, self._config_of(local)), message.slot)
        for row in self._others() if data else []:
            self.run.carry(self.row, row, data, message.slot)

    def _huge_values(self) -> tuple[FeedObservation, ...]:
        return tuple(self._huge(spec) for spec in self.run.config.feeds)

    def _huge(self, spec: FeedSpec) -> FeedObservation:
        seen = FeedObservation(spec.number, HUGE, HUGE, (HUGE, -HUGE), (1 << 64) - 1, 10_000, 127)
        if spec.kind is FeedKind.FORECAST:
            wild = tuple((-1) ** at * 8_000_000 for at in range(spec.width))
            return replace(seen, value=wild[4], components=wild)
        if spec.kind is FeedKind.EVENT:
            return replace(seen, value=1, components=(0, 10_000) + (0,) * (spec.outcomes - 2), resolved=True)
        return seen

    def _send_huge(self, slot: Slot) -> None:
        self._observe_as(slot, self._huge_values())

    def _observe_as(self, slot: Slot, values: Values) -> None:
        """Sign these values as its observation and let the leader have them."""
        config = self.run.config_at(slot)
        signed = self._sign_observation(Observation(config.digest, slot, self.local_ms // 1_000, values))
        if leader(config, slot) == self.row:
            super().tell(Received(signed), config)
        else:
            self.send(leader(config, slot), signed)

    # --- noise ---

    def _nuisance(self, slot: Slot) -> None:
        """Garbage and replays, a few times a slot."""
        chance = self.run.chance
        if self.kind is Behaviour.GARBAGE:
            for row in self._others():
                data, _ = chance.choice(self.seen) if self.seen else (b"", 0)
                place = chance.randrange(len(data) or 1)
                bent = [chance.randbytes(chance.randrange(200)), data[:place], data + b"\0"]
                bent.append(data[:place] + chance.randbytes(1) + data[place + 1 :])
                if chance.randrange(100) == 0:
                    bent.append(BIG_BODY)
                for each in bent:
                    self.run.carry(self.row, row, each, slot)
        for _ in range(12 if self.kind is Behaviour.REPLAY and self.seen else 0):
            data, _ = chance.choice(self.seen)
            self.run.carry(self.row, chance.choice(self._others()), data, slot)
