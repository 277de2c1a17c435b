"""The random walk's quantiles and their fit."""

from __future__ import annotations

import numpy as np
import pytest

from models.forecast import LEVELS
from models.zoo import baseline
from tests.strategies import bundles as make


def test_predict__scale_and_horizon__multiply_the_quantiles() -> None:
    walk = baseline.RandomWalkEwma((3_600, 4 * 3_600), make.schema(), baseline.gaussian_quantiles(2))
    features = np.zeros((1, 1, 7))
    features[0, 0, 0] = 0.002
    np.testing.assert_allclose(walk.predict(features)[0, :, -1], [0.002 * 2.3263479, 0.004 * 2.3263479])
    np.testing.assert_allclose(walk.predict(features)[0, :, 4], 0.0, atol=1e-15)


@pytest.mark.parametrize("kind", ["gaussian", "empirical"])
def test_fit__normal_outcomes__normal_quantiles(kind: str) -> None:
    standard = np.random.default_rng(1).normal(size=(20_000, 1)) * 0.8
    standard[::7] = np.nan
    found = np.asarray(baseline.fit(standard, kind)["quantiles"])
    np.testing.assert_allclose(found, 0.8 * baseline.gaussian_quantiles(1), atol=0.06)
    np.testing.assert_allclose(found, -found[:, ::-1], atol=1e-12)


def test_fit__fat_tails__empirical_is_narrow_inside_and_wide_outside() -> None:
    standard = np.random.default_rng(1).standard_t(3, size=(20_000, 1)) / np.sqrt(3)
    empirical, normal = (np.asarray(baseline.fit(standard, k)["quantiles"])[0] for k in ("empirical", "gaussian"))
    assert empirical[-1] > normal[-1]
    assert empirical[LEVELS.index(0.75)] < baseline.gaussian_quantiles(1)[0, LEVELS.index(0.75)]


def test_fit__unknown_kind__refused() -> None:
    with pytest.raises(ValueError, match="neither gaussian nor empirical"):
        baseline.fit(np.zeros((10, 1)), "cauchy")
