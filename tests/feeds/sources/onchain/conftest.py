"""One embedded chain with every mock on it, set back after each test, and an HTTP client that knows its time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from feeds.sources.http import Http, HttpLimits
from feeds.sources.onchain.chain_source import ChainSource
from feeds.sources.onchain.tick_math import sqrt_ratio
from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.onchain.bench import CHAIN_ID, Bench

GENESIS = 1_700_000_000
FEED_ID = "0x" + "ab" * 32
KEY = "k3y-0123456789abcdef"
TICK = -203_188
LIQUIDITY = 10**18
PATIENT = HttpLimits(rate=1e4, burst=1000)
"""For a node in this process, which answers late when the machine is busy."""


@dataclass
class World:
    """The chain, its contracts, the server in front of it."""

    bench: Bench
    feed: Any
    uptime: Any
    pyth: Any
    base: Any
    quote: Any
    pair: Any
    pool: Any
    server: HostileServer | None = None
    http: Http | None = None

    def build(self, kind: Callable[..., ChainSource], settings: Any, **changes: Any) -> Any:
        """A source over this world; settings' common part is filled in."""
        assert self.server is not None and self.http is not None
        fields = {"name": "it", "symbol": "ETH/USD", "rpc_url": f"{self.server.url}/{KEY}", "chain_id": CHAIN_ID}
        return kind(settings(**(fields | changes)), self.http, self.bench.clock)

    @property
    def tokens(self) -> dict[str, Any]:
        """Settings of both kinds of pool."""
        return {"base": self.base.address, "quote": self.quote.address, "window_s": 600, "min_liquidity": 1000.0}


@pytest.fixture(scope="session")
def deployed() -> World:
    bench = Bench(GENESIS)
    feed, uptime = bench.deploy("PriceFeedMock", 8, "ETH / USD"), bench.deploy("PriceFeedMock", 0, "uptime")
    pyth = bench.deploy("PythMock", bytes.fromhex(FEED_ID[2:]))
    base, quote = bench.deploy("TokenMock", 18), bench.deploy("TokenMock", 6)
    pair = bench.deploy("PairMock", base.address, quote.address)
    pool = bench.deploy("PoolMock", base.address, quote.address, 16, sqrt_ratio(TICK), TICK, LIQUIDITY)
    return World(bench, feed, uptime, pyth, base, quote, pair, pool)


@pytest.fixture
def fresh(deployed: World) -> Iterator[World]:
    with deployed.bench.rewound():
        yield deployed


@pytest_asyncio.fixture
async def world(fresh: World) -> AsyncIterator[World]:
    """Everything, with a server that is honest until told otherwise."""
    async with HostileServer(fresh.bench.node, seed=7, share=0.0) as server:
        http = Http(clock=fresh.bench.clock, limits=PATIENT)
        fresh.server, fresh.http = server, http
        yield fresh
        fresh.server = fresh.http = None
        await http.close()
