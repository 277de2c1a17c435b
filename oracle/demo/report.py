"""What a replay measured, as `summary.json` and as one self-contained page, `report.html`.

The records of `oracle.demo.record` are all that the page knows, so it can show nothing that was not measured.
Never in this file: running a replay, reading a chain, or a number that the run did not produce.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from oracle.demo import charts
from oracle.demo.record import DemoRecord, Summary
from oracle.demo.workspace import write_whole


def write_summary(summary: Summary, path: Path) -> None:
    """Write `summary.json` in one step; ValueError if a number is not finite."""
    text = json.dumps(summary.as_dict(), indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())


def write_report(summary: Summary, record: DemoRecord, folder: Path) -> tuple[Path, Path]:
    """Write `summary.json` and `report.html` into `folder` (made if missing) and return their paths.

    Both are rendered before either is written, so a failure leaves the files of an earlier run as they were.
    """
    page = render_report(summary, record)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "summary.json", folder / "report.html"
    write_summary(summary, paths[0])
    write_whole(paths[1], page.encode())
    return paths


def render_report(summary: Summary, record: DemoRecord) -> str:
    """Return the page as HTML text: inline style and SVG, no script, nothing fetched from anywhere.

    ValueError if the record has no slots or its weights do not match the bundles.
    """
    _check(summary, record)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(moment=_moment, year=_year, grouped=_grouped, percent=_percent, decimal=_decimal)
    page = environment.get_template("report.html.j2")
    return page.render(s=summary, r=record, charts=_charts(summary, record))


def _check(summary: Summary, record: DemoRecord) -> None:
    if not record.slots:
        raise ValueError("report: the record has no slots")
    for slot in record.slots:
        if slot.weights and len(slot.weights) != len(summary.bundles):
            raise ValueError(f"report: slot {slot.slot} has {len(slot.weights)} weights, not {len(summary.bundles)}")
        if not 0 <= slot.leader < len(record.validators):
            raise ValueError(f"report: slot {slot.slot} is led by validator {slot.leader}, which the record lacks")


def _charts(summary: Summary, record: DemoRecord) -> dict[str, Markup]:
    names = tuple(validator.name for validator in record.validators)
    bundles = tuple((bundle.name, bundle.family) for bundle in summary.bundles)
    return {
        "price": charts.price_with_fan(record),
        "returns": charts.hourly_returns(record),
        "weights": charts.model_weights(record, bundles),
        "rounds": charts.round_strip(record, names),
        "gas": charts.gas_per_round(record),
        "calibration": charts.calibration(record),
        "event": charts.event_probability(record),
    }


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %H:%M")


def _year(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y")


def _grouped(number: float) -> str:
    return f"{number:,.0f}".replace(",", "\u202f")


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}\u202f%"


def _decimal(number: float, digits: int = 3) -> str:
    return f"{number:.{digits}f}" if math.isfinite(number) else "n/a"
