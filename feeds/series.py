"""Quotes -> the regular closes that models learn from and are served with.

Why this file exists: training and serving must see the same numbers, so both get their series here, from quotes as
they came to be known. Never in it: returns, features, a filled gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feeds.sources.source import BadRule
from feeds.store import to_frame
from feeds.types import Micros, Quote


class CloseSeries(NamedTuple):
    """Closes of one symbol. `ts`: int64 (N,), microseconds, multiples of the width, strictly ascending, the time at
    which the close is known; `close`: float64 (N,), above 0. Intervals without a quote (weekends) are left out.
    """

    ts: NDArray[np.int64]
    close: NDArray[np.float64]


def close_series(
    quotes: pd.DataFrame | Iterable[Quote], symbol: str, width: int, now: Micros | None = None
) -> CloseSeries:
    """Closes of `symbol` on a grid of `width` microseconds.

    `quotes`: an answer of `Store.as_of`, or quotes. An interval `(ts - width, ts]` of `known_at` closes at the median
    (mid of two) over its sources, of each the quote with the newest time. So the value at `ts` hangs only on what was
    known by `ts`, and more quotes known later never change it. Quotes that were more than two widths old at the close
    are passed over, and so is an interval that ends after `now` (by default the last `known_at`): it is not over. An
    interval whose mid is too large for a float is left out like one without a quote. Raises `BadRule` for a width
    below 1.
    """
    if width < 1:
        raise BadRule("series: width", width, "at least 1 microsecond")
    frame = quotes if isinstance(quotes, pd.DataFrame) else to_frame(quotes)
    rows = frame.loc[frame["symbol"] == symbol, ["source", "price", "ts", "known_at"]]
    known_at, ts = rows["known_at"].to_numpy(np.int64), rows["ts"].to_numpy(np.int64)
    end = -(-known_at // width) * width
    over = known_at.max(initial=0) if now is None else now
    rows = rows.assign(end=end)[(ts > end - 2 * width) & (end <= over)]
    if rows.empty:
        return CloseSeries(np.empty(0, np.int64), np.empty(0, np.float64))
    ordered = rows.sort_values(["end", "source", "ts", "known_at", "price"], kind="stable")
    last = ordered.drop_duplicates(["end", "source"], keep="last")
    closes = last.groupby("end", sort=True)["price"].median()
    closes = closes[np.isfinite(closes)]
    return CloseSeries(closes.index.to_numpy(np.int64), closes.to_numpy(np.float64))
