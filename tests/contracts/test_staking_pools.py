"""Stake that comes and goes: delegation, rewards, unbonding, and tokens that do not keep to the rules."""

from __future__ import annotations

from itertools import pairwise

import pytest
from eth_tester.exceptions import TransactionFailed
from web3.exceptions import ContractLogicError

from oracle.chain.deploy import TransactionReverted, send
from oracle.chain.localnet import TOKEN, LocalChain
from tests.contracts.staking_bench import ALL, NOBODY, WINDOW, Bench, odd_token

BIG = 2**96 - 1


def claims(bench, account):
    return [tuple(claim) for claim in bench.ask("claimsOf", account)]


def held(bench, account):
    return bench.net.core.token.functions.balanceOf(account).call()


# Coming


def test_delegate__validator_in_order__shares_in_its_stake(bench):
    friend, owner = bench.fund(20, 9 * TOKEN), bench.owners[1]
    bench.act(friend, "delegate", owner, 9 * TOKEN)
    assert (bench.info(owner)["stake"], bench.info(owner)["selfBond"]) == (39 * TOKEN, 30 * TOKEN)
    assert bench.ask("stakeOf", friend, owner) == bench.ask("stakedBy", friend) == 9 * TOKEN
    assert bench.sums() == {
        "bonded": 109 * TOKEN, "unbonding": 0, "totalOwed": 0, "burnable": 0, "held": 109 * TOKEN,
    }  # fmt: skip


def test_delegate__validator_without_the_minimum__reverts(bench, reverts):
    friend, owner = bench.fund(20, TOKEN), bench.owners[1]
    bench.act(owner, "unbond", owner, 29 * TOKEN + 1)
    with reverts("staking: bond below the minimum"):
        bench.ask("delegate", owner, TOKEN, sender=friend)
    bench.fund(2, 1)
    bench.act(owner, "bond", 1)
    bench.act(friend, "delegate", owner, TOKEN)


@pytest.mark.parametrize(
    ("amount", "reason"), [(0, "amount too small"), (BIG, "bond too large"), (ALL, "bond too large")]
)
def test_delegate__bad_amount__reverts(bench, reverts, amount, reason):
    friend = bench.fund(20, TOKEN)
    with reverts(f"staking: {reason}"):
        bench.ask("delegate", bench.owners[0], amount, sender=friend)


@pytest.mark.parametrize(
    ("amount", "reason"),
    [(0, "staking: nothing to bond"), (BIG, "staking: bond too large"), (ALL, "staking: bond too large")],
)
def test_bond__bad_amount__reverts(bench, reverts, amount, reason):
    with reverts(reason):
        bench.ask("bond", amount, sender=bench.owners[0])


def test_delegate__one_unit_and_all_there_can_be__are_counted_to_the_unit(bench):
    small, rich, owner = bench.fund(20, 1), bench.fund(21, 10**9 * TOKEN), bench.owners[0]
    bench.act(small, "delegate", owner, 1)
    rest = BIG - 40 * TOKEN - 1
    bench.fund(21, held(bench, bench.account(0)))
    bench.act(rich, "delegate", owner, min(rest, held(bench, rich)))
    assert bench.ask("stakeOf", small, owner) == 1
    assert bench.info(owner)["stake"] == bench.sums()["bonded"] - 60 * TOKEN == BIG - 60 * TOKEN
    bench.act(small, "unbond", owner, 1)
    assert claims(bench, small) == [(owner, 1, 0, 0)]


def test_delegate__seventeen_validators__reverts_at_the_last(reverts):
    bench = Bench.start([5] * 17)
    friend = bench.fund(30, 17)
    for owner in bench.owners[:16]:
        bench.act(friend, "delegate", owner, 1)
    with reverts("staking: too many validators"):
        bench.ask("delegate", bench.owners[16], 1, sender=friend)
    bench.act(friend, "unbond", bench.owners[3], ALL)
    bench.act(friend, "delegate", bench.owners[16], 1)
    assert bench.ask("stakedBy", friend) == 16


# Rewards


def test_pay_reward__with_commission__payee_is_owed_and_all_shares_grow(bench):
    owner, friend, payer, payee = (
        bench.owners[0],
        bench.fund(20, 10 * TOKEN),
        bench.fund(21, 10 * TOKEN),
        bench.account(22),
    )
    bench.act(owner, "setCommission", 2_000)
    bench.act(owner, "setPayee", payee)
    bench.act(friend, "delegate", owner, 10 * TOKEN)
    bench.act(payer, "payReward", owner, 5 * TOKEN)
    assert bench.ask("stakeOf", friend, owner) == 11 * TOKEN
    assert bench.ask("owed", payee) == 0
    for _ in range(2):
        bench.roll()
    bench.act(payer, "payReward", owner, 5 * TOKEN)
    assert bench.ask("owed", payee) == bench.sums()["totalOwed"] == TOKEN
    assert bench.ask("stakeOf", friend, owner) == 11 * TOKEN + 4 * TOKEN // 5
    assert bench.info(owner)["selfBond"] == 44 * TOKEN + 16 * TOKEN // 5
    before = held(bench, payee)
    bench.act(payee, "withdraw")
    assert (held(bench, payee) - before, bench.ask("owed", payee), bench.sums()["totalOwed"]) == (TOKEN, 0, 0)


@pytest.mark.parametrize(
    ("amount", "reason"),
    [(0, "staking: bad reward"), (BIG + 1, "staking: bad reward"), (BIG, "staking: bond too large")],
)
def test_pay_reward__bad_amount__reverts(bench, reverts, amount, reason):
    with reverts(reason):
        bench.ask("payReward", bench.owners[0], amount, sender=bench.fund(20, TOKEN))


def test_pay_reward__validator_that_all_have_left__reverts(bench, reverts):
    bench.act(bench.owners[3], "unbond", bench.owners[3], ALL)
    with reverts("staking: nobody to reward"):
        bench.ask("payReward", bench.owners[3], TOKEN, sender=bench.fund(20, TOKEN))


def test_share_price__owner_blows_it_up__no_delegator_loses_to_rounding(bench, reverts):
    """The known attack on share vaults: keep one share, donate, and let later deposits round down to less."""
    owner, friend = bench.owners[3], bench.fund(20, 10**6 * TOKEN)
    bench.fund(4, 1_000 * TOKEN)
    bench.act(owner, "unbond", owner, 10 * TOKEN - 1)
    bench.act(owner, "payReward", owner, 1_000 * TOKEN)
    price = 1_000 * TOKEN + 1
    assert bench.info(owner)["stake"] == bench.info(owner)["selfBond"] == price
    for amount in (1, price - 1, 3 * price // 2, 19 * price // 10):
        with reverts("staking: amount too small"):
            bench.ask("delegate", owner, amount, sender=friend)
    bench.act(friend, "delegate", owner, 3 * price + 3 * price // 10**9)
    assert 0 <= 3 * price + 3 * price // 10**9 - bench.ask("stakeOf", friend, owner) <= 3 * price // 10**9
    bench.act(friend, "unbond", owner, 1)
    assert claims(bench, friend)[0][1] + bench.ask("stakeOf", friend, owner) >= 3 * price
    bench.act(friend, "unbond", owner, ALL)
    assert claims(bench, friend)[0][1] >= 3 * price


# Going


@pytest.mark.parametrize("amount", [0, 1, ALL])
def test_unbond__no_stake_there__reverts(bench, reverts, amount):
    with reverts("staking: nothing to unbond"):
        bench.ask("unbond", bench.owners[0], amount, sender=bench.account(20))
    with reverts("staking: nothing to unbond"):
        bench.ask("unbond", bench.owners[0], 0, sender=bench.owners[0])


def test_unbond__more_than_there_is__reverts(bench, reverts):
    with reverts("staking: more than the stake"):
        bench.ask("unbond", bench.owners[0], 40 * TOKEN + 1, sender=bench.owners[0])


def test_unbond__counted_stake__is_free_when_nothing_can_be_proven_and_voted_any_more(bench, reverts):
    owner = bench.owners[3]
    bench.act(owner, "unbond", owner, 3 * TOKEN)
    assert (bench.info(owner)["stake"], bench.info(owner)["exiting"]) == (7 * TOKEN, 3 * TOKEN)
    assert (bench.sums()["bonded"], bench.sums()["unbonding"]) == (97 * TOKEN, 3 * TOKEN)
    assert (bench.ask("stakedBy", owner), bench.ask("lockedBy", owner)) == (7 * TOKEN, 10 * TOKEN)
    assert bench.roll()[owner] == 10 * TOKEN, "the epoch begun before counts it to its end"
    assert claims(bench, owner) == [(owner, 3 * TOKEN, 0, 0)]
    assert bench.roll()[owner] == 7 * TOKEN
    free = bench.start_of(3) + WINDOW
    assert bench.ask("startOf", 3) == bench.start_of(3)
    assert claims(bench, owner) == [(owner, 3 * TOKEN, 3, free)]
    bench.chain.move_to(free - 1)
    with reverts("staking: nothing to withdraw"):
        bench.ask("withdraw", sender=owner)
    bench.chain.move_to(free)
    before = held(bench, owner)
    assert bench.ask("withdraw", sender=owner) == 3 * TOKEN
    bench.act(owner, "withdraw")
    assert held(bench, owner) == before + 3 * TOKEN
    assert (claims(bench, owner), bench.sums()["unbonding"]) == ([], 0)


def test_unbond__limited_by_churn__leaves_only_when_the_row_needs_nothing_of_it():
    """All of one of the largest: its row falls step by step, and so long its exit stays open."""
    bench = Bench.start((30, 30, 20, 10, 10))
    owner = bench.owners[1]
    bench.act(owner, "unbond", owner, ALL)
    rows = [bench.roll()[owner]]
    while rows[-1]:
        assert claims(bench, owner)[0][2] == 0
        rows.append(bench.roll().get(owner, 0))
    assert len(rows) > 3 and all(high > low for high, low in pairwise(rows))
    assert claims(bench, owner)[0][2] == bench.ask("config")


def test_unbond__twice_in_an_epoch__is_one_claim(bench):
    friend, owner = bench.fund(20, 10 * TOKEN), bench.owners[0]
    bench.act(friend, "delegate", owner, 10 * TOKEN)
    for _ in range(2):
        bench.act(friend, "unbond", owner, TOKEN)
    assert claims(bench, friend) == [(owner, 2 * TOKEN, 0, 0)]
    bench.roll()
    bench.act(friend, "unbond", owner, TOKEN)
    assert [claim[1] for claim in claims(bench, friend)] == [2 * TOKEN, TOKEN]


def test_unbond__seventeen_open_claims__reverts_at_the_last(reverts):
    bench = Bench.start([5] * 17)
    friend = bench.fund(30, 17)
    for owner in bench.owners[:16]:
        bench.act(friend, "delegate", owner, 1)
        bench.act(friend, "unbond", owner, 1)
    bench.act(friend, "delegate", bench.owners[16], 1)
    with reverts("staking: too many claims"):
        bench.ask("unbond", bench.owners[16], 1, sender=friend)
    assert bench.ask("lockedBy", friend) == 17


def test_withdraw__nothing_asked_back__reverts(bench, reverts):
    with reverts("staking: nothing to withdraw"):
        bench.ask("withdraw", sender=bench.owners[0])


def test_exits__many_short_epochs__close_only_as_far_as_a_slash_can_look_back(bench_of_a_month):
    """With a window of a month, 32 exits close in as many rolls; the 33rd stays open until the first is free."""
    bench = bench_of_a_month
    owner = bench.owners[0]
    friends = [bench.fund(20 + index, 11) for index in range(3)]
    for friend in friends:
        bench.act(friend, "delegate", owner, 11)
    for friend in friends:
        for _ in range(11):
            bench.act(friend, "unbond", owner, 1)
            bench.roll()
    closed = [claim[2] for friend in friends for claim in claims(bench, friend)]
    assert closed == [*range(2, 34), 0]
    bench.chain.move_to(claims(bench, friends[0])[0][3])
    bench.roll()
    assert claims(bench, friends[2])[-1][2] == bench.ask("config") == 35


@pytest.fixture
def bench_of_a_month() -> Bench:
    return Bench.start((40, 30, 20, 10), rules=(TOKEN, 600, 2_592_000, 0))


# Tokens that do not keep to the rules


@pytest.fixture(scope="module")
def first_odd() -> Bench:
    chain = LocalChain()
    return Bench.start((40, 30, 20, 10), chain=chain, token=odd_token(chain))


@pytest.fixture
def odd(first_odd):
    with first_odd.own_copy() as copy:
        yield copy


def misbehave(bench, refuses=False, fee=0, target=NOBODY, payload=b""):
    token = bench.net.core.token
    send(bench.chain.w3, token.functions.misbehave(refuses, fee, target, payload), bench.account(0))


def arriving(bench, name):
    """Arguments of a function that takes ten tokens from account 2, the owner of the second validator."""
    if name == "register":
        key, signature = bench.proof(bench.account(20))
        return bench.fund(20, 10 * TOKEN), (key.checksum_address, "x", 10 * TOKEN, signature)
    bench.fund(2, 10 * TOKEN)
    return bench.owners[1], (10 * TOKEN,) if name == "bond" else (bench.owners[0], 10 * TOKEN)


ARRIVALS = ("register", "bond", "delegate", "payReward")


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrival__token_that_takes_a_fee__reverts(odd, reverts, name):
    sender, arguments = arriving(odd, name)
    misbehave(odd, fee=1)
    with reverts("staking: token took a fee"):
        odd.ask(name, *arguments, sender=sender)
    misbehave(odd)
    odd.act(sender, name, *arguments)
    assert odd.sums()["bonded"] == odd.sums()["held"] == 110 * TOKEN


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrival__token_that_answers_false__reverts(odd, reverts, name):
    sender, arguments = arriving(odd, name)
    misbehave(odd, refuses=True)
    with reverts("staking: transfer failed"):
        odd.ask(name, *arguments, sender=sender)


def test_withdraw__token_that_answers_false__reverts_and_nothing_is_lost(odd, reverts):
    owner = odd.owners[3]
    odd.act(owner, "unbond", owner, 3 * TOKEN)
    for _ in range(2):
        odd.roll()
    odd.wait(2 * WINDOW)
    misbehave(odd, refuses=True)
    with reverts("staking: transfer failed"):
        odd.ask("withdraw", sender=owner)
    misbehave(odd)
    assert odd.ask("withdraw", sender=owner) == 3 * TOKEN


LOCKED = ("bond", "delegate", "payReward", "withdraw", "unbond", "rollEpoch", "burnSlashed")


@pytest.mark.parametrize(
    ("outer", "inner"), [("withdraw", name) for name in LOCKED] + [(name, "withdraw") for name in ARRIVALS]
)
def test_reentrant_token__any_call_inside_any_other__reverts_at_the_lock(odd, outer, inner):
    """The lock comes before every check, so the revert has no reason. Without the token's call all goes through."""
    owner = odd.owners[3]
    odd.act(owner, "unbond", owner, 3 * TOKEN)
    for _ in range(2):
        odd.roll()
    odd.wait(2 * WINDOW)
    odd.ripen()
    sender, given = (owner, ()) if outer == "withdraw" else arriving(odd, outer)
    arguments = {"bond": [1], "delegate": [owner, 1], "payReward": [owner, 1], "unbond": [owner, 1]}.get(inner, [])
    payload = odd.staking.encode_abi(inner, args=arguments)
    misbehave(odd, target=odd.staking.address, payload=payload)
    with pytest.raises((TransactionFailed, ContractLogicError)) as refused:
        odd.ask(outer, *given, sender=sender)
    assert "staking: " not in str(refused.value), "not the lock but a check refused it"
    misbehave(odd)
    odd.ask(outer, *given, sender=sender)


def test_withdraw__reentrant_token__pays_once(odd):
    """The token itself has a claim, and asks for it again while it is being paid: all or nothing."""
    core, owner = odd.net.core, odd.owners[0]
    token = core.token.address
    odd.fund(0, 0)
    send(odd.chain.w3, core.token.functions.mint(token, 5 * TOKEN), odd.account(0))

    def act(name, *arguments, target=odd.staking):
        payload = target.encode_abi(name, args=list(arguments))
        send(odd.chain.w3, core.token.functions.act(target.address, payload), odd.account(0))

    act("approve", odd.staking.address, ALL, target=core.token)
    act("delegate", owner, 5 * TOKEN)
    act("unbond", owner, ALL)
    for _ in range(2):
        odd.roll()
    odd.wait(2 * WINDOW)
    misbehave(odd, target=odd.staking.address, payload=odd.staking.encode_abi("withdraw"))
    with pytest.raises(TransactionReverted):
        act("withdraw")
    misbehave(odd)
    act("withdraw")
    assert held(odd, token) == 5 * TOKEN
    assert odd.sums()["held"] == odd.sums()["bonded"] == 100 * TOKEN
