"""Made-up markets and crowds that keep every assumption of the checks, for tests to spoil."""

from __future__ import annotations

import numpy as np
import pandas as pd

from feeds.poisoning.forecasts import Forecasts, logit, odds_of
from feeds.poisoning.panel import Panel, panels
from feeds.sources.replay import Frames
from feeds.types import SECOND

MINUTE = 60 * SECOND
START = 1_677_628_800 * SECOND
SYMBOL = "BTC/USD"


def market(seed: int, rows: int = 4_000, sources: int = 4) -> Frames:
    """One price with clustered volatility; each source a few tenths of a move off, at random, with its own volumes."""
    rng = np.random.default_rng(seed)
    calm = np.exp(0.5 * np.sin(np.arange(rows) / 300.0 + rng.random() * 6))
    price = np.cumsum(5e-4 * calm * rng.standard_t(5, rows)) + np.log(20_000.0)
    found: Frames = {}
    for number in range(sources):
        bias = np.cumsum(rng.normal(0.0, 2e-6, rows))
        close = np.exp(price + 1e-4 * rng.standard_t(5, rows) + bias)
        bars = {"ts": START + MINUTE * np.arange(rows), "close": close, "volume": rng.lognormal(0.0, 1.0, rows)}
        found[f"venue_{number}"] = {SYMBOL: pd.DataFrame(bars)}
    return found


def panel_of(frames: Frames) -> Panel:
    (found,) = panels(frames)
    return found


def crowd(seed: int, events: int = 200, people: int = 8, slope: float = 1.0, sure: float = 2.0) -> Forecasts:
    """Forecasters with noise of their own around a truth that outcomes follow.

    `slope`: logits times too large; `sure`: spread of the true logits.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.0, sure, events)
    outcome = (rng.random(events) < odds_of(truth)).astype(np.int64)
    event, forecaster = (grid.ravel() for grid in np.meshgrid(np.arange(events), np.arange(people), indexing="ij"))
    said = np.round(odds_of(slope * truth[event] + rng.normal(0.0, 0.4, len(event))), 3)
    ts = START + rng.integers(0, 86_400, len(event)) * SECOND
    return Forecasts(
        tuple(f"event-{k:04d}" for k in range(events)), tuple(f"person-{k}" for k in range(people)),
        event, forecaster, odds_of(logit(said)), outcome[event], ts, np.full(len(event), START + 90_000 * SECOND),
        None, np.zeros(len(event), np.int64),
    )  # fmt: skip
