"""Many signed observations -> the words of one slot: weighted medians, confidence, turnout, refusal flags.

Why this file exists: what every validator must compute to the same byte, from what is signed and nothing else. Never
in it: floats, sources of data, clamping (a bad value is marked, never bent).

Integrity: where less than a third of all stake lies and more than two thirds observed, each component lies within the
honest observations. (Events of three or more outcomes: unless DISPERSION says that no repair could promise it.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oracle.consensus.events import FeedResult
from oracle.consensus.messages import FeedObservation, Observation, Report
from oracle.consensus.network import BPS, PPM, QUANTILES, FeedKind, FeedSpec, NetworkConfig, has_quorum
from oracle.consensus.words import (
    FLAG_DISPERSION,
    FLAG_FAMILY,
    FLAG_FINAL,
    FLAG_INVALID,
    FLAG_OUT_OF_BOUNDS,
    FLAG_TURNOUT,
    FLAG_VECTOR,
    FeedWord,
    bits_of,
    build_pages,
    merkle_root,
    pack_vector,
    pack_word,
)

OUTSIDE_SLOTS = 5
"""Slots outside the bounds, on one side, after which a value with dispersion in bounds is published VALID."""
MEDIAN_LEVEL = QUANTILES // 2
Weighted = Sequence[tuple[int, FeedObservation]]
"""(effective stake > 0, observation) of those who saw the feed."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What a slot's observations give: the report to sign, its results in table order and the pages under its root."""

    report: Report
    results: tuple[FeedResult, ...]
    pages: tuple[bytes, ...]


def weighted_medians(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Lower and upper weighted median of (weight > 0, value) pairs; they differ only where weight splits in half.

    Lower: least value v with `2 * weight(<= v) >= total`; upper: least with `2 * weight(<= v) > total`.

    >>> weighted_medians([(1, 10), (1, 20), (2, 30)])
    (20, 30)
    """
    total, seen = sum(weight for weight, _ in pairs), 0
    ordered = sorted(pairs, key=lambda pair: pair[1])
    for place, (weight, value) in enumerate(ordered):
        seen += weight
        if 2 * seen == total:
            return value, ordered[place + 1][1]
        if 2 * seen > total:
            return value, value
    raise ValueError("a weighted median needs at least one positive weight")


def weighted_median(pairs: Sequence[tuple[int, int]]) -> int:
    """Midpoint of the lower and upper weighted median, rounded down.

    >>> weighted_median([(1, 10), (1, 20), (2, 31)])
    25
    """
    lower, upper = weighted_medians(pairs)
    return (lower + upper) // 2


def isotonic(values: Sequence[int]) -> tuple[int, ...]:
    """Nearest non-decreasing sequence by pooling adjacent violators (Ayer et al. 1955), block means rounded down.

    >>> isotonic([1, 4, 2, 8])
    (1, 3, 3, 8)
    """
    blocks = list[tuple[int, int]]()
    for value in values:
        total, count = value, 1
        while blocks and blocks[-1][0] * count > total * blocks[-1][1]:
            before, size = blocks.pop()
            total, count = total + before, count + size
        blocks.append((total, count))
    return tuple(total // count for total, count in blocks for _ in range(count))


def rescale(parts: Sequence[int], whole: int = BPS) -> tuple[int, ...]:
    """Non-negative parts scaled to sum exactly to `whole` by largest remainder (ties: lowest index); all 0 -> equal.

    >>> rescale([1, 1, 1])
    (3334, 3333, 3333)
    """
    given = list(parts) if any(parts) else [1] * len(parts)
    total = sum(given)
    scaled = [part * whole // total for part in given]
    by_remainder = sorted(range(len(given)), key=lambda place: (-(given[place] * whole % total), place))
    for place in by_remainder[: whole - sum(scaled)]:
        scaled[place] += 1
    return tuple(scaled)


def third_range(pairs: Sequence[tuple[int, int]], total: int) -> tuple[int, int]:
    """Least and largest value that a third of all stake (`total`) stands below or above, itself included.

    Whoever holds less than a third cannot move either end beyond the honest values. Needs a third among the pairs.

    >>> third_range([(1, 0), (1, 5), (1, 6), (1, 99)], 4)
    (5, 6)
    """
    ordered, ends = sorted(pairs, key=lambda pair: pair[1]), list[int]()
    for ascending in (ordered, ordered[::-1]):
        seen = 0
        for weight, value in ascending:
            seen += weight
            if 3 * seen >= total:
                ends.append(value)
                break
    low, high = ends
    return low, high


def rescale_within(parts: Sequence[int], ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], bool]:
    """`rescale(parts)` with no part outside its (low, high), each holding its part; whether that was possible.

    What the ends cut off goes to the parts with room, in proportion to it. Where even the ends cannot sum to the whole,
    the plain rescale.
    """
    scaled, up = rescale(parts), sum(parts) <= BPS
    held = [min(new, high) if up else max(new, low) for new, (low, high) in zip(scaled, ranges, strict=True)]
    room = [high - new if up else new - low for new, (low, high) in zip(held, ranges, strict=True)]
    missing = abs(BPS - sum(held))
    if missing > sum(room):
        return scaled, False
    more = rescale(room, missing) if missing else (0,) * len(held)
    return tuple(new + (part if up else -part) for new, part in zip(held, more, strict=True)), True


def leading(probabilities: Sequence[int]) -> int:
    """Index of the leading outcome; ties go to the lowest."""
    return max(range(len(probabilities)), key=lambda place: (probabilities[place], -place))


def _point(spec: FeedSpec, seen: Weighted, total_stake: int) -> tuple[int, tuple[int, ...], bool]:
    """Value and components of a feed: medians per component, repaired; and whether they could be."""
    if spec.kind is FeedKind.PRICE:
        return weighted_median([(stake, item.value) for stake, item in seen]), (), True
    columns = [[(stake, item.components[place]) for stake, item in seen] for place in range(spec.width)]
    medians = [weighted_median(column) for column in columns]
    if spec.kind is FeedKind.FORECAST:
        quantiles = isotonic(medians)
        return quantiles[MEDIAN_LEVEL], quantiles, True
    if has_quorum(sum(stake for stake, _ in seen), total_stake):
        probabilities, sound = rescale_within(medians, [third_range(column, total_stake) for column in columns])
    else:
        probabilities, sound = rescale(medians), True
    return leading(probabilities), probabilities, sound


def _dispersion(spec: FeedSpec, seen: Weighted, value: int, components: tuple[int, ...]) -> int:
    """Weighted median absolute deviation from the aggregate; events: of the leading outcome's probability (bps)."""
    if spec.kind is FeedKind.EVENT:
        centre = components[value]
        return weighted_median([(stake, abs(item.components[value] - centre)) for stake, item in seen])
    return weighted_median([(stake, abs(item.value - value)) for stake, item in seen])


def _too_wide(spec: FeedSpec, dispersion: int, value: int) -> bool:
    """Whether dispersion exceeds `max_dispersion`: relative for prices, absolute in 1e-6 otherwise."""
    if spec.kind is FeedKind.PRICE:
        return dispersion * PPM > spec.max_dispersion * abs(value)
    return dispersion * (PPM // BPS if spec.kind is FeedKind.EVENT else 1) > spec.max_dispersion


def _distinct_sources(seen: Weighted) -> int:
    """Sources that observers of at least 1/3 of the observing stake name."""
    naming, total = dict[int, int](), sum(stake for stake, _ in seen)
    for stake, item in seen:
        for source in bits_of(item.sources):
            naming[source] = naming.get(source, 0) + stake
    return sum(3 * stake >= total for stake in naming.values())


def _bounds_flags(spec: FeedSpec, seen: Weighted, value: int, too_wide: bool) -> int:
    """OUT_OF_BOUNDS, with INVALID until the observers' median run outside on that side reaches OUTSIDE_SLOTS."""
    if spec.min_value <= value <= spec.max_value:
        return 0
    side = 1 if value > spec.max_value else -1
    run = weighted_median([(stake, max(0, side * item.outside_run)) for stake, item in seen])
    return FLAG_OUT_OF_BOUNDS | (0 if run >= OUTSIDE_SLOTS and not too_wide else FLAG_INVALID)


def aggregate_feed(spec: FeedSpec, seen: Weighted, total_stake: int) -> FeedResult:
    """One feed of one slot. `seen`: (effective stake > 0, observation) of those who did not abstain.

    Flags say why a value was refused (INVALID) or how it is special. With nobody seeing the feed: zero and INVALID.
    """
    vector = FLAG_VECTOR if spec.is_vector else 0
    if not seen:
        return FeedResult(spec.number, 0, 0, 0, vector | FLAG_INVALID | FLAG_TURNOUT, (0,) * spec.width)
    observing = sum(stake for stake, _ in seen)
    value, components, sound = _point(spec, seen, total_stake)
    dispersion = _dispersion(spec, seen, value, components)
    too_wide = not sound or _too_wide(spec, dispersion, value)
    flags = vector | _bounds_flags(spec, seen, value, too_wide)
    few = len(seen) < spec.min_observers or _distinct_sources(seen) < spec.min_sources
    if few or not has_quorum(observing, total_stake):
        flags |= FLAG_TURNOUT | FLAG_INVALID
    if weighted_median([(stake, item.family_share) for stake, item in seen]) > spec.max_family_share:
        flags |= FLAG_FAMILY | FLAG_INVALID
    if too_wide:
        flags |= FLAG_DISPERSION | FLAG_INVALID
    final = sum(stake for stake, item in seen if item.resolved and item.value == value)
    if spec.kind is FeedKind.EVENT and has_quorum(final, total_stake):
        flags |= FLAG_FINAL
    confidence = max(dispersion, weighted_median([(stake, item.confidence) for stake, item in seen]))
    return FeedResult(spec.number, value, confidence, BPS * observing // total_stake, flags, components)


def aggregate(config: NetworkConfig, observations: Mapping[int, Observation]) -> Aggregate:
    """Report of a slot from its included observations by row (same slot, checked; rows with stake count).

    `observedAt` is their lower stake-weighted median. Pure and order-free: the same observations give the same bytes.
    """
    rows = [(int(config.rows[row].stake), item) for row, item in sorted(observations.items()) if config.rows[row].stake]
    results, words = list[FeedResult](), dict[int, int]()
    for place, spec in enumerate(config.feeds):
        seen = [(stake, value) for stake, item in rows if (value := item.values[place]) is not None]
        result = aggregate_feed(spec, seen, config.total_stake)
        results.append(result)
        word = FeedWord(result.feed, result.value, result.confidence, result.turnout, result.flags)
        words[spec.number] = pack_word(word)
        if spec.is_vector:
            words[spec.number + 1] = pack_vector(spec, result.components)
    pages = build_pages(words, config.pages)
    observed_at, _ = weighted_medians([(stake, item.observed_at) for stake, item in rows])
    report = Report(config.digest, rows[0][1].slot, observed_at, merkle_root(pages))
    return Aggregate(report, tuple(results), pages)
