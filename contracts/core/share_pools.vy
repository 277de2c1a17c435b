# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Pools of tokens that accounts hold in shares
@license AGPL-3.0-only
@notice All holders of a pool gain and lose at one rate. A validator's bonded stake is one pool; what leaves it gathers
        in exit pools.
@dev Rounding always favours the pool. A gift before another's deposit, the known attack on share vaults, gains nothing:
     a deposit that would lose more than a billionth part and one unit to rounding is refused, and payouts give what
     the burned shares are worth, so nobody's tokens can be rounded into another's hands.
     Tokens stay below 2**96 and shares below 2**128: a pool starts with one share a unit, and one that a slash leaves
     with less than a unit per 2**32 shares is emptied.
"""

from . import require
from .. import constants

# Exit pools have this bit in their number.
EXIT: constant(uint256) = 1 << 63
MASK_32: constant(uint256) = 2**32 - 1
MASK_128: constant(uint256) = 2**128 - 1


# `closedBy`: of an exit pool, the first config that does not count its tokens; 0 while it is open.
struct Pool:
    tokens: uint256
    shares: uint256
    closedBy: uint256


# By id = owner 160 | number 64: tokens 96 | shares 128 | closedBy 32.
pools: HashMap[uint256, uint256]
held: HashMap[address, HashMap[uint256, uint256]]


# INTERNAL


@internal
@pure
def _id(owner: address, number: uint256) -> uint256:
    """
    @notice Names a pool.
    @param owner The validator whose pool it is.
    @param number Generation of the bonded pool, or EXIT | number of the exit pool.
    @return The id.
    """
    return (convert(owner, uint256) << 64) | number


@internal
@view
def _read(id: uint256) -> Pool:
    """
    @notice Reads a pool.
    @param id The pool.
    @return Its tokens, shares and closing config.
    """
    word: uint256 = self.pools[id]
    return Pool(tokens=word >> 160, shares=(word >> 32) & MASK_128, closedBy=word & MASK_32)


@internal
def _write(id: uint256, pool: Pool):
    """
    @notice Stores a pool.
    @param id The pool.
    @param pool What it is from now on.
    """
    self.pools[id] = (pool.tokens << 160) | (pool.shares << 32) | pool.closedBy


@internal
@view
def _tokens(id: uint256) -> uint256:
    """
    @notice What a pool holds.
    @param id The pool.
    @return Tokens.
    """
    return self.pools[id] >> 160


@internal
@view
def _worth(id: uint256, account: address) -> uint256:
    """
    @notice What an account's part of a pool is worth.
    @param id The pool.
    @param account The holder.
    @return Tokens, rounded down.
    """
    pool: Pool = self._read(id)
    if pool.shares == 0:
        return 0
    return self.held[account][id] * pool.tokens // pool.shares


@internal
def _grow(id: uint256, amount: uint256) -> uint256:
    """
    @notice Adds tokens for all holders of a pool.
    @param id The pool.
    @param amount Tokens.
    @return Tokens in the pool now.
    """
    pool: Pool = self._read(id)
    require._that(pool.shares != 0, "staking: nobody to reward")
    require._that(amount <= constants.MAX_STAKE - pool.tokens, "staking: bond too large")
    pool.tokens += amount
    self._write(id, pool)
    return pool.tokens


@internal
def _deposit(id: uint256, account: address, amount: uint256) -> uint256:
    """
    @notice Adds tokens to a pool for one account.
    @param id The pool.
    @param account Who gets the shares.
    @param amount Tokens.
    @return Tokens in the pool now.
    """
    pool: Pool = self._read(id)
    require._that(amount <= constants.MAX_STAKE - pool.tokens, "staking: bond too large")
    minted: uint256 = amount
    if pool.shares != 0:
        minted = amount * pool.shares // pool.tokens
    pool.tokens += amount
    pool.shares += minted
    require._that(
        minted != 0 and minted * pool.tokens // pool.shares + amount // 1000000000 + 1 >= amount,
        "staking: amount too small",
    )
    self._write(id, pool)
    self.held[account][id] += minted
    return pool.tokens


@internal
def _redeem(id: uint256, account: address, amount: uint256) -> uint256:
    """
    @notice Burns as few shares of an account as are worth an amount, and gives what they are worth.
    @param id The pool.
    @param account Whose shares.
    @param amount Tokens; all of the account's if it is the greatest number.
    @return Tokens that left the pool: at least `amount`, and by less than one share more.
    """
    pool: Pool = self._read(id)
    shares: uint256 = self.held[account][id]
    if amount != max_value(uint256):
        require._that(amount <= self._worth(id, account), "staking: more than the stake")
        shares = (amount * pool.shares + pool.tokens - 1) // pool.tokens
    tokens: uint256 = shares * pool.tokens // pool.shares
    pool.tokens -= tokens
    pool.shares -= shares
    self._write(id, pool)
    self.held[account][id] -= shares
    return tokens


@internal
def _cut(id: uint256, rate: uint256) -> uint256:
    """
    @notice Takes a part of a pool from all its holders.
    @param id The pool.
    @param rate The part, in 1e-18.
    @return Tokens taken, rounded up.
    """
    pool: Pool = self._read(id)
    before: uint256 = pool.tokens
    pool.tokens -= (before * rate + constants.RATE_ONE - 1) // constants.RATE_ONE
    if pool.tokens << 32 < pool.shares:
        pool.tokens = 0
    if pool.tokens == 0:
        pool.shares = 0
    self._write(id, pool)
    return before - pool.tokens
