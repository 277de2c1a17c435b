"""Outcomes: what the price did after each bar. The only place in this room that looks ahead.

Why this file exists: training, learning online and evaluation must agree on what "the return over the next hour" is
when hours are missing. Never in it: anything that a forecast may read as an input.
"""

from __future__ import annotations

import numpy as np

from models.features import FloatArray, IntArray

SECOND = 1_000_000


def labels(ts: IntArray, close: FloatArray, horizons: tuple[int, ...], width: int) -> FloatArray:
    """Log returns (T, H) from each bar to its horizons.

    `ts` int64 (T,) UTC microseconds, rising; `close` (T,); `horizons` and `width` in seconds. The price at ts + h is
    the last close at or before ts + h that came after ts and is at most two widths old then; NaN where there is none
    (a weekend, the end of the series). The outcome is known at ts + h, not earlier.
    """
    found = np.full((len(ts), len(horizons)), np.nan)
    if not len(ts):
        return found
    logs = np.log(close)
    start = np.arange(len(ts))
    for column, horizon in enumerate(horizons):
        goal = ts + horizon * SECOND
        at = np.searchsorted(ts, goal, side="right") - 1
        good = (at > start) & (goal - ts[at] <= 2 * width * SECOND) & (goal <= ts[-1])
        found[good, column] = logs[at[good]] - logs[good]
    return found
