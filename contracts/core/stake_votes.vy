# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Votes of staked tokens
@license AGPL-3.0-only
@notice Whoever bonded tokens votes with them, whichever validator they stand behind. An account's votes are brought to
        what its shares are worth whenever it acts; after rewards and slashes anyone may do so for it.
@dev ERC-5805's reading side on the timestamp clock of ERC-6372. Stake that has asked to leave votes no more.
"""

from . import checkpoints
from . import exits
from . import require
from . import share_pools
from . import validators
from .. import constants
from ..interfaces import IVotes

uses: checkpoints
uses: exits
uses: share_pools
uses: validators

# Validators that an account has shares of.
positions: HashMap[address, DynArray[address, constants.MAX_POSITIONS]]


# PERMISSIONLESS


@external
def syncVotes(account: address):
    """
    @notice Brings an account's votes to what its stake is worth now, after rewards or a slash.
    @param account Whose.
    """
    # EFFECTS, LOG
    self._sync(account)


# VIEW


@external
@view
def stakeOf(account: address, validator: address) -> uint256:
    """
    @notice What an account has bonded behind a validator, its own bond included.
    @param account Whose.
    @param validator Cold owner of the validator.
    @return Tokens.
    """
    return share_pools._worth(validators._bond_pool(validator), account)


@external
@view
def stakedBy(account: address) -> uint256:
    """
    @notice What an account has bonded behind all validators.
    @param account Whose.
    @return Tokens.
    """
    return self._staked(account)


@external
@view
def lockedBy(account: address) -> uint256:
    """
    @notice What an account has bonded or asked back and not withdrawn.
    @param account Whose.
    @return Tokens.
    """
    return self._staked(account) + exits._locked(account)


@external
@view
def getVotes(account: address) -> uint256:
    """
    @notice An account's votes, as last brought up to date.
    @param account Whose.
    @return Tokens.
    """
    return checkpoints._latest(convert(account, bytes32))


@external
@view
def getPastVotes(account: address, timepoint: uint256) -> uint256:
    """
    @notice An account's votes at the end of a second that has passed.
    @param account Whose.
    @param timepoint Seconds since 1970.
    @return Tokens.
    """
    self._check_past(timepoint)
    return checkpoints._at(convert(account, bytes32), timepoint)


@external
@view
def getPastTotalSupply(timepoint: uint256) -> uint256:
    """
    @notice All accounts' votes at the end of a second that has passed.
    @param timepoint Seconds since 1970.
    @return Tokens.
    """
    self._check_past(timepoint)
    return checkpoints._at(checkpoints.TOTAL, timepoint)


@external
@view
def clock() -> uint48:
    """
    @notice The clock by which votes are counted (ERC-6372): the timestamp.
    @return Seconds since 1970.
    """
    return convert(block.timestamp, uint48)


@external
@pure
def CLOCK_MODE() -> String[14]:
    """
    @notice Machine-readable name of the clock (ERC-6372).
    @return Always "mode=timestamp".
    """
    return "mode=timestamp"


# INTERNAL


@internal
def _hold(account: address, validator: address):
    """
    @notice Remembers that an account has shares of a validator.
    @param account Whose.
    @param validator Cold owner of the validator.
    """
    if validator not in self.positions[account]:
        require._that(len(self.positions[account]) < constants.MAX_POSITIONS, "staking: too many validators")
        self.positions[account].append(validator)


@internal
def _sync(account: address):
    """
    @notice Brings an account's votes to what its shares are worth, and forgets validators that it has no share of.
    @param account Whose.
    """
    votes: uint256 = 0
    kept: DynArray[address, constants.MAX_POSITIONS] = []
    for validator: address in self.positions[account]:
        id: uint256 = validators._bond_pool(validator)
        if share_pools.held[account][id] != 0:
            kept.append(validator)
            votes += share_pools._worth(id, account)
    if len(kept) != len(self.positions[account]):
        self.positions[account] = kept
    key: bytes32 = convert(account, bytes32)
    before: uint256 = checkpoints._latest(key)
    if votes != before:
        checkpoints._push(key, votes)
        checkpoints._push(checkpoints.TOTAL, checkpoints._latest(checkpoints.TOTAL) + votes - before)
        log IVotes.DelegateVotesChanged(delegate=account, previousVotes=before, newVotes=votes)


@internal
@view
def _staked(account: address) -> uint256:
    amount: uint256 = 0
    for validator: address in self.positions[account]:
        amount += share_pools._worth(validators._bond_pool(validator), account)
    return amount


@internal
@view
def _check_past(timepoint: uint256):
    require._that(timepoint < block.timestamp, "staking: future lookup")
