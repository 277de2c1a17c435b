"""Poison put into recorded data: how much of it the checks find, beside plain rules at the same budget of false alarms.

Into real files one poison of one strength is put at a random place (seeded), into a random source that trades or, of
events, anywhere. `detected`: share of the seeds in which the check of that poison names the source (forecaster, event)
at fault; `named`: share of the poisoned bars or events that it names. False alarms: the same checks on random spans of
half of each file, nothing put in; a real fault that the data set's README lists is then an alarm too, and the table
says which files they come from.

What is a threshold follows from the budget alone. Some assumptions were learnt from files named here, so that false
alarms of these checks on these files are no proof: that thin books come back after a stray price (`flipped_labels`;
BTC/USDT, BTC/USDC), that a quiet hour repeats itself (`copied_blocks`; USDC/USDT), that honest forecasters and venues
may be alike (`sybils.ALIKE`) and may beat a crowd (`outcomes.SKILL`; 538, Metaculus, Predictoor), and how far a crowd's
slope may be off (`outcomes.SLOPES`, seen with the detection rates of the event files).

    python benchmarks/poison.py [--seeds 8] [--json PATH]      DODONA_SHARED_DATA names the data set's folder
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from poisons import events, plain
from poisons import prices as books

from feeds.poisoning import outcomes, prices, sybils
from feeds.poisoning.finding import BUDGET, Finding
from feeds.poisoning.forecasts import Forecasts
from feeds.poisoning.panel import panels
from feeds.poisoning.repeats import copied_blocks
from feeds.poisoning.table import forecasts_of, frames_of, read_table

DATA = Path(os.environ.get("DODONA_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BARS = {
    "prices_1m_BTC-USD_2023-03": "BTC/USD",
    "prices_1m_BTC-USDT_2023-03": "BTC/USDT",
    "prices_1h_ETH_6venues_2017-07_2018-12": "ETH/USD",
}
TABLES = (
    "events_538_congress_2018_final", "events_538_governors_2018", "events_538_senate_night_2014_2016",
    "events_forecastbench_crowd_a", "events_metaculus_pros_2024Q3a_spot", "events_metaculus_pros_2025Q1a",
)  # fmt: skip
PEOPLE = ("sybil", "rotation", "leak")
"""Poisons of a forecaster: only into files with three forecasters of 20 events or more."""
Check = Callable[[Any], list[Finding]]
Rule = Callable[[Any, float], set[str]]
OURS: dict[str, tuple[Check, Rule | None]] = {
    "flip": (prices.flipped_labels, plain.z_returns),
    "block": (copied_blocks, plain.equal_rows),
    "changed_block": (copied_blocks, plain.equal_rows),
    "drift": (prices.drift, plain.welch),
    "spike": (prices.lone_spikes, plain.z_deviations),
    "label_spikes": (prices.label_time_spikes, plain.z_deviations),
    "backdate": (prices.lookahead, plain.whole_lag),
    "outcome_flip": (outcomes.flipped_outcomes, plain.surprises),
    "repeat": (outcomes.repeated_rows, None),
    "sybil": (sybils.sybil_forecasters, plain.correlated),
    "rotation": (sybils.sybil_forecasters, plain.correlated),
    "leak": (outcomes.knew_outcomes, plain.better_brier),
    "late": (outcomes.after_the_fact, None),
}


@dataclass(slots=True)
class Tally:
    """Of so many runs: how many were found by ours and by the plain rule, and the share of poisoned things named."""

    runs: int = 0
    ours: int = 0
    plain: int = 0
    named: float = 0.0


def frames(name: str, symbol: str) -> dict[str, Any]:
    held = frames_of(read_table(DATA / f"{name}.csv.gz"), name)
    return {source: {symbol: bars[symbol]} for source, bars in held.items() if symbol in bars}


def poisoned_bars(name: str, symbol: str, kind: str, strength: float, seed: int, tally: Tally) -> None:
    rng = np.random.default_rng(seed)
    spoiled, source, times = books.spoil(frames_cache(name, symbol), symbol, kind, strength, rng)
    (panel,) = panels(spoiled)
    check, rule = OURS[kind]
    own = [f for f in check(panel) if f.subject.startswith(f"{source} ")]
    own = [f for f in own if f.first <= times.max() and f.last >= times.min()]
    said = {time for finding in own for time in finding.times}
    tally.runs += 1
    tally.ours += bool(own)
    tally.named += len(said & set(times.tolist())) / min(len(times), 1000)
    tally.plain += rule is not None and source in rule(panel, BUDGET)


_HELD: dict[str, Any] = {}


def frames_cache(name: str, symbol: str) -> dict[str, Any]:
    if name not in _HELD:
        _HELD[name] = frames(name, symbol)
    return _HELD[name]


def table_of(name: str) -> Forecasts:
    if name not in _HELD:
        _HELD[name] = forecasts_of(read_table(DATA / f"{name}.csv.gz"), name)
    return _HELD[name]


def poisoned_events(name: str, kind: str, strength: float, seed: int, tally: Tally) -> None:
    spoiled, touched = events.POISONS[kind](table_of(name), strength, np.random.default_rng(seed))
    check, rule = OURS[kind]
    said = {word for finding in check(spoiled) for word in (*finding.events, *finding.subject.split(", "))}
    tally.runs += 1
    tally.ours += bool(said & touched)
    tally.named += len(said & touched) / len(touched)
    tally.plain += rule is not None and bool(rule(spoiled, BUDGET) & touched)


def half(name: str, symbol: str, rng: np.random.Generator) -> Any:
    """A random half of the span of a file of bars."""
    held = frames_cache(name, symbol)
    times = np.concatenate([bars[symbol]["ts"].to_numpy() for bars in held.values()])
    first, last = int(times.min()), int(times.max())
    start = first + int(rng.random() * (last - first) / 2)
    kept = {}
    for source, bars in held.items():
        frame = bars[symbol]
        rows = frame[(frame["ts"] >= start) & (frame["ts"] < start + (last - first) // 2)]
        if len(rows):
            kept[source] = {symbol: rows}
    return panels(kept)[0]


def half_table(name: str, rng: np.random.Generator) -> Forecasts:
    """A random half of the events of a file."""
    table = table_of(name)
    chosen = rng.choice(len(table.events), len(table.events) // 2, replace=False)
    rows = np.flatnonzero(np.isin(table.event, chosen))
    left, event = np.unique(table.event[rows], return_inverse=True)
    fields = ("forecaster", "probability", "outcome", "ts", "resolved_at", "rest")
    held = {field: getattr(table, field)[rows] for field in fields}
    names = tuple(table.events[k] for k in left.tolist())
    return Forecasts(names, table.forecasters, event=event, known_at=None, **held)


def suits(name: str, kind: str) -> bool:
    busy = np.isfinite(table_of(name).table()).sum(axis=0) >= 20
    return kind not in PEOPLE or int(busy.sum()) >= 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not (DATA / "scenarios.json").is_file():
        print(f"SKIPPED: no public data set in {DATA}; set DODONA_SHARED_DATA to its folder")
        return
    warnings.simplefilter("ignore", RuntimeWarning)
    figures: dict[str, float] = {}
    print(f"{'poison':16s}{'strength':>9s}  {'file':40s}{'runs':>5s}{'ours':>7s}{'named':>7s}{'plain':>7s}")
    for kind, strength, name, tally in detections(options.seeds, figures):
        rates = tally.ours / tally.runs, tally.named / tally.runs, tally.plain / tally.runs
        print(f"{kind:16s}{strength:9g}  {name:40s}{tally.runs:5d}" + "".join(f"{rate:7.2f}" for rate in rates))
    false_alarms(options.seeds, figures)
    if options.json:
        machine = f"{platform.machine()} {os.cpu_count()} cores, numpy {np.__version__}"
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"name": "poison", "machine": machine, "figures": figures}, indent=2) + "\n")


def detections(seeds: int, figures: dict[str, float]) -> Any:
    """Every poison, strength and file; the figures are over all files."""
    jobs: list[tuple[str, float, str, Callable[[int, Tally], None]]] = []
    for kind, strengths in books.STRENGTHS.items():
        for strength, (name, symbol) in itertools.product(strengths, BARS.items()):
            jobs.append((kind, strength, name, partial(poisoned_bars, name, symbol, kind, strength)))
    for kind, strengths in events.STRENGTHS.items():
        for strength, name in itertools.product(strengths, TABLES):
            if suits(name, kind):
                jobs.append((kind, strength, name, partial(poisoned_events, name, kind, strength)))
    sums: dict[str, list[Tally]] = defaultdict(list)
    for kind, strength, name, job in jobs:
        tally = Tally()
        for seed in range(seeds):
            job(seed, tally)
        sums[f"poison.{kind}.{strength:g}"].append(tally)
        yield kind, strength, name, tally
    for key, tallies in sums.items():
        runs = sum(tally.runs for tally in tallies)
        figures[f"{key}.detected"] = sum(tally.ours for tally in tallies) / runs
        figures[f"{key}.named"] = sum(tally.named for tally in tallies) / runs
        figures[f"{key}.plain.detected"] = sum(tally.plain for tally in tallies) / runs


def false_alarms(seeds: int, figures: dict[str, float]) -> None:
    """Share of random clean halves in which a check says anything."""
    print(f"\n{'false alarms on clean halves':40s}{'halves':>7s}{'ours':>7s}{'plain':>7s}  from")
    for kind, (check, rule) in OURS.items():
        ours, theirs, runs, where = 0, 0, 0, set()
        names = BARS if kind in books.STRENGTHS else [name for name in TABLES if suits(name, kind)]
        for name in names:
            for seed in range(seeds):
                rng = np.random.default_rng([seed, 1])
                data = half(name, BARS[name], rng) if name in BARS else half_table(name, rng)
                found = check(data)
                runs += 1
                ours += bool(found)
                theirs += rule is not None and bool(rule(data, BUDGET))
                where |= {f"{name}: {finding.subject[:40]}" for finding in found}
        figures[f"poison.{kind}.false_alarms"] = ours / runs
        figures[f"poison.{kind}.plain.false_alarms"] = theirs / runs
        print(f"{kind:40s}{runs:7d}{ours / runs:7.2f}{theirs / runs:7.2f}  {'; '.join(sorted(where)[:3])}")


if __name__ == "__main__":
    main()
