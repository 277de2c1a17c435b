# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title What the next config will hold
@license AGPL-3.0-only
@notice Feeds and timing as the owner has staged them. Nothing here is in force before the next roll.
"""

from snekmate.auth import ownable

from .. import constants
from . import config_blob
from ..interfaces import IAggregator

uses: ownable

timing: public(IAggregator.Timing)
# Ascending feed numbers, and where the newest spec of each lies.
numbers: DynArray[uint256, 128]
specs: HashMap[uint256, address]
pages: HashMap[uint256, bool]
pageCount: uint256


@deploy
def __init__(timing: IAggregator.Timing):
    """
    @notice Stages the timing of the first config.
    @param timing Slot length and the other operating numbers.
    """
    self._check_timing(timing)
    self.timing = timing


# ROLE


@external
def listFeed(spec: IAggregator.FeedSpec):
    """
    @notice Lists a feed, or changes what may change of a listed one, from the next config on. Only the owner.
    @dev Number, kind, decimals, outcomes, base, quote and horizon of a listed feed stay for ever.
    @param spec The whole spec.
    """
    # CHECKS
    ownable._check_owner()
    self._check_spec(spec)
    number: uint256 = convert(spec.number, uint256)
    known: address = self.specs[number]
    if known == empty(address):
        self._insert(number, spec.kind)
    else:
        self._check_identity(config_blob._read_spec(known), spec)
    # EFFECTS
    self.specs[number] = config_blob._write_spec(spec)
    # LOG
    log IAggregator.FeedListed(number=spec.number, specHash=keccak256(abi_encode(spec)))


@external
def stageTiming(timing: IAggregator.Timing):
    """
    @notice Sets the operating numbers from the next config on. Only the owner.
    @param timing Slot length, report age, grace, stage, confirmation depth in seconds, least number of validators.
    """
    # CHECKS
    ownable._check_owner()
    self._check_timing(timing)
    # EFFECTS
    self.timing = timing
    # LOG
    log IAggregator.TimingStaged(timing=timing)


# VIEW


@external
@view
def stagedSpec(number: uint256) -> IAggregator.FeedSpec:
    """
    @notice The spec of a feed as the next roll will take it.
    @param number Feed number.
    @return The spec; reverts for a feed that was never listed.
    """
    pointer: address = self.specs[number]
    assert pointer != empty(address), "aggregator: unknown feed"
    return config_blob._read_spec(pointer)


# INTERNAL


@internal
@view
def _entries() -> DynArray[uint256, 128]:
    """
    @notice The feeds that the next config will hold.
    @return One word a feed, ascending: number 96 | address of its spec 160.
    """
    entries: DynArray[uint256, 128] = []
    for number: uint256 in self.numbers:
        entries.append((number << 160) | convert(self.specs[number], uint256))
    return entries


@internal
def _insert(number: uint256, kind: uint8):
    lane: uint256 = number % constants.LANES
    if convert(kind, uint256) != constants.KIND_PRICE:
        assert lane != 3, "aggregator: a vector feed needs two lanes of a page"
        assert self.specs[number + 1] == empty(address), "aggregator: lane is taken"
    if lane != 0 and self.specs[number - 1] != empty(address):
        before: IAggregator.FeedSpec = config_blob._read_spec(self.specs[number - 1])
        assert convert(before.kind, uint256) == constants.KIND_PRICE, "aggregator: lane is taken"
    page: uint256 = number // constants.LANES
    if not self.pages[page]:
        assert self.pageCount < constants.MAX_PAGES, "aggregator: too many pages"
        self.pages[page] = True
        self.pageCount += 1
    self.numbers.append(number)
    place: uint256 = len(self.numbers) - 1
    for step: uint256 in range(128):
        if place == 0 or self.numbers[place - 1] < number:
            break
        self.numbers[place] = self.numbers[place - 1]
        place -= 1
    self.numbers[place] = number


@internal
@pure
def _check_spec(spec: IAggregator.FeedSpec):
    kind: uint256 = convert(spec.kind, uint256)
    outcomes: uint256 = convert(spec.outcomes, uint256)
    assert kind <= constants.KIND_EVENT, "aggregator: unknown kind"
    assert spec.base != empty(bytes32), "aggregator: no base"
    if kind == constants.KIND_EVENT:
        assert outcomes >= 2 and outcomes <= constants.MAX_OUTCOMES, "aggregator: bad outcomes"
        assert spec.quote == empty(bytes32), "aggregator: an event has no quote"
    else:
        assert outcomes == 0, "aggregator: bad outcomes"
    assert (kind == constants.KIND_FORECAST) == (spec.horizon != 0), "aggregator: bad horizon"
    assert spec.decimals <= 36, "aggregator: bad decimals"
    assert spec.heartbeat != 0, "aggregator: no heartbeat"
    assert spec.minValue <= spec.maxValue, "aggregator: bad bounds"
    assert spec.minSources != 0, "aggregator: no sources"
    assert convert(spec.maxFamilyShare, uint256) <= constants.BPS, "aggregator: bad family share"


@internal
@pure
def _check_identity(old: IAggregator.FeedSpec, new: IAggregator.FeedSpec):
    assert (
        old.kind == new.kind
        and old.decimals == new.decimals
        and old.outcomes == new.outcomes
        and old.base == new.base
        and old.quote == new.quote
        and old.horizon == new.horizon
    ), "aggregator: identity of a feed never changes"


@internal
@pure
def _check_timing(timing: IAggregator.Timing):
    assert timing.slotSeconds != 0 and timing.slotSeconds <= 86400, "aggregator: bad slot length"
    assert timing.maxReportAge != 0 and timing.maxReportAge <= 65535, "aggregator: bad report age"
    assert timing.graceMs < timing.slotSeconds * 1000, "aggregator: bad grace"
    assert timing.stageMs < timing.slotSeconds * 1000, "aggregator: bad stage"
    assert timing.confirmation <= 86400, "aggregator: bad confirmation depth"
    assert timing.minValidators != 0 and convert(timing.minValidators, uint256) <= constants.MAX_VALIDATORS, (
        "aggregator: bad least number of validators"
    )
