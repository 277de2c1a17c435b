"""Sources that read a chain, in front of an RPC and an EVM that are not ours: what anvil says and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from feeds.sources.http import Http
from feeds.sources.onchain.aggregator_v3 import AggregatorV3Settings, AggregatorV3Source
from feeds.sources.onchain.errors import CallReverted, RpcRefused, WindowTooLong
from feeds.sources.onchain.pyth import PythSettings, PythSource
from feeds.sources.onchain.tick_math import sqrt_ratio
from feeds.sources.onchain.uniswap_v2 import UniswapV2Settings, UniswapV2Source
from feeds.sources.onchain.uniswap_v3 import UniswapV3Settings, UniswapV3Source
from oracle.chain.anvil import AnvilChain
from oracle.chain.deploy import send
from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.onchain.bench import mock_code
from tests.feeds.sources.onchain.conftest import PATIENT

TICK = -203_188


class OnAnvil:
    """Mocks on anvil, and the HTTP side of it."""

    def __init__(self) -> None:
        self.chain = AnvilChain(accounts=2)

    def deploy(self, name: str, *arguments: Any) -> Any:
        code = mock_code(name)
        made = self.chain.w3.eth.contract(abi=code["abi"], bytecode=code["bytecode"])
        return made(send(self.chain.w3, made.constructor(*arguments), self.chain.accounts[0])["contractAddress"])

    def do(self, call: Any, seconds: int = 12) -> None:
        self.chain.move_to(self.head + seconds)
        send(self.chain.w3, call, self.chain.accounts[0])

    def mine(self, seconds: int) -> None:
        self.chain.move_to(self.head + seconds)
        self.chain._ask("evm_mine")

    @property
    def head(self) -> int:
        return int(self.chain._ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def clock(self) -> int:
        return self.head * 1_000_000

    async def node(self, request: web.Request) -> web.Response:
        answers = []
        for each in json.loads(await request.read()):
            answer = dict(self.chain.w3.provider.make_request(each["method"], each["params"]))
            answers.append({**answer, "id": each["id"]})
        return web.json_response(answers)


@pytest.fixture(scope="module")
def anvil() -> Iterator[OnAnvil]:
    standing = OnAnvil()
    yield standing
    standing.chain.close()


async def test_sources__on_anvil__say_the_same_and_refuse_the_same(anvil: OnAnvil) -> None:
    feed, pyth = anvil.deploy("PriceFeedMock", 8, "ETH / USD"), anvil.deploy("PythMock", b"\xab" * 32)
    base, quote = anvil.deploy("TokenMock", 18), anvil.deploy("TokenMock", 6)
    pair = anvil.deploy("PairMock", base.address, quote.address)
    pool = anvil.deploy("PoolMock", base.address, quote.address, 4, sqrt_ratio(TICK), TICK, 10**18)
    tokens = {"base": base.address, "quote": quote.address, "window_s": 600, "min_liquidity": 1000.0}
    async with HostileServer(anvil.node, seed=1, share=0.0) as server:
        http = Http(clock=anvil.clock, limits=PATIENT)
        fields = {"name": "it", "symbol": "ETH/USD", "rpc_url": server.url, "chain_id": anvil.chain.w3.eth.chain_id}

        def build(kind: Any, settings: Any, **more: Any) -> Any:
            return kind(settings(**(fields | more)), http, anvil.clock)

        one = build(AggregatorV3Source, AggregatorV3Settings, address=feed.address, heartbeat_s=60)
        two = build(PythSource, PythSettings, address=pyth.address, feed_id="0x" + "ab" * 32)
        other = build(PythSource, PythSettings, address=pyth.address, feed_id="0x" + "cd" * 32)
        three = build(UniswapV2Source, UniswapV2Settings, pool=pair.address, **tokens, history=False)
        pruned = build(UniswapV2Source, UniswapV2Settings, pool=pair.address, **tokens)
        four = build(UniswapV3Source, UniswapV3Settings, pool=pool.address, **tokens)
        try:
            anvil.do(pair.functions.set_reserves(1000 * 10**18, 1_500_000 * 10**6))
            assert await three.fetch() == []
            with pytest.raises(WindowTooLong):
                await four.fetch()
            with pytest.raises(CallReverted, match="PriceFeedNotFound"):
                await other.fetch()
            anvil.do(feed.functions.say(2**80 - 1, 1, 1, 1, 1))
            with pytest.raises(CallReverted, match="No data present"):
                await one.fetch()
            anvil.mine(640)
            anvil.do(feed.functions.say(1, 150_025_000_000, anvil.head, anvil.head, 1))
            anvil.do(pyth.functions.say(150_025, 1, -2, anvil.head), 1)
            assert [quote.price for quote in await one.fetch() + await two.fetch()] == [1500.25, 1500.25]
            assert [quote.price for quote in await three.fetch()] == [pytest.approx(1500.0, rel=1e-12)]
            assert [quote.price for quote in await four.fetch()] == [sqrt_ratio(TICK) ** 2 * 10**12 / 2**192]
            with pytest.raises(RpcRefused, match="set history = false"):
                await pruned.fetch()
        finally:
            await http.close()
