"""Manifold's answers: four ways to resolve, answers of their own, and what is another market."""

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given

from feeds.sources.markets.manifold import ManifoldSettings, parse_market
from feeds.sources.markets.market import MarketState
from feeds.sources.source import FeedError, MalformedAnswer, MarketChanged
from feeds.types import SECOND, Micros
from tests.feeds.sources.markets.damage import damaged
from tests.feeds.sources.markets.wire import manifold, manifold_answers

NOW = Micros(1_700_000_000 * SECOND)
BINARY = ManifoldSettings("m", "lEoqtnDgJzft6apSKzYK")
MULTI = ManifoldSettings("m", "lEoqtnDgJzft6apSKzYK", outcomes=("Bob", "Ann"))
ONE = ManifoldSettings("m", "lEoqtnDgJzft6apSKzYK", answer="Ann")


def parse(value, settings=BINARY, now=NOW):
    return parse_market("m", value, settings, now)


def test_market__trading__prices_rules_and_end():
    look = parse(manifold())
    assert look.state is MarketState.TRADING and look.outcomes == ("YES", "NO")
    assert look.prices == (Decimal("0.8958175225896258"), Decimal("0.1041824774103742"))
    assert look.closes == 1_703_000_000_000_000 and look.traded == (Decimal("241.5"),) * 2
    assert look.rules == "Will it rain?\n\nResolves by the gauge."


def test_market__past_its_close__trades_no_more():
    assert parse(manifold(), now=Micros(1_703_000_000_000_000)).state is MarketState.HALTED
    assert parse(manifold(closeTime=None), now=Micros(1_900_000_000 * SECOND)).state is MarketState.TRADING


@pytest.mark.parametrize(
    ("resolution", "payouts"),
    [
        ({"resolution": "YES"}, (1, 0)),
        ({"resolution": "NO"}, (0, 1)),
        ({"resolution": "CANCEL"}, ()),
        ({"resolution": "MKT", "resolutionProbability": 0.3}, (Decimal("0.3"), Decimal("0.7"))),
        ({"resolution": "MKT", "resolutionProbability": 1}, (1, 0)),
    ],
)
def test_market__resolved__pays_what_it_says(resolution, payouts):
    look = parse(manifold(isResolved=True, resolutionTime=1_700_000_000_000, **resolution))
    assert look.state is MarketState.RESOLVED and look.payouts == payouts and look.resolved_at == NOW


@pytest.mark.parametrize(
    "resolution",
    [{}, {"resolution": "MAYBE"}, {"resolution": "MKT"}, {"resolution": "MKT", "resolutionProbability": 1.5}],
)
def test_market__resolved_to_nothing_known__refused(resolution):
    with pytest.raises(MalformedAnswer):
        parse(manifold(isResolved=True, **resolution))


def test_answers__sum_to_one__an_outcome_each_in_the_order_asked():
    look = parse(manifold_answers(), MULTI)
    assert look.outcomes == ("Bob", "Ann") and look.prices == (Decimal("0.25"), Decimal("0.75"))
    assert look.traded == (Decimal("2.5"), Decimal("7.5"))
    won = parse(manifold_answers(isResolved=True, resolution="a1"), MULTI)
    assert won.payouts == (0, 1)
    assert parse(manifold_answers(isResolved=True, resolution="CANCEL"), MULTI).payouts == ()


def test_answers__several_share__each_its_part():
    whole = manifold_answers(isResolved=True, resolution="CHOOSE_MULTIPLE")
    with pytest.raises(MalformedAnswer, match="make 1"):
        parse(whole, MULTI)
    for row, part in zip(whole["answers"], (0.25, 0.75), strict=True):
        row["resolutionProbability"] = part
    assert parse(whole, MULTI).payouts == (Decimal("0.75"), Decimal("0.25"))


@pytest.mark.parametrize(
    ("weights", "payouts"),
    [
        ({"a1": 60, "b2": 40}, ("0.4", "0.6")),
        ({"a1": 100}, (0, 1)),
        ({"a1": 1, "b2": 2}, ("0.666666667", "0.333333333")),
    ],
)
def test_answers__several_share_by_weights__each_its_part(weights, payouts):
    whole = manifold_answers(isResolved=True, resolution="CHOOSE_MULTIPLE", resolutions=weights)
    assert parse(whole, MULTI).payouts == tuple(Decimal(part) for part in payouts)


@pytest.mark.parametrize("weights", [{}, {"a1": 0}, {"a1": -1, "b2": 2}, {"x": 1}, {"a1": "many"}, []])
def test_answers__weights_that_say_nothing__refused(weights):
    with pytest.raises(MalformedAnswer):
        parse(manifold_answers(isResolved=True, resolution="CHOOSE_MULTIPLE", resolutions=weights), MULTI)


def test_answers__independent__one_of_them_is_a_question_of_its_own():
    whole = manifold_answers(shouldAnswersSumToOne=False)
    look = parse(whole, ONE)
    assert look.outcomes == ("YES", "NO") and look.prices == (Decimal("0.75"), Decimal("0.25"))
    assert "Ann" in look.rules and look.state is MarketState.TRADING
    whole["answers"][0] |= {"resolution": "NO", "resolutionTime": 1_700_000_000_000}
    resolved = parse(whole, ONE)
    assert resolved.state is MarketState.RESOLVED and resolved.payouts == (0, 1) and resolved.resolved_at == NOW
    cancelled = manifold_answers(shouldAnswersSumToOne=False, isResolved=True, resolution="CANCEL")
    assert parse(cancelled, ONE).payouts == () and parse(cancelled, ONE).state is MarketState.RESOLVED


@pytest.mark.parametrize(
    ("value", "settings"),
    [
        (manifold(outcomeType="PSEUDO_NUMERIC"), BINARY),
        (manifold_answers(), BINARY),
        (manifold(), ONE),
        (manifold_answers(), ONE),
        (manifold_answers(shouldAnswersSumToOne=False), MULTI),
        (manifold_answers((("a1", "Ann", 0.5), ("c3", "Cid", 0.5))), MULTI),
        (manifold_answers((("a1", "Ann", 0.5), ("b2", "Bob", 0.4), ("c3", "Other", 0.1))), MULTI),
        (manifold_answers((("a1", "Ann", 0.5), ("b2", "Ann", 0.5))), MULTI),
    ],
)
def test_market__another_kind_or_other_answers__market_changed(value, settings):
    with pytest.raises(MarketChanged):
        parse(value, settings)


@given(damaged(manifold()) | damaged(manifold(isResolved=True, resolution="MKT", resolutionProbability=0.3)))
def test_market__damaged_anyhow__look_or_feed_error(value):
    with suppress(FeedError):
        look = parse(value)
        assert not look.payouts or sum(look.payouts) == 1


@given(damaged(manifold_answers()) | damaged(manifold_answers(isResolved=True, resolution="X", resolutions={"a1": 1})))
def test_answers__damaged_anyhow__look_or_feed_error(value):
    for settings in (MULTI, ONE):
        with suppress(FeedError):
            assert parse(value, settings).outcomes == settings.outcomes
