# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Round log: Chainlink's events, for those who wait for them
@license AGPL-3.0-only
@notice The Aggregator logs one packed event a push, which is what keeps many feeds cheap. Who wants AnswerUpdated and
        NewRound as AggregatorInterface declares them calls `sync`: the caller pays, and every reader sees them.
"""

from .. import constants
from . import feed_word
from . import history
from ..interfaces import IAggregatorV2V3

uses: history

# Most rounds that one call logs.
BATCH: constant(uint256) = 32

# The newest round that `sync` has dealt with: the only thing that a face ever writes.
lastSynced: public(uint256)


# PERMISSIONLESS


@external
def sync() -> uint256:
    """
    @notice Logs AnswerUpdated and NewRound for the next rounds that were not logged yet, 32 at most, oldest first.
            Rounds that the ring has lost are left out. All is logged once `lastSynced` is `latestRound`.
    @return How many rounds were logged.
    """
    # CHECKS
    newest: uint256 = history._newest()
    first: uint256 = self.lastSynced + 1
    if newest >= first + constants.RING:
        first = newest - constants.RING + 1
    if newest < first:
        return 0
    last: uint256 = min(newest, first + BATCH - 1)
    # EFFECTS
    self.lastSynced = last
    # INTERACTIONS, LOG
    logged: uint256 = 0
    for round: uint256 in range(first, last + 1, bound=BATCH):
        word: uint256 = 0
        answer: int256 = 0
        word, answer = history._read(round)
        if word == 0:
            continue
        log IAggregatorV2V3.NewRound(roundId=round, startedBy=msg.sender, startedAt=feed_word._observed_at(word))
        log IAggregatorV2V3.AnswerUpdated(current=answer, roundId=round, updatedAt=feed_word._updated_at(word))
        logged += 1
    return logged
