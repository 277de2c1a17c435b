"""Compiled bit-vector scoring of merged forests.

Why this file exists: every split of every tree is sorted by feature and threshold; for a row, the splits that it fails
are a prefix of each feature's list, and each clears the leaves on its left side from its tree's bit vector; the lowest
bit left is the leaf (QuickScorer, Lucchese et al. 2015). Splits are kept in blocks of trees whose vectors stay in the
first-level cache. The only file that imports numba; imported only when a call is large enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.forecast import FloatArray
from models.zoo.boosted import Trees

BLOCK = 1_600
"""Trees whose bit vectors are worked on together (12.8 kB)."""

_DEBRUIJN = 0x03F79D71B4CB0A89
_TABLE = np.zeros(64, dtype=np.uint8)
for _bit in range(64):
    _TABLE[((_DEBRUIJN << _bit) & 0xFFFFFFFFFFFFFFFF) >> 58] = _bit


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile on first call; kept on disk for the next process where numba finds a place to write."""
    try:
        return cast(Callable[..., None], njit(cache=True)(function))
    except RuntimeError:  # numba: "cannot cache function ...: no locator available"
        return cast(Callable[..., None], njit(function))


@_compiled
def _score(
    inputs: NDArray[np.float32],
    starts: NDArray[np.int64],
    thresholds: NDArray[np.float32],
    masks: NDArray[np.uint64],
    trees: NDArray[np.int32],
    block_ends: NDArray[np.int64],
    leaves: NDArray[np.float64],
    outputs: NDArray[np.int32],
    table: NDArray[np.uint8],
    totals: NDArray[np.float64],
) -> None:
    """Add each tree's leaf value to its output's total, (N, outputs), in tree order.

    `starts` (blocks, features + 1): where each feature's splits lie. `block_ends`: first tree after each block.
    """
    ones = np.uint64(0xFFFFFFFFFFFFFFFF)
    magic = np.uint64(0x03F79D71B4CB0A89)
    vectors = np.empty(block_ends[0], dtype=np.uint64)
    first = 0
    for block in range(block_ends.size):
        last = block_ends[block]
        for row in range(inputs.shape[0]):
            vectors[: last - first] = ones
            for feature in range(inputs.shape[1]):
                low, high = starts[block, feature], starts[block, feature + 1]
                begin, value = low, inputs[row, feature]
                while low < high:
                    middle = (low + high) >> 1
                    if thresholds[middle] < value:
                        low = middle + 1
                    else:
                        high = middle
                for split in range(begin, low):
                    vectors[trees[split]] &= masks[split]
            for tree in range(first, last):
                vector = vectors[tree - first]
                lowest = vector & (~vector + np.uint64(1))
                leaf = table[(lowest * magic) >> np.uint64(58)]
                totals[row, outputs[tree]] += leaves[tree, leaf]
        first = last


class BitScorer:
    """Merged trees prepared for `_score`."""

    def __init__(self, trees: Trees, inputs: int, outputs: int) -> None:
        """Sort the splits; `inputs` and `outputs` are the numbers of model inputs and of booster sums."""
        self._outputs = outputs
        count, nodes = trees.feature.shape
        masks, order, live = _left_to_right(trees)
        block = np.repeat(np.arange(count) // BLOCK, nodes)[live.ravel()]
        feature = trees.feature.ravel()[live.ravel()].astype(np.int64)
        threshold = trees.threshold.ravel()[live.ravel()]
        tree = np.repeat(np.arange(count) % BLOCK, nodes)[live.ravel()]
        rank = np.lexsort((threshold, feature, block))
        blocks = -(-count // BLOCK)
        edges = np.searchsorted((block * inputs + feature)[rank], np.arange(blocks * inputs + 1))
        at = np.arange(blocks)[:, None] * inputs + np.arange(inputs + 1)
        self._arrays = (
            edges[at].astype(np.int64),
            np.ascontiguousarray(threshold[rank]),
            np.ascontiguousarray(masks.ravel()[live.ravel()][rank]),
            tree[rank].astype(np.int32),
            np.minimum((np.arange(blocks) + 1) * BLOCK, count).astype(np.int64),
            np.ascontiguousarray(np.take_along_axis(trees.leaf, order, axis=1)),
            trees.output.astype(np.int32),
            _TABLE,
        )

    def sums(self, inputs: NDArray[np.float32]) -> FloatArray:
        """Booster sums (N, outputs) of rows (N, inputs)."""
        totals = np.zeros((len(inputs), self._outputs))
        _score(np.ascontiguousarray(inputs), *self._arrays, totals)
        return totals


def _left_to_right(trees: Trees) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.bool_]]:
    """Masks (T, L - 1) that clear a split's left leaves, leaves in left-to-right order (T, L), and which splits exist.

    All trees at once: leaf counts go up from the last node to the first, positions down again.
    """
    count, nodes = trees.feature.shape
    row = np.arange(count)
    sizes = {side: np.ones((count, nodes), dtype=np.int64) for side in ("left", "right")}
    for node in range(nodes - 1, -1, -1):
        for side in sizes:
            child = getattr(trees, side)[:, node].astype(np.int64)
            below = np.maximum(child, 0)
            whole = sizes["left"][row, below] + sizes["right"][row, below]
            sizes[side][:, node] = np.where(child >= 0, whole, 1)
    first = np.zeros((count, nodes), dtype=np.int64)
    live = np.zeros((count, nodes), dtype=np.bool_)
    live[:, 0] = True
    order = np.zeros((count, nodes + 1), dtype=np.int64)
    for node in range(nodes):
        for side in sizes:
            child = getattr(trees, side)[:, node].astype(np.int64)
            position = first[:, node] + (sizes["left"][:, node] if side == "right" else 0)
            deeper = live[:, node] & (child >= 0)
            first[row[deeper], child[deeper]] = position[deeper]
            live[row[deeper], child[deeper]] = True
            ends = live[:, node] & (child < 0)
            order[row[ends], position[ends]] = ~child[ends]
    width = sizes["left"].astype(np.uint64)
    ones = (np.uint64(1) << np.where(live, width, 1).astype(np.uint64)) - np.uint64(1)
    return ~(ones << np.where(live, first, 0).astype(np.uint64)), order, live
