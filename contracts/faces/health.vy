# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Health: what speaks for and against the newest round
@license AGPL-3.0-only
@notice The Aggregator judges (STATUS bits of constants.vy), the newest word tells its quality. Nothing here reverts for
        a feed in whatever state.
"""

from .. import constants
from . import feed_word
from . import series

uses: series


# VIEW


@external
@view
def status() -> uint256:
    """
    @notice Everything that speaks against the newest round now.
    @return Bits: 1 stale, 2 INVALID, 4 paused, 8 sequencer down or in grace, 16 retired, 32 no round yet; 0 is good.
    """
    return self._status()


@external
@view
def isStale() -> bool:
    """
    @notice Whether the newest round is older than the heartbeat and the time that a report may take.
    @return True also before the first round.
    """
    return self._status() & (constants.STATUS_STALE | constants.STATUS_EMPTY) != 0


@external
@view
def invalid() -> bool:
    """
    @notice Whether the validators called the feed INVALID since the newest round.
    @return True if the newest round is older than the last report.
    """
    return (staticcall series.AGGREGATOR.head(series.NUMBER)).invalid


@external
@view
def paused() -> bool:
    """
    @notice Whether the guardian has paused this feed or all feeds.
    @return True while a pause lasts.
    """
    return self._status() & constants.STATUS_PAUSED != 0


@external
@view
def turnout() -> uint256:
    """
    @notice Share of the effective stake that observed the newest value.
    @return Basis points.
    """
    return feed_word._turnout(self._word())


@external
@view
def confidence() -> uint256:
    """
    @notice Spread of the newest scalar among validators and sources, rounded up.
    @return In the unit of the feed's scalar.
    """
    return feed_word._confidence(self._word())


@external
@view
def flags() -> uint8:
    """
    @notice Flags of the newest round as signed (constants.vy).
    @return Bits.
    """
    return feed_word._flags(self._word())


# INTERNAL


@internal
@view
def _status() -> uint256:
    return staticcall series.AGGREGATOR.status(series.NUMBER)


@internal
@view
def _word() -> uint256:
    round: uint256 = 0
    word: uint256 = 0
    round, word = staticcall series.AGGREGATOR.latest(series.NUMBER)
    return word


@internal
@view
def _resolved(word: uint256) -> (bool, uint256):
    final: bool = series.KIND == constants.KIND_EVENT and word & (constants.FLAG_FINAL << 48) != 0
    return final, (word >> 112) & (2**128 - 1)
