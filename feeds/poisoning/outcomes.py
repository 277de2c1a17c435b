"""Outcomes that the forecasts deny, the same forecast twice, forecasts from after the fact.

Why this file exists: labels of events are one bit each, and a turned bit is seen only in what everybody had said. Never
in it: files, prices.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np

from feeds.poisoning.finding import BUDGET, KEPT, Finding, Flags, Floats, Ints, check_budget
from feeds.poisoning.forecasts import SURE, Forecasts, odds_of
from feeds.types import Micros

NAMED_FALSE = 0.1
SKILL = 0.1
"""Nats an event by which an honest forecaster may beat the crowd: .5 against .55 on what comes true."""
SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of turned labels that are weighed against none."""
BIASES = (-1.0, -0.5, 0.0, 0.5, 1.0)
SLOPES = (0.7, 0.85, 1.0, 1.2, 1.4)
"""How far an honest crowd may lean, in logits, and how over- or underconfident it may be: logits at most 1.4
times too large or too small, as poll and market crowds mostly are."""


def flipped_outcomes(forecasts: Forecasts, budget: float = BUDGET) -> list[Finding]:
    """Outcomes turned against the standing forecasts.

    Without turned labels the outcome is 1 with odds a + b x, x the median logit of the standing forecasts: a crowd
    may lean (a from -2 to 2) and be over- or underconfident (b from .7 to 1.4), or say nothing at all (b = 0). Turned
    labels leave another mark, a floor under the error however sure the crowd (logistic regression with lapses, Copas
    1988). The likelihood averaged over shares of turned labels and a grid of a and b, over the best one without any,
    is an e-value: its mean is at most 1 when no label is turned (Wasserman, Ramdas, Balakrishnan 2020), so it passes
    1 / budget with a chance of at most the budget (Markov). Assumes that events are resolved independently given x.
    Events are named while the mean chance that a named one is not turned stays under one in ten. Blind where
    forecasters were unsure; a crowd surer of itself than that is told from turned labels by nobody.
    """
    check_budget(budget)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an event without a forecast before its end
        crowd = np.nanmedian(forecasts.table(), axis=1)
    known = np.flatnonzero(np.isfinite(crowd) & ~forecasts.mixed())
    if len(known) < 20:
        return []
    x, y = crowd[known], forecasts.outcomes()[known]
    sound = _best_sound(x, y)
    weight, turned = _turned(x, y)
    evidence = weight - sound
    chance = float(np.exp(-max(evidence, 0.0)))
    rows = _named(turned)
    if chance > budget or not len(rows):
        return []
    said = f"{len(rows)} of {len(known)} outcomes denied by what all had said, at most 1 in 10 of them by chance"
    mend = "check them against a second source of facts; leave them out until it agrees"
    return [_finding("flipped outcomes", forecasts, known[rows], chance, said, mend)]


def _likelihood(x: Floats, y: Ints, bias: float, slope: float) -> Floats:
    """(N,): chance of each outcome."""
    one = odds_of(bias + slope * x)
    return np.where(y == 1, one, 1.0 - one)


def _best_sound(x: Floats, y: Ints) -> float:
    """Greatest log-likelihood over bias -2 to 2 and slope .7 to 1.4, or a crowd that says nothing (slope 0).

    Concave in both: damped Newton steps held to the box, once for each side on which the slope may end.
    """
    nothing = np.clip(y.mean(), SURE, 1.0 - SURE)
    best = float(np.log(np.where(y == 1, nothing, 1.0 - nothing)).sum())
    for low, high in ((SLOPES[0], SLOPES[-1]), (SLOPES[0], SLOPES[0]), (SLOPES[-1], SLOPES[-1])):
        best = max(best, _climb(x, y, low, high))
    return best


def _climb(x: Floats, y: Ints, low: float, high: float) -> float:
    at, free = np.array([0.0, (low + high) / 2.0]), np.array([True, low < high])
    design = np.stack([np.ones_like(x), x], axis=1)[:, free]
    best = float(np.log(_likelihood(x, y, *at.tolist())).sum())
    for _ in range(60):
        one = odds_of(at[0] + at[1] * x)
        curve = (design * (one * (1.0 - one))[:, None]).T @ design + 1e-9 * np.eye(design.shape[1])
        step = np.zeros(2)
        step[free] = np.linalg.solve(curve, design.T @ (y - one))
        for _half in range(40):
            reached = np.clip(at + step, [-2.0, low], [2.0, high])
            trial = float(np.log(_likelihood(x, y, *reached.tolist())).sum())
            if trial > best:
                break
            step = step / 2.0
        else:
            break
        gain, best, at = trial - best, trial, reached
        if gain < 1e-9:
            break
    return best


def _turned(x: Floats, y: Ints) -> tuple[float, Floats]:
    """Log of the likelihood averaged over shares, biases and slopes, and each outcome's chance of being turned."""
    logs, chances = [], []
    for share, bias, slope in itertools.product(SHARES, BIASES, SLOPES):
        right = np.clip(_likelihood(x, y, bias, slope), 1e-12, 1.0 - 1e-12)
        mixed = (1.0 - share) * right + share * (1.0 - right)
        logs.append(float(np.log(mixed).sum()))
        chances.append(share * (1.0 - right) / mixed)
    top = max(logs)
    weights = np.exp(np.array(logs) - top)
    return top + float(np.log(weights.mean())), np.average(np.array(chances), axis=0, weights=weights)


def _named(turned: Floats) -> Ints:
    order = np.argsort(-turned, kind="stable")
    false = np.cumsum(1.0 - turned[order]) / np.arange(1, len(order) + 1)
    return order[: int((false <= NAMED_FALSE).sum())].astype(np.int64)


def contradictions(forecasts: Forecasts) -> list[Finding]:
    """Events whose rows state both outcomes: no chance about it."""
    events = np.flatnonzero(forecasts.mixed())
    said = f"{len(events)} events are stated to have ended both ways"
    mend = "ask the provider which outcome is meant; leave these events out"
    return [_finding("contradicted outcomes", forecasts, events, 0.0, said, mend)] if len(events) else []


def repeated_rows(forecasts: Forecasts) -> list[Finding]:
    """Rows that say again, in every column, what a row before them said."""
    keys = (
        forecasts.rest,
        forecasts.outcome,
        forecasts.probability,
        forecasts.ts,
        forecasts.forecaster,
        forecasts.event,
    )
    order = np.lexsort(keys)
    again = np.ones(len(order), dtype=bool)
    again[:1] = False
    for key in keys:
        again[1:] &= key[order[1:]] == key[order[:-1]]
    if not again.any():
        return []
    rows = order[again]
    events = np.unique(forecasts.event[rows])
    said = f"{len(rows)} rows stand twice: equal in every column"
    return [_finding("repeated rows", forecasts, events, 0.0, said, "keep each row once", len(rows))]


def after_the_fact(forecasts: Forecasts) -> list[Finding]:
    """Rows that cannot have been known when they claim: made after the resolution, or known before they were made."""
    found = []
    late = forecasts.ts >= forecasts.resolved_at
    wrong: list[tuple[Flags, str]] = [(late, "made at or after the time at which the event was resolved")]
    if forecasts.known_at is not None:
        wrong.append((forecasts.known_at < forecasts.ts, "known before they were made"))
        kept = (forecasts.known_at >= forecasts.resolved_at) & ~late
        wrong.append((kept, "made before the resolution but known only after it"))
    for rows, what in wrong:
        if rows.any():
            events = np.unique(forecasts.event[rows])
            said, mend = f"{int(rows.sum())} forecasts {what}", "leave these rows out: they may know the outcome"
            found.append(_finding("backdated rows", forecasts, events, 0.0, said, mend, int(rows.sum())))
    return found


def knew_outcomes(forecasts: Forecasts, budget: float = BUDGET) -> list[Finding]:
    """Forecasters whose standing forecasts are better than skill explains.

    An honest forecaster may be better than the crowd, by up to a tenth of a nat an event. The likelihood of the
    outcomes under the forecaster's own probabilities, less that tenth for each event, over the best that any bias and
    slope make of the median of the others, is an e-value (Wasserman, Ramdas, Balakrishnan 2020; as a bet against the
    crowd: Shafer 2021): with K forecasters it passes K / budget for any with a chance of at most the budget. Needs 8
    events on which at least two others spoke. A forecaster who is that good without looking is found too: what is
    found is who to ask.
    """
    check_budget(budget)
    table, outcomes = forecasts.table(), forecasts.outcomes()
    fair = ~forecasts.mixed()
    evidence, places = [], []
    for column in range(len(forecasts.forecasters)):
        others = np.delete(table, column, axis=1)
        rows = np.flatnonzero(np.isfinite(table[:, column]) & fair & (np.isfinite(others).sum(axis=1) >= 2))
        if len(rows) < 8:
            continue
        own = float(np.log(_likelihood(table[rows, column], outcomes[rows], 0.0, 1.0)).sum())
        evidence.append(own - SKILL * len(rows) - _best_sound(np.nanmedian(others[rows], axis=1), outcomes[rows]))
        places.append((column, rows))
    found = []
    for (column, events), nats in zip(places, evidence, strict=True):
        odds = float(min(1.0, len(places) * np.exp(-max(nats, 0.0))))
        if odds <= budget:
            said = f"{nats:.1f} nats better over {len(events)} events than the others' median and fair skill"
            mend = "ask when and how these forecasts were recorded; use none from before that is answered"
            found.append(
                replace(
                    _finding("knew outcomes", forecasts, events, odds, said, mend),
                    subject=forecasts.forecasters[column],
                )
            )
    return found


def _finding(
    check: str, forecasts: Forecasts, events: Ints, chance: float, said: str, mend: str, rows: int | None = None
) -> Finding:
    times = forecasts.ts[np.isin(forecasts.event, events)]
    names = tuple(forecasts.events[k] for k in events[:KEPT].tolist())
    subject = names[0] if len(names) == 1 else f"{len(events)} events"
    first, last = Micros(int(times.min())), Micros(int(times.max()))
    count = len(events) if rows is None else rows
    return Finding(check, subject, first, last, count, chance, said, mend, events=names)
