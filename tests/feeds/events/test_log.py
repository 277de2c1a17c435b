"""The log of facts: what it was told it keeps through any crash, and any other change to it is found out."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.events.log import Asked, EventLog, RulesSeen
from feeds.events.question import question_id
from feeds.sources.source import FeedError, LogDamaged, MalformedFact, PrematureFact
from feeds.types import SECOND, SPLIT, UNDECIDED, Evidence, Fact, Micros
from tests.strategies.events import DUE, RACE, RAIN, STRIKE, facts, questions

PIECE = Evidence("https://a.org/x", "0" * 64, DUE, "Ann, by far")


def fact(source="a", outcome=0, at=DUE, **more):
    return Fact(source, question_id(RACE), outcome, at, at, (PIECE,), **more)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path)
    log.ask(RACE, Micros(DUE - 10))
    yield log
    log.close()


def reread(log):
    other = EventLog(log.path.parent, writing=False)
    assert (other.records, other.head, other.newest) == (log.records, log.head, log.newest)
    assert other.questions == log.questions
    return other


def test_log__told_something__survives_reopening(log):
    assert log.tell(fact()) and log.tell(fact("b", SPLIT, payouts=("0.5", "0.5", "0")))
    assert log.see(RulesSeen("a", question_id(RACE), "1" * 64, None, DUE))
    found = reread(log)
    assert [type(record) for record in found.records] == [Asked, Fact, Fact, RulesSeen]
    assert found.facts(question_id(RACE)) == log.facts(question_id(RACE)) and len(found.rules(question_id(RACE))) == 1


def test_tell__what_its_source_said_last__is_not_written_again(log):
    assert log.tell(fact())
    size = log.path.stat().st_size
    assert not log.tell(fact(at=Micros(DUE + 5)))
    assert log.path.stat().st_size == size
    assert log.tell(fact(outcome=1, at=Micros(DUE + 6))) and log.tell(fact(outcome=0, at=Micros(DUE + 7)))
    assert [f.outcome for f in log.facts(question_id(RACE))] == [0, 1, 0]


def test_tell__known_before_the_last__is_known_since_the_last(log):
    log.tell(fact("a", at=Micros(DUE + 100)))
    log.tell(fact("b", at=DUE))
    assert [f.known_at - DUE for f in log.facts(question_id(RACE))] == [100, 100]
    reread(log)


def test_tell__question_that_nobody_asked__refused(log):
    with pytest.raises(MalformedFact, match="was asked"):
        log.tell(Fact("a", question_id(RAIN), 1, DUE, DUE))
    with pytest.raises(MalformedFact):
        log.see(RulesSeen("a", question_id(RAIN), "1" * 64, None, DUE))


def test_tell__premature__refused_and_not_written(log):
    size = log.path.stat().st_size
    with pytest.raises(PrematureFact):
        log.tell(fact(at=Micros(DUE - 1)))
    assert log.path.stat().st_size == size


@pytest.mark.parametrize(
    "rules",
    [
        RulesSeen("", question_id(RACE), "1" * 64, None, DUE),
        RulesSeen("a", question_id(RACE), "1" * 63, None, DUE),
        RulesSeen("a", question_id(RACE), "1" * 64, Micros(5), DUE),
        RulesSeen("a", question_id(RACE), "1" * 64, None, Micros(0)),
        RulesSeen("a", question_id(RACE), "1" * 64, None, DUE, 1),
    ],
)
def test_see__unsound_terms__refused(log, rules):
    with pytest.raises(MalformedFact):
        log.see(rules)
    reread(log)


def test_ask__twice__is_one_record(log):
    assert log.ask(RACE, Micros(DUE + 5)) == question_id(RACE)
    assert len(log.records) == 1


def test_log__second_writer__refused_but_readers_are_welcome(log):
    with pytest.raises(LogDamaged, match="another process"):
        EventLog(log.path.parent)
    reader = reread(log)
    with pytest.raises(LogDamaged, match="for reading"):
        reader.ask(RAIN, DUE)
    log.close()
    log.close()
    EventLog(log.path.parent).close()


def test_log__nothing_there__reader_finds_it_empty_and_makes_nothing(tmp_path):
    assert EventLog(tmp_path / "none", writing=False).records == []
    assert not (tmp_path / "none").exists()


@settings(max_examples=30)
@given(data=st.data())
def test_log__any_questions_and_facts__read_back_as_written(tmp_path_factory, data):
    log = EventLog(tmp_path_factory.mktemp("log"))
    for question in data.draw(st.lists(questions(), min_size=1, max_size=3)):
        log.ask(question, DUE)
        for told, _ in data.draw(st.lists(facts(question), max_size=4)):
            log.tell(told)
    reread(log)
    times = [record.known_at for record in log.records]
    assert times == sorted(times)
    log.close()


@pytest.fixture
def whole(tmp_path, log):
    """The bytes of a log of four records and where each ends."""
    ends = [log.path.stat().st_size]
    for outcome in range(3):
        log.tell(fact(outcome=outcome, at=Micros(DUE + outcome)))
        ends.append(log.path.stat().st_size)
    log.close()
    return log.path, log.path.read_bytes(), ends


def test_log__cut_anywhere__keeps_every_whole_record_and_goes_on(whole):
    path, content, ends = whole
    for cut in range(0, len(content) + 1, 7):
        path.write_bytes(content[:cut])
        kept = sum(end <= cut for end in ends)
        assert len(EventLog(path.parent, writing=False).records) == kept
        log = EventLog(path.parent)
        assert len(log.records) == kept
        log.ask(RAIN, Micros(DUE + 50))
        log.close()
        assert len(EventLog(path.parent, writing=False).records) == kept + 1


def test_log__any_byte_changed__log_damaged(whole):
    path, content, _ = whole
    for at in range(0, len(content) - 1, 13):
        for mask in (0x01, 0x20):
            path.write_bytes(content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :])
            with pytest.raises(LogDamaged):
                EventLog(path.parent, writing=False)


def test_log__line_left_out_or_moved__log_damaged(whole):
    path, content, _ = whole
    lines = content.splitlines(keepends=True)
    for changed in (lines[1:], [lines[0], *lines[2:]], [lines[1], lines[0], *lines[2:]], [*lines, lines[-1]], [b"\n"]):
        path.write_bytes(b"".join(changed))
        with pytest.raises(LogDamaged):
            EventLog(path.parent)


def test_log__cut_at_a_record__is_seen_by_who_noted_the_head(whole):
    path, content, ends = whole
    head = EventLog(path.parent, writing=False).head
    path.write_bytes(content[: ends[-2]])
    assert EventLog(path.parent, writing=False).head != head


def forged(body):
    """A log of one line whose chain fits."""
    import hashlib

    return hashlib.sha256(b"0" * 64 + body).hexdigest().encode() + b" " + body + b"\n"


ASKED = (
    b'{"asked":{"at":1700000000000000,"inclusive":true,"kind":"above","rules":"","strike":"1","symbol":"X"},'
    b'"known_at":%d}'
)

FORGED = (
    ASKED % 5,
    (ASKED % DUE) + b" ",
    (ASKED % DUE).replace(b":true", b": true"),
    b'{"asked":{},"known_at":1700000000000000}',
    b'{"rules":{"accepted":false,"closes":null,"known_at":1,"question":"0x","sha256":"","source":""}}',
    b"\xff",
)


@pytest.mark.parametrize(
    "body",
    [*FORGED, b"", b"{}", b"[]", b"null", b"1", b"[" * 100_000, b'{"fact":{}}', b'{"fact":[]}', b'{"rules":1}'],
    ids=lambda body: repr(body[:30]),
)
def test_log__chain_fits_but_no_record__log_damaged(tmp_path, body):
    (tmp_path / "log").write_bytes(forged(body))
    with pytest.raises(LogDamaged):
        EventLog(tmp_path)


def test_log__chain_fits_and_record_too__is_read(tmp_path):
    (tmp_path / "log").write_bytes(forged(ASKED % DUE))
    assert len(EventLog(tmp_path, writing=False).records) == 1


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda body: forged(body.replace(b"\n", b""))))
def test_log__any_bytes__log_or_feed_error(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / "log").write_bytes(content)
    try:
        assert EventLog(folder, writing=False).records == []
    except FeedError as error:
        assert isinstance(error, LogDamaged)


def test_log__disk_refuses_amid_a_record__nothing_half_and_goes_on(log, monkeypatch):
    size, real = log.path.stat().st_size, os.pwrite

    def half(handle, data, offset):
        if offset == size:
            return real(handle, data[:10], offset)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(
            os, "pwrite", lambda handle, data, offset: half(handle, data[:11] if offset == size else data[:5], offset)
        )
        with pytest.raises(LogDamaged, match="No space left"):
            log.tell(fact())
    assert log.path.stat().st_size == size
    assert log.tell(fact())
    reread(log)


def test_log__somebody_else_wrote_to_it__refused(log):
    with log.path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(LogDamaged, match="somebody else"):
        log.tell(fact())


@pytest.mark.parametrize("copied", [True, False])
def test_log__put_back_from_a_copy_while_it_is_written__writer_refuses(log, copied):
    content = log.path.read_bytes()
    log.path.rename(log.path.with_name("aside"))
    if copied:
        log.path.write_bytes(content)  # as long as the one that is open, but not that one
    with pytest.raises(LogDamaged, match="somebody else"):
        log.tell(fact())


def test_log__folder_cannot_be_made__log_damaged(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LogDamaged, match="cannot be opened"):
        EventLog(tmp_path / "file" / "events")


WRITER = """
import os, sys
sys.path.insert(0, ".")
from feeds.events.question import Above
from feeds.events.log import EventLog
from feeds.types import Fact
log = EventLog(sys.argv[1])
question = Above("X", "1", 1_700_000_000_000_000, True)
number = log.ask(question, 1_700_000_000_000_000)
for turn in range(1_000_000):
    log.tell(Fact(f"s{turn % 7}", number, turn // 7 % 2, 1_700_000_000_000_000, 1_700_000_000_000_000 + turn))
    print(len(log.records), flush=True)
"""


def test_log__killed_at_any_moment__keeps_all_it_told_and_goes_on(tmp_path):
    root = Path(__file__).resolve().parents[3]
    told = 0
    for lines in (1, 40, 7):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
        ) as process:
            for _ in range(lines):
                told = max(told, int(process.stdout.readline()))
            process.kill()
            told = max([told, *(int(line) for line in process.stdout if line.endswith("\n"))])
        assert process.returncode == -signal.SIGKILL
        kept = len(EventLog(tmp_path, writing=False).records)
        assert told <= kept <= told + 1
        told = kept


def test_see__same_terms_again__only_an_acceptance_is_new(log):
    seen = RulesSeen("a", question_id(RACE), "1" * 64, DUE, DUE)
    later = replace(seen, known_at=Micros(DUE + SECOND))
    assert log.see(seen) and not log.see(later)
    assert log.see(replace(later, accepted=True)) and not log.see(later) and not log.see(replace(later, accepted=True))
    assert log.see(replace(later, closes=None))
    assert log.ask(STRIKE, DUE) and log.tell(fact("a", UNDECIDED))
    reread(log)
