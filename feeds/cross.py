"""Other ways to the same price: cross rates and stablecoin conversion over the graph of symbols, units checked.

Why this file exists: BTC/USDT and USDT/USD together say what BTC/USD is. Such a cross can contradict a direct market,
so it flags and widens; it never vetoes, for in a de-peg the direct market is right and the crosses are late. Where a
symbol has no market of its own its price comes over crosses alone. While the ways to a stablecoin leg differ by more
than `MAX_LEG_GAP`, the coin on them that is furthest from par is dropped: one that has lost its peg moves nothing.
Never in it: memory, sources, a clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from feeds.judge import median
from feeds.rule import BPS, Fused, Refusal, SetAside
from feeds.sources.source import FeedError
from feeds.types import Micros

MAX_LEG_GAP = 50 * BPS
"""Ways to one leg that differ by more say that its price is not known: as far as two sources may differ."""
MAX_LEGS = 3
"""Most legs of a cross: base to stablecoin, stablecoin to stablecoin, stablecoin to quote."""

Answers = Mapping[str, Fused | Refusal]
"""What is known of every symbol at one moment."""


class UnitMismatch(FeedError):
    """`symbol` names no pair of units, or legs do not chain from one unit to the next."""

    def __init__(self, symbol: str, reason: str) -> None:
        """Keep the symbol and the reason."""
        self.symbol, self.reason = symbol, reason
        super().__init__(f"symbol {symbol}: {reason}; write it as BASE/QUOTE and give legs that share a unit")


@dataclass(frozen=True, slots=True)
class Cross:
    """A price of the symbol over `legs` (symbols, each used as it stands or inverted), in units of the quote.

    `confidence`: the sum of the legs' relative ones; `ts`: the oldest leg's; `sources`: of all legs, sorted.
    """

    legs: tuple[str, ...]
    price: float
    confidence: float
    ts: Micros
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        """How it is written in a reason."""
        return " x ".join(self.legs)


def units(symbol: str) -> tuple[str, str]:
    """Base and quote: `BTC/USD` is so many USD for one BTC. Raises `UnitMismatch`.

    >>> units("BTC/USD")
    ('BTC', 'USD')
    """
    base, slash, quote = symbol.partition("/")
    if not (base and slash and quote) or "/" in quote or base == quote:
        raise UnitMismatch(symbol, "it is not one base over another quote")
    return base, quote


def chain(symbol: str, legs: tuple[str, ...], answers: Mapping[str, Fused]) -> Cross:
    """The price of `symbol` over `legs` in this order. Raises `UnitMismatch` where the units do not chain."""
    at, end = units(symbol)
    price, doubt = 1.0, 0.0
    for leg in legs:
        base, quote = units(leg)
        fused = answers[leg]
        if at == base:
            at, price = quote, price * fused.price
        elif at == quote:
            at, price = base, price / fused.price
        else:
            raise UnitMismatch(symbol, f"leg {leg} begins in neither {base} nor {quote} but in {at}")
        doubt += fused.confidence / fused.price
    if at != end:
        raise UnitMismatch(symbol, f"the legs {' x '.join(legs)} end in {at}")
    used = tuple(answers[leg] for leg in legs)
    sources = tuple(sorted({source for fused in used for source in fused.sources}))
    return Cross(legs, price, doubt * price, min(fused.ts for fused in used), sources)


def crosses(symbol: str, answers: Answers) -> tuple[list[Cross], list[str]]:
    """Every sound cross of `symbol`, and why others were dropped.

    A way visits no unit twice and never uses the symbol itself. Symbols without a price, or whose name is no pair of
    units, are no legs.
    """
    known = {name: fused for name, fused in sorted(answers.items()) if isinstance(fused, Fused) and _is_pair(name)}
    known.pop(symbol, None)
    base, quote = units(symbol)
    reasons = []
    while (doubtful := _doubtful(base, quote, known)) is not None:
        unit, leg, gap = doubtful
        reasons.append(f"{unit} dropped, the ways to {leg} differ by {gap / BPS:.0f} bps")
        known = {name: fused for name, fused in known.items() if unit not in units(name)}
    found = [chain(symbol, legs, known) for legs in _ways(base, quote, tuple(known))]
    return [cross for cross in found if 0.0 < cross.price < math.inf], reasons


def _doubtful(base: str, quote: str, known: Mapping[str, Fused]) -> tuple[str, str, float] | None:
    """The unit whose conversion cannot be trusted, with the leg that shows it and by how much; None if all can.

    Where the ways to a leg differ, some coin on them has lost its peg: the one whose legs are furthest from par.
    """
    gaps = {leg: gap for leg in known if (gap := _leg_gap(leg, base, known)) > MAX_LEG_GAP}
    if not gaps:
        return None
    off: dict[str, float] = {}
    for leg in known:
        for unit in units(leg) if base not in units(leg) else ():
            off[unit] = off.get(unit, 0.0) + abs(math.log(known[leg].price))
    unit = max({unit for leg in gaps for unit in units(leg)} - {quote}, key=lambda unit: (off[unit], unit))
    shown = max((leg for leg in gaps if unit in units(leg)), key=lambda leg: (gaps[leg], leg))
    return unit, shown, gaps[shown]


def _is_pair(symbol: str) -> bool:
    try:
        units(symbol)
    except UnitMismatch:
        return False
    return True


def _ways(start: str, end: str, legs: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All simple paths of at most `MAX_LEGS` legs from one unit to another, shortest first."""
    found: list[tuple[str, ...]] = []
    open_: list[tuple[str, tuple[str, ...], frozenset[str]]] = [(start, (), frozenset([start]))]
    while open_:
        at, path, seen = open_.pop(0)
        for leg in legs:
            base, quote = units(leg)
            if at not in (base, quote):
                continue
            to = quote if at == base else base
            if to == end:
                found.append((*path, leg))
            elif to not in seen and len(path) + 1 < MAX_LEGS:
                open_.append((to, (*path, leg), seen | {to}))
    return found


def _leg_gap(leg: str, base: str, known: Mapping[str, Fused]) -> float:
    """How far the ways to a conversion leg differ, relative; 0 for a market of `base` itself, or with one way only.

    Ways over `base` say nothing new: they are what the cross is to be compared with.
    """
    if base in units(leg):
        return 0.0
    others = tuple(name for name in known if name != leg and base not in units(name))
    prices = [known[leg].price, *(chain(leg, way, known).price for way in _ways(*units(leg), others))]
    return max(prices) / min(prices) - 1.0


def checked(symbol: str, answers: Answers, limit: float = math.inf) -> Fused | Refusal:
    """The symbol's answer with its crosses beside it: flagged and widened where they disagree, never vetoed.

    They disagree where their median is further from the price than both their confidences and `MAX_LEG_GAP`. Crosses
    that stand on fewer sources than the price (by their weakest leg) widen it to `limit` (relative) at most: one venue
    that lies must not make a price that several state useless. A symbol that is no pair, or has no price, stays as it
    is.
    """
    answer = answers[symbol]
    if isinstance(answer, Refusal) or not _is_pair(symbol):
        return answer
    found, reasons = crosses(symbol, answers)
    flags = answer.flags + tuple(f"cross: {reason}" for reason in reasons)
    if not found:
        return replace(answer, flags=flags)
    price = median(sorted([cross.price for cross in found]))
    gap, doubt = abs(answer.price - price), max(cross.confidence for cross in found)
    if gap <= max(MAX_LEG_GAP * answer.price, answer.confidence + doubt):
        return replace(answer, flags=flags)
    backing = max(min(len(answers[leg].sources) for leg in cross.legs) for cross in found)
    widened = gap if backing >= len(answer.sources) else min(gap, limit * answer.price)
    nearest = min(found, key=lambda cross: (abs(cross.price - price), cross.legs))
    flag = f"cross: {nearest.name} gives {price:g}, {(price / answer.price - 1) / BPS:+.0f} bps"
    return replace(answer, confidence=max(answer.confidence, widened), flags=(*flags, flag))


def derived(symbol: str, answers: Answers) -> Fused | Refusal:
    """The price of a symbol that has no market of its own: the median of its crosses, of two the mid.

    Raises `UnitMismatch` where the symbol is no pair of units.
    """
    found, reasons = crosses(symbol, answers)
    aside = {row for answer in answers.values() for row in answer.set_aside}
    used = {source for cross in found for source in cross.sources}
    named = tuple(sorted(SetAside(*row) for row in aside if row.source not in used))
    if not found:
        why = "; ".join(reasons) or "no way leads there"
        return Refusal(symbol, "min_sources", f"no market and no cross: {why}", (), named)
    price = median(sorted([cross.price for cross in found]))
    confidence = max([abs(cross.price - price) + cross.confidence for cross in found])
    flags = (f"derived: {'; '.join(cross.name for cross in found)}", *(f"cross: {reason}" for reason in reasons))
    oldest = min(cross.ts for cross in found)
    return Fused(symbol, price, confidence, oldest, tuple(sorted(used)), named, False, flags)
