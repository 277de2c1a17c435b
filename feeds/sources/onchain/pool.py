"""What pools of two tokens have in common: which token is which, their decimals, and how deep the pool is.

Why this file exists: a pool does not know what is base and what is quote, and orders its tokens by address; mistaken
once, every price is upside down or a trillion times off. So the settings name both tokens, and the pool must hold
exactly these. Never in it: a mean price.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from feeds.sources.http import Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.onchain.abi import Block, Call, Function
from feeds.sources.onchain.chain_source import MAX_DECIMALS, ChainSource
from feeds.sources.onchain.errors import WrongContract
from feeds.sources.onchain.reader import ChainSettings, check_address, check_number, check_range
from feeds.sources.source import BadRule
from feeds.types import Depth, Micros

TOKEN0 = Function("token0", (), ("address",))
TOKEN1 = Function("token1", (), ("address",))
DECIMALS = Function("decimals", (), ("uint8",))
MAX_WINDOW_S = 7 * 86_400
"""Longest window of a mean price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings(ChainSettings):
    """One pool. `base` and `quote` are the addresses of the symbol's two tokens, in the symbol's order.

    `window_s`: seconds over which the price is averaged; a push costs the pusher in proportion. `min_liquidity`: units
    of the quote token that must lie in the pool (for Uniswap v3: the reserve that a pool without ranges would need for
    the same depth), else its price is refused: a drained pool is pushed for nothing. `depth_bps`: pushes of the price
    whose cost is stated beside the quotes.
    """

    pool: str
    base: str
    quote: str
    window_s: int = 1800
    min_liquidity: float
    depth_bps: tuple[float, ...] = (100.0, 200.0)

    def __post_init__(self) -> None:
        """Raise BadRule."""
        ChainSettings.__post_init__(self)
        for key, address in (("pool", self.pool), ("base", self.base), ("quote", self.quote)):
            check_address(self.name, key, address)
        if self.base.lower() == self.quote.lower():
            raise BadRule(f"source {self.name}: quote", self.quote, "another token than base")
        check_range(self.name, "window_s", self.window_s, 60, MAX_WINDOW_S)
        check_number(self.name, "min_liquidity", self.min_liquidity, 1e-18, 1e30)
        for bps in self.depth_bps:
            check_number(self.name, "depth_bps", bps, 1e-3, 9_999.0)


class PoolSource(ChainSource):
    """A `Fetcher` over one pool, and a `DepthSource`."""

    def __init__(self, settings: PoolSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet. Raises BadRule."""
        super().__init__(settings, http, clock)
        self.pool = settings
        self._depths: list[Depth] = []
        self.about = [
            Call(settings.pool, TOKEN0),
            Call(settings.pool, TOKEN1),
            Call(settings.base, DECIMALS),
            Call(settings.quote, DECIMALS),
        ]
        """Questions that go out with every round; `check_tokens` takes their answers."""

    def depths(self, now: Micros) -> list[Depth]:
        """What it cost to push the pool when it was last read; nothing before, or after it was refused."""
        return [depth for depth in self._depths if depth.known_at <= now]

    def check_tokens(self, outputs: list[tuple[object, ...]]) -> tuple[bool, int]:
        """From the answers to `about`: whether base is token 0, and the decimals of base less those of quote.

        Raises WrongContract or MalformedQuote.
        """
        token0, token1, base_decimals, quote_decimals = (output[0] for output in outputs)
        wanted = (self.pool.base.lower(), self.pool.quote.lower())
        given = (cast(str, token0).lower(), cast(str, token1).lower())
        if sorted(given) != sorted(wanted):
            raise WrongContract(self.name, "its pair of tokens", " and ".join(given), " and ".join(wanted))
        for decimals in (base_decimals, quote_decimals):
            if cast(int, decimals) > MAX_DECIMALS:
                raise self.refuse("decimals", decimals, f"at most {MAX_DECIMALS}")
        return given == wanted, cast(int, base_decimals) - cast(int, quote_decimals)

    def check_liquidity(self, reserve: float, block: Block) -> None:
        """Refuse a pool with too little of the quote token; state what it costs to push one with enough.

        On x y = k the price is quote/base reserve, so a push by the factor f takes the quote reserve to sqrt(f) times
        itself (https://uniswap.org/whitepaper.pdf). Fees are left out: the true cost is a little more. A concentrated
        pool has its depth only as far as its ranges reach, hence a hint there.
        """
        self._depths = []
        if not reserve >= self.pool.min_liquidity:
            limit = f"at least {self.pool.min_liquidity:g} quote units in the pool"
            raise self.refuse("liquidity", f"{reserve:.6g}", limit)
        known_at = self.clock()
        for bps in self.pool.depth_bps:
            up = reserve * (math.sqrt(1 + bps / 10_000) - 1)
            down = reserve * (1 - math.sqrt(1 - bps / 10_000))
            self._depths.append(Depth(self.name, self.symbols[0], bps, up, down, block.ts, known_at))
