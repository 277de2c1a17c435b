"""From bytes to a report: whatever the file holds gives a report or a FeedError; the real files, with known faults."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.poisoning.inspect import inspect
from feeds.poisoning.table import forecasts_of, frames_of, holds_forecasts, read_table
from feeds.sources.source import FeedError, MalformedFile

EVENTS = (
    b"event_id,question,forecaster,ts,probability,outcome,resolved_at\n"
    b'a,"who, when\nand why",x,1700000000,0.25,0,1700000900\n'
    b"a,q,y,1700000001,0.5,0,1700000900\nb,q,x,1700000002,1,1,1700000901\n"
)
BARS = (
    b"ts,source,symbol,open,high,low,close,volume\n1700000000,v,A/B,1,1,1,1,2\n1700000060,v,A/B,1,1,1,1.5,\n"
    b"1700000000,w,A/B,1,1,1,1,0\n"
)


def report_or_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        report = inspect(path)
    except FeedError as error:
        assert str(error)
    else:
        json.dumps(report.as_json(), allow_nan=False)
        assert report.text()


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_inspect__damaged_file__report_or_feed_error(tmp_path: Path, data: st.DataObject) -> None:
    good = bytearray(data.draw(st.sampled_from([EVENTS, BARS, gzip.compress(EVENTS)])))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(good) - 1))
        cut = data.draw(st.integers(0, 3))
        good[place : place + cut] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"\n", b",", b'"', b"-", b"9e9"])
        )
        if not good:
            break
    report_or_error(tmp_path / "file", bytes(good))


@given(data=st.binary(max_size=300))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_inspect__any_bytes__report_or_feed_error(tmp_path: Path, data: bytes) -> None:
    report_or_error(tmp_path / "file", data)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"0.25", b"1.25", "probability is outside 0 to 1"),
        (b"0.25", b"nan", "probability is outside 0 to 1"),
        (b",0,1700000900\na,q,y", b",2,1700000900\na,q,y", "neither 0 nor 1"),
        (b"1700000002", b"17", "a ts is not in UTC"),
        (b"b,q,x", b",q,x", "a row has no event_id"),
        (b"outcome", b"income", "has no column outcome"),
        (b"1700000001", b"soon", "holds something that is no time"),
    ],
)
def test_forecasts_of__unsound_row__told(tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    (tmp_path / "file").write_bytes(EVENTS.replace(old, new))
    with pytest.raises(MalformedFile, match=words):
        forecasts_of(read_table(tmp_path / "file"), "file")


@pytest.mark.parametrize(("unit", "digits"), [("s", ""), ("ms", "000"), ("us", "000000")])
def test_frames_of__times_in_any_unit__the_same_bars(tmp_path: Path, unit: str, digits: str) -> None:
    (tmp_path / "file").write_bytes(BARS.replace(b"1700000000", f"1700000000{digits}".encode()).replace(
        b"1700000060", f"1700000060{digits}".encode()))  # fmt: skip
    frames = frames_of(read_table(tmp_path / "file"), "file")
    assert sorted(frames) == ["v", "w"]
    assert frames["v"]["A/B"]["ts"].tolist() == [1_700_000_000_000_000, 1_700_000_060_000_000]


def test_frames_of__quotes__minutes_with_last_price_and_sum_of_sizes(tmp_path: Path) -> None:
    rows = [(60, 1.0, 2.0), (90, 1.5, 3.0), (121, 1.25, "")]
    text = "source,symbol,price,size,ts,known_at\n" + "".join(
        f"v,A/B,{price},{size},{1_700_000_000 + 40 + at},{1_700_000_000 + 41 + at}\n" for at, price, size in rows
    )
    (tmp_path / "file").write_text(text)
    bars = frames_of(read_table(tmp_path / "file"), "file")["v"]["A/B"]
    assert bars["close"].tolist() == [1.5, 1.25] and bars["volume"].tolist()[0] == 5.0
    assert bars["volume"].isna().tolist() == [False, True]


KNOWN = {
    # file: what the checks name there, and nothing else. The first two are in its README, the third is a false alarm.
    "oracle_rounds_chainlink_USDC_USDN_USDP": {"repeated bars"},
    "events_predictoor_staked_2024-07": {"sybil forecasters"},
    "prices_1h_ETH_6venues_2017-07_2018-12": {"spikes at label times"},
}
"""Rounds that share a second with the one before; operators who stake both sides; Coinbase at the end of the day."""
QUICK = (
    "events_538_congress_2018_final", "events_538_governors_2018", "events_538_senate_night_2014_2016",
    "events_forecastbench_crowd_a", "events_manifold_trades_2022a", "events_metaculus_pros_2024Q3a_spot",
    "events_metaculus_pros_2025Q1a", "events_predictoor_staked_2024-07", "oracle_rounds_chainlink_USDC_USDN_USDP",
    "prices_1h_EUR-USD_2017_pypi", "prices_1h_stablecoins_cryptocompare_2023-03", "prices_5m_binance_2024-02",
)  # fmt: skip
SLOW = (
    "prices_1h_ETH_6venues_2017-07_2018-12", "prices_1m_BTC-USDC_2023-03", "prices_1m_BTC-USDT_2023-03",
    "prices_1m_BTC-USD_2023-03", "prices_1m_stablecoins_2023-03",
)  # fmt: skip


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.soak) for name in SLOW)])
def test_inspect__public_file__only_what_is_known_of_it(shared_data: Path, name: str) -> None:
    report = inspect(shared_data / f"{name}.csv.gz")
    assert {finding.check for finding in report.findings} == KNOWN.get(name, set()), report.text()


def test_inspect__rows_in_another_order__same_findings(shared_data: Path, tmp_path: Path) -> None:
    packed = (shared_data / "events_predictoor_staked_2024-07.csv.gz").read_bytes()
    head, *rows = gzip.decompress(packed).splitlines(keepends=True)
    random.Random(1).shuffle(rows)
    (tmp_path / "mixed.csv").write_bytes(head + b"".join(rows))
    one, other = inspect(shared_data / "events_predictoor_staked_2024-07.csv.gz"), inspect(tmp_path / "mixed.csv")
    assert one.findings == other.findings and one.findings


def test_holds_forecasts__bars_and_events__told_apart(tmp_path: Path) -> None:
    for data, expected in ((EVENTS, True), (BARS, False)):
        (tmp_path / "file").write_bytes(data)
        assert holds_forecasts(read_table(tmp_path / "file")) is expected
