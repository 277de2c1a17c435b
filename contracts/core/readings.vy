# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Readings: the newest rounds, and how far they can be relied on
@license AGPL-3.0-only
@notice Puts what is stored of a feed beside what speaks against it.
"""

from . import gates
from . import rounds
from ..faces import feed_word
from ..interfaces import IAggregator

uses: gates
uses: rounds


# VIEW


@external
@view
def latestChecked(number: uint256) -> (uint256, uint256, uint256):
    """
    @notice The newest round of a feed and how far it can be relied on.
    @param number Feed number.
    @return Round (0 if there is none), its stored word, and the STATUS bits of constants.vy.
    """
    round: uint256 = 0
    word: uint256 = 0
    invalid: bool = False
    round, word, invalid = rounds._newest(number)
    return round, word, gates._status(gates._gate(number), invalid, word)


@external
@view
def status(number: uint256) -> uint256:
    """
    @notice Everything that speaks against a feed's newest round.
    @param number Feed number.
    @return STATUS bits of constants.vy: 1 stale, 2 INVALID, 4 paused, 8 sequencer, 16 retired, 32 no round; 0 is good.
    """
    round: uint256 = 0
    word: uint256 = 0
    invalid: bool = False
    round, word, invalid = rounds._newest(number)
    return gates._status(gates._gate(number), invalid, word)


@external
@view
def latestMany(numbers: DynArray[uint256, 64]) -> DynArray[IAggregator.Reading, 64]:
    """
    @notice The newest rounds of many feeds in one call.
    @param numbers Feed numbers, in any order.
    @return A reading for each, in the same order; unknown feeds are stale and empty.
    """
    found: DynArray[IAggregator.Reading, 64] = []
    for number: uint256 in numbers:
        found.append(self._reading(number))
    return found


# INTERNAL


@internal
@view
def _reading(number: uint256) -> IAggregator.Reading:
    round: uint256 = 0
    word: uint256 = 0
    invalid: bool = False
    round, word, invalid = rounds._newest(number)
    found: IAggregator.Reading = empty(IAggregator.Reading)
    found.number = number
    found.status = gates._status(gates._gate(number), invalid, word)
    if word != 0:
        found.round = round
        found.observedAt = feed_word._observed_at(word)
        found.updatedAt = feed_word._updated_at(word)
        found.value = feed_word._answer(word)
        found.confidence = feed_word._confidence(word)
        found.turnout = feed_word._turnout(word)
        found.flags = convert(feed_word._flags(word), uint256)
        found.vector = rounds._vector_of(number, round, word)
    return found
