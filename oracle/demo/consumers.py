"""Borrowers, a liquidator and two traders of the demo: they use the reference lender and market as anybody could.

Why this file exists: the feeds are only as good as what is built on them. Everything goes through the contracts' own
functions and is judged by the chain; this side only decides who tries what in which slot. Plain synchronous web3: call
it from a thread where an event loop must not wait. Never in here: how a loan or a market works (the contracts), or a
price that did not come from the feed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from eth_account import Account
from eth_typing import ChecksumAddress
from eth_utils.crypto import keccak
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError
from web3.logs import DISCARD
from web3.middleware import SignAndSendRawMiddlewareBuilder

from oracle.chain.deploy import contract_at, deploy, send
from oracle.demo.record import LenderFigures, LenderStory, LoanRecord, MarketFigures

BASE_DECIMALS, QUOTE_DECIMALS = 18, 6
BASE_UNIT, QUOTE_UNIT = 10**BASE_DECIMALS, 10**QUOTE_DECIMALS
BPS = 10_000
WAD = 10**18
GAS_MONEY = 10**18
ENDLESS = 2**256 - 1


@dataclass(frozen=True, slots=True)
class Terms:
    """What the demo's lender and market are set to.

    `bonus_bps`, `buffer_bps`: of the lender; liquidation above 1 - bonus - buffer. `grace_s`: how late a feed may be
    beyond its heartbeat. `loan_every`: slots between two loans. `collateral`: base tokens pledged for each loan.
    `cash`: quote tokens to lend. `sets`: quote tokens that each of the two traders pays in. `conventional_ratio`: the
    constant loan-to-value that the forecast's is compared with.
    """

    bonus_bps: int = 100
    buffer_bps: int = 100
    grace_s: int = 300
    loan_every: int = 8
    collateral: int = 10_000
    cash: int = 10_000_000
    sets: int = 1_000
    conventional_ratio: float = 0.80


@dataclass(frozen=True, slots=True)
class EventQuestion:
    """The question of the market: its words, its expiry in Unix seconds, and the outcomes' names by index."""

    words: str
    expiry: int
    outcomes: tuple[str, str] = ("no", "yes")


@dataclass(frozen=True, slots=True)
class ConsumerFeeds:
    """Addresses of the `Feed` contracts that are read: price, 24 h forecast, event."""

    price: str
    forecast: str
    event: str


@dataclass(slots=True)
class _Loan:
    """A loan as the borrower knows it; `record` is what the report gets."""

    account: ChecksumAddress
    debt: int
    collateral: int
    record: LoanRecord


class Consumers:
    """Deploys tokens, lender and market, then acts once a slot.

    `w3`: connected, able to send from `funder` (which holds ether and becomes the lender). The borrowers', liquidator's
    and traders' keys are made here from public words. `refusals` counts the reasons for which the contracts turned
    somebody away, for example a stale feed.
    """

    def __init__(self, w3: Web3, funder: str, feeds: ConsumerFeeds, question: EventQuestion, terms: Terms) -> None:
        """Deploy everything; raises TransactionReverted or web3's error where a contract refuses its terms."""
        self.w3, self.funder, self.feeds, self.question, self.terms = w3, funder, feeds, question, terms
        self.price_feed = contract_at(w3, "Feed", feeds.price)
        self.price_unit = 10 ** int(self.price_feed.functions.decimals().call())
        self.refusals: Counter[str] = Counter()
        self.prices: list[tuple[int, float]] = []
        self.loans: list[_Loan] = []
        self.slots = 0
        self.paid = 0
        self.outcome: str | None = None
        self.base = deploy(w3, funder, "PlayToken", "Demo base asset", "BASE", BASE_DECIMALS)
        self.quote = deploy(w3, funder, "PlayToken", "Demo quote asset", "QUOTE", QUOTE_DECIMALS)
        tokens = self.base.address, self.quote.address
        limits = terms.bonus_bps, terms.buffer_bps, terms.grace_s
        self.lender = deploy(w3, funder, "ReferenceLender", *tokens, feeds.price, feeds.forecast, *limits)
        self.market = deploy(w3, funder, "ReferenceMarket", self.quote.address, feeds.event, question.expiry)
        self._give(self.quote, self.funder, terms.cash * QUOTE_UNIT, self.lender)
        send(w3, self.lender.functions.fund(terms.cash * QUOTE_UNIT), funder)
        self.liquidator = self._person("liquidator")
        self._give(self.quote, self.liquidator, terms.cash * QUOTE_UNIT, self.lender)
        self.traders = self._open_market()

    # Once a slot

    def act(self, at: int) -> None:
        """Liquidate what can be, open a loan when one is due, settle the market once it can be. `at`: Unix seconds."""
        price = self._price()
        if price is not None:
            self.prices.append((at, price / self.price_unit))
            for loan in self.loans:
                if loan.debt and self._is_under(loan, price):
                    self._liquidate(loan, at, price)
            if self.slots % self.terms.loan_every == 0:
                self._open_loan(at, price)
        if self.outcome is None and at >= self.question.expiry:
            self._settle()
        self.slots += 1

    def lender_figures(self) -> LenderFigures:
        """Loans, liquidations and bad debt; the last is what the contract's own books say."""
        lost = int(self.lender.functions.badDebt().call()) / QUOTE_UNIT
        done = sum(loan.record.liquidated_at is not None for loan in self.loans)
        return LenderFigures(len(self.loans), done, lost)

    def market_figures(self) -> MarketFigures:
        """The question, its outcome (`unresolved` while the feed is not FINAL), and what winners were paid."""
        return MarketFigures(self.question.words, self.outcome or "unresolved", self.paid / QUOTE_UNIT)

    def lender_story(self) -> LenderStory:
        """Terms and loans for the report, with the comparison in words."""
        terms, records = self.terms, tuple(loan.record for loan in self.loans)
        threshold = 1 - (terms.bonus_bps + terms.buffer_bps) / BPS
        words = compare(records, self.prices, terms.conventional_ratio, threshold)
        return LenderStory(terms.bonus_bps / BPS, terms.buffer_bps / BPS, records, words)

    # Loans

    def _price(self) -> int | None:
        """Newest valid answer of the price feed; None before the first round and while it is INVALID."""
        if self.price_feed.functions.invalid().call():
            self.refusals["price is INVALID"] += 1
            return None
        answer = int(self.price_feed.functions.latestAnswer().call())
        return answer or None

    def _is_under(self, loan: _Loan, price: int) -> bool:
        """The contract's own test, to ask it only about loans that it would liquidate."""
        threshold = (BPS - self.terms.bonus_bps - self.terms.buffer_bps) * WAD // BPS
        worth = loan.collateral * price * QUOTE_UNIT * threshold // (BASE_UNIT * self.price_unit * WAD)
        return bool(loan.debt > worth)

    def _open_loan(self, at: int, price: int) -> None:
        """A new borrower pledges the usual amount and borrows all that the forecast allows."""
        ratio = self._ask(self.lender.functions.loanToValue(), self.funder)
        if ratio is None:
            return
        name = f"borrower {len(self.loans) + 1}"
        who = self._person(name)
        pledge = self.terms.collateral * BASE_UNIT
        self._give(self.base, who, pledge, self.lender)
        send(self.w3, self.lender.functions.deposit(pledge), who)
        debt = int(self.lender.functions.borrowable(who).call())
        send(self.w3, self.lender.functions.borrow(debt), who)
        record = LoanRecord(name, at, price / self.price_unit, ratio / WAD, debt / QUOTE_UNIT)
        self.loans.append(_Loan(who, debt, pledge, record))

    def _liquidate(self, loan: _Loan, at: int, price: int) -> None:
        call = self.lender.functions.liquidate(loan.account, loan.debt)
        if self._ask(call, self.liquidator) is None:
            return
        receipt = send(self.w3, call, self.liquidator)
        event = self.lender.events.Liquidated().process_receipt(receipt, errors=DISCARD)[0]["args"]
        lost = event["badDebt"] / QUOTE_UNIT
        price_then = price / self.price_unit
        loan.record = replace(loan.record, liquidated_at=at, liquidation_price=price_then, bad_debt=lost)
        loan.debt -= event["repaid"] + event["badDebt"]
        loan.collateral -= event["seized"]

    # Market

    def _open_market(self) -> tuple[ChecksumAddress, ChecksumAddress]:
        """Two traders mint complete sets and swap: the first ends with all of outcome 0, the second with outcome 1."""
        pair = self._person("trader 0"), self._person("trader 1")
        amount = self.terms.sets * QUOTE_UNIT
        for trader in pair:
            self._give(self.quote, trader, amount, self.market)
            send(self.w3, self.market.functions.mint(amount), trader)
        for index, trader in enumerate(pair):
            send(self.w3, self.market.functions.transfer(pair[1 - index], 1 - index, amount), trader)
        return pair

    def _settle(self) -> None:
        """Resolve from the feed if it is FINAL, and pay the winner."""
        call = self.market.functions.resolve()
        winner = self._ask(call, self.liquidator)
        if winner is None:
            return
        send(self.w3, call, self.liquidator)
        who = self.traders[winner]
        shares = int(self.market.functions.balanceOf(who, winner).call())
        before = int(self.quote.functions.balanceOf(who).call())
        send(self.w3, self.market.functions.redeem(shares), who)
        self.paid = int(self.quote.functions.balanceOf(who).call()) - before
        self.outcome = self.question.outcomes[winner]

    # People

    def _person(self, name: str) -> ChecksumAddress:
        """A new account with gas money, whose key is made from its name: public knowledge, worthless elsewhere."""
        account = Account.from_key(keccak(b"dodona demo " + name.encode()))
        self.w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
        address = Web3.to_checksum_address(account.address)
        money: Any = {"from": self.funder, "to": address, "value": GAS_MONEY}
        self.w3.eth.wait_for_transaction_receipt(self.w3.eth.send_transaction(money))
        return address

    def _give(self, token: Contract, who: str, amount: int, spender: Contract) -> None:
        """Mint play tokens and let a contract take them."""
        send(self.w3, token.functions.mint(who, amount), self.funder)
        send(self.w3, token.functions.approve(spender.address, ENDLESS), who)

    def _ask(self, call: Any, who: str) -> Any:
        """What a call would answer, or None, counted, where the contract refuses."""
        try:
            return call.call({"from": who})
        except ContractLogicError as refusal:
            self.refusals[(refusal.message or "reverted").removeprefix("execution reverted: ")] += 1
            return None


def liquidated_at_ratio(
    loans: Sequence[LoanRecord], prices: Sequence[tuple[int, float]], ratio: float, threshold: float
) -> int:
    """How many of the loans would have crossed the threshold in a later slot, had each been opened at `ratio`.

    `prices`: (Unix seconds, price), ascending. A loan crosses when ratio * opening price > threshold * price.
    >>> loan = LoanRecord("a", 0, 1.0, 0.9, 1.0)
    >>> liquidated_at_ratio([loan], [(0, 1.0), (1, 0.95)], 0.9, 0.92)
    1
    """
    exact, limit = Fraction(ratio), Fraction(threshold)
    return sum(
        any(at > loan.opened_at and exact * Fraction(loan.price) > limit * Fraction(price) for at, price in prices)
        for loan in loans
    )


def compare(
    loans: Sequence[LoanRecord], prices: Sequence[tuple[int, float]], conventional: float, threshold: float
) -> str:
    """One sentence: the same loans under a constant loan-to-value, at the threshold itself and at `conventional`."""
    if not loans:
        return ""
    ours = sum(loan.liquidated_at is not None for loan in loans)
    none, usual = (liquidated_at_ratio(loans, prices, ratio, threshold) for ratio in (threshold, conventional))
    more = sum(loan.loan_to_value for loan in loans) / len(loans) / conventional - 1
    return (
        f"Of {len(loans)} loans it had to liquidate {ours}. Opened at the threshold itself, {none} of them would have "
        f"been liquidated; at a constant {conventional:.0%}, {usual}, but our borrowers got {more:.1%} more for the "
        "same collateral."
    )
