"""Newest quotes, streams and bars: each the same as by its definition over `as_of`, however the files lie."""

import math
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from feeds.bars import BARS
from feeds.columns import SCHEMA, from_quotes
from feeds.partitions import Root
from feeds.series import close_series
from feeds.sources.source import BadRule, MalformedQuote, StoreDamaged
from feeds.store import MAX_ROWS, Store, to_quotes
from feeds.types import SECOND, Bar, Micros, Quote

T0 = 1_678_500_000 * SECOND
LATER = Micros(T0 + 10**15)


def quote(known=0, price=1.0, source="a", symbol="X", size=1.0, lag=0):
    return Quote(source, symbol, price, size, Micros(T0 + known - lag), Micros(T0 + known))


quotes = st.builds(
    quote,
    st.integers(0, 60),
    st.sampled_from([1.0, 1.5, 2.0]),
    st.sampled_from("abc"),
    st.sampled_from("XY"),
    st.none() | st.sampled_from([0.1, 0.2, 0.7]),
    st.integers(-3, 30),
)
batches = st.lists(st.lists(quotes, min_size=1, max_size=12), max_size=6)
moments = st.integers(-1, 70).map(lambda known: Micros(T0 + known))


@pytest.fixture(scope="module", autouse=True)
def small_files():
    """Indexes, row groups, merges and slices with a handful of quotes; nothing needs to reach the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)
        for name in ("feeds.parquet.ROW_GROUP", "feeds.store.ROW_GROUP"):
            patch.setattr(name, 4)
        patch.setattr("feeds.upkeep.MAX_ROWS", 20)
        patch.setattr("feeds.store.BATCH", 5)
        yield


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A function: a store with these batches, merged after some."""

    def fill(appended, merged):
        store = Store(tmp_path_factory.mktemp("store"))
        for number, batch in enumerate(appended):
            store.append(batch)
            if number in merged:
                store.compact(everything=True)
        return store

    return fill


merges = st.sets(st.integers(0, 5))


@settings(max_examples=50)
@given(batches, merges, moments)
def test_summary__any_store__when_each_was_last_heard_of(filled, appended, merged, t):
    told = filled(appended, merged).summary(t)
    known = [q for batch in appended for q in batch if q.known_at <= t]
    last = {}
    for q in known:
        last[q.source, q.symbol] = max(last.get((q.source, q.symbol), 0), q.known_at)
    rows = {(row.source, row.symbol): row.last_known for row in told.itertuples()}
    assert rows == last and list(rows) == sorted(rows)
    once = {(q.source, q.symbol, q.price, q.size, q.ts) for q in known}
    assert len(once) <= told["quotes"].sum() <= len(known)


@settings(max_examples=50)
@given(batches, merges, moments, moments)
def test_dated_after__any_store__the_rows_of_as_of_with_a_later_time(filled, appended, merged, t, after):
    store = filled(appended, merged)
    assert to_quotes(store.dated_after(t, after)) == [q for q in to_quotes(store.as_of(t)) if q.ts > after]


@settings(max_examples=100)
@given(batches, merges, moments, st.sampled_from("XZ"))
def test_newest__any_store__of_each_source_the_last_word(filled, appended, merged, t, symbol):
    store = filled(appended, merged)
    last = {}
    for q in to_quotes(store.as_of(t, symbol)):
        order = (q.ts, q.known_at, q.price, -1.0 if q.size is None else q.size)
        last[q.source] = max(last.get(q.source, (order, q)), (order, q), key=lambda pair: pair[0])
    found = store.newest(t, symbol)
    assert list(found.columns) == SCHEMA.names
    assert sorted(to_quotes(found), key=str) == sorted((q for _, q in last.values()), key=str)


@settings(max_examples=60)
@given(batches, merges, moments, st.none() | moments, st.sampled_from([None, "X", "Z"]), st.integers(1, 9))
def test_batches__any_store__the_rows_of_as_of_in_their_order(filled, appended, merged, t, since, symbol, rows):
    store = filled(appended, merged)
    stream = store.batches(t, symbol, since, rows)
    assert stream.schema == SCHEMA
    found = list(stream)
    assert all(0 < len(batch) <= rows for batch in found)
    wanted = store.as_of(t, symbol, since)
    assert pa.Table.from_batches(found, SCHEMA).to_pandas().equals(wanted.reset_index(drop=True))


def test_batches__something_appended_after_the_first__is_not_in_it(filled):
    store = filled([[quote(known)] for known in range(0, 20, 2)], set())
    stream = store.batches(LATER, rows=2)
    first = next(iter(stream))
    store.append([quote(19)])
    assert len(first) + sum(map(len, stream)) == 10
    assert len(store.as_of(LATER)) == 11


def test_batches__file_damaged__store_damaged_amid_the_stream(filled):
    store = filled([[quote(known)] for known in range(6)], set())
    file = sorted(store.path.rglob("*.parquet"))[4]
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(StoreDamaged):
        list(store.batches(LATER, rows=1))


def test_batches__left_unread__holds_nothing_once_let_go(filled):
    store = filled([[quote(known)] for known in range(6)], set())
    stream = store.batches(LATER, rows=1)
    next(iter(stream))
    with Root(store.path).exclusive(0.0) as held:
        assert not held
    stream.close()
    del stream
    with Root(store.path).exclusive(0.0) as held:
        assert held


def bars_by_definition(known, symbol, width, until, since):
    """From the quotes as they first came to be known."""
    groups = defaultdict(list)
    for q in known:
        end = -(-q.known_at // width) * width
        if q.symbol == symbol and end <= until and q.ts > end - 2 * width:
            groups[end, q.source].append(q)
    bars = []
    for (end, source), group in sorted(groups.items()):
        group.sort(key=lambda q: (q.ts, q.known_at, q.price, -1.0 if q.size is None else q.size))
        if since is None or end - width >= since:
            prices, sizes = [q.price for q in group], [q.size for q in group if q.size is not None]
            volume = float(np.sum(sizes)) if sizes else math.nan
            ohlc = prices[0], max(prices), min(prices), prices[-1]
            bars.append(Bar(source, symbol, Micros(end - width), width, *ohlc, volume, Micros(end)))
    return bars


def bars_in(frame):
    return [Bar(*row) for row in frame.itertuples(index=False, name=None)]


def alike(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.volume == pytest.approx(other.volume, nan_ok=True)
        assert [getattr(one, f) for f in BARS.names if f != "volume"] == [
            getattr(other, f) for f in BARS.names if f != "volume"
        ]


@settings(max_examples=100)
@given(batches, merges, moments, st.integers(1, 40), st.none() | moments)
def test_bars__any_store__as_defined_and_not_one_that_has_not_closed(filled, appended, merged, t, width, since):
    store = filled(appended, merged)
    found = store.bars(t, "X", width, since)
    assert list(found.columns) == BARS.names
    alike(bars_in(found), bars_by_definition(to_quotes(store.as_of(t)), "X", width, t, since))
    assert (found["known_at"] == found["ts"] + width).all() and (found["known_at"] <= t).all()


@settings(max_examples=60)
@given(batches, batches, st.integers(1, 40))
def test_bars__asked_again_later__the_bars_that_had_closed_are_the_same_to_the_bit(filled, before, after, width):
    then = max((q.known_at for batch in before for q in batch), default=T0)
    later = [[q for q in batch if q.known_at > then] for batch in after]
    known_then = filled(before, set()).bars(Micros(then), "X", width)
    known_now = filled([*before, *filter(None, later)], {3}).bars(LATER, "X", width)
    assert known_now[known_now["known_at"] <= then].reset_index(drop=True).equals(known_then)


@settings(max_examples=60)
@given(batches, st.integers(1, 40))
def test_bars__one_source__close_where_the_models_series_close(filled, appended, width):
    store = filled([[q for q in batch if q.source == "a"] for batch in appended], set())
    bars = store.bars(LATER, "X", width)
    series = close_series(store.as_of(LATER), "X", width, LATER)
    assert bars["known_at"].tolist() == series.ts.tolist() and bars["close"].tolist() == series.close.tolist()


@pytest.mark.parametrize("ask", [lambda s: s.bars(LATER, "X", 0), lambda s: s.batches(LATER, rows=0)])
def test_store__width_or_rows_below_one__bad_rule(filled, ask):
    with pytest.raises(BadRule, match="at least 1"):
        ask(filled([], set()))


def test_append_table__same_quotes_as_append__same_files(filled):
    batch = [quote(known, source=s, size=None if known % 2 else 0.5) for known in range(9) for s in "ba"]
    store = filled([batch], set())
    before = sorted(store.path.rglob("*.parquet"))
    table = from_quotes(batch).table()
    assert store.append_table(table) == store.append_table(table.to_batches()[0]) == 18
    assert sorted(store.path.rglob("*.parquet")) == before and before[0].name.endswith(".indexed.parquet")


def test_append_table__one_unsound_row__refused_and_nothing_written(filled):
    store = filled([], set())
    table = from_quotes([quote(1), quote(2, price=1e300)]).table()
    bad = table.set_column(2, SCHEMA.field("price"), pa.array([1.0, math.inf]))
    with pytest.raises(MalformedQuote, match="source a: price is inf"):
        store.append_table(bad)
    assert store.as_of(LATER).empty and list(store.path.rglob("*.parquet")) == []


def test_append_table__more_than_a_file_holds__bad_rule_tells_the_mend(filled):
    table = from_quotes([quote(1)]).table().take(pa.array(np.zeros(MAX_ROWS + 1, np.int64)))
    with pytest.raises(BadRule, match="append them in parts"):
        filled([], set()).append_table(table)


@given(batches, merges, moments)
def test_as_of__window__opens_no_file_that_cannot_have_an_answer(filled, appended, merged, t):
    store = filled(appended, merged)
    assume(appended)
    with Root(store.path).shared():
        partitions = Root(store.path).view().partitions
    far = [p for p in partitions if p.first > t]
    for partition in far:
        with open(partition.path, "wb") as file:
            file.write(b"nothing that DuckDB could read")
    assert (store.as_of(t)["known_at"] <= t).all()
    assert (store.newest(t, "X")["known_at"] <= t).all()
