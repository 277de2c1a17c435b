"""The node's only time: the system's, or a stepped one that moves when it is told to.

Why this file exists: a replay of days must run as fast as the machine allows and give the same numbers every time, so
every part of a node that waits asks a `Clock`, and every piece of work in progress is counted in an `Activity`.
Never in it: anything that knows what a slot, a feed or a message is.

How a conductor knows that a stepped network is quiet: each node's `sent` counts deliveries that it took on, `handled`
counts those of its own deliveries that are over (the peer had handled the message before it answered, or the delivery
was given up), `busy` counts its own work in progress (messages being handled, signing, RPC calls, timers firing).
A handler raises its own counters before it answers, so at every moment some counter of some node shows what is under
way; if two waves of readings are equal and idle (`busy == 0`, sums of `sent` and `handled` equal), the network is
quiet (Mattern 1987, the four-counter method). Counters of a killed node vanish with both of their sides.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from oracle.errors import LocalFault

Fire = Callable[[], None]
"""What a timer does when it is due. It must not block: it starts work, it does not do it."""


class Clock(Protocol):
    """UTC time in whole milliseconds, and timers on it."""

    @property
    def stepped(self) -> bool:
        """True where time moves only when it is told to."""
        ...

    def now_ms(self) -> int:
        """The time now, UTC milliseconds since the Unix epoch."""
        ...

    def call_at(self, at_ms: int, fire: Fire) -> None:
        """Call `fire` once the clock shows `at_ms` or later; timers of one moment fire in the order they were set."""
        ...

    def next_timer_ms(self) -> int | None:
        """The moment of the earliest timer that has not fired, or None."""
        ...

    def close(self) -> None:
        """Forget every timer; nothing fires afterwards."""
        ...


class _Timers:
    """A heap of timers, earliest first, ties in the order they were set."""

    __slots__ = ("_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Fire]] = []
        self._order = itertools.count()

    def push(self, at_ms: int, fire: Fire) -> None:
        """Add a timer."""
        heapq.heappush(self._heap, (at_ms, next(self._order), fire))

    def next_ms(self) -> int | None:
        """The earliest timer's moment."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_ms: int) -> Iterator[Fire]:
        """Take out what is due, earliest first; what is added meanwhile counts too."""
        while self._heap and self._heap[0][0] <= now_ms:
            yield heapq.heappop(self._heap)[2]

    def clear(self) -> None:
        """Take out everything."""
        self._heap.clear()


class SystemClock:
    """The machine's UTC clock, timers on the running asyncio loop."""

    __slots__ = ("_closed", "_handle", "_timers")

    stepped = False

    def __init__(self) -> None:
        self._timers = _Timers()
        self._handle: asyncio.TimerHandle | None = None
        self._closed = False

    def now_ms(self) -> int:
        """The time now, UTC milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def call_at(self, at_ms: int, fire: Fire) -> None:
        """Call `fire` once the clock shows `at_ms` or later. Needs a running asyncio loop."""
        if self._closed:
            return
        self._timers.push(at_ms, fire)
        self._arm()

    def next_timer_ms(self) -> int | None:
        """The moment of the earliest timer that has not fired, or None."""
        return self._timers.next_ms()

    def close(self) -> None:
        """Forget every timer."""
        self._closed = True
        self._timers.clear()
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        """Wake up for the earliest timer, at least once a minute so that a stepped system clock is noticed."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        at = self._timers.next_ms()
        if at is not None and not self._closed:
            delay = min(max(at - self.now_ms(), 0), 60_000) / 1000
            self._handle = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        for fire in self._timers.pop_due(self.now_ms()):
            fire()
        self._arm()


class SteppedClock:
    """A clock that stands still until `advance`. Only for replays and rehearsals on one machine."""

    __slots__ = ("_now", "_timers")

    stepped = True

    def __init__(self, now_ms: int) -> None:
        self._now = now_ms
        self._timers = _Timers()

    def now_ms(self) -> int:
        """The time this clock was last told, UTC milliseconds since the Unix epoch."""
        return self._now

    def advance(self, now_ms: int, *, hold: bool = False) -> None:
        """Move to `now_ms` and fire what is due, in order. Raises LocalFault if that lies in this clock's past.

        `hold`: show the new time but fire nothing yet, so that all clocks of a network can be set before any node acts.
        """
        if now_ms < self._now:
            raise LocalFault(f"the stepped clock shows {self._now} ms and cannot go back to {now_ms} ms")
        self._now = now_ms
        if hold:
            return
        for fire in self._timers.pop_due(now_ms):
            fire()

    def call_at(self, at_ms: int, fire: Fire) -> None:
        """Call `fire` at the first `advance` to `at_ms` or later; a moment already past fires at once."""
        if at_ms <= self._now:
            fire()
        else:
            self._timers.push(at_ms, fire)

    def next_timer_ms(self) -> int | None:
        """The moment of the earliest timer that has not fired, or None."""
        return self._timers.next_ms()

    def close(self) -> None:
        """Forget every timer."""
        self._timers.clear()


@dataclass(slots=True)
class Activity:
    """What a node has under way; see the head of this file for what the three numbers promise.

    `sent`: deliveries to peers taken on. `handled`: of those, the ones that are over. `busy`: own work in progress.
    `begun`: own work ever begun, so that two equal readings mean that nothing happened in between.
    """

    sent: int = 0
    handled: int = 0
    busy: int = 0
    begun: int = field(default=0)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count the body as work in progress."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        """Count one more piece of work in progress."""
        self.begun += 1
        self.busy += 1

    def end(self) -> None:
        """One piece of work is over. Raises LocalFault if none was under way."""
        if self.busy < 1:
            raise LocalFault("activity: a piece of work ended twice")
        self.busy -= 1
