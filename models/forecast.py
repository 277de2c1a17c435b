"""What a model says, and what a model is.

Why this file exists: one tiny interface that the zoo, strangers' bundles, the runtime and the combiner share.
Never in it: training, file formats, weighting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LEVELS: tuple[float, ...] = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)
"""Quantile levels of every price forecast, fixed by the vector feed word (nine int24 on chain)."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Quantiles of the log return from the spot to each horizon.

    `horizons`: seconds, ascending, length H. `quantiles`: float64 (H, 9), natural-log returns at `LEVELS`,
    finite and non-decreasing along the last axis.
    """

    horizons: tuple[int, ...]
    quantiles: FloatArray


class Forecaster(Protocol):
    """A model: features in, a forecast out. Stateless unless it says that it learns online."""

    @property
    def horizons(self) -> tuple[int, ...]:
        """Horizons in seconds that `predict` answers for, ascending."""
        ...

    def predict(self, features: FloatArray) -> FloatArray:
        """Quantiles of the log return.

        `features`: float64 (N, window, F) as `models.features` builds them. Returns float64 (N, H, 9).
        """
        ...
