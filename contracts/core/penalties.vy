# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Jail and slashing
@license AGPL-3.0-only
@notice What Slashing may do to a validator whose offence it has seen proven, and the way back. Nobody else may do any
        of it, and nothing but a proof leads Slashing to it.
"""

from . import exits
from . import hot_keys
from . import require
from . import share_pools
from . import stake_rules
from . import stake_votes
from . import validators
from .. import constants
from ..interfaces import IStaking

uses: exits
uses: hot_keys
uses: share_pools
uses: stake_rules
uses: stake_votes
uses: validators


interface Burnable:
    def burn(amount: uint256): nonpayable


slashing: public(address)
# Slashed tokens that wait to be burned.
burnable: public(uint256)


# PERMISSIONLESS


@external
def unjail():
    """
    @notice Ends the caller's jail, once its time is over and its case is settled, with a key named since. Its stake
            counts from the second roll from now on.
    """
    # CHECKS
    validators._check_registered(msg.sender)
    entry: validators.Entry = validators._entry(msg.sender)
    require._that(entry.jailed, "staking: not in jail")
    validators._check_free(msg.sender)
    validators._check_self_bond(msg.sender)
    require._that(hot_keys.newest[msg.sender] != 0, "staking: no key")
    # EFFECTS
    entry.jailed = False
    validators._write_entry(msg.sender, entry)
    validators.marks[msg.sender] = validators.epoch
    # LOG
    log IStaking.Unjailed(owner=msg.sender)


@external
@nonreentrant
def burnSlashed():
    """
    @notice Burns what slashing took.
    """
    # CHECKS
    amount: uint256 = self.burnable
    require._that(amount != 0, "staking: nothing to burn")
    # EFFECTS
    self.burnable = 0
    # INTERACTIONS
    extcall Burnable(stake_rules.TOKEN.address).burn(amount)
    # LOG
    log IStaking.SlashedBurned(amount=amount)


# ROLE: Slashing


@external
def jail(owner: address, until: uint256, config: uint256):
    """
    @notice Puts a validator in jail: its keys are worthless at once, it can get no delegation, the next roll leaves it
            out. Only Slashing.
    @param owner The cold owner.
    @param until Second from which it may ask to be let out.
    @param config Config of the offence: stake that stood in it or later waits for the verdict. 0: nothing waits.
    """
    # CHECKS
    self._check_slashing()
    # EFFECTS
    entry: validators.Entry = validators._entry(owner)
    entry.jailed = True
    validators._write_entry(owner, entry)
    validators.jailedUntil[owner] = max(validators.jailedUntil[owner], until)
    if config != 0 and (validators.frozen[owner] == 0 or config < validators.frozen[owner]):
        validators.frozen[owner] = config
    # INTERACTIONS, LOG
    hot_keys._revoke_all(owner)
    log IStaking.Jailed(owner=owner, until=until, config=config)


@external
def slash(owner: address, config: uint256, rate: uint256, reporter: address) -> uint256:
    """
    @notice Takes a part of all stake that stood behind a validator in a config or later, bonded or on its way out, at
            one rate for all holders, and ends its case. Only Slashing.
    @param owner The cold owner.
    @param config Config of the offence.
    @param rate The part, in 1e-18.
    @param reporter Who is owed a tenth, but never more than the minimum self-bond; the rest will be burned.
    @return Units of the token.
    """
    # CHECKS
    self._check_slashing()
    require._that(rate <= constants.RATE_ONE, "staking: bad rate")
    # EFFECTS
    slashed: uint256 = self._cut(owner, rate) + exits._cut(owner, config, rate)
    reward: uint256 = min(slashed * constants.REPORTER_SHARE_BPS // constants.BPS, stake_rules.MIN_SELF_BOND)
    exits._owe(reporter, reward)
    self.burnable += slashed - reward
    validators.frozen[owner] = 0
    stake_votes._sync(owner)
    # LOG
    log IStaking.Slashed(owner=owner, reporter=reporter, config=config, rate=rate, amount=slashed, reward=reward)
    return slashed


# INTERNAL


@internal
@view
def _check_slashing():
    require._that(msg.sender == self.slashing, "staking: caller is not slashing")


@internal
def _cut(owner: address, rate: uint256) -> uint256:
    id: uint256 = validators._bond_pool(owner)
    taken: uint256 = share_pools._cut(id, rate)
    if taken != 0 and share_pools._tokens(id) == 0:
        # All is lost: old shares are of nothing, and new ones of another pool.
        entry: validators.Entry = validators._entry(owner)
        entry.generation += 1
        validators._write_entry(owner, entry)
    validators.bonded -= taken
    return taken
