import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.columns import SCHEMA, Columns, check_columns, from_quotes, from_table, joined, to_frame, to_quotes
from feeds.sources.source import EARLIEST, LATEST, FeedError, MalformedQuote, check_quote
from feeds.types import Micros, Quote

NAMES = st.sampled_from(["a", "b", "é/\u20ac", "x" * 64]) | st.text(max_size=65)
PRICES = st.sampled_from([1.0, 1.5, math.nan, math.inf, 0.0, -1.0, 5e-324]) | st.floats()
SIZES = st.none() | st.sampled_from([0.0, -0.0, 2.0, math.inf]) | st.floats(allow_nan=False)
TIMES = st.sampled_from([EARLIEST, EARLIEST - 1, LATEST, LATEST - 1]) | st.integers(-(2**63), 2**63 - 1)
any_quote = st.builds(Quote, NAMES, NAMES, PRICES, SIZES, TIMES, TIMES)
sound = st.builds(
    Quote,
    st.sampled_from(["a", "b", "é"]),
    st.sampled_from(["X", "Y"]),
    st.sampled_from([1.0, 2.0]),
    st.none() | st.sampled_from([0.0, 2.0]),
    st.integers(EARLIEST, EARLIEST + 2).map(Micros),
    st.integers(EARLIEST, EARLIEST + 2).map(Micros),
)


def rows(columns):
    return to_quotes(columns.table().cast(SCHEMA).to_pandas())


def sorted_by_definition(quotes):
    def key(q):
        return q.symbol, q.known_at, q.source, q.ts, q.price, -1.0 if q.size is None else q.size

    return sorted(quotes, key=key)


def table_of(quotes):
    return pa.table({f.name: pa.array([getattr(q, f.name) for q in quotes], f.type) for f in SCHEMA})


@given(st.lists(any_quote, max_size=4))
def test_check_columns__any_quotes__refuses_exactly_what_check_quote_refuses(quotes):
    try:
        wanted = [check_quote(quote) for quote in quotes]
    except MalformedQuote:
        wanted = None
    try:
        table = table_of(quotes)
    except (UnicodeEncodeError, pa.ArrowException):  # a lone surrogate never gets into a column
        assert wanted is None
        return
    try:
        found = rows(check_columns(from_table(table)))
    except MalformedQuote:
        found = None
    assert found == wanted


def test_from_table__size_that_is_no_number__refused():
    table = table_of([Quote("a", "X", 1.0, 1.0, EARLIEST, EARLIEST)])
    with pytest.raises(MalformedQuote, match="source a: size is nan"):
        from_table(table.set_column(3, "size", pa.array([math.nan])))


@given(st.lists(sound, max_size=30))
def test_in_order__any_quotes_in_any_order__as_defined(quotes):
    assert rows(from_quotes(quotes).in_order()) == sorted_by_definition(quotes)


@given(st.lists(sound, max_size=40))
def test_first_said__any_quotes__each_statement_with_its_earliest_known_at(quotes):
    first = {}
    for q in quotes:
        key = (q.source, q.symbol, q.price, q.size, q.ts)
        first[key] = min(first.get(key, q.known_at), q.known_at)
    found = rows(from_quotes(quotes).first_said().in_order())
    assert found == sorted_by_definition(Quote(*key, known) for key, known in first.items())


@given(st.lists(sound, max_size=10), st.lists(sound, max_size=10))
def test_joined__two_parts__the_quotes_of_both_in_turn(some, others):
    assert rows(joined([from_quotes(some), from_quotes(others)])) == some + others


@given(st.lists(sound, max_size=10), st.permutations(SCHEMA.names))
def test_from_table__columns_in_any_order_and_of_any_kind__the_same_quotes(quotes, order):
    table = table_of(quotes)
    wide = pa.table(
        {
            "source": table["source"].dictionary_encode(),
            "symbol": table["symbol"].cast(pa.large_string()),
            "price": table["price"].cast(pa.float32()),
            "size": table["size"],
            "ts": table["ts"].cast(pa.uint64()),
            "known_at": table["known_at"],
        }
    )
    assert rows(from_table(wide.select(order))) == quotes
    assert rows(from_table(pa.Table.from_pandas(to_frame(quotes)))) == to_quotes(to_frame(quotes))


BAD_COLUMNS = [
    pa.array(["1"]),
    pa.array([True]),
    pa.array([None], pa.int64()),
    pa.array([b"\xff"]),
    pa.array([[1]]),
    pa.array([1.5]),
    pa.array([None], pa.string()),
    pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([None], pa.string())),
    pa.array([2**64 - 1], pa.uint64()),
]


@given(st.data())
def test_from_table__any_kind_of_column__quotes_or_feed_error(data):
    table = table_of([Quote("a", "X", 1.0, 1.0, EARLIEST, EARLIEST)])
    for name in data.draw(st.lists(st.sampled_from(SCHEMA.names), max_size=3)):
        column = data.draw(st.sampled_from(BAD_COLUMNS))
        table = table.set_column(table.schema.get_field_index(name), name, column)
    if data.draw(st.booleans()):
        table = table.drop_columns([data.draw(st.sampled_from(SCHEMA.names))])
    try:
        found = check_columns(from_table(table))
    except FeedError:
        return
    assert isinstance(found, Columns) and all(check_quote(quote) for quote in rows(found))


def test_take__rows_of_one_name__other_names_gone():
    columns = from_quotes([Quote(s, "X", 1.0, None, EARLIEST, EARLIEST) for s in "abc"]).take(np.array([1]))
    assert columns.sources == ("b",) and columns.source.tolist() == [0]
