# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
# How three lenders read a feed, as little as they check. Only for tests.

from interfaces import IAggregatorV2V3

FALLBACK: constant(int256) = 77


@external
@view
def as_aave(feed: address) -> int256:
    # AaveOracle v3: the fallback oracle is asked unless the answer is positive.
    answer: int256 = staticcall IAggregatorV2V3(feed).latestAnswer()
    return answer if answer > 0 else FALLBACK


@external
@view
def as_compound(feed: address) -> int256:
    # Comet: any answer above zero is a price, of whatever age.
    answer: int256 = self._answer(feed)
    assert answer > 0, "taker: bad price"
    return answer


@external
@view
def as_morpho(feed: address) -> int256:
    # MorphoChainlinkOracleV2: zero is a price.
    answer: int256 = self._answer(feed)
    assert answer >= 0, "taker: negative answer"
    return answer


@internal
@view
def _answer(feed: address) -> int256:
    round: uint80 = 0
    answer: int256 = 0
    started: uint256 = 0
    updated: uint256 = 0
    answered: uint80 = 0
    round, answer, started, updated, answered = staticcall IAggregatorV2V3(feed).latestRoundData()
    return answer
