# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Epochs: how stakes become the table of the next config
@license AGPL-3.0-only
@notice A roll counts stakes, standings and keys as they were at the roll before, so nothing done in the block of a roll
        changes its table but jail, slashing and revocation: nobody can try out tables until one draws it as leader.
@dev An epoch that ends with fewer rows than a config needs passes without one: the config in force stays, and those who
     came meanwhile count at the next roll. Else a network that lost a validator could never take in another.
"""

from . import churn
from . import exits
from . import hot_keys
from . import require
from . import share_pools
from . import stake_rules
from . import validators
from .. import constants
from ..interfaces import IAggregator
from ..interfaces import IConfigurator
from ..interfaces import IStaking

uses: exits
uses: hot_keys
uses: share_pools
uses: stake_rules
uses: validators

MASK_32: constant(uint256) = 2**32 - 1

# Sum of the rows of the newest config.
total: uint256


# PERMISSIONLESS


@external
@nonreentrant
def rollEpoch() -> uint256:
    """
    @notice Ends an epoch and writes the validator table of the next config. Anyone may call it, once an epoch.
    @dev The 64 largest stakes, ties by registration, capped, changed by no more than the churn allows. Before the first
         roll all counts as it stands.
    @return First slot of the new config; 0 if there are too few rows for one and the config in force stays.
    """
    # CHECKS
    require._that(hot_keys.configurator != empty(address), "staking: no network")
    require._that(
        validators.epoch == 0 or block.timestamp >= validators.lastRoll + stake_rules.EPOCH_SECONDS,
        "staking: epoch is not over",
    )
    # EFFECTS
    table: DynArray[uint256, constants.MAX_VALIDATORS] = self._table()
    validators.epoch += 1
    validators.lastRoll = block.timestamp
    if validators.config != 0 and len(table) < self._least():
        log IStaking.EpochSkipped(epoch=validators.epoch, validators=len(table))
        return 0
    rows: DynArray[IAggregator.Row, constants.MAX_VALIDATORS] = self._seat(table)
    for owner: address in validators.list:
        exits._close(owner, validators.config)
    # INTERACTIONS
    first: uint256 = extcall IConfigurator(hot_keys.configurator).roll(rows)
    start: uint64 = (staticcall IConfigurator(hot_keys.configurator).configOf(validators.config)).anchorTime
    exits.startOf[validators.config] = convert(start, uint256)
    # LOG
    log IStaking.EpochRolled(epoch=validators.epoch, validators=len(rows), total=self.total, firstSlot=first)
    return first


# INTERNAL


@internal
@view
def _least() -> uint256:
    return convert((staticcall IConfigurator(hot_keys.configurator).timing()).minValidators, uint256)


@internal
@view
def _table() -> DynArray[uint256, constants.MAX_VALIDATORS]:
    """
    @notice The rows of the next config.
    @return Words of `churn`, largest effective stake first.
    """
    ranked: DynArray[uint256, constants.MAX_VALIDATORS] = []
    sitting: DynArray[uint256, constants.MAX_VALIDATORS] = []
    for owner: address in validators.list:
        entry: validators.Entry = validators._entry(owner)
        if entry.jailed or hot_keys._serving(owner, validators.epoch + 1) == empty(address):
            continue
        stake: uint256 = share_pools._tokens(share_pools._id(owner, entry.generation))
        backing: uint256 = stake + share_pools._tokens(share_pools._id(owner, share_pools.EXIT | entry.exit))
        before: uint256 = 0
        if entry.config == validators.config:
            before = min(entry.effective, backing)
        target: uint256 = min(validators._counted(owner, stake), backing)
        word: uint256 = churn._candidate(target, entry.sequence, entry.place, before)
        if before != 0:
            sitting.append(word)
        if target != 0:
            ranked = churn._insert(ranked, word)
    return staticcall IConfigurator(hot_keys.configurator).nextTable(ranked, sitting)


@internal
def _seat(table: DynArray[uint256, constants.MAX_VALIDATORS]) -> DynArray[IAggregator.Row, constants.MAX_VALIDATORS]:
    """
    @notice Records the rows of the next config.
    @param table Words of `churn`, largest effective stake first.
    @return The rows with their keys.
    """
    validators.config += 1
    self.total = 0
    rows: DynArray[IAggregator.Row, constants.MAX_VALIDATORS] = []
    for word: uint256 in table:
        owner: address = validators.list[(word >> 96) & MASK_32]
        entry: validators.Entry = validators._entry(owner)
        entry.effective = word >> 160
        entry.config = validators.config
        validators._write_entry(owner, entry)
        self.total += entry.effective
        key: address = hot_keys._serving(owner, validators.epoch)
        rows.append(IAggregator.Row(key=key, stake=convert(entry.effective, uint96)))
    return rows
