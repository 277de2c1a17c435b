# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Staking: who validates, with which key, with what weight
@license AGPL-3.0-only
@notice A cold owner bonds tokens and registers a hot key that signs; others delegate to it and share its gains and
        losses at one rate. `rollEpoch`, open to all, writes the table of the next config. Stake leaves when no offence
        under a config that counted it can come to light any more. Only Slashing can jail and slash.
@dev Tokens are counted here, never read from the token, so that a gift changes nothing:
     bonded + unbonding + totalOwed + burnable <= tokens held.
"""

from snekmate.utils import eip712_domain_separator as domain

from .. import constants
from . import checkpoints
from . import epochs
from . import exits
from . import hot_keys
from . import penalties
from . import require
from . import share_pools
from . import stake_rules
from . import stake_votes
from . import validators
from ..interfaces import IAggregator
from ..interfaces import ISlashing
from ..interfaces import IStakes
from ..interfaces import IStaking

implements: IStakes
implements: IStaking
initializes: domain
initializes: stake_rules
initializes: share_pools
initializes: validators[share_pools := share_pools, stake_rules := stake_rules]
initializes: hot_keys[domain := domain, validators := validators]
initializes: exits[share_pools := share_pools, stake_rules := stake_rules, validators := validators]
initializes: checkpoints
initializes: stake_votes[
    checkpoints := checkpoints, exits := exits, share_pools := share_pools, validators := validators
]
initializes: penalties[
    exits := exits,
    hot_keys := hot_keys,
    share_pools := share_pools,
    stake_rules := stake_rules,
    stake_votes := stake_votes,
    validators := validators
]
initializes: epochs[
    exits := exits,
    hot_keys := hot_keys,
    share_pools := share_pools,
    stake_rules := stake_rules,
    validators := validators
]

exports: domain.eip712Domain
exports: (stake_rules.token, stake_rules.minSelfBond, stake_rules.epochSeconds)
exports: (stake_rules.evidenceSeconds, stake_rules.voteSeconds)
exports: (validators.setEndpoint, validators.setPayee, validators.setCommission, validators.owners)
exports: (validators.epoch, validators.config, validators.lastRoll, validators.bonded)
exports: (hot_keys.replaceKey, hot_keys.revokeKey, hot_keys.ownerOf, hot_keys.endpointOf, hot_keys.registrationDigest)
exports: (hot_keys.nonces, hot_keys.keyRevokedAt, hot_keys.configurator)
exports: (exits.claimsOf, exits.unbonding, exits.owed, exits.totalOwed, exits.startOf)
exports: (stake_votes.syncVotes, stake_votes.stakeOf, stake_votes.stakedBy, stake_votes.lockedBy)
exports: (stake_votes.getVotes, stake_votes.getPastVotes, stake_votes.getPastTotalSupply)
exports: (stake_votes.clock, stake_votes.CLOCK_MODE)
exports: (penalties.unjail, penalties.burnSlashed, penalties.jail, penalties.slash)
exports: (penalties.burnable, penalties.slashing)
exports: epochs.rollEpoch


DEPLOYER: immutable(address)

aggregator: public(address)


@deploy
def __init__(token: address, rules: IStaking.Rules):
    """
    @notice Binds the token and the rules; the deployer has one power: to name the network, once.
    @param token The ERC-20 that is bonded; without transfer fees.
    @param rules Least self-bond, least time between rolls, evidence window, longest vote.
    """
    DEPLOYER = msg.sender
    domain.__init__(constants.STAKING_DOMAIN_NAME, constants.DOMAIN_VERSION)
    stake_rules.__init__(token, rules)


# PERMISSIONLESS


@external
@nonreentrant
def register(key: address, endpoint: String[128], amount: uint256, signature: Bytes[64]):
    """
    @notice Becomes a validator: bonds `amount`, names the hot key and where its node is reached. Counts from the second
            roll from now on; before the first roll at once. A validator that was pruned registers the same way.
    @param key Hot key; never registered before, by anyone.
    @param endpoint URL of the node.
    @param amount Self-bond in the token's smallest unit, approved before.
    @param signature The key's own signature of `registrationDigest(owner, key)`, 64 bytes of EIP-2098.
    """
    # CHECKS
    require._that(validators._entry(msg.sender).sequence == 0, "staking: already registered")
    require._that(amount >= stake_rules.MIN_SELF_BOND, "staking: bond below the minimum")
    validators._check_free(msg.sender)
    # EFFECTS
    validators._enlist(msg.sender)
    validators._set_endpoint(msg.sender, endpoint)
    hot_keys._name(msg.sender, key, signature)
    # LOG
    log IStaking.Registered(owner=msg.sender, key=key, endpoint=endpoint)
    # EFFECTS, INTERACTIONS, LOG
    stake: uint256 = self._stake(msg.sender, amount)
    log IStaking.Bonded(owner=msg.sender, amount=amount, stake=stake)


@external
@nonreentrant
def bond(amount: uint256):
    """
    @notice Adds to the caller's own bond; counts from the second roll from now on. Refused while a case is open.
    @param amount Units of the token, approved before.
    """
    # CHECKS
    validators._check_registered(msg.sender)
    require._that(amount != 0, "staking: nothing to bond")
    require._that(validators.frozen[msg.sender] == 0, "staking: case is open")
    # EFFECTS, INTERACTIONS, LOG
    stake: uint256 = self._stake(msg.sender, amount)
    log IStaking.Bonded(owner=msg.sender, amount=amount, stake=stake)


@external
@nonreentrant
def delegate(validator: address, amount: uint256):
    """
    @notice Bonds tokens behind a validator and shares its gains and losses; the votes stay the caller's. Counts from
            the second roll from now on.
    @param validator Cold owner of a validator that is not in jail and holds the minimum itself.
    @param amount Units of the token, approved before.
    """
    # CHECKS
    validators._check_registered(validator)
    require._that(not validators._entry(validator).jailed, "staking: in jail")
    validators._check_self_bond(validator)
    # EFFECTS, INTERACTIONS, LOG
    stake: uint256 = self._stake(validator, amount)
    log IStaking.Delegated(account=msg.sender, validator=validator, amount=amount, stake=stake)


@external
@nonreentrant
def unbond(validator: address, amount: uint256):
    """
    @notice Asks stake back from a validator. It stops to vote and to earn at once, counts and can be slashed until the
            configs that need it are over, and can be withdrawn once nothing under them can be proven any more.
    @param validator Cold owner of the validator; the caller itself for its own bond.
    @param amount Units of the token; all if it is 2**256 - 1. Rounding may add less than what one share is worth.
    """
    # CHECKS
    id: uint256 = validators._bond_pool(validator)
    require._that(amount != 0 and share_pools.held[msg.sender][id] != 0, "staking: nothing to unbond")
    # EFFECTS
    validators._touch(validator)
    tokens: uint256 = share_pools._redeem(id, msg.sender, amount)
    validators.bonded -= tokens
    if tokens != 0:
        exits._enter(validator, msg.sender, tokens)
    stake_votes._sync(msg.sender)
    # LOG
    stake: uint256 = share_pools._tokens(id)
    log IStaking.Unbonded(account=msg.sender, validator=validator, amount=tokens, stake=stake)


@external
@nonreentrant
def withdraw() -> uint256:
    """
    @notice Pays out all that the caller has asked back and that is free, and all that it is owed.
    @return Units of the token.
    """
    # EFFECTS
    claims: uint256 = len(exits.claims[msg.sender])
    amount: uint256 = exits._leave(msg.sender)
    # CHECKS
    require._that(amount != 0 or len(exits.claims[msg.sender]) != claims, "staking: nothing to withdraw")
    # INTERACTIONS
    stake_rules._give(msg.sender, amount)
    # LOG
    log IStaking.Withdrawn(account=msg.sender, amount=amount)
    return amount


@external
@nonreentrant
def payReward(validator: address, amount: uint256):
    """
    @notice Pays tokens to a validator: the commission is set aside for its payee, the rest grows all its shares.
    @param validator Cold owner of the validator.
    @param amount Units of the token, approved before.
    """
    # CHECKS
    validators._check_registered(validator)
    require._that(amount != 0 and amount <= constants.MAX_STAKE, "staking: bad reward")
    # EFFECTS
    commission: uint256 = amount * validators._commission(validator) // constants.BPS
    validators._touch(validator)
    share_pools._grow(validators._bond_pool(validator), amount - commission)
    validators.bonded += amount - commission
    exits._owe(validators._payee(validator), commission)
    # INTERACTIONS
    stake_rules._take(amount)
    # LOG
    log IStaking.RewardPaid(validator=validator, payer=msg.sender, amount=amount, commission=commission)


@external
def prune(owner: address):
    """
    @notice Takes a validator that has nothing bonded, nothing on its way out that counts, and no row in the newest
            config off the registry. Its owner may register again, with another key.
    @param owner The cold owner.
    """
    # CHECKS
    validators._check_registered(owner)
    entry: validators.Entry = validators._entry(owner)
    require._that(share_pools._tokens(validators._bond_pool(owner)) == 0, "staking: still bonded")
    counted: bool = entry.config == validators.config and entry.effective != 0
    require._that(not counted and share_pools._tokens(exits._exit_pool(owner)) == 0, "staking: still counted")
    # EFFECTS
    validators._delist(owner)
    # LOG
    log IStaking.Pruned(owner=owner)


# VIEW


@external
@view
def validator(owner: address) -> IStaking.Validator:
    """
    @notice A validator by its cold owner.
    @param owner The cold owner.
    @return All that is known of it; `owner` is zero when it is not registered.
    """
    entry: validators.Entry = validators._entry(owner)
    word: uint256 = hot_keys.newest[owner]
    found: IStaking.Validator = empty(IStaking.Validator)
    if entry.sequence != 0:
        found.owner = owner
    found.key = hot_keys._serving(owner, validators.epoch)
    if word & hot_keys.MASK_32 > validators.epoch:
        found.nextKey = convert(word >> 32, address)
        found.nextKeyEpoch = word & hot_keys.MASK_32
    found.stake = share_pools._tokens(validators._bond_pool(owner))
    found.endpoint = validators.endpoints[owner]
    found.payee = validators._payee(owner)
    found.commission = validators._commission(owner)
    found.nextCommission = (validators.commissions[owner] >> 32) & validators.MASK_16
    found.commissionEpoch = validators.commissions[owner] & validators.MASK_32
    found.selfBond = share_pools._worth(validators._bond_pool(owner), owner)
    found.exiting = share_pools._tokens(exits._exit_pool(owner))
    if entry.config == validators.config:
        found.effective = entry.effective
    found.jailed = entry.jailed
    found.jailedUntil = validators.jailedUntil[owner]
    found.frozen = validators.frozen[owner]
    return found


@external
@view
def costOfCorruption() -> uint256:
    """
    @notice Tokens that are certain to be lost when two different reports of one slot are signed under the newest
            config: more than 1/3 of the effective stake signs both, and three times 1/3 is all of it.
    @dev Does not cover a quorum of more than 2/3 that signs one false report and no other: nothing on chain can prove
         that. Nor offences that nobody reports within the evidence window, and what the reporter gets back if it is the
         offender: at most a tenth.
    @return Units of the token, at most what is bonded now; 0 before the first config.
    """
    if epochs.total == 0:
        return 0
    return min(epochs.total // 3 + 1, validators.bonded)


# ROLE: the deployer, once


@external
def setNetwork(aggregator: address, slashing: address):
    """
    @notice Names the Aggregator and Slashing, once for ever. Only the deployer.
    @param aggregator An Aggregator that was built on this Staking.
    @param slashing A Slashing that was built on this Staking.
    """
    # CHECKS
    require._that(msg.sender == DEPLOYER, "staking: caller not the deployer")
    require._that(self.aggregator == empty(address), "staking: network is set")
    require._that(staticcall IAggregator(aggregator).staking() == self, "staking: foreign aggregator")
    require._that(staticcall ISlashing(slashing).staking() == self, "staking: foreign slashing")
    # EFFECTS
    self.aggregator = aggregator
    penalties.slashing = slashing
    hot_keys.configurator = staticcall IAggregator(aggregator).configurator()
    # LOG
    log IStaking.NetworkSet(aggregator=aggregator, slashing=slashing)


# INTERNAL


@internal
def _stake(owner: address, amount: uint256) -> uint256:
    # EFFECTS
    validators._touch(owner)
    stake: uint256 = share_pools._deposit(validators._bond_pool(owner), msg.sender, amount)
    validators.bonded += amount
    stake_votes._hold(msg.sender, owner)
    stake_votes._sync(msg.sender)
    # INTERACTIONS
    stake_rules._take(amount)
    return stake
