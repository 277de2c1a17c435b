"""Uniswap v3's price of a tick, to the last bit, and the two means over a window.

Why this file exists: a pool states its mean price as a tick; what our quote says must be what the pool's own contracts
would compute from it. Integers only. Never in it: network, floats.

`sqrt_ratio` follows TickMath.getSqrtRatioAtTick, the means follow OracleLibrary.consult (Uniswap v3-core and
v3-periphery; whitepaper sections 5 and 6.1: https://uniswap.org/whitepaper-v3.pdf). The twenty factors that TickMath
holds as literals are worked out here: each is 2^128 / 1.0001^(2^i / 2), rounded to nearest.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal

MAX_TICK = 887_272
"""Largest tick; the smallest is its negative. At it the price is about 2^128."""
_Q128 = 1 << 128


def _factors() -> tuple[int, ...]:
    exact = Context(prec=120)
    factor, found = exact.sqrt(exact.divide(Decimal(10_000), Decimal(10_001))), []
    for _ in range(MAX_TICK.bit_length()):
        found.append(int(exact.multiply(factor, Decimal(_Q128)).to_integral_value(ROUND_HALF_UP)))
        factor = exact.multiply(factor, factor)
    return tuple(found)


_FACTORS = _factors()


def sqrt_ratio(tick: int) -> int:
    """Square root of the price of token 0 in token 1 (smallest units) at `tick`, as Q64.96.

    Raises ValueError beyond MAX_TICK.

    >>> sqrt_ratio(0) == 2**96, sqrt_ratio(-887272), sqrt_ratio(887272)
    (True, 4295128739, 1461446703485210103287273052203988822378723970342)
    """
    size = abs(tick)
    if size > MAX_TICK:
        raise ValueError(f"tick {tick} is outside -{MAX_TICK}..{MAX_TICK}")
    ratio = _Q128
    for bit, factor in enumerate(_FACTORS):
        if size >> bit & 1:
            ratio = ratio * factor >> 128
    if tick > 0:
        ratio = ((1 << 256) - 1) // ratio
    return -(-ratio >> 32)  # rounded up: then tick_of(sqrt_ratio(t)) is t again


def mean_tick(before: int, after: int, seconds: int) -> int:
    """Arithmetic mean tick over `seconds` from two tick cumulatives (int56, may have wrapped), rounded down.

    Its price is the geometric mean of the prices in the window, each weighted by its time.

    >>> mean_tick(0, -11, 10), mean_tick(2**55 - 5, -(2**55) + 5, 10)
    (-2, 1)
    """
    delta = (after - before) % (1 << 56)
    if delta >= 1 << 55:
        delta -= 1 << 56
    return delta // seconds


def mean_liquidity(before: int, after: int, seconds: int) -> int:
    """Harmonic mean of the in-range liquidity from two seconds-per-liquidity cumulatives (uint160, Q32.128, may wrap).

    Raises ValueError where they do not differ, which no pool answers over a second or more.

    >>> mean_liquidity(0, (60 << 128) // 10**6, 60)
    1000000
    """
    delta = (after - before) % (1 << 160)
    if delta == 0:
        raise ValueError("the seconds per liquidity stand still")
    return seconds * ((1 << 160) - 1) // (delta << 32)
