# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title exact_transfer: moves ERC-20 tokens or reverts
@license AGPL-3.0-only
@notice For books that count what was asked for: a token that answers false, or delivers another amount, is refused.
        A token that answers nothing, as some old ones do, is accepted.
"""

from ethereum.ercs import IERC20


@internal
def _pull(token: IERC20, amount: uint256):
    """
    @notice Takes tokens from the caller, to the unit.
    @param token Which.
    @param amount Units.
    """
    before: uint256 = staticcall token.balanceOf(self)
    assert extcall token.transferFrom(msg.sender, self, amount, default_return_value=True), "transfer: refused"
    assert staticcall token.balanceOf(self) == before + amount, "transfer: another amount arrived"


@internal
def _push(token: IERC20, to: address, amount: uint256):
    """
    @notice Gives tokens away.
    @param token Which.
    @param to Who gets them.
    @param amount Units.
    """
    assert extcall token.transfer(to, amount, default_return_value=True), "transfer: refused"
