# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# The cap and the churn of a roll, to be asked directly. Only for tests.

from core import churn
from core import stake_cap


@external
@pure
def effectiveStakes(stakes: DynArray[uint256, 64]) -> DynArray[uint256, 64]:
    ranked: DynArray[uint256, 64] = []
    for stake: uint256 in stakes:
        ranked.append(stake << 160)
    cap: uint256 = stake_cap._cap(ranked)
    capped: DynArray[uint256, 64] = []
    for stake: uint256 in stakes:
        capped.append(min(stake, cap))
    return capped


# Candidates in any order: (wanted stake, stake before), registered in this order. Answers (place, effective stake).
@external
@pure
def nextTable(candidates: DynArray[uint256[2], 128]) -> DynArray[uint256[2], 64]:
    ranked: DynArray[uint256, 64] = []
    sitting: DynArray[uint256, 64] = []
    place: uint256 = 0
    for candidate: uint256[2] in candidates:
        word: uint256 = churn._candidate(candidate[0], place + 1, place, candidate[1])
        if candidate[1] != 0:
            sitting.append(word)
        if candidate[0] != 0:
            ranked = churn._insert(ranked, word)
        place += 1
    rows: DynArray[uint256[2], 64] = []
    table: DynArray[uint256, 64] = churn._next(ranked, sitting)
    for word: uint256 in table:
        rows.append([(word >> 96) & (2**32 - 1), word >> 160])
    return rows
