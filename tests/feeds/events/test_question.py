"""Questions have one form and one id; facts fit their question or are refused."""

import json
import re
from contextlib import suppress
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path

import pytest
from eth_utils.crypto import keccak
from hypothesis import example, given
from hypothesis import strategies as st

from feeds.events.question import (
    MAX_FILE,
    Above,
    Happened,
    Winner,
    check_fact,
    decode,
    encode,
    outcome_name,
    parse_question,
    printable,
    question_id,
    title,
)
from feeds.sources.source import FeedError, MalformedFact, MalformedFile, MalformedQuestion, PrematureFact
from feeds.types import ANNULLED, SECOND, SPLIT, UNDECIDED, Evidence, Fact, Micros
from tests.strategies.events import DUE, RACE, RAIN, STRIKE, facts, questions


@given(questions())
def test_question__any__decodes_to_itself_and_keeps_its_id(question):
    form = encode(question)
    again = decode(form)
    assert again == question and type(again) is type(question)
    assert question_id(again) == "0x" + keccak(b"dodona question 1\n" + form).hex()
    assert json.loads(form)["kind"] == question.kind and form.isascii()


@given(questions(), questions())
def test_question_id__two_questions__differ_exactly_if_they_do(one, other):
    assert (question_id(one) == question_id(other)) == (one == other)


def test_question_id__this_version__is_for_ever():
    """Ids stand in logs and on chain: this one must never change."""
    assert question_id(STRIKE) == "0xca0a42d4a2dd02383a558104a1d489f8a397987be2c6c34f5732e6276ea64a10"
    assert encode(STRIKE) == (
        b'{"at":1700000000000000,"inclusive":true,"kind":"above","rules":"","strike":"100000","symbol":"BTC/USD"}'
    )


@given(questions().flatmap(lambda q: st.tuples(st.just(q), st.sampled_from([f.name for f in fields(q)]))))
def test_question_id__one_field_changed__is_another(changed):
    question, field = changed
    value = getattr(question, field)
    try:
        if isinstance(value, bool):
            other = replace(question, **{field: not value})
        elif isinstance(value, int):
            other = replace(question, **{field: value + 1})
        elif isinstance(value, str):
            other = replace(question, **{field: value + "1"})
        else:
            other = replace(question, **{field: value[::-1]})
    except MalformedQuestion:
        return  # at the end of a range
    assert question_id(other) != question_id(question)


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (lambda: replace(RACE, outcomes=("Ann",)), "outcomes"),
        (lambda: replace(RACE, outcomes=("Ann", "ann")), "outcomes"),
        (lambda: replace(RACE, outcomes=["Ann", "Bob"]), "outcomes"),
        (lambda: replace(RACE, outcomes=tuple(f"n{i}" for i in range(17))), "outcomes"),
        (lambda: replace(RACE, outcomes=("Ann", "B\nob")), "outcome"),
        (lambda: replace(RACE, text=" Who won?"), "text"),
        (lambda: replace(RACE, text="Cafe\u0301?"), "text"),
        (lambda: replace(RACE, text="x" * 501), "text"),
        (lambda: replace(RACE, text="\x1b[31mWho?"), "text"),
        (lambda: replace(RACE, rules=""), "rules"),
        (lambda: replace(RACE, rules="a\x00b"), "rules"),
        (lambda: replace(RACE, rules="x" * 20_001), "rules"),
        (lambda: replace(RACE, earliest=1_700_000_000), "earliest"),
        (lambda: replace(RACE, earliest=True), "earliest"),
        (lambda: replace(RAIN, by=Micros(DUE - 1)), "by"),
        (lambda: replace(STRIKE, strike="1.10"), "strike"),
        (lambda: replace(STRIKE, strike="-0"), "strike"),
        (lambda: replace(STRIKE, strike="1e5"), "strike"),
        (lambda: replace(STRIKE, strike="0100"), "strike"),
        (lambda: replace(STRIKE, strike=100000.0), "strike"),
        (lambda: replace(STRIKE, inclusive=1), "inclusive"),
        (lambda: replace(STRIKE, symbol=""), "symbol"),
    ],
)
def test_question__not_canonical__refused_by_field(made, field):
    with pytest.raises(MalformedQuestion, match="mend the question") as refusal:
        made()
    assert refusal.value.field == field


def test_decode__same_question_in_another_form__refused():
    form = encode(STRIKE)
    for other in (b" " + form, form.replace(b'":', b'": '), json.dumps(json.loads(form)).encode(), form + b"\n"):
        with pytest.raises(MalformedQuestion):
            decode(other)


NAMES = st.sampled_from(("kind", "text", "outcomes", "rules", "earliest", "by", "at", "strike"))
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(("winner", "above"))
JSON = st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=3)) | SCALARS


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"kind": {}}')
def test_decode__any_bytes__question_or_feed_error(data):
    with suppress(FeedError):
        assert encode(decode(data)) == data


FILE = b"""
kind = "above"
symbol = "BTC/USD"
strike = "100000"
at = 2023-11-14T22:13:20Z
inclusive = true
"""


def test_parse_question__toml_file__is_the_question():
    assert parse_question(FILE, "q.toml") == STRIKE
    moved = FILE.replace(b"2023-11-14T22:13:20Z", b"2023-11-14T23:13:20+01:00")
    assert question_id(parse_question(moved, "q.toml")) == question_id(STRIKE)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (FILE.replace(b"22:13:20Z", b"22:13:20"), "at"),
        (FILE.replace(b'"100000"', b"100000"), "strike"),
        (FILE + b"more = 1\n", "field"),
        (FILE.replace(b"inclusive = true", b""), "inclusive"),
        (b"kind = 3", "kind"),
    ],
)
def test_parse_question__field_wrong__refused_by_field(data, error):
    with pytest.raises(MalformedQuestion) as refusal:
        parse_question(data, "q.toml")
    assert refusal.value.field == error


@given(st.binary(max_size=300) | st.binary(max_size=10).map(lambda junk: FILE + junk))
@example(b"a = " + b"[" * 50_000)
@example(b"\xff")
@example(b"x" * (MAX_FILE + 1))
def test_parse_question__any_bytes__question_or_feed_error(data):
    with suppress(FeedError):
        assert isinstance(parse_question(data, "q.toml"), Winner | Happened | Above)


def test_parse_question__huge_file__refused_before_it_is_parsed():
    with pytest.raises(MalformedFile, match="limit"):
        parse_question(b"#" * (MAX_FILE + 1), "q.toml")


@given(questions().flatmap(lambda q: st.tuples(st.just(q), facts(q))))
def test_check_fact__fact_that_fits__is_returned(pair):
    question, (fact, _) = pair
    assert check_fact(fact, question) is fact
    assert outcome_name(fact, question)


GOOD = Fact("a", question_id(RACE), 1, DUE, DUE)
PIECE = Evidence("https://a.org", "0" * 64, DUE, "")


@pytest.mark.parametrize(
    ("fact", "field"),
    [
        (replace(GOOD, source=""), "source"),
        (replace(GOOD, source="a\n"), "source"),
        (replace(GOOD, question=question_id(RAIN)), "question"),
        (replace(GOOD, outcome=3), "outcome"),
        (replace(GOOD, outcome=-4), "outcome"),
        (replace(GOOD, outcome=True), "outcome"),
        (replace(GOOD, outcome=1.0), "outcome"),
        (replace(GOOD, ts=Micros(DUE + 1)), "ts"),
        (replace(GOOD, known_at=Micros(0)), "known_at"),
        (replace(GOOD, payouts=("1", "0", "0")), "payouts"),
        (replace(GOOD, outcome=SPLIT), "payouts"),
        (replace(GOOD, outcome=SPLIT, payouts=("0.5", "0.5")), "payouts"),
        (replace(GOOD, outcome=SPLIT, payouts=("0.5", "0.6", "0")), "payouts"),
        (replace(GOOD, outcome=SPLIT, payouts=("1.5", "-0.5", "0")), "payouts"),
        (replace(GOOD, outcome=SPLIT, payouts=("1e0", "0", "0")), "payouts"),
        (replace(GOOD, evidence=(PIECE,) * 17), "evidence"),
        (replace(GOOD, evidence=("x",)), "evidence"),
        (replace(GOOD, evidence=(replace(PIECE, sha256="0" * 63),)), "evidence sha256"),
        (replace(GOOD, evidence=(replace(PIECE, sha256="A" * 64),)), "evidence sha256"),
        (replace(GOOD, evidence=(replace(PIECE, url=""),)), "evidence url"),
        (replace(GOOD, evidence=(replace(PIECE, excerpt="a\x1bb"),)), "excerpt"),
        (replace(GOOD, evidence=(replace(PIECE, excerpt="x" * 501),)), "excerpt"),
        (replace(GOOD, evidence=(replace(PIECE, fetched_at=0),)), "evidence fetched_at"),
    ],
)
def test_check_fact__does_not_fit__refused_by_field(fact, field):
    with pytest.raises(MalformedFact) as refusal:
        check_fact(fact, RACE)
    assert refusal.value.field == field


@pytest.mark.parametrize("outcome", [0, ANNULLED])
@pytest.mark.parametrize("late", [0, 10**9])
def test_check_fact__before_earliest__premature_also_if_told_later(outcome, late):
    early = Micros(DUE - 1)
    with pytest.raises(PrematureFact):
        check_fact(replace(GOOD, outcome=outcome, ts=early, known_at=Micros(early + late)), RACE)
    check_fact(replace(GOOD, outcome=UNDECIDED, ts=early, known_at=early), RACE)


def test_check_fact__happened__yes_may_come_before_the_end_but_no_may_not():
    yes, no = (Fact("a", question_id(RAIN), outcome, DUE, DUE) for outcome in (1, 0))
    assert check_fact(yes, RAIN) is yes
    with pytest.raises(PrematureFact):
        check_fact(no, RAIN)
    assert check_fact(replace(no, ts=RAIN.by, known_at=RAIN.by), RAIN)


@given(st.decimals(min_value=-1000, max_value=1000, allow_nan=False), st.booleans())
def test_above__any_price__answer_is_exact(price, inclusive):
    question = Above("X", "0.1", DUE, inclusive)
    assert question.answer(price) == (price > Decimal("0.1") or (inclusive and price == Decimal("0.1")))


def test_above__exactly_at_the_strike__as_the_question_says():
    exact = Decimal("100000.00")
    assert STRIKE.answer(exact) == 1 and replace(STRIKE, inclusive=False).answer(exact) == 0


def test_title__any_kind__one_line():
    assert title(STRIKE) == "was BTC/USD at or above 100000 at 2023-11-14 22:13:20 UTC?"
    assert title(RACE) == "Who won?" and "above 1 at" in title(Above("X", "1", Micros(DUE + SECOND), False))


@given(st.text(), st.integers(1, 50))
def test_printable__any_text__is_safe_to_show(text, limit):
    shown = printable(text, limit)
    assert len(shown) <= limit and (shown == "" or shown.isprintable())


def test_page__examples_of_questions__are_questions():
    page = (Path(__file__).resolve().parents[3] / "docs" / "feeds.md").read_text("utf-8")
    blocks = [block for block in re.findall(r"(?ms)^```toml\n(.*?)^```", page) if block.startswith("kind = ")]
    assert {parse_question(block.encode(), "docs/feeds.md").kind for block in blocks} == {"above", "winner", "happened"}
