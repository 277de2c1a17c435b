"""The fact that a node's own quotes make: exact at the strike, undecided across it, blind to what came later."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events.book import EventBook, FactSource
from feeds.events.evidence import body_hash
from feeds.events.price import SETTLE, PriceFacts, price_finding
from feeds.events.question import Above, check_fact, question_id
from feeds.events.standing import Agreed, StandingRule
from feeds.rule import FusionRule
from feeds.sources.source import BadRule, MixedSymbols
from feeds.store import Store
from feeds.types import SECOND, UNDECIDED, Micros, Quote
from tests.strategies.events import DUE

MINUTE = 60 * SECOND
RULE = FusionRule("BTC/USD", max_age=2 * MINUTE, min_sources=2)
K = Above("BTC/USD", "100.5", DUE, inclusive=True)
NOW = Micros(DUE + SETTLE)


def quotes(*prices, before=SECOND, names="abcdef"):
    at = Micros(DUE - before)
    return [Quote(name, "BTC/USD", float(price), 1.0, at, at) for name, price in zip(names, prices, strict=False)]


def outcome(*prices, question=K, **named):
    return price_finding("prices", question, quotes(*prices, **named), RULE, NOW).fact.outcome


def test_price__all_on_one_side__is_the_outcome():
    assert outcome(100.6, 100.7, 100.65) == 1
    assert outcome(100.4, 100.3, 100.45) == 0


def test_price__sources_stand_on_both_sides__undecided_wherever_the_median_is():
    assert outcome(100.4, 100.6, 100.7) == UNDECIDED
    assert outcome(100.4, 100.45, 100.6) == UNDECIDED


def test_price__all_exactly_at_the_strike__as_the_question_says():
    assert outcome(100.5, 100.5) == 1
    assert outcome(100.5, 100.5, question=replace(K, inclusive=False)) == 0
    assert outcome(100.5, 100.6) == 1 and outcome(100.5, 100.4) == UNDECIDED
    tenth = Above("BTC/USD", "0.3", DUE, inclusive=True)
    assert outcome(0.1 + 0.2, 0.1 + 0.2, question=replace(tenth, inclusive=False)) == 1, "0.30000000000000004"
    assert outcome(0.3, 0.3, question=tenth) == 1


def test_price__liar_that_fusion_sets_aside__has_no_veto():
    finding = price_finding("prices", K, quotes(101, 101.01, 101.02, 10), RULE, NOW)
    assert finding.fact.outcome == 1
    assert [item[0] for item in json.loads(finding.bodies[0])["set_aside"]] == ["d"]


def test_price__too_few_or_stale__undecided_and_says_why():
    assert outcome(101) == UNDECIDED
    finding = price_finding("prices", K, quotes(101, 102, before=10 * MINUTE), RULE, NOW)
    assert finding.fact.outcome == UNDECIDED and "min_sources" in finding.fact.evidence[0].excerpt


def test_price__known_after_the_time__does_not_exist():
    late = [replace(quote, known_at=Micros(DUE + 1)) for quote in quotes(200, 200, names="xy")]
    finding = price_finding("prices", K, quotes(100, 100) + late, RULE, NOW)
    assert finding.fact.outcome == 0


def test_finding__any_answer__carries_the_quotes_it_was_made_of():
    told = quotes(100.6, 100.7)
    finding = price_finding("prices", K, told, RULE, NOW)
    check_fact(finding.fact, K)
    (body,), (piece,) = finding.bodies, finding.fact.evidence
    shown = json.loads(body)
    assert piece.sha256 == body_hash(body) and shown["id"] == question_id(K)
    again = [
        Quote(q["source"], q["symbol"], float(q["price"]), float(q["size"]), q["ts"], q["known_at"])
        for q in shown["counted"]
    ]
    assert again == told


@given(
    st.lists(st.floats(50, 150), min_size=2, max_size=5),
    st.decimals(50, 150, places=3).map(lambda k: f"{k.normalize():f}"),
    st.booleans(),
)
def test_price__any_quotes__decided_only_if_all_that_count_agree(prices, strike, inclusive):
    question = Above("BTC/USD", strike, DUE, inclusive)
    finding = price_finding("prices", question, quotes(*prices), RULE, NOW)
    counted = [Decimal(item["price"]) for item in json.loads(finding.bodies[0])["counted"]]
    sides = {question.answer(price) for price in counted}
    if finding.fact.outcome != UNDECIDED:
        assert sides == {finding.fact.outcome} and len(counted) >= 2
    check_fact(finding.fact, question)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "quotes")
    yield store
    store.close()


def test_facts__store_that_held_the_quotes__answers_once_after_it_settled(store, tmp_path):
    store.append(quotes(101, 102))
    source = PriceFacts("prices", K, store, RULE)
    assert isinstance(source, FactSource) and source.terms(NOW) == []
    assert source.findings(DUE) == [] and source.findings(Micros(NOW - 1)) == []
    (first,) = source.findings(NOW)
    store.append(quotes(1, 1, before=0, names="xyz"))
    assert source.findings(Micros(NOW + MINUTE)) == [first] and source.findings(DUE) == []
    book = EventBook(tmp_path / "events")
    book.ask(K, DUE)
    book.collect([source], NOW)
    standing = book.standing(question_id(K), NOW, StandingRule(1))
    assert isinstance(standing, Agreed) and standing.outcome == 1
    book.close()


def test_facts__sources_named__the_others_quotes_count_for_nothing(store):
    store.append(quotes(101, 102, 1, 2))
    (found,) = PriceFacts("prices", K, store, RULE, ("a", "b")).findings(NOW)
    assert found.fact.outcome == 1
    (found,) = PriceFacts("prices", K, store, RULE).findings(NOW)
    assert found.fact.outcome == UNDECIDED


def test_facts__rule_of_another_symbol_or_negative_wait__refused(store):
    with pytest.raises(MixedSymbols):
        PriceFacts("prices", K, store, replace(RULE, symbol="ETH/USD"))
    with pytest.raises(BadRule):
        PriceFacts("prices", K, store, RULE, settle=-1)
