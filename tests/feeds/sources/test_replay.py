import gzip
import math
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources import replay
from feeds.sources.replay import (
    EURUSD,
    HOUR,
    ReplaySource,
    common_hours,
    eurusd_sources,
    load_csv,
    load_embedded_eurusd,
    parse_csv,
    parse_hourly,
)  # fmt: skip
from feeds.sources.source import BadRule, FeedError, MalformedFile, MissingData, Source, SourceClosed
from feeds.types import SECOND, Micros

T0 = 1_678_500_000 * SECOND
MINUTE = 60 * SECOND
HEADER = b"ts,source,symbol,open,high,low,close,volume\n"
ROW = b"1677628800,kraken,BTC/USD,1.0,2.0,0.5,1.5,10.0\n"
HOURLY_HEADER = b"Time,Open,High,Low,Close,Volume\n"
HOURLY_ROW = b"2017-04-19 09:00:00,1.0716,1.0722,1.07083,1.07219,1413\n"


def bars(closes, volumes=None):
    count = len(closes)
    prices = {name: np.array(closes, float) for name in ("open", "high", "low", "close")}
    volume = np.ones(count) if volumes is None else np.array(volumes, float)
    return pd.DataFrame({"ts": T0 + MINUTE * np.arange(count, dtype=np.int64), **prices, "volume": volume})


def at(text):
    return Micros(pd.Timestamp(text, tz="UTC").value // 1000)


@pytest.fixture(scope="module")
def embedded():
    return load_embedded_eurusd()


async def test_replay__bar__shown_once_when_it_closes():
    source = ReplaySource("s", {"A/B": bars([1, 2, 3])}, MINUTE, delay=SECOND)
    assert isinstance(source, Source)
    assert await source.poll(Micros(T0 + MINUTE)) == []
    (first,) = await source.poll(Micros(T0 + MINUTE + SECOND))
    assert (first.price, first.ts, first.known_at) == (1.0, T0 + MINUTE, T0 + MINUTE + SECOND)
    assert await source.poll(Micros(T0)) == []
    assert source.next_known_at() == T0 + 2 * MINUTE + SECOND
    assert [q.price for q in await source.poll(Micros(T0 + 9 * MINUTE))] == [2.0, 3.0]
    assert source.next_known_at() is None


@given(st.lists(st.integers(-5, 70), max_size=20), st.integers(1, 30), st.integers(0, 90))
async def test_replay__any_polls__no_quote_early_twice_or_lost(polls, count, delay):
    source = ReplaySource("s", {"A/B": bars(range(1, count + 1))}, MINUTE, delay=delay * SECOND)
    seen = []
    for minute in polls:
        found = await source.poll(Micros(T0 + minute * MINUTE))
        assert all(q.known_at <= T0 + minute * MINUTE for q in found)
        seen += found
    seen += await source.poll(Micros(T0 + 1000 * MINUTE))
    assert [q.price for q in seen] == list(range(1, count + 1))


async def test_replay__unsound_rows__refused_counted_the_others_kept():
    frame = bars([1, math.nan, -3, math.inf, 5, 6], [1, 1, 1, 1, -1, math.nan])
    source = ReplaySource("s", {"A/B": frame}, MINUTE)
    found = await source.poll(Micros(T0 + HOUR))
    assert [(q.price, q.size) for q in found] == [(1.0, 1.0), (6.0, None)]
    assert source.refused == {"price": 3, "size": 1}


async def test_replay__two_symbols_unsorted__in_order_of_time():
    source = ReplaySource("s", {"X": bars([1, 2])[::-1], "Y": bars([3, 4])}, MINUTE)
    found = await source.poll(Micros(T0 + HOUR))
    assert source.symbols == ("X", "Y")
    assert [(q.symbol, q.price) for q in found] == [("X", 1.0), ("Y", 3.0), ("X", 2.0), ("Y", 4.0)]


async def test_replay__start__earlier_rows_never_shown():
    source = ReplaySource("s", {"X": bars([1, 2, 3])}, MINUTE, start=Micros(T0 + 2 * MINUTE))
    assert [q.price for q in await source.poll(Micros(T0 + HOUR))] == [2.0, 3.0]


async def test_replay__closed__poll_raises():
    source = ReplaySource("s", {"X": bars([1])}, MINUTE)
    await source.close()
    await source.close()
    with pytest.raises(SourceClosed):
        await source.poll(Micros(T0))


def test_replay__bad_settings__raise():
    with pytest.raises(BadRule, match="width"):
        ReplaySource("s", {"X": bars([1])}, -1)
    with pytest.raises(MissingData, match="column bid"):
        ReplaySource("s", {"X": bars([1])}, MINUTE, price="bid")
    with pytest.raises(MissingData, match="any symbol"):
        ReplaySource("s", {}, MINUTE)


def test_embedded__both_series__4356_common_hours(embedded):
    assert {name: len(frame) for name, frame in embedded.items()} == {"gym_anytrading_ask": 6225, "backtestingpy": 5000}
    common = common_hours(embedded)
    assert (len(common), common[0], common[-1]) == (4356, at("2017-04-19 09:00"), at("2017-12-29 21:00"))
    for frame in embedded.values():
        assert list(frame.columns) == ["ts", "open", "high", "low", "close", "volume"]
        assert frame["ts"].dtype == np.int64


def test_embedded__time_stamps__are_bar_opens_on_one_utc_clock(embedded):
    closes = [frame.set_index("ts")["close"].loc[common_hours(embedded)] for frame in embedded.values()]
    one, other = (np.diff(np.log(close.to_numpy())) for close in closes)
    assert np.corrcoef(one, other)[0, 1] > 0.999
    assert abs(np.corrcoef(one[1:], other[:-1])[0, 1]) < 0.05
    assert np.max(np.abs(closes[0] / closes[1] - 1)) < 3.3e-4
    for frame in embedded.values():
        stamps = set(frame["ts"])
        # the market shuts on Friday and opens on Sunday at 17:00 New York, 21:00 UTC in summer
        assert at("2017-09-15 20:00") in stamps
        assert at("2017-09-15 21:00") not in stamps
        assert at("2017-09-17 20:00") not in stamps
        assert at("2017-09-17 21:00") in stamps
        # the ECB spoke at 11:45 UTC on 26 October: the bar that holds this moment is labelled 11:00
        by_time = frame.set_index("ts")
        moved = (by_time["high"] - by_time["low"]) / by_time["open"]
        assert moved[at("2017-10-26 11:00")] > 3 * moved[at("2017-10-26 10:00")]


async def test_embedded__as_sources__quotes_at_the_close(embedded):
    sources = eurusd_sources(at("2017-10-26 12:00"))
    found = [await source.poll(at("2017-10-26 12:00")) for source in sources]
    assert [[(q.source, q.price, q.ts) for q in quotes] for quotes in found] == [
        [("gym_anytrading_ask", 1.17687, at("2017-10-26 12:00"))],
        [("backtestingpy", 1.17687, at("2017-10-26 12:00"))],
    ]


def test_embedded__package_missing__says_what_to_install(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(replay.metadata, "distribution", missing)
    with pytest.raises(MissingData, match=r"gym-anytrading==2\.0\.0 .*pip install 'dodona\[demo\]'"):
        load_embedded_eurusd()


def test_embedded__another_version__says_which_is_meant(monkeypatch):
    real = metadata.distribution("pytest")
    monkeypatch.setattr(replay.metadata, "distribution", lambda name: real)
    with pytest.raises(MissingData, match=r"==2\.0\.0 not found in this environment \(.* is\)"):
        load_embedded_eurusd()


def test_embedded__file_altered__refused(monkeypatch):
    genuine = replay._file_of
    monkeypatch.setattr(replay, "_file_of", lambda *names: genuine(*names) + b"\n")
    with pytest.raises(MalformedFile, match="not that of the release; pip install --force-reinstall"):
        load_embedded_eurusd()


def test_embedded__public_data_set__holds_the_same_bars(embedded, shared_data):
    recorded = load_csv(shared_data / "prices_1h_EUR-USD_2017_pypi.csv.gz")
    for name, frame in embedded.items():
        pd.testing.assert_frame_equal(recorded[name][EURUSD], frame)


def test_load_csv__plain_and_gzip__told_by_content(tmp_path):
    for name, data in (("a.csv.gz", HEADER + ROW), ("b.csv", gzip.compress(HEADER + ROW))):
        (tmp_path / name).write_bytes(data)
        frame = load_csv(tmp_path / name)["kraken"]["BTC/USD"]
        assert frame.to_dict("records") == [
            {"ts": 1677628800 * SECOND, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10.0}
        ]


def test_load_csv__no_file__raises_missing_data(tmp_path):
    with pytest.raises(MissingData, match="check the path"):
        load_csv(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "data",
    [
        b"", HEADER, HEADER + ROW[:30], HEADER.replace(b"close", b"shut") + ROW, HEADER + ROW.replace(b"1.5", b"x"),
        HEADER + ROW.replace(b"1677628800", b"1677628800000"), HEADER + ROW.replace(b"1677628800", b""),
        HEADER + ROW.replace(b"kraken", b""), HEADER + ROW.replace(b"kraken", b"\xff\xfe"),
        gzip.compress(HEADER + ROW)[:-9], gzip.compress(HEADER + ROW) + b"more", b"\x1f\x8b" + ROW,
    ],
)  # fmt: skip
def test_parse_csv__damaged__raises_malformed_file(data):
    with pytest.raises(MalformedFile, match=r"^f\.csv"):
        parse_csv(data, "f.csv")


async def test_parse_csv__empty_price_and_volume__left_to_the_gate():
    frames = parse_csv(HEADER + ROW.replace(b"1.5", b"") + ROW.replace(b"10.0", b""), "f.csv")
    source = ReplaySource("kraken", frames["kraken"], MINUTE)
    assert [q.size for q in await source.poll(Micros(T0 + HOUR))] == [None]
    assert source.refused == {"price": 1}


@pytest.mark.parametrize(
    "rows",
    [
        [b"2017-04-19 09:30:00,1,1,1,1,1\n"], [HOURLY_ROW, HOURLY_ROW], [b"2017-04-19 09:00:00,1,1,1,2,1\n"],
        [b"2017-04-19 09:00:00,1,1,0.5,0.4,1\n"], [b"19.04.2017 09:00:00,1,1,1,1,1\n"], [b",1,1,1,1,1\n"],
        [b"2017-04-19 09:00:00,1,1,nan,1,1\n"], [b"2017-04-19 09:00:00,1,1,1,1,-1\n"], [b"2017-04-19 09:00:00,1,1,1\n"],
        [b"2017-04-19 09:00:00,0,0,0,0,1\n"], [],
    ],
)  # fmt: skip
def test_parse_hourly__unsound_bar__raises_malformed_file(rows):
    with pytest.raises(MalformedFile):
        parse_hourly(HOURLY_HEADER + b"".join(rows), "f.csv", "Time", "%Y-%m-%d %H:%M:%S")


@st.composite
def damaged(draw, whole):
    """A sound file with some bytes replaced, dropped or put in; or any bytes at all."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 12))] = draw(
            st.binary(max_size=6) | st.sampled_from([b",", b"\n", b'"'])
        )
    return bytes(data)


@given(damaged(HEADER + ROW * 3) | damaged(gzip.compress(HEADER + ROW * 3, mtime=0)) | damaged(ROW).map(gzip.compress))
def test_parse_csv__any_bytes__frames_or_feed_error(data):
    try:
        frames = parse_csv(data, "f.csv")
    except FeedError:
        return
    assert all(len(frame) for by_symbol in frames.values() for frame in by_symbol.values())


@given(damaged(HOURLY_HEADER + HOURLY_ROW + HOURLY_ROW.replace(b"09:", b"10:")))
def test_parse_hourly__any_bytes__bars_or_feed_error(data):
    try:
        frame = parse_hourly(data, "f.csv", "Time", "%Y-%m-%d %H:%M:%S")
    except FeedError:
        return
    assert (frame[["open", "high", "low", "close"]] > 0).all(axis=None)
    assert (np.diff(frame["ts"]) > 0).all()
