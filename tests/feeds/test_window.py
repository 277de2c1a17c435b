import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.source import BadRule
from feeds.types import SECOND, Micros, Quote
from feeds.window import QuoteWindow

START = 1_678_500_000 * SECOND
SPAN = 10 * SECOND


def quote(source, symbol, known, lag):
    return Quote(source, symbol, 1.0, 1.0, Micros(START + (known - lag) * SECOND), Micros(START + known * SECOND))


quotes = st.builds(quote, st.sampled_from("ab"), st.sampled_from("XY"), st.integers(0, 40), st.integers(0, 3))


def by_definition(kept, symbol, now):
    """Of each source: what came to be known in (now - span, now], and the last one before that."""
    wanted = []
    for source in "ab":
        mine = sorted({q for q in kept if (q.source, q.symbol) == (source, symbol)}, key=lambda q: (q.known_at, q.ts))
        known = [q for q in mine if q.known_at <= now]
        recent = [q for q in known if q.known_at > now - SPAN]
        wanted += known[len(known) - len(recent) - 1 :] if len(known) > len(recent) else recent
    return wanted


@given(st.lists(quotes, max_size=40))
def test_window__quotes_in_any_order__newest_moment_matches_the_definition(added):
    window = QuoteWindow(SPAN)
    window.add(added)
    now = max((q.known_at for q in added), default=START)
    for symbol in "XY":
        found = window.quotes(symbol, now)
        assert len(found) == len(set(found))
        assert set(found) == set(by_definition(added, symbol, now))


@given(st.lists(quotes, max_size=40), st.integers(0, 40))
def test_window__an_earlier_moment__never_shows_what_was_known_later(added, seconds):
    window = QuoteWindow(SPAN)
    window.add(added)
    assert all(q.known_at <= START + seconds * SECOND for q in window.quotes("X", START + seconds * SECOND))


def test_window__silent_source__its_last_quote_stays():
    window = QuoteWindow(SPAN)
    window.add([quote("a", "X", 0, 0)])
    for second in range(1000):
        window.add([quote("b", "X", second, 0)])
    found = window.quotes("X", START + 1000 * SECOND)
    assert [q.source for q in found].count("a") == 1
    assert len(found) <= 12


def test_window__long_run__memory_stays_bounded():
    window = QuoteWindow(SPAN)
    for second in range(5000):
        window.add([quote("a", "X", second, 0)])
    assert sum(len(kept) for kept in window._kept["X"].values()) < 30


def test_window__source_forgotten__gone_from_every_symbol():
    window = QuoteWindow(SPAN)
    window.add([quote("a", "X", 0, 0), quote("a", "Y", 0, 0), quote("b", "X", 0, 0)])
    window.forget("a")
    assert [q.source for q in window.quotes("X", START) + window.quotes("Y", START)] == ["b"]


def test_window__span_below_one__raises():
    with pytest.raises(BadRule, match="span"):
        QuoteWindow(0)
