"""Forecasts of labelled events: who said what last about which event.

Why this file exists: every check of events looks at the standing forecasts, and a forecast made after the outcome was
known must not pass for one. Never in it: a check, files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from feeds.poisoning.finding import Flags, Floats, Ints

SURE = 1e-4
"""Probabilities are held this far from 0 and 1: a certainty says no more than a very strong word."""


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Rows of forecasts, one place in every array for each.

    `event`, `forecaster`: index into `events`, `forecasters` (ascending names); `probability` of outcome 1; `outcome`
    0 or 1; `ts`, `resolved_at` and `known_at` (None where the provider does not say) in microseconds; `rest`: a number
    for what the columns that are not read say, equal where all of them are equal.
    """

    events: tuple[str, ...]
    forecasters: tuple[str, ...]
    event: Ints
    forecaster: Ints
    probability: Floats
    outcome: Ints
    ts: Ints
    resolved_at: Ints
    known_at: Ints | None
    rest: Ints

    def standing(self) -> Ints:
        """Positions of each forecaster's last forecast of each event before it was resolved."""
        rows = np.flatnonzero(self.ts < self.resolved_at)
        order = rows[np.lexsort((self.probability[rows], self.ts[rows], self.forecaster[rows], self.event[rows]))]
        pair = self.event[order] * len(self.forecasters) + self.forecaster[order]
        last = np.append(pair[1:] != pair[:-1], True) if len(order) else np.zeros(0, bool)
        found: Ints = order[last]
        return found

    def table(self) -> Floats:
        """(events, forecasters): logit of the standing forecast, NaN where there is none."""
        rows = self.standing()
        found = np.full((len(self.events), len(self.forecasters)), np.nan)
        found[self.event[rows], self.forecaster[rows]] = logit(self.probability[rows])
        return found

    def outcomes(self) -> Ints:
        """(events,): 0 or 1 as stated by the last row of each event by position; see `mixed` for those with both."""
        found = np.zeros(len(self.events), np.int64)
        found[self.event] = self.outcome
        return found

    def mixed(self) -> Flags:
        """(events,): whether an event's rows state both outcomes."""
        ones = np.bincount(self.event, self.outcome, len(self.events))
        both: Flags = (ones > 0) & (ones < np.bincount(self.event, minlength=len(self.events)))
        return both


def logit(probability: Floats) -> Floats:
    """log(p / (1 - p)), p held 1e-4 from the ends."""
    held = np.clip(probability, SURE, 1.0 - SURE)
    found: Floats = np.log(held / (1.0 - held))
    return found


def odds_of(logits: Floats) -> Floats:
    """The probability of a logit.

    >>> odds_of(np.array([0.0])).tolist()
    [0.5]
    """
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -math.log(1e12), math.log(1e12))))
