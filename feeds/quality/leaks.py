"""Does a row know the future: since when it was known, and whether a column foretells what it cannot.

Why this file exists: a leak makes every back-test look good and every forecast bad, and it looks like skill. Never in
it: a model.

Beyond the possible: a column known before a step that explains its return with a rank correlation of .3 would explain a
tenth of all variance of the next step; what is known of markets is a hundredth at best (Gu, Kelly, Xiu 2020: monthly
R2 of .4 %). From .3 on it is an error; from .1 on, if chance gives that less than once in a million columns tested, a
warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from feeds.dataset.pack import times_of
from feeds.quality.findings import Bools, Finding, Floats, Ints, counted, duration, moment, places
from feeds.quality.table import Series, Table
from feeds.store import Store
from feeds.types import Micros

IMPOSSIBLE = 0.3
UNLIKELY = 0.1
MOMENTS = 8
"""Moments at which `as_of` is asked."""
MOST_ROWS = 200_000
"""Most rows of a series from which a correlation is taken: the last ones."""
KNOWN_COLUMNS = {"open", "high", "low", "close", "price", "volume", "size", "ts", "known_at", "ts_ms"}
_DAY = 86_400_000_000


def check_known(table: Table, series: Sequence[Series]) -> Iterator[Finding]:
    """Whether the data says since when each row was known, and whether that can be."""
    if table.known is None:
        mend = "name the column with --known (ts+60 for bars of a minute known at their close)"
        yield Finding("no known_at", "warning", table.name, "no column says since when a row was known", mend)
        return
    known = table.known
    if table.rows > 1 and (known == known[0]).all():
        what = f"every row was known at {moment(known[0])}: nothing can be asked as of an earlier moment"
        mend = "take the time at which each row could first be used, not that of the download"
        yield Finding("constant known_at", "error", table.name, what, mend, table.rows)
    for one in series:
        yield from _check_lag(table, one, known[one.rows])


def _check_lag(table: Table, series: Series, known: Ints) -> Iterator[Finding]:
    lag = known - series.ts
    early = lag < 0
    if early.any():
        what = f"{early.sum()} rows were known before their own time, by up to {duration(int(-lag.min()))}: "
        mend = "a clock or a unit is wrong: these rows foretell"
        times = series.ts[early]
        span = int(times.min()), int(times.max())
        what += places(times)
        yield Finding("known before its time", "error", series.where, what, mend, int(early.sum()), span)
    if table.shape == "bars" and series.regular and series.step:
        moving = series.high > series.low
        open_bar = (lag >= 0) & (lag < series.step) & moving
        if open_bar.any():
            what = f"{open_bar.sum()} bars of {duration(series.step)} were known before they had closed: "
            mend = "add the bar's width to known_at (--known ts+SECONDS), or the close foretells"
            times = series.ts[open_bar]
            span = int(times.min()), int(times.max())
            what += places(times)
            yield Finding("known before the close", "error", series.where, what, mend, int(open_bar.sum()), span)
    elif table.shape == "quotes" and len(lag) > 1 and (lag == 0).all():
        mend = "record the time of arrival: a copy of ts pretends that nothing takes time"
        yield Finding("known_at copies ts", "warning", series.where, "known_at is ts in every row", mend, len(lag))
    late = lag > 30 * _DAY
    if late.any():
        what = f"{late.sum()} rows were known more than 30 days after their time: backfilled"
        mend = "back-tests see them only then; if that is not meant, the known_at is of the download"
        yield Finding("known late", "warning", series.where, what, mend, int(late.sum()))


def check_as_of(table: Table) -> tuple[int, list[Finding]]:
    """Ask a packed data set or a store at several moments: how many were asked, and each that told of a later row."""
    if table.known is None or (table.dataset is None and table.store is None):
        return 0, []
    moments = np.unique(np.quantile(table.known, np.linspace(0, 1, MOMENTS), method="lower")).tolist()
    found = []
    for t in moments:
        told = _told(table, Micros(int(t)))
        due = table.known[table.known <= t]
        if (told > t).any() or not np.array_equal(np.sort(told), np.sort(due)):
            what = (
                f"as_of({moment(int(t))}) gave {len(told)} rows where {len(due)} were known, {(told > t).sum()} later"
            )
            found.append(
                Finding("as_of", "error", table.name, what, "do not use it: report this as a fault of the reader")
            )
    return len(moments), found


def _told(table: Table, t: Micros) -> Ints:
    """The `known_at` of every row that an `as_of` question is answered with."""
    if table.dataset is not None and table.dataset.manifest.known is not None:
        known = table.dataset.manifest.known
        parts = [times_of(rows, known) for rows in table.dataset.as_of(t)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)
    if table.store is None:
        return np.empty(0, np.int64)
    store = Store(table.store)
    try:
        return store.as_of(t)["known_at"].to_numpy(np.int64)
    finally:
        store.close()


def check_features(table: Table, series: Sequence[Series]) -> Iterator[Finding]:
    """Whether a column beside the prices knows the next return, or holds a later price."""
    columns = [name for name in table.numbers if name not in KNOWN_COLUMNS]
    tests = max(3 * len(columns) * len(series), 1)
    for name in columns:
        for one in series:
            yield from check_feature(name, table.numbers[name][one.rows], one, tests)


def check_feature(name: str, values: Floats, series: Series, tests: int) -> Iterator[Finding]:
    """One column of one series. `tests`: how many correlations are looked at in all."""
    rows = np.flatnonzero(series.sound & np.isfinite(values))[-MOST_ROWS:]
    if len(rows) < 100:
        return
    value, price = values[rows], series.price[rows]
    for ahead in (1, 2, 3):
        same = value[:-ahead] == price[ahead:]
        moved = price[:-ahead] != price[ahead:]
        if moved.sum() >= 50 and same[moved].mean() > 0.5:
            what = f"is the price {ahead} rows later in {same[moved].mean():.0%} of the rows where that differs"
            yield _leak(name, series, what, int(same.sum()))
            return
    future = np.diff(np.log(price))
    controls = _own_past(price)
    limit = float(stats.norm.isf(0.5e-6 / tests)) / np.sqrt(len(future))
    forms = {"its level": value[:-1], "its distance from the price": value[:-1] / price[:-1]}
    forms["its change"] = np.diff(value, prepend=value[0])[:-1]
    found = {form: _partial_correlation(x, future, controls) for form, x in forms.items()}
    form = max(found, key=lambda form: abs(found[form]))
    rho = found[form]
    if abs(rho) < max(UNLIKELY, limit):
        return
    what = f"{form} has a rank correlation of {rho:+.2f} with the next return that the prices before do not explain"
    if abs(rho) >= IMPOSSIBLE:
        yield _leak(name, series, what, len(future))
    else:
        mend = "find out why before it is used: real signals are weaker"
        yield Finding("leak suspected", "warning", f"{series.where} {name}", what, mend, len(future))


def _leak(name: str, series: Series, what: str, count: int) -> Finding:
    mend = "it knows the future: leave the column out, or shift it to when it was known"
    return Finding("leak", "error", f"{series.where} {name}", what, mend, count)


def _own_past(price: Floats) -> Floats:
    """What the prices so far say of the next return by themselves (a bounce, a return to the mean): ranks, (T - 1, 4).

    The last return, the one before, the price against its mean of the last ten rows, and the price.
    """
    level = np.log(price)
    moves = np.diff(level, prepend=level[0])
    total = np.concatenate([[0.0], np.cumsum(level)])
    back = np.maximum(np.arange(len(level)) - 9, 0)
    mean = (total[1:] - total[back]) / (np.arange(len(level)) - back + 1)
    past = np.stack([moves, np.concatenate([[0.0], moves[:-1]]), level - mean, level])
    ranked: Floats = stats.rankdata(past[:, :-1], axis=1).T
    return ranked


def _partial_correlation(x: Floats, y: Floats, controls: Floats) -> float:
    """Spearman's of what the ranks of `controls` do not explain, where both are finite; 0 without variation."""
    both: Bools = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 100 or x[both].min() == x[both].max():
        return 0.0
    base = np.column_stack([np.ones(int(both.sum())), controls[both]])
    ranks = np.column_stack([stats.rankdata(x[both]), stats.rankdata(y[both])])
    rest = ranks - base @ np.linalg.lstsq(base, ranks, rcond=None)[0]
    spread = rest.std(axis=0)
    if (spread < 1e-6 * ranks.std(axis=0).max()).any():
        return 0.0
    return float(np.corrcoef(rest.T)[0, 1])


def check_stale_rounds(table: Table, series: Sequence[Series]) -> Iterator[Finding]:
    """Rounds of an on-chain oracle that carry an older answer: `answeredInRound` is not `roundId`.

    As Chainlink's AggregatorV3Interface documents the two.
    """
    names = {"round_id", "answered_in_round"}
    for one in series:
        if names <= table.codes.keys():
            pairs = ((table.text("round_id", row), table.text("answered_in_round", row)) for row in one.rows.tolist())
            stale = np.array([first != second for first, second in pairs])
        elif names <= table.numbers.keys():
            stale = table.numbers["round_id"][one.rows] != table.numbers["answered_in_round"][one.rows]
        else:
            return
        if stale.any():
            times = one.ts[stale]
            what = f"{counted(stale.sum(), 'round')} with the answer of an earlier one: {places(times)}"
            mend = "their price is as old as that round: leave them out"
            span = int(times[0]), int(times[-1])
            yield Finding("stale answer", "warning", one.where, what, mend, int(stale.sum()), span)
