"""The time-weighted mean price of a Uniswap v2 pair (and of the many pairs of the same shape).

Why this file exists: a pair's price of the moment costs one trade to push; its mean over half an hour costs half an
hour of losses to arbitrage. Never in it: network, the price of the moment as a quote.

A pair adds price x seconds to `price0CumulativeLast` and `price1CumulativeLast` before the first trade of a block; the
mean between two blocks is the difference over the seconds between them. It wraps at 2^256 and its clock at 2^32, both
by design: https://docs.uniswap.org/contracts/v2/concepts/core-concepts/oracles, whitepaper section 2.2
(https://uniswap.org/whitepaper.pdf). The time since its last trade is added here, as its own
UniswapV2OracleLibrary.currentCumulativePrices does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import cast

from feeds.sources.http import Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.onchain.abi import Block, Call, Function
from feeds.sources.onchain.errors import RpcRefused
from feeds.sources.onchain.pool import PoolSettings, PoolSource
from feeds.sources.source import MalformedQuote
from feeds.types import Quote

RESERVES = Function("getReserves", (), ("uint112", "uint112", "uint32"))
PRICE0 = Function("price0CumulativeLast", (), ("uint256",))
PRICE1 = Function("price1CumulativeLast", (), ("uint256",))
Q112 = 1 << 112
_SHARE = 16
"""Blocks are remembered so many to a window."""
_DEPTHS = tuple(1 << power for power in range(17))
"""How many blocks back to look for the window's beginning: each step doubles its age, so one lies in 1 to 2 windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UniswapV2Settings(PoolSettings):
    """One pair. `history`: ask the RPC for the pair's state a window ago too, which archive nodes keep.

    Without it, what this process saw a window ago counts: any node will do, the first quote comes one window after the
    start, and an answer that was a lie is believed until the window has passed it.
    """

    history: bool = True


@dataclass(frozen=True, slots=True)
class Accumulator:
    """A pair's word on one price at one block: `cumulative` is price (UQ112x112) x seconds, modulo 2^256."""

    block: Block
    cumulative: int


def accrued(cumulative: int, numerator: int, denominator: int, last: int, now: int) -> int:
    """What the accumulator would be if the pair were touched at second `now`, having been touched at `last`.

    Reserves: price = `numerator` / `denominator`, both above 0. `last` is modulo 2^32, the result modulo 2^256.

    >>> accrued(2**256 - 1, 1, 1, 2**32 - 1, 2**32 + 1) == 2 * Q112 - 1
    True
    """
    elapsed = (now - last) % (1 << 32)
    return (cumulative + (numerator * Q112 // denominator) * elapsed) % (1 << 256)


def mean_price(before: Accumulator, after: Accumulator) -> int:
    """Mean price between two blocks as UQ112x112; the later one must be later."""
    seconds = after.block.timestamp - before.block.timestamp
    return (after.cumulative - before.cumulative) % (1 << 256) // seconds


class UniswapV2Source(PoolSource):
    """A `Fetcher` over one pair. After a reorganisation or a drought its window begins anew."""

    def __init__(self, settings: UniswapV2Settings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet. Raises BadRule."""
        super().__init__(settings, http, clock)
        self._settings = settings
        self._seen: deque[Accumulator] = deque()
        self._state = [Call(settings.pool, function) for function in (RESERVES, PRICE0, PRICE1)]

    async def quote(self, block: Block) -> Quote | None:
        """The mean price from a block that lies one to two windows back, to `block`. None while none is known."""
        base = self._remembered(block)
        past = base.block if base else None
        if past is None and self._settings.history:
            past = await self._look_back(block)
        values = await self._read(block, past)
        base_is_token0, exponent = self.check_tokens(values[:4])
        decimals = cast(int, values[3][0])
        try:
            if past is not None and self._settings.history:
                base = self._accumulator(past, values[7:], base_is_token0, decimals)
                if not self._seen or past.number < self._seen[0].block.number:
                    self._seen.appendleft(base)
            now = self._accumulator(block, values[4:7], base_is_token0, decimals)
            self._remember(now)
        except MalformedQuote:
            self._seen.clear()
            raise
        if base is None:
            return None
        mean = mean_price(base, now)
        if mean >= 1 << 224:
            self._seen.clear()
            raise self.refuse("cumulative", hex(mean), "a mean below 2^112: the accumulator ran backwards")
        return self.admit(self.exact(mean, Q112, exponent), block.ts)

    async def _read(self, block: Block, past: Block | None) -> list[tuple[object, ...]]:
        """Answers to `about`, `_state`, and with `history` `_state` at `past`, which must still be on the chain."""
        calls = [*self.about, *self._state]
        if past is not None and self._settings.history:
            calls += [replace(call, at=past) for call in self._state]
        try:
            outputs, kept = await self.reader.read(block, calls, still=[past] if past else [])
        except RpcRefused as error:
            self._seen.clear()
            if past is None or not self._settings.history:
                raise
            mend = "use an RPC that keeps old state, shorten window_s, or set history = false"
            raise RpcRefused(self.name, error.method, error.code, error.said, mend) from None
        if not all(kept):
            self._seen.clear()
            raise self.refuse("block", "gone from the chain", "that at which the window began: it begins anew")
        return [self.reader.need(*pair) for pair in zip(calls, outputs, strict=True)]

    def _remembered(self, block: Block) -> Accumulator | None:
        """What was seen one to two windows before `block`, as late as possible."""
        seen, window = self._seen, self.pool.window_s
        while seen and seen[-1].block.number >= block.number:
            seen.pop()  # an RPC behind the last one, or a reorganisation
        while len(seen) > 1 and block.timestamp - seen[1].block.timestamp >= window:
            seen.popleft()
        if seen and block.timestamp - seen[0].block.timestamp > 2 * window:
            seen.popleft()  # a gap: the mean would be of another time than asked for
        return seen[0] if seen and block.timestamp - seen[0].block.timestamp >= window else None

    def _remember(self, now: Accumulator) -> None:
        if not self._seen or (now.block.timestamp - self._seen[-1].block.timestamp) * _SHARE >= self.pool.window_s:
            self._seen.append(now)

    async def _look_back(self, block: Block) -> Block | None:
        """A block one to two windows before `block`; None on a chain too young or too uneven."""
        found = await self.reader.blocks([block.number - depth for depth in _DEPTHS if depth <= block.number])
        window = self.pool.window_s
        fitting = (old for old in found if old and window <= block.timestamp - old.timestamp <= 2 * window)
        return next(fitting, None)

    def _accumulator(
        self, block: Block, values: list[tuple[object, ...]], base_is_token0: bool, quote_decimals: int
    ) -> Accumulator:
        """The price of base in quote, brought up to `block`."""
        reserve0, reserve1, last = cast(tuple[int, int, int], values[0])
        base, quote = (reserve0, reserve1) if base_is_token0 else (reserve1, reserve0)
        if not base:
            raise self.refuse("liquidity", 0, "above 0 base units in the pool")
        self.check_liquidity(quote / 10**quote_decimals, block)
        if (block.timestamp - last) % (1 << 32) >= 1 << 31:
            raise self.refuse("block_timestamp_last", last, f"at most its block's {block.timestamp} modulo 2^32")
        cumulative = cast(int, values[1 if base_is_token0 else 2][0])
        return Accumulator(block, accrued(cumulative, quote, base, last, block.timestamp))
