"""Every source at once against hostile servers for as long as is asked, and the judge of its memory.

Why this file exists: a node runs for months on sources that fail every hour. What grows by a hundred bytes a request,
what is lost for good after an outage, and what escapes as an exception that nobody sees, shows only here.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from feeds.sources.http import Http
from feeds.sources.live import Backoff, Live
from feeds.sources.source import FeedError, SourceDefect, check_quote
from feeds.types import SECOND, Micros
from tests.feeds.sources.check_suite import BEGIN, LIMITS, Rig, Stage, StageTime
from tests.feeds.sources.hostile import HostileServer

SPEED = 20.0
"""Seconds of the stage in one of ours: holds of seconds pass in a moment, so that there are requests to count."""
MAX_GROWTH = 50.0
"""Bytes a request that memory may seem to grow by; a leak of 100 is twice this."""
WARM_UP = 0.3
"""Share of the run before memory is looked at: code is loaded, caches fill. It ends when every source has spoken."""
LOOKS = 30
QUIET_S = 0.4
"""Our seconds of honest answers before each look at memory, so that no flood or bomb is under way."""
PATIENCE = replace(LIMITS, most_retry_after_s=2.0)
"""A host is never left alone for long: an hour of the soak should hold requests, not pauses."""


class FastTime(StageTime):
    """The machine's clock, `SPEED` times as fast."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property  # type: ignore[override]
    def now(self) -> Micros:
        """UTC microseconds on the stage."""
        return Micros(BEGIN + int((time.monotonic() - self._began) * SPEED * SECOND))

    async def pause(self, seconds: float) -> None:
        """Wait so many seconds of the stage."""
        await asyncio.sleep(seconds / SPEED)


@dataclass
class Record:
    """What became of one source. `recoveries`: how often quotes came again after a failure."""

    quotes: int = 0
    failures: int = 0
    recoveries: int = 0
    late: int = 0
    """Quotes in the last third of the run."""
    failing: bool = False


@dataclass
class Outcome:
    """What the whole run showed. `memory`: (requests so far, bytes in use) at each look after the warm-up."""

    sources: dict[str, Record] = field(default_factory=dict)
    unhandled: list[str] = field(default_factory=list)
    memory: list[tuple[int, int]] = field(default_factory=list)
    requests: int = 0

    @property
    def growth(self) -> float:
        """Bytes a request."""
        return growth(self.memory)


def growth(samples: Sequence[tuple[int, int]]) -> float:
    """The slope of bytes over requests: the median of the slopes of all pairs (Theil 1950, Sen 1968)."""
    slopes = [
        (after[1] - before[1]) / (after[0] - before[0])
        for number, before in enumerate(samples)
        for after in samples[number + 1 :]
        if after[0] > before[0]
    ]
    assert len(slopes) >= 10, "too few looks at the memory to judge it"
    return median(slopes)


async def soak(
    rigs: Sequence[Rig], seconds: float, share: float = 0.4, enough: Callable[[Outcome], bool] = lambda _: False
) -> Outcome:
    """Run all `rigs` for so long, or until it is `enough`, polled in turn as a node does.

    A `share` of the requests suffers a fault.
    """
    outcome, stage_time = Outcome(), FastTime()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: outcome.unhandled.append(repr(context)))
    async with AsyncExitStack() as stack:
        http = Http(clock=stage_time.clock, limits=PATIENCE, steady=stage_time.steady, pause=stage_time.pause)
        stack.push_async_callback(http.close)
        servers, lives = [], []
        for number, rig in enumerate(rigs):
            assert rig.honest is not None
            server = HostileServer(rig.honest(stage_time), seed=number, share=share)
            servers.append(await stack.enter_async_context(server))
            origin: Any = rig.build(Stage(server.url, http, stage_time))
            backoff = Backoff(first=0.2, most=5.0)
            live = Live(origin, 0.2, clock=stage_time.clock, backoff=backoff, cutoff=2.0, pause=stage_time.pause)
            stack.push_async_callback(live.close)
            lives.append(live)
            outcome.sources[rig.name] = Record()
        tracemalloc.start()
        try:
            polled = dict(zip(outcome.sources, lives, strict=True))
            await _watch(polled, servers, stage_time, seconds, outcome, enough)
        finally:
            tracemalloc.stop()
    gc.collect()
    await asyncio.sleep(0)
    return outcome


async def _watch(
    lives: dict[str, Live],
    servers: Sequence[HostileServer],
    now: FastTime,
    seconds: float,
    outcome: Outcome,
    enough: Callable[[Outcome], bool],
) -> None:
    began, look = time.monotonic(), WARM_UP
    while (spent := (time.monotonic() - began) / seconds) < 1.0 and not enough(outcome):
        for name, live in lives.items():
            await _poll(live, now, outcome.sources[name], spent > 0.67)
        outcome.requests = sum(server.requests for server in servers)
        warm = all(record.quotes for record in outcome.sources.values())
        if spent >= look and warm:
            look = spent + (1.0 - WARM_UP) / LOOKS
            outcome.memory.append(await _look(servers, outcome.requests))
        await asyncio.sleep(0.01)


async def _look(servers: Sequence[HostileServer], requests: int) -> tuple[int, int]:
    """Memory in use while every server is honest for a moment."""
    for server in servers:
        server.random = False
    await asyncio.sleep(QUIET_S)
    gc.collect()
    for server in servers:
        server.random = True
    return requests, tracemalloc.get_traced_memory()[0]


async def _poll(live: Live, now: FastTime, record: Record, late: bool) -> None:
    try:
        quotes = await live.poll(now.now)
    except SourceDefect:
        raise
    except FeedError:
        record.failures, record.failing = record.failures + 1, True
        return
    for quote in quotes:
        check_quote(quote)
    if quotes:
        record.quotes += len(quotes)
        record.late += len(quotes) * late
        record.recoveries += record.failing
        record.failing = False
