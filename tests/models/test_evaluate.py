"""Evaluation: labels come late, intervals cover, and the table says when numbers are no evidence."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from models import evaluate as ev
from models.forecast import LEVELS

HOUR = 3600
US = 1_000_000
FAST = settings(max_examples=40, deadline=None)


def test_formulas__doctests__hold() -> None:
    assert doctest.testmod(ev).failed == 0


@FAST
@given(
    st.lists(st.integers(1, 60), min_size=5, max_size=120),
    st.integers(0, 50),
    st.integers(1, 40),
    st.integers(1, 24),
    st.integers(0, 10),
)
def test_walk_folds__any_gaps__train_outcomes_known_an_embargo_before_and_tests_partition(
    gaps: list[int], start: int, refit: int, horizon: int, embargo: int
) -> None:
    ts = np.cumsum(np.array(gaps, dtype=np.int64)) * HOUR * US
    folds = ev.walk_folds(ts, start * HOUR * US, refit * HOUR, horizon * HOUR, embargo * HOUR)
    tested = np.concatenate([f.test for f in folds]) if folds else np.empty(0, dtype=np.int64)
    np.testing.assert_array_equal(tested, np.flatnonzero(ts >= start * HOUR * US))
    for fold in folds:
        late = ts[fold.train] + (horizon + embargo) * HOUR * US > ts[fold.test[0]]
        assert not late.any()
        left_out = np.setdiff1d(np.arange(fold.test[0]), fold.train)
        assert (ts[left_out] + (horizon + embargo) * HOUR * US > ts[fold.test[0]]).all()


def test_walk_forward__future_perturbed__earlier_forecasts_and_labels_seen_unchanged() -> None:
    rng = np.random.default_rng(4)
    ts = (np.arange(300, dtype=np.int64) + 1) * HOUR * US
    close = np.exp(np.cumsum(rng.normal(0, 0.001, 300)))

    def run(series: np.ndarray) -> tuple[ev.WalkForward, list[bytes]]:
        seen: list[bytes] = []

        def fit(index: np.ndarray, outcomes: np.ndarray) -> ev.Predict:
            seen.append(outcomes.tobytes())
            spread = np.nanstd(outcomes, axis=0) if len(index) else np.full(2, 0.01)
            return lambda test: np.broadcast_to(spread[:, None] * norm.ppf(LEVELS), (len(test), 2, 9))

        return ev.walk_forward(fit, ts, series, (HOUR, 24 * HOUR), HOUR, int(ts[100]), 10 * HOUR, 2 * HOUR), seen

    whole, labels_seen = run(close)
    changed = close.copy()
    changed[200:] *= 1.5
    other, labels_other = run(changed)
    assert whole.quantiles.shape == (200, 2, 9)
    np.testing.assert_array_equal(whole.quantiles[:101], other.quantiles[:101])
    assert not np.array_equal(whole.quantiles[150:], other.quantiles[150:])
    assert labels_seen[:11] == labels_other[:11] and labels_seen[-1] != labels_other[-1]


def test_walk_forward__predictor_of_wrong_shape__refused() -> None:
    ts = (np.arange(50, dtype=np.int64) + 1) * HOUR * US
    with pytest.raises(ValueError, match="must return"):
        ev.walk_forward(lambda *_: lambda test: np.zeros((1, 9)), ts, np.ones(50), (HOUR,), HOUR, 0, HOUR)


def test_crps_ratio_interval__no_difference__covers_one_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for seed in range(120):
        base = np.convolve(rng.exponential(1.0, 404), np.ones(5) / 5, "valid")
        pair = [base * np.convolve(rng.uniform(0.8, 1.2, 404), np.ones(5) / 5, "valid") for _ in range(2)]
        found = ev.crps_ratio_interval(pair[0], pair[1], block=10, seed=seed, draws=400)
        assert found.low <= found.high
        hits += found.low <= 1.0 <= found.high
    assert 0.85 <= hits / 120 <= 1.0


@FAST
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5.0), st.integers(1, 20))
def test_crps_ratio_interval__scaled_scores__degenerate_at_the_factor(seed: int, factor: float, block: int) -> None:
    theirs = np.random.default_rng(seed).uniform(0.1, 1.0, 100)
    found = ev.crps_ratio_interval(factor * theirs, theirs, block, seed, draws=50)
    np.testing.assert_allclose([found.estimate, found.low, found.high], factor, rtol=1e-9)
    assert found == ev.crps_ratio_interval(factor * theirs, theirs, block, seed, draws=50)


def test_crps_ratio_interval__many_draws_in_chunks__same_law(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.uniform(0.1, 1, 200), rng.uniform(0.1, 1, 200)
    whole = ev.crps_ratio_interval(ours, theirs, 5, 1)
    monkeypatch.setattr(ev, "_CHUNK", 4000)
    parts = ev.crps_ratio_interval(ours, theirs, 5, 1)
    assert parts == whole


@pytest.mark.parametrize(
    ("ours", "theirs", "block", "named"),
    [
        (np.ones(5), np.ones(5), 3, "too few"),
        (np.ones(5), np.ones(6), 1, "one length"),
        (np.full(5, np.nan), np.ones(5), 1, "finite"),
        (np.ones(5), np.zeros(5), 1, "no loss"),
    ],
)
def test_crps_ratio_interval__bad_input__named(ours: np.ndarray, theirs: np.ndarray, block: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ev.crps_ratio_interval(ours, theirs, block, 0)


def report(count: int, horizon: int = HOUR) -> ev.EvaluationReport:
    rng = np.random.default_rng(8)
    ts = np.arange(count, dtype=np.int64) * HOUR * US
    y = rng.normal(0, 0.01, count)
    y[::10] = np.nan
    good = np.tile(0.01 * norm.ppf(LEVELS), (count, 1))
    good[3] = np.nan
    return ev.evaluate("mixture", ts, good, y, {"wide": 2 * np.nan_to_num(good), "same": good}, horizon, HOUR)


def test_evaluate__known_law__coverage_ratio_and_counts_come_out() -> None:
    found = report(2000)
    assert found.forecasts == 1799 and found.unanswered == 1
    assert 0.88 < found.coverage_90 < 0.92
    wide = found.ratio("wide")
    assert wide.ratio < 1 and wide.interval is not None and wide.interval.high < 1
    assert found.ratio("same").ratio == 1.0
    assert "not evidence" not in found.table()
    assert "1799 forecasts (1799 independent, 1 unanswered)" in found.table()
    with pytest.raises(KeyError, match="wide, same"):
        found.ratio("none")


def test_evaluate__overlapping_targets__says_not_evidence() -> None:
    found = report(300, 24 * HOUR)
    assert found.independent <= 13
    assert f"{found.independent} independent targets: not evidence" in found.table()


def test_evaluate__too_short_for_two_blocks__ratio_without_interval() -> None:
    found = report(30, 24 * HOUR)
    assert found.ratio("wide").interval is None and "too few targets" in found.table()


def test_evaluate__nothing_to_score__refused() -> None:
    with pytest.raises(ValueError, match="no forecast has an outcome"):
        ev.evaluate("m", np.arange(3), np.zeros((3, 9)), np.full(3, np.nan), {}, HOUR, HOUR)


def test_best_single__one_member_sleeps_and_one_is_better__the_better_of_the_regular() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(0, 1, 500)
    good = np.tile(norm.ppf(LEVELS), (500, 1))
    members = np.stack([3 * good, good, good + 1, np.full_like(good, np.nan)])
    members[0, :5] = np.nan
    assert ev.best_single(members, y) == 1
    with pytest.raises(ValueError, match="no best single"):
        ev.best_single(members[3:], y)
