"""What the facts say together about a question at a moment: one answer, or that they differ, never something between.

Why this file exists: whoever resolves a question (a node that proposes, a reader in a dispute) must see in one place
which sources say what, since when, and why that is or is not an answer yet. Never in it: files, network, a vote.

The rules, in this order, over what was known at the moment asked about and nothing later:

1. Of each source its newest fact counts; the earlier ones are shown as revised.
2. A source whose newest fact is `UNDECIDED` has no answer.
3. A source whose market changed its rules or its end since they were first seen is set aside until an operator accepts
   the new terms: it may by now answer another question.
4. If two sources differ, the question is disputed, however many say the one and however few the other.
5. An answer stands once `min_sources` independent sources give it. Sources of one group (two mirrors of one venue) are
   one source, though they can differ like any other two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from feeds.events.log import RulesSeen
from feeds.events.question import Question, question_id
from feeds.sources.source import BadRule
from feeds.types import ANNULLED, SPLIT, UNDECIDED, Fact, Micros

Answer = tuple[int, tuple[str, ...]]
"""`outcome` and `payouts` of a fact."""


@dataclass(frozen=True, slots=True)
class StandingRule:
    """`min_sources`: so many independent sources must agree. `groups`: names of sources that are one and the same.

    Raises `BadRule`.
    """

    min_sources: int = 2
    groups: tuple[frozenset[str], ...] = ()

    def __post_init__(self) -> None:
        """Check both."""
        if not 1 <= self.min_sources <= 1000:
            raise BadRule("standing: min_sources", self.min_sources, "1 to 1000")
        names = [name for group in self.groups for name in group]
        if len(names) != len(set(names)):
            raise BadRule("standing: groups", sorted(names), "groups without a common source")

    def group(self, source: str) -> str:
        """What a source counts as: the first name of its group, or itself."""
        return next((min(group) for group in self.groups if source in group), source)


@dataclass(frozen=True, slots=True)
class Told:
    """All that was known of a question at `now`.

    `facts`: the newest of each source that counts, by source. `undecided`: the newest of those that have no answer.
    `revised`: earlier facts, oldest first. `set_aside`: (fact, why). `flags`: what a reader should know beside it.
    """

    question: str
    now: Micros
    facts: tuple[Fact, ...]
    undecided: tuple[Fact, ...]
    revised: tuple[Fact, ...]
    set_aside: tuple[tuple[Fact, str], ...]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """No answer yet; `reason` says what is missing."""

    told: Told
    reason: str


@dataclass(frozen=True, slots=True)
class Agreed:
    """Enough independent sources say that `outcome` came true, and none says otherwise."""

    told: Told
    outcome: int


@dataclass(frozen=True, slots=True)
class Split:
    """Enough independent sources pay the outcomes in the parts `payouts`, and none says otherwise."""

    told: Told
    payouts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Annulled:
    """Enough independent sources say that the question has no answer, and none says otherwise."""

    told: Told


@dataclass(frozen=True, slots=True)
class Disputed:
    """Sources differ. `by`: each answer with those who give it, the one with most independent sources first."""

    told: Told
    by: tuple[tuple[Answer, tuple[Fact, ...]], ...]


Standing = Open | Agreed | Split | Annulled | Disputed


def standing(
    question: Question, facts: Iterable[Fact], rules: Sequence[RulesSeen], now: Micros, rule: StandingRule
) -> Standing:
    """What `facts` and `rules`, in the order in which they came to be known, say of `question` at `now`."""
    told = _told(question, facts, rules, now)
    answers: dict[Answer, list[Fact]] = {}
    for fact in told.facts:
        answers.setdefault((fact.outcome, fact.payouts), []).append(fact)
    counted = {answer: len({rule.group(fact.source) for fact in given}) for answer, given in answers.items()}
    if len(answers) > 1:
        ordered = sorted(answers, key=lambda answer: (-counted[answer], answer))
        return Disputed(told, tuple((answer, tuple(answers[answer])) for answer in ordered))
    if not answers:
        return Open(told, f"no source that counts has an answer; {rule.min_sources} independent ones are needed")
    ((outcome, payouts),) = answers
    if counted[outcome, payouts] < rule.min_sources:
        has = counted[outcome, payouts]
        return Open(told, f"{has} of {rule.min_sources} independent sources have an answer")
    if outcome == ANNULLED:
        return Annulled(told)
    return Split(told, payouts) if outcome == SPLIT else Agreed(told, outcome)


def changed_terms(rules: Iterable[RulesSeen], now: Micros) -> dict[str, str]:
    """Sources whose market is not on its accepted terms at `now`, and how it differs.

    Accepted are the terms that an operator accepted last, or else those that were seen first.
    """
    accepted: dict[str, RulesSeen] = {}
    newest: dict[str, RulesSeen] = {}
    for seen in rules:
        if seen.known_at <= now:
            if seen.accepted or seen.source not in accepted:
                accepted[seen.source] = seen
            newest[seen.source] = seen
    found = {}
    for source, seen in sorted(newest.items()):
        first = accepted[source]
        parts = []
        if seen.sha256 != first.sha256:
            parts.append(f"its rules are {seen.sha256[:12]}, were {first.sha256[:12]}")
        if seen.closes != first.closes:
            parts.append(f"it ends at {seen.closes}, was {first.closes}")
        if parts:
            found[source] = f"terms changed: {' and '.join(parts)}"
    return found


def _told(question: Question, facts: Iterable[Fact], rules: Sequence[RulesSeen], now: Micros) -> Told:
    number = question_id(question)
    newest: dict[str, Fact] = {}
    revised: list[Fact] = []
    for fact in facts:
        if fact.question != number or fact.known_at > now:
            continue
        last = newest.get(fact.source)
        if last is not None and last.known_at > fact.known_at:
            revised.append(fact)
            continue
        if last is not None:
            revised.append(last)
        newest[fact.source] = fact
    changed = changed_terms([seen for seen in rules if seen.question == number], now)
    ordered = [newest[source] for source in sorted(newest)]
    counts = [f for f in ordered if f.outcome != UNDECIDED and f.source not in changed]
    flags = [f"{source}: {why}" for source, why in changed.items()]
    flags += [f"{source}: it revised its answer" for source in sorted({fact.source for fact in revised})]
    return Told(
        number,
        now,
        tuple(counts),
        tuple(fact for fact in ordered if fact.outcome == UNDECIDED),
        tuple(sorted(revised, key=lambda fact: fact.known_at)),
        tuple((f, changed[f.source]) for f in ordered if f.outcome != UNDECIDED and f.source in changed),
        tuple(flags),
    )
