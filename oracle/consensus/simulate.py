"""Many real cores, a bad network, crashes and adversaries, in one seeded thread of virtual time.

Why this file exists: the promises of design page 2 are checked by running the shipped `Core` and wire bytes, not a
model of them. The same seed gives the same run. Never in it: threads, real time, real keys.

*Connected* (for liveness): in a slot, validator v and leader L are connected when neither was down or silent in it and
every message of that slot that one sent to the other arrived within `Settings.budget_ms` of sending, with the other up
and aware of the slot's config (clocks differ, so it may arrive in the slot before; a real node's peers send again). The
slot must then have a report on chain if L is honest and L and its connected honest peers hold > 2/3 of stake.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from oracle.consensus.events import Received
from oracle.consensus.messages import Message, Values
from oracle.consensus.network import NetworkConfig, Slot
from oracle.consensus.protocol import SILENT_SLOTS
from oracle.consensus.schedule import leader
from oracle.consensus.simulate_node import Settings, SimulatedNode, config_digest, recover
from oracle.consensus.simulate_plots import Plotter
from oracle.consensus.simulate_world import SimulatedChain, Verdict, World, small_config
from oracle.consensus.wire import decode
from oracle.errors import PeerFault


@dataclass(slots=True)
class Simulation:
    """One seeded run. `run()` returns the verdict; `now_ms` is true time, which no validator knows exactly."""

    settings: Settings
    configs: tuple[NetworkConfig, ...] = field(init=False)
    chance: random.Random = field(init=False)
    now_ms: int = field(init=False, default=0)
    nodes: list[SimulatedNode] = field(init=False, default_factory=list)
    byzantine_rows: frozenset[int] = field(init=False)
    chain: SimulatedChain = field(init=False)
    world: World = field(init=False)
    verdict: Verdict = field(init=False, default_factory=Verdict)
    sides: tuple[frozenset[int], int] = field(init=False, default=(frozenset(), 0))
    hunted: tuple[int, frozenset[int]] = field(init=False, default=(-1, frozenset()))
    said: dict[int, list[Values]] = field(init=False, default_factory=dict)
    _queue: list[tuple[int, int, Callable[[], None]]] = field(init=False, default_factory=list)
    _order: int = field(init=False, default=0)
    _decoded: dict[bytes, Message | str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Build config, world, chain and validators."""
        settings = self.settings
        self.chance = random.Random(settings.seed)
        config = small_config(settings.stakes, settings.slot_seconds, outcomes=settings.outcomes)
        first = Slot(config.first_slot + settings.change_after)
        after = replace(config, count=2, randomness=b"\x08" * 32, first_slot=first)
        self.configs = (config, after) if settings.change_after else (config,)
        self.chain, self.world = SimulatedChain(self.configs, recover), World(config, settings.seed)
        kinds = dict(settings.byzantine)
        self.byzantine_rows = frozenset(kinds)
        for row in range(len(self.config.rows)):
            skew = self.chance.randint(-settings.skew_ms, settings.skew_ms)
            skew = settings.skew_ms * (-1) ** (skew & 1) if settings.edge else skew
            kind = kinds.get(row)
            self.nodes.append(Plotter(self, row, skew, kind) if kind else SimulatedNode(self, row, skew))

    @property
    def config(self) -> NetworkConfig:
        """The first config: rows, times and feeds are the same in all."""
        return self.configs[0]

    def config_at(self, slot: int) -> NetworkConfig:
        """The config that a slot belongs to."""
        return self.configs[-1] if slot >= self.configs[-1].first_slot else self.configs[0]

    def at(self, when_ms: int, action: Callable[[], None]) -> None:
        """Do something at a true time; equal times keep the order of asking."""
        self._order += 1
        heapq.heappush(self._queue, (when_ms, self._order, action))

    def run(self) -> Verdict:
        """Run all slots and judge them."""
        config, settings = self.config, self.settings
        first = config.first_slot + 1
        self.now_ms = config.slot_start_ms(first) + 5_000
        for node in self.nodes:
            node.start()
        end = config.slot_start_ms(first + settings.slots) + settings.slot_seconds * 3_000
        self.at(self.now_ms, self._split)
        if settings.hunt:
            self.at(config.slot_start_ms(first + 1) - settings.skew_ms, self._hunt)
        if settings.change_after:
            self._announce()
        while self._queue and self._queue[0][0] <= end:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        judged = range(first + SILENT_SLOTS, first + settings.slots)
        self.verdict.judge(self.config_at, judged, self.chain, self.byzantine_rows)
        return self.verdict

    def _split(self) -> None:
        """Once a slot: perhaps start a partition that heals after a few slots; forget decoded bytes."""
        self._decoded.clear()
        width = self.settings.slot_seconds * 1_000
        if self.chance.randrange(1_000) < self.settings.partition:
            rows = frozenset(row for row in range(len(self.nodes)) if self.chance.random() < 0.4)
            self.sides = (rows, self.now_ms + self.chance.randrange(width // 4, 4 * width))
        self.at(self.now_ms + width, self._split)

    def _hunt(self) -> None:
        """Once a slot, from before it starts on the fastest clock: perhaps cut its leader off from some others."""
        config, width = self.config, self.settings.slot_seconds * 1_000
        slot = config.slot_at(self.now_ms + self.settings.skew_ms)
        first = leader(self.config_at(slot), slot)
        others = [row for row in range(len(self.nodes)) if row != first]
        if others and self.chance.randrange(1_000) < self.settings.hunt:
            self.hunted = first, frozenset(self.chance.sample(others, self.chance.randint(1, len(others))))
            self.verdict.cut.update((slot, min(first, row), max(first, row)) for row in self.hunted[1])
        else:
            self.hunted = -1, frozenset()
        self.at(self.now_ms + width, self._hunt)

    def _announce(self) -> None:
        """Let every validator learn of the next config at its own time, the last of them too late."""
        start = self.config.slot_start_ms(self.configs[-1].first_slot)
        width = self.settings.slot_seconds * 1_000
        for node in self.nodes:
            known = start + self.chance.randint(-2 * width, width // 2)
            self.at(known, node.adopt)
            if known + node.skew_ms > start:
                self.verdict.unwell.add((self.configs[-1].first_slot, node.row))

    def _separated(self, source: int, to: int) -> bool:
        """Whether a partition, or a hunt for the leader, keeps two validators apart now."""
        rows, until = self.sides
        prey, cut = self.hunted
        return (self.now_ms < until and (source in rows) != (to in rows)) or (
            (source == prey and to in cut) or (to == prey and source in cut)
        )

    def land(self, blob: bytes) -> None:
        """Let a transaction reach the chain now."""
        self.chain.transmit(blob, self.now_ms, self.verdict)

    def carry(self, source: int, to: int, data: bytes, slot: int) -> None:
        """Lose, delay, double or deliver bytes; note what the liveness promise may not count on."""
        settings, chance = self.settings, self.chance
        self.verdict.bytes_sent += len(data)
        self.verdict.messages += 1
        parted = self._separated(source, to)
        waits = list[int]()
        for _ in range(2 if chance.randrange(1_000) < settings.duplicate else 1):
            if not parted and chance.randrange(1_000) >= settings.loss:
                most = settings.slot_seconds * 2_500 if chance.randrange(1_000) < settings.late else settings.delay_ms
                waits.append(chance.randint(1, most))
        link = (slot, min(source, to), max(source, to))
        if not waits or min(waits) > settings.budget_ms:
            self.verdict.cut.add(link)
        for wait in waits:
            self.at(self.now_ms + wait, lambda: self.deliver(to, data, link))

    def deliver(self, to: int, data: bytes, link: tuple[int, int, int]) -> None:
        """Decode as a node does (each distinct message once) and tell the core, if it is up."""
        node = self.nodes[to]
        if not node.cores:
            self.verdict.cut.add(link)
            return
        found = self._decoded.get(data)
        if found is None:
            try:
                known = {config.digest: config for config in self.configs}
                found = decode(data, known.get(data[1:33], self.config))
            except PeerFault as fault:
                found = fault.rule
            self._decoded[data] = found
        if isinstance(found, str):
            self.verdict.counts[f"undecoded:{found}"] += 1
        else:
            config = next(c for c in self.configs if c.digest == config_digest(found))
            if config.digest not in node.cores:
                self.verdict.cut.add(link)
            node.tell(Received(found), config)


def simulate(settings: Settings) -> Verdict:
    """Run one simulation and return its verdict."""
    return Simulation(settings).run()
