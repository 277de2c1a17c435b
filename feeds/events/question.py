"""Questions about the world, each with one canonical form and one id, and what makes a fact fit its question.

Why this file exists: sources that answer must answer the same question, so a question is typed, its text and rules are
part of it, and its id is a hash over all of that: whoever changes a word asks another question. Never in it: who says
what (`feeds.events.standing`), files (`feeds.events.log`), network.

Three kinds, after what prediction markets and parametric contracts ask:

- `Winner`: who won, among named outcomes;
- `Happened`: did it happen by a time (outcome 0 is no, 1 is yes);
- `Above`: was the price of a symbol above a strike at a time (0 is no, 1 is yes).

The canonical form is JSON with sorted keys, no blanks, ASCII only, integers and text only; text is in Unicode form C.
The id is Keccak-256 over `PREFIX` and that form, as 0x and 64 hex digits, so that a contract can check it.
"""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

from eth_utils.crypto import keccak

from feeds.sources.source import (
    EARLIEST,
    LATEST,
    MAX_NAME,
    MalformedAnswer,
    MalformedFact,
    MalformedFile,
    MalformedQuestion,
    PrematureFact,
)
from feeds.sources.strict_json import parse_json
from feeds.types import ANNULLED, SECOND, SPLIT, UNDECIDED, Evidence, Fact, Micros

PREFIX = b"dodona question 1\n"
"""What is hashed before the canonical form, so that no other hash of the project can be a question's id."""
MAX_OUTCOMES = 16
"""Most outcomes of a question, as on chain."""
MAX_TEXT = 500
"""Most characters of a question's text."""
MAX_RULES = 20_000
"""Most characters of a question's rules."""
MAX_EXCERPT = 500
"""Most characters of an excerpt."""
MAX_URL = 2_000
"""Most characters of a URL of evidence."""
MAX_EVIDENCE = 16
"""Most pieces of evidence of one fact."""
MAX_FILE = 100_000
"""Most bytes of a question's file."""
NO_YES = ("no", "yes")
"""Outcomes of a question that is answered by no or yes."""
_STRIKE = re.compile(r"-?(0|[1-9][0-9]{0,29})(\.[0-9]{0,29}[1-9])?")
_PAYOUT = re.compile(r"0(\.[0-9]{1,9})?|1(\.0{1,9})?")
_SUM_TOLERANCE = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Winner:
    """Which of `outcomes` won? `rules` says how that is decided; no answer counts before `earliest`.

    Raises `MalformedQuestion` unless canonical, as the other kinds do.
    """

    kind: ClassVar[str] = "winner"
    text: str
    outcomes: tuple[str, ...]
    rules: str
    earliest: Micros

    def __post_init__(self) -> None:
        """Check every field."""
        _check_text("text", self.text, MAX_TEXT)
        _check_rules(self.rules)
        if not (type(self.outcomes) is tuple and 2 <= len(self.outcomes) <= MAX_OUTCOMES):
            raise MalformedQuestion("outcomes", self.outcomes, f"2 to {MAX_OUTCOMES} names")
        for name in self.outcomes:
            _check_text("outcome", name, MAX_NAME)
        if len({name.casefold() for name in self.outcomes}) < len(self.outcomes):
            raise MalformedQuestion("outcomes", self.outcomes, "all different, also but for case")
        _check_time("earliest", self.earliest)


@dataclass(frozen=True, slots=True)
class Happened:
    """Did it happen by `by`? Yes counts from `earliest` on, no only from `by` on: until then it still may."""

    kind: ClassVar[str] = "happened"
    text: str
    rules: str
    earliest: Micros
    by: Micros

    def __post_init__(self) -> None:
        """Check every field."""
        _check_text("text", self.text, MAX_TEXT)
        _check_rules(self.rules)
        _check_time("earliest", self.earliest)
        _check_time("by", self.by)
        if self.by < self.earliest:
            raise MalformedQuestion("by", self.by, f"not before earliest ({self.earliest})")

    @property
    def outcomes(self) -> tuple[str, ...]:
        """No, yes."""
        return NO_YES


@dataclass(frozen=True, slots=True)
class Above:
    """Was the price of `symbol` above `strike` at `at`? `inclusive`: exactly at the strike is yes.

    `strike` is decimal text in its one shortest form (`100000`, `0.874`), in quote units per base unit.
    """

    kind: ClassVar[str] = "above"
    symbol: str
    strike: str
    at: Micros
    inclusive: bool
    rules: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        _check_text("symbol", self.symbol, MAX_NAME)
        if not (isinstance(self.strike, str) and _STRIKE.fullmatch(self.strike) and self.strike != "-0"):
            raise MalformedQuestion("strike", self.strike, "decimal text in its shortest form, such as 100000 or 0.874")
        _check_time("at", self.at)
        if type(self.inclusive) is not bool:
            raise MalformedQuestion("inclusive", self.inclusive, "true or false")
        if self.rules:
            _check_rules(self.rules)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """No, yes."""
        return NO_YES

    @property
    def earliest(self) -> Micros:
        """The time asked about."""
        return self.at

    def answer(self, price: Decimal) -> int:
        """The outcome if that was the price.

        >>> Above("X", "1.5", Micros(1_700_000_000 * SECOND), True).answer(Decimal("1.50"))
        1
        """
        strike = Decimal(self.strike)
        return int(price >= strike if self.inclusive else price > strike)


Question = Winner | Happened | Above
KINDS: Mapping[str, type[Winner] | type[Happened] | type[Above]] = {k.kind: k for k in (Winner, Happened, Above)}
"""The kinds of question by their name in the canonical form."""


def title(question: Question) -> str:
    """The question in one line."""
    if isinstance(question, Above):
        word = "at or above" if question.inclusive else "above"
        moment = datetime.fromtimestamp(question.at // SECOND, UTC)
        return f"was {question.symbol} {word} {question.strike} at {moment:%Y-%m-%d %H:%M:%S} UTC?"
    return question.text


def encode(question: Question) -> bytes:
    """The canonical form: the same question gives the same bytes, another question others."""
    values = {field.name: getattr(question, field.name) for field in fields(question)}
    text = json.dumps({"kind": question.kind, **values}, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode("ascii")


def question_id(question: Question) -> str:
    """Keccak-256 over `PREFIX` and the canonical form, as 0x and 64 hex digits."""
    return "0x" + keccak(PREFIX + encode(question)).hex()


def question_of(values: object) -> Question:
    """The question of a decoded canonical form or question file. Raises `MalformedQuestion`."""
    if not isinstance(values, dict):
        raise MalformedQuestion("form", values, "a table")
    given = dict(values)
    kind = given.pop("kind", None)
    made = KINDS.get(kind) if isinstance(kind, str) else None
    if made is None:
        raise MalformedQuestion("kind", kind, f"one of {', '.join(KINDS)}")
    names = {field.name: field.default for field in fields(made)}
    if unknown := [name for name in given if name not in names]:
        raise MalformedQuestion("field", unknown[0], f"one of {', '.join(names)}")
    if missing := [name for name in names if name not in given and not (made is Above and name == "rules")]:
        raise MalformedQuestion(missing[0], None, "there")
    if isinstance(given.get("outcomes"), list):
        given["outcomes"] = tuple(given["outcomes"])
    given = {name: _micros(value) if isinstance(value, datetime) else value for name, value in given.items()}
    return made(**given)


def decode(data: bytes) -> Question:
    """The question of a canonical form; any other form of it is refused. Raises `MalformedQuestion`."""
    try:
        question = question_of(parse_json("question", data))
    except MalformedAnswer as error:
        raise MalformedQuestion("form", data[:60], "the canonical JSON of a question") from error
    if encode(question) != data:
        raise MalformedQuestion("form", data[:60], "canonical: sorted keys, no blanks, ASCII")
    return question


def parse_question(data: bytes, name: str) -> Question:
    """The question of a TOML file: `kind` and the kind's fields, times as UTC date-times. `name` is for messages.

    Raises `MalformedFile` (no TOML, too long) or `MalformedQuestion`.
    """
    if len(data) > MAX_FILE:
        raise MalformedFile(name, f"{len(data)} bytes, limit {MAX_FILE}", "shorten the rules")
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "".join(c if c.isprintable() else " " for c in str(error))[:200]
        raise MalformedFile(name, f"no TOML ({reason})", "write a question as docs/feeds.md shows") from error
    return question_of(values)


def check_fact(fact: Fact, question: Question) -> Fact:
    """The same fact if it fits its question. Raises `MalformedFact`, or `PrematureFact` if it comes too early.

    An answer, also an annulment or a split, is too early if its `ts` or its `known_at` is before `earliest`, or before
    `by` for anything but a yes to `Happened`. To say that one has no answer is never too early.
    """
    source = fact.source if isinstance(fact.source, str) else "?"
    if not (_is_text(fact.source, MAX_NAME)):
        raise MalformedFact("?", "source", fact.source, f"1 to {MAX_NAME} printable characters")
    if fact.question != question_id(question):
        raise MalformedFact(source, "question", fact.question, f"the id of the question, {question_id(question)}")
    least = UNDECIDED
    if not (type(fact.outcome) is int and least <= fact.outcome < len(question.outcomes)):
        raise MalformedFact(source, "outcome", fact.outcome, f"{least} to {len(question.outcomes) - 1}")
    for field, time in (("ts", fact.ts), ("known_at", fact.known_at)):
        if not (type(time) is int and EARLIEST <= time < LATEST):
            raise MalformedFact(source, field, time, "microseconds of a UTC time from 2009 to 2099")
    if fact.ts > fact.known_at:
        raise MalformedFact(source, "ts", fact.ts, f"not after known_at ({fact.known_at})")
    _check_payouts(source, fact, len(question.outcomes))
    if not (type(fact.evidence) is tuple and len(fact.evidence) <= MAX_EVIDENCE):
        raise MalformedFact(source, "evidence", len(fact.evidence), f"at most {MAX_EVIDENCE} pieces")
    for evidence in fact.evidence:
        _check_evidence(source, evidence)
    no_yet = isinstance(question, Happened) and fact.outcome != 1
    earliest = question.by if isinstance(question, Happened) and no_yet else question.earliest
    if fact.outcome != UNDECIDED and min(fact.ts, fact.known_at) < earliest:
        raise PrematureFact(source, "time", min(fact.ts, fact.known_at), f"at least {earliest}, or it is premature")
    return fact


def outcome_name(fact: Fact, question: Question) -> str:
    """What the fact says, in words."""
    if fact.outcome == SPLIT:
        parts = zip(question.outcomes, fact.payouts, strict=True)
        return "split " + ", ".join(f"{name} {part}" for name, part in parts)
    special = {ANNULLED: "annulled", UNDECIDED: "undecided"}
    return special.get(fact.outcome) or question.outcomes[fact.outcome]


def printable(text: str, limit: int = MAX_EXCERPT) -> str:
    """At most `limit` characters of a stranger's text, safe to show: control characters become blanks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 4]).split())[:limit].rstrip()


def _check_payouts(source: str, fact: Fact, outcomes: int) -> None:
    if fact.outcome != SPLIT:
        if fact.payouts != ():
            raise MalformedFact(source, "payouts", fact.payouts, "none unless the outcome is split")
        return
    limit = f"{outcomes} decimal texts from 0 to 1 with at most 9 places, together 1"
    payouts = fact.payouts
    sound = type(payouts) is tuple and all(isinstance(part, str) and _PAYOUT.fullmatch(part) for part in payouts)
    if not (sound and len(payouts) == outcomes):
        raise MalformedFact(source, "payouts", payouts, limit)
    if abs(sum((Decimal(part) for part in payouts), Decimal(-1))) > _SUM_TOLERANCE:
        raise MalformedFact(source, "payouts", payouts, limit)


def _check_evidence(source: str, given: object) -> None:
    if not isinstance(given, Evidence):
        raise MalformedFact(source, "evidence", given, "a record of evidence")
    if not _is_text(given.url, MAX_URL):
        raise MalformedFact(source, "evidence url", given.url, f"1 to {MAX_URL} printable characters")
    if not (isinstance(given.sha256, str) and re.fullmatch("[0-9a-f]{64}", given.sha256)):
        raise MalformedFact(source, "evidence sha256", given.sha256, "64 hex digits")
    if not (type(given.fetched_at) is int and EARLIEST <= given.fetched_at < LATEST):
        raise MalformedFact(source, "evidence fetched_at", given.fetched_at, "microseconds from 2009 to 2099")
    if given.excerpt != "" and not _is_text(given.excerpt, MAX_EXCERPT):
        raise MalformedFact(source, "excerpt", given.excerpt, f"at most {MAX_EXCERPT} printable characters")


def _is_text(value: Any, limit: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= limit and value.isprintable()


def _check_text(field: str, value: object, limit: int) -> None:
    if not _is_text(value, limit):
        raise MalformedQuestion(field, value, f"1 to {limit} printable characters")
    _check_form(field, str(value))


def _check_rules(value: object) -> None:
    limit = f"1 to {MAX_RULES} characters, printable or line ends"
    if not (isinstance(value, str) and 0 < len(value) <= MAX_RULES):
        raise MalformedQuestion("rules", value, limit)
    if not value.replace("\n", "").isprintable():
        raise MalformedQuestion("rules", value, limit)
    _check_form("rules", value)


def _check_form(field: str, value: str) -> None:
    if not unicodedata.is_normalized("NFC", value) or value != value.strip():
        raise MalformedQuestion(field, value, "in Unicode form C (NFC) without blanks at its ends")


def _check_time(field: str, value: object) -> None:
    if not (type(value) is int and EARLIEST <= value < LATEST):
        raise MalformedQuestion(field, value, "a UTC time from 2009 to 2099 (in the canonical form in microseconds)")


def _micros(moment: datetime) -> object:
    """Microseconds of a time that says its offset; the time itself, to be refused, if it does not."""
    if moment.tzinfo is None:
        return moment
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return Micros((since.days * 86_400 + since.seconds) * SECOND + since.microseconds)
