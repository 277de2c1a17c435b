# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# The oracle's half of a Uniswap v3 pool: price and liquidity are set, observations written and interpolated as its
# Oracle library does (ticks x seconds, seconds / liquidity x 2^128, a ring of `cardinality`). Only for tests.

struct Observation:
    time: uint256
    ticks: int56
    seconds: uint256  # per liquidity, x 2^128, modulo 2^160


struct Slot0:
    sqrt_price: uint160
    tick: int24
    index: uint16
    cardinality: uint16
    next_cardinality: uint16
    fee_protocol: uint8
    unlocked: bool


token0: public(address)
token1: public(address)
liquidity: public(uint128)
slot0: public(Slot0)
ring: HashMap[uint256, Observation]


@deploy
def __init__(token0: address, token1: address, cardinality: uint16, sqrt_price: uint160, tick: int24, liquidity: uint128):
    self.token0 = token0
    self.token1 = token1
    self.liquidity = liquidity
    self.slot0 = Slot0(
        sqrt_price=sqrt_price, tick=tick, index=0, cardinality=cardinality, next_cardinality=cardinality,
        fee_protocol=0, unlocked=True,
    )
    self.ring[0] = Observation(time=block.timestamp, ticks=0, seconds=0)


@external
def move(sqrt_price: uint160, tick: int24, liquidity: uint128):
    newest: Observation = self.ring[convert(self.slot0.index, uint256)]
    if newest.time != block.timestamp:
        index: uint16 = (self.slot0.index + 1) % self.slot0.cardinality
        self.ring[convert(index, uint256)] = self._transform(newest, block.timestamp)
        self.slot0.index = index
    self.slot0.sqrt_price = sqrt_price
    self.slot0.tick = tick
    self.liquidity = liquidity


@external
@view
def observe(agos: DynArray[uint32, 8]) -> (DynArray[int56, 8], DynArray[uint160, 8]):
    ticks: DynArray[int56, 8] = []
    seconds: DynArray[uint160, 8] = []
    for ago: uint32 in agos:
        found: Observation = self._at(block.timestamp - convert(ago, uint256))
        ticks.append(found.ticks)
        seconds.append(convert(found.seconds, uint160))
    return ticks, seconds


@internal
@view
def _transform(last: Observation, time: uint256) -> Observation:
    elapsed: uint256 = time - last.time
    liquidity: uint256 = max(1, convert(self.liquidity, uint256))
    return Observation(
        time=time,
        ticks=last.ticks + convert(self.slot0.tick, int56) * convert(elapsed, int56),
        seconds=(last.seconds + (elapsed << 128) // liquidity) % 2**160,
    )


@internal
@view
def _at(target: uint256) -> Observation:
    index: uint256 = convert(self.slot0.index, uint256)
    cardinality: uint256 = convert(self.slot0.cardinality, uint256)
    newest: Observation = self.ring[index]
    if newest.time <= target:
        return newest if newest.time == target else self._transform(newest, target)
    later: Observation = newest
    for step: uint256 in range(1, cardinality, bound=512):
        earlier: Observation = self.ring[(index + cardinality - step) % cardinality]
        if earlier.time == 0:
            break
        if earlier.time <= target:
            return self._between(earlier, later, target)
        later = earlier
    raise "OLD"


@internal
@pure
def _between(earlier: Observation, later: Observation, target: uint256) -> Observation:
    whole: uint256 = later.time - earlier.time
    part: uint256 = target - earlier.time
    ticks: int56 = (later.ticks - earlier.ticks) // convert(whole, int56) * convert(part, int56)
    grown: uint256 = unsafe_sub(later.seconds, earlier.seconds) % 2**160
    return Observation(
        time=target, ticks=earlier.ticks + ticks, seconds=(earlier.seconds + grown * part // whole) % 2**160
    )
