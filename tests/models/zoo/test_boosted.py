"""Packed trees give LightGBM's bits, and nothing but plain numeric trees can be packed."""

from __future__ import annotations

import re

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.zoo import boosted
from models.zoo.boosted import ForestError

INPUTS = 5


def train(seed: int, leaves: int, rounds: int, level: float = 0.9, rows: int = 400) -> lightgbm.Booster:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, INPUTS)).astype(np.float32).round(1)
    y = x[:, 0] * x[:, 1] + random.standard_t(3, size=rows)
    options = {
        "objective": "quantile", "alpha": level, "num_leaves": leaves, "min_data_in_leaf": 5, "num_threads": 1,
        "deterministic": True, "force_row_wise": True, "verbose": -1, "seed": seed % 2**31,
    }  # fmt: skip
    return lightgbm.train(options, lightgbm.Dataset(x, y, params={"verbose": -1}), rounds)


@given(
    seed=st.integers(0, 2**31 - 1),
    leaves=st.integers(2, 40),
    rounds=st.integers(1, 30),
    level=st.sampled_from([0.01, 0.5]),
)
@settings(max_examples=12, deadline=None)
def test_pack__any_booster__same_bits_as_predict(seed: int, leaves: int, rounds: int, level: float) -> None:
    boosters = [train(seed, leaves, rounds, level), train(seed + 1, leaves, rounds + 2, level)]
    trees = boosted.pack([booster.model_to_string() for booster in boosters])
    random = np.random.default_rng(seed)
    x = np.concatenate([random.normal(size=(60, INPUTS)), random.normal(size=(60, INPUTS)).round(1)]).astype(np.float32)
    on_split = np.nextafter(trees.threshold.ravel(), np.float32(np.inf))
    x[:20, 0] = np.resize(np.concatenate([trees.threshold.ravel(), on_split]), 20)
    expected = np.stack([booster.predict(x, num_threads=1) for booster in boosters], axis=1)
    assert np.array_equal(trees.sums(boosted.settle(x), 2), expected)


def test_pack__booster_that_found_no_split__constant() -> None:
    booster = train(1, 4, 3, rows=8)
    x = np.zeros((2, INPUTS), np.float32)
    trees = boosted.pack([booster.model_to_string()])
    assert np.array_equal(trees.sums(x, 1)[:, 0], booster.predict(x))


@given(value=st.floats(-1e38, 1e38))
def test_round_down__any_double__greatest_float32_not_above(value: float) -> None:
    below = boosted.round_down(value)
    assert below <= value and float(np.float32(below)) == below
    assert float(np.nextafter(np.float32(below), np.float32(np.inf))) > value


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"num_leaves=\d+", "num_leaves=65"),
        (r"num_leaves=\d+", "num_leaves=x"),
        (r"num_cat=0", "num_cat=1"),
        (r"is_linear=0", "is_linear=1"),
        (r"decision_type=\d+", "decision_type=1"),
        (r"decision_type=\d+", "decision_type=8"),
        (r"threshold=\S+", "threshold=nan"),
        (r"threshold=\S+", "threshold=1e300"),
        (r"threshold=\S+", "threshold="),
        (r"leaf_value=\S+", "leaf_value=inf"),
        (r"left_child=\S+", "left_child=0"),
        (r"left_child=\S+", "left_child=-99"),
        (r"split_feature=\S+", "split_feature=-1"),
        (r"split_feature=\S+", "split_feature=40000"),
        (r"Tree=", "Bush="),
    ],
)
def test_pack__model_text_spoilt__refused(pattern: str, replacement: str) -> None:
    text = train(1, 4, 2).model_to_string()
    assert re.search(pattern, text)
    with pytest.raises(ForestError):
        boosted.pack([re.sub(pattern, replacement, text)])


def test_pack__trained_on_missing_values__refused() -> None:
    x = np.random.default_rng(1).normal(size=(200, 2))
    y = x[:, 0].copy()
    x[::3, 0] = np.nan
    options = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(options, lightgbm.Dataset(x, y, params={"verbose": -1}), 2)
    with pytest.raises(ForestError, match="missing values"):
        boosted.pack([booster.model_to_string()])


def test_quantiles_of__symmetric__mirrored_sorted_and_centred() -> None:
    found = boosted.quantiles_of(np.array([[2.0, 1.0, 3.0, -1.0]]), 1, True)
    assert found.tolist() == [[[-3.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0]]]
    free = boosted.quantiles_of(np.array([[9.0, 2, 3, 4, 5, 6, 7, 8, 1]]), 1, False)
    assert free.tolist() == [[[1.0, 2, 3, 4, 5, 6, 7, 8, 9]]]


def test_settle__inputs_too_small_to_count__read_as_zero_like_lightgbm() -> None:
    random = np.random.default_rng(1)
    x = random.choice(np.array([-1.0, 0.0, 1.0], np.float32), size=(300, 2))
    options = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(options, lightgbm.Dataset(x, x[:, 0] ** 3, params={"verbose": -1}), 5)
    tiny = np.array([[-1e-36, 0], [1e-36, 0], [-1e-35, 0], [2e-35, 0], [-2e-35, 0]], dtype=np.float32)
    trees = boosted.pack([booster.model_to_string()])
    assert np.array_equal(trees.sums(boosted.settle(tiny), 1)[:, 0], booster.predict(tiny))
