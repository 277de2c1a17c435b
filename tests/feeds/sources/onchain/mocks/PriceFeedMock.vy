# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# An AggregatorV3 feed, or a sequencer's uptime feed, that says whatever a test wants. Only for tests.

decimals: public(uint8)
description: public(String[128])
round: uint80
answer: int256
started: uint256
updated: uint256
answered: uint80


@deploy
def __init__(decimals: uint8, description: String[128]):
    self.decimals = decimals
    self.description = description


@external
def say(round: uint80, answer: int256, started: uint256, updated: uint256, answered: uint80):
    self.round = round
    self.answer = answer
    self.started = started
    self.updated = updated
    self.answered = answered


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    assert self.round != max_value(uint80), "No data present"
    return self.round, self.answer, self.started, self.updated, self.answered
