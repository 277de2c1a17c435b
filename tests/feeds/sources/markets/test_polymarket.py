"""Polymarket's answers: what is a price, what is final, and what is another market."""

import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.markets.market import MarketState
from feeds.sources.markets.polymarket import PolymarketSettings, parse_book, parse_event, parse_market
from feeds.sources.source import BadRule, FeedError, MalformedAnswer, MarketChanged
from tests.feeds.sources.markets.damage import damaged
from tests.feeds.sources.markets.wire import CONDITION, TOKENS, book, gamma, gamma_event, gamma_resolved


def test_market__trading__prices_rules_and_end():
    look = parse_market("p", gamma())
    assert look.state is MarketState.TRADING and look.outcomes == ("Yes", "No") and look.id == CONDITION
    assert look.prices == (Decimal("0.085"), Decimal("0.915")) and look.traded == (Decimal("1000.5"),) * 2
    assert look.closes == 1_704_042_000_000_000 and look.payouts == ()
    assert look.rules.startswith("Will Bitcoin reach") and look.rules.endswith("BTC_USDT")


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"acceptingOrders": False}, MarketState.HALTED),
        ({"active": False}, MarketState.HALTED),
        ({"umaResolutionStatus": "proposed"}, MarketState.TRADING),
        ({"acceptingOrders": False, "umaResolutionStatus": "disputed"}, MarketState.DISPUTED),
        ({"closed": True}, MarketState.HALTED),
        ({"closed": True, "umaResolutionStatus": "proposed", "outcomePrices": '["1", "0"]'}, MarketState.HALTED),
        ({"closed": True, "umaResolutionStatus": "disputed", "outcomePrices": '["1", "0"]'}, MarketState.DISPUTED),
        ({"closed": True, "umaResolutionStatus": "a new word"}, MarketState.HALTED),
        (
            {"closed": True, "umaResolutionStatus": "disputed", "umaResolutionStatuses": '["proposed","resolved"]'},
            MarketState.DISPUTED,
        ),
    ],
)
def test_market__not_final__is_no_resolution(changed, state):
    look = parse_market("p", gamma(**changed))
    assert look.state is state and look.payouts == ()


@pytest.mark.parametrize(
    ("prices", "payouts"),
    [
        ('["1", "0"]', (1, 0)),
        ('["0", "1"]', (0, 1)),
        ('["0.5", "0.5"]', (Decimal("0.5"), Decimal("0.5"))),
        ("[1, 0]", (1, 0)),
        ('["0.0000004113679809846114013590098187297978", "0.9999995886320190153885986409901812702022"]', (0, 1)),
    ],
)
def test_market__resolved__pays_what_it_says(prices, payouts):
    look = parse_market("p", gamma_resolved(prices))
    assert look.state is MarketState.RESOLVED and look.payouts == payouts
    assert look.resolved_at == 1_704_049_030_000_000


def test_market__resolved_without_uma__only_if_it_says_so():
    assert parse_market("p", gamma_resolved(umaResolutionStatus=None)).state is MarketState.HALTED
    automatic = gamma_resolved(umaResolutionStatus="", automaticallyResolved=True)
    assert parse_market("p", automatic).state is MarketState.RESOLVED


@pytest.mark.parametrize("prices", ['["0", "0"]', '["1", "1"]', '["0.9", "0.2"]', '["2", "-1"]', None])
def test_market__resolved_to_no_whole__refused(prices):
    with pytest.raises(MalformedAnswer, match="payouts that make 1"):
        parse_market("p", gamma_resolved(prices))


@pytest.mark.parametrize(
    "changed",
    [
        {"outcomes": '["Yes"]'}, {"outcomes": None}, {"outcomes": "[[]]"}, {"outcomes": "{}"}, {"outcomes": "["},
        {"outcomePrices": '["0.5"]'}, {"outcomePrices": '["a", "b"]'}, {"outcomePrices": '["NaN", "1"]'},
        {"closed": "false"}, {"endDate": "soon"}, {"endDate": 5}, {"endDate": "0001-01-01T00:00:00Z"},
        {"conditionId": None}, {"question": ""}, {"volumeNum": "many"}, {"umaResolutionStatus": 1},
    ],
)  # fmt: skip
def test_market__field_of_another_kind__malformed_answer(changed):
    with pytest.raises(MalformedAnswer):
        parse_market("p", gamma(**changed))


def test_event__several_markets__one_outcome_each_in_the_order_asked():
    look = parse_event("p", gamma_event(), ("Bob", "Ann"))
    assert look.outcomes == ("Bob", "Ann") and look.prices == (Decimal("0.3"), Decimal("0.6"))
    assert look.state is MarketState.TRADING and look.id == "9001"


@pytest.mark.parametrize("outcomes", [("Ann",), ("Ann", "Bob", "Cid"), ("Ann", "Dan")])
def test_event__other_outcomes_than_asked__market_changed(outcomes):
    with pytest.raises(MarketChanged):
        parse_event("p", gamma_event(), outcomes)


def test_event__all_resolved__the_one_that_is_yes():
    parts = [gamma_resolved('["0", "1"]', groupItemTitle="Ann"), gamma_resolved(groupItemTitle="Bob")]
    look = parse_event("p", gamma_event(*parts), ("Ann", "Bob"))
    assert look.state is MarketState.RESOLVED and look.payouts == (0, 1)
    half = parse_event("p", gamma_event(parts[0], gamma(groupItemTitle="Bob")), ("Ann", "Bob"))
    assert half.state is MarketState.TRADING and half.prices == (None, Decimal("0.085"))
    none = [gamma_resolved('["0", "1"]', groupItemTitle=name) for name in ("Ann", "Bob")]
    with pytest.raises(MalformedAnswer, match="make 1"):
        parse_event("p", gamma_event(*none), ("Ann", "Bob"))


def test_book__levels_in_any_order__best_of_each_side():
    assert parse_book("p", book(TOKENS[0]), TOKENS[0]) == (Decimal("0.08"), Decimal("0.1"))
    assert parse_book("p", book(TOKENS[0], (), (("0.5", "0"),)), TOKENS[0]) == (None, None)
    with pytest.raises(MarketChanged, match="asset_id"):
        parse_book("p", book(TOKENS[0]), TOKENS[1])
    for level in (("1.5", "1"), ("0", "1"), ("0.5", "-1"), ("", "1")):
        with pytest.raises(MalformedAnswer):
            parse_book("p", book(TOKENS[0], (level,)), TOKENS[0])


@given(damaged(gamma()) | damaged(gamma_resolved()))
def test_market__damaged_anyhow__look_or_feed_error(value):
    with suppress(FeedError):
        look = parse_market("p", value)
        assert not look.payouts or (look.state is MarketState.RESOLVED and abs(sum(look.payouts) - 1) < Decimal("1e-5"))


@given(damaged(gamma_event()))
def test_event__damaged_anyhow__look_or_feed_error(value):
    with suppress(FeedError):
        assert parse_event("p", value, ("Ann", "Bob")).outcomes == ("Ann", "Bob")


@given(damaged(book(TOKENS[0])))
def test_book__damaged_anyhow__prices_or_feed_error(value):
    with suppress(FeedError):
        assert all(price is None or 0 < price < 1 for price in parse_book("p", value, TOKENS[0]))


@given(st.text(max_size=40))
def test_market__any_text_for_a_list__look_or_feed_error(text):
    with suppress(FeedError):
        assert parse_market("p", gamma(outcomes=text)).outcomes == tuple(str(name) for name in json.loads(text))


@pytest.mark.parametrize("more", [{"price": "last"}, {"event": True, "price": "book"}, {"clob_url": "ftp://x"}])
def test_settings__wrong__refused(more):
    with pytest.raises(BadRule):
        PolymarketSettings("p", "a-slug", **more)
