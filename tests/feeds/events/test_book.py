"""Log, evidence and standings together, against a model."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from feeds.events.book import EventBook, FactSource, Finding, Terms
from feeds.events.evidence import body_hash
from feeds.events.question import question_id
from feeds.events.standing import Agreed, Disputed, Open, StandingRule
from feeds.sources.source import BadRule, EvidenceDamaged, MalformedFact, PrematureFact, StoreDamaged
from feeds.types import UNDECIDED, Evidence, Fact, Micros
from tests.strategies.events import DUE, RACE, RAIN, facts

ID = question_id(RACE)
ONE = StandingRule(1)


def finding(source="a", outcome=1, at=DUE, body=b"page"):
    piece = Evidence("https://a.org", body_hash(body), at, "")
    return Finding(Fact(source, ID, outcome, at, at, (piece,)), (body,))


def shown(source="a", text="rules", closes=None, trading=True, at=DUE):
    return Terms(source, ID, text, closes, trading, at)


class Says:
    """A fact source that says what it is told to."""

    def __init__(self, name, findings=(), terms=()):
        self.name, self.said, self.shown = name, list(findings), list(terms)

    def findings(self, now):
        return [item for item in self.said if item.fact.known_at <= now]

    def terms(self, now):
        return [item for item in self.shown if item.known_at <= now]


class Broken(Says):
    def findings(self, now):
        raise StoreDamaged("path", "reason")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def book(tmp_path):
    book = EventBook(tmp_path)
    book.ask(RACE, Micros(DUE - 100))
    yield book
    book.close()


def test_collect__sources_say_again_and_again__each_thing_once_with_its_evidence(book):
    sources = [Says("a", [finding()], [shown()]), Says("b", [finding("b", body=b"other")])]
    assert isinstance(sources[0], FactSource)
    assert len(book.collect(sources, DUE)) == 3
    assert book.collect(sources, Micros(DUE + 5)) == []
    agreed = book.standing(ID, Micros(DUE + 5))
    assert isinstance(agreed, Agreed) and agreed.outcome == 1
    bodies = [book.evidence.read(piece.sha256) for fact in agreed.told.facts for piece in fact.evidence]
    assert bodies == [b"page", b"other"] and book.evidence.verify() == 3


def test_collect__one_source_is_unsound__counted_and_the_others_go_on(book):
    early = Micros(DUE - 1)
    lies = finding("b")
    lies = replace(lies, bodies=(b"not that page",))
    sources = [Says("a", [finding("a", at=early)]), Says("b", [lies]), Broken("c"), Says("d", [finding("d")])]
    new = book.collect(sources, DUE)
    assert [record.source for record in new] == ["d"]
    assert dict(book.refused) == {"a: premature": 1, "b: evidence": 1, "c: StoreDamaged": 1}
    assert isinstance(book.last_refusal, StoreDamaged)


def test_tell__premature_now__accepted_when_said_again_in_time(book):
    with pytest.raises(PrematureFact):
        book.tell(finding(at=Micros(DUE - 1)))
    assert book.tell(finding())


def test_tell__no_answer__is_news_if_it_had_one_or_is_due(book):
    assert not book.tell(finding(outcome=UNDECIDED, at=Micros(DUE - 5)))
    assert book.tell(finding("b", UNDECIDED)) and not book.tell(finding("b", UNDECIDED, Micros(DUE + 1)))
    assert book.tell(finding()) and book.tell(finding(outcome=UNDECIDED, at=Micros(DUE + 2)))


def test_tell__evidence_cannot_be_kept__fact_is_not_in_the_log(book):
    with pytest.raises(EvidenceDamaged):
        book.tell(finding(body=b"x" * (book.evidence.max_body + 1)))
    assert book.log.facts(ID) == []


def test_note__rules_change__every_version_is_kept_and_the_source_set_aside(book):
    book.collect([Says("a", [finding()], [shown()])], DUE)
    now = Micros(DUE + 10)
    assert isinstance(book.standing(ID, DUE, ONE), Agreed)
    assert book.note(shown(text="other rules", at=now))
    found = book.standing(ID, Micros(DUE + 11), ONE)
    assert isinstance(found, Open) and "terms changed" in found.told.flags[0]
    assert [book.evidence.read(seen.sha256) for seen in book.log.rules(ID)] == [b"rules", b"other rules"]
    assert book.accept_terms("a", ID, Micros(DUE + 12)) and not book.accept_terms("a", ID, Micros(DUE + 13))
    assert isinstance(book.standing(ID, Micros(DUE + 14), ONE), Agreed)


def test_note__end_moves__flagged_while_it_trades_but_not_by_its_closing(book):
    assert book.note(shown(closes=Micros(DUE + 100)))
    assert not book.note(shown(closes=DUE, trading=False)), "closed early is closed, not changed"
    assert book.note(shown(closes=Micros(DUE + 200)))
    assert any("ends at" in flag for flag in book.standing(ID, Micros(DUE + 10), ONE).told.flags)


def test_accept_terms__none_seen__refused(book):
    with pytest.raises(BadRule, match="collect first"):
        book.accept_terms("a", ID, DUE)


def test_note__question_that_nobody_asked__refused_and_nothing_kept(book):
    with pytest.raises(MalformedFact):
        book.note(replace(shown(), question=question_id(RAIN)))
    assert book.evidence.verify() == 0


def test_standing__question_that_nobody_asked__refused(book):
    with pytest.raises(BadRule):
        book.standing(question_id(RAIN), DUE)


class BookMachine(RuleBasedStateMachine):
    """Any story of asking, telling, refusing and restarting, beside a list of what was told."""

    @initialize()
    def begin(self):
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda handle: None)
        self.home = tempfile.TemporaryDirectory()
        self.book = EventBook(self.home.name)
        self.model, self.bodies, self.asked = [], {}, set()
        self.frozen = {}

    @rule(question=st.sampled_from((RACE, RAIN)))
    def ask(self, question):
        self.book.ask(question, DUE)
        self.asked.add(question_id(question))

    @rule(pair=facts(RACE) | facts(RAIN))
    def tell(self, pair):
        fact, bodies = pair
        last = next((f for f in reversed(self.model) if (f.source, f.question) == (fact.source, fact.question)), None)
        if fact.question not in self.asked:
            with pytest.raises(MalformedFact):
                self.book.tell(Finding(fact, bodies))
            return
        new = last is None or (last.outcome, last.payouts) != (fact.outcome, fact.payouts)
        assert self.book.tell(Finding(fact, bodies)) == new
        if new:
            self.model.append(self.book.log.facts(fact.question)[-1])
            assert replace(self.model[-1], known_at=fact.known_at) == fact
            self.bodies |= {piece.sha256: body for piece, body in zip(fact.evidence, bodies, strict=True)}

    @rule(early=st.integers(1, 10**6))
    @precondition(lambda self: ID in self.asked)
    def tell_too_early(self, early):
        with pytest.raises(PrematureFact):
            self.book.tell(finding(outcome=2, source="early", at=Micros(DUE - early)))

    @rule()
    def look(self):
        """A standing just before the newest moment; it must be the same for ever."""
        now = Micros(self.book.log.newest - 1)
        for number in self.asked:
            self.frozen[number, now] = self.book.standing(number, now)

    @rule(cut=st.integers(0, 80))
    def crash_and_restart(self, cut):
        self.book.close()
        with (Path(self.home.name) / "log").open("ab") as file:
            file.write(b"f" * cut)
        self.book = EventBook(self.home.name)

    @invariant()
    def is_the_model(self):
        if not hasattr(self, "book"):
            return
        told = [record for record in self.book.log.records if isinstance(record, Fact)]
        assert told == self.model
        assert {sha256: self.book.evidence.read(sha256) for sha256 in self.bodies} == self.bodies
        for (number, now), standing in self.frozen.items():
            assert self.book.standing(number, now) == standing
        newest = {(f.question, f.source): (f.outcome, f.payouts) for f in self.model if f.outcome != UNDECIDED}
        gone = {(f.question, f.source) for f in self.model}
        last = {key: [f for f in self.model if (f.question, f.source) == key][-1] for key in gone}
        for number in self.asked:
            answers = {answer for key, answer in newest.items() if key[0] == number and last[key].outcome != UNDECIDED}
            latest = self.book.standing(number, Micros(self.book.log.newest))
            assert isinstance(latest, Disputed) == (len(answers) > 1)

    def teardown(self):
        if hasattr(self, "book"):
            self.book.close()
            self.home.cleanup()
            self.patch.undo()


BookMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestBook = BookMachine.TestCase
