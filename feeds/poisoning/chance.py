"""Odds that several checks need: signs, tails, drift, and which of many rows to name.

Why this file exists: each rule here has a proof or a published table behind it, and its own test against simulation.
Never in it: prices, events, a threshold that was read off data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from feeds.poisoning.finding import Flags, Floats

FLIPS = 4_000
"""Random signs drawn for `drifting`: the least chance it can state is 1 in 4,001."""


def more_often(hits: int, misses: int) -> float:
    """Chance of at least `hits` among hits + misses where both are as likely (sign test).

    >>> round(more_often(5, 0), 5)
    0.03125
    """
    return float(stats.binom.sf(hits - 1, hits + misses, 0.5)) if hits + misses else 1.0


def named_with_decoys(hit_scores: Floats, decoy_scores: Floats, share: float) -> Flags:
    """Which hits to name so that at most `share` of the named are false in expectation.

    Needs that a false hit is as likely as a decoy at every score: the threshold is the least one at which
    (1 + decoys) <= share * hits (Barber and Candes 2015, knockoff+; in proteomics Elias and Gygi 2007).
    """
    scores = np.concatenate([hit_scores, decoy_scores])
    real = np.concatenate([np.ones(len(hit_scores), bool), np.zeros(len(decoy_scores), bool)])
    order = np.lexsort((real, -scores))
    hits, decoys = np.cumsum(real[order]), 1 + np.cumsum(~real[order])
    passing = np.flatnonzero(decoys <= share * hits)
    if not len(passing):
        return np.zeros(len(hit_scores), bool)
    named: Flags = hit_scores >= scores[order[passing[-1]]]
    return named


def tail_odds(values: Floats, share: float = 0.02) -> Floats:
    """P(value at least this large), from a generalised Pareto tail fitted to the top `share` of `values`.

    Pickands 1975, Balkema and de Haan 1974; as an alarm Siffer et al. 2017. The fit is by likelihood with the top
    tenth of the excesses censored, so that what is judged does not judge itself, and takes the heaviest tail that a 95
    % likelihood interval leaves, shape 0 .. 1. Below the threshold the odds are 1, NaN counts as nothing, and of fewer
    than 2,500 values nothing is said.
    """
    odds = np.ones(len(values))
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < 2_500:
        return odds
    sample = values[known]
    start = float(np.quantile(sample, 1.0 - share))
    over = sample > start
    excess = np.sort(sample[over] - start)
    middle = float(np.median(excess)) if len(excess) else 0.0
    if len(excess) < 50 or middle <= 0.0:
        return odds
    shape, scale = _heaviest_tail(excess / middle)
    odds[known[over]] = over.mean() * stats.genpareto.sf((sample[over] - start) / middle, shape, scale=scale)
    return odds


def _heaviest_tail(excess: Floats) -> tuple[float, float]:
    """Shape and scale of the generalised Pareto law, on a grid, from ascending excesses of median 1."""
    shapes, scales = np.linspace(0.0, 1.0, 41), np.geomspace(0.2, 6.0, 60)
    seen = excess[: int(0.9 * len(excess))]
    best = np.empty((len(shapes), len(scales)))
    for row, shape in enumerate(shapes.tolist()):
        ratio = seen[:, None] / scales
        fade = np.log1p(shape * ratio) / shape if shape else ratio
        density = -np.log(scales) - (1.0 + shape) * fade
        best[row] = density.sum(axis=0) - (len(excess) - len(seen)) * fade[-1]
    profile = best.max(axis=1)
    row = int(np.flatnonzero(profile >= profile.max() - 1.92)[-1])
    return float(shapes[row]), float(scales[int(np.argmax(best[row]))])


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps [start, stop) whose sum is `total`; `p_value`: chance of a stretch that odd."""

    start: int
    stop: int
    total: float
    p_value: float


def drifting(steps: Floats, seed: int = 4) -> Stretch:
    """The stretch of steps that goes most steadily one way, and the chance of one where each sign is a coin's.

    A scan over all stretches of 4, 6, 8, 12 .. steps of the sum over the root of the length, against `FLIPS` draws of
    random signs (scans by permutation: Arias-Castro, Castro, Tanczos, Wang 2018). Exact for steps of independent random
    signs, whatever their sizes; the odds are too large, never too small, for what returns to its level, because its
    steps take each other back.
    """
    size = float(np.median(np.abs(steps[steps != 0.0]))) if (steps != 0.0).any() else 0.0
    if len(steps) < 8 or size == 0.0:
        return Stretch(0, 0, 0.0, 1.0)
    held = np.clip(steps / size, -8.0, 8.0)  # one jump is no drift
    lengths = [n for k in range(2, 12) for n in (2**k, 3 * 2 ** (k - 1)) if n <= len(steps)]
    lengths.append(len(steps))
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0], np.float32), (FLIPS, len(steps)))
    ours, place = _scan(held[None], lengths)
    theirs, _ = _scan(held.astype(np.float32) * signs, lengths)
    start, length = place
    odds = (1.0 + float((theirs >= ours[0] - 1e-4).sum())) / (FLIPS + 1.0)
    return Stretch(start, start + length, float(steps[start : start + length].sum()), odds)


def _scan(steps: Floats, lengths: list[int]) -> tuple[Floats, tuple[int, int]]:
    """(B, N) -> the greatest |sum| / sqrt(length) of each row, and where it is in the first row: start, length."""
    sums = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)
    best, place = np.zeros(len(steps)), (0, lengths[0])
    for length in lengths:
        found = np.abs(sums[:, length:] - sums[:, :-length]) / np.sqrt(length)
        at = np.argmax(found, axis=1)
        top = found[np.arange(len(found)), at]
        if top[0] > best[0]:
            place = int(at[0]), length
        best = np.maximum(best, top)
    return best, place
