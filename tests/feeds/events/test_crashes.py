"""A book of events killed, or refused by its disk, at each call that changes the disk."""

import errno
import os
from itertools import count

import pytest

from feeds.events.book import EventBook, Finding, Terms
from feeds.events.evidence import body_hash
from feeds.events.question import question_id
from feeds.sources.source import EvidenceDamaged, LogDamaged
from feeds.types import Evidence, Fact, Micros
from tests.strategies.events import DUE, RACE

ID = question_id(RACE)
CALLS = ("open", "write", "pwrite", "fsync", "rename", "mkdir", "ftruncate")


class Killed(BaseException):
    """Nothing of the book's code handles it: like a kill, what was done stays done and nothing more happens."""


def finding(outcome):
    body = b"page %d" % outcome
    at = Micros(DUE + outcome)
    return Finding(Fact("a", ID, outcome, at, at, (Evidence("https://a.org", body_hash(body), at, ""),)), (body,))


def life(folder, told):
    """What is told safe, in order: the number of records in the log."""
    book = EventBook(folder)
    try:
        book.ask(RACE, DUE)
        told.append(1)
        book.note(Terms("a", ID, "rules", None, True, DUE))
        told.append(2)
        for outcome in range(3):
            book.tell(finding(outcome))
            told.append(3 + outcome)
    finally:
        book.close()


def check(folder, told):
    """All that was told safe is there with its evidence, at most one record more, and the book goes on."""
    book = EventBook(folder)
    try:
        assert max(told, default=0) <= len(book.log.records) <= max(told, default=0) + 1
        book.evidence.verify()
        for fact in book.log.facts(ID):
            assert [book.evidence.read(piece.sha256) for piece in fact.evidence] == [b"page %d" % fact.outcome]
        for seen in book.log.rules(ID):
            assert book.evidence.read(seen.sha256) == b"rules"
    finally:
        book.close()
    life(folder, [])
    assert EventBook(folder, writing=False).log.last_fact("a", ID).outcome == 2


def interposed(patch, at, end):
    """Let the call numbered `at` be the last one: half of it is done if it writes."""
    turn = count(1)

    def around(name):
        real = getattr(os, name)

        def call(*arguments, **named):
            changes = name != "open" or arguments[1] & os.O_CREAT
            if changes and next(turn) >= at:
                if name in ("write", "pwrite"):
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2], *arguments[2:])
                end()
            return None if name == "fsync" else real(*arguments, **named)

        return call

    for name in CALLS:
        patch.setattr(os, name, around(name))


def die():
    raise Killed


def refuse():
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("end", "errors"), [(die, Killed), (refuse, (EvidenceDamaged, LogDamaged))])
def test_book__stopped_at_each_call__keeps_what_it_told_safe_and_goes_on(tmp_path, monkeypatch, end, errors):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    for at in range(1, 1000):
        folder, told = tmp_path / str(at), []
        with pytest.MonkeyPatch.context() as patch:
            interposed(patch, at, end)
            try:
                life(folder, told)
            except errors:
                stopped = True
            else:
                stopped = False
        check(folder, told)
        if not stopped:
            break
    assert 40 < at < 999
