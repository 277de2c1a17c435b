"""Random walk with EWMA volatility: the forecast that every other one has to beat.

Why this file exists: prices are close to a random walk whose volatility moves slowly, so the quantiles are fixed
numbers times the current volatility times the root of the horizon. Never in it: anything that reads more than the
scale (column 0) of the last bar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from models.features import FeatureSchema
from models.forecast import LEVELS, FloatArray
from models.score import crps_from_quantiles


def root_bars(horizons: tuple[int, ...], width: int) -> FloatArray:
    """Square root of the number of bars in each horizon (H,): what volatility grows by on a random walk."""
    return np.array([math.sqrt(horizon / width) for horizon in horizons])


def standardise(outcome: FloatArray, scale: FloatArray, horizons: tuple[int, ...], width: int) -> FloatArray:
    """Outcomes (N, H) over scale (N,) and the root of the horizon: what all of the zoo is fitted to."""
    standard: FloatArray = outcome / (scale[:, None] * root_bars(horizons, width))
    return standard


@dataclass(frozen=True, slots=True)
class RandomWalkEwma:
    """A forecaster whose standardised quantiles (H, 9) never change. RiskMetrics (J. P. Morgan 1996) by quantiles."""

    horizons: tuple[int, ...]
    schema: FeatureSchema
    quantiles: FloatArray

    def predict(self, features: FloatArray) -> FloatArray:
        """Quantiles of the log return: (N, window, F) -> (N, H, 9)."""
        unit = self.quantiles * root_bars(self.horizons, self.schema.width)[:, None]
        forecast: FloatArray = features[:, -1, 0, None, None] * unit
        return forecast


def gaussian_quantiles(horizons: int) -> FloatArray:
    """Standard normal quantiles at LEVELS for each of `horizons`: (H, 9)."""
    return np.tile([NormalDist().inv_cdf(level) for level in LEVELS], (horizons, 1))


def fit(standard: FloatArray, kind: str) -> dict[str, NDArray[np.generic]]:
    """Tensors of random_walk.v1 from standardised outcomes (N, H), NaN where unknown.

    `kind`: "gaussian" (normal quantiles times the factor, of a grid, with the least CRPS) or "empirical" (quantiles
    of the outcomes, mirrored, so that no drift is claimed). Raises ValueError for another kind.
    """
    found = np.empty((standard.shape[1], len(LEVELS)))
    for column in range(standard.shape[1]):
        known = standard[:, column][np.isfinite(standard[:, column])]
        if kind == "empirical":
            found[column] = np.quantile(np.concatenate([known, -known]), LEVELS)
        elif kind == "gaussian":
            normal = gaussian_quantiles(1)[0]
            factors = np.linspace(0.6, 1.4, 41)
            losses = [float(crps_from_quantiles(known, factor * normal).mean()) for factor in factors]
            found[column] = factors[int(np.argmin(losses))] * normal
        else:
            raise ValueError(f"kind {kind!r} is neither gaussian nor empirical")
    return {"quantiles": found}


def construct(
    tensors: Mapping[str, NDArray[np.generic]],
    parameters: Mapping[str, int],
    schema: FeatureSchema,
    horizons: tuple[int, ...],
) -> RandomWalkEwma:
    """The forecaster in a random_walk.v1 bundle (`parameters` is empty)."""
    return RandomWalkEwma(horizons, schema, tensors["quantiles"].astype(np.float64))
