"""The quality report as one HTML file: no script, nothing fetched, every text escaped.

Why this file exists: names and questions in a data set are a stranger's text, and the report is opened in a browser.
Never in it: a check, a number that the report does not hold.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feeds.quality.findings import NOUN, ORDER, counted, moment
from feeds.quality.plots import plots_of
from feeds.quality.report import Report
from feeds.quality.table import Table, series_of


def render(report: Report, table: Table) -> str:
    """The page. Pictures are SVG in data URIs, shown as images, so nothing in them can run."""
    series = series_of(table) if table.shape in ("bars", "quotes") else []
    pictures = [(title, data_uri(text)) for title, text in plots_of(table, series)]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = moment
    page = environment.get_template("report.html.j2")
    return page.render(r=report, nouns=NOUN, counted=counted, pictures=pictures, groups=_groups(report))


def data_uri(svg: str) -> str:
    """SVG text as the address of an image."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _groups(report: Report) -> Sequence[tuple[str, list[object]]]:
    return [(severity, [finding for finding in report.findings if finding.severity == severity]) for severity in ORDER]
