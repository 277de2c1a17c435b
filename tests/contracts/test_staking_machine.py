"""Staking against a Python model of itself: owners, delegators and a judge, honest and hostile, in any order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from eth_tester.exceptions import TransactionFailed
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from web3.exceptions import ContractLogicError

from oracle.chain.localnet import TOKEN
from tests.contracts.machines import CountedMachine, run_machine
from tests.contracts.mock_code import deploy_mock
from tests.contracts.staking_bench import ALL, EPOCH, NOBODY, ONE, WINDOW, Bench
from tests.contracts.staking_model import MAX_STAKE, Refused, StakingModel

STAKES = (40, 30, 20, 10, 10)
OWNER, PERSON = st.integers(1, 7), st.integers(1, 10)
AMOUNT = st.sampled_from(
    ["odd", "much", "one", "odd", "much", "all", "odd", "much", "nothing", "one too much", "2**96-1", "endless"]
)
RATES = (ONE // 20, ONE // 3, ONE, ONE - 1, 1, 0, ONE + 1)
MOVES = (
    ["stake"] * 5 + ["unbond"] * 5 + ["roll"] * 4 + ["withdraw_when_free", "join", "jail", "slash", "reward"] * 2
    + ["withdraw", "sync_votes", "register", "replace_key", "revoke_key", "set_commission", "prune", "unjail"]
    + ["slash", "let_out"] * 3 + ["leave_for_good", "burn", "gift", "wait"]
)  # fmt: skip
MUST_HAVE_WORKED = {
    "bond", "delegate", "unbond", "withdraw", "payReward", "register", "replaceKey", "revokeKey", "setCommission",
    "syncVotes", "unjail", "prune", "jail", "slash", "rollEpoch",
}  # fmt: skip


class StakingMachine(CountedMachine):
    """Accounts 1 to 5 are validators, 6 and 7 may become some, 8 to 10 only delegate; all have tokens to spare."""

    first: Bench  # set by the test
    reader: Any
    worked: Counter[str]

    @initialize()
    def start(self) -> None:
        self.taken = self.first.chain.snapshot()
        self.bench = self.first
        self.model = StakingModel(TOKEN, EPOCH, WINDOW, 3)
        self.people = [self.bench.account(index) for index in range(11)]
        for index, owner in enumerate(self.bench.owners):
            key = self.bench.info(owner)["key"]
            self.model.register(self.bench.ask("lastRoll") - 1, owner, key, STAKES[index] * TOKEN)
        assert self.model.roll(self.bench.ask("lastRoll"))
        self.model.starts[1] = self.bench.start_of(1)
        self.born = self.bench.chain.now
        self.holdings = {person: self.balance(person) for person in self.people}

    def teardown(self) -> None:
        if hasattr(self, "taken"):
            self.first.chain.revert(self.taken)

    def balance(self, account: str) -> int:
        return int(self.bench.net.core.token.functions.balanceOf(account).call())

    def both(self, sender: str, name: str, arguments: tuple[Any, ...], expected: Callable[[], Any]) -> Any:
        """The model and the chain agree on the outcome, or on the reason of the refusal."""
        try:
            found = expected()
        except Refused as refused:
            with pytest.raises((TransactionFailed, ContractLogicError), match=re.escape(str(refused)) + r"$"):
                self.bench.ask(name, *arguments, sender=sender)
            return None
        self.bench.act(sender, name, *arguments)
        self.worked[name] += 1
        return found if found is not None else True

    def pays(self, payer: str, name: str, arguments: tuple[Any, ...], amount: int, change: Callable[..., Any]) -> Any:
        """As `both`; what Staking would take and the payer does not have, the token refuses."""
        if amount > self.balance(payer):
            try:
                change(deepcopy(self.model))
            except Refused:
                pass  # Staking itself refuses first: `both` looks at its reason
            else:
                with pytest.raises((TransactionFailed, ContractLogicError), match=r"transfer amount exceeds balance$"):
                    self.bench.ask(name, *arguments, sender=payer)
                return None
        return self.both(payer, name, arguments, lambda: change(self.model))

    def amount(self, kind: str, stake: int, spare: int) -> int:
        return {
            "nothing": 0, "one": 1, "odd": min(stake // 3 + 7, spare), "much": min(25 * TOKEN, spare), "all": stake,
            "one too much": stake + 1, "2**96-1": MAX_STAKE, "endless": ALL,
        }[kind]  # fmt: skip

    @rule(move=st.sampled_from(MOVES), person=PERSON, owner=OWNER, kind=AMOUNT, pick=st.integers(0, 11))
    def step(self, move: str, person: int, owner: int, kind: str, pick: int) -> None:
        """One rule for all moves: Hypothesis leaves out some rules in each run, and here they have to meet."""
        own = owner if pick % 2 else person
        {
            "stake": lambda: self.stake(own, owner, kind),
            "unbond": lambda: self.unbond(own, owner, kind),
            "reward": lambda: self.reward(person, owner, kind),
            "withdraw": lambda: self.withdraw(person),
            "withdraw_when_free": lambda: self.withdraw_when_free(pick % 3 - 1),
            "sync_votes": lambda: self.sync_votes(person),
            "join": lambda: self.join([15 * TOKEN, TOKEN, 60 * TOKEN, TOKEN - 1][pick % 4], pick == 11),
            "register": lambda: self.register(owner, TOKEN, pick % 2 == 0),
            "replace_key": lambda: self.replace_key(owner),
            "revoke_key": lambda: self.revoke_key(owner),
            "set_commission": lambda: self.set_commission(owner, [500, 5_000, 0, 10_000, 10_001][pick % 5]),
            "prune": lambda: self.prune(owner),
            "leave_for_good": self.leave_for_good,
            "unjail": lambda: self.unjail(owner),
            "let_out": lambda: self.let_out(person),
            "jail": lambda: self.jail(owner, [0, 2_000, 20_000][pick % 3], pick // 3 - 1),
            "slash": lambda: self.slash(RATES[pick % len(RATES)], person),
            "burn": self.burn,
            "gift": lambda: self.gift(person),
            "wait": lambda: self.bench.wait([1, 300, WINDOW // 2][pick % 3]),
            "roll": lambda: self.roll(pick % 2 == 0, 1 + pick % 3),
        }[move]()

    # Moves of several steps

    def let_out(self, by: int) -> None:
        """All that a validator in jail has to do for it: settle, wait, bond, name a key."""
        member = next((m for m in self.model.registry() if m.jailed), None)
        if member is None:
            return
        owner = self.people.index(member.owner)
        if member.frozen:
            self.slash(ONE // 20, by, member.owner)
        self.bench.chain.move_to(max(self.bench.chain.now, member.jailed_until))
        self.stake(owner, owner, "much")
        self.replace_key(owner)
        self.unjail(owner)

    def leave_for_good(self) -> None:
        """All that stands behind the smallest row, then as many rolls as it takes, and the registry forgets it."""
        if len(self.model.registry()) < 5:
            return
        member = min(self.model.registry(), key=lambda m: (m.effective.get(self.model.config, 0), -m.sequence))
        owner = self.people.index(member.owner)
        for account in list(member.bond.shares):
            self.unbond(self.people.index(account), owner, "endless")
        for _ in range(8):
            self.roll(False, 1)
            if not member.effective.get(self.model.config) and not member.exits[-1].tokens:
                break
        self.prune(owner)

    def join(self, amount: int, stolen: bool) -> None:
        """Somebody who is no validator becomes one, for the first time or again."""
        members = self.model.members
        others = [p for p in self.people[1:8] if p not in members or not members[p].sequence]
        if others:
            self.register(self.people.index(others[-1]), amount, stolen)

    def withdraw_when_free(self, late: int) -> None:
        """One second before a claim is free, in that second, and after it."""
        waiting = [(account, owner, pool) for account, all_ in self.model.claims.items() for owner, pool in all_]
        closed = [(self.model.starts[pool.closed_by], account) for account, _, pool in waiting if pool.closed_by]
        if closed:
            start, account = min(closed)
            self.bench.chain.move_to(max(self.bench.chain.now, start + WINDOW + late))
            self.withdraw(self.people.index(account))

    # The single moves

    def stake(self, person: int, owner: int, kind: str) -> None:
        account, target = self.people[person], self.people[owner]
        spare = self.balance(account)
        amount = self.amount(kind, min(5 * TOKEN, spare), spare)
        if spare < amount < 2**95:
            return
        name, arguments = ("bond", (amount,)) if account == target else ("delegate", (target, amount))
        now = self.bench.chain.now
        if self.pays(account, name, arguments, amount, lambda model: model.stake(now, target, account, amount)):
            self.holdings[account] -= amount

    def unbond(self, person: int, owner: int, kind: str) -> None:
        account, target = self.people[person], self.people[owner]
        member = self.model.members.get(target)
        amount = self.amount(kind, member.bond.worth(account) if member else 0, ALL)
        now = self.bench.chain.now
        self.both(account, "unbond", (target, amount), lambda: self.model.unbond(now, target, account, amount))

    def withdraw(self, person: int) -> None:
        account, now = self.people[person], self.bench.chain.now
        paid = self.both(account, "withdraw", (), lambda: self.model.withdraw(now, account))
        self.holdings[account] += int(paid or 0)

    def reward(self, person: int, owner: int, kind: str) -> None:
        target, payer = self.people[owner], self.people[person]
        spare = self.balance(payer)
        amount = self.amount(kind, 0, spare)
        if spare < amount < 2**95:
            return
        if self.pays(payer, "payReward", (target, amount), amount, lambda model: model.reward(target, amount)):
            self.holdings[payer] -= amount

    def register(self, owner: int, amount: int, stolen: bool) -> None:
        """Some try with a key that was registered before."""
        account, now = self.people[owner], self.bench.chain.now
        used = self.model.ever.get(self.people[1 + owner % 5], [])
        key, signature = self.bench.proof(account)
        address = used[0] if stolen and used else key.checksum_address
        arguments = (address, "x", amount, signature)
        if self.balance(account) < amount:
            return
        if self.both(account, "register", arguments, lambda: self.model.register(now, account, address, amount)):
            self.holdings[account] -= amount

    def replace_key(self, owner: int) -> None:
        account = self.people[owner]
        key, signature = self.bench.proof(account)
        arguments = (key.checksum_address, signature)
        self.both(account, "replaceKey", arguments, lambda: self.model.replace_key(account, key.checksum_address))

    def revoke_key(self, owner: int) -> None:
        account = self.people[owner]
        self.both(account, "revokeKey", (), lambda: self.model.revoke(account))

    def set_commission(self, owner: int, bps: int) -> None:
        account = self.people[owner]
        self.both(account, "setCommission", (bps,), lambda: self.model.set_commission(account, bps))

    def prune(self, owner: int) -> None:
        account = self.people[owner]
        self.both(self.people[10], "prune", (account,), lambda: self.model.prune(account))

    def unjail(self, owner: int) -> None:
        account, now = self.people[owner], self.bench.chain.now
        self.both(account, "unjail", (), lambda: self.model.unjail(now, account))

    def sync_votes(self, person: int) -> None:
        account, now = self.people[person], self.bench.chain.now
        self.both(self.people[10], "syncVotes", (account,), lambda: self.model.sync(now, account))

    # What Slashing does, and time

    def jail(self, owner: int, term: int, back: int) -> None:
        """For an offence under one of the newest three configs, or one that costs no stake (-1)."""
        account = self.people[owner]
        if account not in self.model.members:
            return
        config = max(self.model.config - back, 1) if back >= 0 else 0
        until = self.bench.chain.now + term
        self.model.jail(account, until, config)
        self.worked["jail"] += 1
        self.bench.judge("jail", account, until, config)

    def slash(self, rate: int, by: int, account: str = "") -> None:
        """What the judge has frozen, at any rate."""
        frozen = [account] if account else [m.owner for m in self.model.members.values() if m.frozen]
        if not frozen:
            return
        config, reporter, now = self.model.members[frozen[0]].frozen, self.people[by], self.bench.chain.now
        if rate > ONE:
            judge = self.bench.net.core.slashing.functions.slash(frozen[0], config, rate, reporter)
            with pytest.raises((TransactionFailed, ContractLogicError), match=r"staking: bad rate$"):
                judge.call({"from": self.people[0]}, "pending")
            return
        self.model.slash(now, frozen[0], config, rate, reporter)
        self.bench.judge("slash", frozen[0], config, rate, reporter)
        self.worked["slash"] += 1

    def burn(self) -> None:
        if self.model.burnable:
            self.model.burnable = 0
            self.bench.act(self.people[10], "burnSlashed")

    def roll(self, early: bool, times: int) -> None:
        """At the first second in which it is possible; one second before it is not."""
        for _ in range(times):
            due = self.model.last_roll + EPOCH
            if early and self.bench.chain.now < due:
                self.bench.chain.move_to(due - 1)
                with pytest.raises((TransactionFailed, ContractLogicError), match=r"staking: epoch is not over$"):
                    self.bench.ask("rollEpoch")
            self.bench.chain.move_to(max(self.bench.chain.now, due))
            made = self.model.roll(self.bench.chain.now)
            self.bench.act(self.people[10], "rollEpoch")
            self.worked["rollEpoch"] += made
            if made:
                self.model.starts[self.model.config] = self.bench.start_of(self.model.config)
                assert list(self.bench.rows().items()) == self.model.rows

    def gift(self, person: int) -> None:
        """Tokens that nobody asked for change no book."""
        account = self.people[person]
        if self.balance(account):
            token = self.bench.net.core.token.functions
            token.transfer(self.bench.staking.address, 1).transact({"from": account, "gas": 10**6})
            self.holdings[account] -= 1

    # What holds after every step

    @invariant()
    def chain_equals_the_model(self) -> None:
        """The four books are the sums of their parts and covered; one validator and one account in turn."""
        if not hasattr(self, "model"):
            return
        model, core = self.model, self.bench.net.core
        members = list(model.members.values())
        member, account = members[self.steps % len(members)], self.people[1 + self.steps % 10]
        past = self.born + (self.bench.chain.now - self.born) * (self.steps % 5) // 5 - 1
        asked = self.reader.functions.look(core.staking.address, core.token.address, member.owner, account, past)
        books, owners, validator, found = asked.call({}, "pending")
        parts = (
            sum(each.bond.tokens for each in members), sum(pool.tokens for each in members for pool in each.exits),
            sum(model.owed.values()), model.burnable,
        )  # fmt: skip
        assert tuple(books)[:4] == parts
        assert sum(parts) <= books[4]
        assert tuple(books)[5:] == (model.epoch, model.config, model.cost_of_corruption())
        assert set(owners) == {each.owner for each in model.registry()}
        assert validator[0] == (member.owner if member.sequence else NOBODY)
        assert (validator[1], validator[2], validator[7]) == (
            member.key(model.epoch) or NOBODY, member.bond.tokens, member.commission(model.epoch),
        )  # fmt: skip
        assert tuple(validator)[10:] == (
            member.bond.worth(member.owner), member.exits[-1].tokens, member.effective.get(model.config, 0),
            member.jailed, member.jailed_until, member.frozen,
        )  # fmt: skip
        assert tuple(found) == (
            self.holdings[account], model.staked(account), model.locked(account), model.owed[account],
            model.votes_at(account, self.bench.chain.now - 1), model.votes_at(account, past),
            sum(model.votes_at(person, past) for person in self.people),
        )  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Bench:
    made = Bench.start(STAKES, least=3)
    for index in range(1, 11):
        made.fund(index, 200 * TOKEN)
    return made


def test_staking__any_order_of_steps__equals_the_model(bench):
    StakingMachine.first, StakingMachine.worked = bench, Counter()
    StakingMachine.reader = deploy_mock(bench.chain.w3, bench.account(0), "StakingReader")
    run_machine(StakingMachine, 0.35)
    print(dict(StakingMachine.worked))
    assert set(StakingMachine.worked) >= MUST_HAVE_WORKED, "some function never went through"
