"""Quotes and models -> the integers of one observation.

Why this file exists: it is the border between the rooms that compute with floats and the room that signs. Each number
is converted here, once, or refused here: a number that does not fit makes the feed abstain, it is never bent to fit.
Never in it: network, disk, signing.

Sources: bit i of an observation's bitmap is the i-th name of the feed's source list. The list is the network's;
its hash (`source_list_hash`) is in the feed's spec.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from statistics import NormalDist

from eth_hash.auto import keccak

from feeds.fuse import Fused, FusionRule, Refusal
from feeds.types import SECOND
from models.forecast import LEVELS
from models.panel import PanelStep
from oracle.config import FeedSettings, QuestionSettings
from oracle.consensus.aggregate import leading
from oracle.consensus.messages import FeedObservation
from oracle.consensus.network import BPS, INT128, PPM, FeedId, FeedSpec
from oracle.errors import DodonaError, LocalFault
from oracle.journal import OwnValue

INT24 = 1 << 23
MAX_RUN = 127
ABOVE = 1
"""Outcome index of "at or above the strike"; 0 is "below"."""
_SCORES = tuple(NormalDist().inv_cdf(level) for level in LEVELS)
_NORMAL = NormalDist()


class Abstention(DodonaError):
    """The node has nothing to say of one feed in this slot. `cause`: a short word for metrics."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Point:
    """What one feed shows, before the node's own past is added. Field meanings as in `FeedObservation`."""

    value: int
    confidence: int
    sources: int
    family_share: int = 0
    components: tuple[int, ...] = ()
    resolved: bool = False


def source_list_hash(names: Sequence[str]) -> bytes:
    """What a feed's spec commits to: keccak256 of the source names joined by newlines, in order."""
    return keccak("\n".join(names).encode())


def fixed_point(number: float, decimals: int, rounding: str = ROUND_HALF_EVEN) -> int:
    """The float's shortest decimal form at `decimals` places, as an integer. Raises Abstention if it does not fit.

    >>> fixed_point(1.17615, 8), fixed_point(1.000000005, 8), fixed_point(1.000000015, 8)
    (117615000, 100000000, 100000002)
    """
    if not math.isfinite(number):
        raise Abstention("not_finite", f"the number {number} cannot be signed")
    scaled = int(Decimal(repr(number)).scaleb(decimals).to_integral_value(rounding=rounding))
    if not -INT128 <= scaled < INT128:
        raise Abstention("too_large", f"the number {number} at {decimals} decimals does not fit 128 bits")
    return scaled


def bitmap(names: Sequence[str], used: Sequence[str]) -> int:
    """Bit i is set iff the i-th name was used.

    >>> bitmap(["a", "b", "c"], ["c", "a"])
    5
    """
    return sum(1 << index for index, name in enumerate(names) if name in used)


def fusion_rule(
    settings: FeedSettings,
    symbol: str,
    symbols: Mapping[str, tuple[str, ...]] | None = None,
    bookless: tuple[str, ...] = (),
) -> FusionRule:
    """How this feed's price is fused, from its settings.

    `symbols`: what each source quotes, where that is known. `bookless`: sources that can have no order book.
    """
    told = symbols or {}
    expected = tuple(
        name for name in settings.sources if name not in settings.without and symbol in told.get(name, (symbol,))
    )
    return FusionRule(
        symbol=symbol,
        max_age=settings.max_age_s * SECOND,
        min_sources=settings.min_sources,
        expected=expected,
        min_depth=settings.min_depth,
        bookless=bookless,
    )


def priced(settings: FeedSettings, answer: Fused | Refusal) -> Fused:
    """The price, if there is one. Raises Abstention."""
    if isinstance(answer, Refusal):
        raise Abstention(answer.rule, f"feed {settings.number}: {answer.reason}")
    return answer


def price_point(spec: FeedSpec, settings: FeedSettings, fused: Fused) -> Point:
    """A price feed: value at the feed's decimals, confidence rounded up."""
    value = fixed_point(fused.price, spec.decimals)
    confidence = fixed_point(fused.confidence, spec.decimals, ROUND_CEILING)
    return Point(value, confidence, bitmap(settings.sources, fused.sources))


def quantile_components(quantiles: Sequence[float]) -> tuple[int, ...]:
    """Log-return quantiles in 1e-6. Raises Abstention for what is not finite, falls, or does not fit 24 bits.

    >>> quantile_components([-0.003, -0.002, -0.001, 0.0, 0.0, 0.0, 0.001, 0.002, 0.0030004])
    (-3000, -2000, -1000, 0, 0, 0, 1000, 2000, 3000)
    """
    if len(quantiles) != len(LEVELS) or not all(map(math.isfinite, quantiles)):
        raise Abstention("not_finite", "the models gave no whole set of quantiles")
    parts = tuple(fixed_point(float(q), 6) for q in quantiles)
    if any(not -INT24 <= part < INT24 for part in parts):
        raise Abstention("too_large", f"a quantile beyond {INT24 / PPM:.2f} does not fit its field")
    if any(low > high for low, high in itertools.pairwise(parts)):
        raise Abstention("crossing", "the models' quantiles cross")
    return parts


def forecast_point(spec: FeedSpec, settings: FeedSettings, step: PanelStep, used: Sequence[str]) -> Point:
    """A forecast feed: the panel's quantiles at the spec's horizon. Confidence: half the interquartile range, up."""
    if spec.horizon not in step.horizons:
        answered = ", ".join(str(horizon) for horizon in step.horizons)
        raise Abstention("no_horizon", f"feed {spec.number}: no bundle forecasts {spec.horizon} s, only {answered} s")
    row = step.horizons.index(spec.horizon)
    parts = quantile_components([float(q) for q in step.quantiles[row]])
    middle = len(parts) // 2
    spread = -(-(parts[middle + 1] - parts[middle - 1]) // 2)
    return Point(parts[middle], spread, bitmap(settings.sources, used), step.family_share_bps[row], parts)


def quantiles_at(horizons: Sequence[int], rows: Sequence[Sequence[float]], seconds: float) -> list[float]:
    """Quantiles of the log return over `seconds` from those at `horizons` (seconds, ascending).

    Between two horizons linear in the square root of time; before the first and after the last they shrink and grow
    with the square root of time, as those of a random walk do.

    >>> quantiles_at([3600, 14400], [[-1.0, 1.0], [-2.0, 2.0]], 8100)
    [-1.5, 1.5]
    >>> quantiles_at([3600], [[-1.0, 1.0]], 900)
    [-0.5, 0.5]
    """
    if not horizons or seconds < 0:
        raise LocalFault("a forecast needs a horizon and a time that is not past")
    root = math.sqrt(seconds)
    after = next((i for i, horizon in enumerate(horizons) if horizon >= seconds), len(horizons))
    if after in (0, len(horizons)):
        edge = 0 if after == 0 else -1
        factor = root / math.sqrt(horizons[edge])
        return [float(q) * factor for q in rows[edge]]
    low, high = math.sqrt(horizons[after - 1]), math.sqrt(horizons[after])
    part = (root - low) / (high - low)
    return [float(a) + part * (float(b) - float(a)) for a, b in zip(rows[after - 1], rows[after], strict=True)]


def probability_at_or_above(quantiles: Sequence[float], threshold: float) -> float:
    """P(log return >= threshold) of the distribution through `quantiles` at LEVELS.

    Monotone: the levels' normal scores are interpolated linearly in the return and go on with the slope of the
    outermost pair, so that tails are normal. Where quantiles coincide there is a step, which counts as reached.
    """
    if threshold <= quantiles[0] or threshold >= quantiles[-1]:
        at = 1 if threshold <= quantiles[0] else len(quantiles) - 1
        width = quantiles[at] - quantiles[at - 1]
        edge = quantiles[at - 1] if at == 1 else quantiles[at]
        score = _SCORES[at - 1] if at == 1 else _SCORES[at]
        if width <= 0.0:
            return (1.0 if threshold <= edge else 0.0) if threshold != edge else 1.0 - _NORMAL.cdf(score)
        return 1.0 - _NORMAL.cdf(score + (threshold - edge) * (_SCORES[at] - _SCORES[at - 1]) / width)
    at = next(i for i, q in enumerate(quantiles) if q >= threshold)
    width = quantiles[at] - quantiles[at - 1]
    part = (threshold - quantiles[at - 1]) / width
    return 1.0 - _NORMAL.cdf(_SCORES[at - 1] + part * (_SCORES[at] - _SCORES[at - 1]))


def event_point(settings: FeedSettings, question: QuestionSettings, step: PanelStep, used: Sequence[str]) -> Point:
    """An open question: the probability that the price is at or above the strike at its time, in basis points.

    Confidence: the weighted mean distance of the bundles' own answers from the pooled one, rounded up, at least 1.
    """
    forecast = step.forecast
    if not forecast.horizons:
        raise Abstention("no_forecast", f"feed {settings.number}: no bundle answered")
    seconds = question.at_ms / 1000 - step.ts / SECOND
    threshold = math.log(float(question.strike) / step.spot)
    pooled = _probability(forecast.horizons, forecast.quantiles.tolist(), seconds, threshold)
    near = min(range(len(step.horizons)), key=lambda row: abs(step.horizons[row] - seconds))
    spread = total = 0.0
    for member, weight, awake in zip(step.members, step.weights[:, near], step.awake.all(axis=1), strict=True):
        if awake and weight > 0.0:
            own = _probability(step.horizons, member.tolist(), seconds, threshold)
            spread, total = spread + float(weight) * abs(own - pooled), total + float(weight)
    above = fixed_point(pooled, 4)
    parts = (BPS - above, above)
    confidence = max(1, math.ceil(BPS * spread / total)) if total > 0.0 else 1
    share = max(step.family_share_bps)
    return Point(leading(parts), confidence, bitmap(settings.sources, used), share, parts)


def _probability(horizons: Sequence[int], rows: Sequence[Sequence[float]], seconds: float, threshold: float) -> float:
    return probability_at_or_above(quantiles_at(horizons, rows, seconds), threshold)


def resolved_point(settings: FeedSettings, question: QuestionSettings, fused: Fused) -> Point:
    """A question whose time has come: certainty, from the price that was known at that time."""
    above = Decimal(repr(fused.price)) >= Decimal(question.strike)
    parts = (0, BPS) if above else (BPS, 0)
    return Point(ABOVE if above else 0, 0, bitmap(settings.sources, fused.sources), 0, parts, True)


def with_past(
    spec: FeedSpec, point: Point, last: Mapping[int, OwnValue], before: Mapping[int, OwnValue]
) -> FeedObservation:
    """The point with the node's own values of the two slots before and its run of slots outside the feed's bounds."""
    side = (point.value > spec.max_value) - (point.value < spec.min_value)
    run = last[spec.number].outside_run if spec.number in last else 0
    outside = 0 if side == 0 else (run + side if run * side > 0 else side)
    past = (last.get(spec.number), before.get(spec.number))
    return FeedObservation(
        feed=FeedId(spec.number),
        value=point.value,
        confidence=point.confidence,
        previous=(past[0].value if past[0] else None, past[1].value if past[1] else None),
        sources=point.sources,
        family_share=point.family_share,
        outside_run=max(-MAX_RUN, min(MAX_RUN, outside)),
        components=point.components,
        resolved=point.resolved,
    )


def faulty(point: Point, multiplier: int) -> Point:
    """A rehearsed fault: the price and its confidence times `multiplier`."""
    value, confidence = point.value * multiplier, point.confidence * multiplier
    if not (-INT128 <= value < INT128 and confidence < INT128):
        raise Abstention("too_large", "the rehearsed fault does not fit 128 bits")
    return Point(value, confidence, point.sources, point.family_share, point.components, point.resolved)
