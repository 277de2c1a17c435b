"""ReferenceMarket: each function, each reason to revert, and shares as ERC-6909 tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from web3.logs import DISCARD

NO, YES = 0, 1
FINAL, VECTOR = 64, 128
UNIT, LIFE = 10**6, 10_000
ALICE, BOB, CAROL = 1, 2, 3
NOBODY = "0x" + "00" * 20


@dataclass
class Venue:
    """A market that expires in LIFE seconds, two traders with tokens."""

    bench: Any
    token: Any
    feed: Any
    market: Any
    expiry: int

    def read(self, name: str, *args: Any) -> Any:
        return getattr(self.market.functions, name)(*args).call()

    def act(self, name: str, *args: Any, sender: int = ALICE) -> Any:
        return self.bench.send(getattr(self.market.functions, name)(*args), sender)

    def refuses(self, reason: str, name: str, *args: Any, sender: int = ALICE) -> None:
        self.bench.reverts(getattr(self.market.functions, name)(*args), reason, sender)

    def who(self, index: int) -> str:
        return self.bench.accounts[index]

    def shares(self, index: int, outcome: int) -> int:
        return self.read("balanceOf", self.who(index), outcome)

    def settle(self, outcome: int, flags: int = FINAL | VECTOR, delay: int = 0) -> None:
        """Let the feed speak `delay` seconds after the expiry, and let time pass beyond it."""
        if self.bench.now < self.expiry + 500:
            self.bench.go_to(self.expiry + 500)
        self.bench.say(self.feed, outcome, 5, at=self.expiry + delay)
        self.bench.send(self.feed.functions.mark(False, flags))


def make_venue(bench: Any, token: Any = None) -> Venue:
    token = token or bench.deploy("PlayToken", "Dollar", "USD", 6)
    feed, expiry = bench.event_feed(), bench.now + LIFE
    market = bench.deploy("ReferenceMarket", token.address, feed.address, expiry)
    for account in (ALICE, BOB):
        bench.send(token.functions.mint(bench.accounts[account], 1_000 * UNIT))
        bench.send(token.functions.approve(market.address, 2**255), account)
    return Venue(bench, token, feed, market, expiry)


@pytest.fixture(scope="module")
def standing_venue(module_bench) -> Venue:
    return make_venue(module_bench)


@pytest.fixture
def venue(standing_venue, bench) -> Venue:
    return standing_venue


@pytest.fixture
def traded(venue) -> Venue:
    """Alice and Bob mint 100 sets each; Alice holds all of NO, Bob all of YES."""
    for account in (ALICE, BOB):
        venue.act("mint", 100 * UNIT, sender=account)
    venue.act("transfer", venue.who(BOB), YES, 100 * UNIT, sender=ALICE)
    venue.act("transfer", venue.who(ALICE), NO, 100 * UNIT, sender=BOB)
    return venue


def test_mint__amount__one_share_of_each_outcome(venue):
    receipt = venue.act("mint", 10)
    assert venue.market.events.Minted().process_receipt(receipt, errors=DISCARD)[0]["args"]["amount"] == 10
    moves = venue.market.events.Transfer().process_receipt(receipt, errors=DISCARD)
    assert [(m["args"]["sender"], m["args"]["receiver"], m["args"]["id"]) for m in moves] == [
        (NOBODY, venue.who(ALICE), NO), (NOBODY, venue.who(ALICE), YES)]  # fmt: skip
    assert venue.shares(ALICE, NO) == venue.shares(ALICE, YES) == venue.read("escrow") == 10
    assert venue.read("totalSupply", NO) == venue.read("totalSupply", YES) == 10
    assert venue.token.functions.balanceOf(venue.market.address).call() == 10


def test_merge__complete_sets__collateral_comes_back(venue):
    venue.act("mint", 10)
    receipt = venue.act("merge", 4)
    assert venue.market.events.Merged().process_receipt(receipt, errors=DISCARD)[0]["args"]["amount"] == 4
    assert venue.shares(ALICE, NO) == venue.shares(ALICE, YES) == venue.read("escrow") == 6
    assert venue.token.functions.balanceOf(venue.who(ALICE)).call() == 1_000 * UNIT - 6
    venue.act("transfer", venue.who(BOB), YES, 1)
    venue.refuses("market: not enough shares", "merge", 6)


def test_resolve_and_redeem__final__winners_are_paid_one_to_one(traded):
    traded.settle(YES)
    receipt = traded.act("resolve", sender=CAROL)
    event = traded.market.events.Resolved().process_receipt(receipt, errors=DISCARD)[0]["args"]
    assert (event["winner"], event["round"]) == (YES, 5)
    assert traded.read("resolved") and traded.read("winner") == YES
    before = traded.token.functions.balanceOf(traded.who(BOB)).call()
    receipt = traded.act("redeem", 200 * UNIT, sender=BOB)
    assert traded.market.events.Redeemed().process_receipt(receipt, errors=DISCARD)[0]["args"]["amount"] == 200 * UNIT
    assert traded.token.functions.balanceOf(traded.who(BOB)).call() == before + 200 * UNIT
    assert traded.read("escrow") == 0 == traded.token.functions.balanceOf(traded.market.address).call()
    traded.refuses("market: not enough shares", "redeem", 1, sender=BOB)
    traded.refuses("market: not enough shares", "redeem", 1, sender=ALICE)


def test_redeem__before_resolution__reverts(traded):
    traded.refuses("market: not resolved", "redeem", 1)
    traded.settle(NO)
    traded.refuses("market: not resolved", "redeem", 1)


def test_resolve__second_time_and_mint_and_merge_after__reverts(traded):
    traded.settle(NO)
    traded.act("resolve")
    traded.bench.say(traded.feed, YES, 6, at=traded.expiry + 1)
    for name, args in (("resolve", ()), ("mint", (1,)), ("merge", (1,))):
        traded.refuses("market: resolved", name, *args)
    assert traded.read("winner") == NO


@pytest.mark.parametrize("flags", [0, VECTOR, 2 | 4 | 8 | 16 | 32 | VECTOR])
def test_resolve__not_final__reverts(traded, flags):
    traded.settle(YES, flags)
    traded.refuses("market: not final", "resolve")


def test_resolve__observed_before_expiry__reverts_and_at_expiry_works(traded):
    traded.settle(YES, delay=-1)
    traded.refuses("market: observed before expiry", "resolve")
    traded.bench.send(traded.feed.functions.say(6, YES, traded.expiry - 1, traded.expiry + 9, 6))
    traded.refuses("market: observed before expiry", "resolve")
    traded.settle(YES)
    traded.act("resolve")


def test_resolve__invalid_feed__reverts(traded):
    traded.settle(YES)
    traded.bench.send(traded.feed.functions.mark(True, FINAL))
    traded.refuses("reader: invalid feed", "resolve")


def test_resolve__feed_without_a_round__reverts(traded):
    traded.refuses("No data present", "resolve")


def test_resolve__feed_from_the_future__reverts(traded):
    traded.settle(YES, delay=10**6)
    traded.refuses("reader: feed from the future", "resolve")


@pytest.mark.parametrize("outcome", [-1, 2, 10**18])
def test_resolve__outcome_that_the_market_lacks__reverts(traded, outcome):
    traded.settle(outcome)
    traded.refuses("market: no such outcome", "resolve")


def test_every_function__zero_amount__reverts(venue):
    for name in ("mint", "merge", "redeem"):
        venue.refuses("market: zero amount", name, 0)


def test_transfer__more_than_held_or_to_nowhere__reverts(traded):
    traded.refuses("market: not enough shares", "transfer", traded.who(BOB), NO, 200 * UNIT + 1)
    traded.refuses("market: not enough shares", "transfer", traded.who(BOB), 7, 1)
    for receiver in (NOBODY, traded.market.address):
        traded.refuses("market: receiver cannot hold shares", "transfer", receiver, NO, 1)


def test_transfer_from__allowance__is_used_up_unless_endless(traded):
    alice, bob, carol = (traded.who(i) for i in (ALICE, BOB, CAROL))
    traded.refuses("market: allowance too small", "transferFrom", alice, carol, NO, 1, sender=BOB)
    receipt = traded.act("approve", bob, NO, 5)
    assert traded.market.events.Approval().process_receipt(receipt, errors=DISCARD)[0]["args"]["amount"] == 5
    traded.act("transferFrom", alice, carol, NO, 3, sender=BOB)
    assert traded.read("allowance", alice, bob, NO) == 2 and traded.shares(CAROL, NO) == 3
    traded.refuses("market: allowance too small", "transferFrom", alice, carol, NO, 3, sender=BOB)
    traded.refuses("market: allowance too small", "transferFrom", alice, carol, YES, 1, sender=BOB)
    traded.act("approve", bob, NO, 2**256 - 1)
    traded.act("transferFrom", alice, carol, NO, 3, sender=BOB)
    assert traded.read("allowance", alice, bob, NO) == 2**256 - 1


def test_transfer_from__operator_or_owner__needs_no_allowance(traded):
    alice, bob, carol = (traded.who(i) for i in (ALICE, BOB, CAROL))
    receipt = traded.act("setOperator", bob, True)
    assert traded.market.events.OperatorSet().process_receipt(receipt, errors=DISCARD)[0]["args"]["approved"]
    traded.act("transferFrom", alice, carol, NO, 1, sender=BOB)
    traded.act("transferFrom", alice, carol, NO, 1, sender=ALICE)
    traded.act("setOperator", bob, False)
    traded.refuses("market: allowance too small", "transferFrom", alice, carol, NO, 1, sender=BOB)


def test_supports_interface__erc6909__yes_and_others_no(venue):
    assert [venue.read("supportsInterface", bytes.fromhex(i)) for i in ("01ffc9a7", "0f632fb3", "ffffffff")] == [
        True, True, False]  # fmt: skip


def test_deploy__feed_or_time_that_does_not_fit__reverts(bench, venue):
    token = venue.token.address
    for feed, expiry, reason in (
        (bench.price_feed(), venue.expiry, "market: not an event feed"),
        (bench.event_feed(3), venue.expiry, "market: not two outcomes"),
        (bench.event_feed(), bench.now - 1, "market: expiry has passed"),
    ):
        bench.refuses_deploy(reason, "ReferenceMarket", token, feed.address, expiry)


def test_transfers__token_with_bad_manners__reverts(bench):
    venue = make_venue(bench, bench.deploy("OddToken", 6))
    venue.act("mint", 10)
    bench.send(venue.token.functions.misbehave(False, 1, NOBODY, b""))
    venue.refuses("transfer: another amount arrived", "mint", 5)
    bench.send(venue.token.functions.misbehave(True, 0, NOBODY, b""))
    venue.refuses("transfer: refused", "mint", 5)
    venue.refuses("transfer: refused", "merge", 5)


def test_reentrancy__token_calls_back__reverts(bench):
    """The token holds sets of its own, so that only the lock stands in its way."""
    venue = make_venue(bench, bench.deploy("OddToken", 6))
    token, market = venue.token.functions, venue.market.functions
    bench.send(token.mint(venue.token.address, 100))
    bench.send(token.act(venue.token.address, encoded(token.approve(venue.market.address, 2**255))))
    bench.send(token.act(venue.market.address, encoded(market.mint(50))))
    venue.act("mint", 10)
    bench.send(token.act(venue.market.address, encoded(market.merge(1))))
    bench.send(token.misbehave(False, 0, venue.market.address, encoded(market.merge(1))))
    venue.refuses("revert", "merge", 5)
    bench.send(token.misbehave(False, 0, NOBODY, b""))
    venue.act("merge", 5)


def encoded(call: Any) -> bytes:
    return bytes.fromhex(call._encode_transaction_data()[2:])


def test_market__what_it_was_made_of_and_whom_one_allowed__is_readable(venue):
    bound = {"COLLATERAL": venue.token.address, "FEED": venue.feed.address, "EXPIRY": venue.expiry}
    assert {name: venue.read(name) for name in bound} == bound
    assert not venue.read("isOperator", venue.who(ALICE), venue.who(BOB))
    venue.act("setOperator", venue.who(BOB), True, sender=ALICE)
    assert venue.read("isOperator", venue.who(ALICE), venue.who(BOB))
