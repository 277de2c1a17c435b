# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Feed: one feed in the shape that lending and trading protocols read
@license AGPL-3.0-only
@notice All of AggregatorV2V3 over the Aggregator's ring, with real history, and what no such feed shows elsewhere: the
        feed table, staleness, turnout, confidence, and the whole forecast.
@dev The plain face: it answers the last valid round however old it is and whatever stands against it, so readers check
     `updatedAt` and `status()`. Identity lies in immutables, values in the Aggregator; it stores only how far it has
     logged.
"""

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
    @notice Binds the face to one listed feed for ever.
    @param aggregator The Aggregator.
    @param number Feed number; listed, if only for the next config.
    """
    series.__init__(aggregator, number, series.SCALAR)


# VIEW


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice The newest round; reverts "No data present" before the first.
    @return roundId, answer, time of observation, time of storing, roundId.
    """
    round: uint256 = 0
    word: uint256 = 0
    round, word = staticcall series.AGGREGATOR.latest(series.NUMBER)
    return history._round_data(round, word, feed_word._answer(word))


@external
@view
def latestAnswer() -> int256:
    """
    @notice The newest answer.
    @return The answer, 0 before the first round.
    """
    return feed_word._answer(health._word())


@external
@view
def latestTimestamp() -> uint256:
    """
    @notice When the newest round was stored.
    @return Seconds, 0 before the first round.
    """
    return feed_word._updated_at(health._word())


@external
@view
def latestVector() -> (uint256, DynArray[int256, 16]):
    """
    @notice The whole forecast of the newest round, with the round.
    @return Round and components as in `vector`; 0 and empty before the first round.
    """
    round: uint256 = history._newest()
    return round, history._components(round)


@external
@view
def resolved() -> (bool, uint256):
    """
    @notice Whether an event is decided: more than 2/3 of all effective stake said so, with the same outcome.
    @return Decided or not, and the outcome (of the newest round even if not decided).
    """
    return health._resolved(health._word())
