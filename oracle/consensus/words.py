"""Feed words, pages, the Merkle tree over them and the bytes that `Aggregator.transmit` takes.

Why this file exists: the one Python home of the chain's byte layout (design page 3); Vyper repeats it and parity tests
compare. Final from the first release on. Never in it: how a value came about, floats.

A word is a uint256 read from the top: feed 16 | value int128 | confidence 40 | turnout 16 | flags 8 | 48 reserved
(zero when signed; as stored: updatedAt 32 | delay 16). A vector word: feed + 1 16 | 240 bits of components.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eth_utils.crypto import keccak

from contracts import constant_int
from oracle.consensus.network import INT128, LANES, MAX_FEED_NUMBER, MAX_PAGES, FeedKind, FeedSpec
from oracle.errors import BadBlob, ValueOutOfRange, WrongRoot

FLAG_INVALID = constant_int("FLAG_INVALID")
FLAG_TURNOUT = constant_int("FLAG_TURNOUT")
FLAG_DISPERSION = constant_int("FLAG_DISPERSION")
FLAG_JUMP = constant_int("FLAG_JUMP")
FLAG_OUT_OF_BOUNDS = constant_int("FLAG_OUT_OF_BOUNDS")
FLAG_FAMILY = constant_int("FLAG_FAMILY")
FLAG_FINAL = constant_int("FLAG_FINAL")
FLAG_VECTOR = constant_int("FLAG_VECTOR")

PAGE_BYTES = constant_int("PAGE_BYTES")
EMPTY_LEAF = bytes(32)
"""What pads the leaves to a power of two."""
MANTISSA = (1 << 32) - 1
FORECAST_BITS, EVENT_BITS = 24, 14
INT24 = 1 << 23
HEADER_BYTES, SIGNATURE_BYTES, HASH_BYTES = 32, 64, 32


@dataclass(frozen=True, slots=True)
class FeedWord:
    """One feed word, read. `confidence` is what the 40 bits mean; `turnout` in basis points of total stake.

    `updated_at` (seconds) and `delay` (updated_at - observedAt) are zero until the chain stores the word.
    """

    feed: int
    value: int
    confidence: int
    turnout: int
    flags: int
    updated_at: int = 0
    delay: int = 0

    @property
    def invalid(self) -> bool:
        """Whether consensus refused the value."""
        return bool(self.flags & FLAG_INVALID)


def _fit(name: str, value: int, low: int, high: int) -> int:
    """Return `value`, or raise ValueOutOfRange when it is outside low..high."""
    if not low <= value <= high:
        raise ValueOutOfRange(f"{name} must be in {low}..{high}", given=value, limit=high)
    return value


def pack_confidence(confidence: int) -> int:
    """40 bits of a confidence: mantissa m (32) then exponent e (8), m * 10^e rounded up, e as small as possible.

    >>> pack_confidence(5_000_000_001) == 500_000_001 << 8 | 1
    True
    """
    exponent, unit = 0, 1
    while (mantissa := -(-confidence // unit)) > MANTISSA:
        exponent, unit = exponent + 1, unit * 10
    return _fit("confidence", mantissa, 0, MANTISSA) << 8 | _fit("confidence exponent", exponent, 0, 255)


def unpack_confidence(bits: int) -> int:
    """Confidence that 40 bits mean.

    >>> unpack_confidence(pack_confidence(5_000_000_001))
    5000000010
    """
    return int((bits >> 8) * 10 ** (bits & 255))


def pack_word(word: FeedWord) -> int:
    """Feed word as uint256; confidence is rounded up to what 40 bits can say. Raises ValueOutOfRange."""
    packed = _fit("feed", word.feed, 0, MAX_FEED_NUMBER) << 240
    packed |= _fit("value", word.value, -INT128, INT128 - 1) % (INT128 << 1) << 112
    packed |= pack_confidence(word.confidence) << 72
    packed |= _fit("turnout", word.turnout, 0, 65_535) << 56
    packed |= _fit("flags", word.flags, 0, 255) << 48
    return packed | _fit("updated_at", word.updated_at, 0, 2**32 - 1) << 16 | _fit("delay", word.delay, 0, 65_535)


def unpack_word(packed: int) -> FeedWord:
    """Read a feed word; every uint256 is one."""
    value = packed >> 112 & (INT128 << 1) - 1
    return FeedWord(
        feed=packed >> 240,
        value=value - (INT128 << 1) if value >= INT128 else value,
        confidence=unpack_confidence(packed >> 72 & (1 << 40) - 1),
        turnout=packed >> 56 & 65_535,
        flags=packed >> 48 & 255,
        updated_at=packed >> 16 & 2**32 - 1,
        delay=packed & 65_535,
    )


def pack_vector(spec: FeedSpec, components: Sequence[int]) -> int:
    """Vector word of a feed: 9 x int24 quantiles in 1e-6, or one uint14 in basis points per outcome, left-aligned."""
    if len(components) != spec.width:
        raise ValueOutOfRange(f"feed {spec.number}: needs {spec.width} components", given=len(components))
    event = spec.kind is FeedKind.EVENT
    bits = EVENT_BITS if event else FORECAST_BITS
    low, high = (0, (1 << EVENT_BITS) - 1) if event else (-INT24, INT24 - 1)
    packed = _fit("feed", spec.number + 1, 1, MAX_FEED_NUMBER) << 240
    for place, component in enumerate(components):
        packed |= _fit("component", component, low, high) % (1 << bits) << 240 - bits * (place + 1)
    return packed


def unpack_vector(spec: FeedSpec, packed: int) -> tuple[int, ...]:
    """Components of a feed's vector word."""
    event = spec.kind is FeedKind.EVENT
    bits = EVENT_BITS if event else FORECAST_BITS
    raw = (packed >> 240 - bits * (place + 1) & (1 << bits) - 1 for place in range(spec.width))
    return tuple(part - (1 << bits) if not event and part >= INT24 else part for part in raw)


def build_pages(words: Mapping[int, int], numbers: Sequence[int]) -> tuple[bytes, ...]:
    """Bytes of each page in `numbers` (ascending): 4 words by lane, zero where `words` (lane -> uint256) has none."""
    return tuple(
        b"".join(words.get(page * LANES + lane, 0).to_bytes(32, "big") for lane in range(LANES)) for page in numbers
    )


def page_words(page: bytes) -> tuple[int, ...]:
    """The 4 words of a page."""
    return tuple(int.from_bytes(page[at : at + 32], "big") for at in range(0, PAGE_BYTES, 32))


def _tree(pages: Sequence[bytes]) -> list[list[bytes]]:
    """All levels of the Merkle tree, leaves first, each padded to a power of two by zero-leaf subtrees."""
    _fit("pages", len(pages), 1, MAX_PAGES)
    level = [keccak(page) for page in pages]
    level += [EMPTY_LEAF] * ((1 << (len(level) - 1).bit_length()) - len(level))
    levels = [level]
    while len(level) > 1:
        level = [keccak(level[at] + level[at + 1]) for at in range(0, len(level), 2)]
        levels.append(level)
    return levels


def merkle_root(pages: Sequence[bytes]) -> bytes:
    """Root over pages: leaf keccak(128 bytes), inner keccak(64 bytes), zero leaves as padding; one page: its leaf."""
    return _tree(pages)[-1][0]


def bits_of(bitmap: int) -> list[int]:
    """Positions of the set bits, ascending.

    >>> bits_of(0b1010)
    [1, 3]
    """
    return [bit for bit in range(bitmap.bit_length()) if bitmap >> bit & 1]


def multiproof(pages: Sequence[bytes], chosen: int) -> tuple[bytes, ...]:
    """Sibling hashes that prove the pages of bitmap `chosen`: level by level from the leaves, ascending in a level.

    A missing side is sent only where it covers a real page; a subtree of padding is computed by the verifier.
    """
    _fit("chosen pages", chosen, 1, (1 << len(pages)) - 1)
    known, siblings, real = set(bits_of(chosen)), [], len(pages)
    for level in _tree(pages)[:-1]:
        for place in sorted(known):
            if place ^ 1 not in known and place ^ 1 < real:
                siblings.append(level[place ^ 1])
        known, real = {place >> 1 for place in known}, (real + 1) >> 1
    return tuple(siblings)


def root_from_multiproof(count: int, chosen: int, pages: Sequence[bytes], siblings: Sequence[bytes]) -> bytes:
    """Root of a tree of `count` pages from the pages of bitmap `chosen` and their siblings; raises WrongRoot."""
    if not (1 <= count <= MAX_PAGES and 0 < chosen < 1 << count and len(pages) == chosen.bit_count()):
        raise WrongRoot("page bitmap does not fit the page count and the pages given", given=chosen, limit=count)
    known = dict(zip(bits_of(chosen), (keccak(page) for page in pages), strict=True))
    proof, real, padding = iter(siblings), count, EMPTY_LEAF
    for _ in range((count - 1).bit_length()):
        above: dict[int, bytes] = {}
        for place in sorted(known):
            if place & 1 and place ^ 1 in known:
                continue
            other = known.get(place ^ 1) or (next(proof, b"") if place ^ 1 < real else padding)
            if len(other) != HASH_BYTES:
                raise WrongRoot("too few proof hashes", given=len(siblings))
            pair = other + known[place] if place & 1 else known[place] + other
            above[place >> 1] = keccak(pair)
        known, real, padding = above, (real + 1) >> 1, keccak(padding + padding)
    if next(proof, None) is not None:
        raise WrongRoot("too many proof hashes", given=len(siblings))
    return known[0]


@dataclass(frozen=True, slots=True)
class TransmitBlob:
    """What `Aggregator.transmit` is given, read. `signers`, `chosen`: bitmaps over the table and over the pages."""

    slot: int
    observed_at: int
    signers: int
    chosen: int
    count: int
    signatures: tuple[bytes, ...]
    pages: tuple[bytes, ...]
    siblings: tuple[bytes, ...]


def pack_blob(
    slot: int, observed_at: int, signatures: Iterable[tuple[int, bytes]], pages: Sequence[bytes], chosen: int
) -> bytes:
    """Bytes for `Aggregator.transmit`: header, signatures in index order, chosen pages, sibling hashes.

    `signatures`: (row, 64 bytes). `pages`: all pages of the tree. `chosen`: bitmap of those to store.
    """
    ordered = sorted(signatures)
    signers = sum(1 << row for row, _ in ordered)
    header = struct.pack(">IQQQI", slot, observed_at, signers, chosen, len(pages))
    parts = [header, *(signature for _, signature in ordered), *(pages[place] for place in bits_of(chosen))]
    return b"".join([*parts, *multiproof(pages, chosen)])


def unpack_blob(blob: bytes) -> TransmitBlob:
    """Read transmit bytes. Raises BadBlob; the number of sibling hashes is checked by `root_from_multiproof`."""
    if len(blob) < HEADER_BYTES:
        raise BadBlob("transmit bytes are shorter than their header", given=len(blob), limit=HEADER_BYTES)
    slot, observed_at, signers, chosen, count = struct.unpack_from(">IQQQI", blob)
    if not (1 <= count <= MAX_PAGES and 0 < chosen < 1 << count):
        raise BadBlob("page bitmap does not fit the page count", given=chosen, limit=count)
    first_page = HEADER_BYTES + SIGNATURE_BYTES * signers.bit_count()
    first_hash = first_page + PAGE_BYTES * chosen.bit_count()
    if len(blob) < first_hash or (len(blob) - first_hash) % HASH_BYTES:
        raise BadBlob("transmit bytes do not have the length that their header states", given=len(blob))

    def _cut(start: int, end: int, size: int) -> tuple[bytes, ...]:
        return tuple(blob[at : at + size] for at in range(start, end, size))

    return TransmitBlob(
        slot,
        observed_at,
        signers,
        chosen,
        count,
        signatures=_cut(HEADER_BYTES, first_page, SIGNATURE_BYTES),
        pages=_cut(first_page, first_hash, PAGE_BYTES),
        siblings=_cut(first_hash, len(blob), HASH_BYTES),
    )
