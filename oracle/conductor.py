"""Stepped time for a network of nodes: replays run as fast as the machine allows, with the same numbers every time.

Why this file exists: nodes of a devnet have clocks that only move when told. The conductor waits until nothing is
under way anywhere (two equal, idle waves of readings; see `clock.py`), then moves the chain and all nodes to the
earliest timer of any node. All clocks show the new time before any node acts on it. Never in here: starting or
stopping processes, anything about slots' content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from oracle.chain.rpc import Rpc
from oracle.errors import LocalFault

QUIET_S = 60.0
FIRST_PAUSE_S = 0.001
LAST_PAUSE_S = 0.02


class NeverQuiet(LocalFault):
    """Some node has had work in progress, or a message under way, for too long."""


class ClockLost(LocalFault):
    """A node did not answer about its clock."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One node's answer of `/v1/clock`; the counters are explained in `clock.py`."""

    now_ms: int
    next_timer_ms: int | None
    sent: int
    handled: int
    busy: int
    begun: int


class Conductor:
    """Moves time for the nodes in `urls` (by node number; add and remove freely between calls) and for the chain."""

    def __init__(self, session: aiohttp.ClientSession, chain: Rpc, now_ms: int) -> None:
        self._session = session
        self._chain = chain
        self.now_ms = now_ms
        self.urls: dict[int, str] = {}
        self.steps = 0

    async def advance_to(self, until_ms: int) -> None:
        """Run every timer before `until_ms`, then stand at `until_ms` with its timers not fired yet.

        So that "the end of a slot" is the moment before the next one begins to act. Raises NeverQuiet, ClockLost.
        """
        while True:
            readings = await self.quiet()
            due = [r.next_timer_ms for r in readings.values() if r.next_timer_ms is not None]
            target = min(due, default=until_ms)
            if target >= until_ms:
                break
            await self._move(max(target, self.now_ms))
        await self._move(until_ms, fire=False)

    async def jump(self, to_ms: int) -> None:
        """Stand at `to_ms` with no timer fired on the way; those overdue then fire with the next `advance_to`."""
        await self.quiet()
        if to_ms > self.now_ms:
            await self._move(to_ms, fire=False)

    async def quiet(self) -> Mapping[int, Reading]:
        """Wait until nothing is under way in the whole network; returns the readings of that moment."""
        deadline = asyncio.get_running_loop().time() + QUIET_S
        pause, before = FIRST_PAUSE_S, None
        while True:
            readings = await self._wave(None)
            idle = all(reading.busy == 0 for reading in readings.values())
            settled = sum(reading.sent - reading.handled for reading in readings.values()) == 0
            if idle and settled and readings == before:
                return readings
            if asyncio.get_running_loop().time() > deadline:
                raise NeverQuiet(f"the network did not come to rest in {QUIET_S:.0f} s at {self.now_ms} ms: {readings}")
            if not (idle and settled):
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LAST_PAUSE_S)
            before = readings

    async def _move(self, now_ms: int, *, fire: bool = True) -> None:
        """Chain and all clocks to `now_ms`; only then are the timers of that moment fired."""
        self.now_ms = now_ms
        hold = {"now_ms": now_ms, "hold": True}
        await asyncio.gather(self._chain.request("dodona_setTime", now_ms // 1000), self._wave(hold))
        if fire:
            self.steps += 1
            await self._wave({"now_ms": now_ms})

    async def _wave(self, body: Mapping[str, Any] | None) -> dict[int, Reading]:
        numbers = sorted(self.urls)
        answers = await asyncio.gather(*(self._clock(number, body) for number in numbers))
        return dict(zip(numbers, answers, strict=True))

    async def _clock(self, number: int, body: Mapping[str, Any] | None) -> Reading:
        url = self.urls[number] + "/v1/clock"
        try:
            request = self._session.get(url) if body is None else self._session.post(url, json=body)
            async with request as response:
                answer = await response.json()
                if response.status != 200:
                    raise ClockLost(f"node {number} refused to move its clock: {answer}")
                return Reading(**answer)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, TypeError) as error:
            reason = str(error) or type(error).__name__
            raise ClockLost(f"node {number} at {url} lost its clock ({reason}); see its log") from error
