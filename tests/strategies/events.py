"""Questions and facts about them, valid by construction."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

from feeds.events.evidence import body_hash
from feeds.events.question import Above, Happened, Winner, question_id
from feeds.types import ANNULLED, SECOND, SPLIT, UNDECIDED, Evidence, Fact, Micros

DUE = Micros(1_700_000_000 * SECOND)
"""When the questions below can be answered."""
RACE = Winner("Who won?", ("Ann", "Bob", "Cid"), "By the official count.", DUE)
RAIN = Happened("Did it rain?", "By the gauge.", DUE, Micros(DUE + 100 * SECOND))
STRIKE = Above("BTC/USD", "100000", DUE, inclusive=True)

times = st.integers(DUE, DUE + 10**9).map(Micros)


def _canonical(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def texts(limit: int = 60):
    """Printable text in form C without blanks at its ends."""
    letters = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
    found = st.text(letters, min_size=1, max_size=limit).map(_canonical)
    return found.filter(lambda text: 0 < len(text) <= limit and text.isprintable())


rules = st.lists(texts(), min_size=1, max_size=3).map("\n".join)
strikes = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=6).map(
    lambda number: f"{number.normalize():f}" if number else "0"
)


@st.composite
def questions(draw):
    """Any question."""
    kind = draw(st.sampled_from(("winner", "happened", "above")))
    if kind == "winner":
        names = st.lists(texts(20), min_size=2, max_size=5, unique_by=str.casefold).map(tuple)
        return Winner(draw(texts()), draw(names), draw(rules), draw(times))
    if kind == "happened":
        earliest = draw(times)
        return Happened(draw(texts()), draw(rules), earliest, Micros(earliest + draw(st.integers(0, 10**9))))
    return Above(draw(texts(20)), draw(strikes), draw(times), draw(st.booleans()), draw(st.just("") | rules))


@st.composite
def evidence(draw, at):
    """One piece of evidence and its body."""
    body = draw(st.binary(max_size=40))
    return Evidence("https://example.org/" + draw(texts(10)), body_hash(body), at, draw(st.just("") | texts())), body


@st.composite
def facts(draw, question, source=None):
    """A fact that fits the question, with the bodies of its evidence."""
    count = len(question.outcomes)
    outcome = draw(st.integers(0, count - 1) | st.sampled_from((ANNULLED, SPLIT, UNDECIDED)))
    begin = getattr(question, "by", question.earliest)
    ts = draw(st.integers(begin, begin + 10**8))
    known_at = Micros(ts + draw(st.integers(0, 10**8)))
    payouts = ()
    if outcome == SPLIT:
        payouts = ("0.25", "0.75") + ("0",) * (count - 2)
    pieces = draw(st.lists(evidence(known_at), max_size=2))
    name = source or draw(st.sampled_from("abcd"))
    held = tuple(piece for piece, _ in pieces)
    return Fact(name, question_id(question), outcome, Micros(ts), known_at, held, payouts), tuple(b for _, b in pieces)
