"""From `[[sources]]` to running sources: opened, tried once, closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from feeds.fuse import Fused
from feeds.sources.adapter import AdapterSettings
from feeds.sources.http import Http
from feeds.sources.live import Live
from feeds.sources.playback import PlayedSource
from feeds.sources.replay import ReplaySource
from feeds.types import SECOND, Micros, Quote
from oracle.commands.node import _told
from oracle.config import FeedSettings
from oracle.errors import ConfigError, LocalFault
from oracle.prices import market_of
from oracle.source_settings import KINDS, LiveSettings, ReplaySettings
from oracle.sources import open_sources, try_sources
from tests.feeds.sources.hostile import HostileServer

START = 1_678_500_000


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    found = Http()
    yield found
    await found.close()


async def honest(request: web.Request) -> web.Response:
    body = await request.json()
    price = {"BTC": 20_123.5, "ETH": -1.0}.get(body["data"]["base"])
    if price is None:
        error = {"status": "errored", "statusCode": 404, "error": {"name": "E", "message": "no such pair"}}
        return web.json_response(error, status=404)
    return web.json_response({"result": price})


def live(name: str, url: str, *symbols: str) -> LiveSettings:
    return LiveSettings("adapter", AdapterSettings(name=name, url=url, symbols=symbols), 10.0)


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    rows = [f"{START + 60 * n},a,EUR/USD,1,1,1,{1.1 + n / 1000},1" for n in range(10)]
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(["ts,source,symbol,open,high,low,close,volume", *rows]) + "\n")
    return path


async def test_try_sources__each_says_what_it_has_or_why_not(http: Http, bars: Path) -> None:
    async with HostileServer(honest) as server, HostileServer(honest) as silent:
        silent.always = "hang"
        settings = [
            live("good", server.url, "BTC/USD"), live("strange", server.url, "XRP/USD"),
            live("unsound", server.url, "ETH/USD"), live("silent", silent.url, "BTC/USD"),
            live("gone", "http://127.0.0.1:9", "BTC/USD"), ReplaySettings("old", str(bars), "EUR/USD", 60),
        ]  # fmt: skip
        sources = open_sources([settings[-1]]) + open_sources(settings[:-1], http)
        asked = {trial.name: trial for trial in await try_sources(sources, patience_s=0.5)}
        lines = {name: _told(trial) for name, trial in asked.items()}
        for source in sources:
            await source.close()
    assert lines["good"] == "source good: ok, BTC/USD 20123.5" and lines["old"] == "source old: ok, recorded"
    assert "no such pair" in lines["strange"] and "price is -1.0" in lines["unsound"]
    assert lines["silent"] == "source silent: no answer within 0.5 s" and "connection failed" in lines["gone"]
    assert [name for name, trial in asked.items() if trial.fault is None] == ["old", "good"]


async def test_try_sources__source_with_a_mistake_in_its_code__is_named_and_the_others_are_asked(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch() -> list[Quote]:
        raise RuntimeError("what nobody foresaw")

    async with HostileServer(honest) as server:
        sources = open_sources([live("wrong", server.url, "BTC/USD"), live("good", server.url, "BTC/USD")], http)
        assert isinstance(sources[0], Live)
        monkeypatch.setattr(sources[0].origin, "fetch", fetch)
        wrong, good = await try_sources(sources)
        for source in sources:
            await source.close()
    assert good.fault is None and good.quotes
    assert wrong.fault is not None and "source wrong has a defect (RuntimeError in fetch" in wrong.fault


async def test_open_sources__live__quotes_after_its_first_poll_without_anybody_waiting(http: Http) -> None:
    async with HostileServer(honest) as server:
        (source,) = open_sources([live("good", server.url, "BTC/USD")], http)
        assert isinstance(source, Live) and source.symbols == ("BTC/USD",) and server.requests == 0
        now = Micros(2**52)
        assert await source.poll(now) == []
        async with asyncio.timeout(10):
            while not (quotes := await source.poll(now)):
                await asyncio.sleep(0.01)
        assert [(quote.source, quote.price) for quote in quotes] == [("good", 20_123.5)]
        await source.close()


async def test_open_sources__every_kind__is_built_and_asks_nothing(http: Http) -> None:
    address, chain = "0x" + "ab" * 20, {"symbol": "ETH/USD", "rpc_url": "http://127.0.0.1:9", "chain_id": 1}
    pool = {"pool": address, "base": address, "quote": "0x" + "cd" * 20, "min_liquidity": 1.0}
    given = {
        "exchange": {"venue": "kraken", "symbols": ("BTC/USD",)},
        "json": {"url": "http://127.0.0.1:9/", "symbols": ("BTC/USD",), "price": "$.p"},
        "adapter": {"url": "http://127.0.0.1:9/", "symbols": ("BTC/USD",)},
        "aggregator_v3": chain | {"address": address, "heartbeat_s": 60},
        "pyth": chain | {"address": address, "feed_id": "0x" + "ef" * 32},
        "uniswap_v2": chain | pool,
        "uniswap_v3": chain | pool,
        "polymarket": {"market": "m"}, "manifold": {"market": "m"}, "kalshi": {"market": "M"},
    }  # fmt: skip
    assert set(given) == set(KINDS)
    settings = [LiveSettings(kind, KINDS[kind].settings(name=kind, **keys), 1.0) for kind, keys in given.items()]
    stream = KINDS["exchange"].settings(
        name="stream", venue="kraken", symbols=("BTC/USD",), streaming=True, silence=90.0
    )
    sources = open_sources([*settings, LiveSettings("exchange", stream, 1.0)], http)
    assert [source.name for source in sources] == [*given, "stream"]
    assert all(isinstance(source, Live) and source.symbols for source in sources)
    for source in sources:
        await source.close()


def test_open_sources__live_without_the_shared_http__is_our_own_mistake() -> None:
    with pytest.raises(LocalFault, match="source good is live"):
        open_sources([live("good", "http://127.0.0.1:9", "BTC/USD")])


async def test_open_sources__played_recordings__stay_in_step_at_their_speed(bars: Path) -> None:
    played = ReplaySettings("a", str(bars), "EUR/USD", 60, START * 1000, 60.0)
    first, second, plain = open_sources([played, ReplaySettings("b", f"{bars}#a", *("EUR/USD", 60, START * 1000, 60.0)),
                                         ReplaySettings("c", f"{bars}#a", "EUR/USD", 60)])  # fmt: skip
    assert isinstance(first, PlayedSource) and isinstance(second, PlayedSource) and isinstance(plain, ReplaySource)
    now = 1_800_000_000 * SECOND
    assert await first.poll(Micros(now)) == []
    shown = [len(await source.poll(Micros(now + 3 * SECOND))) for source in (first, second)]
    assert shown == [3, 3]


def test_market_of__one_source_of_several_symbols__prices_each_feed_by_its_own_and_shows_the_legs() -> None:
    symbols = {"kraken": ("BTC/USD", "BTC/USDT", "USDT/USD"), "fx": ("EUR/USD",)}
    now = Micros(START * SECOND)
    prices = {"BTC/USD": 20_000.0, "BTC/USDT": 20_020.0, "USDT/USD": 0.999}
    for symbol, price in prices.items():
        market = market_of(FeedSettings(0, symbol, ("kraken", "fx"), 60), symbols)
        assert market.rule.expected == ("kraken",) and set(market.monitors) == {*prices, "EUR/USD"}
        market.add(Quote("kraken", other, quoted, 1.0, now, now) for other, quoted in prices.items())
        answer = market.at(now)
        assert isinstance(answer, Fused) and (answer.price, answer.sources) == (price, ("kraken",))


def test_open_sources__unknown_recording__names_what_there_is(bars: Path) -> None:
    with pytest.raises(ConfigError, match=r"source a: .*bars\.csv has no EUR/GBP of a; it holds a EUR/USD"):
        open_sources([ReplaySettings("a", str(bars), "EUR/GBP")])
