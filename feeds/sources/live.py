"""From something that must be asked over a network to a `Source` whose poll never waits.

Why this file exists: a node polls all its sources in turn, so one that waits for its network makes every feed late. A
`Live` source does its waiting in a task of its own; `poll` drains what has arrived. Here too, once for all kinds: the
pace, the pause after a failure, the bound of the buffer, the end. Never in it: a wire format, HTTP.

What an origin may raise is a FeedError: the source is then failing, says so at the next poll that brings nothing, and
is asked again after a growing, jittered pause. Anything else is a mistake in the origin's code. It is not swallowed:
the task ends with it, the next poll raises `SourceDefect` from it with its type and place, and only a poll after the
pause starts a new task. The node goes on without that source and shows why; `defects` counts them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from feeds.sources.source import (
    BadRule,
    DepthSource,
    FeedError,
    QuoteGate,
    RateLimited,
    SourceClosed,
    SourceDefect,
    SourceUnavailable,
)
from feeds.types import SECOND, Depth, Micros, Quote

Clock = Callable[[], Micros]
"""Tells the time: UTC microseconds. Injected in tests."""
Pause = Callable[[float], Awaitable[object]]
"""Waits so many seconds. Injected in tests."""
MAX_BUFFER = 100_000
"""Most quotes that `Live` can be told to hold between two polls."""


def system_clock() -> Micros:
    """The UTC time of this machine."""
    return Micros(time.time_ns() // 1000)


class Origin(Protocol):
    """What fetchers and streamers have in common. `gate` admits their quotes and counts their refusals."""

    @property
    def name(self) -> str:
        """The source's name, as in its quotes."""
        ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that it can quote."""
        ...

    @property
    def gate(self) -> QuoteGate:
        """The door that every quote came through."""
        ...

    async def close(self) -> None:
        """Let go of what is its own (never of the shared `Http`); a second call does nothing."""
        ...


class Fetcher(Origin, Protocol):
    """Something that is asked again and again."""

    async def fetch(self) -> list[Quote]:
        """One round of requests. `known_at` is the clock's time once the answer was here.

        Raises SourceUnavailable (or another FeedError), nothing else.
        """
        ...


class Streamer(Origin, Protocol):
    """Something that speaks by itself once connected: a websocket."""

    def stream(self) -> AsyncIterator[list[Quote]]:
        """One connection's quotes as they arrive, an empty list as a sign of life.

        Ends, or raises a FeedError, when the connection is lost; it is then called again after a pause.
        """
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after the n-th failure in a row: first x factor^(n-1) seconds, at most `most`.

    `jitter` is the share of it that is drawn at random, so that many nodes do not come back in step (the "equal
    jitter" of the AWS Architecture Blog's Exponential Backoff And Jitter, 2015, at 0.5).
    """

    first: float = 1.0
    factor: float = 2.0
    most: float = 60.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Raise BadRule."""
        for field, given, low, high in (
            ("first", self.first, 1e-3, 3600.0),
            ("factor", self.factor, 1.0, 10.0),
            ("most", self.most, self.first, 86_400.0),
            ("jitter", self.jitter, 0.0, 1.0),
        ):
            if not low <= given <= high:
                raise BadRule(f"backoff: {field}", given, f"from {low} to {high}")

    def delay(self, failures: int, draw: float) -> float:
        """Seconds to wait after so many failures in a row; `draw` is a random number of [0, 1)."""
        if failures <= 0:
            return 0.0
        steps = min(failures - 1, 64)
        whole = self.most if self.factor**steps > self.most / self.first else self.first * self.factor**steps
        return whole * (1.0 - self.jitter * draw)


class Live:
    """A `Source` over a `Fetcher` or a `Streamer`. The first poll starts its task, `close` ends it.

    `every`: seconds from the start of one fetch to the start of the next (between connections of a stream: at least).
    `cutoff`: a fetch, or a stream's silence, that lasts longer is cut off and counts as a failure. `buffer`: most
    quotes held between two polls; the oldest fall out and are counted in `refused["overflow"]`.
    """

    def __init__(
        self,
        origin: Fetcher | Streamer,
        every: float,
        *,
        clock: Clock = system_clock,
        backoff: Backoff = Backoff(),
        cutoff: float = 60.0,
        buffer: int = 10_000,
        pause: Pause = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is asked yet. Raises BadRule."""
        for field, given, low, high in (("every", every, 1e-3, 86_400.0), ("cutoff", cutoff, 1e-3, 3600.0)):
            if not low <= given <= high:
                raise BadRule(f"source {origin.name}: {field}", given, f"from {low} to {high} seconds")
        if not 1 <= buffer <= MAX_BUFFER:
            raise BadRule(f"source {origin.name}: buffer", buffer, f"from 1 to {MAX_BUFFER} quotes")
        self.origin = origin
        self._every, self._cutoff, self._room = every, cutoff, buffer
        self._clock, self._backoff, self._pause, self._draw = clock, backoff, pause, draw
        self._arrived: list[Quote] = []
        self._task: asyncio.Task[None] | None = None
        self._fault: FeedError | None = None
        self._resume_at = Micros(0)
        self._closed = False
        self.failures = 0
        """Failures in a row up to now; 0 while the origin answers."""
        self.defects = 0
        """How often the origin failed with what is no FeedError."""

    @property
    def name(self) -> str:
        """The origin's name."""
        return self.origin.name

    @property
    def symbols(self) -> tuple[str, ...]:
        """The origin's symbols."""
        return self.origin.symbols

    @property
    def refused(self) -> Counter[str]:
        """What the origin's gate refused by field, and `overflow`: quotes that nobody polled in time."""
        return self.origin.gate.refused

    @property
    def fault(self) -> FeedError | None:
        """Why the origin is failing now; None while it answers."""
        return self._fault

    async def poll(self, now: Micros) -> list[Quote]:
        """What has arrived and was known by `now`, in order of `known_at`; never waits.

        Raises SourceClosed; and, if nothing has arrived, SourceUnavailable (or another FeedError) while the origin is
        failing, SourceDefect after a mistake in its code.
        """
        if self._closed:
            raise SourceClosed(self.name)
        self._tend(now)
        ready = sorted((q for q in self._arrived if q.known_at <= now), key=lambda quote: quote.known_at)
        self._arrived = [q for q in self._arrived if q.known_at > now]
        if not ready and self._fault is not None:
            raise self._fault.with_traceback(None)  # raised again and again, it must not grow
        return ready

    def depths(self, now: Micros) -> list[Depth]:
        """What the origin knows of its order books (`DepthSource`); nothing if it knows none."""
        return self.origin.depths(now) if isinstance(self.origin, DepthSource) else []

    async def close(self) -> None:
        """End the task and close the origin; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
                if not self._task.cancelled():
                    self._task.exception()  # seen: asyncio need not complain that nobody looked
        finally:
            await self.origin.close()

    def _tend(self, now: Micros) -> None:
        """Start the task, or take down what ended it and start it again once the pause is over."""
        if self._task is not None and self._task.done():
            self._fault = self.defect(self._task)
            self._task = None
            self.failures += 1
            self._resume_at = Micros(now + int(self._backoff.delay(self.failures, self._draw()) * SECOND))
        if self._task is None and (now >= self._resume_at or self._resume_at - now > self._backoff.most * SECOND):
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"source {self.name}")

    def defect(self, task: asyncio.Task[Any]) -> SourceDefect:
        """What ended a task that ran the origin's code, where that was no FeedError; counted."""
        self.defects += 1
        error = None if task.cancelled() else task.exception()
        if error is None:
            return SourceDefect(self.name, "its task was cancelled by its own code")
        while isinstance(error, BaseExceptionGroup):  # a TaskGroup wraps what failed in it
            error = error.exceptions[0]
        place, trace = "", error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            place, trace = f" in {code.co_name}, line {trace.tb_lineno}", trace.tb_next
        defect = SourceDefect(self.name, type(error).__name__ + place)
        defect.__cause__ = error
        return defect

    async def _run(self) -> None:
        while True:
            began = self._clock()
            try:
                await self._round()
            except TimeoutError:
                self._fail(SourceUnavailable(self.name, f"no answer within {self._cutoff:g} s"))
            except FeedError as error:
                self._fail(error)
            spent = max(0.0, (self._clock() - began) / SECOND)
            await self._pause(self._rest(spent))

    async def _round(self) -> None:
        """One fetch, or one connection of a stream."""
        if not hasattr(self.origin, "stream"):
            async with asyncio.timeout(self._cutoff):
                quotes = await self.origin.fetch()
            self._take(quotes)
            return
        batches = self.origin.stream()
        try:
            while True:
                async with asyncio.timeout(self._cutoff):
                    quotes = await anext(batches)
                self._take(quotes)
        except StopAsyncIteration:
            raise SourceUnavailable(self.name, "the stream ended") from None
        finally:
            close = getattr(batches, "aclose", None)
            if close is not None:
                await close()

    def _take(self, quotes: list[Quote]) -> None:
        self.failures, self._fault = 0, None
        self._arrived += quotes
        surplus = len(self._arrived) - self._room
        if surplus > 0:
            del self._arrived[:surplus]
            self.refused["overflow"] += surplus

    def _fail(self, error: FeedError) -> None:
        self.failures += 1
        error.__context__ = error.__traceback__ = None  # they would keep the frames of the request alive
        self._fault = error

    def _rest(self, spent: float) -> float:
        """Seconds until the next round."""
        rest = max(0.0, self._every - spent)
        if self.failures:
            rest = max(rest, self._backoff.delay(self.failures, self._draw()))
        if isinstance(self._fault, RateLimited):
            asked = (self._fault.retry_at - self._clock()) / SECOND
            rest = max(rest, min(asked, 3600.0))
        return rest
