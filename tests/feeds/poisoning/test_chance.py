"""The odds behind the checks keep what they state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from feeds.poisoning.chance import drifting, more_often, named_with_decoys, tail_odds
from feeds.poisoning.finding import Finding, at_least, check_budget, holm
from feeds.sources.source import BadRule
from feeds.types import Micros


def within(count: int, runs: int, rate: float) -> bool:
    """Whether so many alarms may come of this rate: not beyond what happens once in 10,000 times."""
    return stats.binom.sf(count - 1, runs, rate) > 1e-4


@given(st.lists(st.floats(0.0, 1.0), max_size=20))
def test_holm__any_odds__never_smaller_never_above_bonferroni_same_order(raw: list[float]) -> None:
    adjusted = holm(raw)
    assert ((adjusted >= np.array(raw)) & (adjusted <= np.minimum(1.0, len(raw) * np.array(raw)) + 1e-15)).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0.0).all()


@given(count=st.integers(0, 40), trials=st.integers(0, 40), chance=st.floats(0.0, 1.0))
def test_at_least__equal_chances__is_the_binomial_tail(count: int, trials: int, chance: float) -> None:
    expected = stats.binom.sf(count - 1, trials, chance) if trials else float(count == 0)
    assert at_least(count, np.full(trials, chance)) == pytest.approx(expected, abs=1e-9)


@given(count=st.integers(2_001, 2_200), chance=st.floats(0.01, 0.99))
def test_at_least__many_trials__bound_is_never_too_small(count: int, chance: float) -> None:
    assert at_least(count // 2, np.full(count, chance)) >= stats.binom.sf(count // 2 - 1, count, chance) * (1 - 1e-9)


def test_at_least__unequal_chances__as_counted_by_hand() -> None:
    chances = np.array([0.1, 0.5, 0.8])
    two = 0.1 * 0.5 * 0.2 + 0.1 * 0.5 * 0.8 + 0.9 * 0.5 * 0.8
    assert at_least(2, chances) == pytest.approx(two + 0.1 * 0.5 * 0.8 - 0.1 * 0.5 * 0.8 + 0.1 * 0.5 * 0.8)


def test_drifting__steps_of_random_sign_and_any_size__within_the_budget() -> None:
    rng, alarms, runs = np.random.default_rng(1), 0, 100
    for _ in range(runs):
        alarms += drifting(rng.standard_t(2, 60)).p_value <= 0.05
    assert within(alarms, runs, 0.05)


def test_drifting__steady_steps_in_noise__found_where_they_are() -> None:
    rng = np.random.default_rng(2)
    steps = rng.normal(0.0, 1.0, 128)
    steps[40:100] += 1.5
    found = drifting(steps)
    assert found.p_value < 1e-3 and 30 <= found.start <= 50 and 90 <= found.stop <= 112 and found.total > 60


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_drifting__any_unit_and_direction__same_odds(scale: float, seed: int) -> None:
    steps = np.random.default_rng(seed).normal(0.1, 1.0, 40)
    one, other = drifting(steps), drifting(-scale * steps)
    assert one.p_value == pytest.approx(other.p_value, abs=1e-3) and (one.start, one.stop) == (other.start, other.stop)


@pytest.mark.parametrize("freedom", [3, 6, 200])
def test_tail_odds__heavy_and_light_tails__smallest_odds_keep_the_budget(freedom: int) -> None:
    rng, runs, alarms = np.random.default_rng(freedom), 40, 0
    for _ in range(runs):
        values = np.abs(rng.standard_t(freedom, 3_000))
        alarms += tail_odds(values).min() * 3_000 <= 0.05
    assert within(alarms, runs, 0.05)


def test_tail_odds__one_value_far_beyond__found_though_it_is_in_the_sample() -> None:
    values = np.abs(np.random.default_rng(3).normal(size=5_000))
    values[77] = 1_000.0
    odds = tail_odds(values)
    assert odds.argmin() == 77 and odds[77] * 5_000 < 0.01


def test_tail_odds__few_values_or_none_known__say_nothing() -> None:
    assert (tail_odds(np.arange(100.0)) == 1.0).all() and (tail_odds(np.full(3_000, np.nan)) == 1.0).all()


def test_named_with_decoys__false_hits_as_common_as_decoys__share_of_false_kept() -> None:
    rng, false, named = np.random.default_rng(4), 0, 0
    for _ in range(200):
        real, noise, decoys = rng.normal(4.0, 1.0, 20), rng.normal(0.0, 1.0, 100), rng.normal(0.0, 1.0, 100)
        flags = named_with_decoys(np.concatenate([real, noise]), decoys, 0.1)
        false, named = false + int(flags[20:].sum()), named + int(flags.sum())
    assert named > 1_000 and false / named < 0.12


@given(hits=st.integers(0, 50), misses=st.integers(0, 50))
def test_more_often__any_counts__odds_of_a_fair_coin(hits: int, misses: int) -> None:
    assert more_often(hits, misses) == pytest.approx(at_least(hits, np.full(hits + misses, 0.5)), abs=1e-9)


@pytest.mark.parametrize("budget", [0.0, 1.0, -1.0, float("nan"), 1, "1"])
def test_budget__no_probability_to_keep__refused(budget: object) -> None:
    with pytest.raises(BadRule, match="budget"):
        check_budget(budget)  # type: ignore[arg-type]


def test_finding__odds_above_one__refused() -> None:
    with pytest.raises(BadRule, match="p_value"):
        Finding("check", "who", Micros(0), Micros(0), 1, 1.5, "said", "mend")
