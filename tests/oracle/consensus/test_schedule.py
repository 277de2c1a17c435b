from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.consensus.events import FeedResult, Head
from oracle.consensus.network import FeedKind, ValidatorRow, has_quorum
from oracle.consensus.schedule import (
    fewest_signers,
    leader,
    needs_transmit,
    order,
    pages_to_transmit,
    proposal_deadline_ms,
    transmit_delay_ms,
)
from oracle.consensus.simulate_world import small_config, small_feed
from oracle.consensus.words import FLAG_FINAL, FLAG_INVALID
from tests.strategies.consensus import CONFIG, stake_lists

BIG = small_config([10] * 64)


@given(stake_lists, st.integers(0, 2**32 - 1))
def test_order__any_table__is_a_permutation_led_by_the_leader(stakes, slot):
    rows = tuple(ValidatorRow(bytes([n]) * 20, stake) for n, stake in enumerate(stakes))
    config = replace(CONFIG, rows=rows)
    drawn = order(config, slot)
    assert sorted(drawn) == list(range(len(rows)))
    assert drawn[0] == leader(config, slot)


def test_leader__two_thousand_slots__is_drawn_by_stake():
    led = Counter(leader(CONFIG, slot) for slot in range(2_000))
    for row, entry in enumerate(CONFIG.rows):
        share = entry.stake / CONFIG.total_stake
        assert abs(led[row] - 2_000 * share) < 4 * (2_000 * share * (1 - share)) ** 0.5


def test_order__other_slot_randomness_or_config__differs():
    orders = {tuple(order(BIG, slot)) for slot in range(20)}
    orders.add(tuple(order(replace(BIG, randomness=b"\x01" * 32), 0)))
    orders.add(tuple(order(replace(BIG, count=2), 0)))
    assert len(orders) == 22


def test_order__rows_without_stake__come_last():
    rows = tuple(ValidatorRow(bytes([n]) * 20, stake) for n, stake in enumerate((0, 5, 0, 5)))
    for slot in range(9):
        assert order(replace(CONFIG, rows=rows), slot)[2:] == [0, 2]


def test_transmit_delay__sixty_four_rows__leader_first_then_doubling_stages():
    delays = [transmit_delay_ms(BIG, 7, row) for row in order(BIG, 7)]
    assert delays == sorted(delays) and delays[0] == BIG.stage_ms // 4
    assert Counter((delay - BIG.stage_ms // 4) // BIG.stage_ms for delay in delays) == {
        0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 32,
    }  # fmt: skip


def test_proposal_deadline__of_a_slot__is_sixty_percent():
    assert proposal_deadline_ms(CONFIG, 50) - CONFIG.slot_start_ms(50) == 12_000


@given(st.sets(st.integers(0, 3)))
def test_fewest_signers__any_rows__is_the_smallest_quorum(rows):
    chosen, total = fewest_signers(CONFIG, rows), CONFIG.total_stake

    def stake(some):
        return sum(CONFIG.rows[row].stake for row in some)

    if chosen is None:
        assert not has_quorum(stake(rows), total)
        return
    assert has_quorum(stake(chosen), total) and set(chosen) <= rows and chosen == sorted(chosen)
    largest = sorted(rows, key=lambda row: -CONFIG.rows[row].stake)
    assert not has_quorum(stake(largest[: len(chosen) - 1]), total)


PRICE = replace(small_feed(0, FeedKind.PRICE, 20), heartbeat=100, deviation=1_000)
FORECAST = replace(small_feed(0, FeedKind.FORECAST, 20), heartbeat=100, deviation=50)
EVENT = replace(small_feed(0, FeedKind.EVENT, 20), heartbeat=100, deviation=10_000)
HEAD = Head(0, 50, False, 1_000_000)


@pytest.mark.parametrize(
    ("spec", "head", "value", "flags", "components", "needed"),
    [
        (PRICE, None, 1, 0, (), True),
        (PRICE, HEAD, 1_000_999, 0, (), False),
        (PRICE, HEAD, 1_001_000, 0, (), True),
        (PRICE, HEAD, 999_000, 0, (), True),
        (PRICE, replace(HEAD, value=0), 1, 0, (), True),
        (PRICE, replace(HEAD, slot=51), 5_000_000, 0, (), False),
        (PRICE, replace(HEAD, slot=47), 1_000_000, 0, (), False),
        (PRICE, replace(HEAD, slot=46), 1_000_000, 0, (), True),
        (PRICE, HEAD, 1_000_000, FLAG_INVALID, (), True),
        (PRICE, replace(HEAD, invalid=True), 5_000_000, FLAG_INVALID, (), False),
        (PRICE, replace(HEAD, invalid=True), 1_000_000, 0, (), True),
        (FORECAST, replace(HEAD, value=0), 49, 0, (0,) * 9, False),
        (FORECAST, replace(HEAD, value=0), -50, 0, (0,) * 9, True),
        (FORECAST, replace(HEAD, value=0, components=(0,) * 9), 0, 0, (-50, *(0,) * 8), True),
        (FORECAST, replace(HEAD, value=0, components=(0,) * 9), 0, 0, (-49, *(0,) * 8), False),
        (EVENT, replace(HEAD, value=0), 1, 0, (4_999, 5_001), True),
        (EVENT, replace(HEAD, value=0, components=(6_000, 4_000)), 0, 0, (6_099, 3_901), False),
        (EVENT, replace(HEAD, value=0, components=(6_000, 4_000)), 0, 0, (6_100, 3_900), True),
        (EVENT, replace(HEAD, value=0), 0, FLAG_FINAL, (6_000, 4_000), True),
        (EVENT, replace(HEAD, value=0, final=True), 0, FLAG_FINAL, (6_000, 4_000), False),
    ],
)
def test_needs_transmit__slot_51__by_first_round_heartbeat_invalid_final_or_deviation(
    spec, head, value, flags, components, needed
):
    assert needs_transmit(spec, head, FeedResult(0, value, 0, 10_000, flags, components), 51, 20) is needed


def test_needs_transmit__zero_deviation_and_no_move__is_quiet():
    assert not needs_transmit(replace(PRICE, deviation=0), HEAD, FeedResult(0, HEAD.value, 0, 0, 0), 51, 20)


def test_pages__one_feed_of_two_pages_moved__chooses_its_page_only():
    config = replace(CONFIG, feeds=tuple(replace(feed, heartbeat=1_000, deviation=1_000) for feed in CONFIG.feeds))
    results = [FeedResult(f.number, 10_000, 0, 10_000, 0, (0,) * f.width) for f in config.feeds]
    heads = {f.number: Head(f.number, 50, False, 10_000) for f in config.feeds}
    assert pages_to_transmit(config, 51, results, heads) == 0
    heads[4] = replace(heads[4], value=0)
    assert pages_to_transmit(config, 51, results, heads) == 0b010
    assert pages_to_transmit(config, 51, results, heads, requested={8}) == 0b110
    assert pages_to_transmit(config, 50, results, heads, requested={8}) == 0
    assert pages_to_transmit(config, 51, results, {}) == 0b111
