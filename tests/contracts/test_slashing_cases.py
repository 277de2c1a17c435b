"""What an offence costs: rates, cases, settlement. Slashing over a mock of Staking, Configurator and Aggregator."""

from __future__ import annotations

import pytest

from oracle.chain.localnet import LocalChain
from tests.contracts.slashing_bench import ALL, OBSERVATION, PROPOSAL, REPORT, WINDOW, Bench

FIVE = 5 * ALL // 100
BUCKET = WINDOW // 8
SMALL = [30, 30, 20, 19, 1]


@pytest.fixture(scope="module")
def chain():
    return LocalChain(accounts=80)


@pytest.fixture
def start(chain):
    """`start([40, 30, 20, 10])`: a network with these effective stakes, in the middle of its first slot."""
    taken = chain.snapshot()
    yield lambda stakes: Bench.start(chain, stakes)
    chain.revert(taken)


def began(bench, slot, count=1):
    return bench.configs[count - 1].slot_start_ms(slot) // 1000


def wait(bench, seconds):
    bench.chain.move_to(bench.chain.now + seconds)


def rates(bench, rows):
    """Settle the cases of rows as soon as that is possible; rate of each."""
    bench.chain.move_to(began(bench, 100) + WINDOW)
    return [bench.settle(row)["rate"] for row in rows]


# Rates


@pytest.mark.parametrize(
    ("stakes", "offenders", "rate"),
    [
        (SMALL, [4], FIVE),
        ([25, 25, 25, 25], [2], 75 * ALL // 100),
        ([25, 25, 25, 25], [0, 3], ALL),
        ([30, 30, 30, 10], [3], 30 * ALL // 100),
        ([30, 30, 30, 10], [0], 90 * ALL // 100),
        ([30, 10, 10, 10, 20, 20], [1, 2, 3], 90 * ALL // 100),
        ([7, 7, 7, 7, 7, 7, 7, 7], [0, 1, 2], ALL),
        ([1] * 64, [5], FIVE),
        ([1] * 64, list(range(10)), 30 * ALL // 64),
        ([1] * 64, list(range(22)), ALL),
        ([2**96 - 1] * 64, list(range(22)), ALL),
        ([1], [0], ALL),
    ],
)
def test_settle__reports__everyone_pays_three_times_what_all_signed_twice(start, ask, stakes, offenders, rate):
    """One small fault: 5 %. Three rows of 10 % pay what one row of 30 % does. More than a third: everything."""
    bench = start(stakes)
    for row in offenders:
        bench.report(bench.proof(REPORT, row))
    assert {ask(bench.slashing, "rateOf", bench.owner(row)) for row in offenders} == {rate}
    assert set(rates(bench, offenders)) == {rate}


def test_settle__third_of_the_stake_that_does_not_divide__loses_all(start):
    """Shares are rounded up: rounding never leaves an attacker a remainder."""
    stakes = [10**25 + 1, *[10**25] * 5]
    assert 3 * sum(stakes[:2]) > sum(stakes)
    assert 3 * sum(stake * ALL // sum(stakes) for stake in stakes[:2]) < ALL
    bench = start(stakes)
    bench.report(bench.proof(REPORT, 0))
    bench.report(bench.proof(REPORT, 1))
    assert rates(bench, [0, 1]) == [ALL, ALL]


@pytest.mark.parametrize("offenders", [1, 2, 4])
def test_settle__observations__five_percent_whatever_the_sum(start, ask, offenders):
    bench = start([25, 25, 25, 25])
    for row in range(offenders):
        bench.report(bench.proof(OBSERVATION, row))
    assert ask(bench.slashing, "equivocated", bench.chain.now) == 0
    assert rates(bench, range(offenders)) == [FIVE] * offenders


def test_settle__observations_and_proposals_of_others__do_not_raise_the_rate_of_a_report(start):
    bench = start(SMALL)
    bench.report(bench.proof(OBSERVATION, 0))
    bench.report(bench.proof(PROPOSAL, 1))
    bench.report(bench.proof(REPORT, 4))
    assert rates(bench, [0, 4]) == [FIVE, FIVE]


@pytest.mark.parametrize(
    ("apart", "counted"), [(0, True), (WINDOW, True), (WINDOW + BUCKET - 100, None), (WINDOW + 2 * BUCKET, False)]
)
@pytest.mark.parametrize("earlier", [True, False])
def test_rate__two_offenders_some_time_apart__count_within_one_window(start, ask, apart, counted, earlier):
    """To the next eighth of a window; further away each stands alone."""
    bench = start([25, 25, 25, 25])
    bench.report(bench.proof(REPORT, 0))
    wait(bench, apart)
    proof = bench.proof(REPORT, 1)
    bench.chain.move_to(max(bench.chain.now, began(bench, proof.slot)))
    bench.report(proof)
    distance = began(bench, proof.slot) - began(bench, 100)
    near = (began(bench, 100 if earlier else proof.slot) + (WINDOW if earlier else -WINDOW)) // BUCKET
    bucket = began(bench, proof.slot if earlier else 100) // BUCKET
    inside = bucket <= near if earlier else bucket >= near
    assert inside or distance > WINDOW
    if counted is not None:
        assert inside is counted
    rate = ask(bench.slashing, "rateOf", bench.owner(0 if earlier else 1))
    assert rate == (ALL if inside else 75 * ALL // 100)


def test_rate__offences_almost_a_window_apart__counts_what_lies_around_either(start, ask):
    """The widest sum there is: nearly three windows, from before the first offence to after the last."""
    bench = start([25, 25, 25, 25])
    first = bench.proof(REPORT, 0)
    wait(bench, WINDOW - 200)
    last = bench.proof(REPORT, 0)
    bench.report(first)
    bench.report(last)
    wait(bench, WINDOW - 100)
    bench.report(bench.proof(REPORT, 1))
    assert began(bench, last.slot) + WINDOW > bench.chain.now
    assert ask(bench.slashing, "rateOf", bench.owner(0)) == ALL


def test_equivocated__reports_of_three__is_their_sum_around_the_time(start, ask):
    bench = start([40, 30, 20, 10])
    for row in (1, 2, 3):
        bench.report(bench.proof(REPORT, row))
    at = bench.chain.now
    assert ask(bench.slashing, "equivocated", at) == 6 * ALL // 10
    assert ask(bench.slashing, "equivocated", at - WINDOW) == 6 * ALL // 10
    assert ask(bench.slashing, "equivocated", at + WINDOW) == 6 * ALL // 10
    assert ask(bench.slashing, "equivocated", at + WINDOW + 2 * BUCKET) == 0
    assert ask(bench.slashing, "equivocated", 0) == 0


# Settlement


@pytest.mark.parametrize("kind", [OBSERVATION, REPORT])
def test_settle__at_the_windows_end__and_not_before(start, ask, reverts, kind):
    bench = start([40, 30, 20, 10])
    wait(bench, 33)
    bench.report(bench.proof(kind, 3))
    ends = began(bench, 100) + WINDOW
    assert ask(bench.slashing, "settlesAt", bench.owner(3)) == ends
    bench.chain.move_to(ends - 1)
    with reverts("slashing: evidence window is open"):
        ask(bench.slashing, "settle", bench.owner(3))
    bench.chain.move_to(ends)
    rate = FIVE if kind == OBSERVATION else 3 * ALL // 10
    receipt = bench.send(bench.slashing.functions.settle(bench.owner(3)))
    told = {"owner": bench.owner(3), "config": 1, "rate": rate, "reporter": bench.chain.accounts[-1]}
    assert bench.events("Slashed", receipt, bench.mock) == [told]
    assert bench.events("CaseSettled", receipt) == [told | {"total": rate, "slashed": rate}]
    assert ask(bench.slashing, "caseOf", bench.owner(3))[1] is False
    assert (ask(bench.slashing, "rateOf", bench.owner(3)), ask(bench.slashing, "settlesAt", bench.owner(3))) == (0, 0)
    with reverts("slashing: no open case"):
        ask(bench.slashing, "settle", bench.owner(3))


def test_settle__nobody_or_a_proposal__has_nothing_to_settle(start, ask, reverts):
    bench = start([40, 30, 20, 10])
    bench.report(bench.proof(PROPOSAL, 3))
    wait(bench, 10 * WINDOW)
    for owner in (bench.owner(3), bench.owner(0)):
        with reverts("slashing: no open case"):
            ask(bench.slashing, "settle", owner)
        assert (ask(bench.slashing, "rateOf", owner), ask(bench.slashing, "settlesAt", owner)) == (0, 0)


# One case a jailing


ORDER = (PROPOSAL, OBSERVATION, REPORT)


@pytest.mark.parametrize("first", ORDER)
@pytest.mark.parametrize("second", ORDER)
@pytest.mark.parametrize("settled", [False, True])
def test_report__second_offence_of_a_jailing__only_a_graver_one_joins(start, ask, reverts, first, second, settled):
    bench = start([40, 30, 20, 10])
    wait(bench, 600)
    proof = bench.proof(second, 3, slot=109)
    bench.report(bench.proof(first, 3, slot=105), bench.chain.accounts[50])
    jailed = ask(bench.slashing, "caseOf", bench.owner(3))[5]
    if settled and first != PROPOSAL:
        bench.chain.move_to(began(bench, 105) + WINDOW)
        bench.settle(3)
    if second < first or (second == first and second != REPORT):
        open_now = first != PROPOSAL and not settled
        with reverts("slashing: case is open" if open_now else "slashing: nothing graver"):
            ask(bench.slashing, "reportEquivocation", proof.argument)
        return
    receipt = bench.report(proof)
    case = ask(bench.slashing, "caseOf", bench.owner(3))
    joins = first == second == REPORT
    reporter = bench.chain.accounts[50 if joins and not settled else -1]
    share, taken = (ALL // 10 if second == REPORT else 0), 0
    if settled:
        taken = {PROPOSAL: 0, OBSERVATION: FIVE, REPORT: 3 * ALL // 10}[first]
    times = (began(bench, 105 if joins else 109), began(bench, 109))
    assert tuple(case) == (second, second != PROPOSAL, 1, *times, jailed, share, taken, reporter)
    (changed,) = bench.events("Jailed", receipt, bench.mock)
    assert changed["until"] == jailed + (4 if second == REPORT else 1) * WINDOW
    assert ask(bench.slashing, "settlesAt", bench.owner(3)) == began(bench, 109) + WINDOW


def test_report__between_two_known_ones__changes_nothing(start, ask, reverts):
    bench = start([40, 30, 20, 10])
    wait(bench, 600)
    for slot in (103, 107):
        bench.report(bench.proof(REPORT, 3, slot=slot))
    with reverts("slashing: nothing graver"):
        ask(bench.slashing, "reportEquivocation", bench.proof(REPORT, 3, slot=105).argument)
    bench.report(bench.proof(REPORT, 3, slot=101))
    assert ask(bench.slashing, "caseOf", bench.owner(3))[3:5] == (began(bench, 101), began(bench, 107))
    assert ask(bench.slashing, "equivocated", bench.chain.now) == ALL // 10


def test_report__hundred_slots_signed_twice_by_accident__costs_as_much_as_one(start, ask):
    bench = start(SMALL)
    wait(bench, 1_200)
    for slot in (110, 100, 115, 120):
        bench.report(bench.proof(REPORT, 4, slot=slot))
    bench.chain.move_to(began(bench, 120) + WINDOW)
    assert bench.settle(4)["rate"] == FIVE
    assert ask(bench.slashing, "equivocated", began(bench, 110)) == ALL // 100


def test_report__larger_share_under_another_config__counts_once_with_the_larger(start, ask):
    bench = start([40, 30, 20, 10])
    wait(bench, 300)
    bench.add([45, 30, 15, 10], first_key=0)
    wait(bench, 300)
    bench.report(bench.proof(REPORT, 0))
    assert ask(bench.slashing, "equivocated", bench.chain.now) == 45 * ALL // 100
    bench.report(bench.proof(REPORT, 0, slot=102, config=bench.configs[0]))
    case = ask(bench.slashing, "caseOf", bench.owner(0))
    assert (case[2], case[6]) == (1, 45 * ALL // 100)
    bench.report(bench.proof(REPORT, 2))
    bench.report(bench.proof(REPORT, 2, slot=103, config=bench.configs[0]))
    assert ask(bench.slashing, "caseOf", bench.owner(2))[6] == 20 * ALL // 100
    assert ask(bench.slashing, "equivocated", bench.chain.now) == 65 * ALL // 100


def test_report__between_two_known_ones_with_a_larger_share__raises_the_rate(start, ask):
    bench = start([40, 30, 20, 10])
    for stakes in ([40, 30, 10, 20], [40, 30, 20, 10]):
        wait(bench, 300)
        bench.add(stakes, first_key=0)
    wait(bench, 300)
    for count in (1, 3):
        config = bench.configs[count - 1]
        bench.report(bench.proof(REPORT, 3, config.first_slot + 1, config))
    assert ask(bench.slashing, "rateOf", bench.owner(3)) == 3 * ALL // 10
    bench.report(bench.proof(REPORT, 3, bench.configs[1].first_slot + 1, bench.configs[1]))
    assert ask(bench.slashing, "rateOf", bench.owner(3)) == 6 * ALL // 10
    assert ask(bench.slashing, "equivocated", bench.chain.now) == 2 * ALL // 10


@pytest.mark.parametrize("first", [OBSERVATION, REPORT])
def test_report__graver_or_later_offence_under_another_config__keeps_the_earlier_config_frozen(start, ask, first):
    bench = start([40, 30, 20, 10])
    wait(bench, 300)
    bench.add([40, 30, 20, 10], first_key=0)
    wait(bench, 300)
    bench.report(bench.proof(first, 3, slot=102, config=bench.configs[0]))
    receipt = bench.report(bench.proof(REPORT, 3))
    assert bench.events("Jailed", receipt, bench.mock)[0]["config"] == 1
    assert bench.events("CaseChanged", receipt)[0]["config"] == 1
    bench.chain.move_to(ask(bench.slashing, "settlesAt", bench.owner(3)))
    assert bench.settle(3)["config"] == 1


def test_report__after_a_settlement__costs_only_the_difference_for_its_own_config(start, ask):
    """Showing an old small fault first buys nothing: the attack of the same jailing still costs everything."""
    bench = start([40, 30, 20, 10])
    wait(bench, 300)
    bench.add([40, 30, 20, 10], first_key=0)
    wait(bench, 300)
    bench.report(bench.proof(REPORT, 3, slot=101, config=bench.configs[0]), bench.owner(3))
    attack = bench.proof(REPORT, 3)
    other = bench.proof(REPORT, 2)
    bench.chain.move_to(began(bench, 101) + WINDOW)
    assert bench.settle(3)["rate"] == 3 * ALL // 10
    bench.report(other)
    bench.report(attack)
    due = -(-6 * ALL // 7)
    assert ask(bench.slashing, "rateOf", bench.owner(3)) == due
    bench.chain.move_to(began(bench, attack.slot, 2) + WINDOW)
    settled = bench.settle(3)
    assert (settled["rate"], settled["total"], settled["config"]) == (due, 9 * ALL // 10, 2)
    assert settled["reporter"] == bench.chain.accounts[-1]
    assert bench.settle(2)["rate"] == 9 * ALL // 10


def test_report__nothing_more_to_take__settles_at_zero(start, ask):
    bench = start([25, 25, 25, 25])
    wait(bench, 600)
    later = bench.proof(REPORT, 1, slot=108)
    bench.report(bench.proof(REPORT, 0, slot=101))
    bench.report(bench.proof(REPORT, 1, slot=101))
    bench.chain.move_to(began(bench, 101) + WINDOW)
    assert (bench.settle(1)["rate"], bench.settle(0)["rate"]) == (ALL, ALL)
    bench.report(later)
    bench.chain.move_to(began(bench, 108) + WINDOW)
    settled = bench.settle(1)
    assert (settled["rate"], settled["total"]) == (0, ALL)


def test_report__slot_that_starts_in_the_second_of_the_jailing__still_joins(start, ask):
    """Its report can be in the very block of the jailing, before it."""
    bench = start([40, 30, 20, 10])
    proof = bench.proof(REPORT, 3)
    bench.chain.move_to(began(bench, 101))
    bench.report(proof)
    bench.report(bench.proof(REPORT, 3, slot=101))
    assert ask(bench.slashing, "caseOf", bench.owner(3))[3:6] == (began(bench, 100), *[began(bench, 101)] * 2)


def test_report__slot_after_the_jailing__reverts_under_the_revoked_key(start, ask, reverts):
    bench = start([40, 30, 20, 10])
    bench.report(bench.proof(REPORT, 3))
    wait(bench, 120)
    with reverts("slashing: key was revoked before"):
        ask(bench.slashing, "reportEquivocation", bench.proof(REPORT, 3).argument)


def test_report__slot_after_the_jailing_under_a_key_that_staking_left__reverts(start, ask, reverts):
    bench = start([40, 30, 20, 10])
    bench.report(bench.proof(REPORT, 3))
    key = bench.chain.w3.to_checksum_address(bench.configs[0].rows[3].address)
    bench.send(bench.mock.functions.setRevoked(key, 0))
    wait(bench, 120)
    with reverts("slashing: case is open"):
        ask(bench.slashing, "reportEquivocation", bench.proof(REPORT, 3).argument)


def test_report__again_after_the_jail__is_a_case_of_its_own(start, ask):
    bench = start([40, 30, 20, 10])
    bench.report(bench.proof(REPORT, 3))
    jailed = ask(bench.slashing, "caseOf", bench.owner(3))[5]
    bench.chain.move_to(began(bench, 100) + WINDOW)
    bench.settle(3)
    bench.chain.move_to(jailed + 4 * WINDOW)
    bench.add([40, 30, 20, 10], first_key=200)
    wait(bench, 120)
    proof = bench.proof(REPORT, 3)
    bench.report(proof)
    case = ask(bench.slashing, "caseOf", bench.owner(3))
    assert (case[0], case[1], case[2], case[7]) == (REPORT, True, 2, 0)
    at = began(bench, proof.slot, 2)
    assert ask(bench.slashing, "rateOf", bench.owner(3)) == 3 * ALL // 10
    assert ask(bench.slashing, "equivocated", at) == ALL // 10
