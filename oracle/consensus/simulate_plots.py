"""Byzantine validators of the simulator that plan: they look first, talk with two tongues, or work together.

Why this file exists: a fixed bad habit is the easy case; these choose what hurts most. Each still signs with its own
key only. Never in it: forged signatures of honest validators.

An adaptive validator is given more than a real one could have: it reads every honest observation before it sends its
own. What holds beside it holds beside a leader, or an ally of one, that waits.
"""

from __future__ import annotations

from dataclasses import replace

from oracle.consensus.aggregate import aggregate, leading
from oracle.consensus.events import Broadcast, Effect, Observe, Send, Sign
from oracle.consensus.messages import (
    FeedObservation,
    Kind,
    Proposal,
    ProposalRequest,
    SignedObservation,
    SignedProposal,
)
from oracle.consensus.network import BPS, FeedKind, FeedSpec, NetworkConfig, Slot, has_quorum
from oracle.consensus.simulate_adversaries import HUGE, Adversary
from oracle.consensus.simulate_node import Behaviour, sign

PLOTS = (Behaviour.ADAPTIVE, Behaviour.TWO_FACED, Behaviour.COLLUDING, Behaviour.FLOODING_LEADER)
"""The kinds that are told here."""
LOOK_MS = 420
"""How long an adaptive validator waits for what the honest say: within the leader's grace, mostly."""
FLOOD = 30


class Plotter(Adversary):
    """A validator of any Byzantine kind; the kinds that plan are told here, the others in `Adversary`."""

    def perform(self, effect: Effect, config: NetworkConfig) -> None:
        """Bend what the core wants done, by kind."""
        match self.kind, effect:
            case Behaviour.ADAPTIVE, Sign(Kind.OBSERVATION, slot, _):
                self.later(LOOK_MS, lambda: self._observe_as(slot, self._worst_values(slot)))
                return
            case Behaviour.ADAPTIVE, Sign(Kind.PROPOSAL, slot, _):
                self._propose_one_side(slot)
                return
            case Behaviour.TWO_FACED, Send(_, SignedObservation() as signed):
                for row in self._others():
                    self.send(row, self._changed(signed))
            case Behaviour.COLLUDING, Sign(Kind.PROPOSAL, slot, _):
                self._conspire(slot)
                return
            case Behaviour.COLLUDING, Observe(slot) if not self._leads_slot(slot):
                self.later(LOOK_MS, lambda: self._ask_for_everything(slot))
            case Behaviour.COLLUDING, Broadcast(message) | Send(_, message):
                if not isinstance(message, ProposalRequest) and not self._leads(message):
                    self._sign_twice(message)
            case Behaviour.FLOODING_LEADER, Sign(Kind.PROPOSAL, slot, _):
                self._flood(slot)
                return
        super().perform(effect, config)

    # --- adaptive ---

    def _worst_values(self, slot: int) -> tuple[FeedObservation | None, ...]:
        """Per feed, something at or beyond the edge of what the honest say, whatever pulls hardest now."""
        said = self.run.said.get(slot, [])
        columns = [[value for values in said if (value := values[at]) is not None] for at in range(len(self._feeds))]
        return tuple(self._worst(spec, seen) for spec, seen in zip(self._feeds, columns, strict=True))

    @property
    def _feeds(self) -> tuple[FeedSpec, ...]:
        return self.run.config.feeds

    def _worst(self, spec: FeedSpec, seen: list[FeedObservation]) -> FeedObservation | None:
        chance = self.run.chance
        if not seen or chance.randrange(10) == 0:
            return None
        edge, beyond = chance.choice((min, max)), chance.choice((0, 1, HUGE))
        sign_of = 1 if edge is max else -1
        lie = FeedObservation(
            spec.number, edge(item.value for item in seen) + sign_of * beyond, chance.choice((0, HUGE)),
            (HUGE, -HUGE), chance.choice((0, (1 << 64) - 1)), chance.choice((0, BPS)), sign_of * 127,
        )  # fmt: skip
        if spec.kind is FeedKind.FORECAST:
            step = chance.choice((0, 1, 1_000_000))
            ends = (chance.choice((min, max)) for _ in range(spec.width))
            parts = [
                end(item.components[at] for item in seen) + (step if end is max else -step)
                for at, end in enumerate(ends)
            ]
            return replace(lie, value=parts[4], components=tuple(parts))
        if spec.kind is FeedKind.EVENT:
            all_on = chance.randrange(spec.outcomes)
            odds = tuple(BPS * (place == all_on) for place in range(spec.outcomes))
            return replace(lie, value=leading(odds), components=odds, resolved=chance.random() < 0.5)
        return lie

    def _propose_one_side(self, slot: Slot) -> None:
        """Leave out the honest of one side, as many as the quorum allows: its own weight counts the most then."""
        config, side = self.run.config_at(slot), self.run.chance.choice((1, -1))

        def _price(item: SignedObservation) -> int:
            value = item.observation.values[0]
            return side * value.value if value is not None else 0

        items = list(self._collected(slot))
        for item in sorted((item for item in items if item.signer != self.row), key=_price):
            fewer = [other for other in items if other is not item]
            if has_quorum(sum(config.rows[other.signer].stake for other in fewer), config.total_stake):
                items = fewer
        if items:
            self._publish(slot, items, self._others())

    # --- colluding ---

    def _allies(self) -> list[Plotter]:
        return [node for node in self.run.nodes if isinstance(node, Plotter) and node.kind is self.kind]

    def _conspire(self, slot: Slot) -> None:
        """Two stories for two halves, a third in the last moment; every ally attests and names all of them."""
        items, config = self._collected(slot), self.run.config_at(slot)
        if not items:
            return
        others, without = self._others(), tuple(item for item in items if item.signer != self.row)
        self._tell_story(slot, items, others[::2])
        self._tell_story(slot, tuple(self._changed(i) if i.signer == self.row else i for i in items), others[1::2])
        if has_quorum(sum(config.rows[item.signer].stake for item in without), config.total_stake):
            wait = config.slot_start_ms(slot + 1) - 1_500 - self.local_ms
            self.later(wait, lambda: self._tell_story(slot, without, others))

    def _tell_story(self, slot: Slot, items: tuple[SignedObservation, ...], told: list[int]) -> None:
        config = self.run.config_at(slot)
        proposal = Proposal(config.digest, slot, items)
        signed = SignedProposal(proposal, sign(self.address, proposal.digest(config)))
        report = aggregate(config, {item.signer: item.observation for item in items}).report
        for row in told:
            self.send(row, signed)
            for ally in self._allies():
                ally.send(row, ally._sign_report(report, proposal.struct_hash))

    def _ask_for_everything(self, slot: Slot) -> None:
        """Requests in everybody's name, for proposals that exist and that do not."""
        config, chance = self.run.config_at(slot), self.run.chance
        for row in self._others():
            self.send(row, ProposalRequest(config.digest, slot, chance.randbytes(32), chance.choice(self._others())))

    # --- flooding ---

    def _flood(self, slot: Slot) -> None:
        """Many proposals, each with one bad signature in its last place: as dear to check as they can be."""
        config, items = self.run.config_at(slot), self._collected(slot)
        for number in range(FLOOD if items else 0):
            bad = (*items[:-1], replace(items[-1], signature=number.to_bytes(64, "big")))
            proposal = Proposal(config.digest, slot, bad)
            signed = SignedProposal(proposal, sign(self.address, proposal.digest(config)))
            for row in self._others():
                self.send(row, signed)
