# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# The oracle's half of a Uniswap v2 pair: reserves are set, accumulators grow as the pair's `_update` lets them
# (UQ112x112 x seconds, clock modulo 2^32, sums modulo 2^256). `start` presets them. Only for tests.

token0: public(address)
token1: public(address)
price0CumulativeLast: public(uint256)
price1CumulativeLast: public(uint256)
reserve0: uint112
reserve1: uint112
last: uint32

Q112: constant(uint256) = 2**112


@deploy
def __init__(token0: address, token1: address):
    self.token0 = token0
    self.token1 = token1


@external
def start(cumulative0: uint256, cumulative1: uint256):
    self.price0CumulativeLast = cumulative0
    self.price1CumulativeLast = cumulative1


@external
def set_reserves(reserve0: uint112, reserve1: uint112):
    now: uint256 = block.timestamp % 2**32
    elapsed: uint256 = unsafe_sub(now, convert(self.last, uint256)) % 2**32
    if elapsed > 0 and self.reserve0 != 0 and self.reserve1 != 0:
        old0: uint256 = convert(self.reserve0, uint256)
        old1: uint256 = convert(self.reserve1, uint256)
        self.price0CumulativeLast = unsafe_add(self.price0CumulativeLast, (old1 * Q112 // old0) * elapsed)
        self.price1CumulativeLast = unsafe_add(self.price1CumulativeLast, (old0 * Q112 // old1) * elapsed)
    self.reserve0 = reserve0
    self.reserve1 = reserve1
    self.last = convert(now, uint32)


@external
@view
def getReserves() -> (uint112, uint112, uint32):
    return self.reserve0, self.reserve1, self.last
