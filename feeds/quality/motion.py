"""Does one series move as prices do: stuck, jumping, wicks, and another distribution than before.

Why this file exists: a stuck feed and a fat finger pass every check of single numbers. Never in it: other sources
(those are in `feeds.quality.cross`), the future.

A move counts as an outlier where it is larger than `q99 * r`: q99 is the series' own 99th percentile of absolute moves,
and r the ratio by which Student's t with 3 degrees of freedom, the usual fit to returns (Cont 2001), would exceed its
own 99th percentile once in 100 series of this length. So the limit follows from the length, not from the data at hand.
Drift is the population stability index (Siddiqi 2006): sum (p - q) ln(p / q) over ten bins at the first half's deciles;
above 0.25 and above what chance gives (Yurdakul 2018: (1 / n + 1 / m) times a chi-square quantile, one in a thousand).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from feeds.quality.findings import Bools, Finding, Floats, Severity, counted, moment, places, runs_of
from feeds.quality.order import SLOTS
from feeds.quality.table import Series
from feeds.types import SECOND

BASIS = 1e4
"""Basis points in one."""
LEAST_MOVE = 50.0
"""Basis points below which no move is called an outlier."""
JUMP_BPS = 500.0
"""A move in one slot that asks for a volume behind it."""
PSI_LIMIT = 0.25


def returns(series: Series) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Log returns between consecutive sound rows, and the place in the series of the row that each leads to."""
    sound = np.flatnonzero(series.sound)
    return np.diff(np.log(series.price[sound])), sound[1:]


def outlier_limit(moves: Floats, looked_at: int | None = None) -> float:
    """The absolute move beyond which it is an outlier; infinite for fewer than 100 moves.

    `looked_at`: how many of the moves are looked at, all by default: the fewer, the lower the limit may be.
    """
    if len(moves) < 100:
        return np.inf
    ratio = stats.t.isf(1 / (200 * (looked_at or len(moves))), 3) / stats.t.isf(0.005, 3)
    return max(float(np.quantile(np.abs(moves), 0.99) * ratio), LEAST_MOVE / BASIS)


def check_motion(series: Series) -> Iterator[Finding]:
    """Flat runs, spikes, jumps, wicks and drift of one series."""
    yield from check_flat(series)
    yield from check_spikes(series)
    yield from check_thin_jumps(series)
    yield from check_wicks(series)


def still(series: Series) -> Bools:
    """Rows that repeat the price before them without volume (or where volumes are not stated)."""
    same = np.zeros(len(series.ts), bool)
    same[1:] = series.price[1:] == series.price[:-1]
    return same & ~(series.volume > 0)


def check_flat(series: Series) -> Iterator[Finding]:
    """A feed that never moves, and its longest runs without a change or a trade."""
    if len(series.ts) >= 2 * SLOTS and (series.price == series.price[0]).all():
        traded = "without any volume" if series.has_volume and not (series.volume > 0).any() else "in every row"
        what = f"the price is {series.price[0]:g} {traded}: a dead feed"
        span = int(series.ts[0]), int(series.ts[-1])
        yield Finding("dead", "error", series.where, what, "leave the source out", len(series.ts), span)
        return
    starts, ends = runs_of(still(series))
    lengths = ends - starts
    if not len(lengths):
        return
    usual = np.concatenate(
        [lengths, np.zeros(len(series.ts) - int(lengths.sum()))]
    )  # a row that moved is a run of none
    long = lengths >= max(SLOTS, 3 * float(np.quantile(usual, 0.99)))
    if not long.any():
        return
    times, spans = series.ts[starts[long] - 1], series.ts[ends[long] - 1] - series.ts[starts[long] - 1]
    severity: Severity = "warning" if series.has_volume else "info"
    idle = " and volume" if series.has_volume else ""
    yield Finding(
        "flat", severity, series.where, f"{counted(long.sum(), 'run')} without change{idle}: {places(times, spans)}",
        "leave these times out, or mark them as outages", int(long.sum()), (int(times[0]), int((times + spans)[-1])),
    )  # fmt: skip


def check_spikes(series: Series) -> Iterator[Finding]:
    """Outlying returns: those that come back at once (spikes), and those that stay (jumps)."""
    moves, place = returns(series)
    limit = outlier_limit(moves)
    out = np.flatnonzero(np.abs(moves) > limit)
    if not len(out):
        return
    after = np.concatenate([moves, np.zeros(3)])
    back = np.array([np.abs(after[i : i + 4].cumsum()[1:]).min() < abs(moves[i]) / 2 for i in out])
    for mask, check, mend in (
        (back, "spike", "hold such prices until a second source or trade confirms them"),
        (~back, "jump", "see whether the other sources moved too; if not, it is this source's fault"),
    ):
        hits = out[mask]
        if len(hits):
            worst = hits[np.argmax(np.abs(moves[hits]))]
            what = (
                f"{len(hits)} moves beyond {limit * BASIS:.0f} bps, the largest {moves[worst] * BASIS:+.0f} bps at "
                f"{moment(series.ts[place[worst]])}"
            )
            span = int(series.ts[place[hits[0]]]), int(series.ts[place[hits[-1]]])
            yield Finding(check, "warning", series.where, what, mend, len(hits), span)


def check_thin_jumps(series: Series) -> Iterator[Finding]:
    """Moves over 500 bps in a slot of a minute (more by the root of the time in longer ones) on less than the 90th
    percentile of the source's own non-zero volumes.

    What fusion holds back until a second trade or book confirms it.
    """
    moves, place = returns(series)
    traded = series.volume[series.volume > 0]
    if len(traded) < 20:
        return
    limit = JUMP_BPS * max(1.0, series.step / (60 * SECOND)) ** 0.5
    thin = (np.abs(moves) > limit / BASIS) & (series.volume[place] < np.quantile(traded, 0.9))
    if thin.any():
        rows = place[thin]
        worst = int(np.flatnonzero(thin)[np.argmax(np.abs(moves[thin]))])
        what = (
            f"{thin.sum()} moves over {limit:.0f} bps on little volume ({places(series.ts[rows])}), the largest "
            f"{moves[worst] * BASIS:+.0f} bps on {series.volume[place[worst]]:g} at {moment(series.ts[place[worst]])}"
        )
        span = int(series.ts[rows[0]]), int(series.ts[rows[-1]])
        mend = "hold such a price until a second trade or source confirms it"
        yield Finding("thin jump", "warning", series.where, what, mend, int(thin.sum()), span)


def check_wicks(series: Series) -> Iterator[Finding]:
    """Bars whose open, high or low lies an outlying way from their close."""
    with np.errstate(invalid="ignore", divide="ignore"):
        sides = {name: np.log(getattr(series, name) / series.price) for name in ("open", "high", "low")}
    for name, side in sides.items():
        sound = np.isfinite(side)
        if not (side[sound] != 0).any():
            continue
        limit = outlier_limit(side[sound])
        size = np.abs(np.where(sound, side, 0))
        edge = outlier_limit(side[sound], 2)  # the first and the last bar are where downloads go wrong
        out = np.union1d(np.flatnonzero(size > limit), [i for i in (0, len(size) - 1) if size[i] > edge]).astype(int)
        if len(out):
            worst = out[np.argmax(np.abs(side[out]))]
            given = float(getattr(series, name)[worst])
            what = (
                f"{len(out)} bars with {name} over {limit * BASIS:.0f} bps ({edge * BASIS:.0f} at an end) off the "
                f"close, the worst {given:g} against {series.price[worst]:g} at {moment(series.ts[worst])}"
            )
            span = int(series.ts[out[0]]), int(series.ts[out[-1]])
            mend = f"do not use {name} of these bars as a price that could be had"
            yield Finding("wick", "warning", series.where, what, mend, len(out), span)


def psi(before: Floats, after: Floats) -> tuple[float, float]:
    """Population stability index of two samples, and what chance alone exceeds once in a thousand.

    >>> same = np.arange(1000.0)
    >>> round(psi(same, same)[0], 6), psi(same, same + 800)[0] > 1
    (0.0, True)
    """
    edges = np.unique(np.quantile(before, np.arange(0.1, 0.95, 0.1)))
    parts = []
    for sample in (before, after):
        counts = np.bincount(np.searchsorted(edges, sample, side="left"), minlength=len(edges) + 1)
        parts.append((counts + 0.5) / (len(sample) + 0.5 * (len(edges) + 1)))
    index = float(((parts[0] - parts[1]) * np.log(parts[0] / parts[1])).sum())
    chance = stats.chi2.isf(0.001, max(len(edges), 1)) * (1 / len(before) + 1 / len(after))
    return index, float(chance)


def drift_of(series: Series) -> float:
    """PSI of the returns of the second half against the first; 0 below the limits or for fewer than 200 returns."""
    moves, _ = returns(series)
    if len(moves) < 200:
        return 0.0
    half = len(moves) // 2
    index, chance = psi(moves[:half], moves[half:])
    return index if index > max(PSI_LIMIT, chance) else 0.0


def check_drift(group: list[Series]) -> Iterator[Finding]:
    """Returns that are distributed otherwise in the second half: of one source of a symbol alone, or of all."""
    found = {series.source: drift_of(series) for series in group}
    drifting = [series for series in group if found[series.source]]
    alone = len(group) > 2 and 2 * len(drifting) <= len(group)
    for series in drifting:
        middle = moment(series.ts[len(series.ts) // 2])
        what = f"returns after {middle} are distributed otherwise than before (PSI {found[series.source]:.2f})"
        what += "; its peers are not" if alone else ""
        mend = (
            "see what changed at this source then" if alone
            else "the market changed: scale by running volatility, and do not mix the halves in one split"
        )  # fmt: skip
        yield Finding("drift", "warning" if alone else "info", series.where, what, mend)
