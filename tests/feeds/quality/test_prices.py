"""Each fault put into an honest market is named, at its place; the honest market has none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from feeds.quality.findings import Finding
from feeds.quality.report import report
from feeds.quality.table import load
from feeds.sources.source import MalformedFile
from tests.strategies.markets import START, bars, found, of, reported


def one(made, check, where="X/USD b") -> Finding:
    hits = found(made, check)
    assert [hit.where for hit in hits] == [where], (check, made.text())
    return hits[0]


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6])
def test_report__honest_market__nothing_but_ordinary(tmp_path, seed):
    made = reported(bars(seed=seed), tmp_path)
    assert made.findings == () and made.sound and made.known_from == "column ts + 60 s"


def test_order__rows_swapped_and_given_twice__named(tmp_path):
    frame = bars()
    rows = frame.index[of(frame, "b")]
    order = frame.index.to_numpy().copy()
    order[[rows[10], rows[20]]] = order[[rows[20], rows[10]]]
    made = reported(pd.concat([frame.loc[order], frame.loc[[rows[500]]]]), tmp_path)
    assert one(made, "time order").count == 3  # two steps back by the swap, and the copy at the end
    assert found(made, "duplicate rows")[0].severity == "error" and one(made, "time twice").severity == "warning"
    frame.loc[rows[7], "ts"] = frame.loc[rows[6], "ts"]
    assert one(reported(frame, tmp_path), "time twice").severity == "error"


def test_gaps__outage_holes_and_pages__each_told_apart(tmp_path):
    frame = bars()
    rows = frame.index[of(frame, "b")]
    gap = one(reported(frame.drop(rows[1000:1100]), tmp_path), "gap")
    assert "101 min" in gap.what.replace("1.683 h", "101 min") and gap.span == (
        (START + 999 * 60) * 10**6, (START + 1100 * 60) * 10**6
    )  # fmt: skip
    holes = np.random.default_rng(1).choice(rows[1:-1], 200, replace=False)
    made = reported(frame.drop(holes), tmp_path)
    assert one(made, "missing bars").severity == "warning" and "every" not in one(made, "missing bars").what
    assert "every 201 bars" in one(reported(frame.drop(rows[200::201]), tmp_path), "missing bars").what


def test_gaps__market_that_closes_every_week__is_no_outage(tmp_path):
    frame = bars(24 * 7 * 10, ("b",))
    frame["ts"] = START + 3600 * np.arange(len(frame))
    hour = frame["ts"] // 3600 % 168
    open_hours = frame[~hour.between(40, 88)]
    made = reported(open_hours, tmp_path, delay=3_600_000_000)
    assert one(made, "weekly closure").count == 9 and not found(made, "gap")
    day = open_hours["ts"].between(START + 3600 * 600, START + 3600 * 620)
    made = reported(open_hours[~day], tmp_path, delay=3_600_000_000)
    assert one(made, "gap").count == 1 and one(made, "weekly closure")


def test_heartbeat__one_silence_longer_than_any__is_a_gap(tmp_path):
    rng = np.random.default_rng(3)
    steps = np.where(rng.random(600) < 0.4, rng.integers(600, 80_000, 600), 86_400 + rng.integers(0, 30, 600))
    steps[300] = 143_000
    frame = bars(600, ("b",))
    frame["ts"] = START + np.cumsum(steps)
    assert one(reported(frame, tmp_path), "gap").count == 1


@pytest.mark.parametrize(
    ("check", "column", "value"),
    [
        ("zero price", "close", 0.0), ("negative price", "close", -5.0), ("no price", "close", np.nan),
        ("no price", "close", np.inf), ("negative volume", "volume", -1.0), ("broken bar", "high", 1.0),
        ("wick", "high", 300.0), ("wick", "low", 30.0), ("wick", "open", 90.0),
    ],
)  # fmt: skip
def test_numbers__one_that_cannot_be__named_with_its_time(tmp_path, check, column, value):
    frame = bars()
    row = frame.index[of(frame, "b")][700]
    frame.loc[row, column] = value
    hit = found(reported(frame, tmp_path), check, "X/USD b")[0]
    assert hit.count == 1 and hit.span == ((START + 42_000) * 10**6,) * 2


@pytest.mark.parametrize(("row", "stated"), [(0, "first"), (2999, "last")])
def test_wick__at_an_end__found_at_a_size_that_passes_inside(tmp_path, row, stated):
    frame = bars(bps=50)
    place = frame.index[of(frame, "b")][row]
    inside = frame.index[of(frame, "b")][1500]
    for where, expected in ((place, 1), (inside, 0)):
        changed = frame.copy()
        changed.loc[where, "high"] = changed.loc[where, "close"] * 1.06
        assert len(found(reported(changed, tmp_path), "wick", "X/USD b")) == expected, stated


def test_dead_flat_frozen__each_told_apart(tmp_path):
    frame = bars()
    b = of(frame, "b")
    dead = frame.copy()
    dead.loc[b, ["open", "high", "low", "close"]], dead.loc[b, "volume"] = 90.0, 0.0
    made = reported(dead, tmp_path)
    assert "dead feed" in one(made, "dead").what and one(made, "frozen").severity == "error" and one(made, "idle")
    rows = frame.index[b][1000:1060]
    frame.loc[rows, ["open", "high", "low", "close"]], frame.loc[rows, "volume"] = frame.loc[rows[0], "close"], 0.0
    made = reported(frame, tmp_path)
    assert one(made, "frozen").span == ((START + 60_000) * 10**6, (START + 1059 * 60) * 10**6)
    assert one(made, "flat").count == 1 and not found(made, "dead")
    alone = reported(frame[of(frame, "b")], tmp_path)
    assert one(alone, "flat") and not found(alone, "frozen")


def test_spike_and_jump__of_one_source__told_apart(tmp_path):
    frame = bars()
    rows = frame.index[of(frame, "b")]
    sides = ["open", "high", "low", "close"]
    spike = frame.copy()
    spike.loc[rows[900], sides] *= 0.9
    spike.loc[rows[900], "volume"] = 0.1
    made = reported(spike, tmp_path)
    assert one(made, "spike").count == 1 and one(made, "disagreement").count == 1 and one(made, "thin jump")
    frame.loc[rows[900:], sides] *= 1.1
    frame.loc[rows[900], "volume"] = 1e6
    made = reported(frame, tmp_path)
    assert one(made, "jump").count == 1 and not found(made, "thin jump") and not found(made, "spike")


def test_drifting__half_a_day_thirty_bps_rich__named_and_the_others_not(tmp_path):
    frame = bars()
    rows = frame.index[of(frame, "b")][1000:1500]
    frame.loc[rows, ["open", "high", "low", "close"]] *= 1.003
    made = reported(frame, tmp_path)
    hit = one(made, "drifting")
    assert 485 <= hit.count <= 515 and hit.severity == "warning"
    pair = reported(frame[~of(frame, "c")], tmp_path)
    assert not found(pair, "drifting"), "with two sources nobody knows which one drifts"


def test_clock__source_an_hour_or_a_bar_behind__named(tmp_path):
    for lag in (1, 3, -2):
        frame = bars(bps=20)
        frame.loc[of(frame, "b"), "ts"] += 60 * lag
        hit = one(reported(frame, tmp_path), "clock")
        assert f"{abs(lag)} slots {'behind' if lag > 0 else 'ahead of'}" in hit.what and hit.severity == "error"


def test_copy__one_source_under_two_names__named(tmp_path):
    frame = bars()
    copy = frame[of(frame, "b")].assign(source="z", volume=1.0)
    hit = one(reported(pd.concat([frame, copy]), tmp_path), "copy")
    assert "those of z" in hit.what and hit.severity == "error"


def test_drift__of_one_source_or_of_the_market__told_apart(tmp_path):
    frame = bars(bps=10)
    wild = bars(bps=40, seed=9)
    half = frame["ts"] >= START + 1500 * 60
    sides = ["open", "high", "low", "close"]
    market = frame.copy()
    market.loc[half, sides] = wild.loc[half, sides]
    hits = found(reported(market, tmp_path), "drift")
    assert [hit.severity for hit in hits] == ["info"] * 3
    alone = frame.copy()
    alone.loc[half & of(frame, "b"), sides] = wild.loc[half & of(frame, "b"), sides]
    assert one(reported(alone, tmp_path), "drift").severity == "warning"


def test_table__bars_without_times__refused(tmp_path):
    (tmp_path / "x.csv").write_text("timestamp,source,symbol,price,ts\n1600000000,a,X,1,x\n")
    with pytest.raises(MalformedFile, match="column ts: holds no times"):
        report(load([tmp_path / "x.csv"]))
