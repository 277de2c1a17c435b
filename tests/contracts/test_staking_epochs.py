"""What a roll counts: stake and keys of the roll before, a tenth of churn, and who may be in the table at all."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3.logs import DISCARD

from oracle.chain.deploy import send
from oracle.chain.localnet import TOKEN, LocalChain, LocalNet, price_spec
from oracle.consensus.network import effective_stakes
from oracle.keys import HotKey
from tests.contracts.mock_code import deploy_mock
from tests.contracts.staking_bench import ALL, EPOCH, Bench


def spread(rows):
    return sum(rows.values())


# When a roll may be


def test_roll__one_second_early__reverts(bench, reverts):
    bench.chain.move_to(bench.ask("lastRoll") + EPOCH - 1)
    with reverts("staking: epoch is not over"):
        bench.ask("rollEpoch")
    bench.chain.move_to(bench.ask("lastRoll") + EPOCH)
    receipt = bench.act(bench.account(50), "rollEpoch")
    told = bench.staking.events.EpochRolled().process_receipt(receipt, errors=DISCARD)[0]["args"]
    assert (told["epoch"], told["validators"], told["total"]) == (2, 4, 75 * TOKEN)
    assert told["firstSlot"] == bench.net.core.configurator.functions.configOf(2).call()[7]


def test_first_roll__all_that_stands__counts_at_once():
    bench = Bench.start((40, 30, 20, 10), roll=False)
    friend = bench.fund(20, 7 * TOKEN)
    bench.act(friend, "delegate", bench.owners[3], 7 * TOKEN)
    bench.act(bench.owners[2], "unbond", bench.owners[2], 5 * TOKEN)
    first, second, third, fourth = bench.owners
    assert bench.roll() == dict.fromkeys((first, second), 96 * TOKEN // 4) | {fourth: 17 * TOKEN, third: 15 * TOKEN}


def test_roll__many_validators__largest_64_by_stake_then_registration():
    stakes = [10 + index % 7 for index in range(66)]
    net = LocalNet.start(stakes, [price_spec(0)])
    keys = [HotKey((index + 1_000).to_bytes(32)).address for index in range(66)]
    ranked = sorted(range(66), key=lambda index: (-stakes[index], index))[:64]
    assert [row.address for row in net.active.rows] == [keys[index] for index in ranked]


# One full epoch later


def test_bond__in_the_block_of_a_roll_or_long_before__counts_from_the_second_roll(bench):
    friend, owner = bench.fund(20, 2 * TOKEN), bench.owners[3]
    bench.ripen()
    bench.act(friend, "delegate", owner, 2 * TOKEN)
    assert bench.roll()[owner] == 10 * TOKEN
    assert bench.roll()[owner] == 12 * TOKEN


def test_unbond__in_the_block_of_a_roll__counts_from_the_second_roll(bench):
    owner = bench.owners[3]
    bench.ripen()
    bench.act(owner, "unbond", owner, 2 * TOKEN)
    assert bench.roll()[owner] == 10 * TOKEN
    assert bench.roll()[owner] == 8 * TOKEN


def test_unbond_then_bond_again__in_one_epoch__changes_nothing(bench):
    owner, rows = bench.owners[2], bench.rows()
    bench.act(owner, "unbond", owner, 15 * TOKEN)
    bench.fund(3, 15 * TOKEN)
    bench.act(owner, "bond", 15 * TOKEN)
    assert [bench.roll(), bench.roll()] == [rows, rows]


def test_self_bond__below_the_minimum__is_out_from_the_second_roll_though_others_stay(bench):
    friend = bench.fund(20, 50 * TOKEN)
    fifth = bench.register(5, 2 * TOKEN)
    bench.act(friend, "delegate", fifth, TOKEN)
    for _ in range(2):
        bench.roll()
    assert bench.info(fifth)["effective"] == 3 * TOKEN
    bench.act(fifth, "unbond", fifth, TOKEN + 1)
    assert bench.roll()[fifth] == 3 * TOKEN
    assert fifth not in bench.roll()
    assert bench.info(fifth)["stake"] == 2 * TOKEN - 1


@pytest.mark.parametrize("name", ["bond", "delegate", "unbond", "payReward", "setCommission", "replaceKey", "register"])
def test_roll__anything_just_before_it__leaves_the_table_as_it_was(bench, name):
    """No leader can be drawn at will: what can be done in the block of the roll does not reach its table."""
    owner = bench.fund(1, 50 * TOKEN)
    bench.ripen()
    with bench.chain.rewound():
        expected = bench.roll()
    if name == "register":
        bench.register(5, 20 * TOKEN)
    elif name == "replaceKey":
        bench.replace_key(owner)
    else:
        other = bench.owners[2]
        arguments = {
            "bond": [20 * TOKEN], "delegate": [other, 20 * TOKEN], "unbond": [owner, ALL],
            "payReward": [other, 9 * TOKEN], "setCommission": [1],
        }[name]  # fmt: skip
        bench.act(owner, name, *arguments)
    assert bench.roll() == expected


# Churn


def power_moved(before, after):
    """Share of the voting power that other rows have afterwards."""
    old, new = spread(before), spread(after)
    return sum(max(Fraction(after.get(o, 0), new) - Fraction(before.get(o, 0), old), 0) for o in {*before, *after})


TENTH = Fraction(1, 10) + Fraction(1, 10**15)


def test_churn__newcomer_with_twenty_times_the_stake__gets_a_tenth_a_roll():
    bench = Bench.start([5] * 20)
    whale = bench.register(30, 2_000 * TOKEN)
    rows = [bench.rows(), bench.roll()]
    assert whale not in rows[1]
    while not rows[-1].get(whale) or rows[-1] != rows[-2]:
        rows.append(bench.roll())
        assert power_moved(rows[-2], rows[-1]) <= TENTH
        assert 10 * rows[-1][whale] <= 3 * spread(rows[-1]) + 10
    assert abs(Fraction(rows[2][whale], spread(rows[2])) - Fraction(1, 10)) < Fraction(1, 10**15)
    assert len(rows) > 4 and 100 * rows[-1][whale] // spread(rows[-1]) in (29, 30)


def test_churn__crowd_bonds_overnight__has_a_tenth_of_the_power_in_the_first_table():
    bench = Bench.start([5] * 5)
    crowd = [bench.register(30 + index, 5 * TOKEN) for index in range(15)]
    before = bench.roll()
    rows = bench.roll()
    assert power_moved(before, rows) <= TENTH
    assert Fraction(sum(rows[owner] for owner in crowd), spread(rows)) <= TENTH
    assert all(5 * TOKEN - 100 <= rows[owner] <= 5 * TOKEN for owner in bench.owners[:5]), "the others lose no stake"


def test_churn__half_the_stake_leaves_at_once__one_row_a_roll_and_the_others_keep_their_seat():
    bench = Bench.start([10] * 10)
    for owner in bench.owners[5:]:
        bench.act(owner, "unbond", owner, ALL)
    rows = [bench.rows(), bench.roll()]
    assert rows[1] == rows[0]
    while len(rows[-1]) > 5:
        rows.append(bench.roll())
        assert power_moved(rows[-2], rows[-1]) <= TENTH and len(rows) < 15
    assert [len(row) for row in rows[1:4]] == [10, 9, 8]
    assert rows[-1] == dict.fromkeys(bench.owners[:5], 10 * TOKEN)


def test_churn__tiny_fourth_row__holds_no_newcomer_back():
    """The cap makes three large rows small in units beside a tiny fourth; their power is what counts."""
    bench = Bench.start([1_000, 1_000, 1_000, 1])
    assert spread(bench.rows()) == 10 * TOKEN
    newcomer = bench.register(30, 1_000 * TOKEN)
    bench.roll()
    for _ in range(4):
        rows = bench.roll()
    assert rows[newcomer] == 1_000 * TOKEN and spread(rows) == 4_001 * TOKEN


def test_churn__row_without_key__leaves_at_once_and_is_no_churn_of_others(bench):
    bench.register(5, 12 * TOKEN)
    for _ in range(2):
        bench.roll()
    bench.act(bench.owners[0], "revokeKey")
    rows = bench.roll()
    assert set(rows) == set(bench.owners[1:])


def test_stake_cap__forged_in_the_table__nobody_has_more_than_three_tenths(bench):
    bench.fund(1, 10**6 * TOKEN)
    bench.act(bench.owners[0], "bond", 10**6 * TOKEN)
    for _ in range(4):
        rows = bench.roll()
        assert 10 * max(rows.values()) <= 3 * spread(rows) + 10


# Too few rows


def test_roll__too_few_rows__epoch_passes_and_the_config_stays():
    """Four are needed and one loses its key: without the pass, a newcomer could never come to count."""
    bench = Bench.start((10, 10, 10, 10), least=4)
    owner = bench.owners[0]
    rows = bench.rows()
    bench.act(owner, "revokeKey")
    bench.replace_key(owner)
    bench.ripen()
    assert bench.ask("rollEpoch") == 0
    receipt = bench.act(bench.account(0), "rollEpoch")
    told = bench.staking.events.EpochSkipped().process_receipt(receipt, errors=DISCARD)[0]["args"]
    assert dict(told) == {"epoch": 2, "validators": 3}
    assert (bench.ask("epoch"), bench.ask("config")) == (2, 1)
    assert bench.info(bench.owners[1])["effective"] == 10 * TOKEN
    again = bench.roll()
    assert (bench.ask("epoch"), bench.ask("config")) == (3, 2)
    assert set(again) == set(rows)


def test_first_roll__too_few_rows__reverts(reverts):
    bench = Bench.start((10, 10, 10), least=4, roll=False)
    with reverts("configurator: too few validators"):
        bench.ask("rollEpoch")


def test_roll__too_few_rows__holds_back_what_the_config_in_force_counts():
    bench = Bench.start((10, 10, 10, 10), least=4)
    owner = bench.owners[0]
    bench.act(owner, "unbond", owner, ALL)
    for _ in range(3):
        bench.roll()
    assert bench.ask("config") == 2
    assert [tuple(claim)[2] for claim in bench.ask("claimsOf", owner)] == [0]


# Seats


@pytest.fixture(scope="module")
def caps():
    chain = Bench.start((10,), roll=False).chain
    return deploy_mock(chain.w3, chain.accounts[0], "StakeCapMock")


def next_table(caps, candidates):
    return [tuple(row) for row in caps.functions.nextTable(candidates).call()]


def test_seats__newcomer_larger_than_a_row_of_a_full_table__waits_until_that_row_has_left(caps):
    full = [(10**18, 10**18)] * 63 + [(0, 10**18)]
    rows = dict(next_table(caps, [*full, (10**22, 0)]))
    assert len(rows) == 63 and 64 not in rows
    rows = dict(next_table(caps, [*[(10**18, 10**18)] * 63, (10**22, 0)]))
    assert abs(Fraction(rows[63], sum(rows.values())) - Fraction(1, 10)) < Fraction(1, 10**15)


def test_seats__rows_that_fell_behind_a_crowd__leave_a_tenth_at_a_time_the_smallest_first(caps):
    """64 newcomers, each larger than any row: seats become free as fast as the limit lets them, and no faster."""
    sitting = [(10**18 + place * 10**6, 10**18 + place * 10**6) for place in range(64)]
    rows = next_table(caps, sitting + [(5 * 10**18, 0)] * 64)
    assert {place for place, _ in rows} == set(range(6, 64)), "six of 64 and a part of the seventh"


STAKE = st.integers(10**9, 10**15) | st.integers(10**18, 10**27)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.lists(STAKE, min_size=4, max_size=12), wanted=st.lists(st.just(0) | STAKE, min_size=12, max_size=12),
    newcomers=st.lists(STAKE, min_size=4, max_size=8),
)  # fmt: skip
def test_next_table__any_change_of_four_rows_and_more__is_capped_backed_and_within_the_limit(
    caps, before, wanted, newcomers
):
    sitting = effective_stakes(sorted(before, reverse=True))
    stakes = wanted[: len(sitting)] + newcomers
    old = dict(enumerate(sitting))
    rows = dict(next_table(caps, list(zip(stakes, sitting + [0] * len(newcomers), strict=True))))
    total = sum(rows.values())
    assert all(rows[place] <= max(stakes[place], old.get(place, 0)) for place in rows)
    assert len(rows) < 4 or all(10 * stake <= 3 * total + 10 for stake in rows.values())
    assert power_moved(old, rows) <= Fraction(1, 10) + Fraction(1, 10**6)


def test_next_table__nobody_left_in_it__all_come_at_once(caps):
    assert next_table(caps, [(10, 0)] * 5) == [(place, 10) for place in range(5)]
    assert next_table(caps, []) == []


# Leaving the registry


def test_prune__validator_that_is_gone__makes_room_and_ties_stay_in_order(bench, reverts):
    fifth, sixth = bench.register(5, 10 * TOKEN), bench.register(6, 10 * TOKEN)
    for _ in range(3):
        bench.roll()
    first = bench.owners[0]
    with reverts("staking: still bonded"):
        bench.ask("prune", first)
    bench.act(first, "unbond", first, ALL)
    with reverts("staking: still counted"):
        bench.ask("prune", first)
    while bench.info(first)["effective"]:
        bench.roll()
    before = [owner for owner in bench.roll() if owner != first]
    bench.act(bench.account(50), "prune", first)
    assert set(bench.ask("owners")) == {*bench.owners[1:4], fifth, sixth}
    assert bench.info(first)["owner"] != first
    assert list(bench.roll()) == before
    assert [owner for owner in before if bench.info(owner)["stake"] == 10 * TOKEN] == [bench.owners[3], fifth, sixth]
    with reverts("staking: not registered"):
        bench.ask("prune", first)
    bench.register(1, 10 * TOKEN)
    assert bench.ask("owners")[-1] == first
    for _ in range(2):
        rows = bench.roll()
    tied = [owner for owner in rows if bench.info(owner)["stake"] == 10 * TOKEN]
    assert tied == [bench.owners[3], fifth, sixth, first]


def test_prune__last_of_the_list__is_gone_too(bench):
    fifth = bench.register(5, TOKEN)
    bench.act(fifth, "unbond", fifth, ALL)
    bench.roll()
    bench.act(bench.account(50), "prune", fifth)
    assert bench.ask("owners") == bench.owners[:4]


# What it would cost to lie


def test_cost_of_corruption__newest_config__is_a_third_of_its_total(bench):
    assert bench.ask("costOfCorruption") == 25 * TOKEN + 1
    for owner in bench.owners:
        bench.act(owner, "unbond", owner, ALL)
    assert bench.ask("costOfCorruption") == 0
    assert Bench.start((10,), roll=False).ask("costOfCorruption") == 0


@pytest.mark.soak
def test_roll__256_owners_that_all_come_and_go__fits_into_a_transaction():
    """The worst order for sorting, every exit closing, and every tenth validator new."""
    bench = Bench.start([5 + index for index in range(256)], chain=LocalChain(accounts=300))
    for owner in bench.owners:
        bench.act(owner, "unbond", owner, TOKEN)
    bench.roll()
    for owner in bench.owners:
        bench.act(owner, "unbond", owner, TOKEN)
    bench.ripen()
    receipt = send(bench.chain.w3, bench.staking.functions.rollEpoch(), bench.account(0))
    assert receipt["gasUsed"] < 16_000_000
