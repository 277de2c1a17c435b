# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Aggregator: the one place where truth enters
@license AGPL-3.0-only
@notice Holds the network's configs, verifies attested reports, keeps the rounds of every feed. The owner lists feeds
        and timing for the next config; nobody can set a price but more than 2/3 of the effective stake.
@dev A report is read straight from calldata: header, signatures, pages, proof. A config lies in contract code and is
     read by one EXTCODECOPY; four feeds share one word of heads; rounds lie in a ring of 1,024 words per feed.
"""

from snekmate.auth import ownable
from snekmate.utils import eip712_domain_separator as domain

from .. import constants
from . import bits
from . import config_blob
from . import configs
from . import merkle
from . import next_config
from . import rounds
from ..interfaces import IAggregator

implements: IAggregator
initializes: ownable
initializes: domain
initializes: next_config[ownable := ownable]
initializes: configs[next_config := next_config]
initializes: rounds

exports: (ownable.owner, ownable.transfer_ownership, domain.eip712Domain)
exports: (rounds.latest, rounds.roundWord, rounds.vectorWord, rounds.head)
exports: (next_config.listFeed, next_config.stageTiming, next_config.stagedSpec, next_config.timing)
exports: (configs.configCount, configs.configOf, configs.table, configs.feeds, configs.feedsOf, configs.feedSpec)
exports: (configs.feedSpecOf, configs.revokedMask, configs.slotAt)

REPORT_TYPEHASH: constant(bytes32) = keccak256(
    "Report(bytes32 configDigest,uint32 slot,uint64 observedAt,bytes32 root)"
)
# Largest s of a signature (EIP-2): half the order of secp256k1.
HALF_N: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
# Where the blob of a report and its signatures start in calldata: after selector, offset and length; after the header.
BLOB: constant(uint256) = 68
SIGNATURES: constant(uint256) = 100

STAKING: immutable(address)
CHAIN_ID: immutable(uint256)
DOMAIN_SEPARATOR: immutable(bytes32)


@deploy
def __init__(staking: address, timing: IAggregator.Timing, anchorTime: uint64):
    """
    @notice Binds the aggregator to its Staking for ever; the deployer becomes owner.
    @param staking The contract from which alone validator tables are taken.
    @param timing Slot length and the other operating numbers of the first config.
    @param anchorTime Second at which slot 0 starts; not in the future.
    """
    # CHECKS
    assert staking != empty(address), "aggregator: no staking"
    # EFFECTS
    ownable.__init__()
    domain.__init__(constants.DOMAIN_NAME, constants.DOMAIN_VERSION)
    next_config.__init__(timing)
    configs.__init__(anchorTime)
    STAKING = staking
    CHAIN_ID = chain.id
    DOMAIN_SEPARATOR = domain._domain_separator_v4()


# PERMISSIONLESS


@external
def transmit(report: Bytes[8224]) -> uint256:
    """
    @notice Stores the pages of an attested report that are newer than what is stored. Anyone may call it.
    @dev Header (slot 32 | observedAt 64 | signers 64 | pages 64 | page count 32), then a 64-byte EIP-2098 signature a
         signer, the pages of 128 bytes, the sibling hashes of a level-by-level multiproof; nothing after it.
    @param report The blob.
    @return Number of feeds whose head moved; 0 if the report came late, which is found out before any signature.
    """
    attested: uint256[6] = self._verify(len(report))
    if attested[0] == 0:
        return 0
    return rounds._store(attested)


# VIEW


@external
@view
def slotOf(number: uint256, round: uint256) -> uint256:
    """
    @notice The slot of a round.
    @param number Feed number.
    @param round Round of that feed.
    @return The slot, 0 outside the newest 1,024 rounds.
    """
    word: uint256 = rounds._round_word(number, round)
    if word == 0:
        return 0
    return configs._slot_at(((word >> 16) & bits.MASK_32) - (word & bits.MASK_16))


@external
@view
def reportDigest(count: uint256, slot: uint256, observedAt: uint256, root: bytes32) -> bytes32:
    """
    @notice What validators sign for a report (EIP-712).
    @param count Number of the config.
    @param slot Slot of the report.
    @param observedAt Second of the report.
    @param root Merkle root over its pages.
    @return The digest.
    """
    config: IAggregator.Config = config_blob._read_config(configs._pointer_of(count))
    return self._report_digest(config.digest, slot, observedAt, root)


@external
@view
def staking() -> address:
    """
    @notice The contract from which alone validator tables are taken.
    @return Its address.
    """
    return STAKING


# ROLE


@external
def roll(rows: DynArray[IAggregator.Row, 64]) -> uint256:
    """
    @notice Writes the next config: these validators, all staged feeds, the staged timing. Only Staking may call it.
    @param rows Validators, largest effective stake first.
    @return First slot of the new config.
    """
    # CHECKS
    assert msg.sender == STAKING, "aggregator: caller is not staking"
    # EFFECTS, LOG
    return configs._roll(rows)


@external
def revoke(key: address):
    """
    @notice Refuses every further signature of a key, at once. Only Staking may call it.
    @param key The hot key; unknown to a table it changes nothing there.
    """
    # CHECKS
    assert msg.sender == STAKING, "aggregator: caller is not staking"
    # EFFECTS, LOG
    configs._revoke(key)


# INTERNAL


@internal
@view
def _verify(length: uint256) -> uint256[6]:
    # CHECKS: what `_store` needs to know of an attested report; all zero if it is too old or holds nothing new.
    header: uint256 = extract32(slice(msg.data, BLOB, 32), 0, output_type=uint256)
    slot: uint256 = header >> 224
    observed_at: uint256 = (header >> 160) & bits.MASK_64
    pages: uint256 = (header >> 32) & bits.MASK_64
    assert observed_at <= block.timestamp, "aggregator: report from the future"
    pointer: uint256 = configs._pointer_for(slot)
    if pointer == 0:
        return empty(uint256[6])
    config: Bytes[2176] = slice(convert(pointer >> 96, address).code, 1, config_blob.HEAD_BYTES)
    hot: uint256 = extract32(config, 32, output_type=uint256)
    passed: uint256 = unsafe_sub(observed_at, (hot >> 80) & bits.MASK_40)
    assert passed <= observed_at and slot == unsafe_add(
        (hot >> 120) & bits.MASK_32, passed // ((hot >> 48) & bits.MASK_32)
    ), "aggregator: slot and time disagree"
    age: uint256 = unsafe_sub(block.timestamp, observed_at)
    if age > (hot >> 16) & bits.MASK_32:
        return empty(uint256[6])
    count: uint256 = hot & bits.MASK_16
    assert header & bits.MASK_32 == count, "aggregator: wrong page count"
    assert pages != 0 and pages >> count == 0, "aggregator: bad pages"
    low: uint256 = extract32(config, 64, output_type=uint256)
    high: uint256 = extract32(config, 96, output_type=uint256)
    if not rounds._is_news(slot, pages, [low, high]):
        return empty(uint256[6])
    signers: uint256 = (header >> 96) & bits.MASK_64
    assert pointer & signers & bits.MASK_64 == 0, "aggregator: revoked signer"
    end: uint256 = unsafe_add(BLOB, length)
    assert len(msg.data) == end, "aggregator: bad length"
    first_page: uint256 = 0
    root: bytes32 = empty(bytes32)
    if unsafe_add(pages, 1) == 1 << count:
        first_page = unsafe_sub(end, unsafe_mul(128, count))
        assert first_page <= end, "aggregator: bad length"
        root = merkle._root_of_all(count, first_page)
    else:
        first_page = unsafe_add(SIGNATURES, unsafe_mul(64, merkle._popcount(signers)))
        root = merkle._root_of_some(pages, count, first_page, end)
    digest: bytes32 = self._report_digest(extract32(config, 0), slot, observed_at, root)
    position: uint256 = SIGNATURES
    signed: uint256 = 0
    for i: uint256 in range(64):
        rest: uint256 = signers >> i
        if rest & 1 == 0:
            if rest == 0:
                break
            continue
        signature: Bytes[64] = slice(msg.data, position, 64)
        position = unsafe_add(position, 64)
        vs: uint256 = extract32(signature, 32, output_type=uint256)
        s: uint256 = vs & bits.MASK_255
        assert s <= HALF_N, "aggregator: high s"
        row: uint256 = extract32(config, unsafe_add(128, unsafe_mul(32, i)), output_type=uint256)
        signer: address = ecrecover(
            digest, unsafe_add(vs >> 255, 27), extract32(signature, 0, output_type=uint256), s
        )
        assert convert(signer, uint256) == row >> 96 and row != 0, "aggregator: bad signature"
        signed = unsafe_add(signed, row & bits.MASK_96)
    assert position == first_page, "aggregator: bad length"
    assert unsafe_mul(3, signed) > unsafe_mul(2, hot >> 152), "aggregator: no quorum"
    return [slot, pages, first_page, low, high, (block.timestamp << 16) | age]


@internal
@view
def _report_digest(config_digest: bytes32, slot: uint256, observed_at: uint256, root: bytes32) -> bytes32:
    separator: bytes32 = DOMAIN_SEPARATOR
    if chain.id != CHAIN_ID:
        separator = domain._domain_separator_v4()
    struct_hash: bytes32 = keccak256(abi_encode(REPORT_TYPEHASH, config_digest, slot, observed_at, root))
    return keccak256(concat(x"1901", separator, struct_hash))
