"""Checks of a plain table: columns of numbers in order of time, of which nobody says what they mean.

Why this file exists: every table deserves the plain checks, and one with a named label the question whether a column is
that label. Never in it: prices, events.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from feeds.quality.findings import Finding, Floats, Ints, duration, moment, places
from feeds.quality.motion import PSI_LIMIT, psi
from feeds.quality.table import Table

TELLS = 0.9999
MOST_NAMED = 8


def check_columns(table: Table, label: str | None = None) -> Iterator[Finding]:
    """Constant columns, time order, drift, outliers; with `label`, columns that are the label under another name."""
    if table.time is not None:
        yield from _check_time(table, table.time)
    constant, drifting, outlying = [], [], []
    for name, column in table.numbers.items():
        values = column[np.isfinite(column)]
        if len(values) > 1 and (values == values[0]).all():
            constant.append(name)
        if len(values) < 100 or name in ("ts", "timestamp", "time"):
            continue
        half = len(values) // 2
        index, chance = psi(values[:half], values[half:])
        if index > max(PSI_LIMIT, chance):
            drifting.append((index, name))
        if count := int(_outliers(values).sum()):
            outlying.append((count, name))
    if constant:
        what = f"one value in every row: {_named(constant)}"
        yield Finding("constant", "warning", table.name, what, "leave them out: they say nothing", len(constant))
    if drifting:
        drifting.sort(reverse=True)
        what = f"{len(drifting)} columns are distributed otherwise in the second half: "
        what += _named([f"{name} (PSI {index:.2f})" for index, name in drifting])
        mend = "season or change: split by time, never at random"
        yield Finding("drift", "info", table.name, what, mend, len(drifting))
    for count, name in sorted(outlying, reverse=True)[:MOST_NAMED]:
        what = f"{count} values lie further out than one in 100 such columns would have any"
        yield Finding("outliers", "warning", name, what, "look at them before any mean or square is taken", count)
    if label is not None:
        yield from _check_label(table, label)


def _named(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def _outliers(values: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Values further from the median than t(3) scaled to the quartiles gives once in 100 columns of this length."""
    middle = np.median(values)
    spread = float(np.quantile(np.abs(values - middle), 0.5)) / float(stats.t.isf(0.25, 3))
    if spread == 0:
        return np.zeros(len(values), bool)
    return np.abs(values - middle) > spread * float(stats.t.isf(1 / (200 * len(values)), 3))


def _check_time(table: Table, time: Ints) -> Iterator[Finding]:
    steps = np.diff(time)
    back = np.flatnonzero(steps < 0)
    if len(back):
        what = f"{len(back)} rows are earlier than the row before them: {places(time[back + 1])}"
        yield Finding("time order", "warning", table.name, what, "sort by time", len(back))
    ahead = steps[steps > 0]
    if len(ahead) < 20:
        return
    sizes, counts = np.unique(ahead, return_counts=True)
    step = int(sizes[np.argmax(counts)])
    holes = np.flatnonzero(steps > step)
    if 2 * counts.max() >= len(ahead) and len(holes):
        missing = int((steps[holes] // step - 1).sum())
        what = f"{missing} rows of one every {duration(step)} are missing in {len(holes)} places: "
        what += places(time[holes], steps[holes])
        yield Finding("gap", "warning", table.name, what, "do not fill them; leave targets across them out", len(holes))


def _check_label(table: Table, label: str) -> Iterator[Finding]:
    truth = table.numbers.get(label)
    if truth is None:
        known = ", ".join(list(table.numbers)[:20])
        what = f"there is no column of numbers {label}; there are {known}"
        yield Finding("label", "error", table.name, what, "name one of them with --label")
        return
    for name, column in table.numbers.items():
        both = np.isfinite(column) & np.isfinite(truth)
        if name == label or both.sum() < 30 or column[both].std() == 0 or truth[both].std() == 0:
            continue
        rho = float(np.corrcoef(stats.rankdata(column[both]), stats.rankdata(truth[both]))[0, 1])
        if abs(rho) > TELLS:
            since = "" if table.time is None else f" from {moment(int(table.time[both][0]))} on"
            what = f"orders the rows as the label {label} does (rank correlation {rho:+.5f}){since}"
            yield Finding(
                "leak", "error", name, what, "it is the label, or made from it: never a feature", int(both.sum())
            )
