"""Which sources count in one slot, and the one price they give.

Why this file exists: it is the only place where sources are weighed against each other. Pure: the same standings, the
same rule and the same `now` give the same answer to the last bit. Never in it: I/O, a clock, memory.

Robust statistics as in Hampel 1974 (median and median absolute deviation, 1.4826 MAD estimates a standard deviation).
A source is set aside, with the reason, when it is

- `thin`: too little would push its market, or its book is not known (`feeds.depth`; only where the rule asks for it);
- `silent`: expected by the rule, but no quote of it is known;
- `unsound`: its newest price is no positive finite number;
- `future`: its times are further ahead of its own arrival than `max_ahead`, and nothing else is known of it;
- `dead`, `frozen`, `drifting`: named so by its standing (`feeds.monitor`); a dead source only once its last quote is
  older than `max_age`; a drifting one only where its 10-slot median is beyond its own scatter in these slots and it is
  the outermost still, the furthest first, while at least half of the live sources remain, and not where two camps
  face each other;
- `stale`: its newest quote is older than `max_age`;
- `stuck`: it repeated one price at zero volume over at least `patience` slots;
- `unproven`: nothing but zero volume was ever seen of it: a price at which nobody trades is no evidence;
- `jump`: it moved more than `max_jump` in one slot and that is not confirmed (below);
- `quiet`: its last trade is more than two slots old, and enough others trade; where two of them disagree by more than
  `outlier_floor`, the quiet say which is the outlier. Or its last trade is of an earlier slot, while three sound others
  traded within the last one: prices of one moment are compared with prices of that moment where there are enough;
- `outlier`: with three or more left, it is further from their median than both `outlier_floor` (relative) and
  `outlier_mads` x 1.4826 MAD. One pass; at least half of them always remain, so a move that most sources show is
  followed at once.

A jump is confirmed by the others (they are nearer to it than `max_jump`, or most of them jumped with it), by a second
trade beside the first, or, where no other source is live, by volume: at least the source's own 90th percentile. After
`patience` slots it is no jump any more. A held source that is alone counts at the price before its jump while that is
fresh. A newcomer that far from the others waits as long.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from feeds.depth import Depths
from feeds.health import MAD_TO_SIGMA, Standing
from feeds.rule import BPS, Fused, FusionRule, Refusal, SetAside
from feeds.types import SECOND, Micros

RECENT = 2
"""Slots within which a source must have traded not to be quiet: its own and the one before."""
MAJORITY = 3
"""Fewest sources among which one that is wrong is outvoted."""
MAX_SHARE = 0.40
"""Sizes weigh the median only while no source holds this share of them or more."""


class Vote(NamedTuple):
    """The price at which a source is weighed."""

    price: float
    standing: Standing
    ts: Micros


class Sifted(NamedTuple):
    """The sources of one slot: those that count; all that are live, before the drifting and the outliers were set
    aside; the reasons; those whose jump is held; and what to say of it.
    """

    counted: list[Vote]
    live: list[Vote]
    aside: list[SetAside]
    held: list[Vote]
    flags: tuple[str, ...]


def judge(
    standings: Iterable[Standing], rule: FusionRule, now: Micros, depths: Depths | None = None
) -> tuple[Fused | Refusal, Sifted]:
    """One price from what the standings know at `now`, and how it came about. `depths`: None leaves the gate open."""
    thin: list[SetAside] = []
    if depths is not None:
        standings = _deep(standings, rule, now, depths, thin)
    sifted = _sift(standings, rule, now)
    sifted.aside.extend(thin)
    return _answer(sifted, rule), sifted


def _deep(
    standings: Iterable[Standing], rule: FusionRule, now: Micros, depths: Depths, thin: list[SetAside]
) -> list[Standing]:
    """The sources that pass the depth gate. One that has nothing to say is left for its own reason to be named."""
    found = []
    for standing in standings:
        why = "" if _absent(standing, rule, now) else depths.thin(standing.name, now)
        if why:
            thin.append(SetAside(standing.name, why))
        else:
            found.append(standing)
    return found


def _absent(standing: Standing, rule: FusionRule, now: Micros) -> bool:
    quote = standing.quote
    return quote is None or standing.unsound or quote.ts < now - rule.max_age or standing.named == "frozen"


def _sift(standings: Iterable[Standing], rule: FusionRule, now: Micros) -> Sifted:
    live: list[Vote] = []
    quiet: list[Vote] = []
    jumped: list[Vote] = []
    new: list[Vote] = []
    aside: list[SetAside] = []
    oldest, recent = now - rule.max_age, now - RECENT * rule.slot
    for standing in standings:
        quote = standing.quote
        if quote is None or standing.unsound or quote.ts < oldest or standing.named == "frozen":
            aside.append(SetAside(standing.name, _absence(standing, rule, now)))
        elif standing.flat_since is not None and standing.flat >= rule.patience * rule.slot:
            text = f"stuck: {quote.price:g} at zero volume for {standing.flat / SECOND:.1f} s"
            aside.append(SetAside(standing.name, text))
        elif standing.traded is None:
            aside.append(SetAside(standing.name, "unproven: no trade of it was seen yet"))
        elif standing.base is None:
            new.append(Vote(quote.price, standing, quote.ts))
        elif abs(quote.price - standing.base) > rule.max_jump * standing.base:
            jumped.append(Vote(quote.price, standing, quote.ts))
        elif standing.traded < recent:
            quiet.append(Vote(quote.price, standing, quote.ts))
        else:
            live.append(Vote(quote.price, standing, quote.ts))
    held = _weigh_jumps(live, quiet, jumped, new, rule) if jumped or new else []
    if quiet and sum(not vote.standing.strays for vote in live) < rule.min_sources:
        live += quiet
    elif quiet:
        aside += [SetAside(vote.standing.name, _quiet(vote.standing, now)) for vote in quiet]
        if len(live) == 2 and abs(live[0].price - live[1].price) > rule.outlier_floor * live[0].price:
            live = _arbitrate(live, quiet, rule, aside)
    if len(live) > MAJORITY:
        live = _of_one_moment(live, rule, aside, now)
    flags = _hold(live, held, aside, rule, oldest) if held else ()
    pool = live
    if len(live) >= 2:
        live = without_outliers(_without_drifting(live, rule, aside), rule, aside)
    return Sifted(live, pool, aside, held, flags)


def _of_one_moment(live: list[Vote], rule: FusionRule, aside: list[SetAside], now: Micros) -> list[Vote]:
    """Those that traded within the last slot, where enough of them are sound; a price of before says less than theirs.

    The doubtful are no reason to set another aside: without them the answer is to be the same.
    """
    begun = now - rule.slot
    old = [vote for vote in live if (vote.standing.traded or 0) <= begun]
    if not old:
        return live
    sound = without_outliers(_without_drifting(live, rule, []), rule, [])
    if sum((vote.standing.traded or 0) > begun for vote in sound) < max(MAJORITY, rule.min_sources):
        return live
    aside += [SetAside(vote.standing.name, _quiet(vote.standing, now)) for vote in old]
    return [vote for vote in live if vote not in old]


def _without_drifting(live: list[Vote], rule: FusionRule, aside: list[SetAside]) -> list[Vote]:
    """Set aside the drifting that are the outermost on the side they drift to, the furthest first, while enough remain.

    Where another is beyond one of them, this slot says something else than the ten before it. Where more than half of
    four or more are far off, two camps face each other, and nobody can say which is right.
    """
    drifting = [vote for vote in live if vote.standing.strays]
    if not drifting or (len(live) > MAJORITY and 2 * sum(_far(vote, rule) for vote in live) > len(live)):
        return live
    drifting.sort(key=lambda vote: (-abs(vote.standing.strayed), vote.standing.name))
    room, kept = spare(len(live), rule), live
    for vote in drifting:
        prices = [other.price for other in kept]
        edge = max(prices) if vote.standing.strayed > 0.0 else min(prices)
        if room > 0 and vote.price == edge:
            room -= 1
            kept = [other for other in kept if other is not vote]
            aside.append(SetAside(vote.standing.name, vote.standing.reason))
    return kept


def _far(vote: Vote, rule: FusionRule) -> bool:
    """Whether it strays, named or not. Of four or more a lone drifter is far from the others, and they from nobody."""
    return vote.standing.strays or abs(vote.standing.median or 0.0) > rule.max_drift


def spare(live: int, rule: FusionRule) -> int:
    """How many live sources may be doubted at a time: half of them and `min_sources` must remain."""
    return max(0, live - max((live + 1) // 2, rule.min_sources))


def _arbitrate(live: list[Vote], quiet: list[Vote], rule: FusionRule, aside: list[SetAside]) -> list[Vote]:
    """Where two that trade disagree, old prices say which of them is the outlier, and do not count themselves."""
    found: list[SetAside] = []
    kept = without_outliers(live + quiet, rule, found)
    sound = [vote for vote in live if vote in kept]
    if len(sound) != 1:
        return live
    aside += [row for row in found if row.source in {vote.standing.name for vote in live}]
    return sound


def _absence(standing: Standing, rule: FusionRule, now: Micros) -> str:
    """Why there is nothing to compare."""
    if standing.named == "dead" and standing.heard is not None:
        return f"dead: silent for {(now - standing.heard) / SECOND:.1f} s"
    if standing.named == "frozen":
        return standing.reason
    quote, ahead = standing.quote, standing.ahead
    if standing.unsound:
        return "unsound: its price is no positive finite number"
    if quote is None and ahead is not None:
        by = (ahead.ts - ahead.known_at) / SECOND
        return f"future: {by:.1f} s ahead, limit {rule.max_ahead / SECOND:g} s"
    if quote is None:
        return "silent: nothing known of it"
    return f"stale: {(now - quote.ts) / SECOND:.1f} s old, limit {rule.max_age / SECOND:g} s"


def _quiet(standing: Standing, now: Micros) -> str:
    return f"quiet: last trade {(now - (standing.traded or now)) / SECOND:.1f} s ago, others trade"


def _weigh_jumps(
    live: list[Vote], quiet: list[Vote], jumped: list[Vote], new: list[Vote], rule: FusionRule
) -> list[Vote]:
    """Let the confirmed jumps and the newcomers that fit into `live`; the others."""
    steady = live or quiet
    if not steady and not jumped:
        live += new
        return []
    if not steady:
        centre = median(sorted([vote.price for vote in jumped + new]))
        near = [vote for vote in jumped + new if abs(vote.price - centre) <= rule.max_jump * centre]
        believed = near if len(near) > 1 else [vote for vote in jumped if not vote.standing.thin]
    else:
        centre = median(sorted([vote.price for vote in steady]))
        believed = [vote for vote in jumped + new if abs(vote.price - centre) <= rule.max_jump * centre]
        far = [vote for vote in jumped if vote not in believed]
        most = len(far) > len(steady) + len(believed)
        believed += far if most else [vote for vote in far if vote.standing.confirmed]
    live += believed
    return [vote for vote in jumped + new if vote not in believed]


def _hold(live: list[Vote], held: list[Vote], aside: list[SetAside], rule: FusionRule, oldest: int) -> tuple[str, ...]:
    """Set the held aside, or let them stand where they stood if nothing else is there."""
    alone, flags = not live, []
    for vote in held:
        standing = vote.standing
        base = standing.base
        if base is None:
            aside.append(SetAside(standing.name, f"jump: new, further than {rule.max_jump / BPS:.0f} bps from others"))
            continue
        by = (vote.price / base - 1) / BPS
        if alone and standing.base_ts >= oldest:
            live.append(Vote(base, standing, standing.base_ts))
            flags.append(f"held: {standing.name} at {base:g}, its jump of {by:+.0f} bps is not confirmed")
        else:
            text = f"jump: {by:+.0f} bps in one slot, limit {rule.max_jump / BPS:.0f}, not confirmed"
            aside.append(SetAside(standing.name, text))
    return tuple(flags)


def _answer(sifted: Sifted, rule: FusionRule) -> Fused | Refusal:
    live = sifted.counted
    names = tuple(sorted([vote.standing.name for vote in live]))
    aside = tuple(sorted(sifted.aside))
    if len(live) < rule.min_sources:
        reason = f"{len(live)} sources count, at least {rule.min_sources} are needed"
        return Refusal(rule.symbol, "min_sources", reason, names, aside)
    prices = sorted([vote.price for vote in live])
    price, weighted = median(prices), False
    if rule.weigh_by_size and len(live) >= 3:
        price, weighted = _weighted(live, price)
    spread = _dispersion(prices, price)
    if spread > rule.max_dispersion * price:
        reason = f"{len(live)} sources differ by {spread / price / BPS:.1f} bps, limit {rule.max_dispersion / BPS:.1f}"
        return Refusal(rule.symbol, "max_dispersion", reason, names, aside)
    floor = (rule.lone_floor if len(live) == 1 else rule.confidence_floor) * price
    oldest = min([vote.ts for vote in live])
    strays, flags = [vote.standing for vote in live if vote.standing.strays], sifted.flags
    if strays:
        floor = max(floor, max([abs(standing.strayed) for standing in strays]) * price)
        flags += tuple([f"{standing.reason}, and too few others" for standing in strays])
    confidence = max(spread, floor, math.ulp(0.0))
    return Fused(rule.symbol, price, confidence, oldest, names, aside, weighted, flags)


def without_outliers(live: list[Vote], rule: FusionRule, aside: list[SetAside]) -> list[Vote]:
    """Those that pass the outlier rule; the others' reasons are added to `aside`."""
    if len(live) < 3:
        return live
    prices = sorted([vote.price for vote in live])
    centre = median(prices)
    floor = rule.outlier_floor * centre
    if prices[-1] - centre <= floor and centre - prices[0] <= floor:
        return live
    mad = median(sorted([abs(price - centre) for price in prices]))
    limit = max(floor, rule.outlier_mads * MAD_TO_SIGMA * mad)
    kept = []
    for vote in live:
        off = abs(vote.price - centre)
        if off <= limit:
            kept.append(vote)
        else:
            text = f"outlier: {off / centre / BPS:.1f} bps from the median, limit {limit / centre / BPS:.1f}"
            aside.append(SetAside(vote.standing.name, text))
    return kept


def median(ordered: list[float]) -> float:
    """Middle of an ascending list, the mid of the two middle ones if even; never outside them, never infinite.

    >>> median([1.0, 2.0, 4.0]), median([1.0, 2.0])
    (2.0, 1.5)
    """
    half, odd = divmod(len(ordered), 2)
    if odd:
        return ordered[half]
    low, high = ordered[half - 1], ordered[half]
    return min(low + (high - low) / 2, high)


def _weighted(live: list[Vote], plain: float) -> tuple[float, bool]:
    """The median weighed by size, or the plain one where a size is unknown or one source holds too much of them."""
    sizes = [-1.0 if (size := vote.standing.quote.size) is None else size for vote in live if vote.standing.quote]
    total = math.fsum(sizes)
    if min(sizes) < 0.0 or not 0.0 < total < math.inf or max(sizes) >= MAX_SHARE * total:
        return plain, False
    pairs = sorted(zip([vote.price for vote in live], sizes, strict=True))
    return _weighted_median(pairs, total), True


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
            return median([price, voiced[index + 1][0]])
    return voiced[-1][0]


def _dispersion(prices: list[float], price: float) -> float:
    """What the counted sources disagree by: 0 for one, the gap of two, 1.4826 MAD about the price from three on."""
    if len(prices) == 1:
        return 0.0
    if len(prices) == 2:
        return prices[1] - prices[0]
    return MAD_TO_SIGMA * median(sorted([abs(value - price) for value in prices]))
