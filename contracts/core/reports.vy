# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Reports: what more than 2/3 of the effective stake has signed
@license AGPL-3.0-only
@notice Checks an attested report against the config of its slot: time, signatures, quorum, Merkle root.
@dev A report is read straight from calldata. A config lies in contract code and is read by one EXTCODECOPY.
"""

from snekmate.utils import eip712_domain_separator as domain

from . import bits
from . import config_blob
from . import gates
from . import merkle
from . import rounds
from ..interfaces import IAggregator
from ..interfaces import IConfigurator

uses: domain
uses: gates
uses: rounds

REPORT_TYPEHASH: constant(bytes32) = keccak256(
    "Report(bytes32 configDigest,uint32 slot,uint64 observedAt,bytes32 root)"
)
# Largest s of a signature (EIP-2): half the order of secp256k1.
HALF_N: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
# Who asks for a report to be verified: a push, to which a late one is a no-op; a reader; a reader of the past.
PUSH: constant(uint256) = 0
PULL: constant(uint256) = 1
PAST: constant(uint256) = 2
# Where the blob of a push starts in calldata: after selector, head and length.
PUSHED: constant(uint256) = 68

CONFIGURATOR: immutable(IConfigurator)
HISTORY_SECONDS: immutable(uint256)
CHAIN_ID: immutable(uint256)
DOMAIN_SEPARATOR: immutable(bytes32)

# Config in force from its first slot on, and the one before it: blob address 160 | first slot 32 | revoked rows 64.
current: uint256
previous: uint256
# Keys that a cold owner took back, or that were jailed: for reports of configs before the previous one.
revoked: HashMap[address, bool]


@deploy
def __init__(configurator: address, evidenceSeconds: uint256):
    """
    @notice Binds to one Configurator for ever.
    @param configurator The contract from which alone configs are taken.
    @param evidenceSeconds How long the signers of a report can be slashed for it. The past is read for half of that, so
           that whoever sees a false report has the other half to prove a double signature.
    """
    CONFIGURATOR = IConfigurator(configurator)
    HISTORY_SECONDS = evidenceSeconds // 2
    CHAIN_ID = chain.id
    DOMAIN_SEPARATOR = domain._domain_separator_v4()


# VIEW


@external
@view
def reportDigest(configDigest: bytes32, slot: uint256, observedAt: uint256, root: bytes32) -> bytes32:
    """
    @notice What validators sign for a report (EIP-712).
    @param configDigest Digest of the config.
    @param slot Slot of the report.
    @param observedAt Second of the report.
    @param root Merkle root over its pages.
    @return The digest.
    """
    return self._report_digest(configDigest, slot, observedAt, root)


@external
@view
def pointers() -> (uint256, uint256):
    """
    @notice Where the newest config and the one before it lie.
    @return Words: address of the config's code 160 | first slot 32 | revoked rows 64; 0 if there is none.
    """
    return self.current, self.previous


@external
@view
def configurator() -> address:
    """
    @notice The contract from which alone configs are taken.
    @return Its address.
    """
    return CONFIGURATOR.address


# ROLE: the Configurator


@external
def adopt(pointer: uint256, gateWords: DynArray[uint256, 128]):
    """
    @notice Takes the next config. Only the Configurator may call it.
    @param pointer Address of the config's code 160 | first slot 32 | zero 64.
    @param gateWords What readers need of each feed: number 16 | zero 168 | retires at 40 | stale after 32.
    """
    # CHECKS
    assert msg.sender == CONFIGURATOR.address, "aggregator: caller is not the configurator"
    # EFFECTS
    self.previous = self.current
    self.current = pointer
    gates._adopt(gateWords)


@external
def revoke(key: address, current: uint256, previous: uint256):
    """
    @notice Refuses every further signature of a key, at once. Only the Configurator may call it.
    @param key The hot key.
    @param current Its rows in the newest config, as bits.
    @param previous Its rows in the config before it, as bits.
    """
    # CHECKS
    assert msg.sender == CONFIGURATOR.address, "aggregator: caller is not the configurator"
    # EFFECTS
    self.revoked[key] = True
    self.current |= current & bits.MASK_64
    self.previous |= previous & bits.MASK_64
    # LOG
    log IAggregator.KeyRevoked(key=key)


# INTERNAL


@internal
@view
def _verify(blob: uint256, length: uint256, asker: uint256) -> uint256[6]:
    # CHECKS: what `_store` needs to know of an attested report that starts at byte `blob` of calldata. To a push one
    # that is too old or holds nothing new is all zero, before any signature is looked at; to readers it reverts.
    header: uint256 = extract32(slice(msg.data, blob, 32), 0, output_type=uint256)
    slot: uint256 = header >> 224
    observed_at: uint256 = (header >> 160) & bits.MASK_64
    pages: uint256 = (header >> 32) & bits.MASK_64
    assert observed_at <= block.timestamp, "aggregator: report from the future"
    pointer: uint256 = self._pointer_for(slot, asker)
    if pointer == 0:
        return empty(uint256[6])
    config: Bytes[2176] = slice(convert(pointer >> 96, address).code, 1, config_blob.HEAD_BYTES)
    hot: uint256 = extract32(config, 32, output_type=uint256)
    passed: uint256 = unsafe_sub(observed_at, (hot >> 80) & bits.MASK_40)
    assert passed <= observed_at and slot == unsafe_add(
        (hot >> 120) & bits.MASK_32, passed // ((hot >> 48) & bits.MASK_32)
    ), "aggregator: slot and time disagree"
    age: uint256 = unsafe_sub(block.timestamp, observed_at)
    if asker == PAST:
        assert age <= HISTORY_SECONDS, "aggregator: report too old"
    elif age > (hot >> 16) & bits.MASK_32:
        assert asker == PUSH, "aggregator: report too old"
        return empty(uint256[6])
    count: uint256 = hot & bits.MASK_16
    assert header & bits.MASK_32 == count, "aggregator: wrong page count"
    assert pages != 0 and pages >> count == 0, "aggregator: bad pages"
    low: uint256 = extract32(config, 64, output_type=uint256)
    high: uint256 = extract32(config, 96, output_type=uint256)
    if asker == PUSH and not rounds._is_news(slot, pages, [low, high]):
        return empty(uint256[6])
    signers: uint256 = (header >> 96) & bits.MASK_64
    assert pointer & signers & bits.MASK_64 == 0, "aggregator: revoked signer"
    end: uint256 = unsafe_add(blob, length)
    # A push has exactly this length; compilers may send more behind the blob when a contract calls.
    assert len(msg.data) == end or (blob != PUSHED and len(msg.data) > end), "aggregator: bad length"
    position: uint256 = unsafe_add(blob, 32)
    first_page: uint256 = 0
    root: bytes32 = empty(bytes32)
    if unsafe_add(pages, 1) == 1 << count:
        first_page = unsafe_sub(end, unsafe_mul(128, count))
        assert first_page <= end, "aggregator: bad length"
        root = merkle._root_of_all(count, first_page)
    else:
        first_page = unsafe_add(position, unsafe_mul(64, merkle._popcount(signers)))
        root = merkle._root_of_some(pages, count, first_page, end)
    digest: bytes32 = self._report_digest(extract32(config, 0), slot, observed_at, root)
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
        if asker == PAST:
            assert not self.revoked[signer], "aggregator: revoked signer"
        signed = unsafe_add(signed, row & bits.MASK_96)
    assert position == first_page, "aggregator: bad length"
    assert unsafe_mul(3, signed) > unsafe_mul(2, hot >> 152), "aggregator: no quorum"
    return [slot, pages, first_page, low, high, (block.timestamp << 16) | age]


@internal
@view
def _pointer_for(slot: uint256, asker: uint256) -> uint256:
    # Where the config of a slot lies, with its revoked rows; 0 for a push of a slot before the previous config.
    pointer: uint256 = self.current
    if slot >= (pointer >> 64) & bits.MASK_32 and pointer != 0:
        return pointer
    pointer = self.previous
    assert pointer != 0, "aggregator: no config for the slot"
    if slot >= (pointer >> 64) & bits.MASK_32:
        return pointer
    if asker == PAST:
        pointer = staticcall CONFIGURATOR.pointerAt(slot)
        assert pointer != 0, "aggregator: no config for the slot"
        return pointer
    assert asker == PUSH, "aggregator: report too old"
    return 0


@internal
@view
def _report_digest(config_digest: bytes32, slot: uint256, observed_at: uint256, root: bytes32) -> bytes32:
    separator: bytes32 = DOMAIN_SEPARATOR
    if chain.id != CHAIN_ID:
        separator = domain._domain_separator_v4()
    struct_hash: bytes32 = keccak256(abi_encode(REPORT_TYPEHASH, config_digest, slot, observed_at, root))
    return keccak256(concat(x"1901", separator, struct_hash))
