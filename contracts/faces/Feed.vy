# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Feed: one feed in the shape that lending and trading protocols read
@license AGPL-3.0-only
@notice All view functions of AggregatorV2V3 over the Aggregator's ring, with real history, and what no such feed shows
        elsewhere: heartbeat, deviation, bounds, staleness, turnout, confidence, and the whole forecast.
@dev The plain face: after an INVALID report it keeps the last valid round, so readers check `updatedAt` and `flags()`.
     It holds no state: identity in immutables, values in the Aggregator.
"""

from .. import constants
from . import feed_word
from ..interfaces import IAggregator
from ..interfaces import IAggregatorV2V3

implements: IAggregatorV2V3

AGGREGATOR: immutable(IAggregator)
NUMBER: immutable(uint256)
KIND: immutable(uint8)
DECIMALS: immutable(uint8)
OUTCOMES: immutable(uint8)
BASE: immutable(bytes32)
QUOTE: immutable(bytes32)
HORIZON: immutable(uint32)


@deploy
def __init__(aggregator: address, number: uint256):
    """
    @notice Binds the face to one listed feed for ever.
    @param aggregator The Aggregator.
    @param number Feed number; listed, if only for the next config.
    """
    AGGREGATOR = IAggregator(aggregator)
    NUMBER = number
    spec: IAggregator.FeedSpec = staticcall IAggregator(aggregator).stagedSpec(number)
    KIND = spec.kind
    DECIMALS = spec.decimals
    OUTCOMES = spec.outcomes
    BASE = spec.base
    QUOTE = spec.quote
    HORIZON = spec.horizon


# VIEW: V3 and V2


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice The newest round; reverts "No data present" before the first.
    @return roundId, answer, time of observation, time of storing, roundId.
    """
    round: uint256 = 0
    word: uint256 = 0
    round, word = staticcall AGGREGATOR.latest(NUMBER)
    return self._round_data(round, word)


@external
@view
def getRoundData(_roundId: uint80) -> (uint80, int256, uint256, uint256, uint80):
    """
    @notice A round of the newest 1,024; reverts "No data present" for all others.
    @param _roundId The round, counted 1, 2, 3...
    @return roundId, answer, time of observation, time of storing, roundId.
    """
    return self._round_data(convert(_roundId, uint256), self._word(convert(_roundId, uint256)))


@external
@view
def decimals() -> uint8:
    """
    @notice Decimal places of the answer.
    @return The number; it never changes.
    """
    return DECIMALS


@external
@view
def description() -> String[128]:
    """
    @notice What the answer is, for people.
    @return "BASE / QUOTE", with "forecast" and the horizon in seconds; "event" for an event, whose id is not text.
    """
    if convert(KIND, uint256) == constants.KIND_EVENT:
        return "event"
    pair: String[67] = concat(feed_word._text(BASE), " / ", feed_word._text(QUOTE))
    if convert(KIND, uint256) == constants.KIND_FORECAST:
        return concat(pair, " forecast ", uint2str(HORIZON), " s")
    return pair


@external
@view
def version() -> uint256:
    """
    @notice Version of this face.
    @return Always 1.
    """
    return 1


@external
@view
def latestAnswer() -> int256:
    """
    @notice The newest answer.
    @return The answer, 0 before the first round.
    """
    return feed_word._answer(self._newest())


@external
@view
def latestTimestamp() -> uint256:
    """
    @notice When the newest round was stored.
    @return Seconds, 0 before the first round.
    """
    return feed_word._updated_at(self._newest())


@external
@view
def latestRound() -> uint256:
    """
    @notice The newest round.
    @return The round, 0 before the first.
    """
    return self._newest_round()


@external
@view
def getAnswer(roundId: uint256) -> int256:
    """
    @notice The answer of a round.
    @param roundId The round.
    @return The answer, 0 outside the newest 1,024 rounds.
    """
    return feed_word._answer(self._word(roundId))


@external
@view
def getTimestamp(roundId: uint256) -> uint256:
    """
    @notice When a round was stored.
    @param roundId The round.
    @return Seconds, 0 outside the newest 1,024 rounds.
    """
    return feed_word._updated_at(self._word(roundId))


# VIEW: what this feed is, and how good its newest value


@external
@view
def aggregator() -> address:
    """
    @notice Where the values lie.
    @return The Aggregator.
    """
    return AGGREGATOR.address


@external
@view
def number() -> uint256:
    """
    @notice Number of the feed in the Aggregator.
    @return The number.
    """
    return NUMBER


@external
@view
def kind() -> uint8:
    """
    @notice What kind of feed this is.
    @return 0 price, 1 forecast, 2 event.
    """
    return KIND


@external
@view
def base() -> bytes32:
    """
    @notice What is priced or forecast, as right-padded text; of an event the question id.
    @return The name.
    """
    return BASE


@external
@view
def quote() -> bytes32:
    """
    @notice The unit of the price, as right-padded text; of an event zero.
    @return The name.
    """
    return QUOTE


@external
@view
def horizon() -> uint256:
    """
    @notice How far a forecast looks ahead.
    @return Seconds, 0 unless a forecast.
    """
    return convert(HORIZON, uint256)


@external
@view
def outcomes() -> uint8:
    """
    @notice Number of outcomes of an event.
    @return The number, 0 unless an event.
    """
    return OUTCOMES


@external
@view
def heartbeat() -> uint256:
    """
    @notice Longest time between two rounds that the validators promise.
    @return Seconds.
    """
    return convert((staticcall AGGREGATOR.feedSpec(NUMBER)).heartbeat, uint256)


@external
@view
def deviation() -> uint256:
    """
    @notice Change of the value that makes validators report before the heartbeat.
    @return ppm: of the value for prices, absolute in 1e-6 otherwise.
    """
    return convert((staticcall AGGREGATOR.feedSpec(NUMBER)).deviation, uint256)


@external
@view
def bounds() -> (int256, int256):
    """
    @notice Outside of these a value is called INVALID.
    @return Least and largest value at the feed's decimals.
    """
    spec: IAggregator.FeedSpec = staticcall AGGREGATOR.feedSpec(NUMBER)
    return convert(spec.minValue, int256), convert(spec.maxValue, int256)


@external
@view
def isStale() -> bool:
    """
    @notice Whether the newest round is older than the heartbeat.
    @return True also before the first round.
    """
    word: uint256 = self._newest()
    heartbeat: uint32 = (staticcall AGGREGATOR.feedSpec(NUMBER)).heartbeat
    return word == 0 or block.timestamp > feed_word._observed_at(word) + convert(heartbeat, uint256)


@external
@view
def invalid() -> bool:
    """
    @notice Whether the validators called the feed INVALID since the newest round.
    @return True if the newest round is older than the last report.
    """
    return (staticcall AGGREGATOR.head(NUMBER)).invalid


@external
@view
def turnout() -> uint256:
    """
    @notice Share of the effective stake that observed the newest value.
    @return Basis points.
    """
    return feed_word._turnout(self._newest())


@external
@view
def confidence() -> uint256:
    """
    @notice Spread of the newest value among validators and sources, rounded up.
    @return In the unit of the answer.
    """
    return feed_word._confidence(self._newest())


@external
@view
def flags() -> uint8:
    """
    @notice Flags of the newest round as signed (constants.vy).
    @return Bits.
    """
    return feed_word._flags(self._newest())


@external
@view
def slotOf(roundId: uint256) -> uint256:
    """
    @notice The consensus slot of a round.
    @param roundId The round.
    @return The slot, 0 outside the newest 1,024 rounds.
    """
    return staticcall AGGREGATOR.slotOf(NUMBER, roundId)


@external
@view
def vector(roundId: uint256) -> DynArray[int256, 16]:
    """
    @notice The whole forecast of a round: of a forecast feed the quantiles 1, 5, 10, 25, 50, 75, 90, 95, 99 % of the
            log return to the horizon in 1e-6; of an event feed the probabilities in basis points (sum 10,000).
    @param roundId The round.
    @return The components; empty for a price feed and outside the newest 1,024 rounds.
    """
    return self._components(roundId)


@external
@view
def latestVector() -> (uint256, DynArray[int256, 16]):
    """
    @notice The whole forecast of the newest round, with the round.
    @return Round and components as in `vector`; 0 and empty before the first round.
    """
    round: uint256 = self._newest_round()
    return round, self._components(round)


@external
@view
def resolved() -> (bool, uint256):
    """
    @notice Whether an event is decided: more than 2/3 of all effective stake said so, with the same outcome.
    @return Decided or not, and the outcome (of the newest round even if not decided).
    """
    word: uint256 = self._newest()
    final: bool = convert(KIND, uint256) == constants.KIND_EVENT and word & (constants.FLAG_FINAL << 48) != 0
    return final, (word >> 112) & (2**128 - 1)


# INTERNAL


@internal
@view
def _newest_round() -> uint256:
    return convert((staticcall AGGREGATOR.head(NUMBER)).round, uint256)


@internal
@view
def _newest() -> uint256:
    round: uint256 = 0
    word: uint256 = 0
    round, word = staticcall AGGREGATOR.latest(NUMBER)
    return word


@internal
@view
def _word(round: uint256) -> uint256:
    return staticcall AGGREGATOR.roundWord(NUMBER, round)


@internal
@pure
def _round_data(round: uint256, word: uint256) -> (uint80, int256, uint256, uint256, uint80):
    assert word != 0, "No data present"
    id: uint80 = convert(round, uint80)
    return id, feed_word._answer(word), feed_word._observed_at(word), feed_word._updated_at(word), id


@internal
@view
def _components(round: uint256) -> DynArray[int256, 16]:
    word: uint256 = staticcall AGGREGATOR.vectorWord(NUMBER, round)
    return feed_word._components(word, convert(KIND, uint256), convert(OUTCOMES, uint256))
