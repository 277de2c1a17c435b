"""Many sources' quotes of one symbol -> one price with a confidence, or a refusal with its reason.

Why this file exists: it is the only place where sources are weighed against each other. Pure: the same quotes in any
order, the same rule and the same `now` give the same answer to the last bit. Never in it: I/O, a clock, state.

Robust statistics as in Hampel 1974 (median and median absolute deviation, 1.4826 MAD estimates a standard deviation).
A source is set aside, with the reason, when it is

- `silent`: expected by the rule, but no quote of it is known;
- `unsound`: its newest price is no positive finite number;
- `future`: all its times are further ahead of `now` than `max_ahead` (one such quote beside sound ones is passed over);
- `stale`: its newest quote is older than `max_age`;
- `stuck`: it repeated one price at zero volume over at least `stuck_after`, up to its newest quote;
- `outlier`: with three or more left, it is further from their median than both `outlier_floor` (relative) and
  `outlier_mads` x 1.4826 MAD. One pass; at least half of them always remain, so a move that most sources show is
  followed at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from feeds.sources.source import BadRule, MixedSymbols
from feeds.types import SECOND, Micros, Quote

MAD_TO_SIGMA = 1.4826
"""1 / the 0.75 quantile of the standard normal: MAD times this estimates a standard deviation."""
MAX_SHARE = 0.40
"""Sizes weigh the median only while no source holds this share of them or more."""


@dataclass(frozen=True, slots=True)
class FusionRule:
    """How one symbol is fused. Times in microseconds; the relative settings are fractions of the price.

    `expected`: sources to name as silent when nothing is known of them. `confidence_floor`: least confidence.
    `lone_floor`: least confidence where one source counts alone and no disagreement can be seen. `max_dispersion`:
    refuse where the counted sources' confidence exceeds this. Raises `BadRule`.
    """

    symbol: str
    max_age: int
    min_sources: int = 1
    expected: tuple[str, ...] = ()
    stuck_after: int = 10 * 60 * SECOND
    max_ahead: int = 2 * SECOND
    outlier_mads: float = 5.0
    outlier_floor: float = 0.005
    confidence_floor: float = 1e-4
    lone_floor: float = 2.5e-3
    max_dispersion: float = 0.05

    def __post_init__(self) -> None:
        """Check every range."""
        for field, low in (("max_age", 1), ("min_sources", 1), ("stuck_after", 1), ("max_ahead", 0)):
            if getattr(self, field) < low:
                raise BadRule(f"fusion of {self.symbol}: {field}", getattr(self, field), f"at least {low}")
        if not 1.0 <= self.outlier_mads < math.inf:
            raise BadRule(f"fusion of {self.symbol}: outlier_mads", self.outlier_mads, "a finite number of at least 1")
        for field in ("outlier_floor", "confidence_floor", "lone_floor", "max_dispersion"):
            if not 0.0 < getattr(self, field) < 1.0:
                raise BadRule(f"fusion of {self.symbol}: {field}", getattr(self, field), "above 0 and below 1")

    @property
    def history(self) -> int:
        """Microseconds of quotes before `now` that the answer can hang on: what a `QuoteWindow` must keep."""
        return self.stuck_after + self.max_age


class SetAside(NamedTuple):
    """A source that did not count, and why: `reason` begins with the word of the module head that applies."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Fused:
    """One price. `confidence` is in units of the price, above 0; `ts` is the oldest time among the counted quotes.

    `sources` counted and `set_aside` are sorted by name; together they name every source seen or expected.
    `weighted` says whether sizes weighed the median.
    """

    symbol: str
    price: float
    confidence: float
    ts: Micros
    sources: tuple[str, ...]
    set_aside: tuple[SetAside, ...]
    weighted: bool = False


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


def fuse(quotes: Iterable[Quote], rule: FusionRule, now: Micros) -> Fused | Refusal:
    """One price of `rule.symbol` from what was known by `now`.

    `quotes`: any number a source; its newest counts, the earlier ones show whether it is stuck (pass
    `rule.history` of them for that, `feeds.window` keeps it). Quotes with `known_at > now` do not exist yet. The
    price is the median of the counted sources; weighted by size only where every size is known and none holds 40 %
    of the sum; of two sources the mid, and the gap is in the confidence. One faulty source of three or more moves
    the price by no more than the spread of the others. Raises `MixedSymbols`.
    """
    live, aside = _sift(_histories(quotes, rule.symbol, now), rule, now)
    if len(live) >= 3:
        live = _without_outliers(live, rule, aside)
    names = tuple(sorted(quote.source for quote in live))
    named = tuple(sorted(aside))
    if len(live) < rule.min_sources:
        reason = f"{len(live)} sources count, at least {rule.min_sources} are needed"
        return Refusal(rule.symbol, "min_sources", reason, names, named)
    price, weighted = _centre(live)
    spread = _dispersion(live, price)
    if spread > rule.max_dispersion * price:
        reason = f"{len(live)} sources differ by {spread / price * 1e4:.1f} bps, limit {rule.max_dispersion * 1e4:.1f}"
        return Refusal(rule.symbol, "max_dispersion", reason, names, named)
    floor = (rule.lone_floor if len(live) == 1 else rule.confidence_floor) * price
    oldest = min(quote.ts for quote in live)
    return Fused(rule.symbol, price, max(spread, floor, math.ulp(0.0)), oldest, names, named, weighted)


def _histories(quotes: Iterable[Quote], symbol: str, now: Micros) -> dict[str, list[Quote]]:
    histories: dict[str, list[Quote]] = {}
    for quote in quotes:
        if quote.symbol != symbol:
            raise MixedSymbols(symbol, quote.symbol)
        if quote.known_at <= now:
            history = histories.get(quote.source)
            if history is None:
                histories[quote.source] = [quote]
            else:
                history.append(quote)
    return histories


def _recency(quote: Quote) -> tuple[int, int, float, float]:
    """Order of one source's quotes; total (NaN is never compared), so that no order of arrival can matter."""
    size = _size(quote)
    price = quote.price if 0.0 < quote.price < math.inf else 0.0
    return quote.ts, quote.known_at, price, -1.0 if size is None else size


def _size(quote: Quote) -> float | None:
    """The size, None where it is unknown or nonsense."""
    return quote.size if quote.size is not None and 0.0 <= quote.size < math.inf else None


def _sift(histories: dict[str, list[Quote]], rule: FusionRule, now: Micros) -> tuple[list[Quote], list[SetAside]]:
    """The newest quote of each source that is fit to be compared, and the others' reasons."""
    live: list[Quote] = []
    horizon = now + rule.max_ahead
    aside = [SetAside(source, "silent: nothing known of it") for source in rule.expected if source not in histories]
    for source, history in histories.items():
        newest = max(history, key=_recency) if len(history) > 1 else history[0]
        if newest.ts > horizon:
            newest = max((quote for quote in history if quote.ts <= horizon), key=_recency, default=newest)
        age = now - newest.ts
        if not 0.0 < newest.price < math.inf:
            aside.append(SetAside(source, "unsound: its price is no positive finite number"))
        elif age < -rule.max_ahead:
            aside.append(SetAside(source, f"future: {-age / SECOND:.1f} s ahead, limit {rule.max_ahead / SECOND:g} s"))
        elif age > rule.max_age:
            aside.append(SetAside(source, f"stale: {age / SECOND:.1f} s old, limit {rule.max_age / SECOND:g} s"))
        elif newest.size == 0.0 and (flat := newest.ts - _flat_since(history, newest)) >= rule.stuck_after:
            aside.append(SetAside(source, f"stuck: {newest.price:g} at zero volume for {flat / SECOND:.1f} s"))
        else:
            live.append(newest)
    return live, aside


def _flat_since(history: list[Quote], newest: Quote) -> Micros:
    """Time of the earliest quote from which on the source repeated its newest price at zero volume."""
    since = newest.ts
    for quote in sorted((q for q in history if q.ts <= newest.ts), key=_recency, reverse=True):
        if quote.size != 0.0 or quote.price != newest.price:
            break
        since = quote.ts
    return since


def _without_outliers(live: list[Quote], rule: FusionRule, aside: list[SetAside]) -> list[Quote]:
    prices = sorted(quote.price for quote in live)
    centre = _median(prices)
    mad = _median(sorted([abs(price - centre) for price in prices]))
    limit = max(rule.outlier_floor * centre, rule.outlier_mads * MAD_TO_SIGMA * mad)
    if prices[-1] - centre <= limit and centre - prices[0] <= limit:
        return live
    kept = []
    for quote in live:
        off = abs(quote.price - centre)
        if off <= limit:
            kept.append(quote)
        else:
            text = f"outlier: {off / centre * 1e4:.1f} bps from the median, limit {limit / centre * 1e4:.1f}"
            aside.append(SetAside(quote.source, text))
    return kept


def _centre(live: list[Quote]) -> tuple[float, bool]:
    """The median price, and whether sizes weighed it. Zero sizes have no voice where others have one."""
    if len(live) >= 3:
        sizes = [size for quote in live if (size := _size(quote)) is not None]
        total = math.fsum(sizes)
        if len(sizes) == len(live) and 0.0 < total < math.inf and max(sizes) < MAX_SHARE * total:
            return _weighted_median(sorted((quote.price, _size(quote) or 0.0) for quote in live), total), True
    return _median(sorted(quote.price for quote in live)), False


def _median(ordered: list[float]) -> float:
    """Middle of an ascending list, the mid of the two middle ones if even; never outside them, never infinite.

    >>> _median([1.0, 2.0, 4.0]), _median([1.0, 2.0])
    (2.0, 1.5)
    """
    half, odd = divmod(len(ordered), 2)
    if odd:
        return ordered[half]
    low, high = ordered[half - 1], ordered[half]
    return min(low + (high - low) / 2, high)


def _weighted_median(ordered: list[tuple[float, float]], total: float) -> float:
    """The first price at which half of the weight is passed; the mid with the next voiced price if exactly half is.

    >>> _weighted_median([(1.0, 3.0), (2.0, 3.0), (9.0, 3.0)], 9.0)
    2.0
    """
    voiced = [(price, size) for price, size in ordered if size > 0.0]
    passed = 0.0
    for index, (price, size) in enumerate(voiced):
        passed += size
        if passed * 2 > total or index == len(voiced) - 1:
            return price
        if passed * 2 == total:
            return _median([price, voiced[index + 1][0]])
    return voiced[-1][0]


def _dispersion(live: list[Quote], price: float) -> float:
    """What the counted sources disagree by: 0 for one, the gap of two, 1.4826 MAD about the price from three on."""
    if len(live) == 1:
        return 0.0
    prices = sorted(quote.price for quote in live)
    if len(prices) == 2:
        return prices[1] - prices[0]
    return MAD_TO_SIGMA * _median(sorted([abs(value - price) for value in prices]))
