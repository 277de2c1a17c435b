# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Series: which series a face shows
@license AGPL-3.0-only
@notice The feed and, for faces of one component of a vector, the component. All of it is immutable, so a face can never
        come to mean something else. Errors of faces read "feed: reason".
"""

from .. import constants
from . import feed_word
from ..interfaces import IAggregator
from ..interfaces import IConfigurator

# The component of a face that shows the scalar.
SCALAR: constant(uint256) = max_value(uint256)

AGGREGATOR: immutable(IAggregator)
CONFIGURATOR: immutable(IConfigurator)
NUMBER: immutable(uint256)
COMPONENT: immutable(uint256)
DECIMALS: immutable(uint8)
KIND: immutable(uint256)
OUTCOMES: immutable(uint256)
BASE: immutable(bytes32)
QUOTE: immutable(bytes32)
HORIZON: immutable(uint256)


@deploy
def __init__(aggregator: address, number: uint256, component: uint256):
    """
    @notice Binds the face to one listed feed for ever.
    @param aggregator The Aggregator.
    @param number Feed number; listed, if only for the next config.
    @param component Place in the feed's vector, or SCALAR.
    """
    AGGREGATOR = IAggregator(aggregator)
    CONFIGURATOR = IConfigurator(staticcall IAggregator(aggregator).configurator())
    NUMBER = number
    COMPONENT = component
    spec: IAggregator.FeedSpec = staticcall CONFIGURATOR.stagedSpec(number)
    KIND = convert(spec.kind, uint256)
    OUTCOMES = convert(spec.outcomes, uint256)
    BASE = spec.base
    QUOTE = spec.quote
    HORIZON = convert(spec.horizon, uint256)
    decimals: uint8 = spec.decimals
    if component != SCALAR:
        assert component < feed_word._width(KIND, OUTCOMES), "feed: no such component"
        decimals = feed_word._component_decimals(KIND)
    DECIMALS = decimals


# VIEW


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
def component() -> uint256:
    """
    @notice Which component of the feed's vector the answer is.
    @return Its place, from 0; 2**256 - 1 if the answer is the feed's scalar.
    """
    return COMPONENT


@external
@view
def identity() -> bytes32:
    """
    @notice What two faces must share so that one may take the other's place without its readers noticing.
    @return Hash of kind, decimals, outcomes, base, quote, horizon and component.
    """
    return keccak256(abi_encode(KIND, DECIMALS, OUTCOMES, BASE, QUOTE, HORIZON, COMPONENT))


@external
@view
def kind() -> uint8:
    """
    @notice What kind of feed this is.
    @return 0 price, 1 forecast, 2 event.
    """
    return convert(KIND, uint8)


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
    return HORIZON


@external
@view
def outcomes() -> uint8:
    """
    @notice Number of outcomes of an event.
    @return The number, 0 unless an event.
    """
    return convert(OUTCOMES, uint8)


@external
@view
def description() -> String[128]:
    """
    @notice What the answer is, for people.
    @return "BASE / QUOTE", with "forecast" and the horizon in seconds, and the quantile if the answer is one; for an
            event, whose id is not text, "event", and the outcome with the id in hex if the answer is its probability.
    """
    if KIND == constants.KIND_EVENT:
        if COMPONENT == SCALAR:
            return "event"
        return concat("outcome ", uint2str(convert(COMPONENT, uint8)), " of event 0x", feed_word._hex(BASE))
    pair: String[67] = concat(feed_word._text(BASE), " / ", feed_word._text(QUOTE))
    if KIND == constants.KIND_PRICE:
        return pair
    horizon: uint32 = convert(HORIZON, uint32)
    if COMPONENT == SCALAR:
        return concat(pair, " forecast ", uint2str(horizon), " s")
    level: uint8 = convert(feed_word._level(COMPONENT), uint8)
    return concat(pair, " forecast ", uint2str(horizon), " s, ", uint2str(level), " % quantile")


@external
@view
def version() -> uint256:
    """
    @notice Version of this face.
    @return Always 1.
    """
    return 1
