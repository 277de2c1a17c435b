# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title What Staking is bound to for ever: its token and its rules
@license AGPL-3.0-only
@notice Amounts in the token's smallest unit, times in seconds.
"""

from ethereum.ercs import IERC20

from . import require
from .. import constants
from ..interfaces import IStaking

TOKEN: immutable(IERC20)
MIN_SELF_BOND: immutable(uint256)
EPOCH_SECONDS: immutable(uint256)
EVIDENCE_SECONDS: immutable(uint256)
VOTE_SECONDS: immutable(uint256)


@deploy
def __init__(token: address, rules: IStaking.Rules):
    """
    @notice Fixes token and rules.
    @param token The ERC-20 that is bonded; a transfer has to deliver what it says.
    @param rules Least self-bond, least time between rolls, evidence window, longest vote.
    """
    # CHECKS
    assert token != empty(address), "staking: no token"
    assert rules.minSelfBond != 0 and rules.minSelfBond <= constants.MAX_STAKE, "staking: bad minimum"
    assert rules.epochSeconds <= constants.MAX_WAIT, "staking: bad epoch"
    assert rules.evidenceSeconds != 0 and rules.evidenceSeconds <= constants.MAX_WAIT, "staking: bad evidence window"
    assert rules.voteSeconds <= constants.MAX_WAIT, "staking: bad vote length"
    # EFFECTS
    TOKEN = IERC20(token)
    MIN_SELF_BOND = rules.minSelfBond
    EPOCH_SECONDS = rules.epochSeconds
    EVIDENCE_SECONDS = rules.evidenceSeconds
    VOTE_SECONDS = rules.voteSeconds


# VIEW


@external
@view
def token() -> address:
    """
    @notice The ERC-20 that is bonded.
    @return Its address.
    """
    return TOKEN.address


@external
@view
def minSelfBond() -> uint256:
    """
    @notice Least self-bond of a validator that counts.
    @return Units of the token.
    """
    return MIN_SELF_BOND


@external
@view
def epochSeconds() -> uint256:
    """
    @notice Least time between two rolls.
    @return Seconds.
    """
    return EPOCH_SECONDS


@external
@view
def evidenceSeconds() -> uint256:
    """
    @notice How long after an offence it can be proven.
    @return Seconds.
    """
    return EVIDENCE_SECONDS


@external
@view
def voteSeconds() -> uint256:
    """
    @notice The longest vote that unbonding outlasts.
    @return Seconds.
    """
    return VOTE_SECONDS


# INTERNAL


@internal
def _take(amount: uint256):
    """
    @notice Takes tokens from the caller, to the unit.
    @param amount Units.
    """
    before: uint256 = staticcall TOKEN.balanceOf(self)
    require._that(
        extcall TOKEN.transferFrom(msg.sender, self, amount, default_return_value=True),
        "staking: transfer failed",
    )
    require._that(staticcall TOKEN.balanceOf(self) == before + amount, "staking: token took a fee")


@internal
def _give(account: address, amount: uint256):
    """
    @notice Pays tokens out.
    @param account Who gets them.
    @param amount Units.
    """
    require._that(extcall TOKEN.transfer(account, amount, default_return_value=True), "staking: transfer failed")
