import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.sources.source import FeedError, MalformedQuote, StoreDamaged
from feeds.store import SCHEMA, Store, to_frame, to_quotes
from feeds.types import SECOND, Micros, Quote

T0 = 1_678_500_000 * SECOND
DAY = 86_400 * SECOND
LATER = Micros(T0 + 4000 * DAY)


def quote(known=0, price=1.0, source="a", symbol="X", size=1.0, lag=0):
    return Quote(source, symbol, price, size, Micros(T0 + known - lag), Micros(T0 + known))


quotes = st.builds(
    quote,
    st.integers(0, 5).map(lambda month: month * 20 * DAY) | st.integers(0, 3),
    st.sampled_from([1.0, 1.5]) | st.floats(1e-300, 1e300),
    st.sampled_from("ab"),
    st.sampled_from(["X", "Y", "é/\u20ac"]),
    st.none() | st.sampled_from([0.0, 2.0]),
    st.integers(0, 3),
)


def by_definition(appended, t, symbol, since):
    """Each distinct statement once, with its earliest `known_at` of those by `t`."""
    first = {}
    for q in appended:
        if q.known_at <= t and symbol in (None, q.symbol):
            key = (q.source, q.symbol, q.price, q.size, q.ts)
            first[key] = min(first.get(key, q.known_at), q.known_at)
    rows = [Quote(*key, known) for key, known in first.items() if since is None or known >= since]
    return to_quotes(to_frame(rows))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(quotes, max_size=8), max_size=5),
    st.integers(-1, 4) | st.integers(0, 120 * DAY),
    st.none() | st.sampled_from("XYZ"),
    st.none() | st.integers(-1, 4) | st.integers(0, 120 * DAY),
)
def test_as_of__any_appends__what_was_known_then_and_nothing_later(tmp_path_factory, batches, t, symbol, since):
    store = Store(tmp_path_factory.mktemp("store"))
    assert [store.append(batch) for batch in batches] == [len(batch) for batch in batches]
    moment, start = Micros(T0 + t), None if since is None else Micros(T0 + since)
    frame = store.as_of(moment, symbol, start)
    assert (frame["known_at"] <= moment).all()
    assert list(frame.columns) == SCHEMA.names
    assert to_quotes(frame) == by_definition([q for batch in batches for q in batch], moment, symbol, start)
    store.close()


def test_append__the_same_again_in_a_later_life__changes_nothing(tmp_path):
    batch = [quote(1), quote(2, size=None), quote(3, price=2.0)]
    Store(tmp_path).append(batch)
    before = Store(tmp_path).as_of(LATER)
    again = Store(tmp_path)
    again.append(reversed(batch))
    again.append(batch[:2])
    again.append([Quote(q.source, q.symbol, q.price, q.size, q.ts, Micros(q.known_at + DAY)) for q in batch])
    assert again.as_of(LATER).equals(before)
    assert len(list(tmp_path.rglob("*.parquet"))) == 3


def test_append__correction_of_a_price__both_kept_each_since_it_was_known(tmp_path):
    store = Store(tmp_path)
    store.append([quote(0, 1.0), quote(5, 1.1, lag=5)])
    assert to_quotes(store.as_of(Micros(T0 + 4)))[0].price == 1.0
    assert [q.price for q in to_quotes(store.as_of(Micros(T0 + 5)))] == [1.0, 1.1]


def test_append__nothing__no_file(tmp_path):
    assert Store(tmp_path).append([]) == 0
    assert list(tmp_path.iterdir()) == []
    assert Store(tmp_path).as_of(LATER).empty


def test_append__unsound_quote__refused_before_anything_is_written(tmp_path):
    with pytest.raises(MalformedQuote, match="price is nan"):
        Store(tmp_path).append([quote(1), quote(2, price=float("nan"))])
    assert Store(tmp_path).as_of(LATER).empty


def test_append__two_stores_one_folder__each_reads_both(tmp_path):
    one, other = Store(tmp_path), Store(tmp_path)
    one.append([quote(1)])
    other.append([quote(2)])
    assert len(one.as_of(LATER)) == len(other.as_of(LATER)) == 2


def test_append__disk_refuses__raises_store_damaged_and_leaves_no_trace(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    store = Store(tmp_path)
    store.append([quote(1)])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreDamaged, match=r"cannot write \(No space left on device\)"):
        store.append([quote(2)])
    assert len(store.as_of(LATER)) == 1
    assert [p.name for p in tmp_path.rglob(".tmp-*")] == []


def test_store__path_is_a_file__raises_store_damaged(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreDamaged, match="cannot make the folder"):
        Store(tmp_path / "file")


def test_as_of__leftovers_and_strangers__ignored(tmp_path):
    store = Store(tmp_path)
    store.append([quote(1)])
    (month,) = tmp_path.glob("*-*")
    (month / ".tmp-0123").write_bytes(b"PAR1 half")
    (month / "notes.txt").write_text("x")
    (tmp_path / "stray.parquet").write_bytes(b"")
    assert len(store.as_of(LATER)) == 1


def test_as_of__parquet_under_another_name__is_named_and_not_passed_over(tmp_path):
    """Quotes of a store of another layout, or a file that somebody renamed: silence would lose them."""
    store = Store(tmp_path)
    store.append([quote(1)])
    (file,) = tmp_path.rglob("*.parquet")
    file.rename(file.with_name("0000000000000001-0000000000000002-" + "0" * 32 + ".parquet"))
    with pytest.raises(StoreDamaged, match=r"no partition of this version.*move it away"):
        store.as_of(LATER)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_as_of__damaged_partition__rows_or_feed_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("store")
    Store(folder).append([quote(i, source="a" * (i + 1)) for i in range(20)])
    (file,) = folder.rglob("*.parquet")
    whole = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole)))]
    for _ in range(data.draw(st.integers(0, 3)) if whole else 0):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(whole)
    store, genuine = Store(folder), [quote(i, source="a" * (i + 1)) for i in range(20)]
    try:
        found = to_quotes(store.as_of(LATER))
    except FeedError:
        found = []
    try:
        assert store.verify() == 1
    except FeedError:
        return
    assert found == genuine


def test_as_of__column_name_damaged_to_no_text__store_damaged(tmp_path):
    Store(tmp_path).append([quote(1)])
    (file,) = tmp_path.rglob("*.parquet")
    whole = file.read_bytes()
    assert whole.count(b"size") > 1
    file.write_bytes(whole.replace(b"size", b"\x80ize"))
    with pytest.raises(StoreDamaged):
        Store(tmp_path).as_of(LATER)


def test_as_of__partition_cut_short__error_names_the_store_and_the_mend(tmp_path):
    Store(tmp_path).append([quote(1)])
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(StoreDamaged, match="move it away"):
        Store(tmp_path).as_of(LATER)


def test_verify__sound_store__counts_its_partitions(tmp_path):
    store = Store(tmp_path)
    assert store.verify() == 0
    store.append([quote(1), quote(2, size=None), quote(3, source="é")])
    store.append([quote(4, size=0.0)])
    assert Store(tmp_path).verify() == 2


def test_verify__partition_under_another_name__raises(tmp_path):
    store = Store(tmp_path)
    store.append([quote(1)])
    (file,) = tmp_path.rglob("*.parquet")
    file.rename(file.with_name(file.name.replace(file.name[-20:-8], "0" * 12)))
    with pytest.raises(StoreDamaged, match="not what was appended"):
        store.verify()


def test_verify__one_of_many_partitions_damaged__names_that_file(tmp_path):
    store = Store(tmp_path)
    for known in range(7):
        store.append([quote(known), quote(known, source="b", size=None)])
    assert store.verify() == 7
    files = sorted(tmp_path.rglob("*.parquet"))
    files[4].rename(files[4].with_name("x"))
    files[5].rename(files[4])
    with pytest.raises(StoreDamaged, match=files[4].name):
        store.verify()


@pytest.mark.parametrize("part", range(5))
def test_verify__time_or_count_in_a_name_changed__raises(tmp_path, part):
    store = Store(tmp_path)
    store.append([quote(1), quote(2, lag=1)])
    (file,) = tmp_path.rglob("*.parquet")
    parts = file.name.split("-")
    parts[part] = f"{int(parts[part]) + 1:0{len(parts[part])}d}"
    file.rename(file.with_name("-".join(parts)))
    with pytest.raises(StoreDamaged, match="not what was appended"):
        store.verify()


def test_to_quotes__of_to_frame__same_quotes():
    batch = [quote(1), quote(2, size=None), quote(3, size=0.0)]
    assert to_quotes(to_frame(batch)) == batch
