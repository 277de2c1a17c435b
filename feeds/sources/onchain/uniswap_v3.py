"""The time-weighted mean price of a Uniswap v3 pool, from the pool's own observations.

Why this file exists: a v3 pool remembers its ticks, so the mean over a window is one question to one block, and every
node that asks gets the same answer. Never in it: network, `slot0`'s price as a quote.

`observe([window, 0])` gives tick cumulatives and seconds per liquidity; their means are those of
OracleLibrary.consult, and the price that of its getQuoteAtTick, without the rounding to a token's unit
(https://docs.uniswap.org/contracts/v3/reference/core/interfaces/pool/IUniswapV3PoolDerivedState). A pool whose memory
is shorter than the window reverts with `OLD`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from feeds.sources.http import Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.onchain.abi import Block, Call, Function
from feeds.sources.onchain.errors import WindowTooLong
from feeds.sources.onchain.pool import PoolSettings, PoolSource
from feeds.sources.onchain.rpc import Failure
from feeds.sources.onchain.tick_math import mean_liquidity, mean_tick, sqrt_ratio
from feeds.types import Quote

OBSERVE = Function("observe", ("uint32[]",), ("int56[]", "uint160[]"))
SLOT0 = Function("slot0", (), ("uint160", "int24", "uint16", "uint16"))
"""sqrtPriceX96, tick, observationIndex, observationCardinality; what stands behind differs between forks."""
LIQUIDITY = Function("liquidity", (), ("uint128",))


@dataclass(frozen=True, slots=True, kw_only=True)
class UniswapV3Settings(PoolSettings):
    """One pool: nothing beyond `PoolSettings`. `window_s` must lie within what the pool remembers."""


class UniswapV3Source(PoolSource):
    """A `Fetcher` over one pool."""

    def __init__(self, settings: UniswapV3Settings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet. Raises BadRule."""
        super().__init__(settings, http, clock)
        self._observe = Call(settings.pool, OBSERVE, ((settings.window_s, 0),))
        self._calls = [*self.about, Call(settings.pool, SLOT0), Call(settings.pool, LIQUIDITY)]

    async def quote(self, block: Block) -> Quote | None:
        """The price at the mean tick of the window that ends with `block`. Raises WindowTooLong."""
        outputs, _ = await self.reader.read(block, [self._observe, *self._calls])
        values = [self.reader.need(*pair) for pair in zip(self._calls, outputs[1:], strict=True)]
        base_is_token0, exponent = self.check_tokens(values[:4])
        observed = self._observed(outputs[0], cast(int, values[4][3]))
        tick, liquidity = self._means(observed)
        root = sqrt_ratio(tick)
        # The lesser of then and now: liquidity that left a minute ago still stands in the mean.
        lesser = min(liquidity, cast(int, values[5][0]))
        reserve = lesser * (1 << 96) / root if not base_is_token0 else lesser * root / (1 << 96)
        self.check_liquidity(reserve / 10 ** cast(int, values[3][0]), block)
        squared, unit = root * root, 1 << 192
        price = self.exact(squared, unit, exponent) if base_is_token0 else self.exact(unit, squared, exponent)
        return self.admit(price, block.ts)

    def _observed(self, output: tuple[object, ...] | Failure, cardinality: int) -> tuple[object, ...]:
        if isinstance(output, Failure) and "OLD" in output.why.split():
            raise WindowTooLong(self.name, self.pool.pool, self.pool.window_s, cardinality)
        return self.reader.need(self._observe, output)

    def _means(self, observed: tuple[object, ...]) -> tuple[int, int]:
        """Arithmetic mean tick and harmonic mean liquidity. Raises MalformedQuote."""
        ticks, seconds = cast(tuple[tuple[int, ...], tuple[int, ...]], observed)
        if len(ticks) != 2 or len(seconds) != 2:
            raise self.refuse("observations", f"{len(ticks)} and {len(seconds)}", "two of each, as asked for")
        window = self.pool.window_s
        tick = mean_tick(ticks[0], ticks[1], window)
        try:
            sqrt_ratio(tick)
            return tick, mean_liquidity(seconds[0], seconds[1], window)
        except ValueError as error:
            raise self.refuse("observations", str(error), "those of a living pool") from None
