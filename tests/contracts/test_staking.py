"""Deployment, registration, hot keys, and what an owner may set about itself."""

from __future__ import annotations

from dataclasses import astuple, replace

import pytest
from web3.logs import DISCARD

from contracts import constant_int
from contracts.artifacts import artifact
from oracle.chain.deploy import contract_at, deploy, register_validator, send
from oracle.chain.localnet import MINUTE, TOKEN
from oracle.keys import HotKey, possession_digest

KEY = HotKey((5_000).to_bytes(32))
DAY = 86_400
RULES = (TOKEN, 0, DAY, DAY)
YEAR = constant_int("MAX_WAIT")
NOBODY = "0x" + "00" * 20


@pytest.fixture
def owner(net):
    """An account with tokens that is no validator yet, its allowance given."""
    account = net.chain.accounts[20]
    send(net.chain.w3, net.core.token.functions.transfer(account, 100 * TOKEN), net.core.owner)
    send(net.chain.w3, net.core.token.functions.approve(net.core.staking.address, 100 * TOKEN), account)
    return account


def info(net, ask, owner):
    """The `Validator` of an owner by field."""
    outputs = net.core.staking.get_function_by_name("validator").abi["outputs"][0]["components"]
    return dict(zip((part["name"] for part in outputs), ask(net.core.staking, "validator", owner), strict=True))


def proof(net, owner, key=KEY):
    return key.sign(net.core.staking.functions.registrationDigest(owner, key.checksum_address).call())


def test_register__good_proof__bonds_and_tells(net, owner, ask):
    staking = net.core.staking
    before = ask(staking, "bonded")
    call = staking.functions.register(KEY.checksum_address, "http://here", 7 * TOKEN, proof(net, owner))
    receipt = send(net.chain.w3, call, owner)
    assert info(net, ask, owner) == {
        "owner": owner, "key": NOBODY, "stake": 7 * TOKEN, "endpoint": "http://here", "nextKey": KEY.checksum_address,
        "nextKeyEpoch": 3, "payee": owner, "commission": 0, "nextCommission": 0, "commissionEpoch": 0,
        "selfBond": 7 * TOKEN, "exiting": 0, "effective": 0, "jailed": False, "jailedUntil": 0, "frozen": 0,
    }  # fmt: skip
    assert ask(staking, "endpointOf", KEY.checksum_address) == "http://here"
    assert ask(staking, "ownerOf", KEY.checksum_address) == owner
    assert ask(staking, "owners")[-1] == owner
    assert ask(staking, "bonded") == before + 7 * TOKEN == ask(net.core.token, "balanceOf", staking.address)
    assert staking.events.Registered().process_receipt(receipt, errors=DISCARD)[0]["args"]["endpoint"] == "http://here"
    assert ask(staking, "nonces", owner) == 1


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("staking: bond below the minimum", {"amount": TOKEN - 1}),
        ("staking: bond too large", {"amount": 2**96}),
        ("staking: no endpoint", {"endpoint": ""}),
        ("staking: zero key", {"key": "0x" + "00" * 20}),
        ("staking: bad signature length", {"signature": bytes(63)}),
        ("staking: bad proof of possession", {"signature": bytes(64)}),
        ("staking: bad proof of possession", {"signature": bytes(31) + b"\1" * 33}),
        ("staking: high s", {"signature": b"\1" * 32 + b"\x7f" + b"\xff" * 31}),
    ],
)
def test_register__bad_argument__reverts(net, owner, ask, reverts, reason, change):
    given = {"key": KEY.checksum_address, "endpoint": "x", "amount": 2 * TOKEN, "signature": proof(net, owner)} | change
    with reverts(reason):
        ask(net.core.staking, "register", *given.values(), sender=owner)


def test_register__twice__reverts(net, ask, reverts):
    with reverts("staking: already registered"):
        ask(net.core.staking, "register", KEY.checksum_address, "x", TOKEN, bytes(64), sender=net.chain.accounts[1])


def test_register__key_of_another__reverts_for_ever(net, owner, ask, reverts):
    taken = next(iter(net.keys.values()))
    first_owner = ask(net.core.staking, "ownerOf", taken.checksum_address)
    for _ in range(2):
        with reverts("staking: key registered before"):
            signature = proof(net, owner, taken)
            ask(net.core.staking, "register", taken.checksum_address, "x", TOKEN, signature, sender=owner)
        if ask(net.core.staking, "validator", first_owner)[1] == taken.checksum_address:
            send(net.chain.w3, net.core.staking.functions.revokeKey(), first_owner)
    with reverts("staking: key registered before"):
        signature = proof(net, first_owner, taken)
        ask(net.core.staking, "replaceKey", taken.checksum_address, signature, sender=first_owner)


@pytest.mark.parametrize("wrong", ["chain", "contract", "owner", "nonce", "key"])
def test_register__proof_for_something_else__reverts(net, owner, ask, reverts, wrong):
    staking = bytes.fromhex(net.core.staking.address[2:])
    parts = {
        "chain": net.active.chain_id, "contract": staking, "owner": bytes.fromhex(owner[2:]), "key": KEY.address,
        "nonce": 0,
    }  # fmt: skip
    theirs = ask(net.core.staking, "registrationDigest", owner, KEY.checksum_address)
    assert possession_digest(*parts.values()) == theirs
    parts[wrong] = {"chain": 1, "nonce": 1}.get(wrong, b"\x11" * 20)
    signature = KEY.sign(possession_digest(*parts.values()))
    with reverts("staking: bad proof of possession"):
        ask(net.core.staking, "register", KEY.checksum_address, "x", TOKEN, signature, sender=owner)


def test_register__proof_seen_in_the_mempool__is_worth_nothing_to_another(net, owner, ask, reverts):
    thief = net.chain.accounts[21]
    send(net.chain.w3, net.core.token.functions.transfer(thief, TOKEN), net.core.owner)
    send(net.chain.w3, net.core.token.functions.approve(net.core.staking.address, TOKEN), thief)
    with reverts("staking: bad proof of possession"):
        ask(net.core.staking, "register", KEY.checksum_address, "x", TOKEN, proof(net, owner), sender=thief)


def test_register__no_allowance__reverts(net, ask, reverts):
    poor = net.chain.accounts[22]
    with reverts("erc20: insufficient allowance"):
        ask(net.core.staking, "register", KEY.checksum_address, "x", TOKEN, proof(net, poor), sender=poor)


def test_register__full_registry__reverts(net, owner, ask, reverts):
    place = artifact("Staking").layout["validators.list"]
    net.chain.set_storage(net.core.staking.address, {place: 256})
    with reverts("staking: registry is full"):
        ask(net.core.staking, "register", KEY.checksum_address, "x", TOKEN, proof(net, owner), sender=owner)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("bond", (1,)), ("setEndpoint", ("x",)), ("replaceKey", (KEY.checksum_address, bytes(64))),
        ("setPayee", (NOBODY,)), ("setCommission", (1,)), ("unjail", ()), ("delegate", (NOBODY, 1)),
        ("payReward", (NOBODY, 1)), ("prune", (NOBODY,)),
    ],
)  # fmt: skip
def test_owner_functions__stranger__reverts(net, ask, reverts, name, arguments):
    with reverts("staking: not registered"):
        ask(net.core.staking, name, *arguments, sender=net.chain.accounts[30])


def test_set_endpoint__owner__changes_at_once(net, ask, reverts):
    owner = net.chain.accounts[1]
    send(net.chain.w3, net.core.staking.functions.setEndpoint("https://moved"), owner)
    key = ask(net.core.staking, "validator", owner)[1]
    assert ask(net.core.staking, "endpointOf", key) == "https://moved"
    with reverts("staking: no endpoint"):
        ask(net.core.staking, "setEndpoint", "", sender=owner)


def test_register_validator__helper__is_what_an_operator_does(net, owner, ask):
    register_validator(net.chain.w3, net.core, owner, KEY.checksum_address, "http://x", TOKEN, KEY.sign)
    assert ask(net.core.staking, "validator", owner)[2] == TOKEN


def test_bonded__gift_of_tokens__changes_nothing(net, ask):
    staking = net.core.staking
    send(net.chain.w3, net.core.token.functions.transfer(staking.address, 10**6 * TOKEN), net.core.owner)
    assert ask(staking, "bonded") == 100 * TOKEN
    net.chain.move_to(net.chain.now + 600)
    before = net.active.rows
    assert net.roll().rows == before


# Keys


def test_replace_key__owner__serves_from_the_second_roll_on(net, ask):
    owner, staking = net.chain.accounts[1], net.core.staking
    old = ask(staking, "validator", owner)[1]
    send(net.chain.w3, staking.functions.replaceKey(KEY.checksum_address, proof(net, owner)), owner)
    net.keys[KEY.address] = KEY
    for roll in (2, 3):
        assert (info(net, ask, owner)["key"], info(net, ask, owner)["nextKeyEpoch"]) == (old, 3)
        assert bytes.fromhex(old[2:]) in {row.address for row in net.active.rows}
        net.chain.move_to(net.chain.now + 600)
        assert net.roll().count == roll
    assert KEY.address in {row.address for row in net.active.rows}
    assert bytes.fromhex(old[2:]) not in {row.address for row in net.active.rows}
    assert (info(net, ask, owner)["key"], info(net, ask, owner)["nextKey"]) == (KEY.checksum_address, NOBODY)
    assert ask(staking, "endpointOf", old) == ask(staking, "endpointOf", KEY.checksum_address)


def test_replace_key__again_before_it_serves__the_first_one_never_does(net, ask):
    owner, staking = net.chain.accounts[1], net.core.staking
    old = ask(staking, "validator", owner)[1]
    other = HotKey((5_001).to_bytes(32))
    for key in (KEY, other):
        send(net.chain.w3, staking.functions.replaceKey(key.checksum_address, proof(net, owner, key)), owner)
    assert (info(net, ask, owner)["key"], info(net, ask, owner)["nextKey"]) == (old, other.checksum_address)
    assert ask(staking, "ownerOf", KEY.checksum_address) == owner


def test_replace_key__third_change_while_no_config_is_made__takes_back_the_key_still_in_force(net, ask):
    """Else an owner could change keys through skipped epochs until jail finds the key in force no more."""
    owner, staking, configurator = net.chain.accounts[1], net.core.staking, net.core.configurator
    more = configurator.functions.stageTiming(astuple(replace(MINUTE, min_validators=9)))
    send(net.chain.w3, more, net.core.owner)
    masks = []
    for number in range(3):
        key = HotKey((7_000 + number).to_bytes(32))
        send(net.chain.w3, staking.functions.replaceKey(key.checksum_address, proof(net, owner, key)), owner)
        masks.append(ask(configurator, "revokedMask", 1))
        for _ in range(2):
            send(net.chain.w3, staking.functions.rollEpoch(), owner)
    assert ask(configurator, "configCount") == 1
    assert masks == [0, 0, 1]


def test_revoke_key__owner__counts_no_more_and_is_left_out(net, ask, reverts):
    owner, configurator = net.chain.accounts[1], net.core.configurator
    key = ask(net.core.staking, "validator", owner)[1]
    second = net.chain.now
    assert ask(net.core.staking, "keyRevokedAt", key) == 0
    send(net.chain.w3, net.core.staking.functions.revokeKey(), owner)
    assert ask(net.core.staking, "keyRevokedAt", key) == second
    assert ask(configurator, "revokedMask", 1) == 1
    with reverts("staking: no key to revoke"):
        ask(net.core.staking, "revokeKey", sender=owner)
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    assert len(net.active.rows) == 3
    assert ask(configurator, "revokedMask", 1) == 1
    assert ask(configurator, "revokedMask", 2) == 0


def test_revoke_key__serving_and_waiting_and_past_one__all_are_worthless(net, ask):
    """Right after a roll the config before is still in force, with the key that has just been replaced."""
    owner, staking, configurator = net.chain.accounts[1], net.core.staking, net.core.configurator
    keys = [HotKey((5_001 + index).to_bytes(32)) for index in range(2)]
    first = ask(staking, "validator", owner)[1]
    for key in keys:
        net.keys[key.address] = key
        send(net.chain.w3, staking.functions.replaceKey(key.checksum_address, proof(net, owner, key)), owner)
        for _ in range(2):
            net.chain.move_to(net.chain.now + 600)
            net.roll()
    third = HotKey((5_009).to_bytes(32))
    send(net.chain.w3, staking.functions.replaceKey(third.checksum_address, proof(net, owner, third)), owner)
    second = net.chain.now
    send(net.chain.w3, staking.functions.revokeKey(), owner)
    for key in (*keys, third):
        assert ask(staking, "keyRevokedAt", key.checksum_address) == second
    assert ask(staking, "keyRevokedAt", first) == second - 1, "it fell out of the line when the third was named"
    assert [ask(configurator, "revokedMask", count) for count in (4, 5)] == [1, 1]
    assert (info(net, ask, owner)["key"], info(net, ask, owner)["nextKey"]) == (NOBODY, NOBODY)


def test_revoke_key__then_a_new_one__is_back_from_the_second_roll_on(net, ask):
    owner, staking = net.chain.accounts[4], net.core.staking
    send(net.chain.w3, staking.functions.revokeKey(), owner)
    send(net.chain.w3, staking.functions.replaceKey(KEY.checksum_address, proof(net, owner)), owner)
    sizes = []
    for _ in range(2):
        net.chain.move_to(net.chain.now + 600)
        sizes.append(len(net.roll().rows))
    assert sizes == [3, 4]


def test_replace_key__before_the_first_roll__serves_at_once(net, ask):
    staking = deploy(net.chain.w3, net.core.owner, "Staking", net.core.token.address, RULES)
    owner = net.core.owner
    send(net.chain.w3, net.core.token.functions.approve(staking.address, TOKEN), owner)
    for name in ("register", "replaceKey"):
        key = HotKey((6_000 + len(name)).to_bytes(32))
        signature = key.sign(ask(staking, "registrationDigest", owner, key.checksum_address))
        middle = ("x", TOKEN) if name == "register" else ()
        send(net.chain.w3, staking.functions[name](key.checksum_address, *middle, signature), owner)
        assert ask(staking, "validator", owner)[1] == key.checksum_address
    send(net.chain.w3, staking.functions.revokeKey(), owner)
    assert ask(staking, "validator", owner)[1] == NOBODY


# What an owner sets


def test_set_payee__owner__changes_at_once(net, ask, reverts):
    owner, friend = net.chain.accounts[1], net.chain.accounts[40]
    assert info(net, ask, owner)["payee"] == owner
    send(net.chain.w3, net.core.staking.functions.setPayee(friend), owner)
    assert info(net, ask, owner)["payee"] == friend
    with reverts("staking: no payee"):
        ask(net.core.staking, "setPayee", NOBODY, sender=owner)


def test_set_commission__higher__after_a_full_epoch_and_lower__at_once(net, ask, reverts):
    owner, staking = net.chain.accounts[1], net.core.staking

    def told():
        found = info(net, ask, owner)
        return found["commission"], found["nextCommission"], found["commissionEpoch"]

    send(net.chain.w3, staking.functions.setCommission(2_000), owner)
    assert told() == (0, 2_000, 3)
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    assert told() == (0, 2_000, 3)
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    assert told() == (2_000, 2_000, 3)
    send(net.chain.w3, staking.functions.setCommission(10_000), owner)
    assert told() == (2_000, 10_000, 5)
    send(net.chain.w3, staking.functions.setCommission(500), owner)
    assert told() == (500, 500, 3)
    with reverts("staking: commission above all"):
        ask(staking, "setCommission", 10_001, sender=owner)


# Deployment


def test_set_network__misuse__reverts(net, ask, reverts):
    staking, slashing = net.core.staking, net.core.slashing.address
    aggregator = net.core.aggregator.address
    with reverts("staking: caller not the deployer"):
        ask(staking, "setNetwork", aggregator, slashing, sender=net.chain.accounts[3])
    with reverts("staking: network is set"):
        ask(staking, "setNetwork", aggregator, slashing, sender=net.core.owner)
    other = deploy(net.chain.w3, net.core.owner, "Staking", net.core.token.address, RULES)
    with reverts("staking: foreign aggregator"):
        ask(other, "setNetwork", aggregator, slashing, sender=net.core.owner)
    judge = deploy(net.chain.w3, net.core.owner, "Slashing", other.address)
    mine = deploy(net.chain.w3, net.core.owner, "Staking", net.core.token.address, RULES)
    configurator = deploy(net.chain.w3, net.core.owner, "Configurator", mine.address, astuple(MINUTE), net.chain.now)
    found = deploy(net.chain.w3, net.core.owner, "Aggregator", configurator.address)
    with reverts("staking: foreign slashing"):
        ask(mine, "setNetwork", found.address, judge.address, sender=net.core.owner)
    with reverts("staking: no network"):
        ask(mine, "rollEpoch")


@pytest.mark.parametrize(
    ("token", "rules", "reason"),
    [
        (False, RULES, "staking: no token"),
        (True, (0, 0, DAY, DAY), "staking: bad minimum"),
        (True, (2**96, 0, DAY, DAY), "staking: bad minimum"),
        (True, (1, YEAR + 1, DAY, DAY), "staking: bad epoch"),
        (True, (1, 0, 0, DAY), "staking: bad evidence window"),
        (True, (1, 0, YEAR + 1, DAY), "staking: bad evidence window"),
        (True, (1, 0, DAY, YEAR + 1), "staking: bad vote length"),
    ],
)
def test_deploy_staking__bad_argument__reverts(net, reverts, token, rules, reason):
    built = artifact("Staking")
    address = net.core.token.address if token else NOBODY
    call = net.chain.w3.eth.contract(abi=built.abi, bytecode=built.bytecode).constructor(address, rules)
    with reverts(reason):
        net.chain.w3.eth.call(call.build_transaction({"gas": 10**7, "from": net.core.owner}), "pending")


def test_views__network_and_rules__are_readable(net, ask):
    staking, core = net.core.staking, net.core
    rules = (2 * TOKEN, 3, 4, 5)
    bare = deploy(net.chain.w3, core.owner, "Staking", core.token.address, rules)
    names = ("minSelfBond", "epochSeconds", "evidenceSeconds", "voteSeconds")
    assert tuple(ask(bare, name) for name in names) == rules
    assert ask(bare, "token") == core.token.address
    assert [ask(bare, name) for name in ("aggregator", "slashing", "configurator")] == [NOBODY] * 3
    assert ask(staking, "aggregator") == core.aggregator.address
    assert ask(staking, "slashing") == core.slashing.address
    assert ask(staking, "configurator") == core.configurator.address
    assert (ask(staking, "epoch"), ask(staking, "config")) == (1, 1)
    assert contract_at(net.chain.w3, "Staking", staking.address).address == staking.address
