# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Hot keys of validators
@license AGPL-3.0-only
@notice A key is registered once for ever, by an owner for whom it has signed. It serves from the second roll after the
        one before which it was named, so that nobody can pick a key by what the block of a roll will bring; before the
        first roll it serves at once. Taking keys back works at once.
"""

from snekmate.utils import eip712_domain_separator as domain

from . import require
from . import validators
from .. import constants
from ..interfaces import IConfigurator
from ..interfaces import IStaking

uses: domain
uses: validators

KEY_TYPEHASH: constant(bytes32) = keccak256("KeyRegistration(address owner,address key,uint256 nonce)")
HALF_N: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
MASK_255: constant(uint256) = max_value(uint256) >> 1
MASK_32: constant(uint256) = 2**32 - 1

configurator: public(address)
nonces: public(HashMap[address, uint256])
# Owner of every key ever registered: no entry is ever removed, so no key serves twice.
keyOwner: HashMap[address, address]
keyRevokedAt: public(HashMap[address, uint256])
# The key named last: key 160 | first roll that may use it 32. Then the one before it, which serves until that roll,
# and the one before that, which may still stand in a config in force.
newest: HashMap[address, uint256]
older: HashMap[address, address[2]]


# PERMISSIONLESS


@external
def replaceKey(key: address, signature: Bytes[64]):
    """
    @notice Names another hot key for the caller; until it serves, the one before does. If that one leaked, call
            `revokeKey` first.
    @param key Hot key; never registered before, by anyone.
    @param signature The key's own signature of `registrationDigest(owner, key)`, 64 bytes of EIP-2098.
    """
    # CHECKS
    validators._check_registered(msg.sender)
    # EFFECTS, LOG
    self._name(msg.sender, key, signature)
    log IStaking.KeyReplaced(owner=msg.sender, key=key)


@external
def revokeKey():
    """
    @notice Makes all the caller's hot keys worthless at once, in the configs in force too. Its stake still counts in
            their totals; the next roll leaves the validator out until a key that it names afterwards serves.
    """
    # CHECKS
    require._that(self.newest[msg.sender] != 0, "staking: no key to revoke")
    # EFFECTS, INTERACTIONS, LOG
    self._revoke_all(msg.sender)


# VIEW


@external
@view
def ownerOf(key: address) -> address:
    """
    @notice The cold owner that registered a key.
    @param key A hot key, current or past.
    @return The owner; zero for an unknown key.
    """
    return self.keyOwner[key]


@external
@view
def endpointOf(key: address) -> String[128]:
    """
    @notice Where the node of a hot key is reached.
    @param key A hot key, current or past.
    @return The URL; empty for an unknown key.
    """
    return validators.endpoints[self.keyOwner[key]]


@external
@view
def registrationDigest(owner: address, key: address) -> bytes32:
    """
    @notice What a hot key signs to prove that its holder wants to serve this owner here (EIP-712).
    @param owner The cold owner.
    @param key The hot key.
    @return The digest for the owner's present nonce.
    """
    return self._registration_digest(owner, key)


# INTERNAL


@internal
def _name(owner: address, key: address, signature: Bytes[64]):
    """
    @notice Registers a key and puts it next in line. One that never served falls out of the line.
    @param owner The cold owner.
    @param key Its hot key.
    @param signature The key's proof of possession.
    """
    # CHECKS
    self._check_key(owner, key, signature)
    # EFFECTS
    self.keyOwner[key] = owner
    self.nonces[owner] += 1
    word: uint256 = self.newest[owner]
    start: uint256 = 0
    if validators.epoch != 0:
        start = validators.epoch + constants.NOTICE_EPOCHS
        if word & MASK_32 <= validators.epoch:
            # A key that falls out of the line is worthless from now on: it must not serve a config that outlives it.
            self._revoke(owner, self.older[owner][1])
            self.older[owner] = [convert(word >> 32, address), self.older[owner][0]]
    self.newest[owner] = (convert(key, uint256) << 32) | start


@internal
@view
def _serving(owner: address, roll: uint256) -> address:
    """
    @notice The key of a validator in the config that a roll makes.
    @param owner The cold owner.
    @param roll Number of the roll.
    @return The key; zero if there is none.
    """
    word: uint256 = self.newest[owner]
    if roll >= word & MASK_32:
        return convert(word >> 32, address)
    return self.older[owner][0]


@internal
def _revoke_all(owner: address):
    """
    @notice Takes back every key of a validator that serves, waits, or may stand in a config in force.
    @param owner The cold owner.
    """
    # EFFECTS
    last: address = convert(self.newest[owner] >> 32, address)
    keys: address[3] = [last, self.older[owner][0], self.older[owner][1]]
    self.newest[owner] = 0
    self.older[owner] = empty(address[2])
    for key: address in keys:
        self._revoke(owner, key)


@internal
def _revoke(owner: address, key: address):
    """
    @notice Takes one key back.
    @param owner The cold owner.
    @param key Its hot key; nothing happens if there is none.
    """
    if key == empty(address):
        return
    # EFFECTS
    self.keyRevokedAt[key] = block.timestamp
    # INTERACTIONS
    if self.configurator != empty(address):
        extcall IConfigurator(self.configurator).revoke(key)
    # LOG
    log IStaking.KeyRevoked(owner=owner, key=key)


@internal
@view
def _registration_digest(owner: address, key: address) -> bytes32:
    struct_hash: bytes32 = keccak256(abi_encode(KEY_TYPEHASH, owner, key, self.nonces[owner]))
    return keccak256(concat(x"1901", domain._domain_separator_v4(), struct_hash))


@internal
@view
def _check_key(owner: address, key: address, signature: Bytes[64]):
    require._that(key != empty(address), "staking: zero key")
    require._that(self.keyOwner[key] == empty(address), "staking: key registered before")
    require._that(len(signature) == 64, "staking: bad signature length")
    vs: uint256 = extract32(signature, 32, output_type=uint256)
    s: uint256 = vs & MASK_255
    require._that(s <= HALF_N, "staking: high s")
    signer: address = ecrecover(
        self._registration_digest(owner, key), (vs >> 255) + 27, extract32(signature, 0, output_type=uint256), s
    )
    require._that(signer == key, "staking: bad proof of possession")
