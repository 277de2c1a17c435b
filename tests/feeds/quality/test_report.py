"""The report in its three forms, and on the public files: what their page says is known to be in them is found."""

from __future__ import annotations

import base64
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feeds.dataset.errors import UnsupportedData
from feeds.quality import table as tables
from feeds.quality.page import render
from feeds.quality.plots import POINTS, thinned
from feeds.quality.report import report
from feeds.quality.table import load
from feeds.sources.source import FeedError
from tests.strategies.markets import bars, found, reported

PRICES = {
    "prices_1m_BTC-USDC_2023-03": [
        ("dead", "crypto_com", "20100"), ("frozen", "crypto_com", "21 d"), ("idle", "binance_us", "43%"),
        ("wick", "binance_us", "31000 against 26050"), ("missing bars", "kraken", "47.9"),
    ],
    "prices_1m_BTC-USDT_2023-03": [
        ("gap", "coinbase", "2023-03-04T16:59:00Z for 4.717 h"), ("missing bars", "kraken", ""),
        ("missing bars", "coinbase", ""),
    ],
    "prices_1m_BTC-USD_2023-03": [
        ("gap", "coinbase", "2023-03-04T16:59:00Z for 4.633 h"), ("drifting", "crypto_com", "2023-03-11T0"),
        ("missing bars", "crypto_com", "100 of .*every 301 bars"), ("missing bars", "kraken", ""),
    ],
    "prices_1m_stablecoins_2023-03": [
        ("idle", "binance_us", "83%"), ("thin jump", "binance_us", "on 212 at 2023-03-03T01:47"),
        ("wick", "binance_us", "1.0998 .*2023-03-10T00:46"), ("gap", "coinbase", "2023-03-04T16:59:00Z for 5.0"),
        ("wick", "USDT/USD kraken", "1.06 "),
    ],
    "prices_1h_ETH_6venues_2017-07_2018-12": [
        ("frozen", "bittrex", "61.2"), ("disagreement", "bitstamp", r"\+\d+ bps at 2017-09-22T19:00"),
        ("gap", "bitstamp", "50.4"), ("wick", "binance", "652.74 .*2017-08-17T04:00"), ("frozen", "kraken", "for 59 h"),
        ("frozen", "gemini", "for 27 h"), ("frozen", "binance", "2018-02-08T00:00:00Z for 33 h"),
    ],
    "prices_1h_EUR-USD_2017_pypi": [
        ("weekly closure", "backtestingpy", ""), ("weekly closure", "gym", ""), ("gap", "backtestingpy", "for 73 h"),
        ("gap", "gym_anytrading_ask", "2017-12-25T07:00:00Z for 15 h"),
    ],
    "prices_1h_stablecoins_cryptocompare_2023-03": [
        ("broken bar", "USDC", "^2 rows"), ("broken bar", "USDT", "^6 rows")
    ],
    "prices_5m_binance_2024-02": [],
    "oracle_rounds_chainlink_USDC_USDN_USDP": [
        ("stale answer", "USDC", "^3 rounds"), ("time twice", "USDN", "^20 "), ("time twice", "USDP", "^2 "),
        ("gap", "USDC", "39.5"), ("empty column", "volume", ""),
    ],
    "events_538_congress_2018_final": [("derived resolution", "", "48 h"), ("alike", "538_classic and 538_lite", "")],
    "events_538_governors_2018": [("derived resolution", "", "48 h"), ("alike", "538_classic and 538_deluxe", "")],
    "events_538_senate_night_2014_2016": [("derived resolution", "", "exactly 1 s")],
    "events_forecastbench_crowd_a": [("hindsight", "", "")],
    "events_manifold_trades_2022a": [("time twice", "manifold", "")],
    "events_metaculus_pros_2024Q3a_spot": [("derived resolution", "", "exactly 1 s")],
    "events_metaculus_pros_2025Q1a": [("hindsight", "", "")],
    "events_predictoor_staked_2024-07": [("leak", "payout", "who was right"), ("certainty", "", "1656")],
    "expert_mix_fr_load": [("gap", "", "36 d")],
}  # fmt: skip


@pytest.mark.parametrize("name", PRICES)
def test_report__public_file__finds_what_is_known_to_be_in_it(shared_data, name):
    made = report(load([shared_data / f"{name}.csv.gz"]))
    for check, where, what in PRICES[name]:
        hits = [hit for hit in found(made, check, where) if re.search(what, hit.what)]
        assert hits, (check, where, what, made.text())
    for never in ("time order", "duplicate rows", "copy", "clock", "zero price", "negative price", "after resolution"):
        assert not found(made, never), (never, made.text())
    assert not [hit for hit in found(made, "leak") if hit.where != "payout"]


def test_report__complete_grid__only_says_that_known_at_is_missing(shared_data):
    made = report(load([shared_data / "prices_5m_binance_2024-02.csv.gz"]))
    assert [hit.check for hit in made.findings] == ["no known_at"]


def test_report__every_form__holds_every_finding(tmp_path):
    frame = bars(400).drop(range(100, 200))
    frame.loc[5, "close"] = -1.0
    made = reported(frame, tmp_path)
    parsed = json.loads(made.to_json())
    text, page = made.text(), render(made, load([tmp_path / "frame.parquet"], "ts", 60_000_000))
    assert len(parsed["findings"]) == len(made.findings) >= 2 and parsed["counts"]["error"] == made.count("error") > 0
    for finding in made.findings:
        assert finding.what in text and finding.check in page and finding.mend.replace("'", "&#39;") in page
    assert page == render(made, load([tmp_path / "frame.parquet"], "ts", 60_000_000))


HOSTILE = '"><script>alert(1)</script>$\\frac{x}{0}$'


@pytest.mark.parametrize("shape", ["bars", "events", "table"])
def test_page__hostile_names__shown_as_text_and_nothing_is_fetched(tmp_path, shape):
    if shape == "bars":
        columns = bars(200).assign(source=HOSTILE[:60]).to_dict("list")
    elif shape == "events":
        ids = [HOSTILE] * 30
        columns = {"event_id": ids, "forecaster": ids, "ts": [1_600_000_000 + i for i in range(30)],
                   "probability": [0.5] * 30, "outcome": [1] * 30}  # fmt: skip
    else:
        columns = {HOSTILE: [float(i) for i in range(30)], "b": [1.0] * 30}
    pq.write_table(pa.table(columns), tmp_path / "x")
    made = load([tmp_path / "x"])
    page = render(report(made), made)
    assert "<script" not in page and "default-src 'none'" in page
    images = re.findall(r'src="([^"]*)"', page)
    assert images and all(image.startswith("data:image/svg+xml;base64,") for image in images)
    for image in images:
        svg = base64.b64decode(image.split(",")[1]).decode()
        assert "<script" not in svg and not re.search(r'href="http|src="http|url\(http', svg)
    assert not re.search(r'(?:href|src)="(?!data:)', page)


@given(st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")), min_size=1, max_size=3000))
def test_thinned__any_line__few_points_with_its_ends_and_extremes(values):
    import numpy as np

    line = np.array(values)
    ts, kept = thinned(np.arange(len(line)), line)
    finite = line[np.isfinite(line)]
    assert len(kept) <= max(POINTS, 0) and (np.diff(ts) > 0).all()
    if len(finite):
        assert (kept.min(), kept.max(), kept[0], kept[-1]) == (finite.min(), finite.max(), finite[0], finite[-1])


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""No shrinking: a report is slow, and the first failing one tells enough."""
CELLS = st.none() | st.floats() | st.sampled_from([0.0, -1.0, 1e300])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=PHASES)
@given(
    st.sampled_from([("open", "high", "low", "close", "volume", "extra"), ("price", "size", "known_at"), ("probability",
                     "outcome", "resolved_at", "payout"), ("a", "b")]), st.integers(1, 60), st.data()
)  # fmt: skip
def test_report__any_numbers__a_report_or_an_error_of_ours(tmp_path, names, count, data):
    columns = {name: data.draw(st.lists(CELLS, min_size=count, max_size=count)) for name in names}
    for name in ("source", "symbol", "event_id", "forecaster"):
        columns[name] = data.draw(st.lists(st.none() | st.sampled_from("ab/"), min_size=count, max_size=count))
    columns["ts"] = data.draw(st.lists(st.integers(10**9, 10**9 + 500), min_size=count, max_size=count))
    if "known_at" in columns:
        columns["known_at"] = [ts + 1 for ts in columns["ts"]]
    types = {"ts": pa.int64(), "known_at": pa.int64()} | dict.fromkeys(names, pa.float64()) if "a" not in names else {}
    kinds = [pa.int64() if name in ("ts", "known_at") else types.get(name) for name in columns]
    arrays = [pa.array(cells, kind) for cells, kind in zip(columns.values(), kinds, strict=True)]
    pq.write_table(pa.table(dict(zip(columns, arrays, strict=True))), tmp_path / "x")
    try:
        report(load([tmp_path / "x"])).to_json()
    except FeedError as error:
        assert f"{error}"


def test_load__more_cells_than_the_limit__refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_CELLS", 1000)
    pq.write_table(pa.table({"a": list(range(1001))}), tmp_path / "x")
    with pytest.raises(UnsupportedData, match="cells"):
        load([tmp_path / "x"])
