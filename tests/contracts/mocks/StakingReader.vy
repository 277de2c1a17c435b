# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# Everything that Staking says of one validator and one account, in one call. Only for tests.

from ethereum.ercs import IERC20
from interfaces import IStakes
from interfaces import IStaking


struct Books:
    bonded: uint256
    unbonding: uint256
    totalOwed: uint256
    burnable: uint256
    held: uint256
    epoch: uint256
    config: uint256
    cost: uint256


struct Account:
    balance: uint256
    staked: uint256
    locked: uint256
    owed: uint256
    votes: uint256
    past: uint256
    total: uint256


@external
@view
def look(
    staking: address, token: address, owner: address, account: address, past: uint256
) -> (Books, DynArray[address, 256], IStaking.Validator, Account):
    asked: IStaking = IStaking(staking)
    books: Books = Books(
        bonded=staticcall asked.bonded(),
        unbonding=staticcall asked.unbonding(),
        totalOwed=staticcall asked.totalOwed(),
        burnable=staticcall asked.burnable(),
        held=staticcall IERC20(token).balanceOf(staking),
        epoch=staticcall asked.epoch(),
        config=staticcall asked.config(),
        cost=staticcall asked.costOfCorruption(),
    )
    found: Account = Account(
        balance=staticcall IERC20(token).balanceOf(account),
        staked=staticcall IStakes(staking).stakedBy(account),
        locked=staticcall IStakes(staking).lockedBy(account),
        owed=staticcall asked.owed(account),
        votes=staticcall IStakes(staking).getPastVotes(account, block.timestamp - 1),
        past=staticcall IStakes(staking).getPastVotes(account, past),
        total=staticcall IStakes(staking).getPastTotalSupply(past),
    )
    return books, staticcall asked.owners(), staticcall asked.validator(owner), found
