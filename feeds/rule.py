"""How one symbol is fused, and what the answer says: the settings and the records of fusion.

Why this file exists: everything that weighs sources (`health.py`, `judge.py`, `monitor.py`, `cross.py`) reads one rule
and gives one kind of answer. Never in it: a decision about a source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from feeds.sources.source import BadRule
from feeds.types import SECOND, Micros

HOUR = 3600 * SECOND
BPS = 1e-4
"""One basis point as a fraction."""


@dataclass(frozen=True, slots=True)
class FusionRule:
    """How one symbol is fused. Times in microseconds; the relative settings are fractions of the price.

    `slot`: the beat at which standings are kept, 0 for half of `max_age`, so that a quote counts in its own slot and
    in the next. `patience`: slots within which a fault is named. `expected`: sources to name as silent when nothing
    is known of them. `max_jump`: a greater move in one slot needs more than one thin trade. `max_drift`: a 10-slot
    median deviation beyond it is a drift. `frozen_move`: how far the others move while a frozen source stands still,
    0 for 15 bps, or 60 where a slot is an hour or more. `confidence_floor`: least confidence; `lone_floor`: where one
    source counts alone and no disagreement can be seen. `max_dispersion`: refuse where the counted sources'
    confidence exceeds this. `weigh_by_size`: sizes weigh the median while no source holds 40 % of them.
    `min_depth`: quote units that it must take to move a source's price by 1 %, or it is set aside as thin
    (`feeds.depth`); None for no such gate. `bookless`: sources that have no order book by nature and pass it. Raises
    `BadRule`.
    """

    symbol: str
    max_age: int
    min_sources: int = 1
    expected: tuple[str, ...] = ()
    slot: int = 0
    patience: int = 10
    max_ahead: int = 2 * SECOND
    outlier_mads: float = 5.0
    outlier_floor: float = 50 * BPS
    max_jump: float = 500 * BPS
    max_drift: float = 25 * BPS
    frozen_move: float = 0.0
    confidence_floor: float = BPS
    lone_floor: float = 25 * BPS
    max_dispersion: float = 0.05
    weigh_by_size: bool = False
    min_depth: float | None = None
    bookless: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every range, and fill in what follows from `max_age`."""
        least = (("max_age", 1), ("min_sources", 1), ("slot", 0), ("patience", 2), ("max_ahead", 0))
        for field, low in least:
            if getattr(self, field) < low:
                raise BadRule(f"fusion of {self.symbol}: {field}", getattr(self, field), f"at least {low}")
        if not 1.0 <= self.outlier_mads < math.inf:
            raise BadRule(f"fusion of {self.symbol}: outlier_mads", self.outlier_mads, "a finite number of at least 1")
        if self.min_depth is not None and not 0.0 < self.min_depth < math.inf:
            raise BadRule(f"fusion of {self.symbol}: min_depth", self.min_depth, "a finite number above 0, or None")
        if self.slot == 0:
            object.__setattr__(self, "slot", max(1, self.max_age // 2))
        if self.frozen_move == 0.0:
            object.__setattr__(self, "frozen_move", (60 if self.slot >= HOUR else 15) * BPS)
        fractions = (
            "outlier_floor", "max_jump", "max_drift", "frozen_move", "confidence_floor", "lone_floor", "max_dispersion",
        )  # fmt: skip
        for field in fractions:
            if not 0.0 < getattr(self, field) < 1.0:
                raise BadRule(f"fusion of {self.symbol}: {field}", getattr(self, field), "above 0 and below 1")

    @property
    def history(self) -> int:
        """Microseconds after which the words of a quote can no longer matter: older ones are the past told twice."""
        return self.patience * self.slot + self.max_age


class SetAside(NamedTuple):
    """A source that did not count, and why: `reason` begins with one of the words of `feeds.judge`."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Fused:
    """One price. `confidence` is in units of the price, above 0; `ts` is the oldest time among the counted quotes.

    `sources` counted and `set_aside` are sorted by name; together they name every source seen or expected.
    `weighted` says whether sizes weighed the median. `flags`: what a reader should know beside the number, each
    beginning with its word: `held` (a jump waits for its confirmation), `cross` (another way to the same price
    disagrees), `derived` (no direct market: the price comes over crosses alone).
    """

    symbol: str
    price: float
    confidence: float
    ts: Micros
    sources: tuple[str, ...]
    set_aside: tuple[SetAside, ...]
    weighted: bool = False
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """No price. `rule` is `min_sources` or `max_dispersion`; `reason` says it in words with both numbers.

    `sources` are those that passed every check, `set_aside` the others with their reasons.
    """

    symbol: str
    rule: str
    reason: str
    sources: tuple[str, ...]
    set_aside: tuple[SetAside, ...]


class Alarm(NamedTuple):
    """A source was named faulty: `kind` is `dead`, `frozen` or `drifting`, `reason` says it with its numbers."""

    ts: Micros
    symbol: str
    source: str
    kind: str
    reason: str
