# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Churn: how the table may change from one config to the next
@license AGPL-3.0-only
@notice At most a tenth of the voting power changes hands in a roll: nobody bonds overnight and owns a feed, and the
        honest cannot all leave in one night either. Validators that lost their key or are in jail leave at once and
        count for nothing here.
@dev Old table p, wanted table t: the capped stake of the largest, both as shares of their own total, for power is a
     share: a small fourth row makes three large ones small in units and not in power. If more than the limit would
     fall, rows that are to leave go first, the smallest before the others, so that seats become free; what is left of
     the limit lowers the other falling rows in proportion, and what fell is given to the rising ones in proportion.
     No share then lies outside old and new one, so the cap holds; one more pass mends rounding and lost rows.
     In units the table is as large as it can be without a row above the larger of its old and its wanted stake.
     A newcomer takes a free seat and never a held one. Where fewer than four rows are wanted the cap makes all equal,
     and the limit does not hold.
"""

from . import stake_cap
from .. import constants

MASK_96: constant(uint256) = 2**96 - 1
MASK_160: constant(uint256) = 2**160 - 1
ORDER: constant(uint256) = MASK_160 - MASK_96
# Shares are in 1e-18; a sum of 64 of them is off by less than this.
ALL: constant(uint256) = 10**18
LIMIT: constant(uint256) = ALL * constants.CHURN_BPS // constants.BPS
ROUNDING: constant(uint256) = 128


# VIEW


@external
@pure
def nextTable(
    ranked: DynArray[uint256, constants.MAX_VALIDATORS], sitting: DynArray[uint256, constants.MAX_VALIDATORS]
) -> DynArray[uint256, constants.MAX_VALIDATORS]:
    """
    @notice The next table, as Staking asks for it at a roll.
    @dev A word is stake 96 | 2**32 - 1 - number of the registration 32 | place in the registry 32 | old stake 96.
    @param ranked The candidates of largest stake, descending, with their raw stake.
    @param sitting Candidates that have a row in the newest config, in any order; if there are none, all may come at once.
    @return Words with the effective stake, descending; none is 0.
    """
    return self._next(ranked, sitting)


# INTERNAL


@internal
@pure
def _candidate(stake: uint256, sequence: uint256, place: uint256, before: uint256) -> uint256:
    """
    @notice One validator in a word whose order is that of the table: larger stake first, then earlier registration.
    @param stake Stake to rank by.
    @param sequence Number of its registration.
    @param place Its place in the registry.
    @param before Its effective stake in the newest config.
    @return stake 96 | 2**32 - 1 - sequence 32 | place 32 | before 96.
    """
    return (stake << 160) | ((2**32 - 1 - sequence) << 128) | (place << 96) | before


@internal
@pure
def _insert(
    ranked: DynArray[uint256, constants.MAX_VALIDATORS], candidate: uint256
) -> DynArray[uint256, constants.MAX_VALIDATORS]:
    """
    @notice Puts a word into a descending list; a full list drops its smallest.
    @param ranked The list.
    @param candidate The word.
    @return The list with it.
    """
    longer: DynArray[uint256, constants.MAX_VALIDATORS] = ranked
    if len(longer) < constants.MAX_VALIDATORS:
        longer.append(0)
    elif longer[constants.MAX_VALIDATORS - 1] >= candidate:
        return longer
    place: uint256 = len(longer) - 1
    for step: uint256 in range(constants.MAX_VALIDATORS):
        if place == 0 or longer[place - 1] > candidate:
            break
        longer[place] = longer[place - 1]
        place -= 1
    longer[place] = candidate
    return longer


@internal
@pure
def _seats(
    ranked: DynArray[uint256, constants.MAX_VALIDATORS], sitting: DynArray[uint256, constants.MAX_VALIDATORS]
) -> DynArray[uint256, constants.MAX_VALIDATORS]:
    """
    @notice Who can be in the next table, with the stake that it should have there.
    @param ranked The candidates of largest stake, descending.
    @param sitting Candidates that have a row in the newest config, in any order.
    @return Words with the wanted stake, 0 for those who should leave.
    """
    seats: DynArray[uint256, constants.MAX_VALIDATORS] = []
    free: uint256 = constants.MAX_VALIDATORS - len(sitting)
    cap: uint256 = stake_cap._cap(ranked)
    for word: uint256 in ranked:
        if word & MASK_96 == 0:
            if free == 0:
                continue
            free -= 1
        seats.append((min(word >> 160, cap) << 160) | (word & MASK_160))
    last: uint256 = 0
    if len(ranked) == constants.MAX_VALIDATORS:
        last = ranked[constants.MAX_VALIDATORS - 1]
    for word: uint256 in sitting:
        if word >> 160 == 0 or word < last:
            seats.append(word & MASK_160)
    return seats


@internal
@pure
def _next(
    ranked: DynArray[uint256, constants.MAX_VALIDATORS], sitting: DynArray[uint256, constants.MAX_VALIDATORS]
) -> DynArray[uint256, constants.MAX_VALIDATORS]:
    """
    @notice The next table.
    @param ranked The candidates of largest stake, descending.
    @param sitting Candidates that have a row in the newest config, in any order; if there are none, all may come at once.
    @return Words with the effective stake, descending; none is 0.
    """
    seats: DynArray[uint256, constants.MAX_VALIDATORS] = self._seats(ranked, sitting)
    if len(sitting) != 0 and len(ranked) * constants.STAKE_CAP_BPS >= constants.BPS:
        seats = self._limited(seats)
    table: DynArray[uint256, constants.MAX_VALIDATORS] = []
    for word: uint256 in seats:
        if word >> 160 != 0:
            table = self._insert(table, word & ~MASK_96)
    cap: uint256 = stake_cap._cap(table)
    for i: uint256 in range(len(table), bound=constants.MAX_VALIDATORS):
        table[i] = (min(table[i] >> 160, cap) << 160) | (table[i] & ORDER)
    return table


@internal
@pure
def _limited(seats: DynArray[uint256, constants.MAX_VALIDATORS]) -> DynArray[uint256, constants.MAX_VALIDATORS]:
    """
    @notice Holds the change of the table to the limit.
    @param seats Words with the wanted stake.
    @return Words with the stake that the row may have, in another order.
    """
    before: uint256 = 0
    wanted: uint256 = 0
    for word: uint256 in seats:
        before += word & MASK_96
        wanted += word >> 160
    wanted = max(wanted, 1)
    rises: uint256 = 0
    falls: uint256 = 0
    leavers: DynArray[uint256, constants.MAX_VALIDATORS] = []
    for word: uint256 in seats:
        old: uint256 = (word & MASK_96) * ALL // before
        new: uint256 = (word >> 160) * ALL // wanted
        rises += max(new, old) - old
        if word >> 160 == 0:
            leavers = self._insert(leavers, (old << 160) | (word & MASK_160))
        falls += max(new, old) - new
    if max(rises, falls) <= LIMIT + ROUNDING:
        return seats
    left: uint256 = LIMIT
    moved: DynArray[uint256, constants.MAX_VALIDATORS] = []
    for i: uint256 in range(len(leavers), bound=constants.MAX_VALIDATORS):
        word: uint256 = leavers.pop()
        gone: uint256 = min(word >> 160, left)
        falls -= word >> 160
        left -= gone
        moved.append(word - (gone << 160))
    down: uint256 = min(left, falls)
    given: uint256 = min(LIMIT - left + down, rises)
    total: uint256 = max(before, wanted)
    for word: uint256 in seats:
        if word >> 160 != 0:
            old: uint256 = (word & MASK_96) * ALL // before
            new: uint256 = (word >> 160) * ALL // wanted
            share: uint256 = old
            if new < old:
                share -= (old - new) * down // falls
            elif new > old:
                share += (new - old) * given // rises
            moved.append((share << 160) | (word & ORDER) | max(word & MASK_96, word >> 160))
    for word: uint256 in moved:
        if word >> 160 != 0:
            total = min(total, (word & MASK_96) * ALL // (word >> 160))
    for i: uint256 in range(len(moved), bound=constants.MAX_VALIDATORS):
        moved[i] = (((moved[i] >> 160) * total // ALL) << 160) | (moved[i] & MASK_160)
    return moved
