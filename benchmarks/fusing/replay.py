"""Recorded bars as slots of quotes, and the answers of ours and of the rivals to them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from fusing.rules import FRESH, RIVALS, Shown

from feeds.market import Market
from feeds.rule import Alarm, Fused, FusionRule, Refusal
from feeds.types import SECOND, Micros, Quote

DATA = Path(os.environ.get("DODONA_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
MAX_AGE = 10
"""Slots for which our rule may still use a quote where it has nothing newer."""
CALM = (("2023-03-01", "2023-03-10"), ("2023-03-16", "2023-03-22"))


Slots = dict[Micros, list[tuple[Quote, float]]]
"""Close of the slot -> what became known at it, each quote with half the range of its bar."""


@dataclass
class Run:
    """Prices by slot of each rule (None: refused), our answers, and the alarms with the names held at each slot."""

    prices: dict[str, dict[Micros, float | None]]
    answers: dict[Micros, Fused | Refusal] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    named: dict[Micros, set[str]] = field(default_factory=dict)


_FRAMES: dict[str, pd.DataFrame] = {}


def frame(name: str) -> pd.DataFrame:
    if name not in _FRAMES:
        _FRAMES[name] = pd.read_csv(DATA / f"{name}.csv.gz")
    return _FRAMES[name]


def seconds(text: str) -> int:
    return int(pd.Timestamp(text, tz="UTC").timestamp())


def width_of(name: str) -> int:
    """Seconds between the file's bars; 0 for rounds, which come when they come."""
    ts = np.unique(frame(name)["ts"].to_numpy())
    steps, counts = np.unique(np.diff(ts), return_counts=True)
    return int(steps[np.argmax(counts)]) if counts.max() > 0.9 * len(ts) else 0


def slots_of(name: str, symbols: Container[str], start: int, end: int, rename: str = "", high: object = None) -> Slots:
    """Quotes of `symbols` whose bar opens in `[start, end]`. `rename`: pool them under one symbol at parity.

    `high`: (source, open) of the one bar whose high is taken for its close.
    """
    rows, width = frame(name), width_of(name)
    rows = rows[rows["symbol"].isin(list(symbols)) & rows["ts"].between(start, end)]  # type: ignore[call-overload]
    grid, found = (width or 600) * SECOND, defaultdict(list)
    columns = (rows[c].tolist() for c in ("ts", "source", "symbol", "close", "volume", "high", "low"))
    for ts, source, symbol, close, volume, top, low in zip(*columns, strict=True):
        known = Micros((ts + width) * SECOND)
        price = top if (source, ts) == high else close
        size = None if volume != volume else float(volume)
        quote = Quote(source, rename or symbol, float(price), size, known, known)
        found[Micros(-(-known // grid) * grid)].append((quote, max(0.0, (top - low) / 2)))
    return dict(sorted(found.items()))


def rule_for(symbol: str, slot: int, sources: tuple[str, ...] = ()) -> FusionRule:
    return FusionRule(symbol, max_age=MAX_AGE * slot, slot=slot, expected=sources)


def run(
    slots: Slots, symbol: str, slot: int, without: str = "", beside: Mapping[str, tuple[str, ...]] | None = None,
    rivals: bool = True, max_age: int = 0,
) -> Run:  # fmt: skip
    """Every slot from the first to the last, by ours and by the rivals, `without` one source."""
    own = {q.source for rows in slots.values() for q, _ in rows if q.symbol == symbol} - {without}
    rule = FusionRule(symbol, max_age=max_age or MAX_AGE * slot, slot=slot, expected=tuple(sorted(own)))
    market, newest = Market(rule, beside or {}), dict[str, tuple[Micros, Shown]]()
    found = Run({name: {} for name in ("ours", *RIVALS)})
    for end in map(Micros, range(min(slots), max(slots) + 1, slot)):
        rows = [(q, doubt) for q, doubt in slots.get(end, ()) if q.source != without or q.symbol != symbol]
        market.add(q for q, _ in rows)
        answer = market.at(end)
        found.answers[end] = answer
        found.prices["ours"][end] = answer.price if isinstance(answer, Fused) else None
        found.named[end] = {source for _, source in market.named}
        if rivals:
            newest |= {q.source: (q.ts, Shown(q.price, q.size or 0.0, d)) for q, d in rows if q.symbol == symbol}
            shown = [row for ts, row in newest.values() if end - ts < FRESH * slot]
            for name, rival in RIVALS.items():
                found.prices[name][end] = rival(shown) if shown else None
    found.alarms = market.alarms()
    return found


def shift(with_: Mapping[Micros, float | None], without: Mapping[Micros, float | None]) -> dict[Micros, float]:
    """Basis points between both, where both have a price."""
    pairs = ((end, price, without.get(end)) for end, price in with_.items())
    return {end: abs(a / b - 1) * 1e4 for end, a, b in pairs if a is not None and b is not None}
