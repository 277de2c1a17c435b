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

uses: next_config

ANCHOR_TIME: immutable(uint64)

# Config in force from its first slot on, and the one before it: blob address 160 | first slot 32 | revoked rows 64.
current: uint256
previous: uint256
configCount: public(uint256)
pointers: HashMap[uint256, address]


@deploy
def __init__(anchorTime: uint64):
    """
    @notice Fixes where slots are counted from.
    @param anchorTime Second at which slot 0 starts; not in the future.
    """
    # CHECKS
    assert anchorTime != 0 and convert(anchorTime, uint256) <= block.timestamp, "aggregator: bad anchor time"
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
    return config_blob._read_config(self._pointer_of(count))


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
    return self._numbers_of(self.configCount)


@external
@view
def feedsOf(count: uint256) -> DynArray[uint256, 128]:
    """
    @notice Numbers of the feeds of a stated config.
    @param count Number of the config, from 1.
    @return Ascending numbers.
    """
    return self._numbers_of(count)


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
def revokedMask(count: uint256) -> uint256:
    """
    @notice Rows of a config whose key was revoked since.
    @param count Number of the config: the newest or the one before it; 0 for all others.
    @return Bit i set: row i can sign no more.
    """
    if count != 0 and count == self.configCount:
        return self.current & bits.MASK_64
    if count != 0 and count + 1 == self.configCount:
        return self.previous & bits.MASK_64
    return 0


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
    # CHECKS
    assert len(rows) >= convert(next_config.timing.minValidators, uint256), "aggregator: too few validators"
    entries: DynArray[uint256, 128] = next_config._entries()
    assert len(entries) != 0, "aggregator: no feed listed"
    config: IAggregator.Config = self._next_config()
    # EFFECTS
    pointer: address = empty(address)
    digest: bytes32 = empty(bytes32)
    pointer, digest = config_blob._write_config(config, rows, entries)
    self.previous = self.current
    self.current = (convert(pointer, uint256) << 96) | (convert(config.firstSlot, uint256) << 64)
    self.configCount = convert(config.count, uint256)
    self.pointers[convert(config.count, uint256)] = pointer
    # LOG
    log IAggregator.ConfigSet(count=config.count, digest=digest, firstSlot=config.firstSlot)
    return convert(config.firstSlot, uint256)


@internal
def _revoke(key: address):
    # EFFECTS
    self.current = self._revoked(self.current, key)
    self.previous = self._revoked(self.previous, key)
    # LOG
    log IAggregator.KeyRevoked(key=key)


@internal
@view
def _pointer_for(slot: uint256) -> uint256:
    pointer: uint256 = self.current
    if slot >= (pointer >> 64) & bits.MASK_32 and pointer != 0:
        return pointer
    pointer = self.previous
    assert pointer != 0, "aggregator: no config for the slot"
    if slot < (pointer >> 64) & bits.MASK_32:
        return 0
    return pointer


@internal
@view
def _pointer_of(count: uint256) -> address:
    pointer: address = self.pointers[count]
    assert pointer != empty(address), "aggregator: unknown config"
    return pointer


@internal
@view
def _numbers_of(count: uint256) -> DynArray[uint256, 128]:
    found: DynArray[uint256, 128] = []
    entries: DynArray[uint256, 128] = config_blob._entries(self._pointer_of(count))
    for entry: uint256 in entries:
        found.append(entry >> 160)
    return found


@internal
@view
def _spec_of(count: uint256, number: uint256) -> IAggregator.FeedSpec:
    spec: address = config_blob._find_spec(self._pointer_of(count), number)
    assert spec != empty(address), "aggregator: unknown feed"
    return config_blob._read_spec(spec)


@internal
@view
def _slot_at(timestamp: uint256) -> uint256:
    assert timestamp >= convert(ANCHOR_TIME, uint256), "aggregator: before slot 0"
    low: uint256 = 0
    high: uint256 = self.configCount
    config: IAggregator.Config = empty(IAggregator.Config)
    config.slotSeconds = next_config.timing.slotSeconds
    if high != 0:
        # Before its first slot the first config's grid holds, counted from slot 0.
        config.slotSeconds = config_blob._read_config(self.pointers[1]).slotSeconds
    config.anchorTime = ANCHOR_TIME
    # The last config whose anchor time is not after the timestamp.
    for step: uint256 in range(33):
        if low == high:
            break
        middle: uint256 = (low + high + 1) // 2
        if convert(config_blob._read_config(self.pointers[middle]).anchorTime, uint256) <= timestamp:
            low = middle
        else:
            high = middle - 1
    if low != 0:
        config = config_blob._read_config(self.pointers[low])
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
        old = config_blob._read_config(self.pointers[self.configCount])
        assert block.timestamp > convert(old.anchorTime, uint256) + convert(old.maxReportAge, uint256) and (
            block.timestamp > convert(old.anchorTime, uint256) + convert(timing.maxReportAge, uint256)
        ), "aggregator: config is still settling"
    seconds: uint256 = convert(old.slotSeconds, uint256)
    passed: uint256 = (block.timestamp - convert(old.anchorTime, uint256)) // seconds
    lead: uint256 = (convert(timing.confirmation, uint256) + seconds - 1) // seconds + 2
    first: uint256 = convert(old.anchorSlot, uint256) + passed + lead
    return IAggregator.Config(
        chainId=chain.id,
        aggregator=self,
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


@internal
@view
def _revoked(pointer: uint256, key: address) -> uint256:
    if pointer == 0:
        return 0
    mask: uint256 = 0
    bit: uint256 = 1
    rows: DynArray[IAggregator.Row, 64] = config_blob._rows(convert(pointer >> 96, address))
    for row: IAggregator.Row in rows:
        if row.key == key:
            mask |= bit
        bit = bit << 1
    return pointer | mask
