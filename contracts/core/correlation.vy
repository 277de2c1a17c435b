# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Correlation: how much stake equivocated at about the same time
@license AGPL-3.0-only
@notice One fault is an accident, many at once are an attack: the rate of a slashing grows with the share of the
        effective stake that equivocated within one evidence window before or after (the idea of Ethereum's proof of
        stake, where a penalty is proportional to what else was slashed around it).
@dev Shares are summed in buckets of an eighth of the window, so that a sum is a bounded loop. A sum takes in whole
     buckets: at most an eighth of a window too much at each end, never too little.
"""

BUCKETS_OF_A_WINDOW: constant(uint256) = 8
# A span shorter than one window, one window before it and one after it, and two ends.
MAX_BUCKETS: constant(uint256) = 3 * BUCKETS_OF_A_WINDOW + 2

WINDOW: immutable(uint256)
WIDTH: immutable(uint256)

sums: HashMap[uint256, uint256]


@deploy
def __init__(window: uint256):
    """
    @notice Fixes the window.
    @param window Seconds, above 0.
    """
    # EFFECTS
    WINDOW = window
    WIDTH = (window + BUCKETS_OF_A_WINDOW - 1) // BUCKETS_OF_A_WINDOW


# INTERNAL


@internal
def _add(time: uint256, share: uint256):
    """
    @notice Counts a share of the effective stake as having equivocated.
    @param time Second of the offence.
    @param share The share.
    """
    # EFFECTS
    self.sums[time // WIDTH] += share


@internal
@view
def _around(first: uint256, last: uint256) -> uint256:
    """
    @notice What equivocated at most one window before `first` or after `last`.
    @param first A second.
    @param last A second, less than a window after `first`.
    @return Sum of the shares.
    """
    bucket: uint256 = (first - min(first, WINDOW)) // WIDTH
    end: uint256 = (last + WINDOW) // WIDTH
    total: uint256 = 0
    for step: uint256 in range(MAX_BUCKETS):
        if bucket > end:
            break
        total += self.sums[bucket]
        bucket += 1
    return total
