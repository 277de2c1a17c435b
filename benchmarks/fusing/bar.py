"""The calm-week bar of 5 bps: where a shift is above it, what the prices of that slot allow.

The least that a rule can promise which goes by the prices of one slot: take the sources that counted, leave out each
in turn, and take the median of the rest, which is the answer that the rule is compared with if that one is the faulty
one. While nothing tells which it is, an answer must be near to all of these, and none is nearer than half of what they
span. Memory could tell before the onset by its definition; a trial that set sources aside at five of their own
standard deviations did so with healthy ones too, and put more slots above the bar than it brought below it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fusing.replay import MAX_AGE, Run, Slots

from feeds.rule import Fused
from feeds.types import Micros

BAR = 5.0
"""Basis points."""


def least_shift(prices: Sequence[float]) -> float:
    """Basis points by which an answer made of these prices must shift if any one of them may be the faulty one.

    >>> least_shift([100.0, 100.0]), round(least_shift([100.0, 101.0]), 2)
    (0.0, 49.75)
    """
    if len(prices) < 2:
        return 0.0
    left = [statistics.median([*prices[:i], *prices[i + 1 :]]) for i in range(len(prices))]
    return (max(left) - min(left)) / 2 / statistics.median(prices) * 1e4


@dataclass
class CalmBar:
    """Shifts above the bar, in slots before and after the onset of their fault, beside the least possible."""

    slots: int = 0
    over: list[tuple[float, float]] = field(default_factory=list)
    """Shift and least possible shift of each slot above the bar."""
    before_onset: int = 0
    from_onset: float = 0.0
    """The greatest shift from the onset on."""

    def note(
        self, shifts: Mapping[Micros, float], run: Run, slots: Slots, slot: int, span: tuple[Micros, Micros],
        due: Micros | None,
    ) -> None:  # fmt: skip
        """One fault: `due` is its onset by definition, None where it has none."""
        for end, value in shifts.items():
            if not span[0] <= end < span[1]:
                continue
            self.slots += 1
            early = due is None or end < due
            if not early:
                self.from_onset = max(self.from_onset, value)
            if value > BAR:
                self.over.append((value, least_shift(_counted(run, slots, end, slot))))
                self.before_onset += early

    def figures(self) -> dict[str, float]:
        """By name."""
        return {
            "calm.faulty_slots": self.slots,
            "calm.over_bar": len(self.over),
            "calm.over_bar.before_onset": self.before_onset,
            "calm.over_bar.least_possible_above_too": sum(least > BAR for _, least in self.over),
            "calm.over_bar.least_possible_bps.max": max((least for _, least in self.over), default=0.0),
            "calm.over_least_possible_bps.max": max((value - least for value, least in self.over), default=0.0),
            "calm.shift_bps.from_onset.max": self.from_onset,
        }


def _counted(run: Run, slots: Slots, end: Micros, slot: int) -> list[float]:
    """Newest prices of the sources that counted at `end`."""
    answer = run.answers[end]
    found: dict[str, float] = {}
    for back in range(MAX_AGE + 1):
        for quote, _ in slots.get(Micros(end - back * slot), ()):
            found.setdefault(quote.source, quote.price)
    names = answer.sources if isinstance(answer, Fused) else ()
    return [found[name] for name in names if name in found]
