"""Random valid bundles of every family, and features for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.architectures import inputs_of, raw_outputs
from models.bundle import Bundle, Manifest
from models.features import FeatureSchema
from models.forecast import LEVELS

NAMES = ("scale.48", "return.1", "absolute.0", "absolute.23", "volatility.6", "season", "gap")
HORIZONS = (3_600, 86_400)
Tensors = dict[str, NDArray[np.generic]]


def schema(window: int = 1, scale: int = 48) -> FeatureSchema:
    """A schema of six inputs; another `scale` is another schema of the same shape."""
    return FeatureSchema((f"scale.{scale}", *NAMES[1:]), window, 3_600)


def manifest(architecture: str, parameters: dict[str, int], features: FeatureSchema, name: str = "model-1") -> Manifest:
    """A manifest with every other field filled in."""
    return Manifest(
        name=name,
        version="1.0.0",
        owner="0x" + "a1" * 20,
        architecture=architecture,
        parameters=parameters,
        features=features,
        horizons=HORIZONS,
        symbol="EUR/USD",
        data_roots=("0x" + "00" * 32,),
        seed=7,
        libraries={"numpy": "1.26.4"},
        licence="AGPL-3.0-only",
        scores={"crps.3600": 1e-3},
    )


def random_walk(seed: int, scale: int = 48) -> Bundle:
    """Sorted random quantiles."""
    quantiles = np.sort(np.random.default_rng(seed).normal(size=(len(HORIZONS), len(LEVELS))), axis=1)
    return Bundle(manifest("random_walk.v1", {}, schema(1, scale)), {"quantiles": quantiles})


def forest(seed: int, trees: int = 30, leaves: int = 9, symmetric: int = 0, window: int = 1) -> Bundle:
    """Random trees of 2 to `leaves` leaves, grown by splitting a random leaf."""
    random = np.random.default_rng(seed)
    parameters = {"trees": trees, "leaves": leaves, "symmetric": symmetric}
    outputs = raw_outputs(parameters, len(HORIZONS))
    shape = (trees, leaves - 1)
    left, right = np.full(shape, -1, np.int16), np.full(shape, -1, np.int16)
    for tree in range(trees):
        right[tree, 0] = -2
        for node in range(1, int(random.integers(1, leaves))):
            leaf = int(random.integers(0, node + 1))
            for side in (left, right):
                side[tree, :node][side[tree, :node] == ~leaf] = node
            left[tree, node], right[tree, node] = ~leaf, ~(node + 1)
    tensors: Tensors = {
        "feature": random.integers(0, window * 6, shape).astype(np.int16),
        "threshold": random.normal(size=shape).astype(np.float32),
        "left": left,
        "right": right,
        "leaf": random.normal(size=(trees, leaves)),
        "output": np.sort(np.r_[np.arange(outputs), random.integers(0, outputs, trees - outputs)]).astype(np.int16),
    }
    return Bundle(manifest("forest.v1", parameters, schema(window)), tensors)


def tcn(seed: int, channels: int = 6, levels: int = 3, symmetric: int = 0, scale: int = 48) -> Bundle:
    """Random weights of a size that keeps the forecasts within reason."""
    random = np.random.default_rng(seed)
    features = schema(1 << levels, scale)
    parameters = {"channels": channels, "levels": levels, "symmetric": symmetric}
    outputs = raw_outputs(parameters, len(HORIZONS))
    shapes = {"head.weight": (channels, outputs), "head.bias": (outputs,)}
    for level in range(levels):
        shapes[f"level{level}.weight"] = (2 * (channels if level else inputs_of(features)), channels)
        shapes[f"level{level}.bias"] = (channels,)
    tensors: Tensors = {
        name: (random.normal(size=shape) / np.sqrt(max(shape)) * (0.3 if "head" in name else 1)).astype(np.float32)
        for name, shape in shapes.items()
    }
    return Bundle(manifest("tcn.v1", parameters, features), tensors)


def bars(seed: int, series: int, count: int) -> NDArray[np.float64]:
    """Feature rows (series, count, 7) as they come from `models.features`: a small scale, then bounded numbers."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(series, count, len(NAMES)))
    rows[..., 0] = np.exp(random.normal(-7, 0.3, size=(series, count)))
    return rows


def windows(bundles: Sequence[Bundle], rows: NDArray[np.float64], end: int) -> dict[str, NDArray[np.float64]]:
    """Windows of every schema that end before bar `end`."""
    found = {}
    for bundle in bundles:
        features = bundle.manifest.features
        found[features.hash] = rows[:, end - features.window : end]
    return found
