"""ReferenceLender: each function, each reason to revert, and exact amounts at its limits."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import pytest
from web3.logs import DISCARD

EUR, USD, PRICE = 10**18, 10**6, 118_000_000
BONUS, BUFFER, GRACE = 500, 300, 120
THRESHOLD = (10_000 - BONUS - BUFFER) * 10**14
LENDER, ALICE, BOB = 0, 1, 2


@dataclass
class Desk:
    """A lender with 1,000,000 dollars to lend, at 1.18 dollars per euro and a 1 % quantile of -1.2 %."""

    bench: Any
    euro: Any
    dollar: Any
    price: Any
    forecast: Any
    lender: Any

    def read(self, name: str, *args: Any) -> int:
        return getattr(self.lender.functions, name)(*args).call()

    def act(self, name: str, *args: Any, sender: int = ALICE) -> Any:
        return self.bench.send(getattr(self.lender.functions, name)(*args), sender)

    def refuses(self, reason: str, name: str, *args: Any, sender: int = ALICE) -> None:
        self.bench.reverts(getattr(self.lender.functions, name)(*args), reason, sender)

    def set_price(self, answer: int, round_id: int = 2) -> None:
        self.bench.say(self.price, answer, round_id)

    def who(self, index: int) -> str:
        return self.bench.accounts[index]


def make_desk(bench: Any, quantiles: Any, euro: Any = None, dollar: Any = None) -> Desk:
    euro = euro or bench.deploy("PlayToken", "Euro", "EUR", 18)
    dollar = dollar or bench.deploy("PlayToken", "Dollar", "USD", 6)
    price, forecast = bench.price_feed(), bench.forecast_feed()
    args = euro.address, dollar.address, price.address, forecast.address, BONUS, BUFFER, GRACE
    desk = Desk(bench, euro, dollar, price, forecast, bench.deploy("ReferenceLender", *args))
    for account in (LENDER, ALICE, BOB):
        for token, amount in ((euro, 10_000 * EUR), (dollar, 2_000_000 * USD)):
            bench.send(token.functions.mint(bench.accounts[account], amount))
            if hasattr(token.functions, "approve"):
                bench.send(token.functions.approve(desk.lender.address, 2**255), account)
    bench.send(forecast.functions.spread(quantiles(-12_000)))
    bench.say(price, PRICE)
    bench.say(forecast, 0)
    desk.act("fund", 1_000_000 * USD, sender=LENDER)
    return desk


@pytest.fixture(scope="module")
def standing_desk(module_bench, forecast_quantiles) -> Desk:
    return make_desk(module_bench, forecast_quantiles)


@pytest.fixture
def desk(standing_desk, bench) -> Desk:
    return standing_desk


@pytest.fixture
def indebted(desk) -> Desk:
    """Alice has pledged 1,000 euros and borrowed all that she may."""
    desk.act("deposit", 1_000 * EUR)
    desk.act("borrow", desk.read("borrowable", desk.who(ALICE)))
    return desk


def exp_wad(micro: int) -> int:
    with localcontext() as context:
        context.prec = 60
        return int((Decimal(micro) / 10**6).exp() * 10**18)


def assert_books_balance(desk: Desk) -> None:
    accounts = [desk.who(i) for i in range(5)]
    assert desk.read("totalDebt") == sum(desk.read("debtOf", a) for a in accounts)
    assert desk.read("totalCollateral") == sum(desk.read("collateralOf", a) for a in accounts)
    assert desk.read("cash") + desk.read("totalDebt") + desk.read("badDebt") == desk.read("funded")
    assert desk.euro.functions.balanceOf(desk.lender.address).call() == desk.read("totalCollateral")
    assert desk.dollar.functions.balanceOf(desk.lender.address).call() == desk.read("cash")


@pytest.mark.parametrize("q01", [0, -1, -12_000, -500_000, -8_388_608])
def test_loan_to_value__quantile__threshold_times_exp(desk, forecast_quantiles, q01):
    desk.bench.send(desk.forecast.functions.spread(forecast_quantiles(q01)))
    assert abs(desk.read("loanToValue") - THRESHOLD * exp_wad(q01) // 10**18) <= 2
    assert desk.read("loanToValue") <= THRESHOLD


def test_loan_to_value__quantile_above_zero__never_above_the_threshold(desk):
    desk.bench.send(desk.forecast.functions.spread([500] * 9))
    desk.bench.say(desk.forecast, 500, 2)
    assert desk.read("loanToValue") == THRESHOLD == desk.read("LIQUIDATION_THRESHOLD")


def test_deposit__amount__is_pledged(desk):
    receipt = desk.act("deposit", 7 * EUR)
    event = desk.lender.events.Deposited().process_receipt(receipt, errors=DISCARD)[0]["args"]
    assert (event["account"], event["amount"]) == (desk.who(ALICE), 7 * EUR)
    assert desk.read("collateralOf", desk.who(ALICE)) == desk.read("totalCollateral") == 7 * EUR
    assert desk.read("collateralValue", desk.who(ALICE)) == 7 * 1_180_000
    assert_books_balance(desk)


def test_borrow__all_that_is_allowed__and_not_a_unit_more(desk):
    desk.act("deposit", 1_000 * EUR)
    most = desk.read("borrowable", desk.who(ALICE))
    assert most == 1_180 * USD * desk.read("loanToValue") // 10**18
    desk.refuses("lender: undercollateralised", "borrow", most + 1)
    before = desk.dollar.functions.balanceOf(desk.who(ALICE)).call()
    receipt = desk.act("borrow", most)
    event = desk.lender.events.Borrowed().process_receipt(receipt, errors=DISCARD)[0]["args"]
    assert (event["amount"], event["loanToValue"]) == (most, desk.read("loanToValue"))
    assert desk.dollar.functions.balanceOf(desk.who(ALICE)).call() == before + most
    assert desk.read("borrowable", desk.who(ALICE)) == 0
    desk.refuses("lender: undercollateralised", "borrow", 1)
    assert_books_balance(desk)


def test_borrow__dust_of_collateral__is_worth_nothing(desk):
    desk.act("deposit", 10**11)
    assert desk.read("borrowable", desk.who(ALICE)) == 0
    desk.refuses("lender: undercollateralised", "borrow", 1)


def test_borrow__more_than_the_cash__reverts(desk):
    desk.act("deposit", 9_000 * EUR)
    desk.act("defund", 999_000 * USD, sender=LENDER)
    desk.refuses("lender: not enough cash", "borrow", 1_000 * USD + 1)


def test_borrowable__forecast_widens_after_the_loan__is_zero_and_not_negative(indebted, forecast_quantiles):
    indebted.bench.send(indebted.forecast.functions.spread(forecast_quantiles(-40_000)))
    assert indebted.read("borrowable", indebted.who(ALICE)) == 0
    assert not indebted.read("liquidatable", indebted.who(ALICE))


@pytest.mark.parametrize("feed", ["price", "forecast"])
def test_borrow__feed_at_its_oldest__works_and_a_second_later_is_stale(desk, feed):
    desk.act("deposit", EUR)
    now = desk.bench.now
    other = desk.forecast if feed == "price" else desk.price
    desk.bench.say(getattr(desk, feed), PRICE if feed == "price" else 0, 2, at=now)
    desk.bench.send(other.functions.say(2, 0 if feed == "price" else PRICE, now + 3600, now + 3600, 2))
    desk.bench.go_to(now + 3600 + GRACE - 1)
    desk.read("borrowable", desk.who(ALICE))
    desk.bench.go_to(now + 3600 + GRACE + 30)
    desk.refuses("reader: stale feed", "borrow", 1)


@pytest.mark.parametrize("feed", ["price", "forecast"])
@pytest.mark.parametrize(
    ("round_id", "started", "updated", "answered", "reason"),
    [(0, 0, 0, 0, "No data present"), (0, 0, 0, 1, "reader: no round"), (2, 0, 0, 1, "reader: no round"),
     (2, 0, 3600, 2, "reader: feed from the future"), (2, 5, 0, 2, "reader: feed from the future")],
)  # fmt: skip
def test_borrow__feed_with_a_bad_round__reverts(desk, feed, round_id, started, updated, answered, reason):
    desk.act("deposit", EUR)
    now = desk.bench.now
    say = getattr(desk, feed).functions.say
    desk.bench.send(say(round_id, PRICE if feed == "price" else 0, now + started, now + updated, answered))
    desk.refuses(reason, "borrow", 1)


@pytest.mark.parametrize("feed", ["price", "forecast"])
def test_borrow__invalid_feed__reverts(desk, feed):
    desk.act("deposit", EUR)
    desk.bench.send(getattr(desk, feed).functions.mark(True, 0))
    desk.refuses("reader: invalid feed", "borrow", 1)


@pytest.mark.parametrize("answer", [0, -1, -PRICE])
def test_borrow__price_not_positive__reverts(desk, answer):
    desk.act("deposit", EUR)
    desk.set_price(answer)
    desk.refuses("lender: price not positive", "borrow", 1)


def test_borrow__quantiles_missing_or_out_of_order__reverts(desk):
    desk.act("deposit", EUR)
    for wrong in ([1] + [0] * 8, [-1] * 8, []):
        desk.bench.send(desk.forecast.functions.spread(wrong))
        desk.refuses("lender: not nine quantiles in order", "borrow", 1)


def test_repay__part_and_rest_by_a_stranger__debt_is_gone(indebted):
    debt = indebted.read("debtOf", indebted.who(ALICE))
    indebted.act("repay", indebted.who(ALICE), 100)
    receipt = indebted.act("repay", indebted.who(ALICE), debt - 100, sender=BOB)
    event = indebted.lender.events.Repaid().process_receipt(receipt, errors=DISCARD)[0]["args"]
    assert (event["account"], event["payer"]) == (indebted.who(ALICE), indebted.who(BOB))
    assert indebted.read("debtOf", indebted.who(ALICE)) == indebted.read("totalDebt") == 0
    assert indebted.read("cash") == indebted.read("funded")
    indebted.refuses("lender: more than owed", "repay", indebted.who(ALICE), 1)
    assert_books_balance(indebted)


def test_repay_and_withdraw__feeds_dead__the_way_out_is_open(indebted):
    for feed in (indebted.price, indebted.forecast):
        indebted.bench.send(feed.functions.mark(True, 0))
    indebted.refuses("reader: invalid feed", "withdraw", 1)
    indebted.act("repay", indebted.who(ALICE), indebted.read("debtOf", indebted.who(ALICE)))
    receipt = indebted.act("withdraw", 1_000 * EUR)
    event = indebted.lender.events.Withdrawn().process_receipt(receipt, errors=DISCARD)[0]["args"]
    assert event["amount"] == 1_000 * EUR
    assert indebted.euro.functions.balanceOf(indebted.who(ALICE)).call() == 10_000 * EUR
    assert_books_balance(indebted)


def test_withdraw__what_the_debt_does_not_need__and_not_a_unit_more(indebted):
    indebted.act("deposit", 500 * EUR)
    indebted.act("withdraw", 499 * EUR)
    indebted.refuses("lender: undercollateralised", "withdraw", EUR + 10**14)
    indebted.refuses("lender: more than pledged", "withdraw", 1_001 * EUR + 1)


def test_liquidate__just_above_the_threshold__pays_the_bonus_and_leaves_no_bad_debt(indebted):
    alice, debt = indebted.who(ALICE), indebted.read("debtOf", indebted.who(ALICE))
    edge = debt * 10**18 * 10**8 // (1_000 * USD * THRESHOLD)
    indebted.set_price(edge + 1)
    indebted.refuses("lender: healthy", "liquidate", alice, debt, sender=BOB)
    assert not indebted.read("liquidatable", alice)
    indebted.set_price(edge - 1, 3)
    assert indebted.read("liquidatable", alice)
    receipt = indebted.act("liquidate", alice, 2**200, sender=BOB)
    event = indebted.lender.events.Liquidated().process_receipt(receipt, errors=DISCARD)[0]["args"]
    seized = debt * (10_000 + BONUS) * 10**26 // ((edge - 1) * 10**6 * 10_000)
    assert (event["repaid"], event["seized"], event["badDebt"]) == (debt, seized, 0)
    assert indebted.read("collateralOf", alice) == 1_000 * EUR - seized > 0
    assert indebted.read("debtOf", alice) == indebted.read("badDebt") == 0
    assert indebted.euro.functions.balanceOf(indebted.who(BOB)).call() == 10_000 * EUR + seized
    assert_books_balance(indebted)


def test_liquidate__part__leaves_the_rest_of_the_debt(indebted):
    alice, debt = indebted.who(ALICE), indebted.read("debtOf", indebted.who(ALICE))
    indebted.set_price(PRICE * 98 // 100)
    indebted.act("liquidate", alice, debt // 3, sender=BOB)
    assert indebted.read("debtOf", alice) == debt - debt // 3 and indebted.read("badDebt") == 0
    assert_books_balance(indebted)


def test_liquidate__collateral_does_not_reach__rest_is_bad_debt(indebted):
    alice, debt = indebted.who(ALICE), indebted.read("debtOf", indebted.who(ALICE))
    indebted.set_price(PRICE // 2)
    receipt = indebted.act("liquidate", alice, debt, sender=BOB)
    event = indebted.lender.events.Liquidated().process_receipt(receipt, errors=DISCARD)[0]["args"]
    worth = -(-1_000 * USD * (PRICE // 2) * 10_000 // (10**8 * (10_000 + BONUS)))
    assert (event["repaid"], event["seized"], event["badDebt"]) == (worth, 1_000 * EUR, debt - worth)
    assert indebted.read("badDebt") == debt - worth and indebted.read("debtOf", alice) == 0
    assert_books_balance(indebted)
    indebted.refuses("lender: healthy", "liquidate", alice, 1, sender=BOB)


@pytest.mark.parametrize("mark", ["invalid", "stale"])
def test_liquidate__price_not_to_be_trusted__reverts(indebted, mark):
    indebted.set_price(PRICE // 2)
    if mark == "invalid":
        indebted.bench.send(indebted.price.functions.mark(True, 0))
    else:
        indebted.bench.pass_time(3600 + GRACE + 30)
    indebted.refuses(f"reader: {mark} feed", "liquidate", indebted.who(ALICE), 1, sender=BOB)


def test_liquidate__forecast_dead__works_from_the_price_alone(indebted):
    indebted.set_price(PRICE * 97 // 100)
    indebted.bench.send(indebted.forecast.functions.mark(True, 0))
    indebted.act("liquidate", indebted.who(ALICE), 1_000, sender=BOB)


def test_fund_and_defund__lender__and_nobody_else(desk):
    desk.refuses("lender: only the lender", "fund", 1)
    desk.refuses("lender: only the lender", "defund", 1)
    desk.refuses("lender: not enough cash", "defund", 1_000_000 * USD + 1, sender=LENDER)
    desk.refuses("lender: too much debt", "fund", 2**128, sender=LENDER)
    funded = desk.act("fund", 5, sender=LENDER)
    back = desk.act("defund", 1_000_000 * USD + 5, sender=LENDER)
    assert desk.lender.events.Funded().process_receipt(funded, errors=DISCARD)[0]["args"]["amount"] == 5
    assert desk.lender.events.Defunded().process_receipt(back, errors=DISCARD)[0]["args"]["amount"] == 10**12 + 5
    assert desk.read("cash") == desk.read("funded") == 0


def test_every_function__zero_amount__reverts(desk):
    for name in ("deposit", "withdraw", "borrow"):
        desk.refuses("lender: zero amount", name, 0)
    for name in ("repay", "liquidate"):
        desk.refuses("lender: zero amount", name, desk.who(ALICE), 0)
    for name in ("fund", "defund"):
        desk.refuses("lender: zero amount", name, 0, sender=LENDER)


def test_deposit__beyond_what_the_books_hold__reverts(desk):
    desk.refuses("lender: too much collateral", "deposit", 2**128)


@pytest.mark.parametrize("feeds", ["swapped", "horizon", "pair", "decimals"])
def test_deploy__feeds_that_do_not_fit__reverts(bench, feeds):
    euro, dollar = bench.deploy("PlayToken", "Euro", "EUR", 18), bench.deploy("PlayToken", "Dollar", "USD", 6)
    price, forecast = bench.price_feed(), bench.forecast_feed()
    if feeds == "decimals":
        forecast = bench.deploy("FeedMock", 1, 8, 0, b"EUR".ljust(32, b"\0"), b"USD".ljust(32, b"\0"), 86_400)
    choice, reason = {
        "swapped": ((forecast, price), "lender: not a price feed"),
        "horizon": ((price, bench.forecast_feed(3_600)), "lender: horizon is not 24 h"),
        "pair": ((price, bench.forecast_feed(quote=b"GBP".ljust(32, b"\0"))), "lender: feeds of two pairs"),
        "decimals": ((price, forecast), "lender: forecast not in 1e-6"),
    }[feeds]
    bench.refuses_deploy(
        reason, "ReferenceLender", euro.address, dollar.address, *(f.address for f in choice), 500, 300, 0
    )


def test_deploy__terms_that_make_no_sense__reverts(bench):
    euro, dollar = bench.deploy("PlayToken", "Euro", "EUR", 18), bench.deploy("PlayToken", "Dollar", "USD", 19)
    price, forecast = bench.price_feed().address, bench.forecast_feed().address
    for args, reason in (
        ((euro.address, euro.address, price, forecast, 500, 300, 0), "lender: same token twice"),
        ((euro.address, dollar.address, price, forecast, 9_000, 1_000, 0), "lender: nothing left to lend"),
        ((euro.address, dollar.address, price, price, 500, 300, 0), "lender: not a forecast feed"),
        ((euro.address, dollar.address, price, forecast, 500, 300, 0), "lender: more than 18 decimals"),
    ):
        bench.refuses_deploy(reason, "ReferenceLender", *args)


def test_transfers__token_answers_false_or_takes_a_fee__reverts(bench, forecast_quantiles):
    euro, dollar = bench.deploy("OddToken", 18), bench.deploy("OddToken", 6)
    desk = make_desk(bench, forecast_quantiles, euro, dollar)
    nobody = "0x" + "00" * 20
    desk.act("deposit", 1_000 * EUR)
    bench.send(euro.functions.misbehave(True, 0, nobody, b""))
    desk.refuses("transfer: refused", "deposit", EUR)
    desk.refuses("transfer: refused", "withdraw", EUR)
    bench.send(euro.functions.misbehave(False, 1, nobody, b""))
    desk.refuses("transfer: another amount arrived", "deposit", EUR)
    bench.send(dollar.functions.misbehave(True, 0, nobody, b""))
    desk.refuses("transfer: refused", "borrow", USD)


def test_transfers__tokens_that_answer_nothing__work(bench, forecast_quantiles):
    desk = make_desk(bench, forecast_quantiles, bench.deploy("SilentToken"), bench.deploy("SilentToken"))
    desk.act("deposit", 100 * USD)
    desk.act("borrow", 50 * USD)
    assert_books_balance(desk)


@pytest.mark.parametrize(("inner", "args"), [("withdraw", (1,)), ("borrow", (1,)), ("deposit", (1,))])
def test_reentrancy__token_calls_back__reverts(bench, forecast_quantiles, inner, args):
    """The token has a position of its own, so that only the lock stands in its way."""
    euro = bench.deploy("OddToken", 18)
    desk = make_desk(bench, forecast_quantiles, euro)
    token, lender = desk.euro.functions, desk.lender.functions
    bench.send(token.mint(euro.address, 100 * EUR))
    bench.send(token.act(euro.address, encoded(token.approve(desk.lender.address, 2**255))))
    bench.send(token.act(desk.lender.address, encoded(lender.deposit(50 * EUR))))
    desk.act("deposit", 10 * EUR)
    call = encoded(getattr(lender, inner)(*args))
    bench.send(token.act(desk.lender.address, call))
    bench.send(token.misbehave(False, 0, desk.lender.address, call))
    bench.reverts(lender.withdraw(EUR), "revert", ALICE)
    bench.send(token.misbehave(False, 0, "0x" + "00" * 20, b""))
    desk.act("withdraw", EUR)


def encoded(call: Any) -> bytes:
    return bytes.fromhex(call._encode_transaction_data()[2:])


def test_lender__what_it_was_made_of__is_readable(desk):
    bound = {"LENDER": desk.who(LENDER), "COLLATERAL": desk.euro.address, "DEBT": desk.dollar.address}
    bound |= {"PRICE_FEED": desk.price.address, "FORECAST_FEED": desk.forecast.address}
    bound |= {"BONUS_BPS": BONUS, "BUFFER_BPS": BUFFER, "GRACE": GRACE}
    assert {name: desk.read(name) for name in bound} == bound


def test_views__price_not_positive_or_feed_stale__revert_as_what_acts_on_them(indebted):
    indebted.set_price(0)
    for name in ("borrowable", "collateralValue", "liquidatable"):
        indebted.refuses("lender: price not positive", name, indebted.who(ALICE))
    indebted.bench.pass_time(10**6)
    indebted.refuses("reader: stale feed", "loanToValue")
