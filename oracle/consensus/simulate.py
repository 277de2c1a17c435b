"""Many real cores, a bad network, crashes and adversaries, in one seeded thread of virtual time.

Why this file exists: the promises of design page 2 are checked by running the shipped `Core` and wire bytes, not a
model of them. The same seed gives the same run. Never in it: threads, real time, real keys.

*Connected* (for liveness): in a slot, validator v and leader L are connected when neither was down or silent in it and
every message of that slot that one sent to the other arrived within `Settings.budget_ms` of sending, with the other up
(clocks differ, so it may arrive in the slot before). The slot must then have a report on chain if L is honest and L
and its connected honest peers hold > 2/3 of stake.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from oracle.consensus.events import Received
from oracle.consensus.messages import Message
from oracle.consensus.network import NetworkConfig
from oracle.consensus.protocol import SILENT_SLOTS
from oracle.consensus.simulate_adversaries import Adversary
from oracle.consensus.simulate_node import Settings, SimulatedNode, recover
from oracle.consensus.simulate_world import SimulatedChain, Verdict, World, small_config
from oracle.consensus.wire import decode
from oracle.errors import PeerFault


@dataclass(slots=True)
class Simulation:
    """One seeded run. `run()` returns the verdict; `now_ms` is true time, which no validator knows exactly."""

    settings: Settings
    config: NetworkConfig = field(init=False)
    chance: random.Random = field(init=False)
    now_ms: int = field(init=False, default=0)
    nodes: list[SimulatedNode] = field(init=False, default_factory=list)
    byzantine_rows: frozenset[int] = field(init=False)
    chain: SimulatedChain = field(init=False)
    world: World = field(init=False)
    verdict: Verdict = field(init=False, default_factory=Verdict)
    sides: tuple[frozenset[int], int] = field(init=False, default=(frozenset(), 0))
    _queue: list[tuple[int, int, Callable[[], None]]] = field(init=False, default_factory=list)
    _order: int = field(init=False, default=0)
    _decoded: dict[bytes, Message | str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Build config, world, chain and validators."""
        settings = self.settings
        self.chance = random.Random(settings.seed)
        self.config = small_config(settings.stakes, settings.slot_seconds)
        self.chain, self.world = SimulatedChain(self.config, recover), World(self.config, settings.seed)
        kinds = dict(settings.byzantine)
        self.byzantine_rows = frozenset(kinds)
        for row in range(len(self.config.rows)):
            skew = self.chance.randint(-settings.skew_ms, settings.skew_ms)
            kind = kinds.get(row)
            self.nodes.append(Adversary(self, row, skew, kind) if kind else SimulatedNode(self, row, skew))

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
        while self._queue and self._queue[0][0] <= end:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        judged = range(first + SILENT_SLOTS, first + settings.slots)
        self.verdict.judge(config, judged, self.chain, self.byzantine_rows)
        return self.verdict

    def _split(self) -> None:
        """Once a slot: perhaps start a partition that heals after a few slots; forget decoded bytes."""
        self._decoded.clear()
        width = self.settings.slot_seconds * 1_000
        if self.chance.randrange(1_000) < self.settings.partition:
            rows = frozenset(row for row in range(len(self.nodes)) if self.chance.random() < 0.4)
            self.sides = (rows, self.now_ms + self.chance.randrange(width // 4, 4 * width))
        self.at(self.now_ms + width, self._split)

    def land(self, blob: bytes) -> None:
        """Let a transaction reach the chain now."""
        self.chain.transmit(blob, self.now_ms, self.verdict)

    def carry(self, source: int, to: int, data: bytes, slot: int) -> None:
        """Lose, delay, double or deliver bytes; note what the liveness promise may not count on."""
        settings, chance = self.settings, self.chance
        self.verdict.bytes_sent += len(data)
        self.verdict.messages += 1
        rows, until = self.sides
        parted = self.now_ms < until and (source in rows) != (to in rows)
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
        if node.core is None:
            self.verdict.cut.add(link)
            return
        found = self._decoded.get(data)
        if found is None:
            try:
                found = decode(data, self.config)
            except PeerFault as fault:
                found = fault.rule
            self._decoded[data] = found
        if isinstance(found, str):
            self.verdict.counts[f"undecoded:{found}"] += 1
        else:
            node.tell(Received(found))


def simulate(settings: Settings) -> Verdict:
    """Run one simulation and return its verdict."""
    return Simulation(settings).run()
