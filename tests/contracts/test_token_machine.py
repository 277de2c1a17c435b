"""The token against a Python model of itself: transfers, burns, delegations, signed messages good and forged."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_tester.backends.pyevm.main import get_default_account_keys
from eth_tester.exceptions import TransactionFailed
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)
from web3.logs import DISCARD

from oracle.chain.deploy import deploy, send
from oracle.chain.localnet import LocalChain
from tests.contracts.machines import CountedMachine, run_machine
from tests.contracts.mock_code import deploy_mock
from tests.contracts.token_model import ENDLESS, HALF_N, ZERO, Domain, Refused, TokenModel, Vrs, sign, then

SUPPLY = 2**96 - 1
PEOPLE = 5
CURVE_ORDER = 2 * HALF_N + 1
PERSON = st.integers(0, PEOPLE - 1)
ANYONE = st.integers(-1, PEOPLE - 1)  # -1 is the zero address
AMOUNT = st.sampled_from(["nothing", "one", "some", "all", "one too much", "supply", "endless"])
FLAW = st.sampled_from(
    [
        "none", "none", "none", "expired", "last second", "chain", "contract", "high s", "bad v", "zero", "nonce",
        "key", "value",
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def place():
    chain = LocalChain(accounts=PEOPLE)
    first = chain.accounts[0]
    born = chain.now
    token = deploy(chain.w3, first, "OracleToken", SUPPLY)
    return chain, token, deploy_mock(chain.w3, first, "TokenReader"), born


class TokenMachine(CountedMachine):
    """Five accounts, the first with the whole supply of 2**96 - 1."""

    place: tuple[LocalChain, Any, Any, int]  # set by the test

    @initialize()
    def start(self) -> None:
        self.chain, self.token, self.reader, self.born = self.place
        self.taken = self.chain.snapshot()
        self.people = self.chain.accounts[:PEOPLE]
        self.private = get_default_account_keys(quantity=PEOPLE)
        domain = Domain(self.chain.w3.eth.chain_id, self.token.address)
        balances = dict.fromkeys(self.people, 0) | {self.people[0]: SUPPLY, ZERO: 0}
        self.model = TokenModel(domain, [(self.born, SUPPLY)], balances)
        self.used: list[tuple[str, tuple[Any, ...], Vrs]] = []

    def teardown(self) -> None:
        if hasattr(self, "taken"):
            self.chain.revert(self.taken)

    def who(self, index: int) -> str:
        return ZERO if index < 0 else self.people[index]

    def amount(self, kind: str, holder: str) -> int:
        held = self.model.balances[holder]
        return {
            "nothing": 0, "one": 1, "some": held // 3, "all": held, "one too much": held + 1,
            "supply": self.model.supply, "endless": ENDLESS,
        }[kind]  # fmt: skip

    def attempt(self, call: Any, sender: str, act: Callable[[int], list[tuple[str, int, int]]]) -> bool:
        """The chain does what the model does: the same votes in the same order, or a refusal for the same reason."""
        try:
            moved = act(self.chain.now)
        except Refused as refusal:
            with pytest.raises(TransactionFailed, match=re.escape(str(refusal)) + "$"):
                call.call({"from": sender}, "pending")
            return False
        receipt = send(self.chain.w3, call, sender, 1_000_000)
        logged = self.token.events.DelegateVotesChanged().process_receipt(receipt, errors=DISCARD)
        assert [tuple(entry["args"].values()) for entry in logged] == moved
        return True

    @rule(owner=PERSON, to=ANYONE, kind=AMOUNT)
    def transfer(self, owner: int, to: int, kind: str) -> None:
        """To oneself, to nobody, of nothing, of more than there is."""
        giver, taker = self.who(owner), self.who(to)
        amount = self.amount(kind, giver)
        call = self.token.functions.transfer(taker, amount)
        self.attempt(call, giver, lambda now: self.model.transfer(now, giver, taker, amount))

    @rule(owner=PERSON, spender=ANYONE, kind=AMOUNT)
    def approve(self, owner: int, spender: int, kind: str) -> None:
        giver, taker = self.who(owner), self.who(spender)
        amount = self.amount(kind, giver)
        call = self.token.functions.approve(taker, amount)
        self.attempt(call, giver, lambda now: self.model.approve(now, giver, taker, amount))

    @rule(sender=PERSON, owner=ANYONE, to=ANYONE, kind=AMOUNT)
    def transfer_from(self, sender: int, owner: int, to: int, kind: str) -> None:
        spender, giver, taker = self.who(sender), self.who(owner), self.who(to)
        amount = self.amount(kind, giver)
        call = self.token.functions.transferFrom(giver, taker, amount)
        self.attempt(call, spender, lambda now: self.model.transfer_from(now, spender, giver, taker, amount))

    @rule(owner=PERSON, kind=AMOUNT)
    def burn(self, owner: int, kind: str) -> None:
        giver = self.who(owner)
        amount = self.amount(kind, giver)
        self.attempt(self.token.functions.burn(amount), giver, lambda now: self.model.burn(now, giver, amount))

    @rule(sender=PERSON, owner=ANYONE, kind=AMOUNT)
    def burn_from(self, sender: int, owner: int, kind: str) -> None:
        spender, giver = self.who(sender), self.who(owner)
        amount = self.amount(kind, giver)
        call = self.token.functions.burn_from(giver, amount)
        self.attempt(call, spender, lambda now: self.model.burn_from(now, spender, giver, amount))

    @rule(owner=PERSON, to=ANYONE)
    def delegate(self, owner: int, to: int) -> None:
        giver, taker = self.who(owner), self.who(to)
        call = self.token.functions.delegate(taker)
        self.attempt(call, giver, lambda now: self.model.delegate(now, giver, taker))

    @rule(owner=PERSON, spender=ANYONE, kind=AMOUNT, flaw=FLAW, sender=PERSON)
    def permit(self, owner: int, spender: int, kind: str, flaw: str, sender: int) -> None:
        """A signed approval, sent by anyone; each flaw makes it worthless."""
        giver, taker = self.who(owner), self.who(spender)
        value, nonce, deadline = self.amount(kind, giver), self.model.nonces[giver], self.deadline(flaw)
        signed = (giver, taker, value ^ (flaw == "value"), nonce + (flaw == "nonce"), deadline)
        vrs = self.sign(flaw, owner, self.wrong_domain(flaw).permit(*signed))
        self.send_signed("permit", (giver, taker, value, deadline), vrs, sender)

    @rule(owner=PERSON, to=ANYONE, flaw=FLAW, sender=PERSON)
    def delegate_by_sig(self, owner: int, to: int, flaw: str, sender: int) -> None:
        """A signed delegation, sent by anyone."""
        giver, taker = self.who(owner), self.who(to)
        nonce, expiry = self.model.nonces[giver] + (flaw == "nonce"), self.deadline(flaw)
        vrs = self.sign(flaw, owner, self.wrong_domain(flaw).delegation(taker, nonce, expiry + (flaw == "value")))
        self.send_signed("delegateBySig", (taker, nonce, expiry), vrs, sender)

    @precondition(lambda self: self.used)
    @rule(pick=st.integers(0, 9), sender=PERSON)
    def replay(self, pick: int, sender: int) -> None:
        """What was accepted once is refused for ever."""
        name, values, vrs = self.used[pick % len(self.used)]
        assert not self.send_signed(name, values, vrs, sender)

    def send_signed(self, name: str, values: tuple[Any, ...], vrs: Vrs, sender: int) -> bool:
        v, r, s = vrs
        call = self.token.get_function_by_name(name)(*values, v, r.to_bytes(32), s.to_bytes(32))
        act = self.model.permit if name == "permit" else self.model.delegate_by_sig
        done = self.attempt(call, self.who(sender), lambda now: act(now, *values, vrs))
        if done:
            self.used.append((name, values, vrs))
        return done

    def deadline(self, flaw: str) -> int:
        return self.chain.now + {"expired": -1, "last second": 0}.get(flaw, 50)

    def wrong_domain(self, flaw: str) -> Domain:
        domain = self.model.domain
        if flaw == "chain":
            return replace(domain, chain_id=domain.chain_id + 1)
        return replace(domain, token=self.people[1]) if flaw == "contract" else domain

    def sign(self, flaw: str, owner: int, message: Any) -> Vrs:
        v, r, s = sign(self.private[(owner + (flaw == "key")) % PEOPLE], message)
        if flaw == "high s":
            return 55 - v, r, CURVE_ORDER - s
        if flaw == "zero":
            return 0, 0, 0
        return (v - 27 if flaw == "bad v" else v), r, s

    @rule(seconds=st.integers(1, 10**6))
    def wait(self, seconds: int) -> None:
        self.chain.move_to(self.chain.now + seconds)

    @rule(back=st.integers(1, 40), index=ANYONE)
    def look_back(self, back: int, index: int) -> None:
        """Any past second says what the model remembers: whatever came later changed nothing."""
        moments = [time for trace in (*self.model.votes.values(), self.model.supply_trace) for time, _ in trace]
        account, view = self.who(index), self.token.functions
        for second in {self.chain.now - back, moments[back % len(moments)], moments[-1] - 1, self.born - 1}:
            past = view.getPastVotes(account, second).call({}, "pending")
            assert past == then(self.model.votes[account], second)
            assert view.getPastTotalSupply(second).call({}, "pending") == then(self.model.supply_trace, second)

    @rule(ahead=st.sampled_from([0, 1, 10**9, 2**200]), index=ANYONE)
    def look_ahead(self, ahead: int, index: int) -> None:
        view, second = self.token.functions, self.chain.now + ahead
        for call in (view.getPastVotes(self.who(index), second), view.getPastTotalSupply(second)):
            with pytest.raises(TransactionFailed, match=r"token: future lookup$"):
                call.call({}, "pending")

    @invariant()
    def chain_equals_model(self) -> None:
        if not hasattr(self, "model"):
            return
        model = self.model
        spender = self.people[self.chain.now % PEOPLE]
        supply, holders = self.reader.functions.look(self.token.address, [*self.people, ZERO], spender).call()
        for person, (held, votes, nonce, allowed, delegated) in zip([*self.people, ZERO], holders, strict=True):
            assert (held, delegated) == (model.balances[person], model.delegates[person])
            assert (nonce, allowed) == (model.nonces[person], model.allowances[person, spender])
            assert votes == (0 if person == ZERO else model.delegated_to(person))
        assert sum(holder[0] for holder in holders) == supply == model.supply
        delegated_away = sum(holder[0] for holder in holders if holder[4] != ZERO)
        assert sum(holder[1] for holder in holders) == delegated_away, "each delegated token votes once"


def test_token__any_order_of_steps__equals_the_model(place):
    TokenMachine.place = place
    run_machine(TokenMachine, share=0.25)
