# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Requests: asking the validators for a round now
@license AGPL-3.0-only
@notice Anyone may pay for a feed's report of the present slot to go on chain although the feed has not moved. It changes
        what is transmitted, never what is reported. Fees wait here until the owner sends them on.
"""

from snekmate.auth import ownable

from .. import constants
from . import bits
from . import gates
from ..interfaces import IAggregator
from ..interfaces import IConfigurator

uses: gates
uses: ownable

# Least fee in wei; the fee also covers a transmission at the block's price of gas.
minFee: uint256


# VIEW


@external
@view
def requestFee() -> uint256:
    """
    @notice What a request costs in this block.
    @return Wei: the least fee, or REQUEST_GAS at the block's base fee if that is more.
    """
    return self._fee()


@external
@view
def requestedSlot(number: uint256) -> uint256:
    """
    @notice The slot for which a feed was last asked for.
    @param number Feed number.
    @return The slot; 0 if never.
    """
    return (gates._gate(number) >> 152) & bits.MASK_32


# ROLE: the owner


@external
def setRequestFee(fee: uint256):
    """
    @notice Sets the least fee of `requestRound`. Only the owner.
    @param fee Wei.
    """
    # CHECKS
    ownable._check_owner()
    # EFFECTS
    self.minFee = fee
    # LOG
    log IAggregator.RequestFeeSet(fee=fee)


@external
def collectFees(to: address):
    """
    @notice Sends all fees on. Only the owner.
    @param to Who gets them.
    """
    # CHECKS
    ownable._check_owner()
    assert to != empty(address), "aggregator: zero address"
    amount: uint256 = self.balance
    # INTERACTIONS
    raw_call(to, b"", value=amount)
    # LOG
    log IAggregator.FeesCollected(to=to, amount=amount)


# INTERNAL


@internal
@view
def _fee() -> uint256:
    return max(self.minFee, constants.REQUEST_GAS * block.basefee)


@internal
@payable
def _request(number: uint256, configurator: IConfigurator) -> uint256:
    """
    @notice Takes the fee of the caller and notes the slot.
    @param number Feed number; not retired.
    @param configurator Whom to ask for the present slot.
    @return The slot.
    """
    # CHECKS
    gate: uint256 = gates._known(number)
    retires: uint256 = (gate >> 32) & bits.MASK_40
    assert retires == 0 or block.timestamp < retires, "aggregator: retired"
    fee: uint256 = self._fee()
    assert msg.value >= fee, "aggregator: fee too small"
    slot: uint256 = staticcall configurator.slotAt(block.timestamp)
    assert slot > (gate >> 152) & bits.MASK_32, "aggregator: already requested"
    # EFFECTS
    gates.gates[number] = (gate & ~(bits.MASK_32 << 152)) | (slot << 152)
    # INTERACTIONS
    if msg.value > fee:
        raw_call(msg.sender, b"", value=msg.value - fee)
    # LOG
    log IAggregator.RoundRequested(number=number, requester=msg.sender, slot=slot, fee=fee)
    return slot
