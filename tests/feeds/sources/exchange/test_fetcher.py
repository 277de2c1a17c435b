"""Exchanges over REST: what a quote is, what a depth is, and what comes of symbols, limits and broken answers."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest

from feeds.sources.exchange.client import MARKETS_AGE, RETRY_FIRST, Venue, feed_error, moved, venues
from feeds.sources.exchange.fetcher import ExchangeFetcher, ExchangeSettings
from feeds.sources.exchange.stream import ExchangeStreamer
from feeds.sources.http import Http
from feeds.sources.source import (
    BadRule,
    DepthSource,
    FeedError,
    MalformedAnswer,
    RateLimited,
    SourceUnavailable,
    UnknownSymbol,
)
from feeds.types import SECOND
from tests.feeds.sources.check_suite import LIMITS, Stage, StageTime
from tests.feeds.sources.exchange.rig_exchange import DIALECTS, settings
from tests.feeds.sources.exchange.venues import Floor
from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.mutations import mutate_json

VENUES = sorted(DIALECTS)
PATIENT = replace(LIMITS, read_s=5.0, total_s=10.0)


@asynccontextmanager
async def at(venue, *, script=(), **changes):
    """A local venue, and a fetcher that asks it."""
    dialect, prices = DIALECTS[venue]
    time = StageTime()
    api = dialect(Floor(time, **{symbol.replace("/", "_"): price for symbol, price in prices.items()}))
    async with HostileServer(api.handle, script) as server:
        http = Http(clock=time.clock, limits=PATIENT, steady=time.steady, pause=time.pause)
        fetcher = ExchangeFetcher(settings(venue, Stage(server.url, http, time), **changes), http, time.clock)
        try:
            yield api, server, fetcher
        finally:
            await fetcher.close()
            await http.close()


def btc(venue) -> str:
    return next(iter(DIALECTS[venue][1]))


async def one(fetcher, symbol):
    return next((quote for quote in await fetcher.fetch() if quote.symbol == symbol), None)


@pytest.mark.parametrize("venue", VENUES)
async def test_fetch__trades_between_looks__summed_once_at_the_newest_price(venue):
    async with at(venue) as (api, _, fetcher):
        symbol = btc(venue)
        first = await one(fetcher, symbol)
        assert (first.size, first.ts) == (0.5, api.time.now - SECOND)
        api.time.advance(5)
        api.floor.trade(symbol, 20_100.0, 2.0, ago=3 * SECOND)
        api.floor.trade(symbol, 20_200.0, 0.25, ago=2 * SECOND)
        second = await one(fetcher, symbol)
        assert (second.price, second.size, second.ts) == (20_200.0, 2.25, api.time.now - 2 * SECOND)
        assert fetcher.gate.refused.total() == 0


@pytest.mark.parametrize("venue", VENUES)
async def test_fetch__no_trade_since__last_price_size_zero_at_the_look(venue):
    async with at(venue) as (api, _, fetcher):
        await fetcher.fetch()
        api.time.advance(5)
        quote = await one(fetcher, btc(venue))
        assert (quote.size, quote.ts, quote.known_at) == (0.0, api.time.now, api.time.now)
        assert quote.price == DIALECTS[venue][1][btc(venue)]


@pytest.mark.parametrize("venue", VENUES)
async def test_fetch__trades_out_of_order_and_repeated__as_if_in_order(venue):
    async with at(venue) as (api, _, fetcher):
        symbol = btc(venue)
        market = api.floor.markets[symbol]
        await fetcher.fetch()
        api.time.advance(5)
        for age, price in ((1, 20_300.0), (4, 20_100.0), (2, 20_200.0)):
            api.floor.trade(symbol, price, 1.0, ago=age * SECOND)
        market.trades.append(market.trades[-1])
        quote = await one(fetcher, symbol)
        assert (quote.price, quote.size, quote.ts) == (20_300.0, 3.0, api.time.now - SECOND)


@pytest.mark.parametrize("venue", VENUES)
async def test_depths__honest_book__what_the_orders_on_the_way_are_worth(venue):
    async with at(venue, depth_bps=(50.0, 100.0)) as (api, _, fetcher):
        symbol = btc(venue)
        assert fetcher.depths(api.time.now) == []
        await fetcher.fetch()
        assert isinstance(fetcher, DepthSource)
        market, found = api.floor.markets[symbol], fetcher.depths(api.time.now)
        assert [(depth.symbol, depth.bps) for depth in found][:2] == [(symbol, 50.0), (symbol, 100.0)]
        mid, depth = market.price, found[1]
        assert depth.up == pytest.approx(sum(p * q for p, q in market.asks.items() if p < mid * 1.01))
        assert depth.down == pytest.approx(sum(p * q for p, q in market.bids.items() if p > mid * 0.99))
        assert (depth.source, depth.known_at, depth.lower_bound) == (venue, api.time.now, False)
        assert fetcher.depths(api.time.now - 1) == []


async def test_depths__book_too_short__a_lower_bound():
    async with at("kraken", depth_bps=(500.0,)) as (api, _, fetcher):
        await fetcher.fetch()
        depth = fetcher.depths(api.time.now)[0]
        assert depth.lower_bound
        assert depth.up == pytest.approx(sum(p * q for p, q in api.floor.markets[depth.symbol].asks.items()))


async def test_depths__crossed_book__refused_and_not_known_any_more():
    async with at("kraken") as (api, _, fetcher):
        await fetcher.fetch()
        api.floor.markets["BTC/USD"].bids[30_000.0] = 1.0
        api.time.advance(31)
        assert await one(fetcher, "BTC/USD") is not None
        assert fetcher.gate.refused["book"] == 1
        assert {depth.symbol for depth in fetcher.depths(api.time.now)} == {"ETH/USD"}


async def test_books__between_two_looks__asked_for_no_oftener_than_set():
    async with at("binance", book_every=30.0) as (api, server, fetcher):
        for _ in range(4):
            await fetcher.fetch()
            api.time.advance(10)
        assert sum("/depth" in path for path in server.seen) == 4  # two markets, at 0 and at 30 seconds


async def test_fetch__mid__the_middle_of_the_book_without_a_size():
    async with at("coinbase", price="mid") as (api, server, fetcher):
        quote = await one(fetcher, "BTC/USD")
        market = api.floor.markets["BTC/USD"]
        assert quote.price == pytest.approx((max(market.bids) + min(market.asks)) / 2) and quote.size is None
        assert not any("/ticker" in path for path in server.seen)


@pytest.mark.parametrize("venue", VENUES)
async def test_symbols__delisted__named_with_its_neighbours_and_found_again(venue):
    async with at(venue) as (api, _, fetcher):
        symbol = btc(venue)
        api.floor.markets[symbol].active = False
        assert await one(fetcher, symbol) is None
        assert symbol in fetcher.troubles[symbol] and "mend" in fetcher.troubles[symbol]
        api.floor.markets[symbol].active = True
        api.time.advance(RETRY_FIRST / SECOND + 1)
        assert await one(fetcher, symbol) is not None
        assert fetcher.troubles == {}


async def test_symbols__renamed__unknown_symbol_with_near_matches_and_the_others_go_on():
    async with at("binance", symbols=("MATIC/USDT", "BTC/USDT")) as (api, _, fetcher):
        api.floor.list("MATIC/USDT", 1.0)
        assert await one(fetcher, "MATIC/USDT") is not None
        del api.floor.markets["MATIC/USDT"]
        api.floor.list("MATIX/USDT", 1.0)
        quotes = await fetcher.fetch()
        assert {quote.symbol for quote in quotes} == {"BTC/USDT"}
        assert "not traded" in fetcher.troubles["MATIC/USDT"]
        api.time.advance(RETRY_FIRST / SECOND + 1)
        await fetcher.fetch()
        assert "MATIX/USDT" in fetcher.troubles["MATIC/USDT"]


async def test_symbols__none_is_traded__unknown_symbol_raised():
    async with at("kraken", symbols=("BTC/USDT",)) as (_, server, fetcher):
        for _ in range(2):
            with pytest.raises(UnknownSymbol, match="BTC/USD") as error:
                await fetcher.fetch()
        assert error.value.symbol == "BTC/USDT" and "BTC/USD" in error.value.near
        assert server.requests == 1, "asked again before the time"


async def test_markets__kept_and_read_again_by_age():
    async with at("kraken", book_every=0.0) as (api, server, fetcher):
        await fetcher.fetch()
        await fetcher.fetch()
        assert sum("AssetPairs" in path for path in server.seen) == 1
        api.time.advance(MARKETS_AGE / SECOND + 1)
        await fetcher.fetch()
        assert sum("AssetPairs" in path for path in server.seen) == 2


async def test_fetch__429__rate_limited_until_the_time_it_asked_for():
    async with at("kraken", book_every=0.0) as (api, server, fetcher):
        await fetcher.fetch()
        server.always = "429_seconds"
        with pytest.raises(RateLimited) as error:
            await fetcher.fetch()
        assert error.value.retry_at > api.time.now
        server.always, asked = None, server.requests
        with pytest.raises(RateLimited):
            await fetcher.fetch()
        assert server.requests == asked


@pytest.mark.parametrize(
    ("venue", "status", "answer", "expected"),
    [
        ("kraken", 200, {"error": ["EAPI:Rate limit exceeded"]}, RateLimited),
        ("kraken", 200, {"error": ["EService:Unavailable"]}, SourceUnavailable),
        ("kraken", 200, {"error": ["EGeneral:Internal error"]}, SourceUnavailable),
        ("kraken", 200, {"error": [], "result": {}}, MalformedAnswer),
        ("kraken", 200, {"error": [], "result": {"XXBTZUSD": 7}}, MalformedAnswer),
        ("binance", 418, {"code": -1003, "msg": "Way too many requests; IP banned"}, RateLimited),
        ("binance", 400, {"code": -1000, "msg": "An unknown error occurred"}, SourceUnavailable),
        ("binance", 200, {"code": -1000}, SourceUnavailable),
        ("coinbase", 403, {"error": "PERMISSION_DENIED"}, SourceUnavailable),
        ("coinbase", 404, [], SourceUnavailable),
    ],
)
async def test_fetch__venues_own_errors__the_right_feed_error(venue, status, answer, expected):
    async with at(venue, symbols=(btc(venue),)) as (api, _, fetcher):
        await fetcher.fetch()
        api.rest = lambda path, query: (status, answer)
        with pytest.raises(FeedError) as error:
            await fetcher.fetch()
        assert type(error.value) is expected, repr(error.value)


@pytest.mark.parametrize("venue", VENUES)
async def test_parsers__mutated_answers__sound_quotes_or_feed_errors(venue):
    """Fuzz: every answer of the venue, the list of markets included, with mutations that are still JSON."""
    rng = Random(venue)
    async with at(venue, symbols=(btc(venue),), book_every=0.001) as (api, _, fetcher):
        sound = api.rest

        def mutated(path, query):
            status, answer = sound(path, query)
            if rng.random() < 0.3:
                return status, answer
            try:
                return status, json.loads(mutate_json(json.dumps(answer).encode(), rng))
            except ValueError:
                return status, answer

        api.rest, quotes = mutated, []
        for _ in range(150):
            api.time.advance(20)
            try:
                quotes += await fetcher.fetch()
            except FeedError:
                continue
        assert all(quote.price > 0 and quote.known_at <= api.time.now for quote in quotes)
        api.rest = sound
        api.time.advance(700)
        assert await fetcher.fetch()


GOOD = {"name": "k", "venue": "kraken", "symbols": ("BTC/USD",)}


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", ""), ("name", "a\n"), ("venue", "krakken"), ("venue", "../evil"), ("symbols", ()),
        ("symbols", ("BTC/USD", "BTC/USD")), ("symbols", ("BTC",)), ("symbols", ("BTC/USDT:USDT",)),
        ("price", "last"), ("trades", 0), ("trades", 5000), ("book_every", -1.0), ("book_every", float("nan")),
        ("book_levels", 0), ("depth_bps", ()), ("depth_bps", (0.0,)), ("depth_bps", (1.0,) * 9), ("fold", 0.0),
        ("silence", 0.0), ("request_gap", -0.1), ("url", "file:///etc/passwd"), ("url", "http://host/path"),
    ],
)  # fmt: skip
def test_settings__out_of_range__bad_rule_names_the_field(field, given):
    with pytest.raises(BadRule, match=field):
        ExchangeSettings(**{**GOOD, field: given})


def test_settings__streaming_and_fetcher_mixed_up__bad_rule():
    http = Http()
    with pytest.raises(BadRule, match="streaming"):
        ExchangeFetcher(ExchangeSettings(**GOOD, streaming=True), http)
    with pytest.raises(BadRule, match="streaming"):
        ExchangeStreamer(ExchangeSettings(**GOOD), http)


def test_venues__installed_ccxt__as_ccxt_itself_says():
    import ccxt.async_support
    import ccxt.pro

    assert set(ccxt.async_support.exchanges) <= venues()
    assert set(ccxt.pro.exchanges) <= venues(streaming=True)


@pytest.mark.parametrize("venue", VENUES)
async def test_moved__url_of_a_mirror__no_address_of_the_venue_left(venue):
    time = StageTime()
    wanted = Venue(venue, "v", ("BTC/USD",), Http(), time.clock, streaming=True, url="http://127.0.0.1:9")
    found = json.dumps(wanted._build().urls["api"])
    assert "https://" not in found and "wss://" not in found


def test_moved__what_is_no_address__as_it_was():
    assert moved({"a": None, "b": "wss://x.com:9443/ws"}, "https://m.org") == {"a": None, "b": "wss://m.org/ws"}


def test_feed_error__every_error_of_ccxt__a_feed_error():
    import ccxt

    kinds = [kind for name in ccxt.errors.__all__ if isinstance(kind := getattr(ccxt, name, None), type)]
    assert len(kinds) > 30
    for kind in kinds:
        found = feed_error("v", kind("no\x00 " + "x" * 1000), StageTime().now)
        assert isinstance(found, SourceUnavailable) and len(str(found)) < 400 and "\x00" not in str(found)
        assert isinstance(found, RateLimited) is (kind in (ccxt.RateLimitExceeded, ccxt.DDoSProtection))
