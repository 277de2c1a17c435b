"""The closed, versioned registry of model architectures, and the errors of the bundle room.

Why this file exists: a bundle names an architecture and brings tensors; only what is listed here can be built from
them, with hyper-parameters inside fixed bounds and tensors of exactly the expected names, types and shapes. Never in
it: file formats, training, torch, LightGBM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.features import FeatureSchema
from models.forecast import LEVELS, Forecaster

_MODULES = {"random_walk": "baseline", "forest": "boosted", "tcn": "neural"}

Tensors = Mapping[str, NDArray[np.generic]]
"""Named weight arrays of one bundle."""

SIDE = len(LEVELS) // 2
"""Levels on each side of the median."""


class BundleError(Exception):
    """A bundle on disk or in memory cannot be used; the message is one line that names the thing and the mend."""


class BundleMissing(BundleError):
    """A file or the folder of a bundle is not there or cannot be read."""


class BundleExists(BundleError):
    """Something already lies where the bundle should be saved."""


class UnexpectedFile(BundleError):
    """The folder holds something beside manifest.json and weights.safetensors."""


class BundleTooLarge(BundleError):
    """A size or count is above its cap; carries the given number and the limit."""

    def __init__(self, what: str, given: int, limit: int) -> None:
        """`what` names the thing that is too large."""
        super().__init__(f"{what} is {given}, the limit is {limit}")
        self.given = given
        self.limit = limit


class BadManifest(BundleError):
    """manifest.json is not the JSON object that we write, or one of its fields is out of bounds."""


class UnknownArchitecture(BundleError):
    """The manifest names an architecture that is not in the registry."""


class BadWeights(BundleError):
    """weights.safetensors is not a well-formed safetensors file."""


class TensorMismatch(BundleError):
    """Tensor names, types, shapes or contents are not those that the architecture expects."""


class HashMismatch(BundleError):
    """The weights are not those that the manifest was written for."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Type (a numpy dtype name) and shape that a tensor must have."""

    dtype: str
    shape: tuple[int, ...]


Layout = Callable[[Mapping[str, int], FeatureSchema, int], dict[str, TensorSpec]]
Check = Callable[[Tensors, Mapping[str, int], FeatureSchema, int], None]


@dataclass(frozen=True, slots=True)
class Architecture:
    """One entry of the registry.

    `bounds`: hyper-parameter -> (least, greatest), all integers, all required. `layout(parameters, schema, H)` gives
    the tensors expected; `check(tensors, parameters, schema, H)` raises TensorMismatch for contents that are out of
    range. `max_window`: the longest feature window allowed.
    """

    id: str
    family: str
    bounds: Mapping[str, tuple[int, int]]
    max_window: int
    layout: Layout
    check: Check

    def construct(
        self, tensors: Tensors, parameters: Mapping[str, int], schema: FeatureSchema, horizons: tuple[int, ...]
    ) -> Forecaster:
        """The plain form of a model, from validated tensors. Imports the family's code only now (torch is heavy)."""
        module = import_module(f"models.zoo.{_MODULES[self.family]}")
        return cast(Forecaster, module.construct(tensors, parameters, schema, horizons))

    def validate(self, tensors: Tensors, parameters: Mapping[str, int], schema: FeatureSchema, horizons: int) -> None:
        """Raise a BundleError unless `tensors` are exactly what this architecture needs (`horizons`: their number)."""
        self.validate_parameters(parameters, schema)
        expected = self.layout(parameters, schema, horizons)
        if set(expected) != set(tensors):
            missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
            raise TensorMismatch(f"{self.id}: tensors missing {missing}, not expected {extra}"[:300])
        for name, spec in expected.items():
            given = tensors[name]
            if given.dtype.name != spec.dtype or given.shape != spec.shape:
                raise TensorMismatch(
                    f"{self.id}: tensor {name} is {given.dtype.name}{given.shape}, needs {spec.dtype}{spec.shape}"
                )
            if given.dtype.kind == "f" and not bool(np.isfinite(given).all()):
                raise TensorMismatch(f"{self.id}: tensor {name} holds a value that is not finite")
        self.check(tensors, parameters, schema, horizons)

    def validate_parameters(self, parameters: Mapping[str, int], schema: FeatureSchema) -> None:
        """Raise BadManifest unless the hyper-parameters are the expected ones, within bounds, and fit the schema."""
        if set(parameters) != set(self.bounds):
            raise BadManifest(f"{self.id} needs the parameters {sorted(self.bounds)}, given {sorted(parameters)}"[:300])
        for name, (least, greatest) in self.bounds.items():
            if not least <= parameters[name] <= greatest:
                raise BadManifest(f"{self.id}: {name} = {parameters[name]} is outside {least}..{greatest}"[:200])
        if schema.window > self.max_window:
            raise BadManifest(f"{self.id}: window {schema.window} is above {self.max_window}")
        if self.family == "tcn" and schema.window != 1 << parameters["levels"]:
            raise BadManifest(f"{self.id}: window {schema.window} must be 2 ** levels = {1 << parameters['levels']}")


def inputs_of(schema: FeatureSchema) -> int:
    """Number of model inputs per bar: every feature but the scale in column 0."""
    return len(schema.names) - 1


def raw_outputs(parameters: Mapping[str, int], horizons: int) -> int:
    """Numbers that a learnt model puts out: per horizon one per level, or one per level above .50 if symmetric."""
    return horizons * (SIDE if parameters["symmetric"] else len(LEVELS))


def _random_walk_layout(_: Mapping[str, int], __: FeatureSchema, horizons: int) -> dict[str, TensorSpec]:
    return {"quantiles": TensorSpec("float64", (horizons, len(LEVELS)))}


def _random_walk_check(tensors: Tensors, _: Mapping[str, int], __: FeatureSchema, ___: int) -> None:
    quantiles = tensors["quantiles"].astype(np.float64)
    if bool((np.abs(quantiles) > 1e3).any()) or bool((np.diff(quantiles, axis=1) < 0).any()):
        raise TensorMismatch("random_walk.v1: quantiles must rise along the levels and lie within +-1000")


def _forest_layout(parameters: Mapping[str, int], _: FeatureSchema, __: int) -> dict[str, TensorSpec]:
    trees, leaves = parameters["trees"], parameters["leaves"]
    nodes = (trees, leaves - 1)
    return {
        "feature": TensorSpec("int16", nodes),
        "threshold": TensorSpec("float32", nodes),
        "left": TensorSpec("int16", nodes),
        "right": TensorSpec("int16", nodes),
        "leaf": TensorSpec("float64", (trees, leaves)),
        "output": TensorSpec("int16", (trees,)),
    }


def _forest_check(tensors: Tensors, parameters: Mapping[str, int], schema: FeatureSchema, horizons: int) -> None:
    """Features and outputs in range; children after their parent, each reached once: so a walk ends, in a tree."""
    feature, output = tensors["feature"].astype(np.int64), tensors["output"].astype(np.int64)
    inputs = schema.window * inputs_of(schema)
    if bool((feature < 0).any()) or bool((feature >= inputs).any()):
        raise TensorMismatch(f"forest.v1: a split reads a feature outside 0..{inputs - 1}")
    outputs = raw_outputs(parameters, horizons)
    if output[0] != 0 or output[-1] != outputs - 1 or not bool(np.isin(np.diff(output), (0, 1)).all()):
        raise TensorMismatch(f"forest.v1: outputs must run from 0 to {outputs - 1}, in order, none left out")
    leaves, trees = parameters["leaves"], parameters["trees"]
    row = np.arange(trees)
    nodes = np.zeros((trees, leaves - 1), dtype=np.int64)
    ends = np.zeros((trees, leaves), dtype=np.int64)
    nodes[:, 0] = 1
    for node in range(leaves - 1):
        live = nodes[:, node] == 1
        for side in ("left", "right"):
            child = tensors[side][:, node].astype(np.int64)
            if bool(((child >= leaves - 1) | (child < -leaves) | ((child >= 0) & (child <= node))).any()):
                raise TensorMismatch(f"forest.v1: a {side} child is out of order or out of range")
            np.add.at(nodes, (row[live & (child >= 0)], child[live & (child >= 0)]), 1)
            np.add.at(ends, (row[live & (child < 0)], ~child[live & (child < 0)]), 1)
    if int(nodes.max()) > 1 or int(ends.max()) > 1:
        raise TensorMismatch("forest.v1: a node or a leaf has two parents")


def _tcn_layout(parameters: Mapping[str, int], schema: FeatureSchema, horizons: int) -> dict[str, TensorSpec]:
    channels = parameters["channels"]
    layout = {
        "head.weight": TensorSpec("float32", (channels, raw_outputs(parameters, horizons))),
        "head.bias": TensorSpec("float32", (raw_outputs(parameters, horizons),)),
    }
    for level in range(parameters["levels"]):
        rows = 2 * (inputs_of(schema) if level == 0 else channels)
        layout[f"level{level}.weight"] = TensorSpec("float32", (rows, channels))
        layout[f"level{level}.bias"] = TensorSpec("float32", (channels,))
    return layout


def _tcn_check(tensors: Tensors, _: Mapping[str, int], __: FeatureSchema, ___: int) -> None:
    for name, tensor in tensors.items():
        if bool((np.abs(tensor.astype(np.float64)) > 1e4).any()):
            raise TensorMismatch(f"tcn.v1: tensor {name} holds a weight beyond +-10000")


ARCHITECTURES: Mapping[str, Architecture] = {
    entry.id: entry
    for entry in (
        Architecture("random_walk.v1", "random_walk", {}, 1, _random_walk_layout, _random_walk_check),
        Architecture(
            "forest.v1",
            "forest",
            {"trees": (1, 20_000), "leaves": (2, 64), "symmetric": (0, 1)},
            16,
            _forest_layout,
            _forest_check,
        ),
        Architecture(
            "tcn.v1",
            "tcn",
            {"channels": (4, 256), "levels": (2, 9), "symmetric": (0, 1)},
            512,
            _tcn_layout,
            _tcn_check,
        ),
    )
}
"""Architecture id -> its entry. A change of meaning is a new id; an old id keeps its meaning for ever."""
