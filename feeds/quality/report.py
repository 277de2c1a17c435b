"""All checks of one table, and what they found as text and as JSON.

Why this file exists: one call, whatever the rows are; each check stands alone in its own file. Never in it: a check,
HTML (that is `feeds.quality.page`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from feeds.quality.columns import check_columns
from feeds.quality.cross import check_frozen, check_group
from feeds.quality.events import check_events
from feeds.quality.findings import NOUN, ORDER, Finding, counted, moment
from feeds.quality.leaks import check_as_of, check_features, check_known, check_stale_rounds
from feeds.quality.motion import check_drift, check_motion
from feeds.quality.order import check_rows, check_series
from feeds.quality.table import Series, Table, series_of

FORMAT = "dodona.quality.v1"
WIDTH = 118


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what was found, the worst first.

    `series`: symbol, source, rows. `asked`: moments at which `as_of` was asked and compared with the rows. `root`: of
    the data set, None for loose files.
    """

    name: str
    shape: str
    rows: int
    span: tuple[int, int] | None
    known_from: str
    root: str | None
    series: tuple[tuple[str, str, int], ...]
    asked: int
    findings: tuple[Finding, ...]

    def count(self, severity: str) -> int:
        """How many findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def counts(self) -> str:
        """How many of each severity, in words."""
        return ", ".join(counted(self.count(severity), NOUN[severity]) for severity in ORDER)

    @property
    def sound(self) -> bool:
        """Whether no finding is an error."""
        return self.count("error") == 0

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines; times as ISO 8601."""
        return {
            "format": FORMAT,
            "name": self.name,
            "shape": self.shape,
            "rows": self.rows,
            "span": None if self.span is None else [moment(time) for time in self.span],
            "known_from": self.known_from or None,
            "root": self.root,
            "series": [list(series) for series in self.series],
            "as_of_moments": self.asked,
            "counts": {severity: self.count(severity) for severity in ORDER},
            "findings": [finding.as_json() for finding in self.findings],
        }

    def to_json(self) -> str:
        """`as_json` as text."""
        return json.dumps(self.as_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def text(self) -> str:
        """For a terminal: one line on the rows, then a finding a paragraph."""
        span = "" if self.span is None else f", {moment(self.span[0])} to {moment(self.span[1])}"
        lines = [f"{self.name}: {self.rows} rows of {self.shape}{span}"]
        lines.append(f"  known: {self.known_from or 'not stated'}")
        if self.asked:
            lines.append(f"  as_of: asked at {self.asked} moments")
        lines.append(f"  {self.counts}")
        for finding in self.findings:
            lines += [f"{finding.severity:8}{finding.check} | {finding.where}", f"        {finding.what}"]
            lines.append(f"        -> {finding.mend}")
        return "\n".join(lines)


def report(table: Table, label: str | None = None) -> Report:
    """Look at all of a table. `label`: the column to be predicted, where it is neither price nor outcome.

    Raises `MissingData` for bars or quotes without times.
    """
    series = series_of(table) if table.shape in ("bars", "quotes") else []
    asked, told = check_as_of(table)
    # A price of 1e300 beside one of 1e-300 is possible in a stranger's file; the checks pass over what is not finite.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found = [*check_rows(table), *told, *_check_shape(table, series, label)]
    found.sort(key=lambda finding: (ORDER.index(finding.severity), finding.check, finding.where))
    return Report(
        name=table.name,
        shape=table.shape,
        rows=table.rows,
        span=None if table.time is None else (int(table.time.min()), int(table.time.max())),
        known_from=table.known_from,
        root=None if table.dataset is None else table.dataset.root,
        series=tuple((one.symbol, one.source, len(one.rows)) for one in series),
        asked=asked,
        findings=tuple(found),
    )


def _check_shape(table: Table, series: list[Series], label: str | None) -> Iterator[Finding]:
    if table.shape == "events":
        yield from check_events(table)
    elif table.shape == "table":
        yield from check_columns(table, label)
        if table.known is not None:
            yield from check_known(table, [])
    else:
        yield from _check_prices(table, series)


def _check_prices(table: Table, series: list[Series]) -> Iterator[Finding]:
    yield from check_known(table, series)
    for one in series:
        yield from check_series(one)
        yield from check_motion(one)
    for _, group in groupby(series, key=lambda one: one.symbol):
        same_symbol = list(group)
        yield from check_drift(same_symbol)
        yield from check_group(same_symbol)
    yield from check_frozen(series)
    yield from check_features(table, series)
    yield from check_stale_rounds(table, series)
