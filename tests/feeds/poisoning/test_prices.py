"""Checks of prices: silent on sound markets at the budget; each finds its poison; order and units decide nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poisons.prices import POISONS, spoil

from feeds.poisoning import prices, sybils
from feeds.poisoning.finding import Finding
from feeds.poisoning.inspect import PRICES
from feeds.poisoning.panel import Panel, median_of_others
from feeds.poisoning.repeats import copied_blocks, repeats
from feeds.sources.replay import Frames
from tests.feeds.poisoning.markets import MINUTE, SYMBOL, market, panel_of
from tests.feeds.poisoning.test_chance import within

FINDS: dict[str, tuple[Callable[[Panel], list[Finding]], float]] = {
    "flip": (prices.flipped_labels, 0.02),
    "block": (copied_blocks, 30),
    "changed_block": (copied_blocks, 60),
    "drift": (prices.drift, 100.0),
    "spike": (prices.lone_spikes, 1000.0),
    "label_spikes": (prices.label_time_spikes, 50.0),
    "backdate": (prices.lookahead, 0.2),
}


@pytest.mark.parametrize("kind", FINDS)
def test_check__its_poison__names_the_source_and_the_place(kind: str) -> None:
    check, strength = FINDS[kind]
    spoiled, source, times = spoil(market(1), SYMBOL, kind, strength, np.random.default_rng(5))
    found = check(panel_of(spoiled))
    assert found and all(finding.subject == f"{source} {SYMBOL}" for finding in found)
    named = {time for finding in found for time in finding.times}
    assert named & set(times.tolist())
    assert all(finding.p_value <= 0.01 and finding.mend and finding.said for finding in found)


def test_poisons__all_of_them__have_a_check() -> None:
    assert set(POISONS) == set(FINDS)


def test_checks__sound_markets__alarms_within_the_budget() -> None:
    runs, budget = 8, 0.05
    alarms = [0] * len(PRICES)
    for seed in range(runs):
        panel = panel_of(market(100 + seed, rows=2_000))
        for number, check in enumerate(PRICES):
            alarms[number] += bool(check(panel, budget))
    assert all(within(count, runs, budget) for count in alarms), alarms


def said(panel: Panel, check: Callable[[Panel], list[Finding]]) -> list[tuple[str, str, int, float, tuple[int, ...]]]:
    return [(f.check, f.subject, f.rows, round(f.p_value, 9), f.times) for f in check(panel)]


@cache
def poisoned(kind: str) -> Frames:
    return spoil(market(1), SYMBOL, kind, FINDS[kind][1], np.random.default_rng(5))[0]


@cache
def expected(kind: str) -> list[tuple[str, str, int, float, tuple[int, ...]]]:
    return said(panel_of(poisoned(kind)), FINDS[kind][0])


def moved(frames: Frames, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Frames:
    return {source: {symbol: change(frame) for symbol, frame in held.items()} for source, held in frames.items()}


@given(kind=st.sampled_from(sorted(FINDS)), seed=st.integers(0, 999))
@settings(max_examples=5, deadline=None)
def test_check__rows_in_any_order__same_findings(kind: str, seed: int) -> None:
    mixed = moved(poisoned(kind), lambda frame: frame.sample(frac=1.0, random_state=seed))
    assert expected(kind) and said(panel_of(mixed), FINDS[kind][0]) == expected(kind)


@given(kind=st.sampled_from(sorted(FINDS)), power=st.integers(-30, 30), volumes=st.integers(-20, 20))
@settings(max_examples=5, deadline=None)
def test_check__other_units_of_price_and_volume__same_findings(kind: str, power: int, volumes: int) -> None:
    units = {"close": 2.0**power, "volume": 2.0**volumes}
    scaled = moved(poisoned(kind), lambda f: f.assign(**{name: f[name] * unit for name, unit in units.items()}))
    found = said(panel_of(scaled), FINDS[kind][0])
    assert [f[:3] for f in found] == [f[:3] for f in expected(kind)]


@given(kind=st.sampled_from(sorted(FINDS)), days=st.integers(-365, 365))
@settings(max_examples=5, deadline=None)
def test_check__another_day__same_findings_then(kind: str, days: int) -> None:
    shift = days * 1_440 * MINUTE
    later = moved(poisoned(kind), lambda frame: frame.assign(ts=frame["ts"] + shift))
    then = [(*f[:4], tuple(t + shift for t in f[4])) for f in expected(kind)]
    assert said(panel_of(later), FINDS[kind][0]) == then


def test_sybil_sources__one_book_under_two_names__one_group() -> None:
    frames = market(3)
    copy = frames["venue_0"][SYMBOL].copy()
    frames["mirror"] = {SYMBOL: copy.assign(volume=copy["volume"] * 3.0)}
    (found,) = sybils.sybil_sources(panel_of(frames))
    assert found.subject == f"mirror, venue_0 {SYMBOL}" and found.rows == 4_000


def test_impossible_bars__twice_and_known_early__both_told() -> None:
    frame = market(1, rows=50)["venue_0"][SYMBOL]
    known = frame.assign(known_at=frame["ts"] + MINUTE)
    known.loc[7, "known_at"] = known.loc[7, "ts"] + MINUTE - 1
    doubled = pd.concat([known, known.iloc[3:5]])
    found = prices.impossible_bars({"venue_0": {SYMBOL: doubled}})
    assert [(f.check, f.rows) for f in found] == [("repeated bars", 2), ("backdated rows", 1)]
    assert found[1].times == (int(known.loc[7, "ts"]),)
    assert prices.impossible_bars({"venue_0": {SYMBOL: known.drop(index=7)}}) == []


def test_checks__one_source_or_dead_sources__no_finding_no_failure() -> None:
    alone = {"venue_0": market(1, rows=3_000)["venue_0"]}
    dead = moved(market(1, rows=3_000), lambda frame: frame.assign(close=100.0, volume=0.0))
    for panel in (panel_of(alone), panel_of(dead)):
        assert [finding for check in PRICES for finding in check(panel, 0.01)] == []


def test_two_sources__one_drifts__finding_says_it_may_be_either() -> None:
    frames = {name: held for name, held in market(1).items() if name < "venue_2"}
    spoiled, _, _ = spoil(frames, SYMBOL, "drift", 200.0, np.random.default_rng(5))
    found = prices.drift(panel_of(spoiled))
    assert found and all(finding.subject.endswith("or the one other source") for finding in found)


@given(rows=st.integers(1, 12), columns=st.integers(1, 6), seed=st.integers(0, 999))
def test_median_of_others__any_table__is_that_of_the_rest(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((rows, columns)) < 0.3, np.nan, rng.normal(size=(rows, columns)))
    found = median_of_others(values)
    for row in range(rows):
        for column in range(columns):
            rest = [v for c, v in enumerate(values[row].tolist()) if c != column and v == v]
            expected = np.median(rest) if rest else np.nan
            assert found[row, column] == pytest.approx(expected, nan_ok=True)


def test_repeats__random_symbols__alarms_within_the_budget() -> None:
    rng = np.random.default_rng(9)
    alarms = sum(bool(repeats(rng.integers(0, 64, 800), 4, 0.25, 0.05)) for _ in range(120))
    assert within(alarms, 120, 0.05)


def test_repeats__few_symbols__say_nothing() -> None:
    assert repeats(np.zeros(5, np.int64), 4, 0.25, 0.01) == [] and repeats(np.zeros(500, np.int64), 4, 0.25, 0.01) == []
