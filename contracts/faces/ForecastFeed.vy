# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title ForecastFeed: one quantile of a forecast in the shape that lending and trading protocols read
@license AGPL-3.0-only
@notice The answer is one quantile of the log return to the horizon, in 1e-6 (6 decimals), with real history: what a
        lender takes as the worst case of the next day. Strict, as `StrictFeed`; all quantiles come in one call.
"""

from .. import constants
from . import feed_table
from . import feed_word
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
def __init__(aggregator: address, number: uint256, quantile: uint256):
    """
    @notice Binds the face to one quantile of one listed forecast for ever.
    @param aggregator The Aggregator.
    @param number Feed number; listed, if only for the next config.
    @param quantile Its place among the quantiles 1, 5, 10, 25, 50, 75, 90, 95, 99 %, from 0.
    """
    # CHECKS: the mark of faces without a component is none.
    assert quantile != series.SCALAR, "feed: no such component"
    series.__init__(aggregator, number, quantile)
    assert series.KIND == constants.KIND_FORECAST, "feed: not a forecast"


# VIEW


@external
@view
def level() -> uint256:
    """
    @notice Which quantile the answer is.
    @return Percent.
    """
    return feed_word._level(series.COMPONENT)


@external
@view
def quantiles() -> (uint256, uint256, DynArray[int256, 16]):
    """
    @notice All quantiles of the newest round; reverts with the reason while they cannot be relied on.
    @return Round, time of observation, quantiles 1, 5, 10, 25, 50, 75, 90, 95, 99 % of the log return in 1e-6.
    """
    return strict._vector()
