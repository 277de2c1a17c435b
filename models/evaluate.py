"""How good were the forecasts: walk-forward with delayed labels, scores against baselines, intervals, a plain table.

Why this file exists: demo, back-tests and benchmarks must report the same numbers by the same rules. Never in it:
model code, files, clocks. Everything here is a pure function of its arguments (random draws by the given seed).

What to expect of an honest report: price direction is close to unpredictable; volatility, tails and coverage are not.
A forecast that beats the random walk's median by much is a leak until shown otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.forecast import LEVELS, FloatArray
from models.labels import labels
from models.score import crps_from_quantiles

IntArray = NDArray[np.int64]

SECOND = 1_000_000
ENOUGH_TARGETS = 100
"""With fewer independent (non-overlapping) targets than this a report says that it is not evidence."""
DRAWS = 2_000
_CHUNK = 4_000_000

Predict = Callable[[IntArray], FloatArray]
"""Indices of bars (N,) -> quantiles (N, H, 9), each row from what was known at its bar."""
Fit = Callable[[IntArray, FloatArray], Predict]
"""Indices of bars whose outcomes may be learnt from (M,) and those outcomes (M, H), NaN = none -> a predictor."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its bootstrap confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Fold:
    """One step of a walk: bars `train` (M,) may be learnt from when bars `test` (N,) are forecast. Indices."""

    train: IntArray
    test: IntArray


@dataclass(frozen=True, slots=True)
class WalkForward:
    """What a walk gave: bars `index` (N,), `quantiles` (N, H, 9), `outcomes` (N, H) with NaN where there is none."""

    index: IntArray
    quantiles: FloatArray
    outcomes: FloatArray


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """Ours against one baseline: its mean CRPS, and ours over theirs; `interval` None where targets are too few."""

    name: str
    crps: float
    ratio: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Scores of one forecast at one horizon (seconds).

    `forecasts`: pairs of forecast and outcome; `unanswered`: outcomes for which we or a baseline had no forecast,
    left out for all; `independent`: targets that do not overlap. `width_90`: mean width of the 5-95 % band.
    """

    name: str
    horizon: int
    forecasts: int
    unanswered: int
    independent: int
    crps: float
    coverage_90: float
    width_90: float
    baselines: tuple[BaselineRow, ...]

    def ratio(self, baseline: str) -> BaselineRow:
        """The row of the baseline with this name; KeyError naming those there are."""
        for row in self.baselines:
            if row.name == baseline:
                return row
        raise KeyError(
            f"no baseline {baseline!r} in this report, there are: {', '.join(r.name for r in self.baselines)}"
        )

    def table(self) -> str:
        """The report as plain text, one line per baseline, with the caution that the numbers need."""
        head = (
            f"{self.name}, {self.horizon / 3600:g} h ahead: {self.forecasts} forecasts"
            f" ({self.independent} independent, {self.unanswered} unanswered)"
        )
        lines = [head, f"{'':24}{'CRPS':>12}{'ours/theirs':>13}   95 % interval"]
        lines.append(f"{'ours':24}{self.crps:12.4e}{'':13}")
        for row in self.baselines:
            band = "too few targets" if row.interval is None else f"{row.interval.low:.4f} .. {row.interval.high:.4f}"
            lines.append(f"{row.name[:23]:24}{row.crps:12.4e}{row.ratio:13.4f}   {band}")
        lines.append(f"90 % band: covers {self.coverage_90:.1%}, mean width {self.width_90 * 1e4:.2f} bps")
        if self.independent < ENOUGH_TARGETS:
            lines.append(f"{self.independent} independent targets: not evidence")
        return "\n".join(lines)


def walk_folds(ts: IntArray, start: int, refit_every: int, horizon: int, embargo: int = 0) -> list[Fold]:
    """Folds of an expanding walk from time `start` on, refitted every `refit_every` seconds.

    `ts` (T,) UTC microseconds, rising; `start` microseconds; `horizon` the longest one and `embargo` in seconds. A
    bar may be learnt from if its outcome was known `embargo` before the fold's first forecast: ts + horizon + embargo
    <= ts of that bar. Folds without bars are left out.
    """
    if refit_every <= 0 or horizon <= 0 or embargo < 0:
        raise ValueError(
            f"refit_every and horizon must be positive, embargo at least 0: {refit_every=} {horizon=} {embargo=}"
        )
    if len(ts) and np.any(np.diff(ts) <= 0):
        raise ValueError("ts must rise: sort the series and drop duplicates")
    first = int(np.searchsorted(ts, start))
    span = (ts[first:] - start) // (refit_every * SECOND)
    folds = []
    for number in np.unique(span):
        test = first + np.flatnonzero(span == number)
        known = int(np.searchsorted(ts, ts[test[0]] - (horizon + embargo) * SECOND, side="right"))
        folds.append(Fold(np.arange(known, dtype=np.int64), test.astype(np.int64)))
    return folds


def walk_forward(
    fit: Fit,
    ts: IntArray,
    close: FloatArray,
    horizons: tuple[int, ...],
    width: int,
    start: int,
    refit_every: int,
    embargo: int = 0,
) -> WalkForward:
    """Fits and forecasts through time; a label is handed to `fit` only once it was known, `embargo` seconds late.

    `ts` (T,) microseconds, `close` (T,); `horizons`, `width`, `refit_every`, `embargo` in seconds, `start` in
    microseconds. A frozen model is a `fit` that ignores what it is given. Raises ValueError if a predictor returns
    the wrong shape.
    """
    outcomes = labels(ts, close, horizons, width)
    index, quantiles = [np.empty(0, dtype=np.int64)], [np.empty((0, len(horizons), len(LEVELS)))]
    for fold in walk_folds(ts, start, refit_every, max(horizons), embargo):
        said = fit(fold.train, outcomes[fold.train])(fold.test)
        if said.shape != (len(fold.test), len(horizons), len(LEVELS)):
            raise ValueError(
                f"a predictor must return {(len(fold.test), len(horizons), len(LEVELS))}, got {said.shape}"
            )
        index.append(fold.test)
        quantiles.append(said)
    rows = np.concatenate(index)
    return WalkForward(rows, np.concatenate(quantiles), outcomes[rows])


def coverage(outcome: FloatArray, quantiles: FloatArray, low: float = 0.05, high: float = 0.95) -> float:
    """Share of outcomes (N,) inside the band between two of `LEVELS` of `quantiles` (N, 9), ends included.

    >>> coverage(np.array([0.0, 5.0]), np.tile(np.arange(-4.0, 5.0), (2, 1)))
    0.5
    """
    below, above = LEVELS.index(low), LEVELS.index(high)
    inside = (outcome >= quantiles[:, below]) & (outcome <= quantiles[:, above])
    return float(inside.mean())


def level_hits(outcome: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Calibration: the share of outcomes (N,) at or below each quantile of `quantiles` (N, 9); ideally `LEVELS`. (9,)

    >>> level_hits(np.array([0.0, 5.0]), np.tile(np.arange(-4.0, 5.0), (2, 1))).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    """
    share: FloatArray = (outcome[:, None] <= quantiles).mean(axis=0)
    return share


def independent_targets(ts: IntArray, horizon: int) -> int:
    """How many forecasts made at `ts` (rising, microseconds) have targets that do not overlap, taken greedily.

    >>> independent_targets(np.array([0, 1, 2, 3, 4]) * 3_600_000_000, 7200)
    3
    """
    count, free = 0, -math.inf
    for t in ts.tolist():
        if t >= free:
            count, free = count + 1, t + horizon * SECOND
    return count


def default_block(count: int, horizon_bars: int) -> int:
    """Block length for overlapping targets: a day's worth of overlap is kept whole, and never under count^(1/3).

    >>> default_block(1000, 1), default_block(1000, 24)
    (10, 24)
    """
    return max(1, horizon_bars, math.ceil(round(math.cbrt(count), 9)))


def crps_ratio_interval(
    ours: FloatArray, theirs: FloatArray, block: int, seed: int, draws: int = DRAWS, confidence: float = 0.95
) -> Interval:
    """Ratio of mean scores, ours over theirs, with a moving-block bootstrap percentile interval (Kunsch 1989).

    `ours`, `theirs` (N,) scores of the same targets in order of time; `block` consecutive ones are drawn together so
    that their dependence is kept. Raises ValueError if N < 2 blocks, shapes differ, or theirs has no loss at all.
    """
    count = len(ours)
    if ours.shape != theirs.shape or ours.ndim != 1 or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError("scores must be two finite arrays of one length")
    if block < 1 or count < 2 * block:
        raise ValueError(f"{count} scores are too few for blocks of {block}: at least two blocks are needed")
    if theirs.sum() <= 0.0:
        raise ValueError("the reference has no loss: a ratio to it means nothing")
    sums = [np.concatenate([[0.0], np.cumsum(s)]) for s in (ours, theirs)]
    blocks = [s[block:] - s[:-block] for s in sums]
    need = math.ceil(count / block)
    rng = np.random.default_rng(seed)
    ratios = []
    for part in range(0, draws, max(1, _CHUNK // need)):
        size = min(draws - part, max(1, _CHUNK // need))
        drawn = rng.integers(0, len(blocks[0]), (size, need))
        below = blocks[1][drawn].sum(axis=1)
        ratios.append(blocks[0][drawn].sum(axis=1) / np.where(below > 0.0, below, np.nan))
    tail = (1.0 - confidence) / 2.0
    low, high = np.nanquantile(np.concatenate(ratios), [tail, 1.0 - tail])
    return Interval(float(ours.mean() / theirs.mean()), float(low), float(high))


def best_single(members: FloatArray, outcomes: FloatArray) -> int:
    """Index of the member with the least mean CRPS in hindsight, over targets that every member answered.

    `members` (K, N, 9), NaN where a member slept; `outcomes` (N,). Members who answered under half are left out.
    """
    scores = crps_from_quantiles(outcomes, members)
    answered = np.isfinite(scores)
    regular = answered.mean(axis=1) >= 0.5 * np.isfinite(outcomes).mean()
    shared = answered[regular].all(axis=0)
    if not regular.any() or not shared.any():
        raise ValueError("no target was answered by all regular members: there is no best single")
    means = np.where(regular, np.where(shared, np.nan_to_num(scores), 0.0).sum(axis=1), np.inf)
    return int(np.argmin(means))


def evaluate(
    name: str,
    ts: IntArray,
    quantiles: FloatArray,
    outcomes: FloatArray,
    baselines: Mapping[str, FloatArray],
    horizon: int,
    width: int,
    seed: int = 0,
) -> EvaluationReport:
    """Scores `quantiles` (N, 9) of forecasts made at `ts` (N,) against `baselines` (name -> (N, 9)) by CRPS.

    `outcomes` (N,) log returns, NaN where the price was never seen; `horizon` and `width` of a bar in seconds. All
    are compared on the same targets. Raises ValueError if there is none.
    """
    seen = np.isfinite(outcomes)
    answered = seen & np.isfinite(quantiles).all(axis=-1)
    for said in baselines.values():
        answered = answered & np.isfinite(said).all(axis=-1)
    if not answered.any():
        raise ValueError(f"{name}: no forecast has an outcome and an answer of every baseline")
    y, q = outcomes[answered], quantiles[answered]
    ours = crps_from_quantiles(y, q)
    block = default_block(len(y), max(1, round(horizon / width)))
    rows = tuple(
        _row(label, ours, crps_from_quantiles(y, said[answered]), block, seed) for label, said in baselines.items()
    )
    low, high = LEVELS.index(0.05), LEVELS.index(0.95)
    return EvaluationReport(
        name=name,
        horizon=horizon,
        forecasts=len(y),
        unanswered=int(seen.sum()) - len(y),
        independent=independent_targets(ts[answered], horizon),
        crps=float(ours.mean()),
        coverage_90=coverage(y, q),
        width_90=float((q[:, high] - q[:, low]).mean()),
        baselines=rows,
    )


def _row(name: str, ours: FloatArray, theirs: FloatArray, block: int, seed: int) -> BaselineRow:
    interval = crps_ratio_interval(ours, theirs, block, seed) if len(ours) >= 2 * block else None
    return BaselineRow(name, float(theirs.mean()), float(ours.mean() / theirs.mean()), interval)
