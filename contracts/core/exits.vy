# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title How stake leaves
@license AGPL-3.0-only
@notice What is asked back moves from a validator's bonded pool to its open exit pool, where it still counts and still
        pays for offences. The roll whose config needs none of it any more closes the pool; it is free once every
        offence under the configs before has been provable for the evidence window, and the longest vote is over too.
        Beside that lie tokens owed to accounts, which nothing holds back.
@dev Pools older than the newest MAX_CLOSED_EXITS closed ones are free, always: another one closes only when the oldest
     of these is. So a slash looks at a bounded number of pools, however short the epochs are.
"""

from . import require
from . import share_pools
from . import stake_rules
from . import validators
from .. import constants
from ..interfaces import IStakes
from ..interfaces import IStaking

uses: share_pools
uses: stake_rules
uses: validators

MASK_64: constant(uint256) = 2**64 - 1

unbonding: public(uint256)
# What accounts may take at any time: commissions, and the reporters' part of slashes.
owed: public(HashMap[address, uint256])
totalOwed: public(uint256)
# Ids of the exit pools that an account has shares in.
claims: HashMap[address, DynArray[uint256, constants.MAX_CLAIMS]]
# When the first slot of each config is.
startOf: public(HashMap[uint256, uint256])


# VIEW


@external
@view
def claimsOf(account: address) -> DynArray[IStakes.Claim, 16]:
    """
    @notice What an account has asked back and not withdrawn.
    @param account Whose.
    @return One claim an exit pool.
    """
    found: DynArray[IStakes.Claim, constants.MAX_CLAIMS] = []
    for id: uint256 in self.claims[account]:
        pool: share_pools.Pool = share_pools._read(id)
        free: uint256 = 0
        if pool.closedBy != 0:
            free = self._free_at(pool.closedBy)
        found.append(
            IStakes.Claim(
                validator=convert(id >> 64, address),
                amount=share_pools._worth(id, account),
                closedBy=pool.closedBy,
                freeAt=free,
            )
        )
    return found


# INTERNAL


@internal
@view
def _exit_pool(owner: address) -> uint256:
    """
    @notice The pool that collects what leaves a validator now.
    @param owner The cold owner.
    @return Its id.
    """
    return share_pools._id(owner, share_pools.EXIT | validators._entry(owner).exit)


@internal
@view
def _free_at(config: uint256) -> uint256:
    return self.startOf[config] + stake_rules.EVIDENCE_SECONDS + stake_rules.VOTE_SECONDS


@internal
@view
def _is_free(owner: address, closed_by: uint256) -> bool:
    """
    @notice Whether an exit pool may be paid out.
    @param owner The validator that it left.
    @param closed_by First config that does not count it, 0 while one does.
    @return False while an offence that it has to pay for may come to light, or waits for its verdict.
    """
    if closed_by == 0 or block.timestamp < self._free_at(closed_by):
        return False
    return validators.frozen[owner] == 0 or closed_by <= validators.frozen[owner]


@internal
def _enter(owner: address, account: address, amount: uint256):
    """
    @notice Puts tokens that left the bonded pool into the open exit pool.
    @param owner The validator that they leave.
    @param account Whose tokens.
    @param amount Tokens.
    """
    id: uint256 = self._exit_pool(owner)
    if share_pools.held[account][id] == 0:
        require._that(len(self.claims[account]) < constants.MAX_CLAIMS, "staking: too many claims")
        self.claims[account].append(id)
    self.unbonding += amount
    share_pools._deposit(id, account, amount)


@internal
def _leave(account: address) -> uint256:
    """
    @notice Ends every claim of an account that is free, and whatever it is owed.
    @param account Whose.
    @return Tokens to pay out.
    """
    due: uint256 = 0
    kept: DynArray[uint256, constants.MAX_CLAIMS] = []
    for id: uint256 in self.claims[account]:
        pool: share_pools.Pool = share_pools._read(id)
        if pool.tokens == 0:
            continue
        if self._is_free(convert(id >> 64, address), pool.closedBy):
            due += share_pools._redeem(id, account, max_value(uint256))
        else:
            kept.append(id)
    self.claims[account] = kept
    self.unbonding -= due
    owed: uint256 = self.owed[account]
    self.owed[account] = 0
    self.totalOwed -= owed
    return due + owed


@internal
def _owe(account: address, amount: uint256):
    """
    @notice Sets tokens aside for an account.
    @param account Whose.
    @param amount Tokens.
    """
    self.owed[account] += amount
    self.totalOwed += amount


@internal
def _close(owner: address, config: uint256):
    """
    @notice Closes the open exit pool of a validator whose row needs nothing of it, if there is one.
    @param owner The cold owner.
    @param config The first config that does not count the pool.
    """
    entry: validators.Entry = validators._entry(owner)
    id: uint256 = share_pools._id(owner, share_pools.EXIT | entry.exit)
    pool: share_pools.Pool = share_pools._read(id)
    if pool.tokens == 0:
        return
    if entry.config == config and entry.effective > share_pools._tokens(validators._bond_pool(owner)):
        return
    if entry.exit >= constants.MAX_CLOSED_EXITS:
        oldest: uint256 = share_pools._read(id - constants.MAX_CLOSED_EXITS).closedBy
        if oldest != 0 and not self._is_free(owner, oldest):
            return
    pool.closedBy = config
    share_pools._write(id, pool)
    entry.exit += 1
    validators._write_entry(owner, entry)
    log IStaking.ExitClosed(validator=owner, config=config, amount=pool.tokens)


@internal
def _cut(owner: address, config: uint256, rate: uint256) -> uint256:
    """
    @notice Takes a part of all stake on its way out that stood in a config or in a later one.
    @param owner The cold owner.
    @param config The config of the offence.
    @param rate The part, in 1e-18.
    @return Tokens taken.
    """
    entry: validators.Entry = validators._entry(owner)
    last: uint256 = entry.exit
    taken: uint256 = 0
    for back: uint256 in range(constants.MAX_CLOSED_EXITS + 1):
        if back > last:
            break
        id: uint256 = share_pools._id(owner, share_pools.EXIT | (last - back))
        pool: share_pools.Pool = share_pools._read(id)
        if pool.closedBy != 0 and pool.closedBy <= config:
            break
        taken += share_pools._cut(id, rate)
        if back == 0 and pool.tokens != 0 and share_pools._tokens(id) == 0:
            # Its holders keep shares of nothing: whoever leaves next begins a new pool.
            entry.exit = last + 1
            validators._write_entry(owner, entry)
    self.unbonding -= taken
    return taken


@internal
@view
def _locked(account: address) -> uint256:
    """
    @notice What an account has asked back and not withdrawn.
    @param account Whose.
    @return Tokens.
    """
    amount: uint256 = 0
    for id: uint256 in self.claims[account]:
        amount += share_pools._worth(id, account)
    return amount
