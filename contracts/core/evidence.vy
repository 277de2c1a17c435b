# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Evidence: two statements under one key
@license AGPL-3.0-only
@notice Whether two signatures show that a validator said two different things of one slot. Looks at nothing but the
        config of that slot: no reporter's word, no clock of a peer, no forecast's error can enter.
@dev Typed data is EIP-712, signatures are EIP-2098 with the lower s of EIP-2. The domain is built from the live chain
     id, so that a fork under another id takes no signature of this chain.
"""

from .. import constants
from . import bits
from ..interfaces import IAggregator
from ..interfaces import ISlashing

# Kinds in order of gravity.
PROPOSAL: constant(uint8) = 1
OBSERVATION: constant(uint8) = 2
REPORT: constant(uint8) = 3
# Largest s of a signature (EIP-2): half the order of secp256k1.
HALF_N: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
OBSERVATION_TYPEHASH: constant(bytes32) = keccak256(
    "Observation(bytes32 configDigest,uint32 slot,uint64 observedAt,bytes32 valuesHash,bytes32 commitment)"
)
PROPOSAL_TYPEHASH: constant(bytes32) = keccak256(
    "Proposal(bytes32 configDigest,uint32 slot,bytes32 observationsHash)"
)
REPORT_TYPEHASH: constant(bytes32) = keccak256(
    "Report(bytes32 configDigest,uint32 slot,uint64 observedAt,bytes32 root)"
)


# INTERNAL


@internal
@view
def _check(proof: ISlashing.Proof, config: IAggregator.Config, key: address):
    """
    @notice Reverts unless `key` signed two different statements of one kind for the slot of the proof.
    @param proof The two statements.
    @param config The config that they name.
    @param key The key of the accused row.
    """
    slot: uint256 = convert(proof.slot, uint256)
    first: bytes32 = self._struct_hash(proof.kind, config.digest, slot, proof.first)
    second: bytes32 = self._struct_hash(proof.kind, config.digest, slot, proof.second)
    assert first != second, "slashing: statements are the same"
    domain: bytes32 = self._domain_of(config.aggregator)
    self._check_signature(self._digest(domain, first), proof.first.signature, key)
    self._check_signature(self._digest(domain, second), proof.second.signature, key)


@internal
@pure
def _struct_hash(kind: uint8, config_digest: bytes32, slot: uint256, statement: ISlashing.Statement) -> bytes32:
    """
    @notice The EIP-712 struct hash of a statement.
    @param kind What it is: a proposal, an observation, a report.
    @param config_digest Digest of the config that it was made under.
    @param slot The slot that it speaks of.
    @param statement The rest; fields that the kind does not have are zero.
    @return The hash.
    """
    if kind == OBSERVATION:
        return keccak256(
            abi_encode(
                OBSERVATION_TYPEHASH, config_digest, slot, statement.observedAt, statement.content, statement.extra
            )
        )
    # One statement must have one form, or its own copy with rubbish in an unused field would look like a second one.
    assert statement.extra == empty(bytes32), "slashing: unused field is not zero"
    if kind == REPORT:
        return keccak256(abi_encode(REPORT_TYPEHASH, config_digest, slot, statement.observedAt, statement.content))
    assert kind == PROPOSAL, "slashing: unknown kind"
    assert statement.observedAt == 0, "slashing: unused field is not zero"
    return keccak256(abi_encode(PROPOSAL_TYPEHASH, config_digest, slot, statement.content))


@internal
@view
def _domain_of(aggregator: address) -> bytes32:
    """
    @notice The EIP-712 domain in which validators sign: the Aggregator's, on this chain as it is called now.
    @param aggregator The Aggregator.
    @return The domain separator.
    """
    return keccak256(
        abi_encode(
            DOMAIN_TYPEHASH,
            keccak256(constants.DOMAIN_NAME),
            keccak256(constants.DOMAIN_VERSION),
            chain.id,
            aggregator,
        )
    )


@internal
@pure
def _digest(domain: bytes32, struct_hash: bytes32) -> bytes32:
    """
    @notice What a key signs.
    @param domain The domain separator.
    @param struct_hash Hash of the statement.
    @return The digest.
    """
    return keccak256(concat(x"1901", domain, struct_hash))


@internal
@pure
def _check_signature(digest: bytes32, signature: Bytes[64], key: address):
    # One form a signature: 64 bytes, lower s; what recovers to nobody is nobody's.
    assert len(signature) == 64, "slashing: bad signature length"
    vs: uint256 = extract32(signature, 32, output_type=uint256)
    s: uint256 = vs & bits.MASK_255
    assert s <= HALF_N, "slashing: high s"
    signer: address = ecrecover(digest, (vs >> 255) + 27, extract32(signature, 0, output_type=uint256), s)
    assert signer != empty(address) and signer == key, "slashing: bad signature"
