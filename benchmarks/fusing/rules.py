"""The rules that ours is measured beside, each on the newest quotes of one slot: what a simpler oracle would publish.

A quote counts for `FRESH` slots. `pyth`: every publisher votes price - conf, price and price + conf, the price is the
median of all votes (its confidence, the greater distance to their quartiles, moves no price). A venue states no
confidence; half the range of its bar stands in for it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

FRESH = 2


class Shown(NamedTuple):
    """One source's newest bar: price, volume, half its range."""

    price: float
    volume: float
    doubt: float


def plain_median(shown: Sequence[Shown]) -> float:
    return statistics.median([row.price for row in shown])


def volume_weighted_mean(shown: Sequence[Shown]) -> float:
    total = sum(row.volume for row in shown)
    if total <= 0.0:
        return statistics.fmean([row.price for row in shown])
    return sum(row.price * row.volume for row in shown) / total


def pyth(shown: Sequence[Shown]) -> float:
    return statistics.median([row.price + side * row.doubt for row in shown for side in (-1, 0, 1)])


RIVALS: dict[str, Callable[[Sequence[Shown]], float]] = {
    "median": plain_median,
    "vwm": volume_weighted_mean,
    "pyth": pyth,
}
