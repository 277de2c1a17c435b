"""Recorded data played as if it happened now, at any speed.

Why this file exists: `ReplaySource` shows the past at its own times, which a node on a stepped clock follows; a screen,
a demonstration or a network on the machine's clock needs the same rows at times of today. Never in it: reading files,
waiting: the pace follows from the `now` that each poll is given.

`Playback` maps one clock on to the other: recorded time = `start` + (now - first poll) x speed. Sources that share a
`Playback` stay in step with each other, whoever is polled first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from feeds.sources.replay import ReplaySource
from feeds.sources.source import BadRule, MissingData
from feeds.types import Micros, Quote

MAX_SPEED = 1_000_000.0
"""Recorded seconds in one second of ours."""


class Playback:
    """The mapping between recorded time and ours.

    `start`: recorded time of the first poll. `speed`: recorded seconds a second; None plays as fast as asked: each
    new `now` shows the next recorded moment at which any of the sources has something.
    """

    def __init__(self, start: Micros, speed: float | None = 1.0) -> None:
        """It begins at the first poll. Raises BadRule."""
        if speed is not None and not 1e-3 <= speed <= MAX_SPEED:
            raise BadRule("playback: speed", speed, f"from 0.001 to {MAX_SPEED:g}, or None for as fast as asked")
        self.start, self.speed = start, speed
        self.sources: list[ReplaySource] = []
        """Sources that None as speed looks ahead in."""
        self._began: Micros | None = None
        self._asked = Micros(-1)
        self._shown = Micros(start - 1)

    def recorded(self, now: Micros) -> Micros:
        """The recorded time that is shown at `now`. A clock that goes back stops it, never turns it back."""
        if self._began is None:
            self._began = now
        if self.speed is not None:
            self._shown = max(self._shown, Micros(self.start + int((now - self._began) * self.speed)))
        elif now > self._asked:
            coming = [moment for source in self.sources if (moment := source.next_known_at()) is not None]
            self._shown = max(self._shown, min(coming, default=self._shown))
        self._asked = max(self._asked, now)
        return self._shown

    def ours(self, recorded: Micros, now: Micros) -> Micros:
        """Our time for a recorded one, never after `now`; as fast as asked: an age shrinks to nothing."""
        if self.speed is None or self._began is None:
            return now
        return min(now, Micros(self._began + int((recorded - self.start) / self.speed)))


class PlayedSource:
    """One recorded source on a `Playback`: its quotes with times of ours, ages divided by the speed."""

    def __init__(self, source: ReplaySource, playback: Playback) -> None:
        """Join the playback."""
        self._source, self._playback = source, playback
        playback.sources.append(source)

    @property
    def name(self) -> str:
        """The recorded source's name."""
        return self._source.name

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols recorded."""
        return self._source.symbols

    @property
    def refused(self) -> Counter[str]:
        """Rows refused so far, by the field at fault."""
        return self._source.refused

    async def poll(self, now: Micros) -> list[Quote]:
        """Rows that this moment of the playback adds. Raises SourceClosed."""
        quotes = await self._source.poll(self._playback.recorded(now))
        ours = self._playback.ours
        return [replace(quote, ts=ours(quote.ts, now), known_at=ours(quote.known_at, now)) for quote in quotes]

    async def close(self) -> None:
        """Refuse further polls."""
        await self._source.close()


def play(sources: Sequence[ReplaySource], speed: float | None = 1.0, start: Micros | None = None) -> list[PlayedSource]:
    """`sources` in step with each other, from `start` (their first row by default). Raises BadRule, MissingData."""
    if start is None:
        coming = [moment for source in sources if (moment := source.next_known_at()) is not None]
        if not coming:
            raise MissingData("any row to play", "the recorded sources", "choose an earlier start, or another file")
        start = min(coming)
    playback = Playback(start, speed)
    return [PlayedSource(source, playback) for source in sources]
