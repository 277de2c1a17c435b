"""Random histories of the lender and the market beside a model in Python: same books, same refusals, same amounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

WAD = 10**18
BONUS, THRESHOLD = 500, 92 * 10**16
ACCOUNTS = st.integers(1, 3)
AMOUNTS = st.one_of(st.integers(1, 10**6), st.integers(1, 10**24))
SHARES = st.integers(1, 1200)
RUN = settings(
    max_examples=4, stateful_step_count=15, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)  # fmt: skip


def make_token(bench: Any, decimals: int) -> Any:
    token = bench.deploy("PlayToken", "Token", "T", decimals)
    for account in range(5):
        bench.send(token.functions.mint(bench.accounts[account], 2**120))
    return token


def approve(bench: Any, token: Any, contract: Any) -> None:
    for account in range(5):
        bench.send(token.functions.approve(contract.address, 2**255), account)


class Machine(RuleBasedStateMachine):
    """One contract on a chain that is put back when the history ends."""

    def __init__(self, bench: Any) -> None:
        super().__init__()
        self.bench = bench
        self.snapshot = bench.chain.snapshot()

    def teardown(self) -> None:
        self.bench.chain.revert(self.snapshot)

    def attempt(self, contract: Any, reason: str | None, name: str, *args: Any, sender: int) -> bool:
        """Send what the model allows; see the same refusal where it does not."""
        call = getattr(contract.functions, name)(*args)
        if reason is not None:
            self.bench.reverts(call, reason, sender)
            return False
        self.bench.send(call, sender)
        return True

    def account_to_check(self) -> int:
        """One account a step, in turn: three times fewer reads, and every wrong book is still found."""
        self.step = getattr(self, "step", 0) + 1
        return 1 + self.step % 3


@dataclass
class LenderScene:
    """What all histories start from: a funded lender, two tokens, two feeds."""

    decimals: tuple[int, int]
    euro: Any
    dollar: Any
    price_feed: Any
    forecast_feed: Any
    lender: Any


def set_lender_scene(bench: Any, decimals: tuple[int, int]) -> LenderScene:
    euro, dollar = (make_token(bench, d) for d in decimals)
    price, forecast = bench.price_feed(), bench.forecast_feed()
    terms = euro.address, dollar.address, price.address, forecast.address, BONUS, 300, 10**9
    lender = bench.deploy("ReferenceLender", *terms)
    for token in (euro, dollar):
        approve(bench, token, lender)
    bench.send(lender.functions.fund(10**24))
    return LenderScene(decimals, euro, dollar, price, forecast, lender)


class LenderMachine(Machine):
    """The lender's model: two dictionaries, a price, a ratio, and integer division that never favours the borrower."""

    def __init__(self, bench: Any, scene: LenderScene) -> None:
        super().__init__(bench)
        self.scene, self.lender = scene, scene.lender
        self.up, self.down = 10 ** scene.decimals[1], 10 ** (scene.decimals[0] + 8)
        self.debt, self.pledged = dict.fromkeys(range(1, 4), 0), dict.fromkeys(range(1, 4), 0)
        self.cash = self.funded = 10**24
        self.lost = 0
        self.speak(118_000_000, -10_000)

    def speak(self, price: int, q01: int) -> None:
        self.price = price
        self.bench.say(self.scene.price_feed, price)
        self.bench.say(self.scene.forecast_feed, 0)
        self.bench.send(self.scene.forecast_feed.functions.spread([q01] + [0] * 8))
        self.ratio = self.lender.functions.loanToValue().call()

    def worth(self, pledged: int, ratio: int) -> int:
        return pledged * self.price * self.up * ratio // (self.down * WAD)

    def scaled(self, share: int, of: int) -> int:
        """Up to 1.2 times an amount, at least 1: reaches the refusals as well as the exact limits."""
        return max(1, of * share // 1000)

    @rule(price=st.integers(1, 500_000_000), q01=st.integers(-3_000_000, 0))
    def time_brings_news(self, price: int, q01: int) -> None:
        self.speak(price, q01)

    @rule(per_mille=st.integers(800, 1100))
    def price_moves_a_little(self, per_mille: int) -> None:
        self.speak(max(1, min(self.price * per_mille // 1000, 2**100)), -10_000)

    @rule(account=ACCOUNTS, amount=AMOUNTS)
    def deposit(self, account: int, amount: int) -> None:
        self.attempt(self.lender, None, "deposit", amount, sender=account)
        self.pledged[account] += amount

    @rule(account=ACCOUNTS, share=SHARES)
    def withdraw(self, account: int, share: int) -> None:
        amount = self.scaled(share, self.pledged[account])
        left, debt = self.pledged[account] - amount, self.debt[account]
        reason = None
        if left < 0:
            reason = "lender: more than pledged"
        elif debt and debt > self.worth(left, self.ratio):
            reason = "lender: undercollateralised"
        if self.attempt(self.lender, reason, "withdraw", amount, sender=account):
            self.pledged[account] = left

    @rule(account=ACCOUNTS, share=SHARES)
    def borrow(self, account: int, share: int) -> None:
        limit = self.worth(self.pledged[account], self.ratio)
        amount = self.scaled(share, max(0, limit - self.debt[account]))
        reason = None
        if amount > self.cash:
            reason = "lender: not enough cash"
        elif self.debt[account] + amount > limit:
            reason = "lender: undercollateralised"
        if self.attempt(self.lender, reason, "borrow", amount, sender=account):
            self.debt[account] += amount
            self.cash -= amount

    @rule(account=ACCOUNTS, payer=ACCOUNTS, share=SHARES)
    def repay(self, account: int, payer: int, share: int) -> None:
        amount = self.scaled(share, self.debt[account])
        reason = "lender: more than owed" if amount > self.debt[account] else None
        if self.attempt(self.lender, reason, "repay", self.bench.accounts[account], amount, sender=payer):
            self.debt[account] -= amount
            self.cash += amount

    @rule(account=ACCOUNTS, share=SHARES)
    def liquidate(self, account: int, share: int) -> None:
        debt, pledged = self.debt[account], self.pledged[account]
        amount = self.scaled(share, debt)
        reason = "lender: healthy" if debt <= self.worth(pledged, THRESHOLD) else None
        if not self.attempt(self.lender, reason, "liquidate", self.bench.accounts[account], amount, sender=4):
            return
        top, bottom = (10_000 + BONUS) * self.down, self.price * self.up * 10_000
        repaid = min(amount, debt)
        seized = repaid * top // bottom
        if seized > pledged:
            seized, repaid = pledged, -(-pledged * bottom // top)
        lost = debt - repaid if seized == pledged else 0
        assert 0 <= repaid <= min(amount, debt) and lost >= 0
        self.debt[account] -= repaid + lost
        self.pledged[account] -= seized
        self.cash += repaid
        self.lost += lost

    @rule(share=SHARES)
    def defund_and_fund_half(self, share: int) -> None:
        amount = self.scaled(share, self.cash)
        reason = "lender: not enough cash" if amount > self.cash else None
        if self.attempt(self.lender, reason, "defund", amount, sender=0):
            self.attempt(self.lender, None, "fund", amount // 2 + 1, sender=0)
            change = amount // 2 + 1 - amount
            self.cash += change
            self.funded += change

    @invariant()
    def books_are_the_model_and_the_sums(self) -> None:
        read, accounts = self.lender.functions, self.bench.accounts
        account = self.account_to_check()
        assert read.debtOf(accounts[account]).call() == self.debt[account]
        assert read.collateralOf(accounts[account]).call() == self.pledged[account]
        assert read.totalDebt().call() == sum(self.debt.values())
        assert read.totalCollateral().call() == sum(self.pledged.values())
        assert (read.cash().call(), read.badDebt().call(), read.funded().call()) == (self.cash, self.lost, self.funded)
        assert self.cash + sum(self.debt.values()) + self.lost == self.funded
        assert self.scene.dollar.functions.balanceOf(self.lender.address).call() == self.cash
        assert self.scene.euro.functions.balanceOf(self.lender.address).call() == sum(self.pledged.values())


class MarketMachine(Machine):
    """The market's model: balances by outcome and account, and what was paid in and out."""

    def __init__(self, bench: Any, token: Any, feed: Any, market: Any, expiry: int) -> None:
        super().__init__(bench)
        self.token, self.feed, self.market, self.expiry = token, feed, market, expiry
        self.shares = {outcome: dict.fromkeys(range(1, 4), 0) for outcome in (0, 1)}
        self.paid_in = self.paid_out = 0
        self.winner: int | None = None

    @rule(account=ACCOUNTS, amount=st.integers(1, 10**9))
    def mint(self, account: int, amount: int) -> None:
        reason = None if self.winner is None else "market: resolved"
        if self.attempt(self.market, reason, "mint", amount, sender=account):
            self.paid_in += amount
            for held in self.shares.values():
                held[account] += amount

    @rule(account=ACCOUNTS, amount=st.integers(1, 10**9))
    def merge(self, account: int, amount: int) -> None:
        reason = None if self.winner is None else "market: resolved"
        if reason is None and amount > min(held[account] for held in self.shares.values()):
            reason = "market: not enough shares"
        if self.attempt(self.market, reason, "merge", amount, sender=account):
            self.paid_out += amount
            for held in self.shares.values():
                held[account] -= amount

    @rule(giver=ACCOUNTS, taker=ACCOUNTS, outcome=st.integers(0, 1), share=SHARES)
    def transfer(self, giver: int, taker: int, outcome: int, share: int) -> None:
        held = self.shares[outcome]
        amount = held[giver] * share // 1000
        reason = "market: not enough shares" if amount > held[giver] else None
        receiver = self.bench.accounts[taker]
        if self.attempt(self.market, reason, "transfer", receiver, outcome, amount, sender=giver):
            held[giver] -= amount
            held[taker] += amount

    @precondition(lambda self: self.winner is None)
    @rule(outcome=st.integers(-1, 2), final=st.booleans(), invalid=st.booleans(), late=st.booleans())
    def resolve(self, outcome: int, final: bool, invalid: bool, late: bool) -> None:
        if late and self.bench.now <= self.expiry:
            self.bench.go_to(self.expiry + 10)
        at = self.expiry if late else min(self.bench.now, self.expiry - 1)
        self.bench.say(self.feed, outcome, 1, at=at)
        self.bench.send(self.feed.functions.mark(invalid, 64 if final else 0))
        reasons = [(invalid, "reader: invalid feed"), (not late, "market: observed before expiry"),
                   (not final, "market: not final"), (outcome not in (0, 1), "market: no such outcome")]  # fmt: skip
        reason = next((words for wrong, words in reasons if wrong), None)
        if self.attempt(self.market, reason, "resolve", sender=4):
            self.winner = outcome

    @rule(account=ACCOUNTS, share=SHARES)
    def redeem(self, account: int, share: int) -> None:
        held = 0 if self.winner is None else self.shares[self.winner][account]
        amount = max(1, held * share // 1000)
        reason = "market: not resolved" if self.winner is None else None
        if reason is None and amount > held:
            reason = "market: not enough shares"
        if self.attempt(self.market, reason, "redeem", amount, sender=account):
            self.shares[self.winner][account] -= amount
            self.paid_out += amount

    @invariant()
    def payouts_never_exceed_the_escrow(self) -> None:
        read = self.market.functions
        for outcome, held in self.shares.items():
            account = self.account_to_check()
            assert read.balanceOf(self.bench.accounts[account], outcome).call() == held[account]
            assert read.totalSupply(outcome).call() == sum(held.values())
        escrow = read.escrow().call()
        assert escrow == self.paid_in - self.paid_out == self.token.functions.balanceOf(self.market.address).call()
        owed = [sum(held.values()) for held in self.shares.values()]
        assert escrow == (max(owed) if self.winner is None else owed[self.winner])


@pytest.mark.parametrize("decimals", [(18, 6), (6, 18)], ids=str)
def test_lender__any_history__books_equal_the_model(bench, decimals):
    scene = set_lender_scene(bench, decimals)
    run_state_machine_as_test(lambda: LenderMachine(bench, scene), settings=RUN)


def test_market__any_history__payouts_within_the_escrow(bench):
    token, feed, expiry = make_token(bench, 6), bench.event_feed(), bench.now + 10**6
    market = bench.deploy("ReferenceMarket", token.address, feed.address, expiry)
    approve(bench, token, market)
    run_state_machine_as_test(lambda: MarketMachine(bench, token, feed, market, expiry), settings=RUN)
