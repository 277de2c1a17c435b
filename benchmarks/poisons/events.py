"""Poison for forecasts of labelled events: each function spoils a table and tells which events or people it touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from feeds.poisoning.forecasts import Forecasts, logit, odds_of

Spoiled = tuple[Forecasts, set[str]]
"""The table, and the events (of people: the names) that a finding should name."""


def flip(table: Forecasts, share: float, rng: np.random.Generator) -> Spoiled:
    """A share of the events ends the other way."""
    count = max(1, round(share * len(table.events)))
    events = rng.choice(len(table.events), count, replace=False)
    turned = np.isin(table.event, events)
    return replace(table, outcome=np.where(turned, 1 - table.outcome, table.outcome)), {table.events[k] for k in events}


def repeat(table: Forecasts, rows: float, rng: np.random.Generator) -> Spoiled:
    """So many rows in a row stand twice."""
    rows = min(int(rows), len(table.ts))
    start = int(rng.integers(len(table.ts) - rows + 1))
    again = np.arange(start, start + rows)
    return _with_rows(table, again), {table.events[k] for k in np.unique(table.event[again])}


def _with_rows(table: Forecasts, rows: np.ndarray) -> Forecasts:
    names = ("event", "forecaster", "probability", "outcome", "ts", "resolved_at", "known_at", "rest")
    held = {name: getattr(table, name) for name in names}
    return replace(table, **{n: None if v is None else np.concatenate([v, v[rows]]) for n, v in held.items()})


def _new_voice(table: Forecasts, model: int, rows: np.ndarray, noise: float, rng: np.random.Generator) -> Forecasts:
    """The rows again, said by a new forecaster, logits changed by Gaussian noise."""
    grown = _with_rows(table, rows)
    probability, forecaster = grown.probability.copy(), grown.forecaster.copy()
    own = slice(len(table.ts), None)
    if noise:
        probability[own] = odds_of(logit(probability[own]) + noise * rng.standard_normal(len(rows)))
    forecaster[own] = len(table.forecasters)
    return replace(
        grown, probability=probability, forecaster=forecaster, forecasters=(*table.forecasters, "zz_new_voice")
    )


def sybil(table: Forecasts, noise: float, rng: np.random.Generator) -> Spoiled:
    """A new forecaster says what another says, the logit changed by so much noise."""
    model = _busy(table, rng)
    rows = np.flatnonzero(table.forecaster == model)
    return _new_voice(table, model, rows, noise, rng), {"zz_new_voice", table.forecasters[model]}


def rotation(table: Forecasts, share: float, rng: np.random.Generator) -> Spoiled:
    """A new forecaster copies one other on a share of the events, and a random one on each of the rest."""
    model = _busy(table, rng)
    events = np.unique(table.event[table.forecaster == model])
    copied = rng.random(len(events)) < share
    rows = []
    for event, same in zip(events.tolist(), copied.tolist(), strict=True):
        here = np.flatnonzero(table.event == event)
        whose = model if same else int(rng.choice(table.forecaster[here]))
        rows.append(here[table.forecaster[here] == whose])
    return _new_voice(table, model, np.concatenate(rows), 0.0, rng), {"zz_new_voice", table.forecasters[model]}


def leak(table: Forecasts, share: float, rng: np.random.Generator) -> Spoiled:
    """One forecaster knows the outcome of a share of the events and says .95 for it."""
    who = _busy(table, rng)
    events = np.unique(table.event[table.forecaster == who])
    known = rng.choice(events, max(1, round(share * len(events))), replace=False)
    rows = (table.forecaster == who) & np.isin(table.event, known)
    said = np.where(table.outcome == 1, 0.95, 0.05)
    return replace(table, probability=np.where(rows, said, table.probability)), {table.forecasters[who]}


def backdate(table: Forecasts, rows: float, rng: np.random.Generator) -> Spoiled:
    """So many rows are from after the resolution."""
    late = rng.choice(len(table.ts), int(rows), replace=False)
    ts = table.ts.copy()
    ts[late] = table.resolved_at[late] + 1
    return replace(table, ts=ts), {table.events[k] for k in np.unique(table.event[late])}


def _busy(table: Forecasts, rng: np.random.Generator) -> int:
    """A forecaster with a standing forecast of at least 20 events."""
    counts = np.isfinite(table.table()).sum(axis=0)
    return int(rng.choice(np.flatnonzero(counts >= 20)))


POISONS: dict[str, Callable[[Forecasts, float, np.random.Generator], Spoiled]] = {
    "outcome_flip": flip,
    "repeat": repeat,
    "sybil": sybil,
    "rotation": rotation,
    "leak": leak,
    "late": backdate,
}
STRENGTHS: dict[str, tuple[float, ...]] = {
    "outcome_flip": (0.005, 0.01, 0.05, 0.2),
    "repeat": (10, 100, 1000),
    "sybil": (0.0, 0.05, 0.2),
    "rotation": (0.3, 0.6),
    "leak": (0.1, 0.5, 1.0),
    "late": (1, 10),
}
"""Share of events; rows; noise in logits; share of events copied; share of events known; rows."""
