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
def _components(word: uint256, kind: uint256, outcomes: uint256) -> DynArray[int256, 16]:
    found: DynArray[int256, 16] = []
    if word == 0:
        return found
    if kind == constants.KIND_FORECAST:
        for i: uint256 in range(QUANTILES):
            found.append(convert(convert(word << (16 + 24 * i), bytes32), int256) >> 232)
    else:
        for i: uint256 in range(outcomes, bound=16):
            found.append(convert((word << (16 + 14 * i)) >> 242, int256))
    return found
