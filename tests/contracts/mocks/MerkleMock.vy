# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# The tree over pages, to be asked directly. Only for tests.

from core import merkle

# Calldata before the bytes of the first argument: selector, offset (one or three words), length.
ONE: constant(uint256) = 4 + 32 + 32
THREE: constant(uint256) = 4 + 3 * 32 + 32


@external
@view
def rootOfAll(pages: Bytes[4096]) -> bytes32:
    return merkle._root_of_all(len(pages) // 128, ONE)


# `proof`: the pages of the bitmap, then their siblings.
@external
@view
def rootOfSome(proof: Bytes[8192], chosen: uint256, count: uint256) -> bytes32:
    return merkle._root_of_some(chosen, count, THREE, THREE + len(proof))
