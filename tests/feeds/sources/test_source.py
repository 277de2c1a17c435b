import inspect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources import source as module
from feeds.sources.source import EARLIEST, LATEST, FeedError, MalformedQuote, QuoteGate, check_quote
from feeds.types import Micros, Quote

anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers(), max_size=2),
    st.from_regex(r"-?[0-9]{1,400}(\.[0-9]*)?(e[0-9]{1,3})?", fullmatch=True),
)  # fmt: skip
times = st.one_of(anything, st.integers(EARLIEST, LATEST - 1))


@given(anything, anything, anything, times, times)
def test_gate__any_row__a_sound_quote_or_counted_refusal(symbol, price, size, ts, known_at):
    gate = QuoteGate("s")
    admitted = gate.admit(symbol, price, size, ts, known_at)
    if admitted is None:
        assert gate.refused.total() == 1
        assert isinstance(gate.last_refusal, MalformedQuote)
    else:
        assert 0 < admitted.price < math.inf
        assert admitted.size is None or 0 <= admitted.size < math.inf
        assert EARLIEST <= admitted.ts < LATEST
        assert gate.refused.total() == 0


@given(st.floats(1e-9, 1e9), st.one_of(st.none(), st.floats(0, 1e9)), st.integers(EARLIEST, LATEST - 1))
def test_gate__sound_row__admitted_unchanged_also_as_text(price, size, ts):
    wanted = Quote("s", "A/B", price, size, Micros(ts), Micros(ts))
    gate = QuoteGate("s")
    assert gate.admit("A/B", price, size, ts, ts) == wanted
    assert gate.admit("A/B", repr(price), None if size is None else repr(size), ts, ts) == wanted


@pytest.mark.parametrize(
    ("price", "size", "field"),
    [
        (math.nan, 1.0, "price"), (math.inf, 1.0, "price"), (0.0, 1.0, "price"), (-1.0, 1.0, "price"),
        ("nan", 1.0, "price"), ("1_0", 1.0, "price"), ("1e999", 1.0, "price"), (10**400, 1.0, "price"),
        (True, 1.0, "price"), (None, 1.0, "price"), (1.0, -1.0, "size"), (1.0, math.nan, "size"),
    ],
)  # fmt: skip
def test_gate__unsound_number__refused_by_field_and_the_next_row_passes(price, size, field):
    gate = QuoteGate("s")
    assert gate.admit("A/B", price, size, EARLIEST, EARLIEST) is None
    assert gate.refused == {field: 1}
    assert gate.admit("A/B", 1.0, 1.0, EARLIEST, EARLIEST) is not None


@pytest.mark.parametrize("ts", [EARLIEST - 1, LATEST, 1_678_500_000, 1_678_500_000_000])
def test_check_quote__time_in_wrong_unit__refused(ts):
    with pytest.raises(MalformedQuote, match="ts is"):
        check_quote(Quote("s", "A/B", 1.0, 1.0, Micros(ts), EARLIEST))


def test_errors__each__in_the_tree_and_named_at_its_head():
    found = [c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, Exception)]
    assert all(issubclass(c, FeedError) for c in found)
    assert all(c.__name__ in (module.__doc__ or "") for c in found)
