# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Configs and feed specs as contract code
@license AGPL-3.0-only
@notice A config is written once as the code of a contract that cannot run, and read by EXTCODECOPY: 31 validators cost
        3,000 gas this way and 67,000 as storage.
@dev Code = a STOP byte, then 32-byte words:
     hot  0 digest
          1 total stake 104 | anchor slot 32 | anchor time 40 | slot seconds 32 | max report age 32 | page count 16
          2-3 page numbers (32 x uint16, first page most significant)
     rows 4-67 key 160 | effective stake 96, largest first, zero beyond the last
     cold 68 count, 69 randomness, 70 first slot, 71 graceMs, 72 stageMs, 73 min validators, 74 table hash,
          75 feeds hash, 76 rows, 77 feeds
     then one word a feed, ascending: number 96 | address of its spec 160.
"""

from .. import constants
from ..interfaces import IAggregator

HOT_BYTES: constant(uint256) = 128
# Everything that a report needs: the hot words and 64 rows.
HEAD_BYTES: constant(uint256) = 2176
COLD_START: constant(uint256) = 2177
COLD_BYTES: constant(uint256) = 320
FIRST_SLOT: constant(uint256) = 2241
FEEDS_COUNT: constant(uint256) = 2465
FEEDS_START: constant(uint256) = 2497
SPEC_BYTES: constant(uint256) = 608
# PUSH2 length, DUP1, PUSH1 10, RETURNDATASIZE, CODECOPY, RETURNDATASIZE, RETURN: leaves what follows as code.
WRITER_HEAD: constant(Bytes[1]) = x"61"
WRITER_TAIL: constant(Bytes[8]) = x"80600a3d393df300"


@internal
def _write(data: Bytes[6592]) -> address:
    """
    @notice Stores bytes as contract code.
    @param data What to store.
    @return Where it lies; its code is one zero byte and then `data`.
    """
    length: bytes2 = convert(convert(len(data) + 1, uint16), bytes2)
    return raw_create(concat(WRITER_HEAD, length, WRITER_TAIL, data))


@internal
def _write_spec(spec: IAggregator.FeedSpec) -> address:
    """
    @notice Stores one feed spec as contract code.
    @param spec The spec.
    @return Where it lies.
    """
    return self._write(abi_encode(spec))


@internal
@view
def _read_spec(pointer: address) -> IAggregator.FeedSpec:
    """
    @notice Reads a feed spec.
    @param pointer Where it lies.
    @return The spec.
    """
    return abi_decode(slice(pointer.code, 1, SPEC_BYTES), IAggregator.FeedSpec)


@internal
@view
def _hash_spec(pointer: address) -> bytes32:
    """
    @notice Hashes a feed spec as the config digest does.
    @param pointer Where it lies.
    @return keccak256 of its ABI encoding.
    """
    return keccak256(slice(pointer.code, 1, SPEC_BYTES))


@internal
@pure
def _digest(config: IAggregator.Config) -> bytes32:
    """
    @notice The digest that every signature covers: all fields of the config up to the feeds hash.
    @param config The config; `digest` and `pointer` are not looked at.
    @return keccak256 of the 14 static words.
    """
    return keccak256(slice(abi_encode(config), 0, 448))


@internal
def _write_config(
    config: IAggregator.Config,
    rows: DynArray[IAggregator.Row, constants.MAX_VALIDATORS],
    feeds: DynArray[uint256, 128],
) -> (address, bytes32):
    """
    @notice Completes a config (table hash, feeds hash, digest) and stores it as code.
    @param config The config without its hashes.
    @param rows Validators, largest effective stake first.
    @param feeds One word a feed, ascending: number 96 | address of its spec 160.
    @return Where it lies, and its digest.
    """
    done: IAggregator.Config = config
    words: uint256[64] = empty(uint256[64])
    total: uint256 = 0
    for i: uint256 in range(len(rows), bound=constants.MAX_VALIDATORS):
        words[i] = (convert(rows[i].key, uint256) << 96) | convert(rows[i].stake, uint256)
        total += convert(rows[i].stake, uint256)
    done.tableHash = keccak256(slice(abi_encode(words), 0, 32 * len(rows)))

    hashes: bytes32[128] = empty(bytes32[128])
    entries: uint256[128] = empty(uint256[128])
    numbers: uint256[2] = empty(uint256[2])
    pages: uint256 = 0
    last: uint256 = max_value(uint256)
    for i: uint256 in range(len(feeds), bound=128):
        entries[i] = feeds[i]
        hashes[i] = self._hash_spec(convert(feeds[i] & convert(max_value(uint160), uint256), address))
        page: uint256 = (feeds[i] >> 160) // constants.LANES
        if page != last:
            numbers[pages // 16] |= page << (240 - 16 * (pages % 16))
            last = page
            pages += 1
    done.feedsHash = keccak256(slice(abi_encode(hashes), 0, 32 * len(feeds)))
    done.digest = self._digest(done)

    packed: uint256 = (total << 152) | (convert(done.anchorSlot, uint256) << 120)
    packed |= (convert(done.anchorTime, uint256) << 80) | (convert(done.slotSeconds, uint256) << 48)
    packed |= (convert(done.maxReportAge, uint256) << 16) | pages
    hot: Bytes[HOT_BYTES] = abi_encode(done.digest, packed, numbers)
    cold: Bytes[COLD_BYTES] = abi_encode(
        done.count,
        done.randomness,
        done.firstSlot,
        done.graceMs,
        done.stageMs,
        done.minValidators,
        done.tableHash,
        done.feedsHash,
        len(rows),
        len(feeds),
    )
    tail: Bytes[4096] = slice(abi_encode(entries), 0, 32 * len(feeds))
    return self._write(concat(hot, abi_encode(words), cold, tail)), done.digest


@internal
@view
def _read_config(pointer: address, aggregator: address) -> IAggregator.Config:
    """
    @notice Reads a config back with every field of its digest.
    @param pointer Where it lies.
    @param aggregator The Aggregator that it was made for.
    @return The config.
    """
    hot: uint256[2] = abi_decode(slice(pointer.code, 1, 64), uint256[2])
    cold: uint256[10] = abi_decode(slice(pointer.code, COLD_START, COLD_BYTES), uint256[10])
    return IAggregator.Config(
        chainId=chain.id,
        aggregator=aggregator,
        count=convert(cold[0], uint32),
        randomness=convert(cold[1], bytes32),
        anchorSlot=convert((hot[1] >> 120) & convert(max_value(uint32), uint256), uint32),
        anchorTime=convert((hot[1] >> 80) & convert(max_value(uint40), uint256), uint64),
        slotSeconds=convert((hot[1] >> 48) & convert(max_value(uint32), uint256), uint32),
        firstSlot=convert(cold[2], uint32),
        maxReportAge=convert((hot[1] >> 16) & convert(max_value(uint32), uint256), uint32),
        graceMs=convert(cold[3], uint32),
        stageMs=convert(cold[4], uint32),
        minValidators=convert(cold[5], uint8),
        tableHash=convert(cold[6], bytes32),
        feedsHash=convert(cold[7], bytes32),
        digest=convert(hot[0], bytes32),
        pointer=pointer,
    )


@internal
@view
def _first_slot(pointer: address) -> uint256:
    """
    @notice Reads the first slot of a config.
    @param pointer Where the config lies.
    @return The slot.
    """
    return extract32(slice(pointer.code, FIRST_SLOT, 32), 0, output_type=uint256)


@internal
@view
def _rows_with(pointer: address, key: address) -> uint256:
    """
    @notice Finds a key in the table of a config.
    @param pointer Where the config lies.
    @param key The hot key.
    @return Bit i set: row i is this key's.
    """
    mask: uint256 = 0
    bit: uint256 = 1
    rows: DynArray[IAggregator.Row, constants.MAX_VALIDATORS] = self._rows(pointer)
    for row: IAggregator.Row in rows:
        if row.key == key:
            mask |= bit
        bit = bit << 1
    return mask


@internal
@view
def _rows(pointer: address) -> DynArray[IAggregator.Row, constants.MAX_VALIDATORS]:
    """
    @notice Reads the validator table of a config.
    @param pointer Where the config lies.
    @return Its rows, largest effective stake first.
    """
    words: uint256[64] = abi_decode(slice(pointer.code, 129, 2048), uint256[64])
    rows: DynArray[IAggregator.Row, constants.MAX_VALIDATORS] = []
    for word: uint256 in words:
        if word == 0:
            break
        rows.append(
            IAggregator.Row(
                key=convert(word >> 96, address), stake=convert(word & convert(max_value(uint96), uint256), uint96)
            )
        )
    return rows


@internal
@view
def _entries(pointer: address) -> DynArray[uint256, 128]:
    """
    @notice Reads the feed list of a config.
    @param pointer Where the config lies.
    @return One word a feed, ascending: number 96 | address of its spec 160.
    """
    count: uint256 = extract32(slice(pointer.code, FEEDS_COUNT, 32), 0, output_type=uint256)
    entries: DynArray[uint256, 128] = []
    for i: uint256 in range(count, bound=128):
        entries.append(extract32(slice(pointer.code, FEEDS_START + 32 * i, 32), 0, output_type=uint256))
    return entries


@internal
@view
def _find_spec(pointer: address, number: uint256) -> address:
    """
    @notice Finds a feed in a config by halving.
    @param pointer Where the config lies.
    @param number Feed number.
    @return Where the feed's spec lies; zero if the config does not hold the feed.
    """
    low: uint256 = 0
    high: uint256 = extract32(slice(pointer.code, FEEDS_COUNT, 32), 0, output_type=uint256)
    for step: uint256 in range(8):
        if low == high:
            break
        middle: uint256 = (low + high) // 2
        entry: uint256 = extract32(slice(pointer.code, FEEDS_START + 32 * middle, 32), 0, output_type=uint256)
        if entry >> 160 == number:
            return convert(entry & convert(max_value(uint160), uint256), address)
        if entry >> 160 < number:
            low = middle + 1
        else:
            high = middle
    return empty(address)
