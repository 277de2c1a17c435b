"""The detection rates that docs/data.md states hold on the real files, within what chance allows.

A smaller run of `benchmarks/poison.py`: the stated rate is refuted if so few (or, where we state that a poison is not
found, so many) hits happen less than once in 10,000 times.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from poisons import events, prices
from scipy import stats

from feeds.poisoning.table import forecasts_of, frames_of, read_table
from feeds.sources.replay import Frames
from tests.feeds.poisoning.markets import SYMBOL, panel_of
from tests.feeds.poisoning.test_events import FINDS as EVENT_CHECKS
from tests.feeds.poisoning.test_events import words
from tests.feeds.poisoning.test_prices import FINDS as PRICE_CHECKS

SEEDS = 5
FOUND = [
    ("flip", 0.01), ("block", 30), ("changed_block", 100), ("drift", 100), ("spike", 1000), ("label_spikes", 20),
    ("backdate", 0.2),
]  # fmt: skip
"""Stated: found in at least nine of ten, in a minute file of four venues."""
MISSED = [("drift", 5), ("spike", 30)]
"""Stated: found in at most one of five."""


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> Frames:
    return frames_of(read_table(shared_data / "prices_1m_BTC-USD_2023-03.csv.gz"), "BTC/USD")


def hits(frames: Frames, kind: str, strength: float) -> int:
    found = 0
    for seed in range(100, 100 + SEEDS):
        spoiled, source, times = prices.spoil(frames, SYMBOL, kind, strength, np.random.default_rng(seed))
        own = [f for f in PRICE_CHECKS[kind][0](panel_of(spoiled)) if f.subject == f"{source} {SYMBOL}"]
        found += any(f.first <= times.max() and f.last >= times.min() for f in own)
    return found


@pytest.mark.parametrize(("kind", "strength"), FOUND)
def test_prices__strong_poison__found_at_the_stated_rate(frames: Frames, kind: str, strength: float) -> None:
    assert stats.binom.cdf(hits(frames, kind, strength), SEEDS, 0.9) > 1e-4


@pytest.mark.parametrize(("kind", "strength"), MISSED)
def test_prices__weak_poison__as_rarely_found_as_stated(frames: Frames, kind: str, strength: float) -> None:
    assert stats.binom.sf(hits(frames, kind, strength) - 1, SEEDS, 0.2) > 1e-4


@pytest.mark.parametrize(
    ("name", "kind", "strength"),
    [
        ("events_538_congress_2018_final", "outcome_flip", 0.05),
        ("events_metaculus_pros_2025Q1a", "sybil", 0.05),
        ("events_metaculus_pros_2025Q1a", "rotation", 0.6),
        ("events_metaculus_pros_2025Q1a", "leak", 1.0),
        ("events_metaculus_pros_2024Q3a_spot", "repeat", 10),
        ("events_metaculus_pros_2024Q3a_spot", "late", 1),
    ],
)
def test_events__strong_poison__found_at_the_stated_rate(
    shared_data: Path, name: str, kind: str, strength: float
) -> None:
    table, found = forecasts_of(read_table(shared_data / f"{name}.csv.gz"), name), 0
    for seed in range(100, 100 + SEEDS):
        spoiled, touched = events.POISONS[kind](table, strength, np.random.default_rng(seed))
        found += bool(words(EVENT_CHECKS[kind][0](spoiled)) & touched)
    assert stats.binom.cdf(found, SEEDS, 0.9) > 1e-4
