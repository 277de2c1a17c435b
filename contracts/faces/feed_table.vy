# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Feed table: what the network has promised of a feed
@license AGPL-3.0-only
@notice The feed's line of the config in force, read from the Configurator: it may change from one config to the next.
        A feed that is retired has left the table; then its last line is told.
"""

from . import series
from ..interfaces import IAggregator

uses: series


# VIEW


@external
@view
def heartbeat() -> uint256:
    """
    @notice Longest time between two rounds that the validators promise.
    @return Seconds.
    """
    return convert(self._spec().heartbeat, uint256)


@external
@view
def deviation() -> uint256:
    """
    @notice Change of the value that makes validators report before the heartbeat.
    @return ppm: of the value for prices, absolute in 1e-6 otherwise.
    """
    return convert(self._spec().deviation, uint256)


@external
@view
def bounds() -> (int256, int256):
    """
    @notice Outside of these a value is called INVALID.
    @return Least and largest value at the feed's decimals.
    """
    spec: IAggregator.FeedSpec = self._spec()
    return convert(spec.minValue, int256), convert(spec.maxValue, int256)


@external
@view
def jump() -> uint256:
    """
    @notice Change between two rounds from which on a round carries the JUMP flag.
    @return ppm: of the value for prices, absolute in 1e-6 otherwise.
    """
    return convert(self._spec().jump, uint256)


@external
@view
def vetoBand() -> uint256:
    """
    @notice How far a validator lets a proposed value lie from its own before it refuses to sign.
    @return ppm: of the value for prices, absolute in 1e-6 otherwise.
    """
    return convert(self._spec().vetoBand, uint256)


@external
@view
def maxDispersion() -> uint256:
    """
    @notice Spread among validators above which a round carries the DISPERSION flag.
    @return ppm: of the value for prices, absolute in 1e-6 otherwise.
    """
    return convert(self._spec().maxDispersion, uint256)


@external
@view
def minSources() -> uint256:
    """
    @notice Least number of distinct sources behind one validator's observation.
    @return The number.
    """
    return convert(self._spec().minSources, uint256)


@external
@view
def minObservers() -> uint256:
    """
    @notice Least number of distinct validators that observed the feed, beside the rule of stake.
    @return The number.
    """
    return convert(self._spec().minObservers, uint256)


@external
@view
def maxFamilyShare() -> uint256:
    """
    @notice Share of the weight that one family of models may hold.
    @return Basis points.
    """
    return convert(self._spec().maxFamilyShare, uint256)


@external
@view
def methodology() -> bytes32:
    """
    @notice Hash of the document that tells how the value is made.
    @return The hash.
    """
    return self._spec().methodology


@external
@view
def sourceList() -> bytes32:
    """
    @notice Hash of the list of sources that validators read.
    @return The hash.
    """
    return self._spec().sources


@external
@view
def retiresAt() -> uint256:
    """
    @notice When the feed ends, from the moment that notice is given, at least 30 days ahead.
    @return Second; 0 while no notice is given.
    """
    return staticcall series.CONFIGURATOR.retiresAt(series.NUMBER)


# INTERNAL


@internal
@view
def _spec() -> IAggregator.FeedSpec:
    retires: uint256 = staticcall series.CONFIGURATOR.retiresAt(series.NUMBER)
    if retires != 0 and retires <= block.timestamp:
        return staticcall series.CONFIGURATOR.stagedSpec(series.NUMBER)
    return staticcall series.CONFIGURATOR.feedSpec(series.NUMBER)
