"""One voice under several names: forecasters or sources that agree more often than any others do.

Why this file exists: what is weighted by heads is bought by heads. Copies may be exact, lightly changed, or take turns
(rotations): an identity that copies only now and then still agrees too often. Never in it: files.

Method: on each item (event, or bar) the share of the other pairs that agree within a tolerance, smoothed, gives the
odds that this pair does; honest pairs may be alike, by school or by habit, up to four times those odds. The number of
agreements is then a sum of coins of known odds (Poisson binomial, Hong 2013), and its tail is corrected over pairs,
tolerances and agreement or opposition (Holm). What makes everybody agree, as an event that is decided or a round
number, is in the odds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feeds.poisoning.finding import BUDGET, KEPT, Finding, Floats, Ints, at_least, check_budget, holm
from feeds.poisoning.forecasts import Forecasts
from feeds.poisoning.panel import Panel
from feeds.types import Micros

TOLERANCES = (1e-9, 0.02, 0.1)
"""Logits within which two forecasts agree: to the digit, and changed by about half a per cent or two."""
PRICE_TOLERANCES = (1e-9, 1e-5)
"""Logarithm of the price within which two closes agree: to the digit, and by a tenth of a basis point."""
MAX_PAIRS = 20_000
ALIKE = 4.0
"""Times the odds of the other pairs to agree that an honest pair may have."""
LEAST_COMMON = 8
"""Items that two must share to be compared."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Columns `one` and `two` agree (`opposed`: say the opposite) on `rows` of `common` items, others on `expected`."""

    one: int
    two: int
    rows: Ints
    common: int
    expected: float
    opposed: bool
    p_value: float


def sybil_forecasters(forecasts: Forecasts, budget: float = BUDGET) -> list[Finding]:
    """Groups of forecasters who copy each other, also those who always say the opposite (both sides of a bet)."""
    check_budget(budget)
    pairs = [p for p in matched(forecasts.table(), TOLERANCES, opposed=True) if p.p_value <= budget]
    found = []
    for group in _groups(pairs):
        members = sorted({forecasts.forecasters[k] for pair in group for k in (pair.one, pair.two)})
        rows = np.unique(np.concatenate([pair.rows for pair in group]))
        times = forecasts.ts[np.isin(forecasts.event, rows)]
        worst = min(group, key=lambda pair: pair.p_value)
        found.append(
            Finding(
                "sybil forecasters",
                ", ".join(members[:20]) + (f" and {len(members) - 20} more" if len(members) > 20 else ""),
                Micros(int(times.min())),
                Micros(int(times.max())),
                len(rows),
                worst.p_value,
                _said(worst, forecasts.forecasters, "events"),
                "count the group as one voice",
                events=tuple(forecasts.events[k] for k in rows[:KEPT].tolist()),
            )
        )
    return found


def sybil_sources(panel: Panel, budget: float = BUDGET) -> list[Finding]:
    """Groups of sources whose closes are the same more often than other sources' are, in bars in which both traded.

    With fewer than three sources there is no other pair to compare with: nothing is said.
    """
    check_budget(budget)
    level = np.where(panel.live, panel.log, np.nan)
    found = []
    for group in _groups([p for p in matched(level, PRICE_TOLERANCES, opposed=False) if p.p_value <= budget]):
        members = sorted({panel.sources[k] for pair in group for k in (pair.one, pair.two)})
        rows = np.unique(np.concatenate([pair.rows for pair in group]))
        times, worst = panel.ts[rows], min(group, key=lambda pair: pair.p_value)
        said, mend = _said(worst, panel.sources, "bars"), "count the group as one source"
        subject = f"{', '.join(members)} {panel.symbol}"
        first, last = Micros(int(times[0])), Micros(int(times[-1]))
        few = tuple(times[:KEPT].tolist())
        found.append(Finding("sybil sources", subject, first, last, len(rows), worst.p_value, said, mend, few))
    return found


def _said(pair: Pair, names: Sequence[str], items: str) -> str:
    how = "say the opposite" if pair.opposed else "agree"
    two = f"{names[pair.one]} and {names[pair.two]}"
    return f"{two} {how} on {len(pair.rows)} of {pair.common} {items}, where other pairs would on {pair.expected:.1f}"


def matched(table: Floats, tolerances: Sequence[float], opposed: bool) -> list[Pair]:
    """Every pair of columns of (items, members) with at least 8 items in common, at its least likely tolerance.

    The p-values hold over all pairs and tolerances together. Of more than 20,000 pairs those with most items in common.
    Cost: pairs x items. Fewer than three members give nothing.
    """
    known = np.isfinite(table)
    common = known.T.astype(np.int64) @ known.astype(np.int64)
    members = table.shape[1]
    if members < 3:
        return []
    candidates = [(i, j) for i, j in itertools.combinations(range(members), 2) if common[i, j] >= LEAST_COMMON]
    candidates = sorted(candidates, key=lambda pair: -common[pair])[:MAX_PAIRS]
    found = []
    for sign, tolerance in itertools.product((1.0, -1.0) if opposed else (1.0,), tolerances):
        agreeing, pairs = _agreeing(table, sign, tolerance)
        overall = (agreeing.sum() + 1.0) / (pairs.sum() + 2.0)
        for i, j in candidates:
            items = np.flatnonzero(known[:, i] & known[:, j])
            agree = np.abs(table[items, i] - sign * table[items, j]) <= tolerance
            if sign < 0:
                agree &= np.abs(table[items, i]) > tolerance  # a half is its own opposite
            others = np.maximum(pairs[items] - 1, 0)
            chance = np.clip((agreeing[items] - agree + 2.0 * overall) / (others + 2.0), 0.0, 1.0)
            odds = at_least(int(agree.sum()), ALIKE * chance / (1.0 + (ALIKE - 1.0) * chance))
            found.append(Pair(i, j, items[agree], len(items), float(chance.sum()), sign < 0, odds))
    adjusted = holm([pair.p_value for pair in found])
    best: dict[tuple[int, int], Pair] = {}
    for pair, odds in zip(found, adjusted.tolist(), strict=True):
        held = best.get((pair.one, pair.two))
        if held is None or odds < held.p_value:
            best[pair.one, pair.two] = Pair(
                pair.one, pair.two, pair.rows, pair.common, pair.expected, pair.opposed, odds
            )
    return list(best.values())


def _agreeing(table: Floats, sign: float, tolerance: float) -> tuple[Ints, Ints]:
    """Per item: pairs that agree, pairs there are."""
    count = np.isfinite(table).sum(axis=1)
    agreeing = np.zeros(len(table), np.int64)
    ordered = np.sort(table, axis=1)
    for row in range(len(table)):
        values = ordered[row, : count[row]]
        low = np.searchsorted(values, sign * values - tolerance, side="left")
        high = np.searchsorted(values, sign * values + tolerance, side="right")
        hits = high - low
        if sign < 0:
            hits = np.where(np.abs(values) > tolerance, hits, 0)
        agreeing[row] = (int(hits.sum()) - (len(values) if sign > 0 else 0)) // 2
    return agreeing, count * (count - 1) // 2


def _groups(pairs: list[Pair]) -> list[list[Pair]]:
    """Pairs that hang together by a member."""
    groups: list[tuple[set[int], list[Pair]]] = []
    for pair in pairs:
        joined = [group for group in groups if {pair.one, pair.two} & group[0]]
        members = {pair.one, pair.two}.union(*(group[0] for group in joined))
        merged = [pair, *(p for group in joined for p in group[1])]
        groups = [*(group for group in groups if group not in joined), (members, merged)]
    return [group for _, group in groups]
