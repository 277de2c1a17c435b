"""Every digest that a contract checks, and every signature that it takes, against eth_account. Inputs by Hypothesis."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contracts import constant_str
from oracle.chain.deploy import send
from oracle.chain.evidence import NOTHING, Proof, Statement
from oracle.chain.localnet import TOKEN, sample_words
from oracle.consensus.words import pack_blob
from oracle.keys import HotKey
from tests.contracts.slashing_bench import OBSERVATION, PROPOSAL, REPORT, statement_data
from tests.contracts.typed_data import altered, compact, domain_of, typed_data, typed_hash, typed_signature

SOME = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)  # fmt: skip
UINT32, UINT64, UINT256 = (st.integers(0, 2**size - 1) for size in (32, 64, 256))
HASH = st.binary(min_size=32, max_size=32)
ADDRESS = st.binary(min_size=20, max_size=20)
PERMIT = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
DELEGATION = "Delegation(address delegatee,uint256 nonce,uint256 expiry)"
FAR = 2**64
KEY = HotKey((4_242).to_bytes(32))
WRONG_DOMAINS = [{"name": "Dodonna"}, {"version": "2"}, {"chainId": 1}, {"verifyingContract": "0x" + "11" * 20}]


def key_data(net, owner, key, nonce, **domain):
    own = domain_of(constant_str("STAKING_DOMAIN_NAME"), net.active.chain_id, net.core.staking.address)
    return typed_data(constant_str("KEY_TYPE"), [owner, key, nonce], own | domain)


def token_data(net, type_string, values, **domain):
    own = domain_of("Dodona", net.active.chain_id, net.core.token.address)
    return typed_data(type_string, values, own | domain)


# Digests


@SOME
@given(slot=UINT32, observed_at=UINT64, root=HASH, config=HASH)
def test_report__any_fields__same_digest_in_aggregator_slashing_and_eth_account(
    net, ask, slot, observed_at, root, config
):
    statement = Statement(observed_at, root, NOTHING, b"")
    ours = typed_hash(statement_data(REPORT, net.active, slot, statement))
    assert ask(net.core.aggregator, "reportDigest", net.active.digest, slot, observed_at, root) == ours
    assert ask(net.core.slashing, "digestOf", REPORT, 1, slot, (observed_at, root, NOTHING, b"")) == ours
    data = statement_data(REPORT, net.active, slot, statement)
    data["message"]["configDigest"] = config
    assert ask(net.core.aggregator, "reportDigest", config, slot, observed_at, root) == typed_hash(data)


@SOME
@given(slot=UINT32, observed_at=UINT64, content=HASH, extra=HASH)
def test_observation_and_proposal__any_fields__same_digest_in_slashing_and_eth_account(
    net, ask, slot, observed_at, content, extra
):
    for kind, statement in (
        (OBSERVATION, Statement(observed_at, content, extra, b"")),
        (PROPOSAL, Statement(0, content, NOTHING, b"")),
    ):
        fields = (statement.observed_at, statement.content, statement.extra, b"")
        theirs = ask(net.core.slashing, "digestOf", kind, 1, slot, fields)
        assert theirs == typed_hash(statement_data(kind, net.active, slot, statement))


@SOME
@given(owner=ADDRESS, key=ADDRESS)
def test_key_registration__any_owner_and_key__same_digest_in_staking_and_eth_account(net, ask, owner, key):
    owner, key = (net.chain.w3.to_checksum_address(part) for part in (owner, key))
    theirs = ask(net.core.staking, "registrationDigest", owner, key)
    assert theirs == typed_hash(key_data(net, owner, key, ask(net.core.staking, "nonces", owner)))


def test_key_registration__owner_with_a_past__signs_the_next_nonce(net, ask):
    owner = net.chain.accounts[1]
    assert ask(net.core.staking, "nonces", owner) == 1
    theirs = ask(net.core.staking, "registrationDigest", owner, KEY.checksum_address)
    assert theirs == typed_hash(key_data(net, owner, KEY.checksum_address, 1))


def test_token__domain__is_what_eth_account_hashes(net, ask):
    """The separator alone, from its fields, as EIP-5267 tells them."""
    fields = ask(net.core.token, "eip712Domain")
    assert list(fields[1:5]) == ["Dodona", "1", net.active.chain_id, net.core.token.address]


# Signatures by eth_account


def quorum_blob(net, draft, **changed):
    """A blob whose signatures eth_account made; `changed` replaces fields of what the first signer signed."""
    signatures = []
    for row in net.quorum():
        data = statement_data(REPORT, net.active, draft.slot, Statement(draft.observed_at, draft.root, NOTHING, b""))
        if row == 0:
            data = altered(data, changed)
        secret = net.keys[net.active.rows[row].address].secret
        signatures.append((row, compact(typed_signature(data, secret))))
    return pack_blob(draft.slot, draft.observed_at, signatures, draft.pages, (1 << len(draft.pages)) - 1)


@settings(SOME, max_examples=10)
@given(value=st.integers(1, 2**100))
def test_transmit__signatures_of_eth_account__are_taken(net, ask, value):
    draft = net.draft(sample_words(net.active.feeds, value))
    assert ask(net.core.aggregator, "transmit", quorum_blob(net, draft)) == len(net.active.feeds)


@pytest.mark.parametrize(
    "changed", [{"configDigest": b"\1" * 32}, {"slot": 1}, {"observedAt": 2}, {"root": b"\1" * 32}, *WRONG_DOMAINS],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_transmit__one_field_signed_otherwise__reverts(net, ask, reverts, changed):
    draft = net.draft(sample_words(net.active.feeds, 5))
    with reverts("aggregator: bad signature"):
        ask(net.core.aggregator, "transmit", quorum_blob(net, draft, **changed))


@pytest.fixture
def newcomer(net):
    """An account that can register."""
    owner = net.chain.accounts[20]
    send(net.chain.w3, net.core.token.functions.transfer(owner, 9 * TOKEN), net.core.owner)
    send(net.chain.w3, net.core.token.functions.approve(net.core.staking.address, 9 * TOKEN), owner)
    return owner


@settings(SOME, max_examples=10)
@given(secret=st.integers(1, 2**255))
def test_register__proof_by_eth_account__is_taken(net, newcomer, ask, secret):
    key = HotKey(secret.to_bytes(32))
    proof = compact(typed_signature(key_data(net, newcomer, key.checksum_address, 0), key.secret))
    assert proof == key.sign(typed_hash(key_data(net, newcomer, key.checksum_address, 0)))
    ask(net.core.staking, "register", key.checksum_address, "x", 2 * TOKEN, proof, sender=newcomer)


@pytest.mark.parametrize(
    "changed", [{"owner": "0x" + "22" * 20}, {"key": "0x" + "22" * 20}, {"nonce": 1}, *WRONG_DOMAINS],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_register__one_field_signed_otherwise__reverts(net, newcomer, ask, reverts, changed):
    data = key_data(net, newcomer, KEY.checksum_address, 0)
    data = altered(data, changed)
    proof = compact(typed_signature(data, KEY.secret))
    with reverts("staking: bad proof of possession"):
        ask(net.core.staking, "register", KEY.checksum_address, "x", 2 * TOKEN, proof, sender=newcomer)


def equivocation(net, kind, secret, **changed):
    """A proof whose second statement was signed with changes."""
    slot = net.active.slot_at(net.chain.now * 1000)
    made = [
        Statement(0 if kind == PROPOSAL else 7, bytes([n]) * 32, bytes([kind == OBSERVATION]) * 32, b"") for n in (1, 2)
    ]
    signed = []
    for place, statement in enumerate(made):
        data = statement_data(kind, net.active, slot, statement)
        if place == 1:
            data = altered(data, changed)
        signed.append(replace(statement, signature=compact(typed_signature(data, secret))))
    return Proof(kind, net.active.count, 2, slot, *signed).argument


@pytest.mark.parametrize("kind", [PROPOSAL, OBSERVATION, REPORT])
def test_slashing__signatures_of_eth_account__convict(net, ask, kind):
    key = net.keys[net.active.rows[2].address]
    offence = ask(net.core.slashing, "offenceOf", equivocation(net, kind, key.secret))
    assert offence[:2] == (net.chain.accounts[3], key.checksum_address)


CHANGED = {
    PROPOSAL: [{"observationsHash": b"\5" * 32}],
    OBSERVATION: [{"observedAt": 8}, {"valuesHash": b"\5" * 32}, {"commitment": b"\5" * 32}],
    REPORT: [{"observedAt": 8}, {"root": b"\5" * 32}],
}
EVERYWHERE = [{"configDigest": b"\1" * 32}, {"slot": 1}, *WRONG_DOMAINS]


@pytest.mark.parametrize(
    ("kind", "changed"), [(kind, change) for kind, own in CHANGED.items() for change in (*own, *EVERYWHERE)],
    ids=str,
)  # fmt: skip
def test_slashing__one_field_signed_otherwise__reverts(net, ask, reverts, kind, changed):
    secret = net.keys[net.active.rows[2].address].secret
    with reverts("slashing: bad signature"):
        ask(net.core.slashing, "offenceOf", equivocation(net, kind, secret, **changed))


@SOME
@given(spender=ADDRESS.filter(any), value=UINT256, nonce=st.integers(0, 1), deadline=st.integers(FAR, 2**256 - 1))
def test_permit__any_fields__taken_as_eth_account_signs_it_and_only_with_the_next_nonce(
    net, ask, reverts, spender, value, nonce, deadline
):
    spender = net.chain.w3.to_checksum_address(spender)
    v, r, s = typed_signature(
        token_data(net, PERMIT, [KEY.checksum_address, spender, value, nonce, deadline]), KEY.secret
    )
    call = ("permit", KEY.checksum_address, spender, value, deadline, v, r.to_bytes(32), s.to_bytes(32))
    if nonce == 0:
        ask(net.core.token, *call)
    else:
        with reverts("erc20: invalid signature"):
            ask(net.core.token, *call)


@pytest.mark.parametrize(
    "changed",
    [{"owner": "0x" + "22" * 20}, {"spender": "0x" + "22" * 20}, {"value": 6}, {"deadline": FAR + 1}, *WRONG_DOMAINS],
    ids=lambda changed: next(iter(changed)),
)
def test_permit__one_field_signed_otherwise__reverts(net, ask, reverts, changed):
    data = token_data(net, PERMIT, [KEY.checksum_address, net.core.staking.address, 5, 0, FAR])
    data = altered(data, changed)
    v, r, s = typed_signature(data, KEY.secret)
    with reverts("erc20: invalid signature"):
        ask(
            net.core.token, "permit", KEY.checksum_address, net.core.staking.address, 5, FAR, v, r.to_bytes(32),
            s.to_bytes(32),
        )  # fmt: skip


def delegated(net, data, *fields):
    """Who votes for KEY's holder after a delegation signed as `data` was sent with `fields`."""
    v, r, s = typed_signature(data, KEY.secret)
    call = net.core.token.functions.delegateBySig(*fields, v, r.to_bytes(32), s.to_bytes(32))
    with net.chain.rewound():
        send(net.chain.w3, call, net.core.owner)
        return net.core.token.functions.delegates(KEY.checksum_address).call()


@settings(SOME, max_examples=10)
@given(delegatee=ADDRESS, expiry=st.integers(FAR, 2**256 - 1))
def test_delegate_by_sig__any_fields__taken_as_eth_account_signs_it(net, delegatee, expiry):
    delegatee = net.chain.w3.to_checksum_address(delegatee)
    fields = (delegatee, 0, expiry)
    assert delegated(net, token_data(net, DELEGATION, fields), *fields) == delegatee


@pytest.mark.parametrize(
    "changed", [{"delegatee": "0x" + "22" * 20}, {"nonce": 1}, {"expiry": FAR + 1}, *WRONG_DOMAINS],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_delegate_by_sig__one_field_signed_otherwise__moves_no_vote_of_the_signer(net, changed):
    """ERC-5805 names no signer: such a signature is somebody else's, who holds nothing."""
    fields = (net.core.staking.address, 0, FAR)
    data = token_data(net, DELEGATION, fields)
    data = altered(data, changed)
    assert delegated(net, data, *fields) == "0x" + "00" * 20
