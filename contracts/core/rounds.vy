# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Rounds: what is stored of every feed
@license AGPL-3.0-only
@notice Keeps the newest 1,024 rounds of each feed and, in a word for each page of four feeds, what is newest of them.
        It takes what it is given: only verified reports may come here.
"""

from .. import constants
from . import bits
from ..interfaces import IAggregator

INVALID_BIT: constant(uint256) = constants.FLAG_INVALID << 48
VECTOR_BIT: constant(uint256) = constants.FLAG_VECTOR << 48
SPECIAL_BITS: constant(uint256) = INVALID_BIT | VECTOR_BIT
# A feed word without its reserved bits.
SIGNED_BITS: constant(uint256) = max_value(uint256) - (2**48 - 1)
# A word of heads has 64 bits a lane, lane 0 least significant: INVALID 1 | round 31 | last slot 32.
INVALID_HEAD: constant(uint256) = 1 << 63
LANE_0: constant(uint256) = 32
EVERY_LANE: constant(uint256) = 2**192 + 2**128 + 2**64 + 1
ROUNDS: constant(uint256) = (2**63 - 2**32) * EVERY_LANE


# One a push: which pages of the tree were stored, and the words of their feeds as signed, in order.
event Transmitted:
    slot: indexed(uint32)
    bitmap: uint256
    words: DynArray[uint256, 128]


heads: uint256[16384]
# Word of round r of feed n at n * 1024 + r % 1024; the vector of a vector feed at the same place of n + 1.
ring: uint256[67108864]


# VIEW


@external
@view
def latest(number: uint256) -> (uint256, uint256):
    """
    @notice The newest round of a feed.
    @param number Feed number.
    @return Round (0 if there is none) and its stored word.
    """
    round: uint256 = (self._head(number) >> 32) & bits.MASK_31
    if round == 0:
        return 0, 0
    return round, self.ring[number * constants.RING + round % constants.RING]


@external
@view
def roundWord(number: uint256, round: uint256) -> uint256:
    """
    @notice The stored word of a round.
    @param number Feed number.
    @param round Round of that feed.
    @return The word, 0 outside the newest 1,024 rounds.
    """
    return self._round_word(number, round)


@external
@view
def vectorWord(number: uint256, round: uint256) -> uint256:
    """
    @notice The vector of a round of a forecast or event feed, packed.
    @param number Feed number (of the scalar).
    @param round Round of that feed.
    @return The vector word, 0 if the round is unknown or the feed has no vector.
    """
    return self._vector_of(number, round, self._round_word(number, round))


@external
@view
def head(number: uint256) -> IAggregator.Head:
    """
    @notice What is newest of a feed.
    @param number Feed number.
    @return Whether the last stored report called it INVALID, its newest round, its last slot.
    """
    word: uint256 = self._head(number)
    if word >> 32 == 0:
        # The slot of a lane without rounds and without the INVALID bit is only that of its page.
        return empty(IAggregator.Head)
    return IAggregator.Head(
        invalid=word & INVALID_HEAD != 0,
        round=convert((word >> 32) & bits.MASK_31, uint32),
        slot=convert(word & bits.MASK_32, uint32),
    )


# INTERNAL


@internal
def _store(report: uint256[6]) -> uint256:
    # EFFECTS
    slot: uint256 = report[0]
    position: uint256 = report[2]
    stored: uint256 = report[1]
    vectors: uint256 = 0
    words: DynArray[uint256, 128] = []
    for i: uint256 in range(32):
        rest: uint256 = report[1] >> i
        if rest & 1 == 0:
            if rest == 0:
                break
            continue
        lanes: uint256[4] = abi_decode(slice(msg.data, position, 128), uint256[4])
        position = unsafe_add(position, 128)
        page: uint256 = (report[unsafe_add(3, i >> 4)] >> unsafe_sub(240, unsafe_mul(16, i & 15))) & bits.MASK_16
        head: uint256 = self.heads[page]
        # All lanes of a page carry the slot of its last report.
        if slot <= head & bits.MASK_32:
            stored ^= 1 << i
            continue
        head = (head & ROUNDS) | unsafe_mul(slot, EVERY_LANE)
        number: uint256 = unsafe_sub(unsafe_mul(4, page), 1)
        field: uint256 = unsafe_sub(LANE_0, 64)
        follows: uint256 = 0
        place: uint256 = 0
        for word: uint256 in lanes:
            number = unsafe_add(number, 1)
            field = unsafe_add(field, 64)
            if word == 0:
                continue
            assert word >> 240 == number, "aggregator: word in a wrong lane"
            words.append(word)
            if follows != 0:
                # The vector of the lane before; kept only with a valid scalar.
                if follows & INVALID_BIT == 0:
                    self.ring[unsafe_add(place, constants.RING)] = word
                follows = 0
                vectors = unsafe_add(vectors, 1)
                continue
            if word & SPECIAL_BITS != 0:
                if word & VECTOR_BIT != 0:
                    follows = word & SPECIAL_BITS
                if word & INVALID_BIT != 0:
                    head |= 1 << unsafe_add(field, 31)
                    log IAggregator.FeedInvalid(number=number, slot=slot, word=word)
                    continue
            head = unsafe_add(head, 1 << field)
            place = unsafe_add(unsafe_mul(number, constants.RING), (head >> field) & 1023)
            self.ring[place] = (word & SIGNED_BITS) | report[5]
        self.heads[page] = head
    # LOG
    log Transmitted(slot=convert(slot, uint32), bitmap=stored, words=words)
    return unsafe_sub(len(words), vectors)


@internal
@view
def _is_news(slot: uint256, pages: uint256, numbers: uint256[2]) -> bool:
    # Whether a pushed page is older on chain than the slot. All lanes of a page carry the slot of its last report.
    for i: uint256 in range(32):
        rest: uint256 = pages >> i
        if rest == 0:
            break
        if rest & 1 != 0:
            page: uint256 = (numbers[i >> 4] >> unsafe_sub(240, unsafe_mul(16, i & 15))) & bits.MASK_16
            if slot > self.heads[page] & bits.MASK_32:
                return True
    return False


@internal
@view
def _newest(number: uint256) -> (uint256, uint256, bool):
    # Round, stored word (both 0 before the first round), and whether the last report called the feed INVALID.
    head: uint256 = self._head(number)
    round: uint256 = (head >> 32) & bits.MASK_31
    if round == 0:
        return 0, 0, head & INVALID_HEAD != 0
    return round, self.ring[number * constants.RING + round % constants.RING], head & INVALID_HEAD != 0


@internal
@view
def _last_slot(number: uint256) -> uint256:
    return self._head(number) & bits.MASK_32


@internal
@view
def _vector_of(number: uint256, round: uint256, word: uint256) -> uint256:
    if word & VECTOR_BIT == 0:
        return 0
    return self.ring[(number + 1) * constants.RING + round % constants.RING]


@internal
@view
def _head(number: uint256) -> uint256:
    if number > constants.MAX_FEED_NUMBER:
        return 0
    return (self.heads[number // 4] >> (64 * (number % 4))) & bits.MASK_64


@internal
@view
def _round_word(number: uint256, round: uint256) -> uint256:
    newest: uint256 = (self._head(number) >> 32) & bits.MASK_31
    if round == 0 or round > newest or round + constants.RING <= newest:
        return 0
    return self.ring[number * constants.RING + round % constants.RING]
