"""Real cases of the public data set, replayed through source, window and fusion; skipped where it is not at hand."""

import asyncio
import json

import numpy as np
import pandas as pd
import pytest

from feeds.fuse import Fused, FusionRule, Refusal, fuse
from feeds.sources.replay import HOUR, ReplaySource, load_csv
from feeds.types import SECOND, Micros
from feeds.window import QuoteWindow

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
    """Fused answers at every bar close from `first` to `last`, by time, after a run-in of 15 bars."""
    start = Micros(first - 15 * width)
    sources = [ReplaySource(n, {rule.symbol: frame}, width, start=start) for n, frame in by_source.items()]
    window, answers = QuoteWindow(rule.history), {}
    for now in range(start, last + 1, width):
        for source in sources:
            window.add(asyncio.run(source.poll(Micros(now))))
        if now >= first:
            answers[now] = fuse(window.quotes(rule.symbol, Micros(now)), rule, Micros(now))
    return answers


def reason(answer, source):
    return dict(answer.set_aside).get(source, "").split(":")[0]


def shift_bps(answers, without):
    both = [(a.price, without[t].price) for t, a in answers.items() if isinstance(a, Fused)]
    return np.abs(np.array(both)[:, 0] / np.array(both)[:, 1] - 1) * 1e4


def test_usdc_depeg__one_direct_source__followed_to_the_low_in_the_same_minute(recorded, case):
    first, last = case("usdc_depeg")
    rule = FusionRule("USDC/USD", max_age=10 * MINUTE)
    by_source = books(recorded[COINS], "USDC/USD")
    answers = replay(by_source, rule, MINUTE, first + MINUTE, last)
    closes = by_source["kraken"].set_index("ts")["close"]
    traded = [t for t in answers if t - MINUTE in closes.index]
    assert len(traded) > 3000
    assert all(answers[t].price == closes[t - MINUTE] for t in traded)
    assert not any(isinstance(answer, Refusal) for answer in answers.values())
    assert min(answer.price for answer in answers.values()) < 0.89


def test_coinbase_outage__silent__named_as_stale_while_the_others_go_on(recorded, case):
    first, last = case("coinbase_outage")
    rule = FusionRule("BTC/USD", max_age=2 * MINUTE, min_sources=3)
    by_source = books(recorded[USD], "BTC/USD")
    answers = replay(by_source, rule, MINUTE, first - 5 * MINUTE, last + 10 * MINUTE)
    without = replay(books(recorded[USD], "BTC/USD", ["coinbase"]), rule, MINUTE, first, last)
    assert all(isinstance(answer, Fused) for answer in answers.values())
    assert "coinbase" in answers[first - 5 * MINUTE].sources
    outage = range(first + 4 * MINUTE, last, MINUTE)  # the last bar before it opens at `first`
    assert all(reason(answers[t], "coinbase") == "stale" for t in outage)
    assert all(answers[t].price == without[t].price for t in outage)
    assert "coinbase" in answers[last + 10 * MINUTE].sources


def test_crypto_com_drift__one_of_four__moves_the_price_less_than_the_others_spread(recorded, case):
    first, last = case("crypto_com_drift")
    rule = FusionRule("BTC/USD", max_age=2 * MINUTE, min_sources=2)
    days = (first, min(last, first + 24 * HOUR))
    answers = replay(books(recorded[USD], "BTC/USD"), rule, MINUTE, *days)
    without = replay(books(recorded[USD], "BTC/USD", ["crypto_com"]), rule, MINUTE, *days)
    assert all(isinstance(answer, Fused) for answer in answers.values())
    spread = np.array([3 * a.confidence / a.price * 1e4 for t, a in answers.items()])
    shifts = shift_bps(answers, without)
    print(f"crypto_com drift: shift p99 {np.percentile(shifts, 99):.1f} bps, max {shifts.max():.1f} bps")
    assert np.percentile(shifts, 99) < 20
    assert (shifts <= np.maximum(spread, 15)).mean() > 0.99
    named = [t for t, a in answers.items() if reason(a, "crypto_com") == "outlier"]
    assert len(named) > 100


def test_dead_feed__constant_at_zero_volume__stuck_in_every_minute_and_without_effect(recorded, case):
    first, _ = case("dead_feed")
    rule = FusionRule("BTC/USDC", max_age=10 * MINUTE)
    days = (first + 15 * MINUTE, first + 24 * HOUR)
    answers = replay(books(recorded[USDC], "BTC/USDC"), rule, MINUTE, *days)
    without = replay(books(recorded[USDC], "BTC/USDC", ["crypto_com"]), rule, MINUTE, *days)
    assert all(reason(answer, "crypto_com") == "stuck" for answer in answers.values())
    fused = {t: answer for t, answer in answers.items() if isinstance(answer, Fused)}
    assert len(fused) > 0.95 * len(answers)
    assert all(answer.price == without[t].price for t, answer in fused.items())


def test_fat_finger_wick__among_three_sources__set_aside(recorded, case):
    moment, _ = case("fat_finger_wick")
    by_source = books(recorded[USD], "BTC/USD", ["crypto_com", "binance_us"])
    wick = recorded[USDC]["binance_us"]["BTC/USDC"].copy()
    wick.loc[wick["ts"] == moment, "close"] = wick.loc[wick["ts"] == moment, "high"]
    assert wick.loc[wick["ts"] == moment, "close"].item() == 31_000
    close = Micros(moment + MINUTE)
    rule = FusionRule("BTC/USD", max_age=2 * MINUTE, min_sources=2)
    answer = replay({**by_source, "binance_us": wick}, rule, MINUTE, close, close)[close]
    without = replay(by_source, rule, MINUTE, close, close)[close]
    assert reason(answer, "binance_us") == "outlier"
    assert answer.price == without.price
    assert answer.sources == ("coinbase", "kraken")


def test_fat_finger_wick__two_sources_only__refused_not_averaged(recorded, case):
    moment, _ = case("fat_finger_wick")
    close = Micros(moment + MINUTE)
    wick = recorded[USDC]["binance_us"]["BTC/USDC"]
    rule = FusionRule("BTC/USD", max_age=2 * MINUTE)
    by_source = {"kraken": recorded[USD]["kraken"]["BTC/USD"], "binance_us": wick.assign(close=wick["high"])}
    answer = replay(by_source, rule, MINUTE, close, close)[close]
    assert isinstance(answer, Refusal)
    assert answer.rule == "max_dispersion"


def test_misdated_row__640_while_the_market_is_at_260__set_aside(recorded, case):
    moment, _ = case("misdated_row")
    close = Micros(moment + HOUR)
    rule = FusionRule("ETH/USD", max_age=2 * HOUR, min_sources=3, stuck_after=10 * HOUR)
    answer = replay(books(recorded[ETH], "ETH/USD"), rule, HOUR, close, close)[close]
    assert isinstance(answer, Fused)
    assert reason(answer, "bitstamp") == "outlier"
    assert 250 < answer.price < 270


@pytest.mark.parametrize(("name", "venue"), [("stale_61_days", "bittrex"), ("kraken_outage_flat", "kraken")])
def test_flat_outage__hourly__stuck_within_ten_bars_and_without_effect(recorded, case, name, venue):
    first, last = case(name)
    last = Micros(min(last, first + 72 * HOUR))
    rule = FusionRule("ETH/USD", max_age=2 * HOUR, min_sources=2, stuck_after=9 * HOUR)
    answers = replay(books(recorded[ETH], "ETH/USD"), rule, HOUR, first, last)
    without = replay(books(recorded[ETH], "ETH/USD", [venue]), rule, HOUR, first, last)
    late = [t for t in answers if t > first + 11 * HOUR]
    assert all(reason(answers[t], venue) == "stuck" for t in late)
    assert all(answers[t].price == without[t].price for t in late)
