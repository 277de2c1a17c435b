# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Slashing: what two signatures prove, and what it costs
@license AGPL-3.0-only
@notice Anyone may show that a validator signed two different statements of one kind for one slot. It is jailed at once;
        its stake pays once the evidence window has passed: 5 % for observations; for reports three times the share of
        the effective stake that did so at about the same time, at least 5 %; nothing for proposals. `cases.vy` has
        the whole table. Nobody has a privilege here, and nothing but such a proof costs stake: no forecast's error,
        no downtime, no vote.
@dev A key that was revoked before the slot began convicts nobody. But a signature carries no time: whoever learns a
     key can still sign for the slots since one window ago, so a leaked key is best revoked at once.
"""

from .. import constants
from . import cases
from . import evidence
from ..interfaces import IAggregator
from ..interfaces import IConfigurator
from ..interfaces import ISlashing
from ..interfaces import IStaking

implements: ISlashing
initializes: cases

exports: (cases.caseOf, cases.settlesAt, cases.rateOf, cases.equivocated, cases.evidenceSeconds)

STAKING: immutable(IStaking)

# Offences already shown, by kind, config, row and slot.
known: HashMap[bytes32, bool]


@deploy
def __init__(staking: address):
    """
    @notice Binds the contract to its Staking for ever. There is no owner.
    @param staking The contract whose stake pays.
    """
    # CHECKS
    assert staking != empty(address), "slashing: no staking"
    # EFFECTS
    STAKING = IStaking(staking)
    cases.__init__(staticcall STAKING.evidenceSeconds())


# PERMISSIONLESS


@external
@nonreentrant
def reportEquivocation(proof: ISlashing.Proof):
    """
    @notice Shows that a validator equivocated: it is jailed, and for an observation or a report its exits are frozen
            until `settle`. Whoever first shows the gravest kind of a case gets the reporter's part of what it costs.
    @param proof The two signed statements.
    """
    # CHECKS
    offence: ISlashing.Offence = self._offence_of(proof)
    name: bytes32 = self._name_of(
        convert(proof.kind, uint256),
        convert(proof.count, uint256),
        convert(proof.row, uint256),
        convert(proof.slot, uint256),
    )
    assert not self.known[name], "slashing: offence was reported"
    # EFFECTS
    self.known[name] = True
    case: ISlashing.Case = cases._enter(proof, offence)
    until: uint256 = cases._jailed_until(case)
    frozen: uint256 = 0
    if case.open:
        frozen = convert(case.config, uint256)
    # INTERACTIONS
    extcall STAKING.jail(offence.owner, until, frozen)
    # LOG
    log ISlashing.Equivocated(
        owner=offence.owner,
        reporter=msg.sender,
        kind=proof.kind,
        key=offence.key,
        count=convert(proof.count, uint256),
        slot=convert(proof.slot, uint256),
        time=offence.time,
        share=offence.share,
    )
    log ISlashing.CaseChanged(
        owner=offence.owner,
        kind=case.kind,
        config=frozen,
        settlesAt=cases._settles_at(case),
        jailedUntil=until,
    )


@external
@nonreentrant
def settle(owner: address) -> uint256:
    """
    @notice Takes what an open case costs, once its evidence window has passed, and frees the exits that it froze.
    @param owner Cold owner of the validator.
    @return Units of the token that were slashed.
    """
    # CHECKS, EFFECTS
    case: ISlashing.Case = empty(ISlashing.Case)
    rate: uint256 = 0
    case, rate = cases._close(owner)
    # INTERACTIONS
    config: uint256 = convert(case.config, uint256)
    slashed: uint256 = extcall STAKING.slash(owner, config, rate, case.reporter)
    # LOG
    log ISlashing.CaseSettled(
        owner=owner, reporter=case.reporter, config=config, rate=rate, total=case.taken, slashed=slashed
    )
    return slashed


# VIEW


@external
@view
def offenceOf(proof: ISlashing.Proof) -> ISlashing.Offence:
    """
    @notice Looks at a proof without acting on it; reverts with the reason why it shows nothing.
    @param proof The two signed statements.
    @return Whose key signed twice, when the slot began, and the row's share of the effective stake.
    """
    return self._offence_of(proof)


@external
@view
def reported(kind: uint256, count: uint256, row: uint256, slot: uint256) -> bool:
    """
    @notice Whether an offence has been shown.
    @param kind 1 proposal, 2 observation, 3 report.
    @param count Number of the config.
    @param row Row of its validator table.
    @param slot The slot.
    @return True if so.
    """
    return self.known[self._name_of(kind, count, row, slot)]


@external
@view
def digestOf(kind: uint256, count: uint256, slot: uint256, statement: ISlashing.Statement) -> bytes32:
    """
    @notice What a validator signs to make a statement (EIP-712).
    @param kind 1 proposal, 2 observation, 3 report.
    @param count Number of the config.
    @param slot The slot, a uint32.
    @param statement The statement; its signature is not looked at.
    @return The digest.
    """
    assert kind <= convert(evidence.REPORT, uint256), "slashing: unknown kind"
    aggregator: address = self._aggregator()
    config: IAggregator.Config = self._config_of(self._configurator(aggregator), count)
    struct_hash: bytes32 = evidence._struct_hash(convert(kind, uint8), config.digest, slot, statement)
    return evidence._digest(evidence._domain_of(aggregator), struct_hash)


@external
@view
def staking() -> address:
    """
    @notice The contract whose stake pays.
    @return Its address.
    """
    return STAKING.address


# INTERNAL


@internal
@view
def _offence_of(proof: ISlashing.Proof) -> ISlashing.Offence:
    configurator: IConfigurator = self._configurator(self._aggregator())
    count: uint256 = convert(proof.count, uint256)
    config: IAggregator.Config = self._config_of(configurator, count)
    time: uint256 = self._time_of(configurator, config, convert(proof.slot, uint256))
    rows: DynArray[IAggregator.Row, constants.MAX_VALIDATORS] = staticcall configurator.table(count)
    assert convert(proof.row, uint256) < len(rows), "slashing: unknown row"
    accused: IAggregator.Row = rows[proof.row]
    evidence._check(proof, config, accused.key)
    revoked: uint256 = staticcall STAKING.keyRevokedAt(accused.key)
    # The second in which the slot began still counts, or a signer could report, revoke and be free in one block.
    assert revoked == 0 or revoked >= time, "slashing: key was revoked before"
    total: uint256 = 0
    for row: IAggregator.Row in rows:
        total += convert(row.stake, uint256)
    # Rounded up: what is more than a third stays more than a third.
    share: uint256 = (convert(accused.stake, uint256) * constants.RATE_ONE + total - 1) // total
    return ISlashing.Offence(
        owner=staticcall STAKING.ownerOf(accused.key), key=accused.key, time=time, share=share
    )


@internal
@view
def _time_of(configurator: IConfigurator, config: IAggregator.Config, slot: uint256) -> uint256:
    # A slot has one config; the same slot under another digest is no second statement.
    first: uint256 = convert(config.firstSlot, uint256)
    assert slot >= first, "slashing: slot of another config"
    count: uint256 = convert(config.count, uint256)
    if count < staticcall configurator.configCount():
        next: IAggregator.Config = staticcall configurator.configOf(count + 1)
        assert slot < convert(next.firstSlot, uint256), "slashing: slot of another config"
    passed: uint256 = (slot - convert(config.anchorSlot, uint256)) * convert(config.slotSeconds, uint256)
    time: uint256 = convert(config.anchorTime, uint256) + passed
    assert time <= block.timestamp, "slashing: slot is in the future"
    # Ends in the second in which a case can first be settled, so that no settlement outruns evidence.
    assert block.timestamp < time + cases.WINDOW, "slashing: evidence window is over"
    return time


@internal
@pure
def _name_of(kind: uint256, count: uint256, row: uint256, slot: uint256) -> bytes32:
    return keccak256(abi_encode(kind, count, row, slot))


@internal
@view
def _aggregator() -> address:
    aggregator: address = staticcall STAKING.aggregator()
    assert aggregator != empty(address), "slashing: no aggregator"
    return aggregator


@internal
@view
def _configurator(aggregator: address) -> IConfigurator:
    return IConfigurator(staticcall IAggregator(aggregator).configurator())


@internal
@view
def _config_of(configurator: IConfigurator, count: uint256) -> IAggregator.Config:
    assert count != 0 and count <= staticcall configurator.configCount(), "slashing: unknown config"
    return staticcall configurator.configOf(count)
