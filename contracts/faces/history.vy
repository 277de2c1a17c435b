# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title History: every round that the Aggregator still holds
@license AGPL-3.0-only
@notice What was stored is told whatever stands against the feed now. Unknown round: V2 answers 0, V3 reverts
        "No data present". A round without the face's component is unknown to that face.
"""

from . import feed_word
from . import series

uses: series


# VIEW


@external
@view
def latestRound() -> uint256:
    """
    @notice The newest round.
    @return The round, 0 before the first.
    """
    return self._newest()


@external
@view
def getRoundData(_roundId: uint80) -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice A round of the newest 1,024; reverts "No data present" for all others.
    @param _roundId The round, counted 1, 2, 3...
    @return roundId, answer, time of observation, time of storing, roundId.
    """
    word: uint256 = 0
    answer: int256 = 0
    word, answer = self._read(convert(_roundId, uint256))
    return self._round_data(convert(_roundId, uint256), word, answer)


@external
@view
def getAnswer(roundId: uint256) -> int256:
    """
    @notice The answer of a round.
    @param roundId The round.
    @return The answer, 0 outside the newest 1,024 rounds.
    """
    word: uint256 = 0
    answer: int256 = 0
    word, answer = self._read(roundId)
    return answer


@external
@view
def getTimestamp(roundId: uint256) -> uint256:
    """
    @notice When a round was stored.
    @param roundId The round.
    @return Seconds, 0 outside the newest 1,024 rounds.
    """
    word: uint256 = 0
    answer: int256 = 0
    word, answer = self._read(roundId)
    return feed_word._updated_at(word)


@external
@view
def slotOf(roundId: uint256) -> uint256:
    """
    @notice The consensus slot of a round.
    @param roundId The round.
    @return The slot, 0 outside the newest 1,024 rounds.
    """
    return staticcall series.AGGREGATOR.slotOf(series.NUMBER, roundId)


@external
@view
def vector(roundId: uint256) -> DynArray[int256, 16]:
    """
    @notice The whole forecast of a round: of a forecast feed the quantiles 1, 5, 10, 25, 50, 75, 90, 95, 99 % of the
            log return to the horizon in 1e-6; of an event feed the probabilities in basis points (sum 10,000).
    @param roundId The round.
    @return The components; empty for a price feed and outside the newest 1,024 rounds.
    """
    return self._components(roundId)


# INTERNAL


@internal
@view
def _newest() -> uint256:
    return convert((staticcall series.AGGREGATOR.head(series.NUMBER)).round, uint256)


@internal
@view
def _read(round: uint256) -> (uint256, int256):
    return self._value(round, staticcall series.AGGREGATOR.roundWord(series.NUMBER, round))


@internal
@view
def _value(round: uint256, word: uint256) -> (uint256, int256):
    """
    @notice What the face shows of a stored round.
    @param round The round.
    @param word Its stored word, 0 if unknown.
    @return The word, 0 if the face has nothing to show, and the answer.
    """
    if series.COMPONENT == series.SCALAR or word == 0:
        return word, feed_word._answer(word)
    vector: uint256 = staticcall series.AGGREGATOR.vectorWord(series.NUMBER, round)
    if vector == 0:
        return 0, 0
    return word, feed_word._component(vector, series.KIND, series.COMPONENT)


@internal
@pure
def _round_data(round: uint256, word: uint256, answer: int256) -> (uint80, int256, uint256, uint256, uint80):
    assert word != 0, "No data present"
    id: uint80 = convert(round, uint80)
    return id, answer, feed_word._observed_at(word), feed_word._updated_at(word), id


@internal
@view
def _components(round: uint256) -> DynArray[int256, 16]:
    vector: uint256 = staticcall series.AGGREGATOR.vectorWord(series.NUMBER, round)
    return feed_word._components(vector, series.KIND, series.OUTCOMES)
