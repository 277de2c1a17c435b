"""Quotes -> open, high, low, close and volume, as they could be known when the bar closed.

Why this file exists: charts, models and data sets want bars of their own width, and a bar that a late quote still
changes is a bar from the future. Never in it: files, a clock, a bar filled in where nothing was quoted.

A bar that ends at `end` is made of the quotes that came to be known in `(end - width, end]`, the interval of the
closes that models learn from (`feeds.series`), and so its close is theirs for one source: the quote with the newest
`ts`, of several the one known last. The open is the quote with the oldest. A quote whose `ts` was more than two widths
old at the end is passed over, there as here.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feeds.columns import from_table, groups_of

BARS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("ts", pa.int64(), nullable=False),
        pa.field("width", pa.int64(), nullable=False),
        pa.field("open", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("volume", pa.float64()),
        pa.field("known_at", pa.int64(), nullable=False),
    ]
)
"""Fields of `feeds.types.Bar`; `volume` is the sum of the sizes given, null where none was."""


def no_bars() -> pa.Table:
    """An answer without a bar."""
    return BARS.empty_table()


def bars_of(quotes: pa.Table, symbol: str, width: int) -> pa.Table:
    """Bars of quotes of one symbol, each statement once, with all quotes of every interval that they touch.

    `width`: microseconds. Ordered by `known_at`, then source. The sum of a volume does not hang on the order in which
    the quotes came.
    """
    columns = from_table(quotes)
    ends = -(-columns.known_at // width) * width
    fresh = np.flatnonzero(columns.ts > ends - 2 * width)
    columns, ends = columns.take(fresh), ends[fresh]
    if not len(columns):
        return no_bars()
    size = np.nan_to_num(columns.size, nan=-1.0)
    order = np.lexsort((size, columns.price, columns.known_at, columns.ts, columns.source, ends))
    columns, ends = columns.take(order), ends[order]
    bar = np.concatenate([[0], np.cumsum((np.diff(ends) != 0) | (np.diff(columns.source) != 0))])
    starts = np.array([start for _, start, _ in groups_of(bar)])
    last = np.append(starts[1:], len(bar)) - 1
    given = ~np.isnan(columns.size)
    volume = np.add.reduceat(np.where(given, columns.size, 0.0), starts)
    silent = np.add.reduceat(given.astype(np.int64), starts) == 0
    closed = ends[starts]
    sources = pc.take(pa.array(columns.sources, pa.string()), pa.array(columns.source[starts]))
    arrays = [
        sources,
        pa.array([symbol] * len(starts), pa.string()),
        pa.array(closed - width),
        pa.array(np.full(len(starts), width, np.int64)),
        pa.array(columns.price[starts]),
        pa.array(np.maximum.reduceat(columns.price, starts)),
        pa.array(np.minimum.reduceat(columns.price, starts)),
        pa.array(columns.price[last]),
        pa.array(volume, mask=silent),
        pa.array(closed),
    ]
    return pa.Table.from_arrays(arrays, schema=BARS)
