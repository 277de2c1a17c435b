# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Staking: who validates, with which key, with what weight
@license AGPL-3.0-only
@notice A cold owner bonds tokens and registers a hot key that signs. `rollEpoch`, open to all, sorts the bonds, caps
        them and hands the table to the Aggregator. Bonds cannot be taken out yet: unbonding comes with slashing.
@dev Balances are counted here, never read from the token, so that a gift changes nothing.
"""

from ethereum.ercs import IERC20
from snekmate.auth import ownable
from snekmate.utils import eip712_domain_separator as domain

from .. import constants
from . import stake_cap
from ..interfaces import IAggregator
from ..interfaces import IStaking

implements: IStaking
initializes: ownable
initializes: domain
exports: (ownable.owner, ownable.transfer_ownership, ownable.renounce_ownership, domain.eip712Domain)

KEY_TYPEHASH: constant(bytes32) = keccak256("KeyRegistration(address owner,address key,uint256 nonce)")
HALF_N: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
MASK_255: constant(uint256) = max_value(uint256) >> 1
MAX_OWNERS: constant(uint256) = 256

TOKEN: immutable(address)
MIN_SELF_BOND: immutable(uint256)
EPOCH_SECONDS: immutable(uint256)

aggregator: public(address)
epoch: public(uint256)
lastRoll: public(uint256)
bonded: public(uint256)
list: DynArray[address, MAX_OWNERS]
validators: HashMap[address, IStaking.Validator]
nonces: public(HashMap[address, uint256])
# Owner of every key ever registered: no entry is ever removed, so no key serves twice.
keyOwner: HashMap[address, address]


@deploy
def __init__(token: address, minSelfBond: uint256, epochSeconds: uint256):
    """
    @notice Binds the token and the rules; the deployer becomes owner, whose one power is to name the Aggregator once.
    @param token The ERC-20 that is bonded; without transfer fees.
    @param minSelfBond Least bond of a validator in the token's smallest unit, above 0.
    @param epochSeconds Least time between two rolls.
    """
    # CHECKS
    assert token != empty(address), "staking: no token"
    assert minSelfBond != 0 and minSelfBond <= constants.MAX_STAKE, "staking: bad minimum"
    # EFFECTS
    ownable.__init__()
    domain.__init__(constants.STAKING_DOMAIN_NAME, constants.DOMAIN_VERSION)
    TOKEN = token
    MIN_SELF_BOND = minSelfBond
    EPOCH_SECONDS = epochSeconds


# PERMISSIONLESS


@external
@nonreentrant
def register(key: address, endpoint: String[128], amount: uint256, signature: Bytes[64]):
    """
    @notice Becomes a validator from the next roll on: bonds `amount`, names the hot key and where its node is reached.
    @param key Hot key; never registered before, by anyone.
    @param endpoint URL of the node.
    @param amount Self-bond in the token's smallest unit, approved before.
    @param signature The key's own signature of `registrationDigest(owner, key)`, 64 bytes of EIP-2098.
    """
    # CHECKS
    assert self.validators[msg.sender].owner == empty(address), "staking: already registered"
    assert len(self.list) < MAX_OWNERS, "staking: registry is full"
    assert amount >= MIN_SELF_BOND, "staking: bond below the minimum"
    assert amount <= constants.MAX_STAKE, "staking: bond too large"
    assert len(endpoint) != 0, "staking: no endpoint"
    self._check_key(msg.sender, key, signature)
    # EFFECTS
    self.validators[msg.sender] = IStaking.Validator(owner=msg.sender, key=key, stake=amount, endpoint=endpoint)
    self.list.append(msg.sender)
    self.keyOwner[key] = msg.sender
    self.nonces[msg.sender] += 1
    self.bonded += amount
    # INTERACTIONS
    self._take(amount)
    # LOG
    log IStaking.Registered(owner=msg.sender, key=key, endpoint=endpoint)
    log IStaking.Bonded(owner=msg.sender, amount=amount, stake=amount)


@external
@nonreentrant
def bond(amount: uint256):
    """
    @notice Adds to the caller's own bond; counts from the next roll on.
    @param amount Units of the token, approved before.
    """
    # CHECKS
    assert self.validators[msg.sender].owner != empty(address), "staking: not registered"
    stake: uint256 = self.validators[msg.sender].stake
    assert amount != 0, "staking: nothing to bond"
    assert amount <= constants.MAX_STAKE - stake, "staking: bond too large"
    # EFFECTS
    self.validators[msg.sender].stake = stake + amount
    self.bonded += amount
    # INTERACTIONS
    self._take(amount)
    # LOG
    log IStaking.Bonded(owner=msg.sender, amount=amount, stake=stake + amount)


@external
def setEndpoint(endpoint: String[128]):
    """
    @notice Changes where the caller's node is reached, at once.
    @param endpoint URL of the node.
    """
    # CHECKS
    assert self.validators[msg.sender].owner != empty(address), "staking: not registered"
    assert len(endpoint) != 0, "staking: no endpoint"
    # EFFECTS
    self.validators[msg.sender].endpoint = endpoint
    # LOG
    log IStaking.EndpointSet(owner=msg.sender, endpoint=endpoint)


@external
def replaceKey(key: address, signature: Bytes[64]):
    """
    @notice Names another hot key for the caller, from the next roll on. Use `revokeKey` first if the old one leaked.
    @param key Hot key; never registered before, by anyone.
    @param signature The key's own signature of `registrationDigest(owner, key)`, 64 bytes of EIP-2098.
    """
    # CHECKS
    assert self.validators[msg.sender].owner != empty(address), "staking: not registered"
    self._check_key(msg.sender, key, signature)
    # EFFECTS
    self.validators[msg.sender].key = key
    self.keyOwner[key] = msg.sender
    self.nonces[msg.sender] += 1
    # LOG
    log IStaking.KeyReplaced(owner=msg.sender, key=key)


@external
def revokeKey():
    """
    @notice Makes the caller's hot key worthless at once, in the configs in force too. Its stake still counts in their
            totals; the next roll leaves the validator out until it names a new key.
    """
    # CHECKS
    key: address = self.validators[msg.sender].key
    assert key != empty(address), "staking: no key to revoke"
    # EFFECTS
    self.validators[msg.sender].key = empty(address)
    # INTERACTIONS
    if self.aggregator != empty(address):
        extcall IAggregator(self.aggregator).revoke(key)
    # LOG
    log IStaking.KeyRevoked(owner=msg.sender, key=key)


@external
def rollEpoch() -> uint256:
    """
    @notice Writes the validator table of the next config. Anyone may call it, once an epoch.
    @dev The 64 largest bonds, ties by registration order, capped; a bond below the minimum or without key counts zero.
    @return First slot of the new config.
    """
    # CHECKS
    assert self.aggregator != empty(address), "staking: no aggregator"
    assert self.epoch == 0 or block.timestamp >= self.lastRoll + EPOCH_SECONDS, "staking: epoch is not over"
    # EFFECTS
    rows: DynArray[IAggregator.Row, constants.MAX_VALIDATORS] = self._rows()
    total: uint256 = 0
    for row: IAggregator.Row in rows:
        total += convert(row.stake, uint256)
    self.epoch += 1
    self.lastRoll = block.timestamp
    # INTERACTIONS
    first: uint256 = extcall IAggregator(self.aggregator).roll(rows)
    # LOG
    log IStaking.EpochRolled(epoch=self.epoch, validators=len(rows), total=total, firstSlot=first)
    return first


# VIEW


@external
@view
def validator(owner: address) -> IStaking.Validator:
    """
    @notice A validator by its cold owner.
    @param owner The cold owner.
    @return Owner, hot key, raw stake, endpoint; all empty if the owner never registered.
    """
    return self.validators[owner]


@external
@view
def owners() -> DynArray[address, 256]:
    """
    @notice Cold owners of all validators.
    @return Addresses in registration order.
    """
    return self.list


@external
@view
def endpointOf(key: address) -> String[128]:
    """
    @notice Where the node of a hot key is reached.
    @param key A hot key, current or past.
    @return The URL; empty for an unknown key.
    """
    return self.validators[self.keyOwner[key]].endpoint


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
def registrationDigest(owner: address, key: address) -> bytes32:
    """
    @notice What a hot key signs to prove that its holder wants to serve this owner here (EIP-712).
    @param owner The cold owner.
    @param key The hot key.
    @return The digest for the owner's present nonce.
    """
    return self._registration_digest(owner, key)


@external
@pure
def effectiveStakes(stakes: DynArray[uint256, 64]) -> DynArray[uint256, 64]:
    """
    @notice The fixed-point cap that a roll applies.
    @param stakes Raw stakes, largest first.
    @return Effective stakes in the same order.
    """
    last: uint256 = max_value(uint256)
    for stake: uint256 in stakes:
        assert stake <= last, "staking: not sorted"
        last = stake
    return stake_cap._effective(stakes)


@external
@view
def token() -> address:
    """
    @notice The ERC-20 that is bonded.
    @return Its address.
    """
    return TOKEN


@external
@view
def minSelfBond() -> uint256:
    """
    @notice Least bond of a validator.
    @return Units of the token.
    """
    return MIN_SELF_BOND


@external
@view
def epochSeconds() -> uint256:
    """
    @notice Least time between two rolls.
    @return Seconds.
    """
    return EPOCH_SECONDS


# ROLE


@external
def setAggregator(aggregator: address):
    """
    @notice Names the Aggregator, once for ever. Only the owner.
    @param aggregator An Aggregator that was built on this Staking.
    """
    # CHECKS
    ownable._check_owner()
    assert self.aggregator == empty(address), "staking: aggregator is set"
    assert staticcall IAggregator(aggregator).staking() == self, "staking: aggregator of another staking"
    # EFFECTS
    self.aggregator = aggregator
    # LOG
    log IStaking.AggregatorSet(aggregator=aggregator)


# INTERNAL


@internal
def _take(amount: uint256):
    assert extcall IERC20(TOKEN).transferFrom(msg.sender, self, amount, default_return_value=True), (
        "staking: transfer failed"
    )


@internal
@view
def _registration_digest(owner: address, key: address) -> bytes32:
    struct_hash: bytes32 = keccak256(abi_encode(KEY_TYPEHASH, owner, key, self.nonces[owner]))
    return keccak256(concat(x"1901", domain._domain_separator_v4(), struct_hash))


@internal
@view
def _check_key(owner: address, key: address, signature: Bytes[64]):
    assert key != empty(address), "staking: zero key"
    assert self.keyOwner[key] == empty(address), "staking: key was registered before"
    assert len(signature) == 64, "staking: bad signature length"
    vs: uint256 = extract32(signature, 32, output_type=uint256)
    s: uint256 = vs & MASK_255
    assert s <= HALF_N, "staking: high s"
    signer: address = ecrecover(
        self._registration_digest(owner, key), (vs >> 255) + 27, extract32(signature, 0, output_type=uint256), s
    )
    assert signer == key, "staking: bad proof of possession"


@internal
@view
def _rows() -> DynArray[IAggregator.Row, constants.MAX_VALIDATORS]:
    # Raw stake 96 | 2**16 - 1 - place in the registry 16, so that descending order settles ties by registration.
    ranked: DynArray[uint256, constants.MAX_VALIDATORS] = []
    place: uint256 = 0
    for owner: address in self.list:
        stake: uint256 = self.validators[owner].stake
        if stake >= MIN_SELF_BOND and self.validators[owner].key != empty(address):
            ranked = self._ranked(ranked, (stake << 16) | (65535 - place))
        place += 1
    stakes: DynArray[uint256, constants.MAX_VALIDATORS] = []
    for rank: uint256 in ranked:
        stakes.append(rank >> 16)
    stakes = stake_cap._effective(stakes)
    rows: DynArray[IAggregator.Row, constants.MAX_VALIDATORS] = []
    for i: uint256 in range(len(ranked), bound=constants.MAX_VALIDATORS):
        key: address = self.validators[self.list[65535 - (ranked[i] & 65535)]].key
        rows.append(IAggregator.Row(key=key, stake=convert(stakes[i], uint96)))
    return rows


@internal
@pure
def _ranked(
    sorted: DynArray[uint256, constants.MAX_VALIDATORS], rank: uint256
) -> DynArray[uint256, constants.MAX_VALIDATORS]:
    # Insertion into a descending list; a full list drops its smallest.
    ranked: DynArray[uint256, constants.MAX_VALIDATORS] = sorted
    if len(ranked) < constants.MAX_VALIDATORS:
        ranked.append(0)
    elif ranked[len(ranked) - 1] >= rank:
        return ranked
    place: uint256 = len(ranked) - 1
    for step: uint256 in range(constants.MAX_VALIDATORS):
        if place == 0 or ranked[place - 1] > rank:
            break
        ranked[place] = ranked[place - 1]
        place -= 1
    ranked[place] = rank
    return ranked
