"""Whether a feed can be relied on now: staleness, INVALID, pauses, the sequencer, retirement. No gate moves a value."""

from __future__ import annotations

from dataclasses import astuple, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3.logs import DISCARD

from contracts import constant_int
from oracle.chain.deploy import deploy_core, list_feeds, send
from oracle.chain.localnet import MINUTE, TOKEN, LocalNet, price_spec, sample_words
from oracle.consensus.words import unpack_word
from tests.contracts.mock_code import deploy_mock

STALE, INVALID, PAUSED, SEQUENCER, RETIRED, EMPTY = (
    constant_int(f"STATUS_{name}") for name in ("STALE", "INVALID", "PAUSED", "SEQUENCER", "RETIRED", "EMPTY")
)
DAY, WEEK, NOTICE = constant_int("PAUSE_SECONDS"), constant_int("PAUSE_INTERVAL"), constant_int("RETIREMENT_NOTICE")
LIMIT = 3600 + MINUTE.max_report_age
"""Heartbeat of the feeds here, and how late a heartbeat's own report may land."""
GUARDIAN = 5


@pytest.fixture
def fed(net):
    """A round of every feed, and a guardian."""
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 100))))
    send(net.chain.w3, net.core.aggregator.functions.setGuardian(net.chain.accounts[GUARDIAN]), net.core.owner)
    return net


def command(net, name, *arguments, sender=None):
    who = net.core.owner if sender is None else net.chain.accounts[sender]
    return send(net.chain.w3, getattr(net.core.aggregator.functions, name)(*arguments), who)


def status(net, ask, number=0):
    return ask(net.core.aggregator, "status", number)


def test_status__fresh_round__is_good(fed, ask):
    for spec in fed.active.feeds:
        assert status(fed, ask, spec.number) == 0
        assert ask(fed.core.aggregator, "staleAfter", spec.number) == LIMIT
    checked = ask(fed.core.aggregator, "latestChecked", 0)
    assert checked == [*ask(fed.core.aggregator, "latest", 0), 0]


def test_status__no_round_or_unknown_feed__is_stale_and_empty(net, ask):
    for number in (0, 77, 65_535, 65_536, 2**255):
        assert status(net, ask, number) == STALE | EMPTY
        assert ask(net.core.aggregator, "latestChecked", number) == [0, 0, STALE | EMPTY]


def test_status__around_the_limit__stale_one_second_after(fed, ask):
    observed = unpack_word(ask(fed.core.aggregator, "latest", 0)[1])
    at = observed.updated_at - observed.delay + LIMIT
    for second, expected in ((at, 0), (at + 1, STALE)):
        fed.chain.move_to(second)
        assert status(fed, ask) == expected


def test_status__invalid_report__says_so_until_a_valid_one(fed, ask):
    fed.chain.move_to(fed.chain.now + 60)
    fed.transmit(fed.blob(fed.draft(sample_words(fed.active.feeds, 7, constant_int("FLAG_INVALID")))))
    assert status(fed, ask) == INVALID
    fed.chain.move_to(fed.chain.now + 60)
    fed.transmit(fed.blob(fed.draft(sample_words(fed.active.feeds, 8))))
    assert status(fed, ask) == 0


def test_stale_after__heartbeat_changed__from_the_roll_on(fed, ask):
    list_feeds(fed.chain.w3, fed.core, [replace(price_spec(0), heartbeat=77)])
    assert ask(fed.core.aggregator, "staleAfter", 0) == LIMIT
    fed.chain.move_to(fed.chain.now + 600)
    fed.roll()
    assert ask(fed.core.aggregator, "staleAfter", 0) == 77 + MINUTE.max_report_age
    assert ask(fed.core.aggregator, "staleAfter", 1) == LIMIT


# Pauses


@pytest.mark.parametrize(("name", "number"), [("pause", 0), ("pauseAll", None)])
def test_pause__by_the_guardian__ends_by_itself_and_waits_a_week(fed, ask, reverts, name, number):
    arguments = () if number is None else (number,)
    start, guardian = fed.chain.now, fed.chain.accounts[GUARDIAN]
    command(fed, name, *arguments, sender=GUARDIAN)
    other = PAUSED if number is None else 0
    assert (status(fed, ask), status(fed, ask, 1)) == (PAUSED, other)
    until = ask(fed.core.aggregator, "pausedAllUntil" if number is None else "pausedUntil", *arguments)
    assert until == start + DAY
    fed.chain.move_to(until - 1)
    assert status(fed, ask) & PAUSED
    fed.chain.move_to(until)
    assert not status(fed, ask) & PAUSED
    fed.chain.move_to(start + WEEK - 1)
    with reverts("aggregator: paused less than a week ago"):
        ask(fed.core.aggregator, name, *arguments, sender=guardian)
    fed.chain.move_to(start + WEEK)
    command(fed, name, *arguments, sender=GUARDIAN)
    assert status(fed, ask) & PAUSED


def test_pause__of_one_feed_and_of_all__are_counted_apart(fed, ask):
    command(fed, "pause", 0, sender=GUARDIAN)
    command(fed, "pause", 1, sender=GUARDIAN)
    command(fed, "pauseAll", sender=GUARDIAN)
    command(fed, "unpauseAll", sender=GUARDIAN)
    assert [status(fed, ask, number) for number in (0, 1, 2)] == [PAUSED, PAUSED, 0]
    command(fed, "unpause", 0, sender=GUARDIAN)
    assert [status(fed, ask, number) for number in (0, 1, 2)] == [0, PAUSED, 0]


def test_pause__rounds_go_on__and_are_there_when_it_ends(fed, ask):
    command(fed, "pauseAll", sender=GUARDIAN)
    fed.chain.move_to(fed.chain.now + 60)
    fed.transmit(fed.blob(fed.draft(sample_words(fed.active.feeds, 200))))
    assert ask(fed.core.aggregator, "latest", 0)[0] == 2
    assert unpack_word(ask(fed.core.aggregator, "latest", 0)[1]).value == 200


def test_pause__not_the_guardian_or_not_so__reverts(fed, ask, reverts):
    agg, guardian = fed.core.aggregator, fed.chain.accounts[GUARDIAN]
    for name, arguments in (("pause", (0,)), ("pauseAll", ()), ("unpause", (0,)), ("unpauseAll", ())):
        for sender in (fed.core.owner, fed.chain.accounts[9]):
            with reverts("aggregator: caller is not the guardian"):
                ask(agg, name, *arguments, sender=sender)
    for name, arguments in (("unpause", (0,)), ("unpauseAll", ())):
        with reverts("aggregator: not paused"):
            ask(agg, name, *arguments, sender=guardian)
    for name in ("pause", "unpause", "requestRound"):
        for number in (77, 65_536):
            with reverts("aggregator: unknown feed"):
                ask(agg, name, number, sender=guardian)
    command(fed, "setGuardian", "0x" + "00" * 20)
    assert ask(agg, "guardian") == "0x" + "00" * 20
    with reverts("aggregator: caller is not the guardian"):
        ask(agg, "pauseAll", sender=guardian)


def test_owner_functions__stranger__reverts(fed, ask, reverts):
    stranger = fed.chain.accounts[9]
    for name, arguments in (
        ("setGuardian", (stranger,)), ("setSequencer", (stranger, 1)), ("setRequestFee", (1,)),
        ("collectFees", (stranger,)), ("transfer_ownership", (stranger,)),
    ):  # fmt: skip
        with reverts("ownable: caller is not the owner"):
            ask(fed.core.aggregator, name, *arguments, sender=stranger)


def test_pause__events__tell_number_and_end(fed):
    events = fed.core.aggregator.events
    receipt = command(fed, "pause", 1, sender=GUARDIAN)
    (log,) = events.Paused().process_receipt(receipt)
    assert dict(log["args"]) == {"number": 1, "until": fed.chain.now - 1 + DAY}
    (log,) = events.Unpaused().process_receipt(command(fed, "unpause", 1, sender=GUARDIAN))
    assert dict(log["args"]) == {"number": 1}
    (log,) = events.PausedAll().process_receipt(command(fed, "pauseAll", sender=GUARDIAN))
    assert log["args"]["until"] == fed.chain.now - 1 + DAY
    assert events.UnpausedAll().process_receipt(command(fed, "unpauseAll", sender=GUARDIAN))


# The sequencer of an L2


@pytest.mark.parametrize(
    ("answer", "ago", "grace", "good"),
    [
        (0, 3601, 3600, True), (0, 3600, 3600, False), (0, 0, 0, False), (0, 1, 0, True), (1, 10**6, 60, False),
        (-1, 10**6, 60, False), (2, 10**6, 60, False), (0, -1, 60, False), (0, None, 60, False),
    ],
)  # fmt: skip
def test_sequencer__answer_and_grace__gate_as_told(fed, ask, answer, ago, grace, good):
    """`ago`: seconds since the last change; None: the source has never been written."""
    uptime = deploy_mock(fed.chain.w3, fed.core.owner, "UptimeMock")
    command(fed, "setSequencer", uptime.address, grace)
    assert ask(fed.core.aggregator, "sequencer") == [uptime.address, grace]
    now = fed.chain.now
    send(fed.chain.w3, uptime.functions.say(answer, 0 if ago is None else now - ago), fed.core.owner)
    fed.chain.move_to(now)
    assert status(fed, ask) == (0 if good else SEQUENCER)


def test_sequencer__source_silent_wrong_or_no_contract__counts_as_down(fed, ask):
    silent = deploy_mock(fed.chain.w3, fed.core.owner, "UptimeMock")
    send(fed.chain.w3, silent.functions.fall_silent(), fed.core.owner)
    for source in (silent.address, fed.core.token.address, fed.chain.accounts[7]):
        command(fed, "setSequencer", source, 60)
        assert status(fed, ask) == SEQUENCER
    command(fed, "setSequencer", "0x" + "00" * 20, 0)
    assert status(fed, ask) == 0


@pytest.mark.parametrize("call", ["verify", "update_and_read"])
def test_pull__paused_or_sequencer_down_or_retired__reverts(fed, ask, reverts, call):
    agg, uptime = fed.core.aggregator, deploy_mock(fed.chain.w3, fed.core.owner, "UptimeMock")
    send(fed.chain.w3, uptime.functions.say(1, 5), fed.core.owner)
    fed.chain.move_to(fed.chain.now + 60)
    blob = fed.blob(fed.draft(sample_words(fed.active.feeds, 300)))
    assert ask(agg, call, blob, 0, 60)[3] == 300
    command(fed, "pause", 0, sender=GUARDIAN)
    with reverts("aggregator: paused"):
        ask(agg, call, blob, 0, 60)
    assert ask(agg, call, blob, 1, 60)[3] == 301
    command(fed, "setSequencer", uptime.address, 60)
    with reverts("aggregator: sequencer down"):
        ask(agg, call, blob, 1, 60)


def test_set_sequencer__grace_above_a_day__reverts(fed, ask, reverts):
    with reverts("aggregator: grace too long"):
        ask(fed.core.aggregator, "setSequencer", fed.core.owner, 86_401, sender=fed.core.owner)


def test_gates__set_in_any_order__each_keeps_its_own_bits(fed, ask):
    """Source, grace and the pause of all share a word; so do a feed's pause, request, retirement and staleness."""
    command(fed, "pauseAll", sender=GUARDIAN)
    until = ask(fed.core.aggregator, "pausedAllUntil")
    command(fed, "setSequencer", "0x" + "11" * 20, 86_400)
    assert ask(fed.core.aggregator, "pausedAllUntil") == until
    command(fed, "unpauseAll", sender=GUARDIAN)
    assert ask(fed.core.aggregator, "sequencer") == ["0x" + "11" * 20, 86_400]
    command(fed, "pause", 0, sender=GUARDIAN)
    fee = ask(fed.core.aggregator, "requestFee")
    asked = fed.core.aggregator.functions.requestRound(0).transact({"from": fed.core.owner, "value": 10 * fee})
    assert fed.chain.w3.eth.wait_for_transaction_receipt(asked)["status"] == 1
    send(fed.chain.w3, fed.core.configurator.functions.retireFeed(0), fed.core.owner)
    retires, paused = ask(fed.core.configurator, "retiresAt", 0), ask(fed.core.aggregator, "pausedUntil", 0)
    requested = ask(fed.core.aggregator, "requestedSlot", 0)
    fed.chain.move_to(fed.chain.now + 600)
    fed.roll()
    views = [ask(fed.core.aggregator, name, 0) for name in ("retiresAt", "pausedUntil", "requestedSlot", "staleAfter")]
    assert views == [retires, paused, requested, LIMIT]
    assert [ask(fed.core.aggregator, name, 1) for name in ("retiresAt", "pausedUntil", "requestedSlot")] == [0, 0, 0]


# Retirement


def test_retire__notice_runs_out__status_then_the_next_roll_drops_it(fed, ask, reverts):
    configurator = fed.core.configurator
    receipt = send(fed.chain.w3, configurator.functions.retireFeed(9), fed.core.owner)
    at = ask(configurator, "retiresAt", 9)
    (log,) = configurator.events.FeedRetiring().process_receipt(receipt)
    assert dict(log["args"]) == {"number": 9, "retiresAt": at} and at == fed.chain.now - 1 + NOTICE
    with reverts("configurator: notice is given"):
        ask(configurator, "retireFeed", 9, sender=fed.core.owner)
    fed.chain.move_to(fed.chain.now + 600)
    assert 9 in [spec.number for spec in fed.roll().feeds], "notice is notice: it is still reported"
    fed.chain.move_to(at - 1)
    assert not status(fed, ask, 9) & RETIRED
    fed.chain.move_to(at)
    assert status(fed, ask, 9) & RETIRED and not status(fed, ask, 1) & RETIRED
    with reverts("configurator: feed is retired"):
        ask(configurator, "keepFeed", 9, sender=fed.core.owner)
    with reverts("configurator: feed is retired"):
        ask(configurator, "listFeed", astuple(price_spec(9)), sender=fed.core.owner)
    with reverts("aggregator: retired"):
        ask(fed.core.aggregator, "requestRound", 9)
    with reverts("aggregator: retired"):
        ask(fed.core.aggregator, "update_and_read", b"", 9, 10**9)
    assert [spec.number for spec in fed.roll().feeds] == [0, 1, 2, 4, 7]
    assert status(fed, ask, 9) & RETIRED and ask(fed.core.aggregator, "latest", 9)[0] == 1


def test_keep__before_the_end__takes_the_notice_back(fed, ask, reverts):
    configurator = fed.core.configurator
    with reverts("configurator: no notice is given"):
        ask(configurator, "keepFeed", 9, sender=fed.core.owner)
    with reverts("configurator: unknown feed"):
        ask(configurator, "retireFeed", 77, sender=fed.core.owner)
    send(fed.chain.w3, configurator.functions.retireFeed(9), fed.core.owner)
    (log,) = configurator.events.FeedKept().process_receipt(
        send(fed.chain.w3, configurator.functions.keepFeed(9), fed.core.owner), errors=DISCARD
    )
    assert log["args"]["number"] == 9
    fed.chain.move_to(fed.chain.now + NOTICE + 10)
    fed.roll()
    assert not status(fed, ask, 9) & RETIRED and ask(fed.core.configurator, "retiresAt", 9) == 0


def test_retire__number_and_lane__are_never_used_again(fed, ask, reverts):
    """A retired forecast held lanes 2 and 3: nobody may publish something else there, ever."""
    send(fed.chain.w3, fed.core.configurator.functions.retireFeed(2), fed.core.owner)
    fed.chain.move_to(fed.chain.now + NOTICE)
    fed.roll()
    with reverts("configurator: lane is taken"):
        ask(fed.core.configurator, "listFeed", astuple(price_spec(3)), sender=fed.core.owner)
    with reverts("configurator: feed is retired"):
        ask(fed.core.configurator, "listFeed", astuple(price_spec(2)), sender=fed.core.owner)


def test_retire__last_of_its_page__makes_room_for_another_page(net, ask, reverts):
    """A config holds 32 pages; retired ones do not count."""
    core = deploy_core(net.chain.w3, net.core.owner, MINUTE, supply=10**9 * TOKEN, min_self_bond=TOKEN)
    other = LocalNet(net.chain, core)
    other.register(60, TOKEN)
    list_feeds(net.chain.w3, core, [price_spec(4 * page) for page in range(32)])
    with reverts("configurator: too many pages"):
        ask(core.configurator, "listFeed", astuple(price_spec(128)), sender=core.owner)
    send(net.chain.w3, core.configurator.functions.retireFeed(40), core.owner)
    net.chain.move_to(net.chain.now + NOTICE)
    list_feeds(net.chain.w3, core, [price_spec(128)])
    assert [spec.number for spec in other.roll().feeds] == [4 * page for page in range(33) if page != 10]


# Many at once


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(0, 12) | st.integers(0, 2**256 - 1), max_size=64))
def test_latest_many__any_numbers__are_the_single_views(fed, ask, numbers):
    agg = fed.core.aggregator
    for number, reading in zip(numbers, ask(agg, "latestMany", numbers), strict=True):
        round_, word, found = ask(agg, "latestChecked", number)
        assert (reading[0], reading[1], reading[8]) == (number, round_, found)
        if round_ == 0:
            assert [*reading[2:8], reading[9]] == [0] * 7
            continue
        known = unpack_word(word)
        assert reading[2:4] == (known.updated_at - known.delay, known.updated_at)
        assert reading[4:8] == (known.value, known.confidence, known.turnout, known.flags)
        assert reading[9] == ask(agg, "vectorWord", number, round_)
