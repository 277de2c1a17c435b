"""What facts say together: one answer or that they differ, as it was known at a moment."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events.log import RulesSeen
from feeds.events.question import question_id
from feeds.events.standing import Agreed, Annulled, Disputed, Open, Split, StandingRule, changed_terms, standing
from feeds.sources.source import BadRule
from feeds.types import ANNULLED, SPLIT, UNDECIDED, Fact, Micros
from tests.strategies.events import DUE, RACE, RAIN, facts

ID = question_id(RACE)
LATER = Micros(DUE + 10**9)
TWO = StandingRule(2)


def fact(source, outcome, after=0, payouts=()):
    return Fact(source, ID, outcome, DUE, Micros(DUE + after), (), payouts)


def ask(*told, now=LATER, rules=(), rule=TWO):
    return standing(RACE, told, rules, now, rule)


def terms(source="a", text="1", closes=None, after=0, accepted=False):
    return RulesSeen(source, ID, text * 64, closes, Micros(DUE + after), accepted)


def test_standing__enough_agree__agreed_and_one_is_not_enough():
    assert isinstance(ask(fact("a", 1)), Open) and "1 of 2" in ask(fact("a", 1)).reason
    agreed = ask(fact("a", 1), fact("b", 1))
    assert isinstance(agreed, Agreed) and agreed.outcome == 1
    assert ask(fact("a", 1), rule=StandingRule(1)).outcome == 1


def test_standing__one_of_many_differs__disputed_and_each_side_shown():
    disputed = ask(*(fact(name, 1) for name in "bcdefgh"), fact("a", 0))
    assert isinstance(disputed, Disputed)
    assert [(answer, len(given)) for answer, given in disputed.by] == [((1, ()), 7), ((0, ()), 1)]
    assert isinstance(ask(fact("a", 1), fact("b", ANNULLED)), Disputed)


def test_standing__split_and_annulled__are_answers_of_their_own():
    half = ("0.5", "0.5", "0")
    split = ask(fact("a", SPLIT, payouts=half), fact("b", SPLIT, payouts=half))
    assert isinstance(split, Split) and split.payouts == half
    assert isinstance(ask(fact("a", SPLIT, payouts=half), fact("b", SPLIT, payouts=("0.4", "0.6", "0"))), Disputed)
    assert isinstance(ask(fact("a", ANNULLED), fact("b", ANNULLED)), Annulled)


def test_standing__revised__newest_counts_and_the_earlier_is_shown():
    told = [fact("a", 0, 1), fact("b", 1, 2), fact("a", 1, 3)]
    agreed = ask(*told)
    assert agreed.outcome == 1 and agreed.told.revised == (told[0],)
    assert "a: it revised its answer" in agreed.told.flags
    assert isinstance(ask(*told, now=Micros(DUE + 2)), Disputed), "as it was known then"


def test_standing__taken_back__has_no_answer():
    found = ask(fact("a", 1), fact("b", 1, 1), fact("b", UNDECIDED, 2))
    assert isinstance(found, Open) and [f.source for f in found.told.undecided] == ["b"]


def test_standing__mirrors_of_one_venue__are_one_source_but_can_differ():
    rule = StandingRule(2, (frozenset({"a", "mirror"}),))
    assert isinstance(ask(fact("a", 1), fact("mirror", 1), rule=rule), Open)
    assert isinstance(ask(fact("a", 1), fact("mirror", 1), fact("b", 1), rule=rule), Agreed)
    assert isinstance(ask(fact("a", 1), fact("mirror", 0), rule=rule), Disputed)


def test_standing__terms_changed__set_aside_until_accepted():
    told, seen = [fact("a", 1), fact("b", 1)], [terms(), terms("b"), terms(text="2", after=5)]
    found = ask(*told, rules=seen)
    assert isinstance(found, Open) and "terms changed" in found.told.set_aside[0][1]
    assert any("a: terms changed" in flag for flag in found.told.flags)
    assert isinstance(ask(*told, rules=seen, now=Micros(DUE + 4)), Agreed)
    assert isinstance(ask(*told, rules=[*seen, terms(text="2", after=6, accepted=True)]), Agreed)
    assert isinstance(ask(*told, rules=[*seen, terms(after=6)]), Agreed), "they are again what they were"


def test_changed_terms__end_moved__is_a_change():
    seen = [terms(closes=DUE), terms(closes=LATER, after=1)]
    assert "ends at" in changed_terms(seen, LATER)["a"] and changed_terms(seen, DUE) == {}
    accepted = [terms(), terms(text="2", after=1, accepted=True), terms(after=2)]
    assert changed_terms(accepted, LATER), "back to what was seen before the accepted terms is a change too"


def test_standing__facts_of_another_question__count_for_nothing():
    other = replace(fact("b", 1), question=question_id(RAIN))
    assert isinstance(ask(fact("a", 1), other), Open)


@given(st.lists(facts(RACE).map(lambda pair: pair[0]), max_size=8), st.integers(1, 3), st.integers(0, 10**9))
def test_standing__any_facts__keeps_its_rules(told, least, after):
    told = sorted(told, key=lambda item: item.known_at)
    told = [replace(item, known_at=Micros(item.known_at + n)) for n, item in enumerate(told)]
    now = Micros(DUE + after)
    found = standing(RACE, told, (), now, StandingRule(least))
    known = [item for item in told if item.known_at <= now]
    newest = {item.source: item for item in known}
    answers = {(f.outcome, f.payouts) for f in newest.values() if f.outcome != UNDECIDED}
    assert isinstance(found, Disputed) == (len(answers) > 1)
    assert set(found.told.facts) | set(found.told.undecided) == set(newest.values())
    assert len(found.told.revised) == len(known) - len(newest)
    if isinstance(found, Agreed | Split | Annulled):
        assert len(answers) == 1 and len(found.told.facts) >= least
    assert standing(RACE, known, (), now, StandingRule(least)) == found, "what came later changes nothing"


@pytest.mark.parametrize(
    "made",
    [lambda: StandingRule(0), lambda: StandingRule(2, (frozenset("ab"), frozenset("bc")))],
)
def test_rule__out_of_range__refused(made):
    with pytest.raises(BadRule):
        made()
