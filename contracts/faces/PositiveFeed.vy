# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title PositiveFeed: a price that is 0 when it cannot be relied on
@license AGPL-3.0-only
@notice For readers that take 0 as "no price": Aave then asks its fallback oracle, Compound reverts. The newest answer
        is 0 where `StrictFeed` would revert and where the value is not positive; history is that of `Feed`.
@dev No V2 getter reverts. `latestRoundData` reverts in one case, "No data present" before the first round: no round and
     no time could be told then, and AggregatorV3 asks for it. Who reverts on 0 loses nothing by that; who goes to a
     fallback on 0 reads `latestAnswer`. Prices only: the median of a log return may well be 0.
"""

from .. import constants
from . import feed_table
from . import feed_word
from . import health
from . import history
from . import round_log
from . import series
from ..interfaces import IAggregatorV2V3
from ..interfaces import IFeed

implements: IAggregatorV2V3
implements: IFeed
initializes: series
initializes: feed_table[series := series]
initializes: health[series := series]
initializes: history[series := series]
initializes: round_log[history := history]

exports: series.__interface__
exports: feed_table.__interface__
exports: health.__interface__
exports: history.__interface__
exports: round_log.__interface__


@deploy
def __init__(aggregator: address, number: uint256):
    """
    @notice Binds the face to one listed price for ever.
    @param aggregator The Aggregator.
    @param number Feed number; listed, if only for the next config.
    """
    series.__init__(aggregator, number, series.SCALAR)
    assert series.KIND == constants.KIND_PRICE, "feed: not a price"


# VIEW


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice The newest round, its answer 0 while it cannot be relied on; reverts "No data present" before the first.
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
    @notice The newest answer.
    @return The answer; 0 while it cannot be relied on or is not positive. Never reverts.
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
    @notice When the newest round was stored, whether or not it can be relied on.
    @return Seconds, 0 before the first round.
    """
    return feed_word._updated_at(health._word())


@external
@view
def latestVector() -> (uint256, DynArray[int256, 16]):
    """
    @notice A price has no components.
    @return The newest round (0 before the first), and nothing.
    """
    return history._newest(), []


# INTERNAL


@internal
@view
def _newest() -> (uint256, uint256, int256):
    round: uint256 = 0
    word: uint256 = 0
    status: uint256 = 0
    round, word, status = staticcall series.AGGREGATOR.latestChecked(series.NUMBER)
    if status != 0:
        return round, word, 0
    return round, word, max(feed_word._answer(word), 0)
