"""Runs the rounds of a back-test: many cores, one queue, one embedded chain.

Why this file exists: it performs effects as `oracle/node.py` does, without sockets, so that a round costs milliseconds.
Every message goes through its wire format, every signature is made and checked. Never in it: scores.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from web3.logs import DISCARD

from feeds.sources.source import FeedError
from feeds.types import SECOND, Micros
from models.bundle import BundleError
from models.features import FeatureError
from models.panel import PanelError
from models.train import TrainingError
from oracle.backtest.plan import Plan, Setup, prepare
from oracle.backtest.result import BacktestResult, Round, make_result
from oracle.consensus.events import (
    Broadcast,
    ChainHeads,
    Count,
    Effect,
    Event,
    Head,
    JournalState,
    Observe,
    Observed,
    ReadHeads,
    Received,
    Send,
    SetTimer,
    Sign,
    Signed,
    SlotStarted,
    TimerFired,
    Transmit,
)
from oracle.consensus.messages import Message
from oracle.consensus.network import FeedId, Slot
from oracle.consensus.protocol import Core
from oracle.consensus.wire import decode, encode
from oracle.consensus.words import FLAG_FINAL, FLAG_VECTOR, FeedWord, unpack_vector, unpack_word
from oracle.errors import ConfigError
from oracle.journal import OwnValue
from oracle.keys import recover

REFUSALS = (ConfigError, FeedError, BundleError, FeatureError, PanelError, TrainingError)
"""What a plan, its data or its bundles can be refused with: each says in one line what to mend."""
Stored = dict[FeedId, tuple[FeedWord, tuple[int, ...]]]


def replay(plan: Plan) -> BacktestResult:
    """Run the plan and return what the chain and the scores show.

    Raises one of `REFUSALS`, without the frames below: a modeller who reads a failed test needs the line alone.
    """
    __tracebackhide__ = True
    try:
        setup, rounds = asyncio.run(_run(plan))
    except REFUSALS as refusal:
        raise refusal.with_traceback(None) from None
    return make_result(setup, rounds)


async def _run(plan: Plan) -> tuple[Setup, list[Round]]:
    setup = await prepare(plan)
    try:
        return setup, await _Network(setup).run()
    finally:
        await setup.watch.close()


@dataclass(slots=True)
class _Network:
    """Validators, their messages and timers, and what the chain has shown so far."""

    setup: Setup
    now_ms: int = 0
    cores: list[Core] = field(default_factory=list)
    queue: deque[tuple[int, Event]] = field(default_factory=deque)
    timers: list[tuple[int, int, int, Event]] = field(default_factory=list)
    order: count[int] = field(default_factory=count)
    heads: dict[FeedId, Head] = field(default_factory=dict)
    own: dict[int, dict[int, OwnValue]] = field(default_factory=dict)
    sighting: Observed | None = None
    stored: Stored = field(default_factory=dict)
    gas: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    async def run(self) -> list[Round]:
        """One round for every bar of the plan; the hours between them that were closed are jumped over."""
        config = self.setup.net.active
        self.now_ms = config.slot_start_ms(config.first_slot)
        self.cores = [Core(config, row, recover) for row in range(len(config.rows))]
        self._tell_all(JournalState(empty=False))
        return [await self._slot(at) for at in self.setup.starts]

    async def _slot(self, at: int) -> Round:
        """The round of the slot that begins at `at` (UTC seconds)."""
        config = self.setup.net.active
        self.now_ms, self.stored, self.gas, self.sighting = at * 1000, {}, 0, None
        slot = config.slot_at(self.now_ms)
        await self.setup.watch.poll(Micros(at * SECOND))
        self._tell_all(SlotStarted(slot))
        end = config.slot_start_ms(slot + 1)
        while self.queue or (self.timers and self.timers[0][0] < end):
            if not self.queue:
                due, _, row, event = heapq.heappop(self.timers)
                self.now_ms = max(self.now_ms, due)
                self.queue.append((row, event))
            row, event = self.queue.popleft()
            for effect in self.cores[row].receive(event, self.now_ms):
                self._perform(row, effect)
        return Round(slot, at, self.gas, self.stored)

    def _tell_all(self, event: Event) -> None:
        self.queue.extend((row, event) for row in range(len(self.cores)))

    def _perform(self, row: int, effect: Effect) -> None:
        """As the node does; `Attested` and `Accuse` need nothing here: results are read from the chain."""
        config = self.setup.net.active
        match effect:
            case Observe(slot):
                self.queue.append((row, self._observe(slot)))
            case Sign(kind, slot, digest):
                key = self.setup.net.keys[config.rows[row].address]
                self.queue.append((row, Signed(kind, slot, digest, key.sign(digest))))
            case Broadcast(message):
                for peer in range(len(self.cores)):
                    if peer != row:
                        self._deliver(peer, message)
            case Send(to, message):
                self._deliver(config.index_of(to), message)
            case SetTimer(timer, at_ms):
                heapq.heappush(self.timers, (at_ms, next(self.order), row, TimerFired(timer)))
            case ReadHeads():
                self.queue.append((row, ChainHeads(dict(self.heads))))
            case Transmit(attested, pages):
                self._transmit(attested.blob(pages))
            case Count(name, detail):
                self.counts[f"{name} {detail}".rstrip()] += 1

    def _deliver(self, row: int | None, message: Message) -> None:
        if row is not None:
            config = self.setup.net.active
            self.queue.append((row, Received(decode(encode(message, config), config))))

    def _observe(self, slot: Slot) -> Observed:
        """All validators carry the same sources and bundles, so one look serves them all."""
        if self.sighting is None:
            past = self.own.get(slot - 1, {}), self.own.get(slot - 2, {})
            seen = self.setup.watch.see(self.setup.net.active, slot, Micros(self.now_ms * 1000), past)
            self.own = {slot - 1: past[0]}
            self.own[slot] = {int(v.feed): OwnValue(v.value, v.outside_run) for v in seen.values if v is not None}
            self.sighting = Observed(slot, self.now_ms // 1000, seen.values)
        return self.sighting

    def _transmit(self, blob: bytes) -> None:
        """Put a report on chain and learn from its event what was stored."""
        net = self.setup.net
        net.chain.move_to(max(net.chain.now, self.now_ms // 1000))
        receipt = net.transmit(blob)
        self.gas += int(receipt["gasUsed"])
        for event in net.core.aggregator.events.Transmitted().process_receipt(receipt, errors=DISCARD):
            self._take(event["args"])

    def _take(self, event: Mapping[str, Any]) -> None:
        config, words = self.setup.net.active, iter(event["words"])
        for packed in words:
            word = unpack_word(packed)
            spec = config.feed(word.feed)
            if spec is None:
                continue
            parts = unpack_vector(spec, next(words)) if word.flags & FLAG_VECTOR else ()
            self.stored[spec.number] = (word, parts)
            final = bool(word.flags & FLAG_FINAL)
            before = self.heads.get(spec.number)
            kept = before is not None and word.invalid
            value, shown = (before.value, before.components) if before is not None and kept else (word.value, parts)
            self.heads[spec.number] = Head(spec.number, Slot(event["slot"]), word.invalid, value, shown, final)
