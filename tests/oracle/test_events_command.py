"""`dodona feeds question`: shows a question's standing with its evidence, and asks the markets of a node's settings."""

import sys
import threading
from asyncio import new_event_loop

import pytest

from feeds.events.book import EventBook, Finding, Terms
from feeds.events.evidence import body_hash
from feeds.events.question import question_id
from feeds.store import Store
from feeds.types import ANNULLED, SECOND, SPLIT, Evidence, Fact, Micros, Quote
from oracle import cli
from oracle.intake import QUOTES_DIR
from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.markets.wire import gamma_resolved, serving
from tests.oracle.test_feeds_command import CONFIG
from tests.strategies.events import DUE, RACE, RAIN, STRIKE

ID = question_id(RACE)
FILE = """
kind = "above"
symbol = "BTC/USD"
strike = "100000"
at = 2023-11-14T22:13:20Z
inclusive = true
"""


def finding(source, outcome, at=DUE, payouts=()):
    body = f"page of {source}".encode()
    piece = Evidence(f"https://{source}.org/race", body_hash(body), at, f"{source} says so")
    return Finding(Fact(source, ID, outcome, at, at, (piece,), payouts), (body,))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)
    with_book(tmp_path / "events", lambda book: book.ask(RACE, Micros(DUE - 10)))
    return tmp_path / "events"


def with_book(folder, act):
    book = EventBook(folder)
    try:
        return act(book)
    finally:
        book.close()


def tell(folder, *findings):
    with_book(folder, lambda book: [book.tell(found) for found in findings])


def dodona(capsys, monkeypatch, *arguments):
    """Exit code and everything printed."""
    monkeypatch.setattr(sys, "argv", ["dodona", "feeds", "question", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out + said.err


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ((), "open: no source that counts has an answer; 2 independent ones are needed"),
        ((finding("a", 1), finding("b", 1)), "agreed: Bob"),
        ((finding("a", 1), finding("b", 0)), "disputed: Ann (b) against Bob (a)"),
        ((finding("a", ANNULLED), finding("b", ANNULLED)), "annulled"),
        ([finding(s, SPLIT, payouts=("0.5", "0.5", "0")) for s in "ab"], "split: Ann 0.5, Bob 0.5, Cid 0"),
    ],
)
def test_question__any_standing__told_with_its_evidence(folder, capsys, monkeypatch, findings, said):
    tell(folder, *findings)
    code, text = dodona(capsys, monkeypatch, ID[:10], "-f", folder)
    assert code == 0 and said in text
    for found in findings:
        piece = found.fact.evidence[0]
        assert f"{piece.url} fetched 2023-11-14 22:13:20 UTC" in text and piece.excerpt in text
        assert f"sha256 {piece.sha256} ({len(found.bodies[0])} bytes kept, intact)" in text


def test_question__at_a_past_moment__as_it_was_known_then(folder, capsys, monkeypatch):
    tell(
        folder, finding("a", 1), finding("b", 1, Micros(DUE + 60 * SECOND)), finding("b", 0, Micros(DUE + 99 * SECOND))
    )
    told = [
        dodona(capsys, monkeypatch, ID, "-f", folder, "--at", f"2023-11-14T22:{at}Z")[1]
        for at in ("14:00", "14:30", "20:00")
    ]
    assert "1 of 2 independent" in told[0] and "agreed: Bob" in told[1] and "disputed" in told[2]
    assert "revised" in told[2] and "flag: b: it revised its answer" in told[2]


def test_question__tampered_or_missing_evidence__said_beside_the_fact(folder, capsys, monkeypatch):
    tell(folder, finding("a", 1), finding("b", 1))
    for name in "ab":
        sha256 = body_hash(f"page of {name}".encode())
        file = folder / "evidence" / sha256[:2] / sha256
        file.unlink() if name == "a" else file.write_text("forged")
    text = dodona(capsys, monkeypatch, ID, "-f", folder)[1]
    assert "NOT KEPT: cannot read it" in text and "NOT KEPT: it is not what was fetched" in text


def test_question__terms_changed__flagged_until_accepted(folder, capsys, monkeypatch):
    tell(folder, finding("a", 1), finding("b", 1))
    for at, text in ((DUE, "rules"), (DUE + 5, "other rules")):
        with_book(folder, lambda book, at=at, text=text: book.note(Terms("a", ID, text, None, True, Micros(at))))
    code, text = dodona(capsys, monkeypatch, ID, "-f", folder)
    assert code == 0 and "set aside" in text and "flag: a: terms changed" in text and "open: 1 of 2" in text
    assert body_hash(b"other rules") in text
    code, text = dodona(capsys, monkeypatch, ID, "-f", folder, "--accept", "a")
    assert code == 0 and "agreed: Bob" in text and "a: accepted" in text


def test_question__file__asked_once_and_listed(folder, tmp_path, capsys, monkeypatch):
    (tmp_path / "q.toml").write_text(FILE)
    code, text = dodona(capsys, monkeypatch, tmp_path / "q.toml", "-f", folder)
    assert code != 0 and "--ask" in text and question_id(STRIKE) in text
    for _ in range(2):
        code, text = dodona(capsys, monkeypatch, tmp_path / "q.toml", "-f", folder, "--ask")
        assert code == 0 and "was BTC/USD at or above 100000" in text
    code, text = dodona(capsys, monkeypatch, "-f", folder)
    assert code == 0 and text.count("0x") == 2 and "Who won?" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-f", "{tmp}/none"), "no folder"),
        ((), "say where the events are"),
        (("-f", "{events}", "--collect"), "--collect needs"),
        (("0xff", "-f", "{events}"), "not one question"),
        (("{tmp}/no.toml", "-f", "{events}"), "no file"),
        (("{tmp}", "-f", "{events}"), "no file"),
        (("/dev/zero", "-f", "{events}"), "no file (it is no regular file)"),
        (("-f", "{events}", "--ask"), "say which question: a FILE before --ask"),
        (("-f", "{events}", "--accept", "a"), "say which question: a FILE or an id before --accept"),
        ((ID, "-f", "{events}", "--ask"), "an id cannot be asked"),
        ((ID, "-f", "{events}", "--accept", "nobody"), "collect first"),
        ((ID, "-f", "{events}", "--at", "noon"), "allowed: a date and time"),
    ],
)
def test_question__wrongly_asked__one_error_and_the_mend(folder, tmp_path, capsys, monkeypatch, arguments, said):
    places = {"tmp": tmp_path, "events": folder}
    code, text = dodona(capsys, monkeypatch, *(argument.format(**places) for argument in arguments))
    assert code != 0 and said in text and "Traceback" not in text


def test_question__log_damaged__said_and_nothing_shown(folder, capsys, monkeypatch):
    log = folder / "log"
    log.write_bytes(log.read_bytes().replace(b"Ann", b"Amy"))
    code, text = dodona(capsys, monkeypatch, ID, "-f", folder)
    assert code != 0 and "line 1 is not what was written" in text and "Amy" not in text


def test_question__yes_or_no_by_a_time__says_when_no_may_come(folder, capsys, monkeypatch):
    with_book(folder, lambda book: book.ask(RAIN, DUE))
    text = dodona(capsys, monkeypatch, question_id(RAIN), "-f", folder)[1]
    assert "no answer counts before 2023-11-14 22:13:20 UTC, but yes none before 2023-11-14 22:15:00 UTC" in text


@pytest.fixture
def market():
    """A server with a market that was resolved, in a thread of its own; its URL."""
    loop, server = (
        new_event_loop(),
        HostileServer(serving({"/markets/slug/will-bitcoin-reach-150k": gamma_resolved()}.get)),
    )
    thread = threading.Thread(target=loop.run_forever)
    loop.run_until_complete(server.__aenter__())
    thread.start()
    yield server.url
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(server.__aexit__(None, None, None))
    loop.close()


def test_question__collect__markets_and_own_quotes_answer(tmp_path, market, capsys, monkeypatch):
    (tmp_path / "q.toml").write_text(FILE)
    number = question_id(STRIKE)
    text = CONFIG + "".join(
        f'[[sources]]\nname = "{name}"\nkind = "polymarket"\nmarket = "{slug}"\nsymbols = ["{name}Y", "{name}N"]\n'
        f'question = "{number}"\nanswers = [1, 0]\nurl = "{market}"\n'
        for name, slug in (("poly", "will-bitcoin-reach-150k"), ("gone", "no-such-market"))
    )
    text += '[[feeds]]\nnumber = 0\nsymbol = "BTC/USD"\nsources = ["poly"]\nmin_sources = 1\n'
    (tmp_path / "node.toml").write_text(text)
    store = Store(tmp_path / "data" / QUOTES_DIR)
    at = Micros(DUE - SECOND)
    store.append([Quote("poly", "BTC/USD", 100_500.0, 1.0, at, at), Quote("other", "BTC/USD", 9.0, 1.0, at, at)])
    store.close()
    arguments = (tmp_path / "q.toml", "-c", tmp_path / "node.toml", "--ask", "--collect")
    code, said = dodona(capsys, monkeypatch, *arguments)
    assert code == 0 and "source gone: the market's page is 'gone (HTTP status 404)'" in said
    assert "poly: yes" in said and "own-quotes: yes" in said and "agreed: yes" in said
    assert "3 new from 2 markets" in said
    code, said = dodona(capsys, monkeypatch, *arguments[:3], "--collect")
    assert code == 0 and "0 new from 2 markets" in said and "agreed: yes" in said
