"""Splits without leaks, training that repeats to the bit, a cache that heals, and the demo's recipes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import save
from models.features import FeatureSchema
from models.labels import SECOND
from models.recipes import DEMO_RECIPES, OWNERS
from models.runtime import forecaster
from models.train import Recipe, TrainingError, code_version, train, train_all, training_set, walk_forward

HOUR = 3_600 * SECOND
OWNER = "0x" + "a1" * 20
NAMES = ("scale.24", "volatility.6", "absolute.0", "hour_sin.1", "hour_cos.1", "season")
SETTINGS: dict[str, dict[str, int | float | str]] = {
    "random_walk": {"kind": "empirical"},
    "forest": {
        "symmetric": 1, "learning_rate": 0.1, "leaves": 4, "rounds": 15, "least": 20, "share": 0.8, "patience": 5,
    },
    "tcn": {
        "channels": 4, "levels": 2, "symmetric": 1, "learning_rate": 0.01, "epochs": 2, "batch": 64, "dropout": 0.1,
        "weight_decay": 0.0, "patience": 2,
    },
}  # fmt: skip


def recipe(family: str, seed: int = 1) -> Recipe:
    schema = FeatureSchema(NAMES, 4 if family == "tcn" else 1, 3_600)
    return Recipe(
        f"test-{family}".replace("_", "-"), OWNER, family, schema, (3_600, 86_400), SETTINGS[family], seed, folds=2
    )


def series(seed: int = 1, bars: int = 900) -> tuple[np.ndarray, np.ndarray]:
    """Hours without weekends and returns three times as large by day."""
    random = np.random.default_rng(seed)
    hours = np.arange(bars * 2)
    hours = hours[(hours // 24) % 7 < 5][:bars]
    size = np.where((hours % 24 >= 7) & (hours % 24 < 17), 1.5e-3, 5e-4)
    return hours * HOUR, np.exp(np.cumsum(random.normal(size=bars) * size))


@given(
    seed=st.integers(0, 2**32 - 1),
    folds=st.integers(1, 3),
    purge=st.integers(0, 48),
    embargo=st.integers(0, 24),
)
@settings(max_examples=30, deadline=None)
def test_walk_forward__any_series__no_training_outcome_reaches_validation(
    seed: int, folds: int, purge: int, embargo: int
) -> None:
    ts = np.cumsum(np.random.default_rng(seed).integers(1, 50, 400)) * HOUR
    found = walk_forward(ts, folds, 0.15, purge * 3_600, embargo * 3_600)
    assert len(found) == folds
    for fold in found:
        known_at = ts[fold.train] + purge * HOUR
        assert known_at.max() + embargo * HOUR <= ts[fold.valid[0]]
        assert len(np.intersect1d(fold.train, fold.valid)) == 0
    assert found[-1].valid[-1] == len(ts) - 1
    assert all(a.valid[-1] < b.valid[0] for a, b in pairwise(found))


def test_walk_forward__too_short__one_clear_error() -> None:
    with pytest.raises(TrainingError, match="too few"):
        walk_forward(np.arange(100) * HOUR, 3, 0.15, 0, 0)
    with pytest.raises(TrainingError, match="purge and embargo"):
        walk_forward(np.arange(400) * HOUR, 3, 0.15, 400 * 3_600, 0)


@pytest.mark.parametrize("family", SETTINGS)
def test_train__same_recipe_and_data__same_hash_and_beats_or_meets_random_walk(family: str) -> None:
    ts, close = series()
    first, again = (train(recipe(family), ts, close, "EUR/USD", progress=False) for _ in range(2))
    assert first.hash == again.hash
    assert first.manifest.family == family and first.manifest.owner == OWNER
    assert first.manifest.scores["crps_vs_random_walk.3600"] < (1.02 if family == "random_walk" else 1.0)
    windows = training_set(recipe(family), ts, close).windows
    forecast = forecaster(first).predict(windows)
    assert np.isfinite(forecast).all() and (np.diff(forecast, axis=-1) >= 0).all()
    assert train(recipe(family), ts[:-1], close[:-1], "EUR/USD", progress=False).hash != first.hash


def test_train__cached__not_trained_again_and_damage_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ts, close = series()
    walk = recipe("random_walk")
    (first,) = train_all([walk], ts, close, "EUR/USD", tmp_path, progress=False)
    (folder,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("models.train.training_set", lambda *_: pytest.fail("trained although cached"))
        assert train(walk, ts, close, "EUR/USD", tmp_path, progress=False).hash == first.hash
    (folder / "weights.safetensors").write_bytes(b"rubbish")
    assert train(walk, ts, close, "EUR/USD", tmp_path, progress=False).hash == first.hash
    assert (folder / "weights.safetensors").stat().st_size > 100
    train(recipe("random_walk", seed=2), ts, close, "EUR/USD", tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 2


def test_train__other_process_saved_first__its_bundle_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ts, close = series()
    walk = recipe("random_walk")
    expected = train(walk, ts, close, "EUR/USD", progress=False)
    monkeypatch.setattr(
        "models.train.bundles.save", lambda bundle, folder: (save(bundle, folder), save(bundle, folder))
    )
    assert train(walk, ts, close, "EUR/USD", tmp_path, progress=False).hash == expected.hash


def test_train__unknown_family__refused() -> None:
    strange = Recipe("x", OWNER, "oracle", FeatureSchema(NAMES, 1, 3_600), (3_600,), {}, 1)
    with pytest.raises(TrainingError, match="none of random_walk, forest, tcn"):
        train(strange, *series(), "EUR/USD", progress=False)


def test_code_version__stable_within_a_process() -> None:
    assert code_version() == code_version() and len(code_version()) == 66


def test_demo_recipes__three_families_three_owners__all_different() -> None:
    assert len(DEMO_RECIPES) >= 6
    assert {r.family for r in DEMO_RECIPES} == {"random_walk", "forest", "tcn"}
    assert {r.owner for r in DEMO_RECIPES} == set(OWNERS.values())
    assert len({r.name for r in DEMO_RECIPES}) == len({r.features.hash for r in DEMO_RECIPES}) == len(DEMO_RECIPES)
    assert all(r.horizons == (3_600, 86_400) for r in DEMO_RECIPES)
