"""The plain rules beside ours: z-scores, shares and correlations as they are commonly used, at the same budget."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import stats

from feeds.poisoning.forecasts import Forecasts, odds_of
from feeds.poisoning.panel import Panel, median_of_others

Verdict = set[str]
"""Names of the sources, forecasters or events at fault."""


def _z_rows(panel: Panel, values: np.ndarray, budget: float) -> Verdict:
    """Sources with a value farther out than a normal law allows once in the panel at this budget."""
    looks = max(1, int(np.isfinite(values).sum()))
    limit = stats.norm.isf(budget / looks / 2)
    z = np.abs(values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
    return {panel.sources[c] for c in np.flatnonzero((np.nan_to_num(z) > limit).any(axis=0))}


def z_returns(panel: Panel, budget: float) -> Verdict:
    returns = panel.returns()
    return _z_rows(panel, returns - median_of_others(returns), budget)


def z_deviations(panel: Panel, budget: float) -> Verdict:
    return _z_rows(panel, panel.deviations(), budget)


def equal_rows(panel: Panel, budget: float) -> Verdict:
    """Three bars in a row whose closes and volumes stood before."""
    found = set()
    for column, source in enumerate(panel.sources):
        rows = np.flatnonzero(panel.live[:, column])
        pair = np.stack([panel.log[rows, column], panel.volume[rows, column]], axis=1)
        if len(pair) > 3:
            triples = np.concatenate([pair[:-2], pair[1:-1], pair[2:]], axis=1)
            if len(np.unique(triples, axis=0)) < len(triples):
                found.add(source)
    return found


def welch(panel: Panel, budget: float) -> Verdict:
    """Deviations of the first half against those of the second, as if independent."""
    deviation, half = panel.deviations(), len(panel.ts) // 2
    found = set()
    for column, source in enumerate(panel.sources):
        one, two = (part[np.isfinite(part)] for part in (deviation[:half, column], deviation[half:, column]))
        if min(len(one), len(two)) > 2:
            chance = stats.ttest_ind(one, two, equal_var=False).pvalue
            if chance * len(panel.sources) <= budget:
                found.add(source)
    return found


def whole_lag(panel: Panel, budget: float) -> Verdict:
    """Sources whose returns correlate better with the others' next returns than with their present ones."""
    returns = panel.returns()
    market, found = median_of_others(returns), set()
    for column, source in enumerate(panel.sources):
        own, now, after = returns[:-1, column], market[:-1, column], market[1:, column]
        known = np.isfinite(own) & np.isfinite(now) & np.isfinite(after)
        if known.sum() > 30:
            table = np.corrcoef(own[known], np.stack([now[known], after[known]]))
            if table[0, 2] > table[0, 1]:
                found.add(source)
    return found


def surprises(table: Forecasts, budget: float) -> Verdict:
    """Events whose outcome the crowd gave less than budget / events."""
    logits = table.table()
    known = np.flatnonzero(np.isfinite(logits).any(axis=1))
    sign = np.where(table.outcomes()[known] == 1, 1.0, -1.0)
    chance = odds_of(sign * np.nanmedian(logits[known], axis=1))
    return {table.events[k] for k in known[chance <= budget / max(1, len(known))]}


def correlated(table: Forecasts, budget: float) -> Verdict:
    """Forecasters of eight or more common events whose logits correlate above .99."""
    logits, found = table.table(), set()
    for i, j in itertools.combinations(range(logits.shape[1]), 2):
        both = np.isfinite(logits[:, i]) & np.isfinite(logits[:, j])
        one, two = logits[both, i], logits[both, j]
        if len(one) >= 8 and one.std() and two.std() and np.corrcoef(one, two)[0, 1] > 0.99:
            found |= {table.forecasters[i], table.forecasters[j]}
    return found


def better_brier(table: Forecasts, budget: float) -> Verdict:
    """Forecasters whose squared error is lower than the median of the others', by Student's t."""
    chance, outcomes, found = odds_of(table.table()), table.outcomes(), set()
    for column, name in enumerate(table.forecasters):
        others = np.delete(chance, column, axis=1)
        rows = np.flatnonzero(np.isfinite(chance[:, column]) & (np.isfinite(others).sum(axis=1) >= 2))
        if len(rows) >= 8:
            crowd = np.nanmedian(others[rows], axis=1)
            less = (crowd - outcomes[rows]) ** 2 - (chance[rows, column] - outcomes[rows]) ** 2
            if less.std() and stats.ttest_1samp(less, 0.0, alternative="greater").pvalue * chance.shape[1] <= budget:
                found.add(name)
    return found
