# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Configurator: what is in force, and from which slot on
@license AGPL-3.0-only
@notice Keeps the feed table and the operating numbers, writes each config as contract code, and hands it to the
        Aggregator. The owner stages feeds and timing; validators come from Staking alone; nothing here is a price.
@dev Everything of a network that a report does not need lies here, so that the Aggregator stays small.
"""

from snekmate.auth import ownable

from . import bits
from . import churn
from . import config_blob
from . import configs
from . import next_config
from . import stake_cap
from ..interfaces import IAggregator
from ..interfaces import IConfigurator

implements: IConfigurator
initializes: ownable
initializes: next_config[ownable := ownable]
initializes: configs[next_config := next_config]

exports: (ownable.owner, ownable.transfer_ownership)
exports: (next_config.listFeed, next_config.retireFeed, next_config.keepFeed, next_config.stageTiming)
exports: (next_config.stagedSpec, next_config.retiresAt, next_config.timing)
exports: (configs.aggregator, configs.configCount, configs.configOf, configs.table, configs.feeds, configs.feedsOf)
exports: (configs.feedSpec, configs.feedSpecOf, configs.pointerAt, configs.slotAt)
exports: (churn.nextTable, stake_cap.effectiveStakes)

STAKING: immutable(address)


@deploy
def __init__(staking: address, timing: IAggregator.Timing, anchorTime: uint64):
    """
    @notice Binds the configurator to its Staking for ever; the deployer becomes owner.
    @param staking The contract from which alone validator tables are taken.
    @param timing Slot length and the other operating numbers of the first config.
    @param anchorTime Second at which slot 0 starts; not in the future.
    """
    # CHECKS
    assert staking != empty(address), "configurator: no staking"
    # EFFECTS
    ownable.__init__()
    next_config.__init__(timing)
    configs.__init__(anchorTime)
    STAKING = staking


# VIEW


@external
@view
def staking() -> address:
    """
    @notice The contract from which alone validator tables are taken.
    @return Its address.
    """
    return STAKING


@external
@view
def revokedMask(count: uint256) -> uint256:
    """
    @notice Rows of a config whose key was revoked since.
    @param count Number of the config: the newest or the one before it; 0 for all others.
    @return Bit i set: row i can sign no more.
    """
    if count == 0 or configs.configCount == 0:
        return 0
    current: uint256 = 0
    previous: uint256 = 0
    current, previous = staticcall IAggregator(configs.aggregator).pointers()
    if count == configs.configCount:
        return current & bits.MASK_64
    if count + 1 == configs.configCount:
        return previous & bits.MASK_64
    return 0


# ROLE


@external
def roll(rows: DynArray[IAggregator.Row, 64]) -> uint256:
    """
    @notice Writes the next config: these validators, all staged feeds, the staged timing. Only Staking may call it.
    @param rows Validators, largest effective stake first.
    @return First slot of the new config.
    """
    # CHECKS
    assert msg.sender == STAKING, "configurator: caller is not staking"
    # EFFECTS, INTERACTIONS, LOG
    return configs._roll(rows)


@external
def revoke(key: address):
    """
    @notice Refuses every further signature of a key, at once. Only Staking may call it.
    @param key The hot key; unknown to a table it changes nothing there.
    """
    # CHECKS
    assert msg.sender == STAKING, "configurator: caller is not staking"
    # INTERACTIONS
    current: uint256 = 0
    previous: uint256 = 0
    current, previous = staticcall IAggregator(configs.aggregator).pointers()
    extcall IAggregator(configs.aggregator).revoke(key, self._rows_of(current, key), self._rows_of(previous, key))


@external
def setAggregator(aggregator: address):
    """
    @notice Names the Aggregator, once for ever. Only the owner.
    @param aggregator An Aggregator that was built on this Configurator.
    """
    # CHECKS
    ownable._check_owner()
    assert configs.aggregator == empty(address), "configurator: aggregator is set"
    assert staticcall IAggregator(aggregator).configurator() == self, "configurator: aggregator of another configurator"
    # EFFECTS
    configs.aggregator = aggregator
    # LOG
    log IConfigurator.AggregatorSet(aggregator=aggregator)


# INTERNAL


@internal
@view
def _rows_of(pointer: uint256, key: address) -> uint256:
    if pointer == 0:
        return 0
    return config_blob._rows_with(convert(pointer >> 96, address), key)
