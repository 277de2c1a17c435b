"""Recorded prices under one name: what a back-test replays and what `dodona model train` learns from.

Why this file exists: both must read a file of bars the same way, and at the file's own bar width: a bar taken for
narrower than it is would show its close too early. Never in it: choosing a window, fusion, models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from feeds.series import CloseSeries, close_series
from feeds.sources.replay import EURUSD, load_csv
from feeds.sources.source import Source
from feeds.types import SECOND, Micros
from oracle.config import HOUR
from oracle.errors import ConfigError
from oracle.source_settings import ReplaySettings
from oracle.sources import open_sources

EMBEDDED = "eurusd"
"""Name of the two recorded EUR/USD series that the `demo` extra brings."""
END_OF_DATA = Micros(2**62)
MAX_SOURCES = 64
"""As many as one observation can name."""


class DataUnfit(ConfigError):
    """Recorded bars that cannot give the closes asked for; one line that names the file and the mend."""


def recorded_sources(data: str | Path, symbol: str, width: int) -> tuple[ReplaySettings, ...]:
    """Every source in `data` that has `symbol`, at the bar width that the file shows.

    `data`: "eurusd", or the path of a CSV as `feeds.sources.replay.load_csv` reads it. `width`: seconds between the
    closes that are wanted; recorded bars may be narrower, but must divide it. Raises DataUnfit, FeedError.
    """
    if str(data) == EMBEDDED:
        if symbol != EURUSD:
            raise DataUnfit(f"{EMBEDDED}: holds {EURUSD}, not {symbol}; name a file with bars of {symbol}")
        _check_width(data, symbol, HOUR, width)
        return tuple(ReplaySettings(name, f"{EMBEDDED}:{name}", symbol, HOUR) for name in ("ask", "mid"))
    frames = load_csv(data)
    found = {name: symbols[symbol] for name, symbols in sorted(frames.items()) if symbol in symbols}
    if not 1 <= len(found) <= MAX_SOURCES:
        held = ", ".join(sorted({other for symbols in frames.values() for other in symbols})[:20])
        raise DataUnfit(f"{data}: {len(found)} sources have {symbol}, allowed: 1 to {MAX_SOURCES}; it holds {held}")
    settings = []
    for name, frame in found.items():
        bar = _bar_width(frame)
        _check_width(data, symbol, bar, width)
        settings.append(ReplaySettings(name, f"{data}#{name}", symbol, bar))
    return tuple(settings)


def _bar_width(frame: pd.DataFrame) -> int:
    """The commonest step between bars, in seconds; 0 for a single bar."""
    steps = np.diff(frame["ts"].to_numpy(np.int64)) // SECOND
    sizes, counts = np.unique(steps[steps > 0], return_counts=True)
    return int(sizes[np.argmax(counts)]) if len(sizes) else 0


def _check_width(data: str | Path, symbol: str, bar: int, width: int) -> None:
    if bar < 1 or width % bar:
        raise DataUnfit(
            f"{data}: its bars of {symbol} are {bar} s apart, which does not divide {width} s; "
            "record narrower bars, or take a model of that width", given=bar, limit=width,
        )  # fmt: skip


async def recorded_series(sources: Sequence[Source], symbol: str, width: int) -> CloseSeries:
    """Closes of `symbol` every `width` seconds over all that the sources hold, by the nodes' own rule."""
    quotes = [quote for source in sources for quote in await source.poll(END_OF_DATA)]
    return close_series(quotes, symbol, width * SECOND)


def load_closes(data: str | Path, symbol: str, width: int) -> CloseSeries:
    """Closes of `symbol` every `width` seconds from `data` ("eurusd" or a CSV). Raises DataUnfit, FeedError."""
    return asyncio.run(recorded_series(open_sources(recorded_sources(data, symbol, width)), symbol, width))
