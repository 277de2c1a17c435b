# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Strict: the newest round, or a reason why not
@license AGPL-3.0-only
@notice Of several reasons the first is given: "No data present", "feed: retired", "feed: paused",
        "feed: sequencer down", "feed: invalid", "feed: stale". What lasts longest comes first, so that a caller who
        waits for one reason to pass does not wait for nothing.
"""

from .. import constants
from . import feed_word
from . import history
from . import series

uses: series
uses: history


# VIEW


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice The newest round; reverts with the reason while it cannot be relied on.
    @return roundId, answer, time of observation, time of storing, roundId.
    """
    round: uint256 = 0
    word: uint256 = 0
    answer: int256 = 0
    round, word, answer = self._newest()
    return history._round_data(round, word, answer)


@external
@view
def latestAnswer() -> int256:
    """
    @notice The newest answer; reverts with the reason while it cannot be relied on.
    @return The answer.
    """
    round: uint256 = 0
    word: uint256 = 0
    answer: int256 = 0
    round, word, answer = self._newest()
    return answer


@external
@view
def latestTimestamp() -> uint256:
    """
    @notice When the newest round was stored; reverts with the reason while it cannot be relied on.
    @return Seconds.
    """
    round: uint256 = 0
    word: uint256 = 0
    answer: int256 = 0
    round, word, answer = self._newest()
    return feed_word._updated_at(word)


@external
@view
def latestVector() -> (uint256, DynArray[int256, 16]):
    """
    @notice The whole forecast of the newest round, with the round; reverts with the reason while it cannot be relied
            on.
    @return Round, and components as in `vector`.
    """
    round: uint256 = 0
    word: uint256 = 0
    round, word = self._checked()
    return round, history._components(round)


# INTERNAL


@internal
@view
def _newest() -> (uint256, uint256, int256):
    round: uint256 = 0
    word: uint256 = 0
    answer: int256 = 0
    round, word = self._checked()
    word, answer = history._value(round, word)
    assert word != 0, "No data present"
    return round, word, answer


@internal
@view
def _vector() -> (uint256, uint256, DynArray[int256, 16]):
    """
    @notice The newest round with all components.
    @return Round, time of observation, components; reverts with the reason while it cannot be relied on.
    """
    round: uint256 = 0
    word: uint256 = 0
    round, word = self._checked()
    components: DynArray[int256, 16] = history._components(round)
    assert len(components) != 0, "No data present"
    return round, feed_word._observed_at(word), components


@internal
@view
def _decided() -> uint256:
    """
    @notice The newest word of an event, for its decision: what speaks against a value's age does not count.
    @return The word, 0 before the first round.
    """
    round: uint256 = 0
    word: uint256 = 0
    status: uint256 = 0
    round, word, status = staticcall series.AGGREGATOR.latestChecked(series.NUMBER)
    status &= constants.STATUS_PAUSED | constants.STATUS_INVALID
    if status != 0:
        self._refuse(status)
    return word


@internal
@view
def _checked() -> (uint256, uint256):
    round: uint256 = 0
    word: uint256 = 0
    status: uint256 = 0
    round, word, status = staticcall series.AGGREGATOR.latestChecked(series.NUMBER)
    if status != 0:
        self._refuse(status)
    return round, word


@internal
@pure
def _refuse(status: uint256):
    # CHECKS: one bit is set at least; a bit that is not known here is a reason too.
    assert status & constants.STATUS_EMPTY == 0, "No data present"
    assert status & constants.STATUS_RETIRED == 0, "feed: retired"
    assert status & constants.STATUS_PAUSED == 0, "feed: paused"
    assert status & constants.STATUS_SEQUENCER == 0, "feed: sequencer down"
    assert status & constants.STATUS_INVALID == 0, "feed: invalid"
    raise "feed: stale"
