"""The on-chain sources on the check suite's stage: a scripted node in front of each kind of contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from feeds.sources.onchain.aggregator_v3 import DESCRIPTION, AggregatorV3Settings, AggregatorV3Source
from feeds.sources.onchain.pool import DECIMALS, TOKEN0, TOKEN1
from feeds.sources.onchain.pyth import PRICE, PythSettings, PythSource
from feeds.sources.onchain.reader import ROUND
from feeds.sources.onchain.tick_math import sqrt_ratio
from feeds.sources.onchain.uniswap_v2 import PRICE0, PRICE1, Q112, RESERVES, UniswapV2Settings, UniswapV2Source
from feeds.sources.onchain.uniswap_v3 import LIQUIDITY, OBSERVE, SLOT0, UniswapV3Settings, UniswapV3Source
from feeds.types import SECOND
from tests.feeds.sources.check_suite import Rig, Stage, StageTime
from tests.feeds.sources.hostile import Honest
from tests.feeds.sources.onchain.scripted import ScriptedChain

KEY = "k3y-0123456789abcdef"
"""Stands in each rig's URL, where providers put their keys; no error may show it."""
FEED, PYTH, PAIR, POOL, BASE, QUOTE = (f"0x{digit * 40}" for digit in "123456")
FEED_ID = "0x" + "ab" * 32
TICK = -203_188
SETTINGS: dict[str, Any] = {"symbol": "ETH/USD", "chain_id": 1, "min_price": 1.0, "max_price": 1e6}
TOKENS: dict[str, Any] = {"base": BASE, "quote": QUOTE, "window_s": 60, "min_liquidity": 1000.0}


def _url(stage: Stage) -> str:
    return f"{stage.url}/v3/{KEY}"


def _node(write: Callable[[ScriptedChain], None]) -> Callable[[StageTime], Honest]:
    def honest(time: StageTime) -> Honest:
        chain = ScriptedChain(lambda: time.now // SECOND)
        write(chain)
        return chain.node

    return honest


def write_feed(chain: ScriptedChain) -> None:
    chain.say(FEED, ROUND, lambda ts: (7, 150_025_000_000, ts - 5, ts - 5, 7))
    chain.say(FEED, DECIMALS, lambda ts: (8,))
    chain.say(FEED, DESCRIPTION, lambda ts: (b"ETH / USD",))


def write_pyth(chain: ScriptedChain) -> None:
    chain.say(PYTH, PRICE, lambda ts: (150_025_000_000, 75_000_000, -8, ts - 1))


def write_tokens(chain: ScriptedChain, pool: str) -> None:
    chain.say(pool, TOKEN0, lambda ts: (BASE,))
    chain.say(pool, TOKEN1, lambda ts: (QUOTE,))
    chain.say(BASE, DECIMALS, lambda ts: (18,))
    chain.say(QUOTE, DECIMALS, lambda ts: (6,))


def write_pair(chain: ScriptedChain) -> None:
    """1,000 ETH and 1,500,250 USDC, touched last an hour before 2023-03-11 12:00 UTC."""
    reserves, last = (1000 * 10**18, 1_500_250 * 10**6), 1_678_532_400
    write_tokens(chain, PAIR)
    chain.say(PAIR, RESERVES, lambda ts: (*reserves, last))
    chain.say(PAIR, PRICE0, lambda ts: (2**256 - 5,))
    chain.say(PAIR, PRICE1, lambda ts: (0,))


def write_pool(chain: ScriptedChain) -> None:
    write_tokens(chain, POOL)
    each = (60 << 128) // 10**18
    chain.say(POOL, OBSERVE, lambda ts: ((TICK * (ts - 60), TICK * ts), (2**160 - each, 0)))
    chain.say(POOL, SLOT0, lambda ts: (sqrt_ratio(TICK), TICK, 0, 100))
    chain.say(POOL, LIQUIDITY, lambda ts: (10**18,))


def pool_price() -> float:
    return sqrt_ratio(TICK) ** 2 * 10**12 / (1 << 192)


def pair_price() -> float:
    return (1_500_250 * 10**6 * Q112 // (1000 * 10**18)) * 10**12 / Q112


def _feed(stage: Stage) -> AggregatorV3Source:
    settings = AggregatorV3Settings(name="feed", rpc_url=_url(stage), address=FEED, heartbeat_s=3600, **SETTINGS)
    return AggregatorV3Source(settings, stage.http, stage.time.clock)


def _pyth(stage: Stage) -> PythSource:
    settings = PythSettings(name="pyth", rpc_url=_url(stage), address=PYTH, feed_id=FEED_ID, **SETTINGS)
    return PythSource(settings, stage.http, stage.time.clock)


def _pair(stage: Stage) -> UniswapV2Source:
    settings = UniswapV2Settings(name="pair", rpc_url=_url(stage), pool=PAIR, **SETTINGS, **TOKENS)
    return UniswapV2Source(settings, stage.http, stage.time.clock)


def _pool(stage: Stage) -> UniswapV3Source:
    settings = UniswapV3Settings(name="pool", rpc_url=_url(stage), pool=POOL, **SETTINGS, **TOKENS)
    return UniswapV3Source(settings, stage.http, stage.time.clock)


WRITERS = {
    "onchain_aggregator_v3": write_feed,
    "onchain_pyth": write_pyth,
    "onchain_uniswap_v2": write_pair,
    "onchain_uniswap_v3": write_pool,
}
"""What each rig's node is told to say."""
RIGS = [
    Rig(name, build, {"ETH/USD": price}, _node(WRITERS[name]), KEY)
    for name, build, price in (
        ("onchain_aggregator_v3", _feed, 1500.25),
        ("onchain_pyth", _pyth, 1500.25),
        ("onchain_uniswap_v2", _pair, pair_price()),
        ("onchain_uniswap_v3", _pool, pool_price()),
    )
]
