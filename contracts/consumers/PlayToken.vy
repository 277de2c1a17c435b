# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title PlayToken: an ERC-20 that anyone may mint
@license AGPL-3.0-only
@notice Stands in for the assets of the demo and the tests. Worth nothing by design: never use it for value.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed

implements: IERC20
implements: IERC20Detailed

name: public(String[32])
symbol: public(String[8])
decimals: public(uint8)
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(name: String[32], symbol: String[8], decimals: uint8):
    """
    @notice Names the token; the supply is zero.
    @param name Long name.
    @param symbol Ticker.
    @param decimals Units of one token, as a power of ten.
    """
    # EFFECTS
    self.name = name
    self.symbol = symbol
    self.decimals = decimals


# PERMISSIONLESS


@external
def mint(to: address, amount: uint256):
    """
    @notice Makes tokens out of nothing, for anyone.
    @param to Who gets them.
    @param amount Units.
    """
    # EFFECTS
    self.totalSupply += amount
    self.balanceOf[to] += amount
    # LOG
    log IERC20.Transfer(sender=empty(address), receiver=to, value=amount)


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @notice Moves tokens of the caller.
    @param to Who gets them.
    @param amount Units.
    @return Always true.
    """
    self._move(msg.sender, to, amount)
    return True


@external
def transferFrom(sender: address, to: address, amount: uint256) -> bool:
    """
    @notice Moves tokens of an account that allowed it.
    @param sender Whose tokens.
    @param to Who gets them.
    @param amount Units.
    @return Always true.
    """
    # CHECKS
    assert self.allowance[sender][msg.sender] >= amount, "token: allowance too small"
    # EFFECTS
    self.allowance[sender][msg.sender] -= amount
    self._move(sender, to, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Lets a spender move tokens of the caller.
    @param spender Who may move them.
    @param amount Units.
    @return Always true.
    """
    # EFFECTS
    self.allowance[msg.sender][spender] = amount
    # LOG
    log IERC20.Approval(owner=msg.sender, spender=spender, value=amount)
    return True


# INTERNAL


@internal
def _move(sender: address, to: address, amount: uint256):
    # CHECKS
    assert self.balanceOf[sender] >= amount, "token: balance too small"
    # EFFECTS
    self.balanceOf[sender] -= amount
    self.balanceOf[to] += amount
    # LOG
    log IERC20.Transfer(sender=sender, receiver=to, value=amount)
