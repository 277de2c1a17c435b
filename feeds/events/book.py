"""A node's book of events: what its fact sources say goes into the log with its evidence, and standings come out.

Why this file exists: log, evidence and the rules of standing each do one thing; here they are put together so that no
fact is in the log whose evidence is not on disk before it. Never in it: network, what a venue's answer means.

This is the seam for whoever resolves questions: `collect` once a round, then `standing` of each question that is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from feeds.events.evidence import EvidenceStore, body_hash
from feeds.events.log import EventLog, RulesSeen
from feeds.events.question import Question
from feeds.events.standing import Standing, StandingRule, standing
from feeds.sources.source import BadRule, EvidenceDamaged, FeedError, MalformedFact, PrematureFact
from feeds.types import UNDECIDED, Fact, Micros

DEFAULT_RULE = StandingRule()


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact and the bodies of its evidence, in the same order."""

    fact: Fact
    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a source's market on `question` says of itself: its rules, word for word, and when its trading ends.

    `trading`: still open. Once it is not, `closes` says when it was closed, which is no change of its terms.
    """

    source: str
    question: str
    text: str
    closes: Micros | None
    trading: bool
    known_at: Micros


@runtime_checkable
class FactSource(Protocol):
    """A source that answers questions. Both methods return what is known now without waiting or network.

    The same may come again: the book keeps only what is new.
    """

    @property
    def name(self) -> str:
        """The name that facts carry."""
        ...

    def findings(self, now: Micros) -> list[Finding]:
        """For each question it is asked, its answer of the newest look with `known_at <= now`."""
        ...

    def terms(self, now: Micros) -> list[Terms]:
        """For each question it is asked, the terms of its market by the newest look with `known_at <= now`."""
        ...


class EventBook:
    """Log and evidence under one folder. `writing`: see `EventLog`. Close it after use."""

    def __init__(self, folder: str | Path, writing: bool = True) -> None:
        """Raises `LogDamaged`."""
        self.log = EventLog(folder, writing)
        self.evidence = EvidenceStore(Path(folder) / "evidence")
        self.refused: Counter[str] = Counter()
        """Refused so far: `source: field`, `source: premature` for facts that came too early, or the kind of error."""
        self.last_refusal: FeedError | None = None

    def ask(self, question: Question, now: Micros) -> str:
        """Make facts about a question welcome from `now` on; its id. Raises `LogDamaged`."""
        return self.log.ask(question, now)

    def collect(self, sources: Iterable[FactSource], now: Micros) -> list[Fact | RulesSeen]:
        """Take in what the sources say by `now`; what of it was new.

        What does not fit is counted in `refused`, and so is a source that cannot say; the others go on.
        Raises `LogDamaged`.
        """
        begun = len(self.log.records)
        for source in sources:
            try:
                said: list[Terms | Finding] = [*source.terms(now), *source.findings(now)]
            except FeedError as error:
                self._refuse(source, error)
                continue
            for item in said:
                try:
                    _ = self.note(item) if isinstance(item, Terms) else self.tell(item)
                except (MalformedFact, EvidenceDamaged) as error:
                    self._refuse(source, error)
        return [record for record in self.log.records[begun:] if isinstance(record, Fact | RulesSeen)]

    def tell(self, finding: Finding) -> bool:
        """Keep a finding unless its source said the same last; whether it was new. Evidence is on disk before the fact.

        That a source has no answer is news if it had one, or once the question is due.
        Raises `MalformedFact` (`PrematureFact`), `EvidenceDamaged`, `LogDamaged`.
        """
        fact = finding.fact
        last = self.log.last_fact(fact.source, fact.question)
        question = self.log.questions.get(fact.question)
        if last is None and fact.outcome == UNDECIDED and question is not None and fact.known_at < question.earliest:
            return False
        if last is not None and (last.outcome, last.payouts) == (fact.outcome, fact.payouts):
            return False
        self.log.check(fact)
        if tuple(body_hash(body) for body in finding.bodies) != tuple(piece.sha256 for piece in fact.evidence):
            raise MalformedFact(
                fact.source, "evidence", len(finding.bodies), "the hashes of the bodies that came with it"
            )
        for body in finding.bodies:
            self.evidence.keep(body)
        return self.log.tell(fact)

    def note(self, terms: Terms) -> bool:
        """Keep the terms of a source's market if they are new, every version word for word; whether they were.

        Raises `MalformedFact`, `EvidenceDamaged`, `LogDamaged`.
        """
        body = terms.text.encode("utf-8", "surrogatepass")
        last = self.log.last_rules(terms.source, terms.question)
        closes = last.closes if last is not None and not terms.trading else terms.closes
        seen = RulesSeen(terms.source, terms.question, body_hash(body), closes, terms.known_at)
        if last is not None and (last.sha256, last.closes) == (seen.sha256, seen.closes):
            return False
        if terms.question in self.log.questions:
            self.evidence.keep(body)
        return self.log.see(seen)

    def accept_terms(self, source: str, question: str, now: Micros) -> bool:
        """An operator has read the terms seen last of a source's market and stands by it that they ask the question.

        Whether that changed anything. Raises `BadRule` if none were seen, `LogDamaged`.
        """
        last = self.log.last_rules(source, question)
        if last is None:
            asked = sorted({seen.source for seen in self.log.rules(question)})
            known = f"one of {', '.join(asked)}" if asked else "one whose terms were seen: collect first"
            raise BadRule("source whose terms to accept", source, known)
        return self.log.see(replace(last, known_at=now, accepted=True))

    def standing(self, question: str, now: Micros, rule: StandingRule = DEFAULT_RULE) -> Standing:
        """What was known of a question at `now` (`feeds.events.standing`). Raises `BadRule` if nobody asked it."""
        asked = self.log.questions.get(question)
        if asked is None:
            raise BadRule("question", question, "the id of a question that was asked")
        return standing(asked, self.log.facts(question), self.log.rules(question), now, rule)

    def _refuse(self, source: FactSource, error: FeedError) -> None:
        self.last_refusal = error
        self.refused[f"{source.name}: {_cause(error)}"] += 1

    def close(self) -> None:
        """Let go of the log's lock; a second call does nothing."""
        self.log.close()


def _cause(error: FeedError) -> str:
    if isinstance(error, PrematureFact):
        return "premature"
    return error.field if isinstance(error, MalformedFact) else type(error).__name__
