"""What a check for poison says, and how the odds of many looks are kept together.

Why this file exists: a data set is looked at in thousands of places, and one place in a hundred looks odd by chance.
Every check therefore states one number, the most that it may be wrong on a sound data set, and spreads it over all its
looks. Never in it: a check, files, a threshold that was read off data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feeds.sources.source import BadRule
from feeds.types import Micros

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

BUDGET = 0.01
"""Greatest chance that one check says anything about one sound data set, where its assumptions hold."""
KEPT = 1_000
"""Most rows that one finding names; it counts them all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a sound data set would hardly hold.

    `check`: which check; `subject`: series, forecasters or event that it is about; `first`, `last`: UTC microseconds
    of the span; `rows`: how many rows are suspect, `times` (and `events`, of a table of events) the first 1,000 of
    them; `p_value`: chance of at least this in a sound data set, all looks of the check counted; `said`: what was
    seen, with figures; `mend`: what to do.
    """

    check: str
    subject: str
    first: Micros
    last: Micros
    rows: int
    p_value: float
    said: str
    mend: str
    times: tuple[int, ...] = ()
    events: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Hold the odds to a probability. Raises BadRule."""
        if not 0.0 <= self.p_value <= 1.0:
            raise BadRule("p_value of a finding", self.p_value, "a probability")

    def as_json(self) -> dict[str, object]:
        """The fields, ready for `json.dumps`."""
        return {name: getattr(self, name) for name in self.__slots__}

    def line(self) -> str:
        """One line for people."""
        return f"{self.check}: {self.subject}: {self.said} (chance {self.p_value:.1g}); {self.mend}"


def check_budget(budget: float) -> float:
    """The same budget if it is a probability that can be kept. Raises BadRule."""
    if not (isinstance(budget, float) and 1e-12 <= budget <= 0.5):
        raise BadRule("budget of false alarms", budget, "a probability from 1e-12 to 0.5")
    return budget


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """P-values adjusted so that the chance of any false rejection stays under the level (Holm 1979).

    Valid however the tests hang together.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)) if len(raw) else raw
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def robust_scale(values: Floats) -> float:
    """1.4826 times the median absolute deviation: the standard deviation of what is normal in the middle; 0 if empty.

    >>> round(robust_scale(np.array([1.0, 2.0, 3.0, 4.0, 1000.0])), 3)
    1.483
    """
    found = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(found - np.median(found)))) if len(found) else 0.0


def at_least(count: int, chances: Floats) -> float:
    """P(at least `count` successes) of independent trials with these chances.

    Exact by convolution up to 2,000 trials (Hong 2013); beyond, the bound of Chernoff, which is never too small.
    """
    chances = np.clip(np.asarray(chances, dtype=np.float64), 0.0, 1.0)
    mean = float(chances.sum())
    if count <= 0:
        return 1.0
    if count > len(chances):
        return 0.0
    if len(chances) > 2_000:
        if count <= mean:
            return 1.0
        return math.exp(min(0.0, count - mean - count * math.log(count / max(mean, 1e-300))))
    ways = np.zeros(count + 1)
    ways[0] = 1.0
    for chance in chances.tolist():
        top = ways[count] + ways[count - 1] * chance
        ways[1:] = ways[1:] * (1.0 - chance) + ways[:-1] * chance
        ways[0] *= 1.0 - chance
        ways[count] = top
    return float(min(1.0, ways[count]))
