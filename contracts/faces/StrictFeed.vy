# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title StrictFeed: a feed that answers only what can be relied on
@license AGPL-3.0-only
@notice For readers that check nothing themselves (Morpho, Euler): the newest round reverts with the reason while it is
        stale, INVALID, paused, retired, or the sequencer of this L2 is down or has just come back (strict.vy tells the
        order). History is that of `Feed`. A value of zero or below is an answer here.
"""

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
def __init__(aggregator: address, number: uint256):
    """
    @notice Binds the face to one listed feed for ever.
    @param aggregator The Aggregator.
    @param number Feed number; listed, if only for the next config.
    """
    series.__init__(aggregator, number, series.SCALAR)
