"""The running account of skill: the numbers of `score.py`, over the targets that both sides answered."""

import numpy as np
import pytest
from scipy.stats import norm

from models.forecast import LEVELS
from models.score import crps_from_quantiles
from models.scoreboard import Scoreboard, no_quantiles

UNIT = norm.ppf(LEVELS)


def test_read__several_targets__is_one_minus_the_ratio_of_mean_crps() -> None:
    board, rng = Scoreboard(2, 2), np.random.default_rng(1)
    own, theirs = [], []
    for outcome in rng.normal(size=50):
        said = np.stack([0.9 * UNIT, 2.0 * UNIT + rng.normal()])
        board.add(1, float(outcome), said, 1.1 * UNIT)
        own.append(crps_from_quantiles(outcome, said))
        theirs.append(crps_from_quantiles(outcome, 1.1 * UNIT))
    found = board.read()
    assert found.count.tolist() == [[0, 50], [0, 50]] and np.isnan(found.skill[:, 0]).all()
    np.testing.assert_allclose(found.skill[:, 1], 1.0 - np.mean(own, axis=0) / np.mean(theirs))


def test_add__who_did_not_answer__is_measured_on_its_own_targets_only() -> None:
    board = Scoreboard(3, 1)
    board.add(0, 0.5, np.stack([UNIT, no_quantiles(), UNIT[::-1]]), UNIT)
    board.add(0, 3.0, np.stack([UNIT, 2.0 * UNIT, UNIT]), UNIT)
    board.add(0, 0.1, np.stack([UNIT, UNIT, UNIT]), no_quantiles())
    board.add(0, float("nan"), np.stack([UNIT, UNIT, UNIT]), UNIT)
    found = board.read()
    assert found.count[:, 0].tolist() == [2, 1, 1]
    wide = 1.0 - float(crps_from_quantiles(3.0, 2.0 * UNIT)) / float(crps_from_quantiles(3.0, UNIT))
    assert found.skill[:, 0].tolist() == pytest.approx([0.0, wide, 0.0], abs=1e-12)
