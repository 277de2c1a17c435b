"""K forests as one: all trees of all members walked or scored together.

Why this file exists: LightGBM one model at a time spends its time on calls and cache misses. Few rows on small forests
take a vectorised numpy walk (no compiler, nothing to import); many take the bit-vector kernel of models/kernels.py
(QuickScorer, Lucchese et al. 2015). Both add leaves in tree order, so both give LightGBM's bits. Never in it: training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.forecast import FloatArray
from models.zoo import boosted
from models.zoo.boosted import Forest, Trees

COMPILE_ABOVE = 4_000_000
"""Trees times rows, summed over calls, from which the compiled kernel is worth loading (0.3 s, 1 s the first time)."""
WALK_CHUNK = 2_000_000
"""Trees times rows that the numpy walk takes at a time."""


class Scorer(Protocol):
    """A compiled form of merged trees."""

    def sums(self, inputs: NDArray[np.float32]) -> FloatArray:
        """Booster sums (N, outputs) of rows (N, inputs)."""
        ...


class MergedForest:
    """k bundles of forest.v1 with the same schema."""

    def __init__(self, bundles: Sequence[Bundle], kernel: str = "auto") -> None:
        """`kernel`: "walk" (numpy), "bits" (compiled bit-vectors) or "auto" (by the work so far)."""
        if kernel not in ("auto", "walk", "bits"):
            raise ValueError(f"kernel {kernel!r} is none of auto, walk, bits")
        self.schema = bundles[0].manifest.features
        self.members = [
            boosted.construct(b.tensors, b.manifest.parameters, b.manifest.features, b.manifest.horizons)
            for b in bundles
        ]
        self.outputs = sum(member.outputs for member in self.members)
        self.trees = merge(self.members)
        self._kernel = kernel
        self._work = 0
        self._scorer: Scorer | None = None

    def sums(self, inputs: NDArray[np.float32]) -> FloatArray:
        """Booster sums (N, outputs of all members) from inputs (N, window * inputs)."""
        self._work += len(inputs) * len(self.trees.output)
        if self._kernel == "bits" or (self._kernel == "auto" and self._work >= COMPILE_ABOVE):
            if self._scorer is None:
                kernels = import_module("models.kernels")
                self._scorer = cast(Scorer, kernels.BitScorer(self.trees, inputs.shape[1], self.outputs))
            return self._scorer.sums(inputs)
        rows = max(1, WALK_CHUNK // len(self.trees.output))
        parts = [self.trees.sums(inputs[at : at + rows], self.outputs) for at in range(0, len(inputs), rows)]
        return np.concatenate(parts) if parts else np.empty((0, self.outputs))

    def predict(self, features: Mapping[str, FloatArray]) -> FloatArray:
        """Forecasts (k, N, H, 9) from windows (N, window, F)."""
        windows = features[self.schema.hash]
        sums = self.sums(boosted.flatten(windows))
        ends = np.cumsum([member.outputs for member in self.members])
        return np.stack(
            [
                member.finish(sums[:, end - member.outputs : end], windows)
                for member, end in zip(self.members, ends, strict=True)
            ]
        )

    def stream(self, features: Mapping[str, FloatArray]) -> ForestStream:
        """Remember the last window."""
        return ForestStream(self, features[self.schema.hash])


class ForestStream:
    """The last window of each series; forests have no state of their own."""

    def __init__(self, forest: MergedForest, windows: FloatArray) -> None:
        """Start after `windows` (N, window, F)."""
        self._forest, self._windows = forest, windows

    def step(self, features: Mapping[str, FloatArray]) -> FloatArray:
        """Forecasts (k, N, H, 9) after one new row (N, F)."""
        key = self._forest.schema.hash
        self._windows = np.concatenate([self._windows[:, 1:], features[key][:, None]], axis=1)
        return self._forest.predict({key: self._windows})


def merge(members: Sequence[Forest]) -> Trees:
    """All members' trees one after the other, outputs renumbered, padded to the widest tree."""
    leaves = max(member.trees.leaf.shape[1] for member in members)
    bases = np.cumsum([0, *(member.outputs for member in members)])

    def joined(name: str, fill: int) -> NDArray[Any]:
        """One array of all members, rows padded with `fill`."""
        wide = leaves if name == "leaf" else leaves - 1
        arrays = [getattr(member.trees, name) for member in members]
        return np.concatenate(
            [np.pad(array, ((0, 0), (0, wide - array.shape[1])), constant_values=fill) for array in arrays]
        )

    outputs = [member.trees.output.astype(np.int32) + base for member, base in zip(members, bases[:-1], strict=True)]
    return Trees(
        feature=joined("feature", 0),
        threshold=joined("threshold", 0),
        left=joined("left", -1),
        right=joined("right", -1),
        leaf=joined("leaf", 0),
        output=np.concatenate(outputs),
    )
