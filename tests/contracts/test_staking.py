"""Registration, bonds, keys and the roll."""

from __future__ import annotations

import pytest
from web3.logs import DISCARD

from contracts.artifacts import artifact
from oracle.chain.deploy import contract_at, deploy, deploy_core, list_feeds, register_validator, send
from oracle.chain.localnet import MINUTE, TOKEN, LocalNet, price_spec
from oracle.keys import HotKey, possession_digest

KEY = HotKey((5_000).to_bytes(32))


@pytest.fixture
def owner(net):
    """An account with tokens that is no validator yet, its allowance given."""
    account = net.chain.accounts[20]
    send(net.chain.w3, net.core.token.functions.transfer(account, 100 * TOKEN), net.core.owner)
    send(net.chain.w3, net.core.token.functions.approve(net.core.staking.address, 100 * TOKEN), account)
    return account


def proof(net, owner, key=KEY):
    return key.sign(net.core.staking.functions.registrationDigest(owner, key.checksum_address).call())


def test_register__good_proof__bonds_and_tells(net, owner, ask):
    staking = net.core.staking
    before = ask(staking, "bonded")
    call = staking.functions.register(KEY.checksum_address, "http://here", 7 * TOKEN, proof(net, owner))
    receipt = send(net.chain.w3, call, owner)
    assert tuple(ask(staking, "validator", owner)) == (owner, KEY.checksum_address, 7 * TOKEN, "http://here")
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
        with reverts("staking: key was registered before"):
            signature = proof(net, owner, taken)
            ask(net.core.staking, "register", taken.checksum_address, "x", TOKEN, signature, sender=owner)
        if ask(net.core.staking, "validator", first_owner)[1] == taken.checksum_address:
            send(net.chain.w3, net.core.staking.functions.revokeKey(), first_owner)
    with reverts("staking: key was registered before"):
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
    place = artifact("Staking").layout["list"]
    net.chain.set_storage(net.core.staking.address, {place: 256})
    with reverts("staking: registry is full"):
        ask(net.core.staking, "register", KEY.checksum_address, "x", TOKEN, proof(net, owner), sender=owner)


def test_bond__more__counts_from_the_next_roll(net, ask, reverts):
    small, staking = net.chain.accounts[4], net.core.staking
    send(net.chain.w3, net.core.token.functions.transfer(small, 90 * TOKEN), net.core.owner)
    send(net.chain.w3, net.core.token.functions.approve(staking.address, 90 * TOKEN), small)
    send(net.chain.w3, staking.functions.bond(90 * TOKEN), small)
    assert ask(staking, "validator", small)[2] == 100 * TOKEN
    rows = net.active.rows
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    assert rows[3].address == net.active.rows[0].address
    with reverts("staking: nothing to bond"):
        ask(staking, "bond", 0, sender=small)
    with reverts("staking: bond too large"):
        ask(staking, "bond", 2**96 - 1, sender=small)


@pytest.mark.parametrize(
    ("name", "arguments"), [("bond", (1,)), ("setEndpoint", ("x",)), ("replaceKey", (KEY.checksum_address, bytes(64)))]
)
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


def test_replace_key__next_roll__signs_with_the_new_one(net, ask):
    owner, staking = net.chain.accounts[1], net.core.staking
    old = ask(staking, "validator", owner)[1]
    send(net.chain.w3, staking.functions.replaceKey(KEY.checksum_address, proof(net, owner)), owner)
    assert ask(net.core.aggregator, "revokedMask", 1) == 0
    net.keys[KEY.address] = KEY
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    assert KEY.address in {row.address for row in net.active.rows}
    assert bytes.fromhex(old[2:]) not in {row.address for row in net.active.rows}
    assert ask(staking, "endpointOf", old) == ask(staking, "endpointOf", KEY.checksum_address)


def test_revoke_key__owner__counts_no_more_and_is_left_out(net, ask, reverts):
    owner = net.chain.accounts[1]
    send(net.chain.w3, net.core.staking.functions.revokeKey(), owner)
    assert ask(net.core.aggregator, "revokedMask", 1) == 1
    with reverts("staking: no key to revoke"):
        ask(net.core.staking, "revokeKey", sender=owner)
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    assert len(net.active.rows) == 3
    assert ask(net.core.aggregator, "revokedMask", 1) == 1
    assert ask(net.core.aggregator, "revokedMask", 2) == 0


def test_roll__unset_aggregator__reverts(net, ask, reverts):
    staking = deploy(net.chain.w3, net.core.owner, "Staking", net.core.token.address, TOKEN, 0)
    with reverts("staking: no aggregator"):
        ask(staking, "rollEpoch")


def test_roll__before_the_epoch_is_over__reverts(net, ask, reverts):
    core = deploy_core(
        net.chain.w3, net.core.owner, MINUTE, supply=10**9 * TOKEN, min_self_bond=TOKEN, epoch_seconds=3_600
    )
    other = LocalNet(net.chain, core)
    other.register(40, 5 * TOKEN)
    list_feeds(net.chain.w3, core, [price_spec(0)])
    other.roll()
    net.chain.move_to(ask(core.staking, "lastRoll") + 3_599)
    with reverts("staking: epoch is not over"):
        ask(core.staking, "rollEpoch")
    net.chain.move_to(ask(core.staking, "lastRoll") + 3_600)
    assert ask(core.staking, "rollEpoch", sender=net.chain.accounts[50]) > other.active.first_slot


def test_roll__many_validators__largest_64_by_stake_then_registration():
    stakes = [10 + index % 7 for index in range(66)]
    net = LocalNet.start(stakes, [price_spec(0)])
    keys = [HotKey((index + 1_000).to_bytes(32)).address for index in range(66)]
    ranked = sorted(range(66), key=lambda index: (-stakes[index], index))[:64]
    assert [row.address for row in net.active.rows] == [keys[index] for index in ranked]


def test_set_aggregator__misuse__reverts(net, ask, reverts):
    staking, aggregator = net.core.staking, net.core.aggregator.address
    with reverts("ownable: caller is not the owner"):
        ask(staking, "setAggregator", aggregator, sender=net.chain.accounts[3])
    with reverts("staking: aggregator is set"):
        ask(staking, "setAggregator", aggregator, sender=net.core.owner)
    other = deploy(net.chain.w3, net.core.owner, "Staking", net.core.token.address, TOKEN, 0)
    with reverts("staking: aggregator of another staking"):
        ask(other, "setAggregator", aggregator, sender=net.core.owner)


@pytest.mark.parametrize(
    ("token", "minimum", "reason"),
    [(False, 1, "staking: no token"), (True, 0, "staking: bad minimum"), (True, 2**96, "staking: bad minimum")],
)
def test_deploy_staking__bad_argument__reverts(net, ask, reverts, token, minimum, reason):
    built = artifact("Staking")
    address = net.core.token.address if token else "0x" + "00" * 20
    call = net.chain.w3.eth.contract(abi=built.abi, bytecode=built.bytecode).constructor(address, minimum, 0)
    with reverts(reason):
        net.chain.w3.eth.call(call.build_transaction({"gas": 10**7, "from": net.core.owner}), "pending")


def test_effective_stakes__unsorted__reverts(net, ask, reverts):
    with reverts("staking: not sorted"):
        ask(net.core.staking, "effectiveStakes", [1, 2])


def test_views__constructor_arguments__are_readable(net, ask):
    staking = net.core.staking
    assert ask(staking, "token") == net.core.token.address
    assert (ask(staking, "minSelfBond"), ask(staking, "epochSeconds"), ask(staking, "epoch")) == (TOKEN, 0, 1)
    assert ask(staking, "aggregator") == net.core.aggregator.address
    assert ask(staking, "owner") == net.core.owner
    assert contract_at(net.chain.w3, "Staking", staking.address).address == staking.address


def test_register_validator__helper__is_what_an_operator_does(net, owner, ask):
    register_validator(net.chain.w3, net.core, owner, KEY.checksum_address, "http://x", TOKEN, KEY.sign)
    assert ask(net.core.staking, "validator", owner)[2] == TOKEN


def test_bonded__any_bonds__is_the_sum_of_stakes(net, owner, ask):
    staking = net.core.staking
    register_validator(net.chain.w3, net.core, owner, KEY.checksum_address, "http://x", 3 * TOKEN, KEY.sign)
    send(net.chain.w3, net.core.token.functions.approve(staking.address, 9), owner)
    send(net.chain.w3, staking.functions.bond(9), owner)
    stakes = [ask(staking, "validator", account)[2] for account in ask(staking, "owners")]
    assert ask(staking, "bonded") == sum(stakes) == 103 * TOKEN + 9 == ask(net.core.token, "balanceOf", staking.address)


def test_bonded__gift_of_tokens__changes_nothing(net, ask):
    staking = net.core.staking
    send(net.chain.w3, net.core.token.functions.transfer(staking.address, 10**6 * TOKEN), net.core.owner)
    assert ask(staking, "bonded") == 100 * TOKEN
    net.chain.move_to(net.chain.now + 600)
    before = net.active.rows
    assert net.roll().rows == before


def test_register__token_that_answers_false__reverts(net, ask, reverts):
    """The token is four instructions: whatever it is asked, it returns a word of zeros."""
    refuses = bytes.fromhex("60205ff3")
    creation = b"\x61" + len(refuses).to_bytes(2) + b"\x80\x60\x0a\x3d\x39\x3d\xf3" + refuses
    eth, owner = net.chain.w3.eth, net.chain.accounts[30]
    made = eth.wait_for_transaction_receipt(eth.send_transaction({"from": owner, "data": creation, "gas": 10**6}))
    staking = deploy(net.chain.w3, net.core.owner, "Staking", made["contractAddress"], TOKEN, 0)
    signature = KEY.sign(ask(staking, "registrationDigest", owner, KEY.checksum_address))
    with reverts("staking: transfer failed"):
        ask(staking, "register", KEY.checksum_address, "x", TOKEN, signature, sender=owner)
