# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Reading a stored feed word
@license AGPL-3.0-only
@notice Feed 16 | value int128 | confidence 40 | turnout 16 | flags 8 | updatedAt 32 | delay 16, from the top; and the
        vector word: feed 16 | nine int24 or up to sixteen uint14, from the top.
"""

from .. import constants

QUANTILES: constant(uint256) = 9
# Levels of the quantiles in percent.
LEVELS: constant(uint256[9]) = [1, 5, 10, 25, 50, 75, 90, 95, 99]
# Decimals of a log return in 1e-6 and of a probability in basis points.
QUANTILE_DECIMALS: constant(uint8) = 6
PROBABILITY_DECIMALS: constant(uint8) = 4


@internal
@pure
def _answer(word: uint256) -> int256:
    return convert(convert(word << 16, bytes32), int256) >> 128


@internal
@pure
def _updated_at(word: uint256) -> uint256:
    return (word >> 16) & (2**32 - 1)


@internal
@pure
def _observed_at(word: uint256) -> uint256:
    return self._updated_at(word) - (word & (2**16 - 1))


@internal
@pure
def _text(name: bytes32) -> String[32]:
    # Length up to the last byte that is not zero.
    size: uint256 = 32
    for i: uint256 in range(32):
        if (convert(name, uint256) >> (8 * i)) & 255 != 0:
            break
        size -= 1
    text: Bytes[32] = slice(abi_encode(name), 0, size)
    return convert(text, String[32])


@internal
@pure
def _confidence(word: uint256) -> uint256:
    packed: uint256 = (word >> 72) & (2**40 - 1)
    return (packed >> 8) * 10 ** (packed & 255)


@internal
@pure
def _turnout(word: uint256) -> uint256:
    return (word >> 56) & 65535


@internal
@pure
def _flags(word: uint256) -> uint8:
    return convert((word >> 48) & 255, uint8)


@internal
@pure
def _width(kind: uint256, outcomes: uint256) -> uint256:
    # Components of a feed's vector; a price has none.
    return QUANTILES if kind == constants.KIND_FORECAST else outcomes


@internal
@pure
def _component_decimals(kind: uint256) -> uint8:
    return QUANTILE_DECIMALS if kind == constants.KIND_FORECAST else PROBABILITY_DECIMALS


@internal
@pure
def _level(place: uint256) -> uint256:
    return LEVELS[place]


@internal
@pure
def _component(vector: uint256, kind: uint256, place: uint256) -> int256:
    if kind == constants.KIND_FORECAST:
        return convert(convert(vector << (16 + 24 * place), bytes32), int256) >> 232
    return convert((vector << (16 + 14 * place)) >> 242, int256)


@internal
@pure
def _components(vector: uint256, kind: uint256, outcomes: uint256) -> DynArray[int256, 16]:
    found: DynArray[int256, 16] = []
    if vector != 0:
        for place: uint256 in range(self._width(kind, outcomes), bound=16):
            found.append(self._component(vector, kind, place))
    return found


@internal
@pure
def _hex(id: bytes32) -> String[64]:
    # Each half of the id becomes one word of 32 digits: 10 and above are 39 places further on in ASCII.
    halves: uint256[2] = [0, 0]
    for i: uint256 in range(64):
        digit: uint256 = (convert(id, uint256) >> (4 * (63 - i))) & 15
        halves[i // 32] = (halves[i // 32] << 8) | (digit + (48 if digit < 10 else 87))
    text: Bytes[64] = concat(convert(halves[0], bytes32), convert(halves[1], bytes32))
    return convert(text, String[64])
