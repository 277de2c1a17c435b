"""Real cases of the public data set, replayed through source, window and fusion; skipped where it is not at hand."""

import asyncio
import json

import numpy as np
import pandas as pd
import pytest

from feeds.fuse import Fused, FusionRule, Refusal
from feeds.monitor import Monitor
from feeds.sources.replay import HOUR, ReplaySource, load_csv
from feeds.types import SECOND, Micros

MINUTE = 60 * SECOND
USD, USDC, COINS, ETH = (
    "prices_1m_BTC-USD_2023-03",
    "prices_1m_BTC-USDC_2023-03",
    "prices_1m_stablecoins_2023-03",
    "prices_1h_ETH_6venues_2017-07_2018-12",
)


@pytest.fixture(scope="module")
def recorded(shared_data):
    return {name: load_csv(shared_data / f"{name}.csv.gz") for name in (USD, USDC, COINS, ETH)}


@pytest.fixture(scope="module")
def case(shared_data):
    listed = {row["id"]: row for row in json.loads((shared_data / "scenarios.json").read_text())}
    return lambda name: (Micros(listed[name]["start"] * SECOND), Micros(listed[name]["end"] * SECOND))


def at(text):
    return Micros(pd.Timestamp(text, tz="UTC").value // 1000)


def books(frames, symbol, without=()):
    return {name: by[symbol] for name, by in frames.items() if symbol in by and name not in without}


def replay(by_source, rule, width, first, last):
    """Fused answers at every bar close from `first` to `last`, by time, after a run-in of 120 bars."""
    start = Micros(first - 120 * width)
    sources = [ReplaySource(n, {rule.symbol: frame}, width, start=start) for n, frame in by_source.items()]
    monitor, answers = Monitor(rule), {}
    for now in range(start, last + 1, width):
        for source in sources:
            monitor.add(asyncio.run(source.poll(Micros(now))))
        answer = monitor.at(Micros(now))
        if now >= first:
            answers[now] = answer
    return answers


def reason(answer, source):
    return dict(answer.set_aside).get(source, "").split(":")[0]


def shift_bps(answers, without):
    both = [(a.price, without[t].price) for t, a in answers.items() if isinstance(a, Fused)]
    return np.abs(np.array(both)[:, 0] / np.array(both)[:, 1] - 1) * 1e4


def test_usdc_depeg__one_direct_source__followed_to_the_low_in_the_same_minute(recorded, case):
    first, last = case("usdc_depeg")
    rule = FusionRule("USDC/USD", max_age=10 * MINUTE, slot=MINUTE)
    by_source = books(recorded[COINS], "USDC/USD")
    answers = replay(by_source, rule, MINUTE, first + MINUTE, last)
    closes = by_source["kraken"].set_index("ts")["close"]
    traded = [t for t in answers if t - MINUTE in closes.index]
    assert len(traded) > 3000
    assert all(answers[t].price == closes[t - MINUTE] for t in traded)
    assert not any(isinstance(answer, Refusal) for answer in answers.values())
    assert min(answer.price for answer in answers.values()) < 0.89


def test_coinbase_outage__silent__named_dead_while_the_others_go_on(recorded, case):
    first, last = case("coinbase_outage")
    rule = FusionRule("BTC/USD", max_age=2 * MINUTE, min_sources=3, slot=MINUTE)
    answers = replay(books(recorded[USD], "BTC/USD"), rule, MINUTE, first - 5 * MINUTE, last + 10 * MINUTE)
    without = replay(books(recorded[USD], "BTC/USD", ["coinbase"]), rule, MINUTE, first, last)
    assert all(isinstance(answer, Fused) for answer in answers.values())
    assert "coinbase" in answers[first - 5 * MINUTE].sources
    assert reason(answers[first + 12 * MINUTE], "coinbase") == "dead"
    outage = range(first + 4 * MINUTE, last, MINUTE)  # the last bar before it opens at `first`
    assert {reason(answers[t], "coinbase") for t in outage} == {"stale", "dead"}
    assert all(answers[t].price == without[t].price for t in outage)
    assert "coinbase" in answers[last + 10 * MINUTE].sources


def test_crypto_com_drift__one_of_four__moves_the_price_less_than_the_others_spread(recorded, case):
    first, last = case("crypto_com_drift")
    rule = FusionRule("BTC/USD", max_age=10 * MINUTE, min_sources=2, slot=MINUTE)
    days = (first, min(last, first + 24 * HOUR))
    answers = replay(books(recorded[USD], "BTC/USD"), rule, MINUTE, *days)
    without = replay(books(recorded[USD], "BTC/USD", ["crypto_com"]), rule, MINUTE, *days)
    assert all(isinstance(answer, Fused) for answer in answers.values())
    shifts = shift_bps(answers, without)
    print(f"crypto_com drift: shift p99 {np.percentile(shifts, 99):.1f} bps, max {shifts.max():.1f} bps")
    assert np.percentile(shifts, 99) < 10
    named = [t for t, a in answers.items() if reason(a, "crypto_com") == "drifting"]
    assert len(named) > 1000


def test_dead_feed__constant_at_zero_volume__never_counts(recorded, case):
    first, _ = case("dead_feed")
    rule = FusionRule("BTC/USDC", max_age=10 * MINUTE, slot=MINUTE)
    days = (first, first + 24 * HOUR)
    answers = replay(books(recorded[USDC], "BTC/USDC"), rule, MINUTE, *days)
    without = replay(books(recorded[USDC], "BTC/USDC", ["crypto_com"]), rule, MINUTE, *days)
    assert {reason(answer, "crypto_com") for t, answer in answers.items() if t > first + 2 * MINUTE} >= {"frozen"}
    assert all(reason(a, "crypto_com") == "frozen" for t, a in answers.items() if t > first + HOUR and len(a.sources))
    fused = {t: answer for t, answer in answers.items() if isinstance(answer, Fused)}
    assert len(fused) > 0.95 * len(answers)
    assert all(answer.price == without[t].price for t, answer in fused.items())


@pytest.mark.parametrize("beside", [("coinbase", "kraken"), ("kraken",)])
def test_fat_finger_wick__on_large_volume__held_while_another_source_stands(recorded, case, beside):
    moment, _ = case("fat_finger_wick")
    wick = recorded[USDC]["binance_us"]["BTC/USDC"].copy()
    wick.loc[wick["ts"] == moment, "close"] = wick.loc[wick["ts"] == moment, "high"]
    assert wick.loc[wick["ts"] == moment, "close"].item() == 31_000
    by_source = {name: recorded[USD][name]["BTC/USD"] for name in beside}
    close = Micros(moment + MINUTE)
    rule = FusionRule("BTC/USD", max_age=2 * MINUTE)
    answer = replay({**by_source, "binance_us": wick}, rule, MINUTE, close, close)[close]
    without = replay(by_source, rule, MINUTE, close, close)[close]
    assert reason(answer, "binance_us") == "jump"
    assert (answer.price, answer.sources) == (without.price, beside)


def test_thin_venue_spike__lone_source_on_little_volume__held_at_the_price_before(recorded, case):
    first, last = case("thin_venue_spike")
    rule = FusionRule("USDC/USDT", max_age=10 * MINUTE, slot=MINUTE)
    answers = replay(books(recorded[COINS], "USDC/USDT"), rule, MINUTE, first + MINUTE, last + MINUTE)
    fused = [answer for answer in answers.values() if isinstance(answer, Fused)]
    assert min(answer.price for answer in fused) > 0.999
    assert any(flag.startswith("held") for answer in fused for flag in answer.flags)


def test_misdated_row__640_while_the_market_is_at_260__set_aside(recorded, case):
    moment, _ = case("misdated_row")
    close = Micros(moment + HOUR)
    rule = FusionRule("ETH/USD", max_age=2 * HOUR, min_sources=3, slot=HOUR)
    answer = replay(books(recorded[ETH], "ETH/USD"), rule, HOUR, close, close)[close]
    assert isinstance(answer, Fused)
    assert reason(answer, "bitstamp") == "jump"
    assert 250 < answer.price < 270


@pytest.mark.parametrize(("name", "venue"), [("stale_61_days", "bittrex"), ("kraken_outage_flat", "kraken")])
def test_flat_outage__hourly__frozen_within_ten_bars_and_without_effect(recorded, case, name, venue):
    first, last = case(name)
    last = Micros(min(last, first + 72 * HOUR))
    rule = FusionRule("ETH/USD", max_age=10 * HOUR, min_sources=2, slot=HOUR)
    answers = replay(books(recorded[ETH], "ETH/USD"), rule, HOUR, first, last)
    without = replay(books(recorded[ETH], "ETH/USD", [venue]), rule, HOUR, first, last)
    late = [t for t in answers if t > first + 11 * HOUR]
    assert all(reason(answers[t], venue) == "frozen" for t in late)
    assert all(answers[t].price == without[t].price for t in late)
