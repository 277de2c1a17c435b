"""The depth gate: whether it would cost enough to push a source's market for its price to be believed.

Why this file exists: a thin market's price is whatever somebody pays for it to be. In October 2022 Mango's oracle
followed thin venues whose price was pushed to borrow 114 million USD. So where a rule sets `min_depth`, a source counts
only while its newest book shows that moving its price by 1 % takes that much. A book that is hidden, refused, late or
too short to show it counts as thin: whoever could switch the gate off by hiding a book would do that first. The only
way out is the rule's `bookless`, which the operator writes. Never in it: I/O, a clock, what is remembered of a source:
the gate says who counts in an answer, never what is learnt, so that no restart changes what was learnt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from feeds.rule import FusionRule
from feeds.sources.source import MixedSymbols
from feeds.types import SECOND, Depth, Micros

MOVE_BPS = 100.0
"""`min_depth` is what a move of so many basis points must cost: 1 %."""
KEPT = 4
"""Depths kept of each source and move: those that came to be known after `now` must not hide the one before."""


class Depths:
    """What is known of the books behind one symbol."""

    def __init__(self, rule: FusionRule) -> None:
        """Nothing known yet."""
        self._rule = rule
        self._books: dict[str, dict[float, list[Depth]]] = {}

    def add(self, depths: Iterable[Depth]) -> None:
        """Take in depths, in any order. Raises `MixedSymbols`.

        Those of a move greater than 1 % prove nothing about 1 % and are passed over.
        """
        for depth in depths:
            if depth.symbol != self._rule.symbol:
                raise MixedSymbols(self._rule.symbol, depth.symbol)
            if 0.0 < depth.bps <= MOVE_BPS:
                kept = self._books.setdefault(depth.source, {}).setdefault(depth.bps, [])
                if depth not in kept:
                    kept.append(depth)
                    kept.sort(key=_order)
                    del kept[:-KEPT]

    @property
    def known(self) -> list[Depth]:
        """All that is kept."""
        return [depth for books in self._books.values() for kept in books.values() for depth in kept]

    def cost(self, source: str, now: Micros) -> float | None:
        """Quote units that it takes at least to move the source's price by 1 %, as known at `now`; None if unknown.

        The cheaper side of the newest book counts. A smaller move costs no more than a greater one, so any that is
        stated is a least cost, and the greatest of them is the best known. The book must be sound and no older than
        `max_age`: an older one that was better says nothing.
        """
        known = [depth for kept in self._books.get(source, {}).values() if (depth := _newest(kept, now)) is not None]
        last = max((depth.known_at for depth in known), default=None)
        costs = [self._cost(depth, now) for depth in known if depth.known_at == last]
        return None if not costs or None in costs else max(cost for cost in costs if cost is not None)

    def _cost(self, depth: Depth, now: Micros) -> float | None:
        fresh = now - self._rule.max_age <= depth.ts <= depth.known_at + self._rule.max_ahead
        sound = math.isfinite(depth.up) and math.isfinite(depth.down) and min(depth.up, depth.down) >= 0.0
        return min(depth.up, depth.down) if fresh and sound else None

    def thin(self, source: str, now: Micros) -> str:
        """Why the gate is closed for a source at `now`; empty where it may count."""
        least = self._rule.min_depth
        if least is None or source in self._rule.bookless:
            return ""
        cost = self.cost(source, now)
        if cost is None:
            return f"thin: no book of the last {self._rule.max_age / SECOND:g} s, limit {least:g} to move it by 1 %"
        return "" if cost >= least else f"thin: {cost:.6g} would move it by 1 %, limit {least:g}"


def _newest(kept: list[Depth], now: Micros) -> Depth | None:
    return next((depth for depth in reversed(kept) if depth.known_at <= now), None)


def _order(depth: Depth) -> tuple[int, int, float, float, bool]:
    """Total, so that no order of arrival can matter; NaN last."""
    up, down = (value if value == value else math.inf for value in (depth.up, depth.down))
    return depth.known_at, depth.ts, up, down, depth.lower_bound
