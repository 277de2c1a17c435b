# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title The Merkle tree over a report's pages
@license AGPL-3.0-only
@notice Leaf = keccak256 of a page's 128 bytes, inner = keccak256 of two hashes, padded with zero leaves to a power of
        two. Pages (128 bytes) and inner nodes (64) differ in length, so neither passes for the other.
@dev Reads straight from calldata; positions are byte offsets in `msg.data`.
"""

@internal
@view
def _root_of_all(count: uint256, first_page: uint256) -> bytes32:
    # Merkle root of `count` pages in calldata.
    if count == 1:
        return keccak256(slice(msg.data, first_page, 128))
    # The first level straight from the pages, two at a time.
    nodes: bytes32[16] = empty(bytes32[16])
    zero: bytes32 = empty(bytes32)
    position: uint256 = first_page
    width: uint256 = unsafe_add(count, 1) >> 1
    for i: uint256 in range(16):
        if i == width:
            break
        left: bytes32 = keccak256(slice(msg.data, position, 128))
        position = unsafe_add(position, 128)
        right: bytes32 = zero
        if unsafe_add(unsafe_mul(2, i), 1) < count:
            right = keccak256(slice(msg.data, position, 128))
        position = unsafe_add(position, 128)
        nodes[i] = keccak256(abi_encode(left, right))
    for level: uint256 in range(4):
        if width == 1:
            break
        zero = keccak256(abi_encode(zero, zero))
        for i: uint256 in range(8):
            place: uint256 = unsafe_mul(2, i)
            if place >= width:
                break
            right: bytes32 = zero
            if unsafe_add(place, 1) < width:
                right = nodes[unsafe_add(place, 1)]
            nodes[i] = keccak256(abi_encode(nodes[place], right))
        width = unsafe_add(width, 1) >> 1
    return nodes[0]


@internal
@view
def _root_of_some(pages: uint256, count: uint256, first_page: uint256, end: uint256) -> bytes32:
    # Merkle root of a tree of `count` pages from those of the bitmap and their siblings, all in calldata up to `end`.
    position: uint256 = first_page
    assert position + 128 * self._popcount(pages) <= end, "aggregator: bad length"
    nodes: bytes32[32] = empty(bytes32[32])
    places: uint256[32] = empty(uint256[32])
    known: uint256 = 0
    for i: uint256 in range(32):
        if (pages >> i) & 1 == 1:
            nodes[known] = keccak256(slice(msg.data, position, 128))
            places[known] = i
            known += 1
            position += 128
    width: uint256 = count
    zero: bytes32 = empty(bytes32)
    for level: uint256 in range(5):
        if width == 1:
            break
        above: uint256 = 0
        taken: uint256 = 0
        for step: uint256 in range(32):
            if taken == known:
                break
            place: uint256 = places[taken]
            left: bytes32 = nodes[taken]
            right: bytes32 = zero
            taken += 1
            if place & 1 == 0 and taken < known and places[taken] == place + 1:
                right = nodes[taken]
                taken += 1
            elif place & 1 == 1 or place + 1 < width:
                assert position < end, "aggregator: bad length"
                sibling: bytes32 = extract32(slice(msg.data, position, 32), 0)
                position += 32
                if place & 1 == 1:
                    right = left
                    left = sibling
                else:
                    right = sibling
            nodes[above] = keccak256(abi_encode(left, right))
            places[above] = place >> 1
            above += 1
        known = above
        width = (width + 1) >> 1
        zero = keccak256(abi_encode(zero, zero))
    assert position == end, "aggregator: bad length"
    return nodes[0]


@internal
@pure
def _popcount(bits: uint256) -> uint256:
    # Set bits among the lowest 64, counted in fields of 2, 4 and 8 bits.
    x: uint256 = unsafe_sub(bits, (bits >> 1) & 6148914691236517205)
    x = unsafe_add(x & 3689348814741910323, (x >> 2) & 3689348814741910323)
    x = unsafe_add(x, x >> 4) & 1085102592571150095
    return (unsafe_mul(x, 72340172838076673) >> 56) & 255
