"""The token: ERC-20's edges, delegation, the past, and signed messages as wallets make them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_account import Account
from eth_tester.backends.pyevm.main import get_default_account_keys
from eth_utils import keccak, to_checksum_address
from hypothesis import example, given, settings
from hypothesis import strategies as st
from web3.logs import DISCARD

from contracts.artifacts import artifact
from oracle.chain.deploy import deploy, send
from oracle.chain.localnet import LocalChain
from tests.contracts.mock_code import deploy_mock
from tests.contracts.token_model import ENDLESS, HALF_N, ZERO, Domain, sign

SUPPLY = 2**96 - 1
ALICE, BOB, CAROL = 0, 1, 2
KEYS = get_default_account_keys(quantity=3)
CURVE_ORDER = 2 * HALF_N + 1
PRIVATE_KEY = st.integers(1, CURVE_ORDER - 1).map(lambda number: number.to_bytes(32))
ADDRESS = st.integers(1, 2**160 - 1).map(lambda number: to_checksum_address(number.to_bytes(20)))
HIGHEST = to_checksum_address("0x" + "ff" * 20)
WORD = st.integers(0, ENDLESS)


class Place:
    """A token on a chain of its own; Alice has the supply."""

    def __init__(self) -> None:
        self.chain = LocalChain(accounts=3)
        self.born = self.chain.now
        self.people = self.chain.accounts
        self.token = deploy(self.chain.w3, self.people[ALICE], "OracleToken", SUPPLY)
        self.caller = deploy_mock(self.chain.w3, self.people[ALICE], "ManyCalls")
        self.domain = Domain(self.chain.w3.eth.chain_id, self.token.address)

    def do(self, sender: int, name: str, *arguments):
        return send(self.chain.w3, self.token.get_function_by_name(name)(*arguments), self.people[sender], 1_000_000)

    def ask(self, name: str, *arguments, sender: int = ALICE):
        found = self.token.get_function_by_name(name)(*arguments)
        return found.call({"from": self.people[sender]}, "pending")

    def logged(self, receipt, event: str) -> list[tuple]:
        found = self.token.events[event]().process_receipt(receipt, errors=DISCARD)
        return [tuple(entry["args"].values()) for entry in found]

    def set_nonce(self, owner: str, nonce: int) -> None:
        slot = artifact("OracleToken").layout["erc20.nonces"]
        place = keccak(slot.to_bytes(32) + bytes(12) + bytes.fromhex(owner[2:]))
        self.chain.set_storage(self.token.address, {int.from_bytes(place): nonce})


@pytest.fixture(scope="module")
def built():
    return Place()


@pytest.fixture
def place(built):
    with built.chain.rewound():
        yield built


@pytest.fixture
def people(place):
    return place.people


def split(vrs):
    v, r, s = vrs
    return v, r.to_bytes(32), s.to_bytes(32)


# ERC-20


@pytest.mark.parametrize("amount", [0, 1, SUPPLY])
def test_transfer__nothing_one_unit_or_all__moves_exactly_that(place, people, amount):
    receipt = place.do(ALICE, "transfer", people[BOB], amount)
    assert place.logged(receipt, "Transfer") == [(people[ALICE], people[BOB], amount)]
    assert (place.ask("balanceOf", people[ALICE]), place.ask("balanceOf", people[BOB])) == (SUPPLY - amount, amount)
    assert place.ask("totalSupply") == SUPPLY


def test_transfer__to_oneself__changes_neither_balance_nor_votes(place, people):
    place.do(ALICE, "delegate", people[ALICE])
    receipt = place.do(ALICE, "transfer", people[ALICE], SUPPLY)
    assert place.logged(receipt, "DelegateVotesChanged") == []
    assert place.ask("balanceOf", people[ALICE]) == place.ask("getVotes", people[ALICE]) == SUPPLY


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("transfer", ("bob", SUPPLY + 1), "erc20: transfer amount exceeds balance"),
        ("transfer", ("bob", ENDLESS), "erc20: transfer amount exceeds balance"),
        ("transfer", ("zero", 1), "erc20: transfer to the zero address"),
        ("transferFrom", ("bob", "carol", 1), "erc20: insufficient allowance"),
        ("transferFrom", ("zero", "carol", 0), "erc20: approve from the zero address"),
        ("approve", ("zero", 1), "erc20: approve to the zero address"),
        ("burn", (SUPPLY + 1,), "erc20: burn amount exceeds balance"),
        ("burn_from", ("bob", 1), "erc20: insufficient allowance"),
        ("burn_from", ("zero", 0), "erc20: approve from the zero address"),
    ],
)
def test_erc20__what_no_one_may__reverts(place, people, reverts, name, arguments, reason):
    known = {"zero": ZERO, "bob": people[BOB], "carol": people[CAROL]}
    with reverts(reason):
        place.ask(name, *(known.get(value, value) for value in arguments))


@pytest.mark.parametrize("name", ["transferFrom", "burn_from"])
def test_allowance__endless__is_never_used_up_and_any_other_is(place, people, name):
    arguments = (people[ALICE], people[CAROL], 5) if name == "transferFrom" else (people[ALICE], 5)
    for allowed, left in ((ENDLESS, ENDLESS), (7, 2)):
        place.do(ALICE, "approve", people[BOB], allowed)
        place.do(BOB, name, *arguments)
        assert place.ask("allowance", people[ALICE], people[BOB]) == left


def test_transfer_from__more_than_the_balance__keeps_the_allowance(place, people, reverts):
    place.do(ALICE, "approve", people[BOB], ENDLESS - 1)
    with reverts("erc20: transfer amount exceeds balance"):
        place.ask("transferFrom", people[ALICE], people[BOB], SUPPLY + 1, sender=BOB)
    with reverts("erc20: burn amount exceeds balance"):
        place.ask("burn_from", people[ALICE], SUPPLY + 1, sender=BOB)
    assert place.ask("allowance", people[ALICE], people[BOB]) == ENDLESS - 1


def test_views__token__says_what_it_is(place):
    assert [place.ask(name) for name in ("name", "symbol", "decimals")] == ["Dodona", "DODO", 18]
    assert (place.ask("clock"), place.ask("CLOCK_MODE")) == (place.chain.now, "mode=timestamp")
    zero = bytes(32)
    domain = [b"\x0f", "Dodona", "1", place.domain.chain_id, place.token.address, zero, []]
    assert place.ask("eip712Domain") == domain


def test_deploy__roles_of_the_modules_below__are_given_up(place, people):
    """No function reads them; who could mint is told by storage alone."""
    layout = artifact("OracleToken").layout
    minter = keccak(layout["erc20.is_minter"].to_bytes(32) + bytes(12) + bytes.fromhex(people[ALICE][2:]))
    for slot in (layout["ownable.owner"], int.from_bytes(minter)):
        assert int.from_bytes(place.chain.w3.eth.get_storage_at(place.token.address, slot)) == 0


def test_deploy__supply_above_a_table_row__reverts(place, reverts):
    made = place.chain.w3.eth.contract(abi=place.token.abi, bytecode=artifact("OracleToken").bytecode)
    with reverts("token: supply above 2**96 - 1"):
        place.chain.w3.eth.call(made.constructor(SUPPLY + 1).build_transaction({"gas": 10**7}), "pending")


# Delegation


def test_delegate__self_then_another_then_nobody__votes_follow(place, people):
    steps = ((people[ALICE], [SUPPLY, 0]), (people[BOB], [0, SUPPLY]), (ZERO, [0, 0]))
    before, held = ZERO, {people[ALICE]: 0, people[BOB]: 0}
    for delegatee, votes in steps:
        receipt = place.do(ALICE, "delegate", delegatee)
        assert place.logged(receipt, "DelegateChanged") == [(people[ALICE], before, delegatee)]
        changed = [(who, SUPPLY, 0) for who in (before,) if who != ZERO]
        changed += [(who, 0, SUPPLY) for who in (delegatee,) if who != ZERO]
        assert place.logged(receipt, "DelegateVotesChanged") == changed
        assert [place.ask("getVotes", person) for person in held] == votes
        assert place.ask("delegates", people[ALICE]) == delegatee
        assert place.ask("getVotes", ZERO) == 0
        before = delegatee


def test_delegate__same_again__moves_nothing(place, people):
    place.do(ALICE, "delegate", people[BOB])
    receipt = place.do(ALICE, "delegate", people[BOB])
    assert place.logged(receipt, "DelegateChanged") == [(people[ALICE], people[BOB], people[BOB])]
    assert place.logged(receipt, "DelegateVotesChanged") == []


def test_transfer__between_holders_of_one_delegate__votes_stay(place, people):
    for person in (ALICE, BOB):
        place.do(person, "delegate", people[CAROL])
    receipt = place.do(ALICE, "transfer", people[BOB], 9)
    assert place.logged(receipt, "DelegateVotesChanged") == []
    assert place.ask("getVotes", people[CAROL]) == SUPPLY


@pytest.mark.parametrize("name", ["transfer", "transferFrom"])
def test_transfer__to_a_delegating_holder__moves_the_votes(place, people, name):
    place.do(ALICE, "delegate", people[ALICE])
    place.do(BOB, "delegate", people[CAROL])
    place.do(ALICE, "approve", people[ALICE], 4)
    owner = (people[ALICE],) if name == "transferFrom" else ()
    receipt = place.do(ALICE, name, *owner, people[BOB], 4)
    moved = [(people[ALICE], SUPPLY, SUPPLY - 4), (people[CAROL], 0, 4)]
    assert place.logged(receipt, "DelegateVotesChanged") == moved


@pytest.mark.parametrize("name", ["burn", "burn_from"])
def test_burn__delegated_tokens__lowers_votes_and_supply_from_then_on(place, people, name):
    place.do(ALICE, "delegate", people[BOB])
    place.do(ALICE, "approve", people[ALICE], 10)
    second = place.chain.now
    place.do(ALICE, name, *((people[ALICE],) if name == "burn_from" else ()), 10)
    assert place.ask("getVotes", people[BOB]) == place.ask("totalSupply") == SUPPLY - 10
    for time, expected in ((second - 1, SUPPLY), (second, SUPPLY - 10)):
        assert place.ask("getPastVotes", people[BOB], time) == expected
        assert place.ask("getPastTotalSupply", time) == expected


# The past


def test_past__before_and_at_the_birth__supply_starts_then(place, people):
    assert [place.ask("getPastTotalSupply", place.born + step) for step in (-1, 0)] == [0, SUPPLY]
    assert place.ask("getPastVotes", people[ALICE], place.born) == 0


@pytest.mark.parametrize("name", ["getPastVotes", "getPastTotalSupply"])
def test_past__now_and_later__reverts_as_it_may_still_change(place, people, reverts, name):
    account = (people[ALICE],) if name == "getPastVotes" else ()
    for second in (place.chain.now, place.chain.now + 1, ENDLESS):
        with reverts("token: future lookup"):
            place.ask(name, *account, second)
    assert place.ask(name, *account, place.chain.now - 1) == (0 if account else SUPPLY)


def test_past__tokens_lent_for_one_transaction__never_voted(place, people):
    """The borrower delegates, receives, and gives back, all in one second: no past second shows a vote."""
    borrower = place.caller.address
    place.do(ALICE, "delegate", people[ALICE])
    place.do(ALICE, "approve", borrower, SUPPLY)
    calls = [
        ("delegate", (borrower,)), ("transferFrom", (people[ALICE], borrower, SUPPLY)), ("getVotes", (borrower,)),
        ("transfer", (people[ALICE], SUPPLY)),
    ]  # fmt: skip
    second = place.chain.now
    payloads = [place.token.encode_abi(name, args=arguments) for name, arguments in calls]
    receipt = send(place.chain.w3, place.caller.functions.run(place.token.address, payloads), people[BOB])
    assert (borrower, 0, SUPPLY) in place.logged(receipt, "DelegateVotesChanged"), "for a moment it had them all"
    assert [place.ask("getPastVotes", borrower, second + step) for step in (-1, 0)] == [0, 0]
    assert [place.ask("getPastVotes", people[ALICE], second + step) for step in (-1, 0)] == [SUPPLY, SUPPLY]


# Signed messages


@settings(max_examples=25)
@given(private=PRIVATE_KEY, spender=ADDRESS, value=WORD, nonce=st.integers(0, ENDLESS - 1), late=st.integers(0, 9))
@example(private=(CURVE_ORDER - 1).to_bytes(32), spender=HIGHEST, value=ENDLESS, nonce=ENDLESS - 1, late=0)
def test_permit__any_wallets_signature__is_taken(built, private, spender, value, nonce, late):
    with built.chain.rewound():
        owner, deadline = Account.from_key(private).address, built.chain.now + late
        built.set_nonce(owner, nonce)
        message = built.domain.permit(owner, spender, value, nonce, deadline)
        assert message.header == built.ask("DOMAIN_SEPARATOR")
        vrs = split(sign(private, message))
        call = built.token.functions.permit(owner, spender, value, deadline, *vrs)
        receipt = send(built.chain.w3, call, built.people[BOB], 1_000_000)
        (approval,) = built.logged(receipt, "Approval")
        assert approval == (owner, spender, value)
        assert built.ask("allowance", owner, spender) == value
        assert built.ask("nonces", owner) == nonce + 1


@settings(max_examples=25)
@given(private=PRIVATE_KEY, delegatee=ADDRESS, nonce=st.integers(0, ENDLESS - 1), late=st.integers(0, 9))
@example(private=(1).to_bytes(32), delegatee=ZERO, nonce=0, late=0)
@example(private=(1).to_bytes(32), delegatee=HIGHEST, nonce=ENDLESS - 1, late=ENDLESS)
def test_delegate_by_sig__any_wallets_signature__is_taken(built, private, delegatee, nonce, late):
    with built.chain.rewound():
        owner, expiry = Account.from_key(private).address, min(built.chain.now + late, ENDLESS)
        built.set_nonce(owner, nonce)
        vrs = split(sign(private, built.domain.delegation(delegatee, nonce, expiry)))
        receipt = built.do(BOB, "delegateBySig", delegatee, nonce, expiry, *vrs)
        assert built.logged(receipt, "DelegateChanged") == [(owner, ZERO, delegatee)]
        assert (built.ask("delegates", owner), built.ask("nonces", owner)) == (delegatee, nonce + 1)


def forged(place: Place, flaw: str, name: str):
    """Arguments of `permit` or `delegateBySig` of Alice that are wrong in one thing; her nonce is 1."""
    place.set_nonce(place.people[ALICE], 1)
    domain, last = place.domain, place.chain.now + (-1 if flaw == "expired" else 9)
    domain = replace(domain, chain_id=1) if flaw == "chain" else domain
    domain = replace(domain, token=place.people[BOB]) if flaw == "contract" else domain
    nonce = {"old nonce": 0, "nonce ahead": 2}.get(flaw, 1)
    to, key = place.people[CAROL], KEYS[BOB if flaw == "key" else ALICE]
    if name == "permit":
        v, r, s = sign(key, domain.permit(place.people[ALICE], to, 5, nonce, last))
        values = (place.people[ALICE], to, 6 if flaw == "value" else 5, last)
    else:
        v, r, s = sign(key, domain.delegation(to, nonce, last))
        values = (place.people[BOB] if flaw == "value" else to, nonce, last)
    if flaw == "high s":
        return *values, *split((55 - v, r, CURVE_ORDER - s))
    changed = {"zero": (0, 0, 0), "v 0": (v - 27, r, s), "v 29": (29, r, s), "no r": (v, 0, s), "no s": (v, r, 0)}
    return *values, *split(changed.get(flaw, (v, r, s)))


FLAWS = {
    "expired": ("erc20: expired deadline", "token: signature expired"),
    "high s": ("ecdsa: invalid signature `s` value", "token: high s"),
    "zero": ("ecdsa: invalid signature", "token: invalid signature"),
    "v 0": ("ecdsa: invalid signature", "token: invalid signature"),
    "v 29": ("ecdsa: invalid signature", "token: invalid signature"),
    "no r": ("ecdsa: invalid signature", "token: invalid signature"),
    "no s": ("ecdsa: invalid signature", "token: invalid signature"),
    "chain": ("erc20: invalid signature", "token: wrong nonce"),
    "contract": ("erc20: invalid signature", "token: wrong nonce"),
    "old nonce": ("erc20: invalid signature", "token: wrong nonce"),
    "nonce ahead": ("erc20: invalid signature", "token: wrong nonce"),
    "value": ("erc20: invalid signature", "token: wrong nonce"),
    "key": ("erc20: invalid signature", "token: wrong nonce"),
}


@pytest.mark.parametrize("name", ["permit", "delegateBySig"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_signed_message__one_thing_wrong__reverts(place, reverts, flaw, name):
    with reverts(FLAWS[flaw][name == "delegateBySig"]):
        place.ask(name, *forged(place, flaw, name), sender=BOB)
    assert place.ask(name, *forged(place, "none", name), sender=BOB) == [], "without the flaw it is taken"


def test_delegate_by_sig__signed_for_another_chain_at_nonce_0__binds_a_stranger_only(place, people):
    """ERC-5805 names no signer: foreign bytes recover an address that nobody holds, and what it does is its own."""
    foreign = replace(place.domain, chain_id=1).delegation(people[CAROL], 0, ENDLESS)
    receipt = place.do(BOB, "delegateBySig", people[CAROL], 0, ENDLESS, *split(sign(KEYS[ALICE], foreign)))
    ((stranger, _, _),) = place.logged(receipt, "DelegateChanged")
    assert stranger not in people
    assert place.ask("delegates", people[ALICE]) == ZERO
    assert (place.ask("getVotes", people[CAROL]), place.ask("nonces", people[ALICE])) == (0, 0)


def test_nonces__permit_and_delegation__share_one_count(place, people, reverts):
    last = place.chain.now + 99
    delegation = split(sign(KEYS[ALICE], place.domain.delegation(people[BOB], 0, last)))
    permit = split(sign(KEYS[ALICE], place.domain.permit(people[ALICE], people[BOB], 5, 0, last)))
    place.do(CAROL, "delegateBySig", people[BOB], 0, last, *delegation)
    with reverts("erc20: invalid signature"):
        place.ask("permit", people[ALICE], people[BOB], 5, last, *permit)
    with reverts("token: wrong nonce"):
        place.ask("delegateBySig", people[BOB], 0, last, *delegation)
    again = split(sign(KEYS[ALICE], place.domain.permit(people[ALICE], people[BOB], 5, 1, last)))
    place.do(CAROL, "permit", people[ALICE], people[BOB], 5, last, *again)
    assert place.ask("nonces", people[ALICE]) == 2
    with reverts("erc20: invalid signature"):
        place.ask("permit", people[ALICE], people[BOB], 5, last, *again)
