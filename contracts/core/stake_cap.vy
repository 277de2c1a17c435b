# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Effective stake
@license AGPL-3.0-only
@notice No validator weighs more than 30 % of what all weigh together: min(s, c), c the fixed point of
        c = 30 % * sum(min(s_j, c)). With fewer than four rows, where that has no solution, all weigh the same.
"""

from .. import constants


# VIEW


@external
@pure
def effectiveStakes(
    stakes: DynArray[uint256, constants.MAX_VALIDATORS]
) -> DynArray[uint256, constants.MAX_VALIDATORS]:
    """
    @notice The fixed-point cap.
    @param stakes Raw stakes, largest first, below 2**96.
    @return Effective stakes in the same order.
    """
    ranked: DynArray[uint256, constants.MAX_VALIDATORS] = []
    last: uint256 = constants.MAX_STAKE
    for stake: uint256 in stakes:
        assert stake <= last, "configurator: not sorted"
        last = stake
        ranked.append(stake << 160)
    cap: uint256 = self._cap(ranked)
    capped: DynArray[uint256, constants.MAX_VALIDATORS] = []
    for stake: uint256 in stakes:
        capped.append(min(stake, cap))
    return capped


# INTERNAL


@internal
@pure
def _cap(ranked: DynArray[uint256, constants.MAX_VALIDATORS]) -> uint256:
    """
    @notice The most that a validator can weigh.
    @dev With R_k the stake after the k largest, c_k = floor(cap * R_k / (1 - k * cap)); the smallest k with
         s_(k+1) <= c_k gives c. k = 3 always does when there are four rows.
    @param ranked Words with a raw stake in their upper 96 bits, largest first.
    @return The cap c: effective stake is min(s, c); 0 for no validators.
    """
    count: uint256 = len(ranked)
    if count == 0:
        return 0
    cap: uint256 = ranked[count - 1] >> 160
    if count * constants.STAKE_CAP_BPS >= constants.BPS:
        rest: uint256 = 0
        for word: uint256 in ranked:
            rest += word >> 160
        for k: uint256 in range(4):
            cap = constants.STAKE_CAP_BPS * rest // (constants.BPS - k * constants.STAKE_CAP_BPS)
            if ranked[k] >> 160 <= cap:
                break
            rest -= ranked[k] >> 160
    return cap
