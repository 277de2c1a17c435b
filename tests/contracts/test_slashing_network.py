"""Slashing with the real Staking, Configurator, Aggregator and token: who pays, who gets away, who earns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from web3.logs import DISCARD

from oracle.chain.deploy import WEEK, send
from oracle.chain.evidence import Proof, equivocation
from oracle.chain.localnet import TOKEN, LocalNet, price_spec, sample_words
from oracle.consensus.messages import Attestation, Observation, Proposal, Report, SignedObservation, SignedProposal
from oracle.consensus.network import NetworkConfig
from oracle.keys import HotKey
from tests.contracts.slashing_bench import ALL, OBSERVATION, PROPOSAL, REPORT

SMALL = 3
RATE = 3 * -(-10 * ALL // 75)
"""Row 3 has 10 of 75 effective tokens; shares are rounded up, and three times that is what it pays."""


def cut(amount: int, rate: int = RATE) -> int:
    """What a rate takes of an amount: to the unit, rounded up."""
    return -(-amount * rate // ALL)


def double_signed(
    net: LocalNet, kind: int, row: int, slot: int | None = None, config: NetworkConfig | None = None
) -> Proof:
    """What a node would report of a row that signed twice."""
    bound = net.active if config is None else config
    number = bound.slot_at(net.chain.now * 1000) if slot is None else slot
    start, key = bound.slot_start_ms(number) // 1000, net.keys[bound.rows[row].address]
    nothing = (None,) * len(bound.feeds)
    views = [Observation(bound.digest, number, start + late, nothing) for late in range(2)]
    seen = tuple(SignedObservation(view, row, key.sign(view.digest(bound))) for view in views)
    if kind == OBSERVATION:
        return equivocation(bound, *seen)
    if kind == PROPOSAL:
        made = [Proposal(bound.digest, number, (one,)) for one in seen]
        return equivocation(bound, *(SignedProposal(one, key.sign(one.digest(bound))) for one in made))
    reports = [Report(bound.digest, number, start, bytes([root]) * 32) for root in range(2)]
    return equivocation(bound, *(Attestation(one, bytes(32), row, key.sign(one.digest(bound))) for one in reports))


@dataclass
class Court:
    """The network and short names for what these tests do."""

    net: LocalNet
    ask: Any

    def do(self, name: str, *arguments: Any, sender: str, contract: Any = None) -> Any:
        staking = self.net.core.staking if contract is None else contract
        return send(self.net.chain.w3, staking.functions[name](*arguments), sender)

    def owner(self, row: int) -> str:
        return self.net.chain.accounts[row + 1]

    def see(self, name: str, *arguments: Any) -> Any:
        return self.ask(self.net.core.staking, name, *arguments)

    def stake(self, row: int) -> int:
        return self.see("validator", self.owner(row))[2]

    def report(self, proof: Proof, sender: str | None = None) -> Any:
        who = self.net.chain.accounts[60] if sender is None else sender
        return self.do("reportEquivocation", proof.argument, sender=who, contract=self.net.core.slashing)

    def settle(self, row: int) -> int:
        """Wait for the window's end and settle; what was slashed."""
        slashing, owner = self.net.core.slashing, self.owner(row)
        self.net.chain.move_to(max(self.net.chain.now, self.ask(slashing, "settlesAt", owner)))
        receipt = self.do("settle", owner, sender=self.net.chain.accounts[61], contract=slashing)
        return slashing.events.CaseSettled().process_receipt(receipt, errors=DISCARD)[0]["args"]["slashed"]

    def wait(self, seconds: int = 600) -> None:
        self.net.chain.move_to(self.net.chain.now + seconds)

    def roll(self, times: int = 1) -> None:
        for _ in range(times):
            self.wait()
            self.net.roll()

    def fund(self, account: str, amount: int) -> None:
        token = self.net.core.token
        self.do("transfer", account, amount, sender=self.net.core.owner, contract=token)
        self.do("approve", self.net.core.staking.address, amount, sender=account, contract=token)


@pytest.fixture
def court(net, ask):
    return Court(net, ask)


def test_report__double_signer__is_out_at_once_and_pays_after_the_window(court, net, ask, reverts):
    """From the proof to the burned tokens."""
    key, owner = net.active.rows[SMALL].address, court.owner(SMALL)
    supply = ask(net.core.token, "totalSupply")
    court.report(double_signed(net, REPORT, SMALL))
    assert ask(net.core.configurator, "revokedMask", 1) == 1 << SMALL
    assert court.see("keyRevokedAt", net.chain.w3.to_checksum_address(key)) == net.chain.now - 1
    everybody = range(4)
    draft = net.draft(sample_words(net.active.feeds, 7))
    with reverts("aggregator: revoked signer"):
        ask(net.core.aggregator, "transmit", net.blob(draft, signers=everybody))
    with reverts("staking: in jail"):
        ask(net.core.staking, "delegate", owner, 1, sender=court.owner(0))
    court.roll()
    assert len(net.active.rows) == 3
    assert court.stake(SMALL) == 10 * TOKEN
    slashed = court.settle(SMALL)
    assert slashed == cut(10 * TOKEN) == 10 * TOKEN - court.stake(SMALL)
    reward = slashed // 10
    assert (court.see("owed", net.chain.accounts[60]), court.see("burnable")) == (reward, slashed - reward)
    court.do("withdraw", sender=net.chain.accounts[60])
    court.do("burnSlashed", sender=net.chain.accounts[60])
    assert ask(net.core.token, "balanceOf", net.chain.accounts[60]) == reward
    assert ask(net.core.token, "totalSupply") == supply - (slashed - reward)


def test_settle__delegators__pay_the_same_rate(court, net):
    """To delegate to oneself is no discount."""
    friend, owner = net.chain.accounts[30], court.owner(SMALL)
    court.fund(friend, 5 * TOKEN)
    court.do("delegate", owner, 5 * TOKEN, sender=friend)
    court.report(double_signed(net, REPORT, SMALL))
    assert court.settle(SMALL) == cut(15 * TOKEN)
    assert court.see("stakeOf", friend, owner) == 5 * TOKEN - cut(5 * TOKEN)
    assert court.see("stakeOf", owner, owner) == 10 * TOKEN - cut(10 * TOKEN)


@pytest.mark.parametrize("before", [True, False])
def test_settle__stake_asked_back_inside_the_window__pays(court, net, before):
    """Whether it was asked back before the offence or after: it stood behind the row that signed."""
    owner = court.owner(SMALL)
    if before:
        court.do("unbond", owner, 5 * TOKEN, sender=owner)
    court.wait(60)
    proof = double_signed(net, REPORT, SMALL)
    if not before:
        court.do("unbond", owner, 5 * TOKEN, sender=owner)
    court.roll(2)
    court.report(proof)
    assert court.settle(SMALL) == 2 * cut(5 * TOKEN)
    (claim,) = court.see("claimsOf", owner)
    assert (claim[1], court.stake(SMALL)) == (5 * TOKEN - cut(5 * TOKEN), 5 * TOKEN - cut(5 * TOKEN))


def test_settle__all_stake_gone_from_the_bond__still_pays_on_its_way_out(ask, reverts):
    """A validator that has left the registry, its stake waiting in a closed exit: neither jail nor slash may fail."""
    net = LocalNet.start([20] * 6, [price_spec(0)])
    court, owner = Court(net, ask), net.chain.accounts[3]
    row = next(i for i, line in enumerate(net.active.rows) if line.address == net_key(net, owner))
    proof = double_signed(net, REPORT, row)
    court.do("unbond", owner, 2**256 - 1, sender=owner)
    court.roll(4)
    court.do("prune", owner, sender=net.chain.accounts[50])
    assert court.see("claimsOf", owner)[0][2] != 0
    court.report(proof)
    with reverts("staking: nothing to withdraw"):
        ask(net.core.staking, "withdraw", sender=owner)
    assert court.settle(2) == cut(20 * TOKEN, 3 * -(-ALL // 6))
    assert court.see("claimsOf", owner)[0][1] == 20 * TOKEN - cut(20 * TOKEN, 3 * -(-ALL // 6))
    with reverts("staking: in jail"):
        ask(net.core.staking, "register", owner, "x", TOKEN, bytes(64), sender=owner)


def test_settle__stake_that_left_before_the_offence__is_free(court, net, ask):
    """A delegator whose tokens no config counted any more when its validator signed twice."""
    friend, owner = net.chain.accounts[30], court.owner(SMALL)
    court.fund(friend, 5 * TOKEN)
    court.do("delegate", owner, 5 * TOKEN, sender=friend)
    court.roll(3)
    court.do("unbond", owner, 2**256 - 1, sender=friend)
    court.roll(4)
    (claim,) = court.see("claimsOf", friend)
    assert 0 < claim[2] <= net.active.count
    free_at = claim[3]
    net.chain.move_to(free_at - WEEK)
    court.roll()
    row = next(i for i, line in enumerate(net.active.rows) if line.address == net_key(net, owner))
    court.report(double_signed(net, REPORT, row))
    net.chain.move_to(free_at)
    assert ask(net.core.slashing, "caseOf", owner)[1] is True
    court.do("withdraw", sender=friend)
    assert ask(net.core.token, "balanceOf", friend) == 5 * TOKEN
    before = court.stake(SMALL)
    assert court.settle(SMALL) == before * ask(net.core.slashing, "caseOf", owner)[7] // ALL


def net_key(net, owner):
    return bytes.fromhex(net.core.staking.functions.validator(owner).call()[1][2:])


def test_settle__two_of_four__lose_everything_and_may_not_come_back(court, net, ask):
    """More than a third of the effective stake signed two reports of one slot: the cost of corruption and more."""
    cost = court.see("costOfCorruption")
    for row in (0, 1):
        court.report(double_signed(net, REPORT, row))
    lost = court.settle(0) + court.settle(1)
    assert lost == 70 * TOKEN > cost
    assert (court.stake(0), court.stake(1), court.stake(2)) == (0, 0, 20 * TOKEN)


@pytest.mark.parametrize(
    ("kind", "row", "slashed", "reward"),
    [
        (OBSERVATION, 0, 2 * TOKEN, TOKEN // 5), (OBSERVATION, 3, TOKEN // 2, TOKEN // 20),
        (REPORT, 0, 36 * TOKEN, TOKEN), (REPORT, 3, cut(10 * TOKEN), cut(10 * TOKEN) // 10),
    ],
)  # fmt: skip
def test_settle__offender_reports_itself__gets_a_tenth_back_and_never_more_than_the_minimum(
    court, net, kind, row, slashed, reward
):
    """At most a tenth and at most the minimum self-bond: to report oneself never pays."""
    owner = court.owner(row)
    court.report(double_signed(net, kind, row), sender=owner)
    assert court.settle(row) == slashed
    assert court.see("owed", owner) == reward == min(slashed // 10, court.see("minSelfBond"))
    assert reward < slashed


def test_report__proposal__jails_and_freezes_nothing(court, net, ask, reverts):
    owner = court.owner(SMALL)
    court.report(double_signed(net, PROPOSAL, SMALL))
    jailed = ask(net.core.slashing, "caseOf", owner)[5]
    found = court.see("validator", owner)
    assert (found[-3], found[-2], found[-1]) == (True, jailed + WEEK, 0)
    with reverts("slashing: no open case"):
        ask(net.core.slashing, "settle", owner)
    fresh = HotKey((8_888).to_bytes(32))
    digest = court.see("registrationDigest", owner, fresh.checksum_address)
    court.do("replaceKey", fresh.checksum_address, fresh.sign(digest), sender=owner)
    net.keys[fresh.address] = fresh
    net.chain.move_to(jailed + WEEK - 1)
    with reverts("staking: in jail"):
        ask(net.core.staking, "unjail", sender=owner)
    net.chain.move_to(jailed + WEEK)
    court.do("unjail", sender=owner)
    court.roll(3)
    assert fresh.address in {row.address for row in net.active.rows}
    assert court.stake(SMALL) == 10 * TOKEN


def test_unjail__after_a_report__only_settled_and_after_four_windows(court, net, ask, reverts):
    owner = court.owner(SMALL)
    court.report(double_signed(net, REPORT, SMALL))
    jailed = ask(net.core.slashing, "caseOf", owner)[5]
    fresh = HotKey((8_888).to_bytes(32))
    digest = court.see("registrationDigest", owner, fresh.checksum_address)
    court.do("replaceKey", fresh.checksum_address, fresh.sign(digest), sender=owner)
    with net.chain.rewound():
        net.chain.move_to(jailed + 4 * WEEK)
        with reverts("staking: case is open"):
            ask(net.core.staking, "unjail", sender=owner)
    court.settle(SMALL)
    net.chain.move_to(jailed + 4 * WEEK - 1)
    with reverts("staking: in jail"):
        ask(net.core.staking, "unjail", sender=owner)
    net.chain.move_to(jailed + 4 * WEEK)
    court.do("unjail", sender=owner)
    assert court.see("validator", owner)[-3] is False


def test_report__key_revoked_before_the_slot__convicts_nobody(court, net, ask, reverts):
    """The owner took the key back; whoever holds it now signs at nobody's cost, for later slots."""
    owner, key = court.owner(SMALL), net.active.rows[SMALL].address
    early = double_signed(net, REPORT, SMALL)
    court.do("revokeKey", sender=owner)
    court.wait(120)
    with reverts("slashing: key was revoked before"):
        ask(net.core.slashing, "reportEquivocation", double_signed(net, REPORT, SMALL).argument)
    assert ask(net.core.slashing, "offenceOf", early.argument)[:2] == (owner, net.chain.w3.to_checksum_address(key))


def test_report__offence_under_a_config_long_rolled_over__still_convicts(court, net, ask):
    """Evidence outlives configs: rows, key and slot grid are those of the slot."""
    old, proof = net.active, double_signed(net, REPORT, SMALL)
    court.roll(3)
    assert net.active.count == 4
    court.report(proof)
    case = ask(net.core.slashing, "caseOf", court.owner(SMALL))
    assert (case[2], case[3]) == (1, old.slot_start_ms(proof.slot) // 1000)
    assert court.see("validator", court.owner(SMALL))[-1] == 1


def test_report__by_a_stranger_to_staking__changes_nothing_there(court, net, reverts):
    for call in (("jail", court.owner(0), 2**40, 1), ("slash", court.owner(0), 1, ALL, court.owner(1))):
        with reverts("staking: caller is not slashing"):
            court.ask(net.core.staking, *call, sender=net.core.owner)


def test_report__table_of_64_rows__is_affordable(ask):
    """What anybody can afford to report; measured on the largest table."""
    net = LocalNet.start([10] * 64, [price_spec(0)])
    court = Court(net, ask)
    used = {kind: court.report(double_signed(net, kind, kind))["gasUsed"] for kind in (PROPOSAL, OBSERVATION, REPORT)}
    assert max(used.values()) < 550_000, used
    net.chain.move_to(net.chain.now + WEEK)
    receipt = court.do("settle", court.owner(REPORT), sender=court.owner(9), contract=net.core.slashing)
    assert receipt["gasUsed"] < 320_000
