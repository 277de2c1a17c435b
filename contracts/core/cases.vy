# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title Cases: what is known against a validator, and what it costs
@license AGPL-3.0-only
@notice All offences up to the block of a jailing make one case; the gravest kind counts, once. What is shown when the
        newest case of the same jailing is

                      none    proposal   observation, open or settled   report, open or settled
          proposal    opens   refused    refused                        refused
          observation opens   replaces   refused                        refused
          report      opens   replaces   replaces                       joins if earlier, later, or of a larger share

        An open case that grows keeps the earlier of its configs; one that was settled opens again for the config of
        the new offence, and costs only what its rate is now above the rate already taken. Costs: a proposal no stake,
        an observation 5 %, a report max(5 %, min(100 %, 3 x the share of the effective stake that equivocated within
        one window before or after)). A case is settled one window after its last offence.
@dev Jail ends one window after the jailing, or four after that of a report. One window is what evidence for the slots
     before needs to grow too old, so no offence of a jailing is shown after its end. Four are longer than any span
     that a rate is summed over (less than three, and the ends of two buckets), so no sum counts a validator twice.
"""

from .. import constants
from . import correlation
from . import evidence
from ..interfaces import ISlashing

initializes: correlation

LEAST_RATE: constant(uint256) = 5 * 10**16
RATE_FACTOR: constant(uint256) = 3
JAIL_WINDOWS: constant(uint256) = 1
REPORT_JAIL_WINDOWS: constant(uint256) = 4

WINDOW: immutable(uint256)

cases: HashMap[address, ISlashing.Case]


@deploy
def __init__(window: uint256):
    """
    @notice Fixes the evidence window.
    @param window Seconds, above 0.
    """
    # EFFECTS
    correlation.__init__(window)
    WINDOW = window


# VIEW


@external
@view
def caseOf(owner: address) -> ISlashing.Case:
    """
    @notice The newest case of a validator, open or settled.
    @param owner Its cold owner.
    @return The case; all zero if there never was one.
    """
    return self.cases[owner]


@external
@view
def settlesAt(owner: address) -> uint256:
    """
    @notice From when on the open case of a validator can be settled. A later offence of the case moves it.
    @param owner Its cold owner.
    @return Second; 0 without an open case.
    """
    return self._settles_at(self.cases[owner])


@external
@view
def rateOf(owner: address) -> uint256:
    """
    @notice What the open case of a validator would take if it were settled now.
    @param owner Its cold owner.
    @return Rate in 1e-18 of the stake that is still there; 0 without an open case.
    """
    case: ISlashing.Case = self.cases[owner]
    if not case.open:
        return 0
    return self._rate_due(case)


@external
@view
def equivocated(time: uint256) -> uint256:
    """
    @notice How much effective stake signed two reports of one slot at about this time.
    @param time A second.
    @return Sum of shares in 1e-18, each of its own config's total, at most one evidence window before or after (to
            the next eighth of a window).
    """
    return correlation._around(time, time)


@external
@view
def evidenceSeconds() -> uint256:
    """
    @notice How long after the start of a slot its offences can be shown.
    @return Seconds.
    """
    return WINDOW


# INTERNAL


@internal
def _enter(proof: ISlashing.Proof, offence: ISlashing.Offence) -> ISlashing.Case:
    """
    @notice Opens a case, or lets an offence join the one there is; reverts if that would change nothing.
    @param proof What was shown.
    @param offence What it means.
    @return The case as it is now.
    """
    # CHECKS
    old: ISlashing.Case = self.cases[offence.owner]
    case: ISlashing.Case = ISlashing.Case(
        kind=proof.kind,
        open=proof.kind != evidence.PROPOSAL,
        config=proof.count,
        first=offence.time,
        last=offence.time,
        jailedAt=block.timestamp,
        share=0,
        taken=0,
        reporter=msg.sender,
    )
    if proof.kind == evidence.REPORT:
        case.share = offence.share
    counted: uint256 = 0
    if old.kind != 0 and offence.time <= old.jailedAt:
        counted = old.share
        case = self._joined(old, case)
    else:
        # A key is revoked when its owner is jailed, and only a settlement lets the owner back in.
        assert not old.open, "slashing: case is open"
    # EFFECTS
    self.cases[offence.owner] = case
    if case.share != counted:
        correlation._add(offence.time, case.share - counted)
    return case


@internal
def _close(owner: address) -> (ISlashing.Case, uint256):
    """
    @notice Settles an open case; reverts while its evidence window is open.
    @param owner Cold owner of the validator.
    @return The case as it is now, and the rate due.
    """
    # CHECKS
    case: ISlashing.Case = self.cases[owner]
    assert case.open, "slashing: no open case"
    assert block.timestamp >= self._settles_at(case), "slashing: evidence window is open"
    # EFFECTS
    due: uint256 = self._rate_due(case)
    # Never less than before: sums only grow, and a case only widens.
    case.taken = self._rate_of(case)
    case.open = False
    self.cases[owner] = case
    return case, due


@internal
@view
def _jailed_until(case: ISlashing.Case) -> uint256:
    """
    @notice When the jail of a case ends.
    @param case The case.
    @return Second.
    """
    windows: uint256 = JAIL_WINDOWS
    if case.kind == evidence.REPORT:
        windows = REPORT_JAIL_WINDOWS
    return case.jailedAt + windows * WINDOW


@internal
@view
def _settles_at(case: ISlashing.Case) -> uint256:
    """
    @notice From when on a case can be settled.
    @param case The case.
    @return Second; 0 if it is not open.
    """
    if not case.open:
        return 0
    return case.last + WINDOW


@internal
@pure
def _joined(old: ISlashing.Case, new: ISlashing.Case) -> ISlashing.Case:
    # The old case with a new offence, which is given as a case of its own.
    case: ISlashing.Case = new
    case.jailedAt = old.jailedAt
    case.taken = old.taken
    if old.open:
        case.config = min(new.config, old.config)
    if new.kind == evidence.REPORT and old.kind == evidence.REPORT:
        assert new.first < old.first or new.last > old.last or new.share > old.share, "slashing: nothing graver"
        case.first = min(new.first, old.first)
        case.last = max(new.last, old.last)
        case.share = max(new.share, old.share)
        if old.open:
            case.reporter = old.reporter
    elif old.open:
        assert new.kind > old.kind, "slashing: case is open"
    else:
        assert new.kind > old.kind, "slashing: nothing graver"
    return case


@internal
@view
def _rate_due(case: ISlashing.Case) -> uint256:
    # The rate of the case less what was taken before, as a part of what that left.
    rate: uint256 = self._rate_of(case)
    if rate <= case.taken:
        return 0
    left: uint256 = constants.RATE_ONE - case.taken
    return ((rate - case.taken) * constants.RATE_ONE + left - 1) // left


@internal
@view
def _rate_of(case: ISlashing.Case) -> uint256:
    if case.kind != evidence.REPORT:
        return LEAST_RATE
    shares: uint256 = correlation._around(case.first, case.last)
    return max(LEAST_RATE, min(constants.RATE_ONE, RATE_FACTOR * shares))
