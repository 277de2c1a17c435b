# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# A feed that says whatever a test wants. Only for tests.

kind: public(uint8)
decimals: public(uint8)
outcomes: public(uint8)
base: public(bytes32)
quote: public(bytes32)
horizon: public(uint256)
heartbeat: public(uint256)
invalid: public(bool)
flags: public(uint8)
confidence: public(uint256)
values: DynArray[int256, 16]
roundId: uint80
answer: int256
startedAt: uint256
updatedAt: uint256
answeredInRound: uint80


@deploy
def __init__(kind: uint8, decimals: uint8, outcomes: uint8, base: bytes32, quote: bytes32, horizon: uint256):
    self.kind = kind
    self.decimals = decimals
    self.outcomes = outcomes
    self.base = base
    self.quote = quote
    self.horizon = horizon
    self.heartbeat = 3600
    self.confidence = 7


@external
def say(round: uint80, answer: int256, started: uint256, updated: uint256, answered: uint80):
    self.roundId = round
    self.answer = answer
    self.startedAt = started
    self.updatedAt = updated
    self.answeredInRound = answered


@external
def mark(invalid: bool, flags: uint8):
    self.invalid = invalid
    self.flags = flags


@external
def spread(values: DynArray[int256, 16]):
    self.values = values


@external
@view
def vector(round: uint256) -> DynArray[int256, 16]:
    return self.values if round == convert(self.roundId, uint256) else []


@external
@view
def latestVector() -> (uint256, DynArray[int256, 16]):
    return convert(self.roundId, uint256), self.values


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    assert self.roundId != 0 or self.answeredInRound != 0, "No data present"
    return self.roundId, self.answer, self.startedAt, self.updatedAt, self.answeredInRound
