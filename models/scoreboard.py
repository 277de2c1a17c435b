"""How good the published forecasts turned out, as a running account.

Why this file exists: an operator wants to see the skill of the pool and of each bundle while it runs, by the numbers
that were said then and not by what today's weights would have said. Never in it: weighting, time, the maths of scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.forecast import LEVELS, FloatArray
from models.score import crps_from_quantiles


@dataclass(frozen=True, slots=True)
class Skill:
    """Row 0 is the pooled forecast, row k + 1 the panel's bundle k; columns are horizons.

    `skill` (K + 1, H): 1 - mean CRPS / mean CRPS of the reference over the same targets, NaN where there is none;
    `count` (K + 1, H): how many targets (they overlap where the horizon is longer than a bar: not evidence by itself).
    """

    skill: FloatArray
    count: NDArray[np.int64]


class Scoreboard:
    """Sums of CRPS of `rows` forecasts at `horizons` horizons, each beside the reference's on the same targets."""

    def __init__(self, rows: int, horizons: int) -> None:
        self._sums = np.zeros((3, rows, horizons))

    def add(self, horizon: int, outcome: float, said: FloatArray, reference: FloatArray) -> None:
        """One target came true. `horizon`: its column; `said` (rows, 9) and `reference` (9,) as they were then.

        A row that did not answer, or whose quantiles cross, is passed over, and so is everybody where the reference
        did not answer.
        """
        both = np.vstack([said, reference])
        fit = np.isfinite(both).all(axis=-1) & (np.diff(both, axis=-1) >= 0.0).all(axis=-1)
        if not fit[-1] or not np.isfinite(outcome):
            return
        scores = crps_from_quantiles(outcome, np.where(fit[:, None], both, 0.0))
        self._sums[0, :, horizon] += np.where(fit, scores, 0.0)[:-1]
        self._sums[1, :, horizon] += np.where(fit, scores[-1], 0.0)[:-1]
        self._sums[2, :, horizon] += fit[:-1]

    def read(self) -> Skill:
        """The account so far."""
        own, theirs, count = self._sums
        known = theirs > 0.0
        return Skill(np.where(known, 1.0 - own / np.where(known, theirs, 1.0), np.nan), count.astype(np.int64))

    def state(self) -> FloatArray:
        """Everything summed so far (3, rows, horizons), for fingerprints."""
        return self._sums


def no_quantiles() -> FloatArray:
    """The quantiles (9,) of who said nothing."""
    return np.full(len(LEVELS), np.nan)
