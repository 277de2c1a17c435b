# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title PullReader: how a contract takes a Dodona report that its caller brings
@license AGPL-3.0-only
@notice A fresh price for one transaction, without and with storing it; and the price of a past moment, for a settlement.
        The caller can choose the report but not the value: every report is signed by more than 2/3 of the stake.
"""


struct Payload:
    number: uint256
    slot: uint256
    observedAt: uint256
    value: int256
    confidence: uint256
    turnout: uint256
    flags: uint256
    vector: uint256


interface Aggregator:
    def verify(report: Bytes[8224], number: uint256, maxAge: uint256) -> Payload: view
    def update_and_read(report: Bytes[8224], number: uint256, maxAge: uint256) -> Payload: nonpayable
    def verifyHistoric(report: Bytes[8224], number: uint256) -> Payload: view


# Time after the expiry in which anyone may bring an earlier report; less than half of Staking's evidenceSeconds().
WINDOW: constant(uint256) = 3600
AGGREGATOR: immutable(Aggregator)
NUMBER: immutable(uint256)
MAX_AGE: immutable(uint256)
EXPIRY: immutable(uint256)
slot: public(uint256)
settled: int256


@deploy
def __init__(aggregator: address, number: uint256, max_age: uint256, expiry: uint256):
    AGGREGATOR = Aggregator(aggregator)
    NUMBER = number
    MAX_AGE = max_age
    EXPIRY = expiry


@external
@view
def price(report: Bytes[8224]) -> int256:
    """@notice The price in a report; nothing is stored."""
    return (staticcall AGGREGATOR.verify(report, NUMBER, MAX_AGE)).value


@external
def updatedPrice(report: Bytes[8224]) -> int256:
    """@notice Stores a report for everyone, then reads the newest price; a report that came late does no harm."""
    return (extcall AGGREGATOR.update_and_read(report, NUMBER, MAX_AGE)).value


@external
def settle(report: Bytes[8224]):
    """@notice Shows a report from the expiry or later; of several the earliest counts."""
    assert block.timestamp < EXPIRY + WINDOW, "reader: window is over"
    found: Payload = staticcall AGGREGATOR.verifyHistoric(report, NUMBER)
    assert found.observedAt >= EXPIRY, "reader: before the expiry"
    assert self.slot == 0 or found.slot < self.slot, "reader: not earlier"
    self.slot = found.slot
    self.settled = found.value


@external
@view
def settlement() -> int256:
    """@notice The price at the expiry, once nobody can bring an earlier report any more."""
    assert block.timestamp >= EXPIRY + WINDOW and self.slot != 0, "reader: not settled"
    return self.settled
