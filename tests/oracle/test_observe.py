from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.fuse import Fused
from feeds.types import SECOND, Micros
from models.forecast import LEVELS
from models.panel import PanelStep
from oracle.config import FeedSettings, QuestionSettings
from oracle.consensus.network import FeedId, FeedKind, FeedSpec
from oracle.consensus.wire import check_feed
from oracle.journal import OwnValue
from oracle.observe import (
    Abstention,
    Point,
    event_point,
    faulty,
    fixed_point,
    forecast_point,
    price_point,
    probability_at_or_above,
    quantile_components,
    quantiles_at,
    resolved_point,
    source_list_hash,
    with_past,
)

SETTINGS = FeedSettings(0, "EUR/USD", ("ask", "mid"))
HOUR = 3600


def spec(kind: FeedKind = FeedKind.PRICE, **changes: Any) -> FeedSpec:
    fields: dict[str, Any] = {
        "number": FeedId(0), "kind": kind, "decimals": 8 if kind is FeedKind.PRICE else 6,
        "outcomes": 2 if kind is FeedKind.EVENT else 0, "base": b"EUR".ljust(32, b"\0"), "quote": bytes(32),
        "horizon": HOUR if kind is FeedKind.FORECAST else 0, "heartbeat": 60, "deviation": 1, "min_value": 100,
        "max_value": 10**12, "max_dispersion": 1, "jump": 1, "veto_band": 1, "min_sources": 1,
        "min_observers": 1, "max_family_share": 10_000, "methodology": bytes(32), "sources": bytes(32),
    }  # fmt: skip
    return FeedSpec(**(fields | changes))


def step(quantiles: list[list[float]], horizons: tuple[int, ...] = (HOUR, 24 * HOUR), **changes: Any) -> PanelStep:
    pooled = np.array(quantiles)
    members = np.stack([pooled, pooled * 1.1])
    fields: dict[str, Any] = {
        "now": 0, "ts": 1_000_000 * SECOND, "spot": 1.2, "horizons": horizons, "quantiles": pooled,
        "members": members, "awake": np.ones((2, len(horizons)), dtype=bool),
        "weights": np.full((2, len(horizons)), 0.5), "family_share_bps": tuple(5000 + h for h in range(len(horizons))),
        "reference": None,
    }  # fmt: skip
    return PanelStep(**(fields | changes))


def normal(scale: float) -> list[float]:
    from statistics import NormalDist

    return [scale * NormalDist().inv_cdf(level) for level in LEVELS]


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 18))
def test_fixed_point__any_float__is_within_half_a_unit_or_refused(number: float, decimals: int) -> None:
    try:
        fixed = fixed_point(number, decimals)
    except Abstention as reason:
        assert reason.cause in ("not_finite", "too_large")
        assert not math.isfinite(number) or abs(number) * 10.0**decimals > 1e38
    else:
        assert abs(Decimal(fixed).scaleb(-decimals) - Decimal(repr(number))) * 2 <= Decimal(1).scaleb(-decimals)


def test_price_point__fused_price__is_at_the_feeds_decimals_with_confidence_rounded_up() -> None:
    fused = Fused("EUR/USD", 1.176155, 0.000117615501, Micros(0), ("mid",), ())
    assert price_point(spec(), SETTINGS, fused) == Point(117_615_500, 11_762, 0b10)


@given(st.lists(st.floats(-0.5, 0.5), min_size=9, max_size=9).map(sorted))
def test_quantile_components__sorted__stay_sorted(quantiles: list[float]) -> None:
    parts = quantile_components(quantiles)
    assert list(parts) == sorted(parts) and all(
        abs(p / 1e6 - q) <= 0.5e-6 for p, q in zip(parts, quantiles, strict=True)
    )


@pytest.mark.parametrize(
    ("quantiles", "cause"),
    [
        ([0.0] * 8, "not_finite"),
        ([0.0] * 8 + [math.nan], "not_finite"),
        ([0.0] * 8 + [math.inf], "not_finite"),
        ([0.0] * 8 + [8.388608], "too_large"),
        ([-8.4] + [0.0] * 8, "too_large"),
        ([0.0] * 8 + [-0.1], "crossing"),
        ([1e30] * 9, "too_large"),
    ],
)
def test_quantile_components__what_does_not_fit__is_refused_not_clamped(quantiles: list[float], cause: str) -> None:
    with pytest.raises(Abstention) as caught:
        quantile_components(quantiles)
    assert caught.value.cause == cause


def test_forecast_point__horizon_of_the_spec__is_taken() -> None:
    point = forecast_point(
        spec(FeedKind.FORECAST, horizon=24 * HOUR), SETTINGS, step([normal(1e-3), normal(5e-3)]), ("ask",)
    )
    assert point.components == quantile_components(normal(5e-3))
    assert (point.value, point.confidence, point.sources, point.family_share) == (0, 3372, 1, 5001)


def test_forecast_point__unknown_horizon_or_no_answer__abstains() -> None:
    said = step([normal(1e-3), [math.nan] * 9])
    with pytest.raises(Abstention, match="no bundle forecasts 60 s"):
        forecast_point(spec(FeedKind.FORECAST, horizon=60), SETTINGS, said, ())
    with pytest.raises(Abstention):
        forecast_point(spec(FeedKind.FORECAST, horizon=24 * HOUR), SETTINGS, said, ())


@given(st.floats(1e-5, 0.1), st.floats(-4, 4), st.floats(-4, 4))
def test_probability__normal_quantiles__is_the_normals_tail_and_falls(scale: float, a: float, b: float) -> None:
    from statistics import NormalDist

    quantiles = normal(scale)
    low, high = (probability_at_or_above(quantiles, scale * z) for z in sorted((a, b)))
    assert high <= low + 1e-12
    assert low == pytest.approx(1 - NormalDist().cdf(min(a, b)), abs=1e-6)


@given(st.lists(st.sampled_from([-0.2, -0.1, 0.0, 0.1]), min_size=9, max_size=9).map(sorted), st.floats(-0.3, 0.3))
def test_probability__coinciding_quantiles__is_still_a_probability(quantiles: list[float], threshold: float) -> None:
    assert 0.0 <= probability_at_or_above(quantiles, threshold) <= 1.0


@given(st.integers(0, 3 * 24 * HOUR), st.integers(0, 3 * 24 * HOUR))
def test_quantiles_at__longer_time__is_wider(a: int, b: int) -> None:
    rows = [normal(1e-3), normal(5e-3)]
    near, far = (quantiles_at((HOUR, 24 * HOUR), rows, seconds) for seconds in sorted((a, b)))
    assert far[-1] >= near[-1] - 1e-15 and far[0] <= near[0] + 1e-15
    assert quantiles_at((HOUR, 24 * HOUR), rows, HOUR) == pytest.approx(rows[0])


@given(st.floats(0.5, 2.0), st.integers(0, 10**6))
def test_event_point__any_strike_and_time__is_an_observation_peers_accept(strike: float, seconds: int) -> None:
    question = QuestionSettings("EUR/USD", f"{strike:.6f}", 1_000_000_000 + seconds * 1000)
    point = event_point(SETTINGS, question, step([normal(1e-3), normal(5e-3)]), ("ask", "mid"))
    assert sum(point.components) == 10_000 and point.confidence >= 1 and not point.resolved
    check_feed(spec(FeedKind.EVENT), with_past(spec(FeedKind.EVENT), point, {}, {}))


def test_event_point__spot_at_the_strike__is_even_odds() -> None:
    question = QuestionSettings("EUR/USD", "1.2", 1_000_000_000 + 2 * HOUR * 1000)
    point = event_point(SETTINGS, question, step([normal(1e-3), normal(5e-3)]), ("ask",))
    assert (point.components, point.value) == ((5000, 5000), 0)


@pytest.mark.parametrize(("price", "outcome"), [(1.1750001, 1), (1.175, 1), (1.1749999, 0)])
def test_resolved_point__price_at_the_time__decides_without_rounding(price: float, outcome: int) -> None:
    fused = Fused("EUR/USD", price, 1e-4, Micros(0), ("ask",), ())
    point = resolved_point(SETTINGS, QuestionSettings("EUR/USD", "1.1750", 0), fused)
    assert (point.value, point.resolved, point.components[outcome]) == (outcome, True, 10_000)


@pytest.mark.parametrize(
    ("value", "before", "run"),
    [
        (500, 3, 0),
        (99, 0, -1),
        (99, -4, -5),
        (99, 4, -1),
        (10**12 + 1, 126, 127),
        (10**12 + 1, 127, 127),
        (0, -127, -127),
    ],
)
def test_with_past__run_outside_the_bounds__is_counted_by_side(value: int, before: int, run: int) -> None:
    seen = with_past(spec(), Point(value, 1, 1), {0: OwnValue(7, before)}, {0: OwnValue(8, 0)})
    assert (seen.outside_run, seen.previous) == (run, (7, 8))


def test_with_past__no_past__is_none() -> None:
    assert with_past(spec(), Point(500, 1, 1), {}, {3: OwnValue(1, 0)}).previous == (None, None)


def test_faulty__price__is_multiplied_or_refused() -> None:
    assert faulty(Point(3, 1, 1), 10) == Point(30, 10, 1)
    with pytest.raises(Abstention):
        faulty(Point(2**126, 0, 1), 10)


def test_source_list_hash__order_matters() -> None:
    assert source_list_hash(("a", "b")) != source_list_hash(("b", "a")) != source_list_hash(("ba",))
