"""The log of questions, facts and rules as they came to be known, in one file that only grows.

Why this file exists: what was known when is what a dispute is about, so nothing that was once told may be lost by a
crash, changed by hand, or slipped in before what was known already. Never in it: what the records mean together
(`feeds.events.standing`), the bodies of evidence (`feeds.events.evidence`).

`log` is text, a record a line: 64 hex digits, a blank, canonical JSON, a line end. The digits are SHA-256 over those of
the line before (64 zeros at first) and the JSON: a line that was changed, left out or moved breaks the chain from there
on. The digits of the last line, `head`, vouch for all of it: who noted them elsewhere sees a log that was cut short.

A record is one write, synced before `append` returns. What a crash leaves behind is an end without its line end; it was
never told safe, readers pass over it and the next writer removes it. Anything else that does not fit is damage and is
refused, never passed over. One process writes at a time (a lock on the file), any number read.

`known_at` never decreases from record to record: one that says it was known before the last is known since the last.
So what was known at a moment never changes once something later is in the log.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from feeds.events.question import Question, check_fact, encode, question_id, question_of
from feeds.partitions import sync_folder
from feeds.sources.source import (
    EARLIEST,
    LATEST,
    MAX_NAME,
    LogDamaged,
    MalformedAnswer,
    MalformedFact,
    MalformedQuestion,
)
from feeds.sources.strict_json import parse_json
from feeds.types import Evidence, Fact, Micros

MAX_LINE = 1 << 18
"""Most bytes of one line."""
MAX_LOG = 1 << 30
"""Most bytes of a log: a longer one is refused before it fills the memory."""
_START = "0" * 64


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that facts may be told of from `known_at` on."""

    question: Question
    known_at: Micros


@dataclass(frozen=True, slots=True)
class RulesSeen:
    """The terms of a source's own market on a question: the hash of its rules text, and when its trading ends.

    `sha256` is of the text, which is kept as evidence; `closes` None where the venue gives no end. `accepted`: an
    operator has read them and stands by it that they ask the question.
    """

    source: str
    question: str
    sha256: str
    closes: Micros | None
    known_at: Micros
    accepted: bool = False


Record = Asked | Fact | RulesSeen


class _Read(NamedTuple):
    records: list[Record]
    head: str
    size: int


class EventLog:
    """A log on disk, read into memory. `writing`: hold its lock and be able to append."""

    def __init__(self, folder: str | Path, writing: bool = True) -> None:
        """Read all of it. Raises `LogDamaged`."""
        self.path = Path(folder) / "log"
        self.records: list[Record] = []
        self.questions: dict[str, Question] = {}
        self._by_question: dict[str, list[Fact | RulesSeen]] = {}
        self._handle: int | None = None
        self._head, self._size, self._newest = _START, 0, Micros(0)
        try:
            if writing:
                self._handle = _locked(self.path)
            self._load()
        except OSError as error:
            self.close()
            raise LogDamaged(str(self.path), f"cannot be opened ({error.strerror})") from error
        except LogDamaged:
            self.close()
            raise

    @property
    def head(self) -> str:
        """64 hex digits that vouch for every record."""
        return self._head

    @property
    def newest(self) -> Micros:
        """`known_at` of the last record, 0 if there is none."""
        return self._newest

    def ask(self, question: Question, known_at: Micros) -> str:
        """Make facts about a question welcome; its id. Asking it again changes nothing.

        Raises `MalformedFact` (a time out of range), `LogDamaged`.
        """
        number, known_at = question_id(question), self._after(known_at)
        if number not in self.questions:
            self._append(Asked(question, known_at))
        return number

    def tell(self, fact: Fact) -> bool:
        """Keep a fact, unless it is what its source said last; whether it was new.

        Raises `MalformedFact` (also for a question that nobody asked), `PrematureFact`, `LogDamaged`.
        """
        self.check(fact)
        last = self.last_fact(fact.source, fact.question)
        if last is not None and (last.outcome, last.payouts) == (fact.outcome, fact.payouts):
            return False
        self._append(replace(fact, known_at=self._after(fact.known_at)))
        return True

    def check(self, fact: Fact) -> Fact:
        """The same fact if it fits a question that was asked. Raises `MalformedFact`, `PrematureFact`."""
        question = self.questions.get(fact.question)
        if question is None:
            raise MalformedFact(str(fact.source), "question", fact.question, "the id of a question that was asked")
        return check_fact(fact, question)

    def see(self, rules: RulesSeen) -> bool:
        """Keep the terms of a source's market, unless they are those seen last; whether they were new.

        Raises `MalformedFact`, `LogDamaged`.
        """
        if rules.question not in self.questions:
            raise MalformedFact(str(rules.source), "question", rules.question, "the id of a question that was asked")
        last = self.last_rules(rules.source, rules.question)
        same = last is not None and (last.sha256, last.closes) == (rules.sha256, rules.closes)
        if same and last is not None and (last.accepted or not rules.accepted):
            return False
        self._append(_check_rules(replace(rules, known_at=self._after(rules.known_at))))
        return True

    def facts(self, question: str) -> list[Fact]:
        """All facts about a question in the order in which they came to be known."""
        return [record for record in self._of(question) if isinstance(record, Fact)]

    def rules(self, question: str) -> list[RulesSeen]:
        """All terms seen of a question's markets in the order in which they came to be known."""
        return [record for record in self._of(question) if isinstance(record, RulesSeen)]

    def last_fact(self, source: str, question: str) -> Fact | None:
        """What a source said last of a question."""
        return next((fact for fact in reversed(self.facts(question)) if fact.source == source), None)

    def last_rules(self, source: str, question: str) -> RulesSeen | None:
        """The terms seen last of a source's market on a question."""
        return next((rules for rules in reversed(self.rules(question)) if rules.source == source), None)

    def close(self) -> None:
        """Let go of the lock; a second call does nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _of(self, question: str) -> list[Fact | RulesSeen]:
        return self._by_question.get(question, [])

    def _after(self, known_at: Micros) -> Micros:
        if not (type(known_at) is int and EARLIEST <= known_at < LATEST):
            raise MalformedFact("?", "known_at", known_at, "microseconds of a UTC time from 2009 to 2099")
        return Micros(max(known_at, self._newest))

    def _load(self) -> None:
        try:
            found = _read(self.path)
        except FileNotFoundError:
            return
        for record in found.records:
            self._take(record)
        self._head, self._size = found.head, found.size
        if self._handle is not None and os.fstat(self._handle).st_size > found.size:
            os.ftruncate(self._handle, found.size)
            os.fsync(self._handle)

    def _take(self, record: Record) -> None:
        self.records.append(record)
        self._newest = record.known_at
        if isinstance(record, Asked):
            self.questions[question_id(record.question)] = record.question
        else:
            self._by_question.setdefault(record.question, []).append(record)

    def _append(self, record: Record) -> None:
        path = str(self.path)
        if self._handle is None:
            raise LogDamaged(path, "it was opened for reading or is closed", "open it for writing")
        line = _line(self._head, record)
        if len(line) > MAX_LINE or self._size + len(line) > MAX_LOG:
            raise LogDamaged(path, f"a record of {len(line)} bytes does not fit", "shorten it, or begin another log")
        try:
            if os.fstat(self._handle).st_size != self._size or not _is_at(self._handle, self.path):
                raise LogDamaged(path, "somebody else has written to it", "find out who, then restore it from a copy")
            self._write(line)
        except OSError as error:
            raise LogDamaged(path, f"cannot be written ({error.strerror})", "make room on the disk") from error
        self._head, self._size = line[:64].decode(), self._size + len(line)
        self._take(record)

    def _write(self, line: bytes) -> None:
        assert self._handle is not None
        done = 0
        try:
            while done < len(line):
                done += os.pwrite(self._handle, line[done:], self._size + done)
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, self._size)
            raise


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`, where the next reader looks."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _locked(path: Path) -> int:
    """The log opened for writing, and made if it is not there; nobody else writes to it. Raises `LogDamaged`."""
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        sync_folder(path.parent)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        mend = "stop the other process, or open it for reading"
        raise LogDamaged(str(path), "another process writes to it", mend) from error
    except OSError:
        os.close(handle)
        raise
    return handle


def _read(path: Path) -> _Read:
    """Every whole record of a log, its head, and where the whole records end. Raises `LogDamaged`, `OSError`."""
    if path.stat().st_size > MAX_LOG:
        raise LogDamaged(str(path), f"{path.stat().st_size} bytes, limit {MAX_LOG}")
    content = path.read_bytes()
    records: list[Record] = []
    asked: dict[str, Question] = {}
    head, size, newest = _START, 0, 0
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        where, body = f"line {number}", line[65:]
        if len(line) >= MAX_LINE or _chained(head, body) != line[:64] or line[64:65] != b" ":
            raise LogDamaged(str(path), f"{where} is not what was written after the one before")
        record = _record(body, asked, str(path), where)
        if record.known_at < newest:
            raise LogDamaged(str(path), f"{where} was known before the one before")
        if isinstance(record, Asked):
            asked[question_id(record.question)] = record.question
        records.append(record)
        head, size, newest = line[:64].decode(), size + len(line) + 1, record.known_at
    return _Read(records, head, size)


def _chained(head: str, body: bytes) -> bytes:
    return hashlib.sha256(head.encode() + body).hexdigest().encode()


def _line(head: str, record: Record) -> bytes:
    body = json.dumps(_values(record), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    return _chained(head, body) + b" " + body + b"\n"


def _values(record: Record) -> dict[str, Any]:
    if isinstance(record, Asked):
        return {"asked": json.loads(encode(record.question)), "known_at": record.known_at}
    names = record.__slots__
    values = {name: getattr(record, name) for name in names}
    if isinstance(record, Fact):
        values["evidence"] = [{name: getattr(e, name) for name in Evidence.__slots__} for e in record.evidence]
        return {"fact": values}
    return {"rules": values}


def _record(body: bytes, asked: dict[str, Question], path: str, where: str) -> Record:
    """The record of a line whose hash fits; whoever forged a chain still gets in only what could have been written."""
    try:
        record = _parsed(parse_json("log", body))
        if isinstance(record, Fact):
            check_fact(record, asked[record.question])
        elif isinstance(record, RulesSeen):
            _check_rules(record)
            asked[record.question]
        if _line(_START, record)[65:-1] != body:
            raise ValueError("it is not in canonical form")
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        MalformedAnswer,
        MalformedFact,
        MalformedQuestion,
    ) as error:
        reason = "".join(c if c.isprintable() else " " for c in str(error))[:200]
        raise LogDamaged(path, f"{where} holds no record ({reason})") from error
    return record


def _parsed(values: Any) -> Record:
    if "asked" in values:
        known_at = values["known_at"]
        if not (type(known_at) is int and EARLIEST <= known_at < LATEST):
            raise ValueError("known_at is no time")
        return Asked(question_of(values["asked"]), Micros(known_at))
    if "fact" in values:
        given = dict(values["fact"])
        given["evidence"] = tuple(Evidence(**piece) for piece in given["evidence"])
        given["payouts"] = tuple(given["payouts"])
        return Fact(**given)
    return RulesSeen(**values["rules"])


def _check_rules(rules: RulesSeen) -> RulesSeen:
    if not (isinstance(rules.source, str) and 0 < len(rules.source) <= MAX_NAME and rules.source.isprintable()):
        raise MalformedFact("?", "source", rules.source, f"1 to {MAX_NAME} printable characters")
    if not (isinstance(rules.sha256, str) and re.fullmatch("[0-9a-f]{64}", rules.sha256)):
        raise MalformedFact(rules.source, "sha256", rules.sha256, "64 hex digits")
    times = [("known_at", rules.known_at), *([] if rules.closes is None else [("closes", rules.closes)])]
    for field, time in times:
        if not (type(time) is int and EARLIEST <= time < LATEST):
            raise MalformedFact(rules.source, field, time, "microseconds of a UTC time from 2009 to 2099")
    if type(rules.accepted) is not bool:
        raise MalformedFact(rules.source, "accepted", rules.accepted, "true or false")
    return rules
