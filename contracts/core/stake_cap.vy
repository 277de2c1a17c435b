# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Effective stake
@license AGPL-3.0-only
@notice No validator weighs more than 30 % of what all weigh together: min(s, c), c the fixed point of
        c = 30 % * sum(min(s_j, c)). With fewer than four rows, where that has no solution, all weigh the same.
"""

from .. import constants


@internal
@pure
def _effective(stakes: DynArray[uint256, constants.MAX_VALIDATORS]) -> DynArray[uint256, constants.MAX_VALIDATORS]:
    """
    @notice Caps stakes.
    @dev With R_k the stake after the k largest, c_k = floor(cap * R_k / (1 - k * cap)); the smallest k with
         s_(k+1) <= c_k gives c. k = 3 always does when there are four rows.
    @param stakes Raw stakes, largest first.
    @return Effective stakes in the same order.
    """
    count: uint256 = len(stakes)
    if count == 0:
        return []
    cap: uint256 = stakes[count - 1]
    if count * constants.STAKE_CAP_BPS >= constants.BPS:
        rest: uint256 = 0
        for stake: uint256 in stakes:
            rest += stake
        for k: uint256 in range(4):
            cap = constants.STAKE_CAP_BPS * rest // (constants.BPS - k * constants.STAKE_CAP_BPS)
            if stakes[k] <= cap:
                break
            rest -= stakes[k]
    capped: DynArray[uint256, constants.MAX_VALIDATORS] = []
    for stake: uint256 in stakes:
        capped.append(min(stake, cap))
    return capped
