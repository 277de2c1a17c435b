"""Are the rows there, once, in order, and are their numbers possible: checks of one series by itself.

Why this file exists: the plain faults come first, as every other check assumes that they are not there. Never in it:
other sources, the future.

A gap is a silence longer than ten slots and three times the series' own 99th percentile of silences; where silences
pile up at one length (90th and 99th percentile within a tenth: a heartbeat), longer than one and a half of that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from feeds.quality.findings import Bools, Finding, Ints, counted, duration, places
from feeds.quality.table import Series, Table

SLOTS = 10
"""Slots of silence, or without a change, from which on a source counts as dead, stuck or frozen."""
_HOUR = 3_600_000_000
_WEEK = 168 * _HOUR


def check_rows(table: Table) -> Iterator[Finding]:
    """Faults of the table as a whole: rows given twice, columns that say nothing."""
    frame = pd.DataFrame({**table.numbers, **table.codes, **({} if table.time is None else {"_time": table.time})})
    twice = frame.duplicated().to_numpy()
    if twice.any():
        where = f"row {int(np.argmax(twice)) + 1}" + (f" and {twice.sum() - 1} more" if twice.sum() > 1 else "")
        yield Finding(
            "duplicate rows", "error", where, f"{twice.sum()} rows say the same as an earlier one in every column",
            "keep one of each, unless repetition is meant", int(twice.sum()),
        )  # fmt: skip
    for name, column in table.numbers.items():
        empty = np.isnan(column)
        if empty.all():
            yield Finding("empty column", "info", name, "holds no value at all", "leave it out", table.rows)
        elif empty.any():
            what = f"{empty.sum()} of {table.rows} cells are empty ({empty.mean():.2%})"
            yield Finding("empty cells", "warning", name, what, "decide what absence means there", int(empty.sum()))


def check_series(series: Series) -> Iterator[Finding]:
    """Order, times given twice, gaps, missing bars, and numbers that cannot be."""
    yield from check_order(series)
    yield from check_gaps(series)
    yield from check_missing(series)
    yield from check_numbers(series)


def check_order(series: Series) -> Iterator[Finding]:
    """Rows that stand before earlier ones, and times that occur twice."""
    in_file = series.ts[np.argsort(series.rows, kind="stable")]
    back = np.flatnonzero(np.diff(in_file) < 0)
    if len(back):
        yield Finding(
            "time order", "warning", series.where, f"{counted(len(back), 'row')} earlier than the row before: "
            f"{places(in_file[back + 1])}", "sort by time, and see why they came late", len(back),
            (int(in_file[back + 1].min()), int(in_file[back + 1].max())),
        )  # fmt: skip
    same = np.flatnonzero(np.diff(series.ts) == 0)
    if len(same):
        differ = int((series.price[same] != series.price[same + 1]).sum())
        what = f"{counted(len(same), 'row')} with the time of the row before, {differ} of them at another price: "
        yield Finding(
            "time twice", "error" if differ and series.regular else "warning", series.where,
            what + places(series.ts[same]), "keep the one that was known first, or tell them apart", len(same),
            (int(series.ts[same].min()), int(series.ts[same].max())),
        )  # fmt: skip


def gap_limit(series: Series) -> int:
    """The silence in microseconds beyond which it is a gap; 0 for fewer than 20 rows."""
    gaps = np.diff(series.ts)
    gaps = gaps[gaps > 0]
    if len(gaps) < 20:
        return 0
    usual, long = np.quantile(gaps, [0.9, 0.99])
    if not series.regular and long <= 1.1 * usual:
        return int(1.5 * long)
    return int(max(SLOTS * series.step, 3 * long))


def gaps_of(series: Series) -> tuple[Ints, Ints]:
    """Where gaps begin (the time of the last row before) and how long they are, in microseconds."""
    limit = gap_limit(series)
    silences = np.diff(series.ts)
    found = np.flatnonzero(silences > limit) if limit else np.empty(0, np.int64)
    return series.ts[found], silences[found]


def check_gaps(series: Series) -> Iterator[Finding]:
    """Silences, those that come back every week apart."""
    starts, lengths = gaps_of(series)
    weekly = weekly_closures(starts, lengths)
    for mask, check, severity, mend in (
        (weekly, "weekly closure", "info", "no forecast over it; a bar after it is no step of one bar"),
        (~weekly, "gap", "warning", "see what happened, do not fill it; leave targets across it out"),
    ):
        if mask.any():
            low, high = starts[mask], lengths[mask]
            what = f"{counted(mask.sum(), 'silence')}, {duration(high.sum())} in all: {places(low, high)}"
            span = int(low.min()), int((low + high).max())
            yield Finding(check, severity, series.where, what, mend, int(mask.sum()), span)  # type: ignore[arg-type]


def weekly_closures(starts: Ints, lengths: Ints) -> Bools:
    """Which gaps are a market's weekend: a day or longer, most of them at one time of the week (an hour of summer
    time).
    """
    long = lengths >= 24 * _HOUR
    mask: Bools = np.zeros(len(starts), bool)
    if long.sum() < 4:
        return mask
    hours, counts = np.unique(starts[long] % _WEEK // _HOUR, return_counts=True)
    apart = np.abs((starts % _WEEK // _HOUR - hours[np.argmax(counts)] + 84) % 168 - 84)
    mask = long & (apart <= 1) & (lengths <= 1.25 * np.median(lengths[long]))
    if 2 * mask.sum() < long.sum():
        mask[:] = False
    return mask


def check_missing(series: Series) -> Iterator[Finding]:
    """Single bars that are not there, on a regular grid, and whether they are missing at regular distances."""
    if not series.regular:
        return
    steps = np.diff(series.ts)
    limit = gap_limit(series) or 10**18
    holes = np.flatnonzero((steps > series.step) & (steps <= limit))
    missing = int((steps[holes] // series.step - 1).sum())
    if not missing:
        return
    share = missing / (len(series.ts) + missing)
    what = f"{missing} of {len(series.ts) + missing} bars missing outside of gaps ({share:.2%})"
    distances = np.diff(series.ts[holes]) // series.step
    if len(distances) >= 10:
        sizes, counts = np.unique(distances, return_counts=True)
        if counts.max() >= 0.8 * len(distances):
            what += f", every {sizes[np.argmax(counts)]} bars: that is a download, not a market"
            mend = "fetch the missing bars: pages of the download did not join"
            yield Finding("missing bars", "warning", series.where, what, mend, missing)
            return
    mend = "no trade is no bar: decide how features step over it"
    yield Finding("missing bars", "warning" if share > 0.01 else "info", series.where, what, mend, missing)


def check_numbers(series: Series) -> Iterator[Finding]:
    """Prices and volumes that cannot be, and bars whose sides contradict each other."""
    price, volume = series.price, series.volume
    body = np.stack([series.open, series.price])
    with np.errstate(invalid="ignore"):
        broken = (series.high < body.max(axis=0)) | (series.low > body.min(axis=0))
        faults = (
            ("no price", "error", ~np.isfinite(price), "price is empty or infinite", "leave the rows out"),
            ("zero price", "error", price == 0, "price is zero", "leave the rows out: zero is no price"),
            ("negative price", "error", price < 0, "price is below zero", "leave them out, unless the market has such"),
            ("negative volume", "error", volume < 0, "volume is below zero", "leave the rows out"),
            ("broken bar", "warning", broken, "high below or low above open or close", "use only the close of these"),
        )
    for check, severity, mask, what, mend in faults:
        if mask.any():
            times = series.ts[mask]
            text = f"{counted(mask.sum(), 'row')}: {what}: {places(times)}"
            span = int(times[0]), int(times[-1])
            yield Finding(check, severity, series.where, text, mend, int(mask.sum()), span)  # type: ignore[arg-type]
    if series.has_volume and (idle := float((volume == 0).mean())) > 0.2:
        what = f"{idle:.0%} of the rows have no volume: the price only repeats the last trade"
        yield Finding(
            "idle", "info", series.where, what, "weigh it low; do not count its agreement as a second opinion"
        )
