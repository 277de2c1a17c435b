# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title feed_reader: what a careful reader checks before it believes a feed
@license AGPL-3.0-only
@notice The plain Feed answers with the newest valid round however old it is, so that the reader decides. This module
        decides: no answer from a feed whose last report was INVALID, and, in `_fresh`, none that is too old.
"""

from ..interfaces import IFeed


# A round that passed the checks.
struct Reading:
    round: uint256
    answer: int256
    # When the network observed it, and when it was stored.
    startedAt: uint256
    updatedAt: uint256


@internal
@view
def _newest(feed: IFeed) -> Reading:
    """
    @notice The newest round of a feed whose last report was valid.
    @param feed Any feed.
    @return Its reading, however old.
    """
    assert not staticcall feed.invalid(), "reader: invalid feed"
    round: uint80 = 0
    answer: int256 = 0
    started: uint256 = 0
    updated: uint256 = 0
    answered: uint80 = 0
    round, answer, started, updated, answered = staticcall feed.latestRoundData()
    assert round != 0 and answered == round, "reader: no round"
    assert started <= updated and updated <= block.timestamp, "reader: feed from the future"
    return Reading(round=convert(round, uint256), answer=answer, startedAt=started, updatedAt=updated)


@internal
@view
def _fresh(feed: IFeed, grace: uint256) -> Reading:
    """
    @notice The newest round, if it is no older than the feed's own heartbeat allows.
    @param feed Any feed.
    @param grace Seconds that it may be late beyond its heartbeat.
    @return Its reading.
    """
    reading: Reading = self._newest(feed)
    lifetime: uint256 = staticcall feed.heartbeat() + grace
    assert block.timestamp - reading.updatedAt <= lifetime, "reader: stale feed"
    return reading
