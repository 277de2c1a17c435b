"""The report page and `summary.json`: structure, escaping and refusal, on an invented run."""

from __future__ import annotations

import json
import math
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from oracle.demo import record as rec
from oracle.demo.record import DemoRecord, SlotRecord, Summary
from oracle.demo.report import render_report, write_report, write_summary
from oracle.demo.scale import Axis, band, line, ticks

START = 1_508_112_000
Z = (-2.33, -1.64, -1.28, -0.67, 0.0, 0.67, 1.28, 1.64, 2.33)
VOID = {"meta", "link", "br", "hr", "img", "input"}


def invented_slots(count: int = 120) -> tuple[SlotRecord, ...]:
    rng = random.Random(7)
    at, price, slots = START, 1.18, []
    for i in range(count):
        move = rng.gauss(0, 0.0008) - (0.003 if 70 <= i < 76 else 0)
        outcome = rng.choices(("accepted", "invalid", "failed"), (90, 4, 6))[0]
        valid = outcome == "accepted"
        slots.append(
            SlotRecord(
                slot=1000 + i,
                at=at,
                outcome=outcome,
                leader=rng.choices(range(4), (30, 30, 26, 14))[0],
                price=price if valid else None,
                confidence=0.0001 if valid else None,
                forecast_1h=tuple(0.0008 * z for z in Z) if valid else None,
                forecast_24h=tuple(0.004 * z for z in Z) if valid else None,
                realised_1h=move,
                realised_24h=None,
                event_yes=1 / (1 + math.exp(-(price - 1.175) * 400)) if valid else None,
                weights=tuple(w / 21 for w in (1 + i % 2, 2 - i % 2, 3, 4, 5, 6)),
                gas=80_000 + 500 * (i % 9) if valid else None,
                signers=rng.choice((3, 4)) if valid else 0,
            )
        )
        price *= math.exp(move)
        at += 3600 * (49 if i == 95 else 1)
    return tuple(slots)


@pytest.fixture
def summary() -> Summary:
    bundles = [
        ("walk-a", "random_walk", "ada"),
        ("walk-b", "random_walk", "bo"),
        ("forest-a", "forest", "ada"),
        ("forest-b", "forest", "bo"),
        ("tcn-a", "tcn", "cy"),
        ("tcn-b", "tcn", "cy"),
    ]
    return Summary(
        rounds=rec.Rounds(120, 108, 5),
        feeds=(rec.FeedFigures("EUR/USD", "price", "0x" + "ab" * 20, 108, 116_420_000, 8),),
        skill=rec.SkillFigures(1, 119, 0.971, (0.952, 0.993), 1.002, 0.887),
        forecast_24h=rec.LongForecastFigures(96, 4, 0.99, 0.91),
        gas=rec.GasFigures(82_345.5, 20_586.4),
        faults=rec.FaultFigures(1.21, 0),
        lender=rec.LenderFigures(2, 1, 0.0),
        market=rec.MarketFigures("EUR/USD at or above 1.1700?", "no", 150.0),
        bundles=tuple(rec.BundleFigures(n, f, o, f"{i:064x}", (i + 1) / 21) for i, (n, f, o) in enumerate(bundles)),
        seconds=187.4,
    )


@pytest.fixture
def run() -> DemoRecord:
    slots = invented_slots()
    shares = (0.3, 0.3, 0.2667, 0.1333)
    return DemoRecord(
        symbol="EUR/USD",
        slot_seconds=3600,
        slots=slots,
        validators=tuple(
            rec.ValidatorRecord(f"v{i + 1}", f"0x{i:040x}", 10.0 * (4 - i), share, 30, 100, 100)
            for i, share in enumerate(shares)
        ),
        faults=(
            rec.FaultRecord("10x prices", 3, 1020, 1069, "sends ten times the price", "moved by 1.2 bps"),
            rec.FaultRecord("crash", 0, 1090, 1100, "killed and restarted", "nothing conflicting was signed"),
        ),
        lender=rec.LenderStory(
            0.05,
            0.05,
            (
                rec.LoanRecord("borrower 1", slots[5].at, 1.181, 0.888, 5000.0, slots[75].at, 1.163),
                rec.LoanRecord("borrower 2", slots[80].at, 1.162, 0.889, 5000.0),
            ),
            "A constant 90 % would have lost 12.",
        ),
        chain_id=31337,
        aggregator="0x" + "cd" * 20,
        seed=1,
        event_threshold=1.17,
        event_expiry=slots[110].at,
        source_names=("ask", "bid"),
    )


class Structure(HTMLParser):
    """Checks nesting and gathers tags and what they point at."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_render__whole_run__one_well_formed_self_contained_page(summary: Summary, run: DemoRecord) -> None:
    page = render_report(summary, run)
    structure = Structure()
    structure.feed(page)
    assert structure.open == [] and structure.links == []
    assert "script" not in structure.tags and "url(" not in page and "@import" not in page
    assert not re.findall(r"https?://", page)
    images = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    charts = [ElementTree.fromstring(image) for image in images if 'role="img"' in image]
    assert len(charts) == 7 and all(chart.get("aria-label") and chart.find("desc") is not None for chart in charts)
    assert "NaN" not in page and "nan" not in " ".join(images)


def test_render__whole_run__says_what_to_expect(summary: Summary, run: DemoRecord) -> None:
    page = render_report(summary, run)
    assert "The window was chosen for the fall of 26 October 2017" in page
    assert "4 independent days: not evidence" in page
    assert "Price direction is close to unpredictable" in page


def test_render__markup_in_every_text__is_escaped(summary: Summary, run: DemoRecord) -> None:
    evil = "<script>alert('x')</script>\"&"
    bundles = tuple(replace(b, name=evil, family=evil, owner=evil, hash=evil) for b in summary.bundles)
    tainted = replace(
        summary,
        bundles=bundles,
        market=rec.MarketFigures(evil, evil, 1.0),
        feeds=tuple(replace(f, symbol=evil, kind=evil, address=evil) for f in summary.feeds),
    )
    loans = tuple(replace(loan, borrower=evil) for loan in run.lender.loans)
    record = replace(
        run,
        symbol=evil,
        aggregator=evil,
        source_names=(evil,),
        validators=tuple(replace(v, name=evil, address=evil, note=evil) for v in run.validators),
        faults=tuple(replace(f, name=evil, what=evil, measured=evil) for f in run.faults),
        lender=replace(run.lender, loans=loans, comparison=evil),
    )
    page = render_report(tainted, record)
    structure = Structure()
    structure.feed(page)
    assert structure.open == [] and "script" not in structure.tags and "<script" not in page


def test_render__nothing_but_failed_slots__still_draws(summary: Summary, run: DemoRecord) -> None:
    bare = tuple(SlotRecord(slot.slot, slot.at, "failed", slot.leader) for slot in run.slots[:3])
    lender = replace(run.lender, loans=())
    page = render_report(summary, replace(run, slots=bare, faults=(), lender=lender, event_expiry=None))
    assert "no forecast could be scored" in page and "No loan was opened." in page


def test_render__no_slots__refuses(summary: Summary, run: DemoRecord) -> None:
    with pytest.raises(ValueError, match="no slots"):
        render_report(summary, replace(run, slots=()))


def test_render__weights_of_other_bundles__refuses(summary: Summary, run: DemoRecord) -> None:
    slots = (replace(run.slots[0], weights=(0.5, 0.5)),)
    with pytest.raises(ValueError, match="2 weights, not 6"):
        render_report(summary, replace(run, slots=slots))


def test_render__unknown_leader__refuses(summary: Summary, run: DemoRecord) -> None:
    with pytest.raises(ValueError, match="validator 9"):
        render_report(summary, replace(run, slots=(replace(run.slots[0], leader=9),)))


def test_write_report__new_folder__both_files_and_nothing_else(
    summary: Summary, run: DemoRecord, tmp_path: Path
) -> None:
    paths = write_report(summary, run, tmp_path / "build" / "demo")
    assert sorted(p.name for p in (tmp_path / "build" / "demo").iterdir()) == ["report.html", "summary.json"]
    assert json.loads(paths[0].read_text()) == json.loads(json.dumps(summary.as_dict()))


def test_summary__keys__are_those_that_results_are_compared_by(summary: Summary, tmp_path: Path) -> None:
    write_summary(summary, tmp_path / "summary.json")
    data = json.loads((tmp_path / "summary.json").read_text())
    assert {name: list(part) for name, part in data.items() if isinstance(part, dict)} == {
        "rounds": ["attempted", "accepted", "invalid"],
        "skill": [
            "horizon_h",
            "forecasts",
            "crps_vs_random_walk",
            "crps_vs_random_walk_interval",
            "crps_vs_best_single",
            "coverage_90",
        ],
        "forecast_24h": ["forecasts", "independent", "crps_vs_random_walk", "coverage_90"],
        "gas": ["transmit_mean", "per_feed_mean"],
        "faults": ["outlier_validator_max_shift_bps", "restarted_validator_conflicts"],
        "lender": ["loans", "liquidations", "bad_debt"],
        "market": ["question", "outcome", "paid"],
    }
    assert list(data) == [
        "rounds",
        "feeds",
        "skill",
        "forecast_24h",
        "gas",
        "faults",
        "lender",
        "market",
        "bundles",
        "seconds",
    ]
    assert list(data["feeds"][0]) == ["symbol", "kind", "address", "rounds", "last_value", "decimals"]
    assert list(data["bundles"][0]) == ["name", "family", "owner", "hash", "weight_final"]


def test_write_summary__not_finite__refuses_and_leaves_no_file(summary: Summary, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_summary(replace(summary, seconds=math.nan), tmp_path / "summary.json")
    assert list(tmp_path.iterdir()) == []


def test_axis__value_beyond_the_end__is_clamped_and_flat_range_is_finite() -> None:
    assert Axis(0, 1, 10, 20).at(7) == 20 and Axis(3, 3, 10, 20).at(3) == 10
    assert ticks(2.0, 2.0) == [2.0] and ticks(0, 7, 4) == [0, 2, 4, 6]


def test_line_and_band__gaps__are_not_bridged() -> None:
    assert line([(0, 0), (1, 1), None, (2, 2), (3, 3)], "ink").count("M") == 2
    assert band([(0, 0, 1), (1, 0, 1), None, (2, 0, 1)], "fan").count("Z") == 2
    assert line([None], "ink") == "" and band([], "fan") == ""
