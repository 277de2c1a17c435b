"""Checks of labelled events: silent on sound crowds at the budget; each finds its poison; order decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poisons.events import POISONS

from feeds.poisoning import outcomes, sybils
from feeds.poisoning.finding import Finding
from feeds.poisoning.forecasts import Forecasts
from feeds.types import SECOND
from tests.feeds.poisoning.markets import crowd
from tests.feeds.poisoning.test_chance import within

FINDS: dict[str, tuple[Callable[[Forecasts], list[Finding]], float]] = {
    "outcome_flip": (outcomes.flipped_outcomes, 0.1),
    "repeat": (outcomes.repeated_rows, 10),
    "sybil": (sybils.sybil_forecasters, 0.01),
    "rotation": (sybils.sybil_forecasters, 0.6),
    "leak": (outcomes.knew_outcomes, 1.0),
    "late": (outcomes.after_the_fact, 3),
}
BUDGETED = (outcomes.flipped_outcomes, outcomes.knew_outcomes, sybils.sybil_forecasters)


def words(findings: list[Finding]) -> set[str]:
    return {word for finding in findings for word in (*finding.events, *finding.subject.split(", "))}


@pytest.mark.parametrize("kind", FINDS)
def test_check__its_poison__names_what_was_touched(kind: str) -> None:
    check, strength = FINDS[kind]
    spoiled, touched = POISONS[kind](crowd(1, events=300, sure=5.0), strength, np.random.default_rng(2))
    found = check(spoiled)
    assert words(found) & touched and all(finding.p_value <= 0.01 and finding.mend for finding in found)


def test_poisons__all_of_them__have_a_check() -> None:
    assert set(POISONS) == set(FINDS)


@pytest.mark.parametrize("slope", [0.75, 1.0, 1.3])
def test_checks__sound_crowds_also_over_and_underconfident__alarms_within_the_budget(slope: float) -> None:
    runs, budget, alarms = 15, 0.05, [0, 0, 0]
    for seed in range(runs):
        table = crowd(1_000 + seed, events=80, slope=slope)
        for number, check in enumerate(BUDGETED):
            alarms[number] += bool(check(table, budget))
    assert all(within(count, runs, budget) for count in alarms), alarms


def test_flipped_outcomes__a_fifth_turned__most_named_and_few_others() -> None:
    hits, named, turned = 0, 0, 0
    for seed in range(5):
        table = crowd(seed, events=400, sure=5.0)
        spoiled, touched = POISONS["outcome_flip"](table, 0.2, np.random.default_rng(seed))
        said = {event for finding in outcomes.flipped_outcomes(spoiled) for event in finding.events}
        hits, named, turned = hits + len(said & touched), named + len(said), turned + len(touched)
    assert hits >= 0.4 * turned and named - hits <= 0.25 * named


def mixed(table: Forecasts, order: np.ndarray) -> Forecasts:
    fields = ("event", "forecaster", "probability", "outcome", "ts", "resolved_at", "rest")
    return replace(table, **{field: getattr(table, field)[order] for field in fields})


@given(kind=st.sampled_from(sorted(FINDS)), seed=st.integers(0, 999))
@settings(max_examples=12, deadline=None)
def test_check__rows_in_any_order__same_findings(kind: str, seed: int) -> None:
    check, strength = FINDS[kind]
    spoiled, _ = POISONS[kind](crowd(1, events=100, sure=5.0), strength, np.random.default_rng(2))
    order = np.random.default_rng(seed).permutation(len(spoiled.ts))
    one, other = check(spoiled), check(mixed(spoiled, order))
    assert [f.as_json() for f in one] == [f.as_json() for f in other]


@given(kind=st.sampled_from(sorted(FINDS)), days=st.integers(-3_000, 3_000))
@settings(max_examples=12, deadline=None)
def test_check__another_day__same_findings_then(kind: str, days: int) -> None:
    check, strength = FINDS[kind]
    spoiled, _ = POISONS[kind](crowd(1, events=100, sure=5.0), strength, np.random.default_rng(2))
    shift = days * 86_400 * SECOND
    later = replace(spoiled, ts=spoiled.ts + shift, resolved_at=spoiled.resolved_at + shift)
    expected = [(f.subject, f.events, f.rows, f.p_value, f.first + shift, f.last + shift) for f in check(spoiled)]
    assert [(f.subject, f.events, f.rows, f.p_value, f.first, f.last) for f in check(later)] == expected


@given(kind=st.sampled_from(["outcome_flip", "sybil", "rotation", "leak"]))
@settings(max_examples=4, deadline=None)
def test_check__outcomes_named_the_other_way_round__same_events_and_people(kind: str) -> None:
    check, strength = FINDS[kind]
    spoiled, _ = POISONS[kind](crowd(1, events=150, sure=5.0), strength, np.random.default_rng(2))
    turned = replace(spoiled, probability=1.0 - spoiled.probability, outcome=1 - spoiled.outcome)
    assert words(check(turned)) == words(check(spoiled))


def test_sybil_forecasters__always_the_opposite__one_voice_on_both_sides() -> None:
    table = crowd(4, events=100)
    rows = np.flatnonzero(table.forecaster == 0)
    hedge = replace(
        table,
        probability=np.where(table.forecaster == 1, np.nan, table.probability),
        forecaster=table.forecaster,
    )
    hedge.probability[table.forecaster == 1] = 1.0 - table.probability[rows]
    (found,) = sybils.sybil_forecasters(hedge)
    assert found.subject == "person-0, person-1" and "say the opposite" in found.said


def test_contradictions__event_with_both_outcomes__named_and_left_out_of_the_rest() -> None:
    table = crowd(1, events=60)
    table.outcome[0] = 1 - table.outcome[0]
    (found,) = outcomes.contradictions(table)
    assert found.events == ("event-0000",) and outcomes.contradictions(crowd(1)) == []
    assert outcomes.flipped_outcomes(table) == [] and outcomes.knew_outcomes(table) == []


def test_after_the_fact__known_before_made_or_after_resolved__each_told() -> None:
    table = crowd(1, events=30)
    known = table.ts + SECOND
    known[3], known[5] = table.ts[3] - 1, table.resolved_at[5] + 1
    said = [finding.said for finding in outcomes.after_the_fact(replace(table, known_at=known))]
    assert said == [
        "1 forecasts known before they were made",
        "1 forecasts made before the resolution but known only after it",
    ]
    assert outcomes.after_the_fact(replace(table, known_at=table.ts + SECOND)) == []


def test_standing__several_forecasts_of_one__the_last_before_the_end_counts() -> None:
    table = crowd(1, events=2, people=1)
    end = int(table.resolved_at[0])
    rows = [0, 0, 0, 1]
    fields = {f: getattr(table, f)[rows] for f in ("event", "forecaster", "outcome", "resolved_at", "rest")}
    more = replace(
        table, **fields, probability=np.array([0.1, 0.2, 0.9, 0.5]),
        ts=np.array([end - 2 * SECOND, end - SECOND, end, end - SECOND]),
    )  # fmt: skip
    assert more.standing().tolist() == [1, 3]
