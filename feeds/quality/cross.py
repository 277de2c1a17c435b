"""What several sources of one symbol say about each of them: disagreement, drift, frozen feeds, wrong clocks, copies.

Why this file exists: one series can look perfect and be of another market, another hour or another century. Never in
it: which price is right (that is `feeds.fuse`); the median of the others is only what most said.

Rules as in the feeds page: frozen = flat at zero volume for 10 slots while the others moved more than 15 bps (60 on
bars of an hour or more); drifting = the median deviation of 10 slots over 25 bps with at least 2 other live sources.
Deviations are from the median of the live sources in the same slot; a source in a flat run without volume is not live.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from feeds.quality.findings import Bools, Finding, Floats, Ints, Severity, counted, moment, places, runs_of
from feeds.quality.motion import BASIS, still
from feeds.quality.order import SLOTS
from feeds.quality.table import Series

DISAGREE_BPS = 100.0
DRIFT_BPS = 25.0
MAX_LAG = 3
_HOUR = 3_600_000_000


@dataclass(slots=True)
class Panel:
    """Sources of one symbol side by side: `price` (slots, sources), NaN where one said nothing; `live` alike."""

    symbol: str
    sources: list[str]
    ts: Ints
    step: int
    price: Floats
    live: Bools

    def deviation(self, place: int) -> tuple[Floats, Ints]:
        """Basis points from the median, and how many other live sources there are.

        The median of the live sources and this one where that are three or more: of the other two alone it would be
        their mean, and the fault of one would look like that of another. Else the other source; NaN without one.
        """
        some = np.where(self.live, self.price, np.nan)
        some[:, place] = np.nan
        count = np.isfinite(some).sum(axis=1)
        some[:, place] = np.where(count >= 2, self.price[:, place], np.nan)
        median = pd.DataFrame(some).median(axis=1).to_numpy()
        with np.errstate(invalid="ignore"):
            return np.log(self.price[:, place] / median) * BASIS, count.astype(np.int64)


def panel_of(group: Sequence[Series]) -> Panel:
    """The series of one symbol, each slot the last sound price in it; a slot is the narrowest step of a source."""
    step = max(min((series.step for series in group if series.step), default=1), 1)
    slots = np.unique(np.concatenate([series.ts // step for series in group]))
    price = np.full((len(slots), len(group)), np.nan)
    live = np.zeros(price.shape, bool)
    for place, series in enumerate(group):
        sound = series.sound
        row = np.searchsorted(slots, series.ts[sound] // step)
        price[row, place] = series.price[sound]
        live[row, place] = ~_stuck(series)[sound]
    return Panel(group[0].symbol, [series.source for series in group], slots * step, step, price, live)


def _stuck(series: Series) -> Bools:
    """Rows in a run of at least 10 without change and volume, where volumes are stated."""
    mask = np.zeros(len(series.ts), bool)
    if series.has_volume:
        for start, end in zip(*runs_of(still(series)), strict=True):
            if end - start >= SLOTS:
                mask[start:end] = True
    return mask


def check_group(group: Sequence[Series]) -> Iterator[Finding]:
    """Everything that the sources of one symbol say about each other."""
    if len(group) < 2:
        return
    panel = panel_of(group)
    for place, source in enumerate(panel.sources):
        where = f"{panel.symbol} {source}"
        deviation, others = panel.deviation(place)
        yield from check_disagreement(panel, where, deviation)
        yield from check_drifting(panel, where, deviation, others)
        yield from check_clock(panel, place, where)
    yield from check_copies(group)


def check_disagreement(panel: Panel, where: str, deviation: Floats) -> Iterator[Finding]:
    """Slots far from what the others say."""
    apart = np.abs(np.nan_to_num(deviation)) > DISAGREE_BPS
    if not apart.any():
        return
    worst = int(np.nanargmax(np.abs(deviation)))
    share = apart.sum() / max(np.isfinite(deviation).sum(), 1)
    far = int((np.abs(np.nan_to_num(deviation)) > 3 * DISAGREE_BPS).sum())
    others = "the other source" if len(panel.sources) == 2 else "the median"
    what = (
        f"{counted(apart.sum(), 'slot')} ({share:.2%}) over {DISAGREE_BPS:.0f} bps from {others}, {far} over "
        f"{3 * DISAGREE_BPS:.0f}; the worst {deviation[worst]:+.0f} bps at {moment(panel.ts[worst])}"
    )
    span = int(panel.ts[apart][0]), int(panel.ts[apart][-1])
    mend = "see which of them the market followed; never average over it"
    severe = share > 0.01 or abs(deviation[worst]) > 10 * DISAGREE_BPS
    yield Finding("disagreement", "error" if severe else "warning", where, what, mend, int(apart.sum()), span)


def check_drifting(panel: Panel, where: str, deviation: Floats, others: Ints) -> Iterator[Finding]:
    """Times at which a source is off to one side for ten slots together."""
    rolling = pd.Series(deviation).rolling(SLOTS, min_periods=SLOTS // 2).median().to_numpy()
    off = (np.abs(np.nan_to_num(rolling)) > DRIFT_BPS) & (others >= 2)
    starts, ends = runs_of(off)
    if not len(starts):
        return
    lengths = panel.ts[ends - 1] - panel.ts[starts] + panel.step
    worst = int(np.argmax(np.where(off, np.abs(np.nan_to_num(rolling)), 0)))
    what = (
        f"{counted(off.sum(), 'slot')} in {counted(len(starts), 'run')} over {DRIFT_BPS:.0f} bps to one side, "
        f"up to {rolling[worst]:+.0f} bps: {places(panel.ts[starts], lengths)}"
    )
    span = int(panel.ts[starts[0]]), int(panel.ts[ends[-1] - 1])
    mend = "weigh it low there; see whether its quote currency is another than its name says"
    severity: Severity = "warning" if off.mean() < 0.2 else "error"
    yield Finding("drifting", severity, where, what, mend, int(off.sum()), span)


def check_clock(panel: Panel, place: int, where: str) -> Iterator[Finding]:
    """Whether a source moves with the others, or some slots before or after them."""
    others = np.where(panel.live, panel.price, np.nan)
    others[:, place] = np.nan
    reference = pd.DataFrame(others).median(axis=1).to_numpy()
    with np.errstate(invalid="ignore"):
        mine, theirs = np.diff(np.log(panel.price[:, place])), np.diff(np.log(reference))
    fine = np.diff(panel.ts) == panel.step
    mine[~fine], theirs[~fine] = np.nan, np.nan
    found = {lag: _correlation(mine, theirs, lag) for lag in range(-MAX_LAG, MAX_LAG + 1)}
    best = max(found, key=lambda lag: found[lag])
    if best and found[best] > max(found[0], 0) + 0.2:
        side = "behind" if best > 0 else "ahead of"
        what = (
            f"moves {abs(best)} slots {side} the others: correlation of returns {found[best]:.2f} there, "
            f"{found[0]:.2f} at the same time"
        )
        mend = "its times are of another zone, or of the other end of the bar: mend them before anything is learnt"
        yield Finding("clock", "error", where, what, mend)


def _correlation(mine: Floats, theirs: Floats, lag: int) -> float:
    """Of a source's returns with those of the others `lag` slots before; 0 for fewer than 200 moves in common."""
    a, b = (mine[lag:], theirs[: len(theirs) - lag]) if lag >= 0 else (mine[:lag], theirs[-lag:])
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 200 or not (a.std() > 0 and b.std() > 0):
        return 0.0
    low, high = np.quantile(a, [0.005, 0.995]), np.quantile(b, [0.005, 0.995])
    return float(np.corrcoef(np.clip(a, *low), np.clip(b, *high))[0, 1])


def check_copies(group: Sequence[Series]) -> Iterator[Finding]:
    """Pairs of sources whose bars are the same to the last digit: one opinion, counted twice."""
    for place, one in enumerate(group):
        for other in group[place + 1 :]:
            _, here, there = np.intersect1d(one.ts, other.ts, return_indices=True)
            moved = np.flatnonzero(np.concatenate([[False], np.diff(one.price[here]) != 0]))
            if len(moved) < 100:
                continue
            here, there = here[moved], there[moved]
            same = np.ones(len(here), bool)
            for side in ("price", "open", "high", "low"):
                same &= getattr(one, side)[here] == getattr(other, side)[there]
            if same.mean() > 0.9:
                what = (
                    f"{same.mean():.1%} of {len(here)} moves are the same to the last digit as those of {other.source}"
                )
                mend = "count the two as one source"
                yield Finding("copy", "error", one.where, what, mend, int(same.sum()))


def check_frozen(series: Sequence[Series]) -> Iterator[Finding]:
    """Sources that stood still without volume while others of the same base asset moved."""
    by_base: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        by_base[one.symbol.split("/")[0]].append(one)
    for group in by_base.values():
        for one in group:
            others = [other for other in group if other is not one]
            if others and one.has_volume:
                yield from _frozen(one, others)


def _frozen(one: Series, others: Sequence[Series]) -> Iterator[Finding]:
    limit = (60 if one.step >= _HOUR else 15) / BASIS
    starts, ends = runs_of(still(one))
    long = ends - starts >= SLOTS
    found = []
    for start, end in zip(starts[long], ends[long], strict=True):
        moves = [_range(other, int(one.ts[start - 1]), int(one.ts[end - 1])) for other in others]
        moved = [move for move in moves if move is not None]
        if moved and float(np.median(moved)) > limit:
            found.append((int(one.ts[start - 1]), int(one.ts[end - 1]), float(np.median(moved))))
    if found:
        times = np.array([start for start, _, _ in found])
        lengths = np.array([end - start for start, end, _ in found])
        most = max(move for _, _, move in found)
        what = f"{counted(len(found), 'time')} still and without volume while the others moved, "
        what += f"up to {most * BASIS:.0f} bps: "
        mend = "leave it out there: an old price is no price"
        span = int(times[0]), max(end for _, end, _ in found)
        share = lengths.sum() / max(int(one.ts[-1] - one.ts[0]), 1)
        severity: Severity = "error" if share > 0.01 else "warning"
        yield Finding("frozen", severity, one.where, what + places(times, lengths), mend, len(found), span)


def _range(series: Series, start: int, end: int) -> float | None:
    """How far a source's prices were from one another within a time; None if it said less than two or stood still
    too.
    """
    low, high = np.searchsorted(series.ts, [start, end + 1])
    prices = series.price[low:high]
    prices = prices[np.isfinite(prices) & (prices > 0)]
    return None if len(prices) < 2 or prices.max() == prices.min() else float(np.log(prices.max() / prices.min()))
