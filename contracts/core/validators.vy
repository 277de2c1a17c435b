# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title The registry of validators
@license AGPL-3.0-only
@notice Who is registered, in which order, and what an owner may set about itself. A validator is known by its cold
        owner for ever, registered or pruned.
@dev Counting looks back: `marks` keep the stake and the standing as they were at the last roll, written at the first
     change after it, so that a roll writes nothing for a validator that nobody touched.
"""

from . import require
from . import share_pools
from . import stake_rules
from .. import constants
from ..interfaces import IStaking

uses: share_pools
uses: stake_rules

MASK_16: constant(uint256) = 2**16 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_96: constant(uint256) = 2**96 - 1


# What a roll has to know of a validator, in one word. `sequence`: order of registration, 0 when not registered.
# `place`: in the list. `generation`: number of its bonded pool. `exit`: number of its open exit pool.
# `effective`: its row in config `config`.
struct Entry:
    sequence: uint256
    place: uint256
    generation: uint256
    exit: uint256
    effective: uint256
    config: uint256
    jailed: bool


# Number of rolls so far, number of the newest config, and when the last roll was.
epoch: public(uint256)
config: public(uint256)
lastRoll: public(uint256)
# Tokens in the bonded pools of all validators.
bonded: public(uint256)

list: DynArray[address, constants.MAX_OWNERS]
registrations: uint256
# sequence 32 | place 16 | generation 32 | exit 32 | effective 96 | config 32 | jailed 1
entries: HashMap[address, uint256]
# stake at a roll 96 | whether the self-bond was enough 1 | the epoch that began with that roll 32
marks: HashMap[address, uint256]
endpoints: HashMap[address, String[128]]
payees: HashMap[address, address]
# commission now 16 | the next one 16 | epoch from which that one holds 32
commissions: HashMap[address, uint256]
jailedUntil: HashMap[address, uint256]
# Config of an open case, 0 if there is none: stake that stood in it waits for the verdict.
frozen: HashMap[address, uint256]


# PERMISSIONLESS


@external
def setEndpoint(endpoint: String[128]):
    """
    @notice Changes where the caller's node is reached, at once.
    @param endpoint URL of the node.
    """
    # CHECKS
    self._check_registered(msg.sender)
    # EFFECTS, LOG
    self._set_endpoint(msg.sender, endpoint)
    log IStaking.EndpointSet(owner=msg.sender, endpoint=endpoint)


@external
def setPayee(payee: address):
    """
    @notice Changes who gets the caller's commission, at once; the owner itself to begin with.
    @param payee Any account; what it is owed it withdraws itself.
    """
    # CHECKS
    self._check_registered(msg.sender)
    require._that(payee != empty(address), "staking: no payee")
    # EFFECTS
    self.payees[msg.sender] = payee
    # LOG
    log IStaking.PayeeSet(owner=msg.sender, payee=payee)


@external
def setCommission(commission: uint256):
    """
    @notice Changes the part of rewards that goes to the payee: lower at once, higher from the second roll from now on,
            so that whoever delegated has a full epoch to leave.
    @param commission Basis points, at most 10,000; 0 to begin with.
    """
    # CHECKS
    self._check_registered(msg.sender)
    require._that(commission <= constants.BPS, "staking: commission above all")
    # EFFECTS
    now: uint256 = min(self._commission(msg.sender), commission)
    start: uint256 = self.epoch
    if commission > now:
        start += constants.NOTICE_EPOCHS
    self.commissions[msg.sender] = (now << 48) | (commission << 32) | start
    # LOG
    log IStaking.CommissionSet(owner=msg.sender, commission=commission, epoch=start)


# VIEW


@external
@view
def owners() -> DynArray[address, 256]:
    """
    @notice Cold owners of all registered validators.
    @return Addresses, in no order that means anything.
    """
    return self.list


# INTERNAL


@internal
@view
def _entry(owner: address) -> Entry:
    """
    @notice Reads what a roll has to know of a validator.
    @param owner The cold owner.
    @return All zero for an unknown one.
    """
    word: uint256 = self.entries[owner]
    return Entry(
        sequence=word >> 209,
        place=(word >> 193) & MASK_16,
        generation=(word >> 161) & MASK_32,
        exit=(word >> 129) & MASK_32,
        effective=(word >> 33) & MASK_96,
        config=(word >> 1) & MASK_32,
        jailed=word & 1 != 0,
    )


@internal
def _write_entry(owner: address, entry: Entry):
    """
    @notice Stores what a roll has to know of a validator.
    @param owner The cold owner.
    @param entry What it is from now on.
    """
    word: uint256 = (entry.sequence << 209) | (entry.place << 193) | (entry.generation << 161) | (entry.exit << 129)
    self.entries[owner] = word | (entry.effective << 33) | (entry.config << 1) | convert(entry.jailed, uint256)


@internal
def _enlist(owner: address):
    """
    @notice Appends a validator to the registry.
    @param owner The cold owner.
    """
    require._that(len(self.list) < constants.MAX_OWNERS, "staking: registry is full")
    entry: Entry = self._entry(owner)
    self.registrations += 1
    entry.sequence = self.registrations
    entry.place = len(self.list)
    entry.jailed = False
    self._write_entry(owner, entry)
    self.list.append(owner)


@internal
def _delist(owner: address):
    """
    @notice Takes a validator off the registry; the last one moves to its place.
    @param owner The cold owner.
    """
    entry: Entry = self._entry(owner)
    last: address = self.list.pop()
    if last != owner:
        moved: Entry = self._entry(last)
        moved.place = entry.place
        self.list[entry.place] = last
        self._write_entry(last, moved)
    entry.sequence = 0
    entry.place = 0
    self._write_entry(owner, entry)


@internal
def _set_endpoint(owner: address, endpoint: String[128]):
    """
    @notice Stores where a node is reached.
    @param owner The cold owner.
    @param endpoint URL of the node.
    """
    require._that(len(endpoint) != 0, "staking: no endpoint")
    self.endpoints[owner] = endpoint


@internal
@view
def _check_registered(owner: address):
    require._that(self.entries[owner] >> 209 != 0, "staking: not registered")


@internal
@view
def _bond_pool(owner: address) -> uint256:
    """
    @notice The pool that a validator's bonded stake is in.
    @param owner The cold owner.
    @return Its id.
    """
    return share_pools._id(owner, self._entry(owner).generation)


@internal
@view
def _check_self_bond(owner: address):
    require._that(self._has_self_bond(owner), "staking: bond below the minimum")


@internal
@view
def _check_free(owner: address):
    require._that(self.frozen[owner] == 0, "staking: case is open")
    require._that(block.timestamp >= self.jailedUntil[owner], "staking: in jail")


@internal
@view
def _has_self_bond(owner: address) -> bool:
    """
    @notice Whether the owner's own part of the bonded stake is enough to count.
    @param owner The cold owner.
    @return True from the minimum on.
    """
    return share_pools._worth(self._bond_pool(owner), owner) >= stake_rules.MIN_SELF_BOND


@internal
def _touch(owner: address):
    """
    @notice Keeps stake and standing as they were at the last roll. To be called before anything changes them.
    @param owner The cold owner.
    """
    if self.marks[owner] & MASK_32 != self.epoch:
        stake: uint256 = share_pools._tokens(self._bond_pool(owner))
        self.marks[owner] = (stake << 33) | (convert(self._has_self_bond(owner), uint256) << 32) | self.epoch


@internal
@view
def _counted(owner: address, stake: uint256) -> uint256:
    """
    @notice Stake as it stood at the last roll, if the self-bond was enough then; before the first roll, as it is.
    @param owner The cold owner.
    @param stake What is bonded now.
    @return What the next roll may count at most.
    """
    mark: uint256 = self.marks[owner]
    if self.epoch != 0 and mark & MASK_32 == self.epoch:
        if (mark >> 32) & 1 == 0:
            return 0
        return mark >> 33
    if stake == 0 or not self._has_self_bond(owner):
        return 0
    return stake


@internal
@view
def _payee(owner: address) -> address:
    """
    @notice Who gets a validator's commission.
    @param owner The cold owner.
    @return The payee that it named, else the owner.
    """
    if self.payees[owner] == empty(address):
        return owner
    return self.payees[owner]


@internal
@view
def _commission(owner: address) -> uint256:
    """
    @notice The part of a reward that goes to the payee now.
    @param owner The cold owner.
    @return Basis points.
    """
    word: uint256 = self.commissions[owner]
    if self.epoch >= word & MASK_32:
        return (word >> 32) & MASK_16
    return word >> 48
