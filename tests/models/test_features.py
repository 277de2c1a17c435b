"""Features are point-in-time: nothing later than the bar, and a batch is the stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import (
    ARGUMENTS,
    BURN_IN,
    PLAIN,
    FeatureError,
    FeatureSchema,
    FeatureStream,
    build,
    latest,
    parse_name,
    rows,
)

HOUR = 3_600_000_000
ALL = FeatureSchema(
    names=(
        *("scale.48", "return.1", "return.24", "absolute.0", "absolute.7", "volatility.6", "volatility.200"),
        *("range.24", "hour_sin.1", "hour_cos.2", "week_sin.1", "week_cos.1", "level", "season", "gap"),
    ),
    window=8,
    width=3_600,
)


def series(seed: int, bars: int = BURN_IN + 60) -> tuple[np.ndarray, np.ndarray]:
    """Hours with weekends missing, and a random walk."""
    random = np.random.default_rng(seed)
    steps = np.where(random.random(bars) < 0.02, 49, 1)
    ts = 1_500_000_400_000_000 + np.cumsum(steps) * HOUR
    return ts, np.exp(np.cumsum(random.standard_t(4, bars)) * 1e-3)


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(BURN_IN + 30, BURN_IN + 58), other=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_build__future_changed__past_windows_unchanged(seed: int, cut: int, other: int) -> None:
    ts, close = series(seed)
    changed = close.copy()
    changed[cut:] *= np.exp(np.random.default_rng(other).normal(size=len(close) - cut))
    index, windows = build(ts, close, ALL)
    _, after = build(ts, changed, ALL)
    known = index < cut
    assert known.any()
    assert np.array_equal(windows[known], after[known])


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_stream__bar_by_bar__equals_batch_to_the_bit(seed: int) -> None:
    ts, close = series(seed)
    index, table = rows(ts, close, ALL)
    stream = FeatureStream(ALL)
    pushed = [stream.push(int(when), float(price)) for when, price in zip(ts, close, strict=True)]
    assert [i for i, row in enumerate(pushed) if row is not None] == index.tolist()
    assert np.array_equal(np.array([row for row in pushed if row is not None]), table)
    assert np.array_equal(latest(ts, close, ALL), build(ts, close, ALL)[1][-1])


def test_build__window__holds_the_rows_up_to_its_bar() -> None:
    ts, close = series(1)
    at, table = rows(ts, close, ALL)
    index, windows = build(ts, close, ALL)
    assert windows.shape == (len(at) - 7, 8, len(ALL.names))
    assert index[0] == at[7]
    assert np.array_equal(windows[3], table[3:11])


@given(seed=st.integers(0, 2**32 - 1), jump=st.floats(-20, 20))
@settings(max_examples=20, deadline=None)
def test_rows__any_jump__finite_and_bounded(seed: int, jump: float) -> None:
    ts, close = series(seed)
    close[BURN_IN + 20 :] *= np.exp(jump)
    close[BURN_IN + 40 :] = close[BURN_IN + 40]
    _, table = rows(ts, close, ALL)
    assert np.isfinite(table).all()
    assert (np.abs(table[:, 1:]) <= 10).all()
    assert (table[:, 0] > 0).all()


def test_rows__price_scaled__same_features() -> None:
    ts, close = series(5)
    np.testing.assert_allclose(rows(ts, close, ALL)[1], rows(ts, close * 130.0, ALL)[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("close", [0.0, -1.0, float("nan"), float("inf")])
def test_push__price_not_positive_and_finite__refused_and_state_kept(close: float) -> None:
    ts, prices = series(2)
    stream, clean = FeatureStream(ALL), FeatureStream(ALL)
    for when, price in zip(ts[:-1], prices, strict=False):
        stream.push(int(when), float(price))
        clean.push(int(when), float(price))
    with pytest.raises(FeatureError, match="not a finite positive price"):
        stream.push(int(ts[-1]), close)
    with pytest.raises(FeatureError, match="does not come after"):
        stream.push(int(ts[-2]), 1.0)
    ours, theirs = (s.push(int(ts[-1]), 1.1) for s in (stream, clean))
    assert ours is not None and theirs is not None and np.array_equal(ours, theirs)


def test_latest__series_too_short__one_clear_error() -> None:
    ts, close = series(3, bars=BURN_IN)
    assert build(ts, close, ALL)[1].shape == (0, 8, len(ALL.names))
    with pytest.raises(FeatureError, match="too few"):
        latest(ts, close, ALL)


@pytest.mark.parametrize(
    ("names", "window", "width"),
    [
        (("return.1", "scale.48"), 1, 3600),
        (("scale.48", "scale.24"), 1, 3600),
        (("scale.48", "gap", "gap"), 1, 3600),
        (("scale.48",), 1, 3600),
        (("scale.48", "return.0"), 1, 3600),
        (("scale.48", "return.01"), 1, 3600),
        (("scale.48", "return.9999999"), 1, 3600),
        (("scale.48", "return"), 1, 3600),
        (("scale.48", "gap.1"), 1, 3600),
        (("scale.48", "__class__"), 1, 3600),
        (("scale.48", "gap"), 0, 3600),
        (("scale.48", "gap"), 1, 0),
    ],
)
def test_schema__malformed__refused(names: tuple[str, ...], window: int, width: int) -> None:
    with pytest.raises(FeatureError):
        FeatureSchema(names, window, width)


def test_schema__hash__covers_every_field() -> None:
    base = FeatureSchema(("scale.48", "gap"), 4, 3600)
    others = [
        FeatureSchema(("scale.48", "level"), 4, 3600),
        FeatureSchema(("scale.48", "gap"), 5, 3600),
        FeatureSchema(("scale.48", "gap"), 4, 60),
    ]
    assert len({base.hash, *(other.hash for other in others)}) == 4
    assert base.hash == FeatureSchema(("scale.48", "gap"), 4, 3600).hash


def test_parse_name__every_kind__round_trips() -> None:
    for kind, (least, greatest) in ARGUMENTS.items():
        assert parse_name(f"{kind}.{least}") == (kind, least)
        assert parse_name(f"{kind}.{greatest}") == (kind, greatest)
    for kind in PLAIN:
        assert parse_name(kind) == (kind, 0)
