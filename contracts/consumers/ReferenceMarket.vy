# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title ReferenceMarket: a binary market that an event feed settles
@license AGPL-3.0-only
@notice One unit of collateral mints one share of each outcome (a complete set); a complete set merges back into one
        unit; once the feed says FINAL, one winning share pays one unit. The market quotes no price of its own.
@dev Shares are ERC-6909 tokens (https://eips.ethereum.org/EIPS/eip-6909) whose id is the outcome's index in the
     feed: 0 or 1. Books: until resolved, escrow = supply of outcome 0 = supply of outcome 1; afterwards
     escrow = supply of the winner, so that payouts can never exceed what was paid in. A question that no feed ever
     makes FINAL pays nobody, but complete sets can be merged for ever.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC165

from .. import constants
from ..interfaces import IFeed
from . import exact_transfer
from . import feed_reader

implements: IERC165


event Minted:
    account: indexed(address)
    amount: uint256


event Merged:
    account: indexed(address)
    amount: uint256


event Resolved:
    winner: uint256
    round: uint256


event Redeemed:
    account: indexed(address)
    amount: uint256


# The events of ERC-6909.
event Transfer:
    caller: address
    sender: indexed(address)
    receiver: indexed(address)
    id: indexed(uint256)
    amount: uint256


event Approval:
    owner: indexed(address)
    spender: indexed(address)
    id: indexed(uint256)
    amount: uint256


event OperatorSet:
    owner: indexed(address)
    spender: indexed(address)
    approved: bool


OUTCOMES: constant(uint256) = 2

COLLATERAL: public(immutable(IERC20))
FEED: public(immutable(IFeed))
EXPIRY: public(immutable(uint256))

# Collateral that backs the shares.
escrow: public(uint256)
resolved: public(bool)
# Index of the winning outcome; means nothing before `resolved`.
winner: public(uint256)
totalSupply: public(HashMap[uint256, uint256])
balanceOf: public(HashMap[address, HashMap[uint256, uint256]])
allowance: public(HashMap[address, HashMap[address, HashMap[uint256, uint256]]])
isOperator: public(HashMap[address, HashMap[address, bool]])


@deploy
def __init__(collateral: IERC20, feed: IFeed, expiry: uint256):
    """
    @notice Sets the question for ever.
    @param collateral Token that is paid in and out.
    @param feed Event feed with exactly two outcomes.
    @param expiry Unix seconds; only what the network observed at or after it settles the market.
    """
    # CHECKS
    assert convert(staticcall feed.kind(), uint256) == constants.KIND_EVENT, "market: not an event feed"
    assert convert(staticcall feed.outcomes(), uint256) == OUTCOMES, "market: not two outcomes"
    assert expiry > block.timestamp, "market: expiry has passed"
    # EFFECTS
    COLLATERAL = collateral
    FEED = feed
    EXPIRY = expiry


# PERMISSIONLESS


@external
@nonreentrant
def mint(amount: uint256):
    """
    @notice Pays in collateral and receives as many shares of each outcome.
    @param amount Units of the collateral token.
    """
    # CHECKS
    assert amount != 0, "market: zero amount"
    assert not self.resolved, "market: resolved"
    # EFFECTS
    self.escrow += amount
    for outcome: uint256 in range(OUTCOMES):
        self._mint(msg.sender, outcome, amount)
    # INTERACTIONS
    exact_transfer._pull(COLLATERAL, amount)
    # LOG
    log Minted(account=msg.sender, amount=amount)


@external
@nonreentrant
def merge(amount: uint256):
    """
    @notice Gives up as many shares of each outcome and receives the collateral; works until the market is resolved.
    @param amount Units of the collateral token.
    """
    # CHECKS
    assert amount != 0, "market: zero amount"
    assert not self.resolved, "market: resolved"
    # EFFECTS
    for outcome: uint256 in range(OUTCOMES):
        self._burn(msg.sender, outcome, amount)
    self.escrow -= amount
    # INTERACTIONS
    exact_transfer._push(COLLATERAL, msg.sender, amount)
    # LOG
    log Merged(account=msg.sender, amount=amount)


@external
@nonreentrant
def resolve() -> uint256:
    """
    @notice Settles the market from the feed's newest round: FINAL, not INVALID, and observed at or after the expiry.
    @return Index of the winning outcome.
    """
    # CHECKS
    assert not self.resolved, "market: resolved"
    reading: feed_reader.Reading = feed_reader._newest(FEED)
    # The observation counts, not its storing: updatedAt is never before startedAt.
    assert reading.startedAt >= EXPIRY, "market: observed before expiry"
    flags: uint256 = convert(staticcall FEED.flags(), uint256)
    assert flags & constants.FLAG_FINAL != 0, "market: not final"
    assert reading.answer >= 0 and reading.answer < convert(OUTCOMES, int256), "market: no such outcome"
    # EFFECTS
    won: uint256 = convert(reading.answer, uint256)
    self.resolved = True
    self.winner = won
    # LOG
    log Resolved(winner=won, round=reading.round)
    return won


@external
@nonreentrant
def redeem(amount: uint256):
    """
    @notice Gives up winning shares of the caller, each for one unit of collateral.
    @param amount Units of the collateral token.
    """
    # CHECKS
    assert amount != 0, "market: zero amount"
    assert self.resolved, "market: not resolved"
    # EFFECTS
    self._burn(msg.sender, self.winner, amount)
    self.escrow -= amount
    # INTERACTIONS
    exact_transfer._push(COLLATERAL, msg.sender, amount)
    # LOG
    log Redeemed(account=msg.sender, amount=amount)


# PERMISSIONLESS: ERC-6909


@external
@nonreentrant
def transfer(receiver: address, id: uint256, amount: uint256) -> bool:
    """
    @notice Moves shares of the caller.
    @param receiver Who gets them.
    @param id Index of the outcome.
    @param amount Number of shares.
    @return Always true.
    """
    self._move(msg.sender, receiver, id, amount)
    return True


@external
@nonreentrant
def transferFrom(sender: address, receiver: address, id: uint256, amount: uint256) -> bool:
    """
    @notice Moves shares of an account that made the caller its operator or gave an allowance.
    @param sender Whose shares.
    @param receiver Who gets them.
    @param id Index of the outcome.
    @param amount Number of shares.
    @return Always true.
    """
    if msg.sender != sender and not self.isOperator[sender][msg.sender]:
        # CHECKS
        allowed: uint256 = self.allowance[sender][msg.sender][id]
        assert allowed >= amount, "market: allowance too small"
        # EFFECTS
        if allowed != max_value(uint256):
            self.allowance[sender][msg.sender][id] = allowed - amount
    self._move(sender, receiver, id, amount)
    return True


@external
@nonreentrant
def approve(spender: address, id: uint256, amount: uint256) -> bool:
    """
    @notice Lets a spender move shares of the caller.
    @param spender Who may move them.
    @param id Index of the outcome.
    @param amount Number of shares; 2**256 - 1 never runs out.
    @return Always true.
    """
    # EFFECTS
    self.allowance[msg.sender][spender][id] = amount
    # LOG
    log Approval(owner=msg.sender, spender=spender, id=id, amount=amount)
    return True


@external
@nonreentrant
def setOperator(spender: address, approved: bool) -> bool:
    """
    @notice Lets a spender move all shares of the caller, or no longer.
    @param spender Who may move them.
    @param approved Whether.
    @return Always true.
    """
    # EFFECTS
    self.isOperator[msg.sender][spender] = approved
    # LOG
    log OperatorSet(owner=msg.sender, spender=spender, approved=approved)
    return True


# VIEW


@external
@view
def supportsInterface(interface_id: bytes4) -> bool:
    """
    @notice Interfaces of this contract (ERC-165).
    @param interface_id Asked for.
    @return True for ERC-165 and ERC-6909.
    """
    return interface_id in [0x01ffc9a7, 0x0f632fb3]


# INTERNAL


@internal
def _mint(account: address, id: uint256, amount: uint256):
    self.balanceOf[account][id] += amount
    self.totalSupply[id] += amount
    log Transfer(caller=msg.sender, sender=empty(address), receiver=account, id=id, amount=amount)


@internal
def _burn(account: address, id: uint256, amount: uint256):
    assert self.balanceOf[account][id] >= amount, "market: not enough shares"
    self.balanceOf[account][id] -= amount
    self.totalSupply[id] -= amount
    log Transfer(caller=msg.sender, sender=account, receiver=empty(address), id=id, amount=amount)


@internal
def _move(sender: address, receiver: address, id: uint256, amount: uint256):
    # CHECKS
    assert receiver != empty(address) and receiver != self, "market: receiver cannot hold shares"
    assert self.balanceOf[sender][id] >= amount, "market: not enough shares"
    # EFFECTS
    self.balanceOf[sender][id] -= amount
    self.balanceOf[receiver][id] += amount
    # LOG
    log Transfer(caller=msg.sender, sender=sender, receiver=receiver, id=id, amount=amount)
