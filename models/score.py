"""Scores of forecasts: bare maths on numpy arrays.

Why this file exists: training, combining, evaluation, payment and reports must mean the same number when they say
"CRPS". Never in it: data access, time, weighting of models, opinions about who is good.

All scores are losses (lower is better) and strictly or weakly proper. Arrays broadcast; the quantile axis is last.

**The quantile CRPS of this project.** CRPS = 2 * integral over (0, 1) of the pinball loss (Gneiting and Ranjan 2011,
eq. 15). Our levels are uneven: six of the nine lie in the outer tenths, so their plain average is a tail score (for
a perfect normal forecast it is 0.65 of the CRPS and it overstates a too wide forecast). Everywhere in Dodona the
integral is taken by the trapezoid rule over the levels with the ends 0 and 1 at zero loss (0.966 of the CRPS of a
perfect normal forecast, correlation 0.9996 with it). Any non-negative weights keep the score proper.
`crps_from_quantiles(..., weights=plain_weights(n))` is the plain average 2 * mean pinball of Berrisch and Ziel 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from models.forecast import LEVELS, FloatArray

CAP_FACTOR = 10.0
"""A raw score counts at most this many times the field's median."""

MISSED_PERCENTILE = 95.0
"""A missed forecast scores this percentile of the scores that did not reach the cap."""


def pinball(outcome: ArrayLike, quantiles: ArrayLike, levels: ArrayLike = LEVELS) -> FloatArray:
    """Pinball (quantile) loss of each level: (1{y < q} - tau) * (q - y). Koenker and Bassett 1978.

    `outcome` (...), `quantiles` (..., Q), `levels` (Q,) in (0, 1). Returns (..., Q), in the outcome's unit.

    >>> pinball(1.0, [0.0, 3.0], [0.9, 0.9]).round(12).tolist()
    [0.9, 0.2]
    """
    gap = np.asarray(outcome, dtype=np.float64)[..., None] - np.asarray(quantiles, dtype=np.float64)
    tau = np.asarray(levels, dtype=np.float64)
    loss: FloatArray = np.maximum(tau * gap, (tau - 1.0) * gap)
    return loss


def trapezoid_weights(levels: Sequence[float] = LEVELS) -> FloatArray:
    """Integration weights of the levels: half the distance between the two neighbours, 0 and 1 being the outermost.

    `levels` ascending in (0, 1). Returns (Q,); the sum is a little under 1, the ends carrying no loss.

    >>> trapezoid_weights([0.25, 0.5, 0.75]).tolist()
    [0.25, 0.25, 0.25]
    """
    edges = np.concatenate([[0.0], np.asarray(levels, dtype=np.float64), [1.0]])
    if len(edges) < 3 or np.any(np.diff(edges) <= 0.0):
        raise ValueError(f"levels must be strictly ascending inside (0, 1), got {list(levels)}")
    weights: FloatArray = (edges[2:] - edges[:-2]) / 2.0
    return weights


def plain_weights(count: int) -> FloatArray:
    """Equal weights that sum to 1: with them `crps_from_quantiles` is 2 * mean pinball (Berrisch and Ziel 2021)."""
    return np.full(count, 1.0 / count)


def crps_from_quantiles(
    outcome: ArrayLike, quantiles: ArrayLike, levels: Sequence[float] = LEVELS, weights: ArrayLike | None = None
) -> FloatArray:
    """Continuous ranked probability score from quantiles: 2 * sum of weight * pinball (module head).

    `outcome` (...), `quantiles` (..., Q). `weights` (Q,) default `trapezoid_weights(levels)`. Returns (...).

    >>> float(crps_from_quantiles(1.0, [0.0, 0.0, 0.0], [0.25, 0.5, 0.75]))
    0.75
    """
    weight = trapezoid_weights(levels) if weights is None else np.asarray(weights, dtype=np.float64)
    score: FloatArray = 2.0 * (pinball(outcome, quantiles, levels) * weight).sum(axis=-1)
    return score


def crps_from_ensemble(outcome: ArrayLike, members: ArrayLike, fair: bool = False) -> FloatArray:
    """CRPS of an ensemble in the energy form: mean |x - y| - half of mean |x - x'|. Gneiting and Raftery 2007.

    `outcome` (...), `members` (..., M). Plain: pairs over M^2, the score of the empirical distribution itself.
    `fair`: pairs over M (M - 1), unbiased for the distribution the members were drawn from (Ferro 2014; M >= 2).

    >>> float(crps_from_ensemble(0.0, [-1.0, 1.0])), float(crps_from_ensemble(0.0, [-1.0, 1.0], fair=True))
    (0.5, 0.0)
    """
    x = np.sort(np.asarray(members, dtype=np.float64), axis=-1)
    count = x.shape[-1]
    if count < (2 if fair else 1):
        raise ValueError(f"an ensemble needs at least {2 if fair else 1} members here, got {count}")
    distance = np.abs(x - np.asarray(outcome, dtype=np.float64)[..., None]).mean(axis=-1)
    # sum over pairs |x_i - x_j| = 2 * sum_i (2 i - M + 1) x_(i), i from 0, members sorted
    pairs = 2.0 * (x * (2.0 * np.arange(count) - count + 1.0)).sum(axis=-1)
    score: FloatArray = distance - 0.5 * pairs / (count * (count - 1) if fair else count * count)
    return score


def interval_score(outcome: ArrayLike, lower: ArrayLike, upper: ArrayLike, alpha: float) -> FloatArray:
    """Interval score of the central (1 - alpha) interval: width + 2 / alpha * miss. Gneiting and Raftery 2007, eq. 43.

    >>> float(interval_score(3.0, 0.0, 2.0, 0.5))
    6.0
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must be inside (0, 1), got {alpha}")
    y, low, high = (np.asarray(a, dtype=np.float64) for a in (outcome, lower, upper))
    score: FloatArray = (high - low) + 2.0 / alpha * (np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0))
    return score


def brier(probability: ArrayLike, outcome: ArrayLike) -> FloatArray:
    """Brier score of a yes/no question: (p - o)^2 with p the probability of 1 and o in {0, 1}. Brier 1950.

    >>> float(brier(0.5, 1)), float(brier(1.0, 1))
    (0.25, 0.0)
    """
    score: FloatArray = (np.asarray(probability, dtype=np.float64) - np.asarray(outcome, dtype=np.float64)) ** 2
    return score


def brier_outcomes(probabilities: ArrayLike, outcome: ArrayLike) -> FloatArray:
    """Brier score over k outcomes: sum of (p_i - 1{i = outcome})^2. For k = 2 it is twice `brier`.

    `probabilities` (..., k), `outcome` (...) index from 0.

    >>> float(brier_outcomes([0.5, 0.5], 0))
    0.5
    """
    p = np.asarray(probabilities, dtype=np.float64)
    hit = np.arange(p.shape[-1]) == np.asarray(outcome, dtype=np.int64)[..., None]
    score: FloatArray = ((p - hit) ** 2).sum(axis=-1)
    return score


def log_score(probability: ArrayLike, outcome: ArrayLike) -> FloatArray:
    """Logarithmic score of a yes/no question: -ln of the probability given to what happened; inf where it was 0.

    >>> float(log_score(1.0, 1)), float(log_score(1.0, 0))
    (0.0, inf)
    """
    p = np.asarray(probability, dtype=np.float64)
    return _minus_log(np.where(np.asarray(outcome) == 1, p, 1.0 - p))


def log_score_outcomes(probabilities: ArrayLike, outcome: ArrayLike) -> FloatArray:
    """Logarithmic score over k outcomes: -ln p[outcome]. `probabilities` (..., k), `outcome` (...) index from 0.

    >>> float(log_score_outcomes([0.0, 1.0], 1))
    0.0
    """
    p = np.asarray(probabilities, dtype=np.float64)
    index = np.broadcast_to(np.asarray(outcome, dtype=np.int64), p.shape[:-1])
    return _minus_log(np.take_along_axis(p, index[..., None], axis=-1)[..., 0])


def _minus_log(p: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        score: FloatArray = 0.0 - np.log(p)
    return score


def skill(score: ArrayLike, reference: ArrayLike) -> FloatArray:
    """Skill = 1 - score / reference: 1 is perfect, 0 as good as the reference, negative worse.

    Where the reference scores 0 there is nothing to gain: 0 if the score is 0 too, else minus infinity.

    >>> skill([0.8, 0.0, 1.0], [1.0, 0.0, 0.0]).round(12).tolist()
    [0.2, 0.0, -inf]
    """
    s, r = np.broadcast_arrays(np.asarray(score, dtype=np.float64), np.asarray(reference, dtype=np.float64))
    if np.any(s < 0.0) or np.any(r < 0.0):
        raise ValueError("skill is defined for scores of at least 0; subtract the best possible score first")
    with np.errstate(divide="ignore", invalid="ignore"):
        gained: FloatArray = np.where(r > 0.0, 1.0 - s / r, np.where(s > 0.0, -np.inf, 0.0))
    return gained


def capped(scores: ArrayLike, factor: float = CAP_FACTOR) -> FloatArray:
    """Raw scores of one field (one target, several forecasters), made safe for any statistic.

    `scores` (..., K) of at least 0, the field on the last axis. NaN is a missed forecast, infinity a forecast that
    is refused by its score. The cap is `factor` times the median of the finite scores; a missed one gets
    the 95th percentile of the scores below the cap. A field where nobody forecast stays NaN.

    >>> capped([1.0, 2.0, 3.0, 1e30]).tolist()
    [1.0, 2.0, 3.0, 25.0]
    >>> capped([1.0, 2.0, 3.0, float("nan")]).round(12).tolist()
    [1.0, 2.0, 3.0, 2.9]
    """
    raw = np.asarray(scores, dtype=np.float64)
    if np.any(raw < 0.0):
        raise ValueError("raw scores must be at least 0")
    flat = raw.reshape(-1, raw.shape[-1])
    return np.stack([_capped_field(row, factor) for row in flat]).reshape(raw.shape) if flat.size else raw.copy()


def _capped_field(row: FloatArray, factor: float) -> FloatArray:
    made = row[~np.isnan(row)]
    if made.size == 0:
        return row.copy()
    finite = made[np.isfinite(made)]
    if finite.size == 0:
        raise ValueError("every score of the field is infinite: no scale is left to cap by")
    cap = factor * float(np.median(finite))
    below = made[made <= cap]
    missed = np.percentile(below, MISSED_PERCENTILE)
    result: FloatArray = np.where(np.isnan(row), missed, np.minimum(row, cap))
    return result
