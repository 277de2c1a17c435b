"""Kalshi's answers: a lifecycle of nine words, of which one is final."""

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given

from feeds.sources.markets.kalshi import parse_event, parse_market
from feeds.sources.markets.market import MarketState
from feeds.sources.source import FeedError, MalformedAnswer, MarketChanged
from tests.feeds.sources.markets.damage import damaged
from tests.feeds.sources.markets.wire import kalshi, kalshi_event

FINAL = {"status": "finalized", "settlement_ts": "2026-09-13T22:00:00.5Z"}
NAMES = ("KXMVP-26-ANN", "KXMVP-26-BOB")


def test_market__trading__mid_of_its_book():
    look = parse_market("k", kalshi())
    assert look.state is MarketState.TRADING and look.prices == (Decimal("0.45"), Decimal("0.55"))
    assert look.traded == (1200, 1200) and look.closes == 1_789_333_200_000_000
    assert "66999.99" in look.rules and look.id == "KXBTCD-26SEP1317-T66999.99"


def test_market__whole_cents_of_older_answers__same_prices():
    old = {"yes_bid": 44, "yes_ask": 46, "last_price": 50, "volume": 1200}
    gone = dict.fromkeys(("yes_bid_dollars", "yes_ask_dollars", "last_price_dollars", "volume_fp"))
    assert parse_market("k", kalshi(**old, **gone)) == parse_market("k", kalshi())


@pytest.mark.parametrize(
    ("changed", "yes"),
    [
        ({"yes_bid_dollars": "0.0000"}, "0.5"),
        ({"yes_ask_dollars": "1.0000"}, "0.5"),
        ({"yes_bid_dollars": "0.2000"}, "0.5"),
        ({"yes_bid_dollars": "0.9000"}, "0.5"),
        ({"yes_bid_dollars": "0.0000", "last_price_dollars": "0.0000"}, None),
        ({"yes_bid_dollars": None, "last_price_dollars": None}, None),
    ],
)
def test_market__one_sided_wide_or_crossed_book__last_trade_or_nothing(changed, yes):
    assert parse_market("k", kalshi(**changed)).prices[0] == (None if yes is None else Decimal(yes))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("initialized", MarketState.HALTED), ("active", MarketState.TRADING), ("inactive", MarketState.HALTED),
        ("closed", MarketState.HALTED), ("determined", MarketState.HALTED), ("disputed", MarketState.DISPUTED),
        ("amended", MarketState.HALTED), ("finalized", MarketState.RESOLVED), ("settled", MarketState.RESOLVED),
    ],
)  # fmt: skip
def test_market__each_status__only_the_last_is_final(status, state):
    look = parse_market("k", kalshi(status=status, result="yes"))
    assert look.state is state and (look.payouts != ()) == (state is MarketState.RESOLVED)


@pytest.mark.parametrize(
    ("changed", "payouts"),
    [
        ({"result": "yes", "settlement_value_dollars": "1.0000"}, (1, 0)),
        ({"result": "no", "settlement_value_dollars": "0.0000"}, (0, 1)),
        ({"result": "no", "settlement_value": 0}, (0, 1)),
        ({"result": "scalar", "settlement_value_dollars": "0.3500"}, (Decimal("0.35"), Decimal("0.65"))),
        ({"result": "void"}, ()),
    ],
)
def test_market__final__pays_what_it_says(changed, payouts):
    look = parse_market("k", kalshi(**FINAL, **changed))
    assert look.payouts == payouts and look.resolved_at == 1_789_336_800_500_000


@pytest.mark.parametrize(
    "changed",
    [
        {}, {"result": "maybe"}, {"result": "scalar"}, {"result": "yes", "settlement_value_dollars": "0.0000"},
        {"result": "scalar", "settlement_value_dollars": "1.5"}, {"result": 1},
    ],
)  # fmt: skip
def test_market__final_without_one_result__refused(changed):
    with pytest.raises(MalformedAnswer):
        parse_market("k", kalshi(**FINAL, **changed))


def test_market__provisional__is_not_final():
    assert parse_market("k", kalshi(**FINAL, result="yes", is_provisional=True)).state is MarketState.HALTED


def test_market__status_unheard_of__refused():
    with pytest.raises(MalformedAnswer, match="status"):
        parse_market("k", kalshi(status="open"))


def test_event__several_markets__one_outcome_each_in_the_order_asked():
    look = parse_event("k", kalshi_event()["event"], NAMES[::-1])
    assert look.outcomes == NAMES[::-1] and look.prices == (Decimal("0.305"), Decimal("0.61"))
    with pytest.raises(MarketChanged, match="outcomes"):
        parse_event("k", kalshi_event()["event"], (*NAMES, "KXMVP-26-CID"))
    with pytest.raises(MarketChanged, match="mutually_exclusive"):
        parse_event("k", {**kalshi_event()["event"], "mutually_exclusive": False}, NAMES)


def test_event__all_final__the_one_that_is_yes_and_none_is_refused():
    final = [kalshi(ticker=name, result=result, **FINAL) for name, result in zip(NAMES, ("no", "yes"), strict=True)]
    assert parse_event("k", kalshi_event(*final)["event"], NAMES).payouts == (0, 1)
    final[1]["result"] = "no"
    with pytest.raises(MalformedAnswer, match="make 1"):
        parse_event("k", kalshi_event(*final)["event"], NAMES)
    final = [{**market, "result": "void"} for market in final]
    assert parse_event("k", kalshi_event(*final)["event"], NAMES).payouts == ()


@given(damaged(kalshi()) | damaged(kalshi(**FINAL, result="scalar", settlement_value_dollars="0.35")))
def test_market__damaged_anyhow__look_or_feed_error(value):
    with suppress(FeedError):
        look = parse_market("k", value)
        assert not look.payouts or sum(look.payouts) == 1


@given(damaged(kalshi_event()["event"]))
def test_event__damaged_anyhow__look_or_feed_error(value):
    with suppress(FeedError):
        assert parse_event("k", value, NAMES).outcomes == NAMES
