"""The records that cross from the outside world into Dodona.

Why this file exists: every source, whatever its wire format, ends in these three frozen records, and everything
behind them (fusion, store, features, labels, back-tests) reads nothing else. Never in it: parsing, network, floats
that get signed (integers are made once, at the models -> oracle border).

Times are integer UTC microseconds since the Unix epoch. `known_at` is when this process could first have used the
record; store, features, labels and back-tests filter on it and on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

Micros = NewType("Micros", int)
"""A UTC time as integer microseconds since the Unix epoch."""

SECOND = 1_000_000
"""Microseconds in one second."""


@dataclass(frozen=True, slots=True)
class Quote:
    """One price that one source stated for one symbol.

    `price` is in quote units per base unit, `size` in base units (0.0 where nothing traded, None where the source does
    not say), `ts` the time the source gives, `known_at` the time we could first use it (`known_at >= ts` in honest
    data).
    """

    source: str
    symbol: str
    price: float
    size: float | None
    ts: Micros
    known_at: Micros


@dataclass(frozen=True, slots=True)
class Bar:
    """Open, high, low, close and volume of one symbol over `[ts, ts + width)`; known when it closed."""

    source: str
    symbol: str
    ts: Micros
    width: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    known_at: Micros


@dataclass(frozen=True, slots=True)
class Fact:
    """One source's answer to one question: which `outcome` (index from 0) it says came true, and since when we know."""

    source: str
    question: str
    outcome: int
    ts: Micros
    known_at: Micros
