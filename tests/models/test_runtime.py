"""Every fast path equals the plain loop over models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from models.features import FeatureSchema
from models.runtime import MAX_RETURN, InputError, Runtime, forecaster
from models.runtime_forest import MergedForest
from models.runtime_tcn import StackedTcn, TcnStream
from models.zoo import neural
from tests.strategies import bundles as make

BAR = 16


@st.composite
def mixed(draw: st.DrawFn) -> list[Bundle]:
    """One to ten bundles of any family, shape and schema, in any order."""
    seeds = st.integers(0, 2**31)
    walk = st.builds(make.random_walk, seeds, st.sampled_from([24, 48]))
    forest = st.builds(
        make.forest, seeds, st.integers(18, 40), st.integers(2, 20), st.integers(0, 1), st.sampled_from([1, 3])
    )
    tcn = st.builds(
        make.tcn, seeds, st.sampled_from([4, 7]), st.integers(2, 4), st.integers(0, 1), st.sampled_from([24, 48])
    )
    return draw(st.lists(st.one_of(walk, forest, tcn), min_size=1, max_size=10))


def plain(bundles: list[Bundle], features: dict[str, np.ndarray]) -> np.ndarray:
    forecast = np.stack([forecaster(b).predict(features[b.manifest.features.hash]) for b in bundles])
    forecast[(np.abs(forecast) > MAX_RETURN).any(axis=(2, 3))] = np.nan
    return forecast


@given(bundles=mixed(), seed=st.integers(0, 2**31), series=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_runtime__mixed_bundles__full_window_and_each_new_bar_equal_the_loop(
    bundles: list[Bundle], seed: int, series: int
) -> None:
    rows = make.bars(seed, series, BAR + 10)
    runtime = Runtime(bundles)
    features = make.windows(bundles, rows, BAR)
    forecast = runtime.predict(features)
    assert forecast.shape == (len(bundles), series, 2, 9)
    np.testing.assert_allclose(forecast, plain(bundles, features), rtol=0, atol=1e-5)
    assert (np.diff(forecast, axis=-1) >= 0).all()
    stream = runtime.stream(features)
    for end in range(BAR + 1, BAR + 10):
        stepped = stream.step({key: rows[:, end - 1] for key in runtime.schemas})
        np.testing.assert_allclose(stepped, plain(bundles, make.windows(bundles, rows, end)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("symmetric", [0, 1])
def test_stacked_tcn__in_units_of_volatility__full_and_cached_equal_within_1e_5(symmetric: int) -> None:
    """The standardised quantiles, not the small log returns: so the bound means something."""
    bundles = [make.tcn(seed, channels=16, levels=6, symmetric=symmetric) for seed in range(8)]
    loop = [neural.from_tensors(b.tensors, b.manifest.parameters, 2) for b in bundles]
    bars = torch.tensor(make.bars(1, 5, 64 + 70)[..., 1:].astype(np.float32))
    stacked = StackedTcn(bundles)
    with torch.inference_mode():
        stream = TcnStream(stacked, bars[None, :, :64])
        for end in range(65, 64 + 71):
            stepped = stream.advance(bars[None, :, end - 1])
            window = bars[:, end - 64 : end]
            expected = torch.stack([model(window) for model in loop])
            pruned = torch.stack([model.pruned(window) for model in loop])
            for found in (stepped, stacked.full(window[None]), pruned):
                assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert float(expected.abs().mean()) > 0.5


@given(seed=st.integers(0, 2**31), leaves=st.integers(2, 64), count=st.integers(1, 6), window=st.sampled_from([1, 2]))
@settings(max_examples=25, deadline=None)
def test_forest__walk_and_bit_vectors__same_bits_as_each_forest_alone(
    seed: int, leaves: int, count: int, window: int
) -> None:
    bundles = [make.forest(seed + k, trees=20 + k, leaves=leaves, window=window) for k in range(count)]
    rows = make.bars(seed, 5, BAR)
    rows[0] = np.sort(rows[0], axis=0)
    features = make.windows(bundles, rows, BAR)
    expected = plain(bundles, features)
    for kernel in ("walk", "bits"):
        assert np.array_equal(MergedForest(bundles, kernel).predict(features), expected)


def test_forest__input_on_a_threshold__goes_left_on_every_path() -> None:
    bundle = make.forest(3, trees=60)
    rows = make.bars(3, 40, 1)
    rows[:, 0, 1:] = np.asarray(bundle.tensors["threshold"]).ravel()[:240].reshape(40, 6)
    features = make.windows([bundle], rows, 1)
    walk, bits = (MergedForest([bundle], kernel).predict(features) for kernel in ("walk", "bits"))
    assert np.array_equal(walk, bits)


def test_forest__much_work__compiled_path_joins_in_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.runtime_forest.COMPILE_ABOVE", 200)
    monkeypatch.setattr("models.runtime_forest.WALK_CHUNK", 50)
    forest = MergedForest([make.forest(1), make.forest(2, symmetric=1)])
    features = make.windows([make.forest(1)], make.bars(1, 3, 1), 1)
    first = forest.predict(features)
    assert all(np.array_equal(first, forest.predict(features)) for _ in range(3))
    with pytest.raises(ValueError, match="none of auto"):
        MergedForest([make.forest(1)], "gpu")


def test_runtime__forecast_beyond_reason__member_abstains_alone() -> None:
    wild = make.random_walk(1)
    wild = Bundle(wild.manifest, {"quantiles": np.asarray(wild.tensors["quantiles"]) * 100})
    bundles = [wild, make.random_walk(2)]
    rows = make.bars(1, 2, 1)
    rows[1, :, 0] = 10.0
    rows[0, :, 0] = 1e-3
    forecast = Runtime(bundles).predict(make.windows(bundles, rows, 1))
    assert np.isnan(forecast[0, 1]).all()
    assert np.isfinite(forecast[:, 0]).all()


def test_runtime__inputs_that_do_not_fit__one_clear_error() -> None:
    bundles = [make.random_walk(1), make.tcn(1)]
    rows = make.bars(1, 2, BAR + 1)
    runtime, features = Runtime(bundles), make.windows(bundles, rows, BAR)
    missing = {bundles[0].manifest.features.hash: rows[:, :1]}
    with pytest.raises(InputError, match="missing"):
        runtime.predict(missing)
    with pytest.raises(InputError, match="of shape"):
        runtime.predict(features | {bundles[1].manifest.features.hash: rows[:, :3]})
    with pytest.raises(InputError, match="series"):
        runtime.predict(features | missing | {bundles[0].manifest.features.hash: rows[:1, :1]})
    with pytest.raises(InputError, match="follows 2 series"):
        runtime.stream(features).step({key: rows[:1, BAR] for key in runtime.schemas})
    with pytest.raises(InputError, match="at least one"):
        Runtime([])


def test_runtime__other_bar_width__refused() -> None:
    other = make.random_walk(1)
    slow = FeatureSchema(make.NAMES, 1, 60)
    with pytest.raises(InputError, match="other horizons or bars"):
        Runtime([other, Bundle(make.manifest("random_walk.v1", {}, slow, "slow"), other.tensors)])
