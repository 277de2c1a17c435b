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
from ..interfaces import IConfigurator

uses: ownable

timing: public(IAggregator.Timing)
# Ascending feed numbers, and where the newest spec of each lies.
numbers: DynArray[uint256, 128]
specs: HashMap[uint256, address]
# Second at which a feed leaves the table for ever, 0 while no notice is given. A number is never used again.
retirements: HashMap[uint256, uint256]


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
    assert not self._retired(number), "configurator: feed is retired"
    if known == empty(address):
        self._insert(number, spec.kind)
    else:
        self._check_identity(config_blob._read_spec(known), spec)
    # EFFECTS
    self.specs[number] = config_blob._write_spec(spec)
    # LOG
    log IConfigurator.FeedListed(number=spec.number, specHash=keccak256(abi_encode(spec)))


@external
def retireFeed(number: uint256):
    """
    @notice Gives notice that a feed ends in 30 days: from then on its faces say retired, and the next roll drops it.
            Its number is never used again. Only the owner.
    @param number Feed number.
    """
    # CHECKS
    ownable._check_owner()
    assert self.specs[number] != empty(address), "configurator: unknown feed"
    assert self.retirements[number] == 0, "configurator: notice is given"
    # EFFECTS
    self.retirements[number] = block.timestamp + constants.RETIREMENT_NOTICE
    # LOG
    log IConfigurator.FeedRetiring(number=convert(number, uint16), retiresAt=self.retirements[number])


@external
def keepFeed(number: uint256):
    """
    @notice Takes a notice back before it has run out. Only the owner.
    @param number Feed number.
    """
    # CHECKS
    ownable._check_owner()
    assert self.retirements[number] != 0, "configurator: no notice is given"
    assert not self._retired(number), "configurator: feed is retired"
    # EFFECTS
    self.retirements[number] = 0
    # LOG
    log IConfigurator.FeedKept(number=convert(number, uint16))


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
    log IConfigurator.TimingStaged(timing=timing)


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
    assert pointer != empty(address), "configurator: unknown feed"
    return config_blob._read_spec(pointer)


@external
@view
def retiresAt(number: uint256) -> uint256:
    """
    @notice When a feed ends.
    @param number Feed number.
    @return Second; 0 while no notice is given.
    """
    return self.retirements[number]


# INTERNAL


@internal
@view
def _retired(number: uint256) -> bool:
    return self.retirements[number] != 0 and self.retirements[number] <= block.timestamp


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
def _drop_retired():
    """
    @notice Forgets the feeds whose notice has run out. Their specs stay, so that no lane is ever taken twice.
    """
    kept: DynArray[uint256, 128] = []
    for number: uint256 in self.numbers:
        if not self._retired(number):
            kept.append(number)
    if len(kept) < len(self.numbers):
        self.numbers = kept


@internal
def _insert(number: uint256, kind: uint8):
    lane: uint256 = number % constants.LANES
    if convert(kind, uint256) != constants.KIND_PRICE:
        assert lane != 3, "configurator: a vector feed needs two lanes of a page"
        assert self.specs[number + 1] == empty(address), "configurator: lane is taken"
    if lane != 0 and self.specs[number - 1] != empty(address):
        before: IAggregator.FeedSpec = config_blob._read_spec(self.specs[number - 1])
        assert convert(before.kind, uint256) == constants.KIND_PRICE, "configurator: lane is taken"
    self._drop_retired()
    # Ascending, by one step of insertion sort; then the pages are the runs of equal quotients.
    numbers: DynArray[uint256, 128] = self.numbers
    assert len(numbers) < 128, "configurator: too many pages"
    numbers.append(number)
    place: uint256 = len(numbers) - 1
    for step: uint256 in range(128):
        if place == 0 or numbers[place - 1] < number:
            break
        numbers[place] = numbers[place - 1]
        place -= 1
    numbers[place] = number
    pages: uint256 = 0
    last: uint256 = max_value(uint256)
    for listed: uint256 in numbers:
        if listed // constants.LANES != last:
            last = listed // constants.LANES
            pages += 1
    assert pages <= constants.MAX_PAGES, "configurator: too many pages"
    self.numbers = numbers


@internal
@pure
def _check_spec(spec: IAggregator.FeedSpec):
    kind: uint256 = convert(spec.kind, uint256)
    outcomes: uint256 = convert(spec.outcomes, uint256)
    assert kind <= constants.KIND_EVENT, "configurator: unknown kind"
    assert spec.base != empty(bytes32), "configurator: no base"
    if kind == constants.KIND_EVENT:
        assert outcomes >= 2 and outcomes <= constants.MAX_OUTCOMES, "configurator: bad outcomes"
        assert spec.quote == empty(bytes32), "configurator: an event has no quote"
    else:
        assert outcomes == 0, "configurator: bad outcomes"
    assert (kind == constants.KIND_FORECAST) == (spec.horizon != 0), "configurator: bad horizon"
    assert spec.decimals <= 36, "configurator: bad decimals"
    assert spec.heartbeat != 0, "configurator: no heartbeat"
    assert spec.minValue <= spec.maxValue, "configurator: bad bounds"
    assert spec.minSources != 0, "configurator: no sources"
    assert convert(spec.minObservers, uint256) <= constants.MAX_VALIDATORS, "configurator: too many observers"
    assert convert(spec.maxFamilyShare, uint256) <= constants.BPS, "configurator: bad family share"


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
    ), "configurator: identity of a feed never changes"


@internal
@pure
def _check_timing(timing: IAggregator.Timing):
    assert timing.slotSeconds != 0 and timing.slotSeconds <= 86400, "configurator: bad slot length"
    assert timing.maxReportAge != 0 and timing.maxReportAge <= 65535, "configurator: bad report age"
    assert timing.graceMs < timing.slotSeconds * 1000, "configurator: bad grace"
    assert timing.stageMs < timing.slotSeconds * 1000, "configurator: bad stage"
    assert timing.confirmation <= 86400, "configurator: bad confirmation depth"
    assert timing.minValidators != 0 and convert(timing.minValidators, uint256) <= constants.MAX_VALIDATORS, (
        "configurator: bad least number of validators"
    )
