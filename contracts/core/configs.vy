# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Configs: every one that was ever in force
@license AGPL-3.0-only
@notice A config starts at a stated first slot, at least two slots after the block of its roll is final; the one before
        it stays good for the slots before that. So a slot has exactly one config, and one digest.
"""

from . import bits
from . import config_blob
from . import next_config
from ..interfaces import IAggregator
from ..interfaces import IConfigurator

uses: next_config

ANCHOR_TIME: immutable(uint64)

aggregator: public(address)
configCount: public(uint256)
pointers: HashMap[uint256, address]


@deploy
def __init__(anchorTime: uint64):
    """
    @notice Fixes where slots are counted from.
    @param anchorTime Second at which slot 0 starts; not in the future.
    """
    # CHECKS
    assert anchorTime != 0 and convert(anchorTime, uint256) <= block.timestamp, "configurator: bad anchor time"
    # EFFECTS
    ANCHOR_TIME = anchorTime


# VIEW


@external
@view
def configOf(count: uint256) -> IAggregator.Config:
    """
    @notice A config with every field of its digest.
    @param count Number of the config, from 1.
    @return The config.
    """
    return config_blob._read_config(self._pointer_of(count), self.aggregator)


@external
@view
def table(count: uint256) -> DynArray[IAggregator.Row, 64]:
    """
    @notice The validator table of a config.
    @param count Number of the config, from 1.
    @return Rows, largest effective stake first.
    """
    return config_blob._rows(self._pointer_of(count))


@external
@view
def feeds() -> DynArray[uint256, 128]:
    """
    @notice Numbers of the feeds of the newest config.
    @return Ascending numbers; empty before the first config.
    """
    if self.configCount == 0:
        return []
    return self._numbers_in(self.pointers[self.configCount])


@external
@view
def feedsOf(count: uint256) -> DynArray[uint256, 128]:
    """
    @notice Numbers of the feeds of a stated config.
    @param count Number of the config, from 1.
    @return Ascending numbers.
    """
    return self._numbers_in(self._pointer_of(count))


@external
@view
def feedSpec(number: uint256) -> IAggregator.FeedSpec:
    """
    @notice The spec of a feed in the newest config.
    @param number Feed number.
    @return The spec; reverts for a feed that the config does not hold.
    """
    return self._spec_of(self.configCount, number)


@external
@view
def feedSpecOf(count: uint256, number: uint256) -> IAggregator.FeedSpec:
    """
    @notice The spec of a feed in a stated config.
    @param count Number of the config, from 1.
    @param number Feed number.
    @return The spec; reverts for a feed that the config does not hold.
    """
    return self._spec_of(count, number)


@external
@view
def pointerAt(slot: uint256) -> uint256:
    """
    @notice Where the config of a slot lies.
    @param slot The slot.
    @return Address of the config's code 160 | first slot 32 | zero 64; 0 for a slot before the first config.
    """
    low: uint256 = 0
    high: uint256 = self.configCount
    # The last config whose first slot is not after the slot.
    for step: uint256 in range(33):
        if low == high:
            break
        middle: uint256 = (low + high + 1) // 2
        if config_blob._first_slot(self.pointers[middle]) <= slot:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        return 0
    pointer: address = self.pointers[low]
    return (convert(pointer, uint256) << 96) | (config_blob._first_slot(pointer) << 64)


@external
@view
def slotAt(timestamp: uint256) -> uint256:
    """
    @notice The slot that a second lies in.
    @param timestamp Second, not before the anchor time.
    @return The slot.
    """
    return self._slot_at(timestamp)


# INTERNAL


@internal
def _roll(rows: DynArray[IAggregator.Row, 64]) -> uint256:
    """
    @notice Writes the next config and hands it to the Aggregator.
    @param rows Validators, largest effective stake first.
    @return First slot of the new config.
    """
    # CHECKS
    assert self.aggregator != empty(address), "configurator: no aggregator"
    assert len(rows) >= convert(next_config.timing.minValidators, uint256), "configurator: too few validators"
    next_config._drop_retired()
    entries: DynArray[uint256, 128] = next_config._entries()
    assert len(entries) != 0, "configurator: no feed listed"
    config: IAggregator.Config = self._next_config()
    # EFFECTS
    pointer: address = empty(address)
    digest: bytes32 = empty(bytes32)
    pointer, digest = config_blob._write_config(config, rows, entries)
    self.configCount = convert(config.count, uint256)
    self.pointers[convert(config.count, uint256)] = pointer
    # INTERACTIONS
    extcall IAggregator(self.aggregator).adopt(
        (convert(pointer, uint256) << 96) | (convert(config.firstSlot, uint256) << 64), self._gates(entries)
    )
    # LOG
    log IConfigurator.ConfigSet(count=config.count, digest=digest, firstSlot=config.firstSlot)
    return convert(config.firstSlot, uint256)


@internal
@view
def _gates(entries: DynArray[uint256, 128]) -> DynArray[uint256, 128]:
    # Of each feed what the Aggregator judges freshness by: number 16 | zero 168 | retires at 40 | stale after 32.
    gates: DynArray[uint256, 128] = []
    late: uint256 = convert(next_config.timing.maxReportAge, uint256)
    for entry: uint256 in entries:
        number: uint256 = entry >> 160
        spec: IAggregator.FeedSpec = config_blob._read_spec(convert(entry & bits.MASK_160, address))
        stale: uint256 = min(convert(spec.heartbeat, uint256) + late, bits.MASK_32)
        gates.append((number << 240) | (next_config.retirements[number] << 32) | stale)
    return gates


@internal
@view
def _pointer_of(count: uint256) -> address:
    pointer: address = self.pointers[count]
    assert pointer != empty(address), "configurator: unknown config"
    return pointer


@internal
@view
def _numbers_in(pointer: address) -> DynArray[uint256, 128]:
    found: DynArray[uint256, 128] = []
    entries: DynArray[uint256, 128] = config_blob._entries(pointer)
    for entry: uint256 in entries:
        found.append(entry >> 160)
    return found


@internal
@view
def _spec_of(count: uint256, number: uint256) -> IAggregator.FeedSpec:
    spec: address = config_blob._find_spec(self._pointer_of(count), number)
    assert spec != empty(address), "configurator: unknown feed"
    return config_blob._read_spec(spec)


@internal
@view
def _slot_at(timestamp: uint256) -> uint256:
    assert timestamp >= convert(ANCHOR_TIME, uint256), "configurator: before slot 0"
    low: uint256 = 0
    high: uint256 = self.configCount
    config: IAggregator.Config = empty(IAggregator.Config)
    config.slotSeconds = next_config.timing.slotSeconds
    if high != 0:
        # Before its first slot the first config's grid holds, counted from slot 0.
        config.slotSeconds = config_blob._read_config(self.pointers[1], self.aggregator).slotSeconds
    config.anchorTime = ANCHOR_TIME
    # The last config whose anchor time is not after the timestamp.
    for step: uint256 in range(33):
        if low == high:
            break
        middle: uint256 = (low + high + 1) // 2
        if convert(config_blob._read_config(self.pointers[middle], self.aggregator).anchorTime, uint256) <= timestamp:
            low = middle
        else:
            high = middle - 1
    if low != 0:
        config = config_blob._read_config(self.pointers[low], self.aggregator)
    return convert(config.anchorSlot, uint256) + (timestamp - convert(config.anchorTime, uint256)) // convert(
        config.slotSeconds, uint256
    )


@internal
def _next_config() -> IAggregator.Config:
    timing: IAggregator.Timing = next_config.timing
    old: IAggregator.Config = empty(IAggregator.Config)
    old.anchorTime = ANCHOR_TIME
    old.slotSeconds = timing.slotSeconds
    if self.configCount != 0:
        old = config_blob._read_config(self.pointers[self.configCount], self.aggregator)
        assert block.timestamp > convert(old.anchorTime, uint256) + convert(old.maxReportAge, uint256) and (
            block.timestamp > convert(old.anchorTime, uint256) + convert(timing.maxReportAge, uint256)
        ), "configurator: config is still settling"
    seconds: uint256 = convert(old.slotSeconds, uint256)
    passed: uint256 = (block.timestamp - convert(old.anchorTime, uint256)) // seconds
    lead: uint256 = (convert(timing.confirmation, uint256) + seconds - 1) // seconds + 2
    first: uint256 = convert(old.anchorSlot, uint256) + passed + lead
    return IAggregator.Config(
        chainId=chain.id,
        aggregator=self.aggregator,
        count=convert(self.configCount + 1, uint32),
        randomness=block.prevrandao,
        anchorSlot=convert(first, uint32),
        anchorTime=old.anchorTime + convert((passed + lead) * seconds, uint64),
        slotSeconds=timing.slotSeconds,
        firstSlot=convert(first, uint32),
        maxReportAge=timing.maxReportAge,
        graceMs=timing.graceMs,
        stageMs=timing.stageMs,
        minValidators=timing.minValidators,
        tableHash=empty(bytes32),
        feedsHash=empty(bytes32),
        digest=empty(bytes32),
        pointer=empty(address),
    )
