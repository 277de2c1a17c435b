"""Fitting quantile boosters with LightGBM, repeatable to the bit.

Why this file exists: it is the only one that imports lightgbm, and only training imports it. Never in it: prediction
at a node (models/zoo/boosted.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.forecast import FloatArray


@dataclass(frozen=True, slots=True)
class Growth:
    """Settings of a booster; `least`: rows in a leaf; `share`: of features a tree and of rows a round."""

    learning_rate: float
    leaves: int
    rounds: int
    least: int
    share: float
    patience: int
    seed: int


def _settings(growth: Growth, level: float) -> dict[str, object]:
    return {
        "objective": "quantile",
        "metric": "quantile",
        "alpha": level,
        "learning_rate": growth.learning_rate,
        "num_leaves": growth.leaves,
        "min_data_in_leaf": growth.least,
        "feature_fraction": growth.share,
        "bagging_fraction": growth.share,
        "bagging_freq": 1,
        "seed": growth.seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def early_stop(
    growth: Growth,
    level: float,
    train: tuple[NDArray[np.float32], FloatArray],
    valid: tuple[NDArray[np.float32], FloatArray],
) -> tuple[int, str]:
    """Rounds after which the pinball loss on `valid` stopped falling, and the text of the booster cut there.

    `train`, `valid`: inputs (N, F) and targets (N,).
    """
    known = lightgbm.Dataset(train[0], train[1].astype(np.float32), params={"verbose": -1})
    unseen = known.create_valid(valid[0], valid[1].astype(np.float32))
    stop = lightgbm.early_stopping(growth.patience, verbose=False)
    booster = lightgbm.train(_settings(growth, level), known, growth.rounds, [unseen], callbacks=[stop])
    return booster.best_iteration, booster.model_to_string(num_iteration=booster.best_iteration)


def grow(growth: Growth, level: float, inputs: NDArray[np.float32], target: FloatArray, rounds: int) -> str:
    """Text of a booster fitted to all rows for a fixed number of rounds."""
    known = lightgbm.Dataset(inputs, target.astype(np.float32), params={"verbose": -1})
    booster = lightgbm.train(_settings(growth, level), known, max(1, rounds))
    return booster.model_to_string()
