# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# Requests a round with too much money and, when the rest comes back, asks again. Only for tests.

interface Aggregator:
    def requestRound(number: uint256) -> uint256: payable


AGGREGATOR: immutable(address)
number: uint256
greedy: bool


@deploy
def __init__(aggregator: address):
    AGGREGATOR = aggregator


@external
@payable
def ask(number: uint256, greedy: bool):
    self.number = number
    self.greedy = greedy
    extcall Aggregator(AGGREGATOR).requestRound(number, value=msg.value)


@external
@payable
def __default__():
    if self.greedy:
        extcall Aggregator(AGGREGATOR).requestRound(self.number, value=msg.value)
