"""Jail and slashing as Slashing commands them, the way back, and the votes of staked tokens through all of it."""

from __future__ import annotations

import pytest

from oracle.chain.localnet import TOKEN
from tests.contracts.staking_bench import ALL, EVIDENCE, ONE, WINDOW, Bench

TENTH = ONE // 10


@pytest.fixture(scope="module")
def first_bench() -> Bench:
    return Bench.start((40, 30, 20, 10, 10))


@pytest.fixture
def bench(first_bench):
    with first_bench.own_copy() as copy:
        yield copy


def balance(bench, account):
    return bench.net.core.token.functions.balanceOf(account).call()


def asked_back(bench, account):
    return [claim[1] for claim in bench.ask("claimsOf", account)]


# Jail


@pytest.mark.parametrize(("name", "rest"), [("jail", (1, 0)), ("slash", (1, ONE, "0x" + "11" * 20))])
def test_penalties__anyone_but_slashing__revert(bench, reverts, name, rest):
    for sender in (bench.account(0), bench.owners[0]):
        with reverts("staking: caller is not slashing"):
            bench.ask(name, bench.owners[0], *rest, sender=sender)


def test_jail__validator__keys_are_worthless_and_the_next_roll_leaves_it_out(bench, reverts):
    owner, friend = bench.owners[1], bench.fund(20, TOKEN)
    key = bench.info(owner)["key"]
    until, second = bench.chain.now + 500, bench.chain.now
    bench.judge("jail", owner, until, 0)
    found = bench.info(owner)
    assert (found["jailed"], found["jailedUntil"], found["frozen"], int(found["key"], 16)) == (True, until, 0, 0)
    assert bench.ask("keyRevokedAt", key) == second
    assert bench.net.core.configurator.functions.revokedMask(1).call() == 2
    with reverts("staking: in jail"):
        bench.ask("delegate", owner, TOKEN, sender=friend)
    assert owner not in bench.roll()
    bench.judge("jail", owner, until - 100, 0)
    assert bench.info(owner)["jailedUntil"] == until, "a second term never shortens the first"


def test_unjail__each_thing_missing__reverts_then_counts_from_the_second_roll(bench, reverts):
    owner = bench.owners[1]
    with reverts("staking: not in jail"):
        bench.ask("unjail", sender=owner)
    until = bench.chain.now + 5_000
    bench.judge("jail", owner, until, 1)
    bench.act(owner, "unbond", owner, 29 * TOKEN + 1)
    with reverts("staking: case is open"):
        bench.ask("unjail", sender=owner)
    with reverts("staking: case is open"):
        bench.ask("bond", 1, sender=owner)
    bench.judge("slash", owner, 1, 0, owner)
    bench.chain.move_to(until - 1)
    with reverts("staking: in jail"):
        bench.ask("unjail", sender=owner)
    bench.chain.move_to(until)
    with reverts("staking: bond below the minimum"):
        bench.ask("unjail", sender=owner)
    bench.fund(2, 1)
    bench.act(owner, "bond", 1)
    with reverts("staking: no key"):
        bench.ask("unjail", sender=owner)
    bench.replace_key(owner)
    for _ in range(2):
        assert owner not in bench.roll()
    bench.ripen()
    bench.act(owner, "unjail")
    assert owner not in bench.roll(), "let out in the block of the roll"
    assert owner in bench.roll()


def test_register__from_jail__reverts_until_the_case_and_the_term_are_over(bench, reverts):
    fifth = bench.register(6, TOKEN)
    bench.act(fifth, "unbond", fifth, ALL)
    bench.roll()
    until = bench.chain.now + 9_000
    bench.judge("jail", fifth, until, 2)
    bench.act(bench.account(50), "prune", fifth)
    bench.fund(6, TOKEN)
    key, signature = bench.proof(fifth)
    arguments = (key.checksum_address, "x", TOKEN, signature)
    with reverts("staking: case is open"):
        bench.ask("register", *arguments, sender=fifth)
    bench.judge("slash", fifth, 2, 0, fifth)
    with reverts("staking: in jail"):
        bench.ask("register", *arguments, sender=fifth)
    bench.chain.move_to(until)
    bench.act(fifth, "register", *arguments)
    assert (bench.info(fifth)["jailed"], bench.info(fifth)["stake"]) == (False, TOKEN)


# Slashing


def test_slash__owner_and_delegators__lose_at_one_rate(bench):
    """Delegating to oneself from another account is no discount."""
    owner, other = bench.owners[0], bench.fund(20, 60 * TOKEN)
    bench.act(other, "delegate", owner, 60 * TOKEN)
    bench.act(other, "unbond", owner, 20 * TOKEN)
    bench.judge("jail", owner, 0, 1)
    bench.judge("slash", owner, 1, TENTH, bench.account(9))
    assert bench.info(owner)["selfBond"] == 36 * TOKEN
    assert bench.ask("stakeOf", other, owner) == 36 * TOKEN
    assert asked_back(bench, other) == [18 * TOKEN]
    assert bench.ask("owed", bench.account(9)) == TOKEN == bench.sums()["totalOwed"]
    assert bench.sums()["burnable"] == 9 * TOKEN
    assert (bench.sums()["bonded"], bench.sums()["unbonding"]) == (142 * TOKEN, 18 * TOKEN)


def test_slash__small_case__reporter_gets_a_tenth(bench):
    bench.judge("slash", bench.owners[3], 1, ONE // 20, bench.account(9))
    assert bench.ask("owed", bench.account(9)) == TOKEN // 20
    assert bench.sums()["burnable"] == 9 * TOKEN // 20


def test_slash__stake_that_left_before_the_offence__is_spared_and_later_exits_pay(bench):
    owner = bench.owners[0]
    bench.act(owner, "unbond", owner, TOKEN)
    assert bench.roll() and bench.ask("claimsOf", owner)[0][2] == 2
    bench.act(owner, "unbond", owner, 2 * TOKEN)
    assert bench.roll() and bench.ask("claimsOf", owner)[1][2] == 3
    bench.act(owner, "unbond", owner, 4 * TOKEN)
    bench.judge("slash", owner, 2, ONE // 2, owner)
    assert asked_back(bench, owner) == [TOKEN, TOKEN, 2 * TOKEN]
    assert bench.info(owner)["stake"] == 33 * TOKEN // 2


def test_withdraw__case_is_open__what_stood_in_the_config_waits_and_the_rest_leaves(bench, reverts):
    owner = bench.owners[0]
    for _ in range(2):
        bench.act(owner, "unbond", owner, TOKEN)
        bench.roll()
    bench.judge("jail", owner, 0, 2)
    bench.chain.move_to(max(claim[3] for claim in bench.ask("claimsOf", owner)))
    assert bench.ask("withdraw", sender=owner) == TOKEN
    bench.act(owner, "withdraw")
    with reverts("staking: nothing to withdraw"):
        bench.ask("withdraw", sender=owner)
    bench.judge("jail", owner, 0, 3)
    assert bench.info(owner)["frozen"] == 2, "the earliest config of the two"
    bench.judge("slash", owner, 2, ONE // 2, owner)
    assert bench.ask("withdraw", sender=owner) == TOKEN // 2 + bench.ask("owed", owner)


def test_slash__offence_in_the_last_second_of_the_window__is_still_covered(bench):
    """The exit is free only after evidence window and vote; a case that opens just in time freezes it before."""
    owner = bench.owners[0]
    bench.act(owner, "unbond", owner, 30 * TOKEN)
    while bench.ask("claimsOf", owner)[0][2] == 0:
        bench.roll()
    closed, free = bench.ask("claimsOf", owner)[0][2:]
    assert free == bench.start_of(closed) + WINDOW
    bench.chain.move_to(bench.start_of(closed) - 1 + EVIDENCE)
    bench.judge("jail", owner, 0, closed - 1)
    bench.wait(10 * WINDOW)
    bench.judge("slash", owner, closed - 1, ONE, owner)
    assert asked_back(bench, owner) == [0]
    bench.act(owner, "withdraw")
    assert asked_back(bench, owner) == []


def test_slash__all__old_shares_are_of_nothing_and_new_ones_whole(bench, reverts):
    owner, friend = bench.owners[0], bench.fund(20, 20 * TOKEN)
    bench.act(friend, "delegate", owner, 10 * TOKEN)
    bench.act(friend, "unbond", owner, 5 * TOKEN)
    bench.judge("slash", owner, 1, ONE, bench.account(9))
    assert (bench.info(owner)["stake"], bench.ask("lockedBy", friend), asked_back(bench, friend)) == (0, 0, [0])
    bench.fund(1, 40 * TOKEN)
    bench.act(owner, "bond", 40 * TOKEN)
    bench.act(friend, "delegate", owner, 10 * TOKEN)
    assert (bench.info(owner)["selfBond"], bench.ask("stakedBy", friend)) == (40 * TOKEN, 10 * TOKEN)
    bench.act(friend, "unbond", owner, TOKEN)
    assert asked_back(bench, friend) == [0, TOKEN]
    bench.act(friend, "withdraw")
    assert asked_back(bench, friend) == [TOKEN]
    with reverts("staking: nothing to withdraw"):
        bench.ask("withdraw", sender=friend)


def test_slash__to_a_dust_of_what_it_was__takes_that_too(bench):
    """Else shares would outgrow their word after a few such slashes."""
    owner = bench.owners[0]
    bench.judge("slash", owner, 1, ONE - 1, owner)
    assert bench.info(owner)["stake"] == 0
    bench.judge("slash", bench.owners[1], 1, ONE - ONE // 2**31, owner)
    assert bench.info(bench.owners[1])["stake"] > 0


def test_slash__bad_rate__reverts(bench, reverts):
    with reverts("staking: bad rate"):
        found = bench.net.core.slashing.functions.slash(bench.owners[0], 1, ONE + 1, bench.owners[0])
        found.call({"from": bench.account(0)}, "pending")


def test_burn_slashed__anyone__lowers_the_supply(bench, reverts):
    with reverts("staking: nothing to burn"):
        bench.ask("burnSlashed")
    bench.judge("slash", bench.owners[0], 1, ONE, bench.account(9))
    supply = bench.net.core.token.functions.totalSupply().call()
    bench.act(bench.account(50), "burnSlashed")
    assert bench.net.core.token.functions.totalSupply().call() == supply - 39 * TOKEN
    assert bench.sums() == {
        "bonded": 70 * TOKEN, "unbonding": 0, "totalOwed": TOKEN, "burnable": 0, "held": 71 * TOKEN,
    }  # fmt: skip


# Votes


def test_votes__staker_who_delegates__keeps_them_and_the_past(bench, reverts):
    friend, owner = bench.fund(20, 9 * TOKEN), bench.owners[1]
    start = bench.chain.now
    bench.act(friend, "delegate", owner, 4 * TOKEN)
    bench.act(friend, "delegate", bench.owners[2], 5 * TOKEN)
    bench.wait(100)
    bench.act(friend, "unbond", owner, TOKEN)
    assert bench.ask("getVotes", friend) == 8 * TOKEN
    past = [bench.ask("getPastVotes", friend, start + step) for step in (-1, 0, 1, 50)]
    assert past == [0, 4 * TOKEN, 9 * TOKEN, 9 * TOKEN]
    assert bench.ask("getVotes", owner) == 30 * TOKEN, "the validator does not vote with delegated tokens"
    assert bench.ask("getPastTotalSupply", start + 1) == 119 * TOKEN
    for name, rest in (("getPastVotes", (friend,)), ("getPastTotalSupply", ())):
        for second in (bench.chain.now, 2**48):
            with reverts("staking: future lookup"):
                bench.ask(name, *rest, second)


def test_sync_votes__after_slash_and_reward__is_what_the_shares_are_worth(bench):
    friend, owner = bench.fund(20, 10 * TOKEN), bench.owners[0]
    bench.act(friend, "delegate", owner, 10 * TOKEN)
    bench.judge("slash", owner, 1, ONE // 2, bench.account(9))
    assert (bench.ask("getVotes", owner), bench.ask("getVotes", friend)) == (20 * TOKEN, 10 * TOKEN)
    bench.act(bench.account(50), "syncVotes", friend)
    assert bench.ask("getVotes", friend) == bench.ask("stakedBy", friend) == 5 * TOKEN
    bench.act(bench.fund(21, 5 * TOKEN), "payReward", owner, 5 * TOKEN)
    bench.act(friend, "syncVotes", friend)
    assert bench.ask("getVotes", friend) == 6 * TOKEN
    bench.wait(5)
    assert bench.ask("getPastTotalSupply", bench.chain.now - 1) == 96 * TOKEN


def test_clock__timestamp__is_told_as_the_standard_says(bench):
    assert bench.ask("CLOCK_MODE") == "mode=timestamp"
    assert bench.ask("clock") == bench.chain.now
