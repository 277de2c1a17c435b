"""Gradient boosted quantile regression: LightGBM at training, plain arrays ever after.

Why this file exists: one booster per level and horizon is fitted to standardised returns, then parsed from LightGBM's
text by the bounded parser here and kept as arrays. A node never sees LightGBM text: its native parser dies of SIGABRT
on a damaged file. The arrays give the same bits as `Booster.predict`. Never in it: import of lightgbm at a node.

Bit identity: inputs are float32, so `x <= t` for a double t is `x <= t rounded down to float32`; leaves stay float64
and are summed in tree order, as LightGBM does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.architectures import SIDE, raw_outputs
from models.features import FeatureSchema
from models.forecast import LEVELS, FloatArray
from models.zoo.baseline import root_bars

MAX_TEXT = 256 << 20
MAX_TREES = 20_000
MAX_LEAVES = 64
ZERO = np.float32(1e-35)
"""LightGBM reads inputs up to this size as 0."""


class ForestError(ValueError):
    """A trained LightGBM model that cannot be packed: one line that names the reason."""


@dataclass(frozen=True, slots=True)
class Trees:
    """Packed trees: `feature`, `threshold`, `left`, `right` (T, L - 1), `leaf` (T, L), `output` (T,) rising.

    A child >= 0 is a node of the same tree, after its parent; a child < 0 is the leaf ~child. Nodes and leaves that
    a tree does not have lead to leaf 0 and hold 0.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    leaf: NDArray[np.float64]
    output: NDArray[np.integer[Any]]

    def sums(self, inputs: NDArray[np.float32], outputs: int) -> FloatArray:
        """Sum of each output's leaves, settled inputs (N, inputs) -> (N, outputs), all trees of all rows at once."""
        count, trees = len(inputs), len(self.output)
        index = np.arange(trees)
        node = np.zeros((count, trees), dtype=np.int16)
        row = np.arange(count)[:, None]
        while bool((node >= 0).any()):
            at = np.maximum(node, 0)
            goes_left = inputs[row, self.feature[index, at]] <= self.threshold[index, at]
            step = np.where(goes_left, self.left[index, at], self.right[index, at])
            node = np.where(node >= 0, step, node)
        return self.totals(self.leaf[index, ~node], outputs)

    def totals(self, values: FloatArray, outputs: int) -> FloatArray:
        """Leaf values (N, T) added up per output in tree order, as LightGBM adds them: (N, outputs)."""
        count = len(values)
        bins = self.output.astype(np.int64) + outputs * np.arange(count)[:, None]
        total = np.bincount(bins.ravel(), weights=values.ravel(), minlength=count * outputs)
        return total.astype(np.float64).reshape(count, outputs)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by the names of forest.v1."""
        return {name: getattr(self, name) for name in self.__slots__}


def pack(texts: Sequence[str]) -> Trees:
    """Arrays of several boosters, one `Booster.model_to_string()` per output, in order.

    Raises ForestError for anything but plain numeric splits without missing values.
    """
    boosters = [parse_text(text) for text in texts]
    leaves = max(2, max(len(tree["leaf_value"]) for trees in boosters for tree in trees))
    count = sum(len(trees) for trees in boosters)
    if count > MAX_TREES or leaves > MAX_LEAVES:
        raise ForestError(f"{count} trees of up to {leaves} leaves; the limits are {MAX_TREES} and {MAX_LEAVES}")
    packed = Trees(
        np.zeros((count, leaves - 1), np.int16),
        np.zeros((count, leaves - 1), np.float32),
        np.full((count, leaves - 1), -1, np.int16),
        np.full((count, leaves - 1), -1, np.int16),
        np.zeros((count, leaves)),
        np.zeros(count, np.int16),
    )
    row = 0
    for output, trees in enumerate(boosters):
        for tree in trees:
            _fill(packed, row, tree)
            packed.output[row] = output
            row += 1
    return _single_leaf_nodes(packed)


def _fill(packed: Trees, row: int, tree: Mapping[str, list[float]]) -> None:
    nodes = len(tree["split_feature"])
    packed.feature[row, :nodes] = tree["split_feature"]
    packed.threshold[row, :nodes] = [round_down(value) for value in tree["threshold"]]
    packed.left[row, :nodes] = tree["left_child"]
    packed.right[row, :nodes] = tree["right_child"]
    packed.leaf[row, : nodes + 1] = tree["leaf_value"]


def _single_leaf_nodes(packed: Trees) -> Trees:
    """A tree of one leaf still has a root: make both its sides distinct leaves of the same value."""
    single = (packed.left[:, 0] == -1) & (packed.right[:, 0] == -1)
    packed.right[single, 0] = -2
    packed.leaf[single, 1] = packed.leaf[single, 0]
    return packed


def round_down(value: float) -> float:
    """The greatest float32 that is not above `value`.

    >>> round_down(0.1) <= 0.1, round_down(0.5)
    (True, 0.5)
    """
    if not math.isfinite(value) or abs(value) > float(np.finfo(np.float32).max):
        raise ForestError(f"threshold {value} does not fit float32")
    near = np.float32(value)
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-np.inf)))


def parse_text(text: str) -> list[dict[str, list[float]]]:
    """The trees of one LightGBM model text (format v4), bounds checked before anything is built.

    Each tree: split_feature, threshold, left_child, right_child (n - 1 each) and leaf_value (n). Raises ForestError.
    """
    if len(text) > MAX_TEXT:
        raise ForestError(f"the model text has {len(text)} characters, the limit is {MAX_TEXT}")
    blocks = text.split("\nend of trees", 1)[0].split("\nTree=")[1:]
    if not 0 < len(blocks) <= MAX_TREES:
        raise ForestError(f"the model text holds {len(blocks)} trees, needs 1 to {MAX_TREES}")
    return [_tree(block) for block in blocks]


def _tree(block: str) -> dict[str, list[float]]:
    fields = dict(line.split("=", 1) for line in block.split("\n") if "=" in line)
    leaves = int(_numbers(fields, "num_leaves", 1, whole=True)[0])
    if not 1 <= leaves <= MAX_LEAVES:
        raise ForestError(f"a tree has {leaves} leaves, the limit is {MAX_LEAVES}")
    if fields.get("num_cat") != "0" or fields.get("is_linear", "0") != "0":
        raise ForestError("categorical splits and linear trees are not supported; train without them")
    tree: dict[str, list[float]] = {"leaf_value": _numbers(fields, "leaf_value", leaves)}
    for name in ("split_feature", "left_child", "right_child", "decision_type"):
        tree[name] = _numbers(fields, name, leaves - 1, whole=True)
    tree["threshold"] = _numbers(fields, "threshold", leaves - 1)
    for kind in tree.pop("decision_type"):
        if int(kind) & 0b1101:
            raise ForestError("a split is categorical or reads missing values; train on finite values only")
    for node, children in enumerate(zip(tree["left_child"], tree["right_child"], strict=True)):
        if any(not (node < child < leaves - 1 or -leaves <= child < 0) for child in children):
            raise ForestError("a tree's children are out of order")
    if any(not 0 <= feature < 2**15 for feature in tree["split_feature"]):
        raise ForestError("a split reads a feature beyond 32767")
    return tree


def _numbers(fields: Mapping[str, str], name: str, count: int, whole: bool = False) -> list[float]:
    """Exactly `count` finite numbers of one field."""
    parts = fields.get(name, "").split()
    if len(parts) != count:
        raise ForestError(f"field {name} holds {len(parts)} numbers, needs {count}")
    try:
        values: list[float] = [int(part) if whole else float(part) for part in parts]
    except ValueError as problem:
        raise ForestError(f"field {name} holds something that is no number") from problem
    if not all(math.isfinite(value) for value in values):
        raise ForestError(f"field {name} holds a number that is not finite")
    return values


def flatten(features: FloatArray) -> NDArray[np.float32]:
    """Inputs of a forest: the windows (N, window, F) without the scale column, row by row, in float32."""
    return settle(np.ascontiguousarray(features[:, :, 1:], dtype=np.float32).reshape(len(features), -1))


def settle(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inputs (N, F) with what is as small as 1e-35 made 0, as `Booster.predict` reads them."""
    return np.where(np.abs(inputs) <= ZERO, np.float32(0.0), inputs)


def quantiles_of(sums: FloatArray, horizons: int, symmetric: bool) -> FloatArray:
    """Standardised quantiles (N, H, 9) from booster sums (N, outputs), sorted so that they never cross.

    A symmetric forest states the sizes of the levels above .50; the median is 0 and the lower side is mirrored.
    """
    if not symmetric:
        return np.sort(sums.reshape(len(sums), horizons, len(LEVELS)), axis=-1)
    upper = np.sort(np.maximum(sums.reshape(len(sums), horizons, SIDE), 0.0), axis=-1)
    return np.concatenate([-upper[..., ::-1], np.zeros((*upper.shape[:-1], 1)), upper], axis=-1)


@dataclass(frozen=True, slots=True)
class Forest:
    """A forecaster from packed trees."""

    horizons: tuple[int, ...]
    schema: FeatureSchema
    trees: Trees
    symmetric: bool
    outputs: int

    def predict(self, features: FloatArray) -> FloatArray:
        """Quantiles of the log return: (N, window, F) -> (N, H, 9)."""
        return self.finish(self.trees.sums(flatten(features), self.outputs), features)

    def finish(self, sums: FloatArray, features: FloatArray) -> FloatArray:
        """From booster sums (N, outputs) to quantiles of the log return."""
        standard = quantiles_of(sums, len(self.horizons), self.symmetric)
        roots = root_bars(self.horizons, self.schema.width)
        forecast: FloatArray = standard * (features[:, -1, 0, None, None] * roots[:, None])
        return forecast


def construct(
    tensors: Mapping[str, NDArray[Any]],
    parameters: Mapping[str, int],
    schema: FeatureSchema,
    horizons: tuple[int, ...],
) -> Forest:
    """The forecaster in a forest.v1 bundle."""
    trees = Trees(**{name: tensors[name] for name in Trees.__slots__})
    return Forest(horizons, schema, trees, bool(parameters["symmetric"]), raw_outputs(parameters, len(horizons)))
