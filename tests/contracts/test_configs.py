"""Feeds, timing and configs: what is staged, what a roll writes, which slot belongs to which config."""

from __future__ import annotations

from dataclasses import astuple, replace

import pytest
from eth_abi.abi import encode

from contracts.artifacts import artifact
from oracle.chain.deploy import deploy, deploy_core, list_feeds, send
from oracle.chain.localnet import (
    GENESIS_TIME,
    MINUTE,
    TOKEN,
    LocalNet,
    event_spec,
    forecast_spec,
    price_spec,
    sample_words,
)
from oracle.consensus.words import pack_blob

TIMING = "(uint32,uint32,uint32,uint32,uint32,uint8)"


def spec_tuple(number, **changes):
    """The Vyper struct of a price feed, changed even to what no FeedSpec would take."""
    names = price_spec(number).__slots__
    return tuple({**dict(zip(names, astuple(price_spec(number)), strict=True)), **changes}.values())


def test_config__as_rolled__hashes_to_the_python_digest(net, ask):
    fields = ask(net.core.configurator, "configOf", 1)
    assert fields[14] == net.active.digest
    assert (fields[12], fields[13]) == (net.active.table_hash, net.active.feeds_hash)
    assert ask(net.core.configurator, "configCount") == 1
    assert [row[1] for row in ask(net.core.configurator, "table", 1)] == [int(s * TOKEN) for s in (22.5, 22.5, 20, 10)]
    code = net.chain.w3.eth.get_code(fields[15])
    assert code[0] == 0, "the table must not run"


def test_config__first_slot__is_confirmation_and_two_slots_ahead(net, ask):
    net.chain.move_to(net.chain.now + 600)
    for confirmation, lead in ((0, 2), (1, 3), (60, 3), (61, 4)):
        send(net.chain.w3, net.core.configurator.functions.stageTiming(
            astuple(replace(MINUTE, confirmation=confirmation))), net.core.owner)  # fmt: skip
        here = ask(net.core.configurator, "slotAt", net.chain.now)
        assert ask(net.core.staking, "rollEpoch") == here + lead


def test_config__randomness__is_of_the_block_of_the_roll(net, ask):
    count = ask(net.core.configurator, "configCount")
    mix = bytes(net.chain.w3.eth.get_block("latest")["mixHash"])
    assert ask(net.core.configurator, "configOf", count)[3] == mix == net.active.randomness


def test_roll__stranger__reverts(net, ask, reverts):
    for name, argument in (("roll", [(net.chain.accounts[1], 5)]), ("revoke", net.chain.accounts[1])):
        for sender in (net.core.owner, net.chain.accounts[9]):
            with reverts("configurator: caller is not staking"):
                ask(net.core.configurator, name, argument, sender=sender)


def test_adopt__stranger__reverts(net, ask, reverts):
    for sender in (net.core.owner, net.chain.accounts[9]):
        for name, arguments in (("adopt", (1, [])), ("revoke", (net.chain.accounts[1], 1, 1))):
            with reverts("aggregator: caller is not the configurator"):
                ask(net.core.aggregator, name, *arguments, sender=sender)


def test_roll__while_the_last_config_settles__reverts(net, ask, reverts):
    """Until then three configs would be live, and a slot might lose its own."""
    limit = net.active.anchor_time + net.active.max_report_age
    net.chain.move_to(limit)
    with reverts("configurator: config is still settling"):
        ask(net.core.staking, "rollEpoch")
    net.chain.move_to(limit + 1)
    assert ask(net.core.staking, "rollEpoch") == net.active.first_slot + 2 + 3


def test_roll__longer_report_age_staged__waits_for_it_too(net, ask, reverts):
    longer = replace(MINUTE, max_report_age=500)
    send(net.chain.w3, net.core.configurator.functions.stageTiming(astuple(longer)), net.core.owner)
    net.chain.move_to(net.active.anchor_time + 500)
    with reverts("configurator: config is still settling"):
        ask(net.core.staking, "rollEpoch")


def test_roll__too_few_validators_or_no_feed__makes_no_config(net, ask, reverts):
    net.chain.move_to(net.chain.now + 600)
    more = net.core.configurator.functions.stageTiming(astuple(replace(MINUTE, min_validators=5)))
    send(net.chain.w3, more, net.core.owner)
    assert ask(net.core.staking, "rollEpoch") == 0, "the epoch passes and the config in force stays"
    send(net.chain.w3, net.core.staking.functions.rollEpoch(), net.core.owner)
    assert ask(net.core.configurator, "configCount") == 1
    start = net.chain.w3.eth.get_block("latest")["timestamp"]
    core = deploy_core(net.chain.w3, net.core.owner, MINUTE, supply=9 * TOKEN, min_self_bond=TOKEN, anchor_time=start)
    with reverts("configurator: too few validators"):
        ask(core.staking, "rollEpoch")
    bare = LocalNet(net.chain, core)
    bare.register(60, TOKEN)
    with reverts("configurator: no feed listed"):
        ask(core.staking, "rollEpoch")


def test_set_aggregator__not_ours_again_or_by_a_stranger__reverts(net, ask, reverts):
    w3, core = net.chain.w3, net.core
    with reverts("configurator: aggregator is set"):
        ask(core.configurator, "setAggregator", core.aggregator.address, sender=core.owner)
    fresh = deploy(w3, core.owner, "Configurator", core.staking.address, astuple(MINUTE), GENESIS_TIME)
    with reverts("configurator: aggregator of another configurator"):
        ask(fresh, "setAggregator", core.aggregator.address, sender=core.owner)
    with reverts("ownable: caller is not the owner"):
        ask(fresh, "setAggregator", core.aggregator.address, sender=net.chain.accounts[4])
    second = deploy(w3, core.owner, "Aggregator", fresh.address)
    send(w3, fresh.functions.setAggregator(second.address), core.owner)
    assert ask(fresh, "aggregator") == second.address
    assert (ask(second, "configurator"), ask(second, "staking")) == (fresh.address, core.staking.address)


def test_roll__without_an_aggregator__reverts(net, reverts):
    w3, core = net.chain.w3, net.core
    fresh = deploy(w3, core.owner, "Configurator", core.owner, astuple(MINUTE), GENESIS_TIME)
    with reverts("configurator: no aggregator"):
        fresh.functions.roll([(net.chain.accounts[1], 5)]).call({"from": core.owner}, "pending")


def test_slots__around_a_config_change__each_has_exactly_one_digest(net, ask, reverts):
    old, agg = net.active, net.core.aggregator
    net.chain.move_to(net.chain.now + 600)
    new = net.roll()
    last = old.slot_start_ms(new.first_slot - 1) // 1000
    words = sample_words(old.feeds, 7)
    net.chain.move_to(last + 70)
    ours = net.draft(words, slot=new.first_slot)
    for draft, good, bad in ((replace(ours, slot=ours.slot - 1, observed_at=last + 59), old, new), (ours, new, old)):
        with reverts("aggregator: bad signature"):
            ask(agg, "transmit", blob_of(net, draft, bad))
        assert ask(agg, "transmit", blob_of(net, draft, good)) == 6
    with reverts("aggregator: slot and time disagree"):
        ask(agg, "transmit", blob_of(net, replace(ours, slot=ours.slot - 1), old))


def blob_of(net, draft, config):
    signatures = net.sign(draft, range(4), config)
    return pack_blob(draft.slot, draft.observed_at, signatures, draft.pages, (1 << len(draft.pages)) - 1)


def test_slots__new_slot_length__count_on_from_the_old_grid(net, ask):
    net.chain.move_to(net.chain.now + 600)
    call = net.core.configurator.functions.stageTiming(astuple(replace(MINUTE, slot_seconds=7, max_report_age=20)))
    send(net.chain.w3, call, net.core.owner)
    old, new = net.active, net.roll()
    assert new.anchor_slot == new.first_slot
    assert new.anchor_time == old.slot_start_ms(new.first_slot) // 1000
    for second in (GENESIS_TIME + 100, old.anchor_time, new.anchor_time - 1, new.anchor_time, new.anchor_time + 700):
        config = new if second >= new.anchor_time else old
        assert ask(net.core.configurator, "slotAt", second) == config.slot_at(second * 1000)
    draft = net.draft(sample_words(new.feeds, 7))
    net.chain.move_to(draft.observed_at)
    net.transmit(net.blob(draft))
    assert ask(net.core.aggregator, "slotOf", 0, 1) == draft.slot


def test_slots__report_of_a_config_long_gone__is_a_no_op(net, ask):
    first = net.active
    draft = net.draft(sample_words(first.feeds, 7))
    blob = net.blob(draft)
    for _ in range(2):
        net.chain.move_to(net.chain.now + 600)
        net.roll()
    assert draft.slot < net.active.first_slot
    assert ask(net.core.aggregator, "transmit", blob) == 0


def test_revoked_key__one_config_later__is_refused_at_once_in_both(net, ask, reverts):
    old = net.active
    net.chain.move_to(net.chain.now + 600)
    new = net.roll()
    net.chain.move_to(new.slot_start_ms(new.first_slot) // 1000 + 20)
    largest = ask(net.core.staking, "ownerOf", net.keys[new.rows[0].address].checksum_address)
    send(net.chain.w3, net.core.staking.functions.revokeKey(), largest)
    assert (ask(net.core.configurator, "revokedMask", 1), ask(net.core.configurator, "revokedMask", 2)) == (1, 1)
    start = old.slot_start_ms(new.first_slot - 1) // 1000
    for slot, second, config in ((new.first_slot - 1, start, old), (new.first_slot, start + 60, new)):
        draft = replace(net.draft(sample_words(new.feeds, 7), slot=slot), observed_at=second)
        with reverts("aggregator: revoked signer"):
            ask(net.core.aggregator, "transmit", blob_of(net, draft, config))


def test_reorg__report_lands_again_on_the_other_branch__same_round(net, ask):
    """What a transmitter meets after a reorg: the same blob, later in time, against the state before it."""
    draft = net.draft(sample_words(net.active.feeds, 7))
    blob, before = net.blob(draft), net.chain.snapshot()
    net.transmit(blob)
    there = ask(net.core.aggregator, "latest", 0)
    net.chain.revert(before)
    assert tuple(ask(net.core.aggregator, "latest", 0)) == (0, 0)
    net.chain.move_to(net.chain.now + 12)
    net.transmit(blob)
    here = ask(net.core.aggregator, "latest", 0)
    assert (here[0], here[1] >> 48) == (there[0], there[1] >> 48)


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("configurator: unknown kind", {"kind": 3}),
        ("configurator: no base", {"base": bytes(32)}),
        ("configurator: bad outcomes", {"outcomes": 2}),
        ("configurator: bad outcomes", {"kind": 2, "outcomes": 1, "quote": bytes(32)}),
        ("configurator: bad outcomes", {"kind": 2, "outcomes": 17, "quote": bytes(32)}),
        ("configurator: an event has no quote", {"kind": 2, "outcomes": 2}),
        ("configurator: bad horizon", {"horizon": 1}),
        ("configurator: bad horizon", {"kind": 1}),
        ("configurator: bad decimals", {"decimals": 37}),
        ("configurator: no heartbeat", {"heartbeat": 0}),
        ("configurator: bad bounds", {"min_value": 2, "max_value": 1}),
        ("configurator: no sources", {"min_sources": 0}),
        ("configurator: too many observers", {"min_observers": 65}),
        ("configurator: bad family share", {"max_family_share": 10_001}),
    ],
)
def test_list_feed__bad_spec__reverts(net, ask, reverts, reason, changes):
    with reverts(reason):
        ask(net.core.configurator, "listFeed", spec_tuple(40, **changes), sender=net.core.owner)


@pytest.mark.parametrize(
    ("reason", "spec"),
    [
        ("configurator: a vector feed needs two lanes of a page", spec_tuple(43, kind=1, horizon=60)),
        ("configurator: lane is taken", spec_tuple(6, kind=1, horizon=60)),
        ("configurator: lane is taken", spec_tuple(3)),
        ("configurator: lane is taken", spec_tuple(5)),
    ],
)
def test_list_feed__lane_conflict__reverts(net, ask, reverts, reason, spec):
    with reverts(reason):
        ask(net.core.configurator, "listFeed", spec, sender=net.core.owner)


@pytest.mark.parametrize(
    "changes",
    [{"kind": 1, "horizon": 60}, {"decimals": 9}, {"base": b"X" * 32}, {"quote": b"X" * 32}],
)
def test_list_feed__identity_changed__reverts(net, ask, reverts, changes):
    with reverts("configurator: identity of a feed never changes"):
        ask(net.core.configurator, "listFeed", spec_tuple(9, **changes), sender=net.core.owner)
    with reverts("configurator: identity of a feed never changes"):
        longer = astuple(forecast_spec(2, horizon=7_200))
        ask(net.core.configurator, "listFeed", longer, sender=net.core.owner)
    with reverts("configurator: identity of a feed never changes"):
        ask(net.core.configurator, "listFeed", astuple(event_spec(4, 4)), sender=net.core.owner)


def test_list_feed__more_than_32_pages__reverts(net, ask, reverts):
    list_feeds(net.chain.w3, net.core, [price_spec(100 + 4 * page) for page in range(29)])
    with reverts("configurator: too many pages"):
        ask(net.core.configurator, "listFeed", spec_tuple(400), sender=net.core.owner)
    list_feeds(net.chain.w3, net.core, [price_spec(101)])


def test_list_feed__staged__counts_only_from_the_next_roll(net, ask, reverts):
    agg, changed = net.core.configurator, replace(price_spec(0), heartbeat=77)
    face = net.face(0)
    list_feeds(net.chain.w3, net.core, [changed, price_spec(8), price_spec(6)])
    assert ask(agg, "feedSpec", 0)[7] == 3600 == ask(face, "heartbeat")
    assert ask(agg, "stagedSpec", 0)[7] == 77
    with reverts("configurator: unknown feed"):
        ask(agg, "feedSpec", 8)
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    assert ask(agg, "feeds") == [0, 1, 2, 4, 6, 7, 8, 9] == ask(agg, "feedsOf", 2)
    assert ask(agg, "feedsOf", 1) == [0, 1, 2, 4, 7, 9]
    assert (ask(agg, "feedSpecOf", 1, 0)[7], ask(agg, "feedSpecOf", 2, 0)[7], ask(face, "heartbeat")) == (3600, 77, 77)
    assert net.active.feeds[0] == changed


def test_views__unknown__revert(net, ask, reverts):
    view = net.core.configurator
    for name, arguments in (("configOf", (2,)), ("table", (0,)), ("feedsOf", (9,)), ("feedSpecOf", (2, 0))):
        with reverts("configurator: unknown config"):
            ask(view, name, *arguments)
    with reverts("configurator: unknown feed"):
        ask(view, "stagedSpec", 77)
    with reverts("configurator: before slot 0"):
        ask(view, "slotAt", 5)
    assert (ask(view, "revokedMask", 0), ask(view, "revokedMask", 7)) == (0, 0)
    assert ask(view, "timing")[0] == 60
    fresh = deploy(
        net.chain.w3, net.core.owner, "Configurator", net.core.staking.address, astuple(MINUTE), GENESIS_TIME
    )
    assert ask(fresh, "feeds") == []
    assert (ask(fresh, "revokedMask", 0), ask(fresh, "pointerAt", 10**6)) == (0, 0)


def test_pointer_at__every_config__is_the_last_that_had_started(net, ask):
    configs = [net.active]
    for _ in range(4):
        net.chain.move_to(net.chain.now + 600)
        configs.append(net.roll())
    for before, config in zip([None, *configs[:-1]], configs, strict=True):
        for slot, expected in ((config.first_slot - 1, before), (config.first_slot, config)):
            pointer = ask(net.core.configurator, "pointerAt", slot)
            if expected is None:
                assert pointer == 0
                continue
            address = ask(net.core.configurator, "configOf", expected.count)[15]
            assert pointer == int(address, 16) << 96 | expected.first_slot << 64


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("configurator: bad slot length", {"slot_seconds": 0}),
        ("configurator: bad slot length", {"slot_seconds": 86_401}),
        ("configurator: bad report age", {"max_report_age": 0}),
        ("configurator: bad report age", {"max_report_age": 65_536}),
        ("configurator: bad grace", {"grace_ms": 60_000}),
        ("configurator: bad stage", {"stage_ms": 60_000}),
        ("configurator: bad confirmation depth", {"confirmation": 86_401}),
        ("configurator: bad least number of validators", {"min_validators": 0}),
        ("configurator: bad least number of validators", {"min_validators": 65}),
    ],
)
def test_stage_timing__out_of_range__reverts(net, ask, reverts, reason, changes):
    with reverts(reason):
        ask(net.core.configurator, "stageTiming", astuple(replace(MINUTE, **changes)), sender=net.core.owner)


@pytest.mark.parametrize("name", ["listFeed", "stageTiming", "retireFeed", "keepFeed", "transfer_ownership"])
def test_owner_functions__stranger__reverts(net, ask, reverts, name):
    argument = {
        "listFeed": spec_tuple(50), "stageTiming": astuple(MINUTE), "retireFeed": 0, "keepFeed": 0,
        "transfer_ownership": net.chain.accounts[3],
    }  # fmt: skip
    with reverts("ownable: caller is not the owner"):
        ask(net.core.configurator, name, argument[name], sender=net.chain.accounts[3])


@pytest.mark.parametrize(
    ("staking", "anchor", "reason"),
    [
        ("0x" + "00" * 20, GENESIS_TIME, "configurator: no staking"),
        ("0x" + "11" * 20, 0, "configurator: bad anchor time"),
        ("0x" + "11" * 20, 2**40 - 1, "configurator: bad anchor time"),
    ],
)
def test_deploy_configurator__bad_argument__reverts(net, reverts, staking, anchor, reason):
    built = artifact("Configurator")
    code = built.bytecode + encode(["address", TIMING, "uint64"], [staking, astuple(MINUTE), anchor])
    with reverts(reason):
        net.chain.w3.eth.call({"data": "0x" + code.hex(), "from": net.core.owner, "gas": 10**7}, "pending")


def test_deploy_aggregator__no_configurator__reverts(net, reverts):
    code = artifact("Aggregator").bytecode + bytes(32)
    with reverts("aggregator: no configurator"):
        net.chain.w3.eth.call({"data": "0x" + code.hex(), "from": net.core.owner, "gas": 10**7}, "pending")
