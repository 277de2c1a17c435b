"""The Merkle tree over the chunks of a data set: the same tree as over a report's pages on chain.

Why this file exists: `contracts/core/merkle.vy` checks leaf = keccak256(128 bytes), inner = keccak256(64 bytes), padded
with zero leaves to a power of two. A chunk's leaf record has 128 bytes too, so a contract can check a proven chunk with
the code that it has, and no inner node passes for a leaf (the second-preimage rule of RFC 6962, kept by length). Never
in it: what a chunk holds, files.

A leaf record is four words: keccak256 of the chunk's canonical bytes | number of its first row | how many rows |
earliest `known_at` shifted by 128 bits + latest (microseconds; zero where the data set states none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_utils.crypto import keccak

from feeds.dataset.errors import WrongProof

LEAF_BYTES = 128
HASH_BYTES = 32
MAX_CHUNKS = 1 << 20
"""Most chunks of a data set."""
EMPTY_LEAF = bytes(HASH_BYTES)
_U64 = 1 << 64


@dataclass(frozen=True, slots=True)
class Leaf:
    """One chunk as the tree sees it. `known`: earliest and latest `known_at` in microseconds, (0, 0) if not stated."""

    content: bytes
    first_row: int
    rows: int
    known: tuple[int, int] = (0, 0)

    def pack(self) -> bytes:
        """The 128 bytes that are hashed."""
        span = self.known[0] << 128 | self.known[1]
        return self.content + self.first_row.to_bytes(32) + self.rows.to_bytes(32) + span.to_bytes(32)

    @classmethod
    def unpack(cls, record: bytes) -> Leaf:
        """Read 128 bytes. Raises `WrongProof` for a record that no chunk can have."""
        if len(record) != LEAF_BYTES:
            raise WrongProof("leaf record", f"{len(record)} bytes", f"{LEAF_BYTES} bytes")
        first_row, rows = int.from_bytes(record[32:64]), int.from_bytes(record[64:96])
        known = int.from_bytes(record[96:112]), int.from_bytes(record[112:])
        if first_row >= _U64 or not 0 < rows < _U64 or max(known) >= _U64 or known[0] > known[1]:
            raise WrongProof("leaf record", record[32:].hex(), "a row number, a count and a span below 2^64")
        return cls(record[:32], first_row, rows, known)


def leaf_hash(record: bytes) -> bytes:
    """Hash of one leaf record."""
    return keccak(record)


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels over leaf hashes, leaves first, without the padding; at least one leaf."""
    level, empty, found = list(leaves), EMPTY_LEAF, [list(leaves)]
    while len(level) > 1:
        padded = [*level, empty] if len(level) % 2 else level
        level = [keccak(padded[at] + padded[at + 1]) for at in range(0, len(padded), 2)]
        empty = keccak(empty + empty)
        found.append(level)
    return found


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes; of one leaf it is that leaf."""
    if not 1 <= len(leaves) <= MAX_CHUNKS:
        raise WrongProof("number of chunks", len(leaves), f"1 to {MAX_CHUNKS}")
    return levels(leaves)[-1][0]


def multiproof(leaves: Sequence[bytes], chosen: Sequence[int]) -> tuple[bytes, ...]:
    """Sibling hashes that prove the leaves at `chosen`, level by level from the leaves, ascending in a level.

    The order of `contracts/core/merkle.vy`: a missing side is given only where it covers a real leaf.
    """
    known, siblings = set(chosen), []
    for level in levels(leaves)[:-1]:
        for place in sorted(known):
            if place ^ 1 not in known and place ^ 1 < len(level):
                siblings.append(level[place ^ 1])
        known = {place >> 1 for place in known}
    return tuple(siblings)


def root_from_multiproof(count: int, leaves: Mapping[int, bytes], siblings: Sequence[bytes]) -> bytes:
    """Root of a tree of `count` leaves from some leaf hashes by place and their siblings. Raises `WrongProof`."""
    if not (1 <= count <= MAX_CHUNKS and leaves and all(0 <= place < count for place in leaves)):
        raise WrongProof("places of the proven chunks", sorted(leaves)[:4], f"some of 0 to {count - 1}")
    known, proof, real, padding = dict(leaves), iter(siblings), count, EMPTY_LEAF
    for _ in range((count - 1).bit_length()):
        above: dict[int, bytes] = {}
        for place in sorted(known):
            if place & 1 and place ^ 1 in known:
                continue
            other = known.get(place ^ 1) or (next(proof, b"") if place ^ 1 < real else padding)
            if len(other) != HASH_BYTES:
                raise WrongProof("number of sibling hashes", len(siblings), "more")
            above[place >> 1] = keccak(other + known[place] if place & 1 else known[place] + other)
        known, real, padding = above, (real + 1) >> 1, keccak(padding + padding)
    if next(proof, None) is not None:
        raise WrongProof("number of sibling hashes", len(siblings), "fewer")
    return known[0]
