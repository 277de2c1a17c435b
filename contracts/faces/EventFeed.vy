# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title EventFeed: the probability of one outcome in the shape that lending and trading protocols read
@license AGPL-3.0-only
@notice The answer is the probability of one outcome of an event, 10,000 = certain (4 decimals), with real history.
        Strict, as `StrictFeed`; the whole vector comes in one call.
"""

from .. import constants
from . import feed_table
from . import health
from . import history
from . import round_log
from . import series
from . import strict
from ..interfaces import IAggregatorV2V3
from ..interfaces import IFeed

implements: IAggregatorV2V3
implements: IFeed
initializes: series
initializes: feed_table[series := series]
initializes: health[series := series]
initializes: history[series := series]
initializes: round_log[history := history]
initializes: strict[series := series, history := history]

exports: series.__interface__
exports: feed_table.__interface__
exports: health.__interface__
exports: history.__interface__
exports: round_log.__interface__
exports: strict.__interface__


@deploy
def __init__(aggregator: address, number: uint256, outcome: uint256):
    """
    @notice Binds the face to one outcome of one listed event for ever.
    @param aggregator The Aggregator.
    @param number Feed number; listed, if only for the next config.
    @param outcome The outcome, from 0.
    """
    # CHECKS: the mark of faces without a component is none.
    assert outcome != series.SCALAR, "feed: no such component"
    series.__init__(aggregator, number, outcome)
    assert series.KIND == constants.KIND_EVENT, "feed: not an event"


# VIEW


@external
@view
def probabilities() -> (uint256, uint256, DynArray[int256, 16]):
    """
    @notice The probabilities of all outcomes in the newest round; reverts with the reason while they cannot be relied
            on.
    @return Round, time of observation, probabilities in basis points (sum 10,000).
    """
    return strict._vector()


@external
@view
def resolved() -> (bool, uint256):
    """
    @notice Whether the event is decided: more than 2/3 of all effective stake said so, with the same outcome. Reverts
            "feed: paused" and "feed: invalid"; a decision does not age, so neither staleness, retirement nor the
            sequencer takes it back.
    @return Decided or not, and the leading outcome (0 before the first round).
    """
    return health._resolved(strict._decided())
