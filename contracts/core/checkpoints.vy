# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Checkpoints: what a number was at any past second
@license AGPL-3.0-only
@notice One trace a key: an account as bytes32, or `TOTAL`. A point is a word: second 48 | value 208. The seconds of a
        trace strictly increase: several changes in one second leave one point, the last.
@dev Needs no initialisation. A caller must refuse lookups at or after the present second itself (ERC-6372): those may
     still change. The form of lookup is the one that MiniMe tokens made known.
"""

# Key of the total: a hash, so no account, padded with zeros as it is, can have it.
TOTAL: constant(bytes32) = keccak256("total")
MAX_VALUE: constant(uint256) = 2**208 - 1
# Far more seconds with a change than any chain will see; only bounds the search.
MAX_POINTS: constant(uint256) = 2**32 - 1
SEARCH_STEPS: constant(uint256) = 32

# Points of each trace, oldest first: second 48 | value 208.
traces: HashMap[bytes32, DynArray[uint256, MAX_POINTS]]


# INTERNAL


@internal
def _push(key: bytes32, amount: uint256):
    """
    @notice Records a value from this second on; nothing is written if it is the present one.
    @param key `convert(account, bytes32)`, or TOTAL.
    @param amount The new value, at most 2**208 - 1.
    """
    # CHECKS
    assert amount <= MAX_VALUE, "checkpoints: value above 2**208 - 1"
    # EFFECTS
    count: uint256 = len(self.traces[key])
    point: uint256 = (block.timestamp << 208) | amount
    if count == 0:
        if amount != 0:
            self.traces[key].append(point)
        return
    newest: uint256 = self.traces[key][count - 1]
    if newest & MAX_VALUE == amount:
        return
    if newest >> 208 == block.timestamp:
        self.traces[key][count - 1] = point
    else:
        self.traces[key].append(point)


@internal
@view
def _latest(key: bytes32) -> uint256:
    """
    @notice The present value.
    @param key `convert(account, bytes32)`, or TOTAL.
    @return The value last recorded; 0 for an empty trace.
    """
    count: uint256 = len(self.traces[key])
    if count == 0:
        return 0
    return self.traces[key][count - 1] & MAX_VALUE


@internal
@view
def _at(key: bytes32, time: uint256) -> uint256:
    """
    @notice The value at the end of a second that has passed. Looks at the newest point first, where most questions end.
    @param key `convert(account, bytes32)`, or TOTAL.
    @param time Seconds since 1970.
    @return The value then; 0 before the first point.
    """
    high: uint256 = len(self.traces[key])
    if high == 0:
        return 0
    newest: uint256 = self.traces[key][high - 1]
    if newest >> 208 <= time:
        return newest & MAX_VALUE
    # Points before `low` are at or before `time`, those from `high` on are after it.
    low: uint256 = 0
    high -= 1
    for step: uint256 in range(SEARCH_STEPS):
        if low == high:
            break
        middle: uint256 = (low + high) // 2
        if self.traces[key][middle] >> 208 <= time:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return 0
    return self.traces[key][low - 1] & MAX_VALUE
