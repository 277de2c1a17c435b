"""One thing that is wrong, in one form: what every check gives and every report shows.

Why this file exists: a finding must say where it is and what to do, whoever found it. Never in it: checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from feeds.types import SECOND

Severity = Literal["error", "warning", "info"]
ORDER: tuple[Severity, ...] = ("error", "warning", "info")
NOUN: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
"""What one finding of a severity is called where they are counted."""
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` found `what` at `where`; `mend` says what to do. `count`: rows, slots or runs concerned.

    error: a model or a back-test on these rows is wrong. warning: look before use. info: worth knowing. `span`: first
    and last time in UTC microseconds, None where it has none.
    """

    check: str
    severity: Severity
    where: str
    what: str
    mend: str
    count: int = 1
    span: tuple[int, int] | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields, times as ISO 8601."""
        span = None if self.span is None else [moment(self.span[0]), moment(self.span[1])]
        return {name: getattr(self, name) for name in ("check", "severity", "where", "what", "mend", "count")} | {
            "span": span
        }


def moment(micros: int) -> str:
    """A UTC time to the second, as ISO 8601.

    >>> moment(1_678_504_200_000_000)
    '2023-03-11T03:10:00Z'
    """
    return datetime.fromtimestamp(int(micros) // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(micros: float) -> str:
    """A length of time in two units at most.

    >>> duration(143_400_000_000)
    '39.8 h'
    """
    seconds = micros / SECOND
    for size, unit in ((86_400 * 4, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / {'d': 86_400, 'h': 3600, 'min': 60}[unit]:.4g} {unit}"
    return f"{seconds:.4g} s"


def places(starts: Sequence[int] | Ints, lengths: Sequence[int] | Ints | None = None, most: int = 3) -> str:
    """The first few times in words, longest first where lengths are given."""
    order = range(len(starts)) if lengths is None else np.argsort(-np.asarray(lengths), kind="stable").tolist()
    words = [
        moment(int(starts[i])) + ("" if lengths is None else f" for {duration(int(lengths[i]))}")
        for i in list(order)[:most]
    ]
    return ", ".join(words) + (f" and {len(starts) - most} more" if len(starts) > most else "")


def counted(number: int, noun: str) -> str:
    """A number with its noun, one or several.

    >>> counted(1, "row"), counted(2, "row")
    ('1 row', '2 rows')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def runs_of(mask: Bools) -> tuple[Ints, Ints]:
    """Where runs of True begin and where they end (not within).

    >>> [part.tolist() for part in runs_of(np.array([False, True, True, False, True]))]
    [[1, 4], [3, 5]]
    """
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1).astype(np.int64), np.flatnonzero(edges == -1).astype(np.int64)
