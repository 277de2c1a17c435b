"""The records that cross from the outside world into Dodona.

Why this file exists: every source, whatever its wire format, ends in these frozen records, and everything
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


ANNULLED = -1
"""`Fact.outcome`: the source says that the question has no answer: cancelled, void, not applicable."""
SPLIT = -2
"""`Fact.outcome`: the source pays several outcomes a part each, `Fact.payouts`."""
UNDECIDED = -3
"""`Fact.outcome`: the source has no answer, or took back the one it gave."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a source showed when it was asked: where, when, and the hash under which the whole of it is kept.

    `sha256` is of the body, 64 hex digits (`feeds.events.evidence` keeps bodies by it); `fetched_at` when it was here;
    `excerpt` at most 500 printable characters of it that a reader needs.
    """

    url: str
    sha256: str
    fetched_at: Micros
    excerpt: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One source's answer to one question, with its evidence.

    `question` is the id of a `feeds.events` question, `outcome` the index (from 0) of what came true, or one of
    `ANNULLED`, `SPLIT`, `UNDECIDED`; `ts` is since when it is so by the source, `known_at` when we first knew that the
    source says so. `payouts`, for `SPLIT` only: the part of each outcome as decimal text, together 1.
    """

    source: str
    question: str
    outcome: int
    ts: Micros
    known_at: Micros
    evidence: tuple[Evidence, ...] = ()
    payouts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Depth:
    """What it costs to push one market: quote units that must be traded to move its price by `bps` basis points.

    `up` buys every ask below mid x (1 + bps / 10,000), `down` sells into every bid above mid x (1 - bps / 10,000);
    resting orders behind the push are free, so nothing less moves the mid as far. `lower_bound`: the book known was
    too short to reach `bps` on a side, the true cost is at least what is stated. `ts` is the book's time, `known_at`
    when we had it.
    """

    source: str
    symbol: str
    bps: float
    up: float
    down: float
    ts: Micros
    known_at: Micros
    lower_bound: bool = False
