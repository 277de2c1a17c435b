# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title PriceReader: how a contract reads a Dodona price and its forecast
@license AGPL-3.0-only
@notice Checks what the plain Feed leaves to its reader: that nothing speaks against the newest round, that the price is
        positive and young, that no flag warns of disagreement. Copy what you need.
"""


interface Feed:
    def latestRoundData() -> (uint80, int256, uint256, uint256, uint80): view
    def status() -> uint256: view
    def flags() -> uint8: view
    def confidence() -> uint256: view
    def latestVector() -> (uint256, DynArray[int256, 16]): view


# Set by the network when validators or sources lie far apart, or when the price jumped.
FLAG_DISPERSION: constant(uint8) = 4
FLAG_JUMP: constant(uint8) = 8
PRICE: public(immutable(Feed))
FORECAST: public(immutable(Feed))
MAX_AGE: public(immutable(uint256))


@deploy
def __init__(price: Feed, forecast: Feed, max_age: uint256):
    """
    @notice Binds the reader to a price feed and a forecast feed of the same pair.
    @param price The price feed.
    @param forecast The forecast feed.
    @param max_age Seconds after which an answer is too old: choose the feed's heartbeat and a little more.
    """
    PRICE = price
    FORECAST = forecast
    MAX_AGE = max_age


@external
@view
def price() -> (uint256, uint256):
    """
    @notice The price, if it can be trusted now.
    @return The price and its confidence, both at the feed's decimals.
    """
    answer: int256 = self._fresh(PRICE)
    assert answer > 0, "reader: price not positive"
    assert staticcall PRICE.flags() & (FLAG_DISPERSION | FLAG_JUMP) == 0, "reader: flagged price"
    return convert(answer, uint256), staticcall PRICE.confidence()


@external
@view
def range90() -> (int256, int256):
    """
    @notice Between which log returns, to the forecast's horizon, 90 % of outcomes are expected.
    @return The 5 % and the 95 % quantile in 1e-6.
    """
    self._fresh(FORECAST)
    round: uint256 = 0
    quantiles: DynArray[int256, 16] = []
    round, quantiles = staticcall FORECAST.latestVector()
    return quantiles[1], quantiles[7]


@internal
@view
def _fresh(feed: Feed) -> int256:
    # Stale by the network's own measure, INVALID, paused, behind a sequencer that is down, retired.
    assert staticcall feed.status() == 0, "reader: not reliable"
    round: uint80 = 0
    answer: int256 = 0
    started: uint256 = 0
    updated: uint256 = 0
    answered: uint80 = 0
    round, answer, started, updated, answered = staticcall feed.latestRoundData()
    assert block.timestamp - updated <= MAX_AGE, "reader: stale"
    return answer
