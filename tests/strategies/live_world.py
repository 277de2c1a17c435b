"""Venues, a price API and a devnet on the system clock whose nodes ask them: the whole path with live sources.

Why this file exists: a node that asks real servers at real times meets what no stepped clock shows. Every venue speaks
its exchange's own wire format (`tests/feeds/sources/exchange/venues*.py`) behind a `HostileServer` on 127.0.0.1.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from feeds.sources.exchange.fetcher import ExchangeSettings
from feeds.sources.json_api import JsonApiSettings
from feeds.sources.onchain.aggregator_v3 import AggregatorV3Settings
from feeds.types import Micros
from oracle.chain.deploy import Timing
from oracle.config import FeedSettings, LocalConfig
from oracle.consensus.network import FeedId, FeedKind, FeedSpec
from oracle.consensus.words import FeedWord, unpack_word
from oracle.devnet import Devnet, NodePlan, Transmission
from oracle.source_settings import LiveSettings
from tests.feeds.sources.check_suite import StageTime
from tests.feeds.sources.exchange.venues import Dialect, Floor
from tests.feeds.sources.exchange.venues_binance import Binance
from tests.feeds.sources.exchange.venues_coinbase import Coinbase
from tests.feeds.sources.exchange.venues_kraken import Kraken
from tests.feeds.sources.hostile import Honest, HostileServer

PRICE = 20_000.0
EVERY_S = 0.3
PAIR, CROSS, LEG = "BTC/USD", "BTC/USDT", "USDT/USD"
VENUES: dict[str, tuple[type[Dialect], tuple[str, ...]]] = {
    "binance": (Binance, (PAIR, CROSS)),
    "kraken": (Kraken, (PAIR, LEG)),
    "coinbase": (Coinbase, (PAIR,)),
}
"""Venue -> how it speaks and what it trades: three direct markets and a cross. Coinbase is streamed."""
SOURCES = (*VENUES, "api")
DECIMALS = 8
FEEDS = (
    FeedSettings(0, PAIR, SOURCES, max_age_s=10, min_sources=2),
    FeedSettings(1, PAIR, ("chain",), max_age_s=60),
)
"""The venues' price, and the same read back from the first feed's contract."""


class RealTime(StageTime):
    """A stage's time that is the machine's."""

    @property  # type: ignore[override]
    def now(self) -> Micros:
        return Micros(time.time_ns() // 1000)

    @now.setter
    def now(self, _now: Micros) -> None:
        """Nobody sets the machine's time."""


class World:
    """Three exchanges and a price API; what a venue suffers is set at `servers[name].always`."""

    def __init__(self) -> None:
        clock = RealTime()
        self._api_price = PRICE
        self._floors = {name: Floor(clock) for name in VENUES}
        for name, (_, symbols) in VENUES.items():
            for symbol in symbols:
                market = self._floors[name].list(symbol, 1.0 if symbol == LEG else PRICE)
                if symbol == LEG:
                    market.bids, market.asks = {0.99: 1e6}, {1.01: 1e6}
        self.servers: dict[str, HostileServer] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[World]:
        async with AsyncExitStack() as stack:
            for name, (dialect, _) in VENUES.items():
                server = HostileServer(trading(self._floors[name], dialect(self._floors[name])))
                self.servers[name] = await stack.enter_async_context(server)
            self.servers["api"] = await stack.enter_async_context(HostileServer(self._quote))
            yield self

    def trade_at(self, price: float, *names: str) -> None:
        """From now on bitcoin costs so much at these venues, at all if none is named."""
        for name in names or SOURCES:
            if name == "api":
                self._api_price = price
                continue
            for symbol, market in self._floors[name].markets.items():
                market.price = market.price if symbol == LEG else price

    async def _quote(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": {"price": str(self._api_price), "ts": time.time_ns() // 10**6}})

    def sources(self) -> tuple[LiveSettings, ...]:
        """`[[sources]]` of a node that asks all of them."""
        found = []
        for name, (_, symbols) in VENUES.items():
            origin = ExchangeSettings(
                name, name, symbols, url=self.servers[name].url, request_gap=0.01, streaming=name == "coinbase",
                fold=0.2, silence=5.0,
            )  # fmt: skip
            found.append(LiveSettings("exchange", origin, EVERY_S))
        api = JsonApiSettings(
            "api", self.servers["api"].url + "/{code}", (PAIR,), "$.data.price", time="$.data.ts", time_unit="ms",
            every_s=EVERY_S, rate=50.0,
        )  # fmt: skip
        return (*found, LiveSettings("json", api, EVERY_S))


def trading(floor: Floor, dialect: Dialect) -> Honest:
    """The venue, where somebody trades in each market just before each look at it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        for market in floor.markets.values():
            floor.trade(market.symbol, market.price, 0.5)
            del market.trades[:-100]
        return await dialect.handle(request)

    return handle


def spec(number: int, heartbeat: int) -> FeedSpec:
    """A price feed that is to land every `heartbeat` seconds."""
    return FeedSpec(
        FeedId(number), FeedKind.PRICE, DECIMALS, 0, b"BTC".ljust(32, b"\0"), b"USD".ljust(32, b"\0"), 0, heartbeat,
        5_000, 1, 10**15, 20_000, 100_000, 40_000, 1, 1, 10_000, bytes(32), bytes(32),
    )  # fmt: skip


def words(landed: Transmission) -> list[FeedWord]:
    """What a transmission says of each feed."""
    return [unpack_word(word) for word in landed.words[: len(FEEDS)]]


class LiveDevnet(Devnet):
    """A devnet whose nodes also read the first feed back from its contract, as another oracle's AggregatorV3."""

    def __init__(self, folder: Path, world: World, slot_seconds: int, stakes: tuple[int, ...]) -> None:
        timing = Timing(slot_seconds, 15 * slot_seconds, 150 * slot_seconds, 300 * slot_seconds, 0, 1)
        plan = NodePlan(world.sources(), FEEDS)
        feeds = [spec(feed.number, slot_seconds) for feed in FEEDS]
        super().__init__(folder, feeds, [plan] * len(stakes), timing, stakes=stakes, clock="system")

    def _config(self, number: int, plan: NodePlan, port: int) -> LocalConfig:
        config, where = super()._config(number, plan, port), self.deployment
        origin = AggregatorV3Settings(
            name="chain", symbol=PAIR, rpc_url=where.rpc_url, chain_id=where.chain_id, address=where.faces[0],
            heartbeat_s=60,
        )  # fmt: skip
        return replace(config, sources=(*config.sources, LiveSettings("aggregator_v3", origin, EVERY_S)))

    def slot_now(self) -> int:
        """The slot that the machine's clock is in."""
        past_ms = time.time_ns() // 10**6 - self.slot_start_ms(self.first_slot)
        return self.first_slot + past_ms // (self.timing.slot_seconds * 1000)
