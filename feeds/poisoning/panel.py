"""Prices of several sources side by side, and what each says against the others.

Why this file exists: all checks of prices ask the same question, how one source differs from the rest, and must leave
out the same rows: bars in which nothing traded repeat an old price and say nothing. Never in it: a check, files.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from feeds.poisoning.finding import Flags, Floats, Ints
from feeds.types import SECOND

MAX_ROWS = 2_000_000
"""Most bars of one source that a check looks at; longer sets are looked at part by part."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of one symbol on one grid of times.

    `ts` (T,): microseconds, rising; `log` (T, S): logarithm of the close, NaN where a source has no sound bar; `volume`
    (T, S): base units, NaN where not said; `width`: microseconds between bars, the commonest step. Where a source has
    several bars of one time, the one of the least close counts, so that the order of rows decides nothing.
    """

    symbol: str
    sources: tuple[str, ...]
    ts: Ints
    log: Floats
    volume: Floats
    width: int

    @property
    def live(self) -> Flags:
        """(T, S): where a source has a price, and did not state that nothing traded."""
        found: Flags = np.isfinite(self.log) & ~(self.volume <= 0.0)
        return found

    def returns(self) -> Floats:
        """(T, S): change of the logarithm from the bar before, NaN unless both bars are live and follow each other."""
        live, found = self.live, np.full_like(self.log, np.nan)
        follows = (np.diff(self.ts) == self.width)[:, None]
        found[1:] = np.where(live[1:] & live[:-1] & follows, np.diff(self.log, axis=0), np.nan)
        return found

    def deviations(self) -> Floats:
        """(T, S): live logarithm of each source minus the median of the other live ones."""
        level = np.where(self.live, self.log, np.nan)
        return level - median_of_others(level)


def panels(frames: Mapping[str, Mapping[str, pd.DataFrame]]) -> tuple[Panel, ...]:
    """One panel per symbol from bars by source and symbol (`feeds.sources.replay.load_csv`)."""
    symbols = sorted({symbol for held in frames.values() for symbol in held})
    return tuple(
        _panel(symbol, {s: held[symbol] for s, held in frames.items() if symbol in held}) for symbol in symbols
    )


def _panel(symbol: str, frames: Mapping[str, pd.DataFrame]) -> Panel:
    sources = tuple(sorted(frames))
    ordered = {name: _first_of_each(frames[name]) for name in sources}
    ts = np.unique(np.concatenate([frame["ts"].to_numpy(np.int64) for frame in ordered.values()]))
    close, volume = (np.full((len(ts), len(sources)), np.nan) for _ in range(2))
    for column, name in enumerate(sources):
        rows = np.searchsorted(ts, ordered[name]["ts"].to_numpy(np.int64))
        close[rows, column] = ordered[name]["close"].to_numpy(np.float64)
        volume[rows, column] = ordered[name]["volume"].to_numpy(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        log = np.where(np.isfinite(close) & (close > 0.0), np.log(close), np.nan)
    return Panel(symbol, sources, ts, log, volume, bar_width(ts))


def _first_of_each(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(["ts", "close", "volume"], kind="stable").drop_duplicates("ts", keep="first")


def bar_width(ts: Ints) -> int:
    """The commonest step between times, in microseconds; one second where there are fewer than two."""
    steps, counts = np.unique(np.diff(ts), return_counts=True)
    return int(steps[np.argmax(counts)]) if len(steps) else SECOND


def median_of_others(values: Floats) -> Floats:
    """(T, S) -> (T, S): the median over the other columns, NaN where no other has a value.

    >>> median_of_others(np.array([[1.0, 2.0, 9.0]])).tolist()
    [[5.5, 5.0, 1.5]]
    """
    found = np.full_like(values, np.nan)
    for column in range(values.shape[1]):
        others = np.delete(values, column, axis=1)
        if others.shape[1]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # a time at which no other source has a value
                found[:, column] = np.nanmedian(others, axis=1)
    return found


def local_scale(values: Floats, block: int = 256) -> Floats:
    """(T,) -> (T,): spread around each value: 1.4826 times the median size in its block of rows and the two beside it.

    Never below a hundredth of the spread of the whole, so that a quiet hour does not make every tick an event.
    """
    size = np.abs(values)
    whole = 1.4826 * _median(size)
    edges = range(0, len(values), block)
    found = [1.4826 * _median(size[max(0, at - block) : at + 2 * block]) for at in edges]
    scales = np.repeat(np.array(found, dtype=np.float64), block)[: len(values)]
    return np.maximum(np.nan_to_num(scales), max(0.01 * whole, 1e-9))


def local_middle(values: Floats, block: int = 256) -> Floats:
    """(T,) -> (T,): the median in each value's block of rows and the two beside it."""
    edges = range(0, len(values), block)
    found = [_median(values[max(0, at - block) : at + 2 * block]) for at in edges]
    return np.repeat(np.array(found, dtype=np.float64), block)[: len(values)]


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0
