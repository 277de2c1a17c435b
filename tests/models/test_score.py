"""Scores: equal to `scoringrules` where it has them, and true to their definitions elsewhere."""

import doctest

import numpy as np
import pytest
import scoringrules as sr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from models import score
from models.forecast import LEVELS

VALUE = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))
PROBABILITY = st.floats(0.001, 0.999)
FAST = settings(max_examples=60, deadline=None)


def test_formulas__doctests__hold() -> None:
    assert doctest.testmod(score).failed == 0


@FAST
@given(VALUE, st.lists(VALUE, min_size=9, max_size=9).map(sorted))
def test_pinball_and_plain_crps__any_quantiles__equal_scoringrules(outcome: float, quantiles: list[float]) -> None:
    ours = score.pinball(outcome, quantiles)
    theirs = sr.quantile_score(np.full(9, outcome), np.array(quantiles), np.array(LEVELS))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    plain = score.crps_from_quantiles(outcome, quantiles, weights=score.plain_weights(9))
    reference = sr.crps_quantile(np.array(outcome), np.array(quantiles), np.array(LEVELS))
    np.testing.assert_allclose(plain, reference, rtol=1e-9, atol=1e-9)


@FAST
@given(VALUE, st.lists(VALUE, min_size=2, max_size=12), st.booleans())
def test_crps_from_ensemble__any_members__equals_scoringrules(outcome: float, members: list[float], fair: bool) -> None:
    ours = score.crps_from_ensemble(outcome, members, fair=fair)
    theirs = sr.crps_ensemble(np.array(outcome), np.array(members), estimator="fair" if fair else "nrg")
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-8)


@FAST
@given(VALUE, VALUE, st.floats(0, 100), st.floats(0.01, 0.99))
def test_interval_score__any_interval__equals_scoringrules(y: float, low: float, width: float, alpha: float) -> None:
    ours = score.interval_score(y, low, low + width, alpha)
    np.testing.assert_allclose(ours, sr.interval_score(y, low, low + width, alpha), rtol=1e-9, atol=1e-9)


@FAST
@given(PROBABILITY, st.integers(0, 1))
def test_brier_and_log__yes_no__equal_scoringrules(p: float, outcome: int) -> None:
    np.testing.assert_allclose(score.brier(p, outcome), sr.brier_score(outcome, p), rtol=1e-12)
    np.testing.assert_allclose(score.log_score(p, outcome), sr.log_score(outcome, p), rtol=1e-9)
    vector = [1.0 - p, p]
    np.testing.assert_allclose(score.brier_outcomes(vector, outcome), 2 * score.brier(p, outcome), rtol=1e-9)
    np.testing.assert_allclose(score.log_score_outcomes(vector, outcome), score.log_score(p, outcome), rtol=1e-9)


def test_crps_from_quantiles__perfect_normal_forecast__close_to_the_closed_form() -> None:
    y = np.random.default_rng(3).normal(size=20_000)
    exact = sr.crps_normal(y, 0.0, 1.0).mean()
    trapezoid = score.crps_from_quantiles(y, norm.ppf(LEVELS)).mean()
    plain = score.crps_from_quantiles(y, norm.ppf(LEVELS), weights=score.plain_weights(9)).mean()
    assert 0.96 < trapezoid / exact < 0.975
    assert plain / exact < 0.7  # why the plain average is not used


def test_crps_from_quantiles__many_even_levels__converges_to_the_ensemble_form() -> None:
    levels = tuple((np.arange(400) + 1) / 401)
    quantiles = norm.ppf(levels)
    np.testing.assert_allclose(
        score.crps_from_quantiles(0.7, quantiles, levels), sr.crps_normal(0.7, 0.0, 1.0), rtol=5e-3
    )


@FAST
@given(st.lists(st.floats(-3, 3), min_size=9, max_size=9).map(sorted))
def test_crps_from_quantiles__true_quantiles__score_best_in_expectation(other: list[float]) -> None:
    y = np.random.default_rng(1).normal(size=4_000)
    best = score.crps_from_quantiles(y, np.quantile(y, LEVELS, method="inverted_cdf")).mean()
    assert best <= score.crps_from_quantiles(y, other).mean() + 1e-12


@FAST
@given(st.lists(st.floats(0, 1e30), min_size=3, max_size=9), st.integers(0, 8))
def test_capped__absurd_and_missing_scores__stay_within_the_cap(scores: list[float], missing: int) -> None:
    raw = np.array(scores)
    raw[missing % len(raw)] = np.nan
    safe = score.capped(raw)
    cap = 10 * np.nanmedian(raw)
    assert np.isfinite(safe).all() and (safe <= cap).all()
    kept = ~np.isnan(raw) & (raw <= cap)
    np.testing.assert_array_equal(safe[kept], raw[kept])


def test_capped__one_forecast_of_1e30__absentees_keep_an_ordinary_score() -> None:
    field = np.array([1.0, 1.1, 0.9, 1.2, np.inf, 1e30, np.nan])
    safe = score.capped(field)
    assert safe[6] <= 1.2 and safe[4] == safe[5] == 10 * np.median([1.0, 1.1, 0.9, 1.2, 1e30])


def test_capped__several_fields__each_by_its_own_median() -> None:
    safe = score.capped([[1.0, 1.0, 50.0], [10.0, 10.0, 50.0], [np.nan, np.nan, np.nan]])
    assert safe[:2].tolist() == [[1.0, 1.0, 10.0], [10.0, 10.0, 50.0]] and np.isnan(safe[2]).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: score.trapezoid_weights([0.5, 0.5]),
        lambda: score.trapezoid_weights([0.0, 0.5]),
        lambda: score.trapezoid_weights([]),
        lambda: score.crps_from_ensemble(0.0, [1.0], fair=True),
        lambda: score.interval_score(0.0, 0.0, 1.0, 0.0),
        lambda: score.skill(-1.0, 1.0),
        lambda: score.capped([-1.0]),
        lambda: score.capped([np.inf, np.inf]),
    ],
)
def test_scores__arguments_outside_the_definition__refused(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"\w+ .*"):
        call()
