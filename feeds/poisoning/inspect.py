"""All checks over one data set, and the report that comes of it.

Why this file exists: whoever trains on a data set asks one question, what is wrong with it, and must be told what was
not looked at as well. Never in it: a check, a decision (a finding is a question to the provider, not a verdict).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from feeds.poisoning import outcomes, prices, sybils
from feeds.poisoning.finding import BUDGET, Finding, check_budget
from feeds.poisoning.panel import Panel, panels
from feeds.poisoning.repeats import copied_blocks
from feeds.poisoning.table import forecasts_of, frames_of, holds_forecasts, read_table

PRICES: tuple[Callable[[Panel, float], list[Finding]], ...] = (
    prices.flipped_labels,
    copied_blocks,
    prices.drift,
    prices.lone_spikes,
    lambda panel, budget: prices.label_time_spikes(panel, None, budget),
    prices.lookahead,
    sybils.sybil_sources,
)
"""Checks of one symbol's bars."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the checks of one data set said.

    `budget`: greatest chance that any one check says anything about one sound symbol or table of events; `checks`: how
    many were made; `unseen`: what could not be looked at, and why.
    """

    name: str
    rows: int
    budget: float
    checks: int
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The report, ready for `json.dumps`."""
        fields = {field: getattr(self, field) for field in ("name", "rows", "budget", "checks", "unseen")}
        return {**fields, "findings": [finding.as_json() for finding in self.findings]}

    def text(self) -> str:
        """The report for people."""
        head = f"{self.name}: {self.rows} rows, {self.checks} checks, each at most {self.budget:g} likely to be wrong"
        lines = [finding.line() for finding in self.findings] or ["nothing found, which does not prove it sound"]
        return "\n".join([head, *lines, *(f"not looked at: {what}" for what in self.unseen)])


def inspect(path: Path, budget: float = BUDGET) -> Report:
    """The report on a packed data set, CSV, gzip CSV, Parquet file or store. Raises FeedError."""
    return inspect_table(read_table(path), path.name, budget)


def inspect_table(table: pa.Table, name: str, budget: float = BUDGET) -> Report:
    """As `inspect`, from rows. Raises FeedError."""
    check_budget(budget)
    return (_events if holds_forecasts(table) else _prices)(table, name, budget)


def _events(table: pa.Table, name: str, budget: float) -> Report:
    forecasts = forecasts_of(table, name)
    found = [
        *outcomes.contradictions(forecasts),
        *outcomes.repeated_rows(forecasts),
        *outcomes.after_the_fact(forecasts),
        *outcomes.flipped_outcomes(forecasts, budget),
        *outcomes.knew_outcomes(forecasts, budget),
        *sybils.sybil_forecasters(forecasts, budget),
    ]
    unseen = []
    if len(forecasts.forecasters) < 3:
        unseen.append("sybils and early knowledge, which need three forecasters")
    if len(forecasts.events) < 20:
        unseen.append("flipped outcomes, which need 20 events")
    return Report(name, table.num_rows, budget, 6, tuple(found), tuple(unseen))


def _prices(table: pa.Table, name: str, budget: float) -> Report:
    frames = frames_of(table, name)
    found, unseen, checks = prices.impossible_bars(frames), [], 2
    for panel in panels(frames):
        for check in PRICES:
            found += check(panel, budget)
        checks += len(PRICES)
        if len(panel.sources) < 2:
            unseen.append(f"{panel.symbol} against other sources: it has one only; slow drift of it cannot be seen")
        elif len(panel.sources) == 2:
            unseen.append(f"{panel.symbol}: which of its two sources is at fault, and whether one copies the other")
    return Report(name, table.num_rows, budget, checks, tuple(found), tuple(unseen))
