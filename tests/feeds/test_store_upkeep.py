"""Merging and removing: no answer changes but what was asked for."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import upkeep
from feeds.parquet import read_index
from feeds.partitions import Root
from feeds.sources.source import BadRule, FeedError, NotKept, StoreDamaged
from feeds.store import Store, to_frame, to_quotes
from feeds.types import SECOND, Micros, Quote

T0 = 1_678_500_000 * SECOND
DAY = 86_400 * SECOND
LATER = Micros(T0 + 4000 * DAY)


def quote(known=0, price=1.0, source="a", symbol="X", size=1.0, lag=0):
    return Quote(source, symbol, price, size, Micros(T0 + known - lag), Micros(T0 + known))


quotes = st.builds(
    quote,
    st.integers(0, 3).map(lambda month: month * 20 * DAY) | st.integers(0, 5),
    st.sampled_from([1.0, 1.5]),
    st.sampled_from("ab"),
    st.sampled_from("XY"),
    st.none() | st.sampled_from([0.0, 2.0]),
    st.integers(0, 3),
)
batches = st.lists(st.lists(quotes, min_size=1, max_size=6), max_size=8)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Crashes have their own file: here nothing needs to reach the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def stored(folder):
    """How many quotes lie in what a reader reads, and the partitions."""
    root = Root(folder)
    with root.shared():
        found = root.view().partitions
    return sum(partition.rows for partition in found), found


moments = st.sampled_from([*range(6), 20 * DAY, 21 * DAY, 100 * DAY]).map(lambda known: Micros(T0 + known))


@given(
    batches,
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.integers(2, 40),
    st.lists(st.tuples(moments, st.sampled_from([None, "X", "Z"]), st.none() | moments), max_size=5),
)
def test_compact__any_appends_between__no_answer_changes(tmp_path_factory, batches, merged_after, room, asked):
    folder = tmp_path_factory.mktemp("store")
    plain, store = Store(folder / "plain"), Store(folder / "merged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feeds.upkeep.MAX_ROWS", room)
        patch.setattr("feeds.parquet.ROW_GROUP", 3)
        for batch, merge in zip(batches, merged_after, strict=False):
            plain.append(batch)
            store.append(batch)
            if merge:
                store.compact(everything=True)
        for t, symbol, since in asked:
            wanted = plain.as_of(t, symbol, since)
            assert store.as_of(t, symbol, since).equals(wanted)
            assert store.newest(t, "X").equals(plain.newest(t, "X"))
        assert store.verify() == len(stored(folder / "merged")[1])


@settings(max_examples=40)
@given(batches)
def test_compact__everything__one_file_a_month_each_statement_once_and_nothing_left(tmp_path_factory, batches):
    folder = tmp_path_factory.mktemp("store")
    store = Store(folder)
    for batch in batches:
        store.append(batch)
    months = {partition.folder for partition in stored(folder)[1]}
    many = {m for m in months if sum(p.folder == m for p in stored(folder)[1]) > 1}
    merged = store.compact(everything=True)
    found = stored(folder)[1]
    assert (merged.into, merged.waiting) == (len(many), 0) and len(found) == len(months)
    assert sorted(Path(p.path) for p in found) == sorted(folder.rglob("*/*"))
    for partition in found:
        if partition.folder in many:
            said = {
                (q.source, q.symbol, q.price, q.size, q.ts) for b in batches for q in b if in_month(q, partition, b)
            }
            assert partition.rows == len(said)
    assert store.compact(everything=True) == upkeep.Merged(0, 0, 0)


def in_month(_, partition, batch):
    """Whether the quotes of `batch` went to the month of `partition`: by the first of them."""
    return Root(Path(partition.folder).parent).month_of(min(q.known_at for q in batch)) == partition.folder


def test_compact__as_a_node_appends__few_files_and_each_quote_rewritten_once_a_level(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "FAN_IN", 4)
    monkeypatch.setattr(upkeep, "LEVELS", (4, 16, 64))
    monkeypatch.setattr(upkeep, "MAX_ROWS", 128)
    rewritten, write = [], upkeep.encode

    def counted(columns, *rest, **named):
        rewritten.append(len(columns))
        return write(columns, *rest, **named)

    monkeypatch.setattr(upkeep, "encode", counted)
    store, most = Store(tmp_path), 0
    for known in range(300):
        store.append([quote(known)])
        store.compact()
        most = max(most, len(stored(tmp_path)[1]))
    assert most <= 3 * 3 + 300 // 64
    assert sum(rewritten) <= 3 * 300
    assert stored(tmp_path)[0] == len(store.as_of(LATER)) == 300


@given(st.lists(st.integers(1, 200), max_size=80), st.booleans())
def test_due__any_files__each_once_neighbours_only_and_never_too_many_rows(rows, everything):
    root = Root.__new__(Root)
    root.path = Path("/")
    name = upkeep.Partition(Micros(0), Micros(0), Micros(0), Micros(0), 0, "0" * 32, False, "/2023-03")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "FAN_IN", 4)
        patch.setattr(upkeep, "LEVELS", (4, 16, 64))
        patch.setattr(upkeep, "MAX_ROWS", 128)
        files = [name._replace(first=Micros(i), last=Micros(i), rows=min(n, 128)) for i, n in enumerate(rows)]
        groups = upkeep.due(files, everything)
    flat = [p for group in groups for p in group]
    assert flat == sorted(set(flat)) and all(len(g) > 1 and sum(p.rows for p in g) <= 128 for g in groups)
    if not everything:
        small = [p for p in files if p not in flat and p.rows < 64]
        assert all(sum(low <= p.rows < high for p in small) < 4 for low, high in ((1, 4), (4, 16), (16, 64)))


def test_compact__damaged_file_among_them__named_and_nothing_touched(tmp_path):
    store = Store(tmp_path)
    for known in range(3):
        store.append([quote(known)])
    before = sorted(tmp_path.rglob("*.parquet"))
    content = bytearray(before[1].read_bytes())
    content[20] ^= 1
    before[1].write_bytes(content)
    with pytest.raises(StoreDamaged, match=before[1].name):
        store.compact(everything=True)
    assert sorted(tmp_path.rglob("*.parquet")) == before


def test_compact__while_somebody_streams__the_stream_ends_whole_and_the_next_run_clears(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "_PATIENCE_S", 0.0)
    store = Store(tmp_path)
    for known in range(20):
        store.append([quote(known)])
    stream = Store(tmp_path).batches(LATER, rows=3)
    first = next(iter(stream))
    assert store.compact(everything=True) == upkeep.Merged(20, 1, 21)
    assert stored(tmp_path)[0] == 20 and len(store.as_of(LATER)) == 20
    assert len(first) + sum(len(batch) for batch in stream) == 20
    assert store.compact() == upkeep.Merged(0, 0, 0)
    assert len(list(tmp_path.rglob("*.*et"))) == 1 and list(tmp_path.rglob("*.replaces")) == []


def test_compact__merged_again_before_the_first_files_went__none_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "_PATIENCE_S", 0.0)
    store = Store(tmp_path)
    root = Root(tmp_path)
    with root.shared():
        for round_ in range(3):
            for known in range(3):
                store.append([quote(10 * round_ + known)])
            store.compact(everything=True)
            assert stored(tmp_path)[0] == len(store.as_of(LATER)) == 3 * (round_ + 1)
    store.compact()
    assert stored(tmp_path)[0] == len(list(store.as_of(LATER)["price"])) == 9
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_compact__same_appended_again_before_and_after_the_sweep__told_once(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "_PATIENCE_S", 0.0)
    store = Store(tmp_path)
    store.append([quote(1)])
    store.append([quote(2)])
    with Root(tmp_path).shared():
        store.compact(everything=True)
        assert store.append([quote(1)]) == 1
        assert stored(tmp_path)[0] == 2
    store.compact()
    assert store.append([quote(1)]) == 1
    assert len(store.as_of(LATER)) == 2
    store.compact(everything=True)
    assert stored(tmp_path)[0] == 2


def test_compact__another_process_at_it__leaves_it_to_that(tmp_path):
    store = Store(tmp_path)
    for known in range(3):
        store.append([quote(known)])
    with Root(tmp_path).upkeep() as alone:
        assert alone
        assert store.compact(everything=True) == upkeep.Merged(0, 0, 0)
        assert store.retain(LATER) == upkeep.Removed(0, 0, 0)
    assert store.compact(everything=True).files == 3


@settings(max_examples=40)
@given(batches, st.integers(-1, 70 * DAY), st.booleans(), st.booleans())
def test_retain__any_age__nothing_younger_goes_and_the_archive_has_the_rest(
    tmp_path_factory, batches, age, merged, kept_copy
):
    folder = tmp_path_factory.mktemp("store")
    store, before = Store(folder / "s"), Micros(T0 + age)
    for batch in batches:
        store.append(batch)
    if merged:
        store.compact(everything=True)
    told = to_quotes(store.as_of(LATER))
    older = [p for p in stored(folder / "s")[1] if p.last < before]
    removed = store.retain(before, folder / "a" if kept_copy else None)
    assert removed == upkeep.Removed(len(older), sum(p.rows for p in older), 0)
    left = to_quotes(store.as_of(LATER))
    assert {q for q in told if q.known_at >= before} <= set(left)
    assert not [p for p in stored(folder / "s")[1] if p.last < before]
    if kept_copy:
        archived = to_quotes(Store(folder / "a").as_of(LATER))
        assert to_quotes(to_frame({*archived, *left})) == told or not merged
        assert {(q.source, q.symbol, q.price, q.size, q.ts) for q in (*archived, *left)} == {
            (q.source, q.symbol, q.price, q.size, q.ts) for q in told
        }


def test_retain__a_question_about_what_went__not_kept(tmp_path):
    store = Store(tmp_path)
    store.append([quote(1)])
    store.append([quote(9)])
    assert store.kept_since == 0 and store.retain(Micros(T0 + 1)).files == 0 and store.kept_since == 0
    assert store.retain(Micros(T0 + 5)).files == 1 and Store(tmp_path).kept_since == T0 + 5
    for ask in (
        lambda: store.as_of(Micros(T0 + 4)),
        lambda: store.as_of(LATER, since=Micros(T0 + 4)),
        lambda: store.newest(Micros(T0 + 4), "X"),
        lambda: list(store.batches(Micros(T0 + 4))),
        lambda: store.bars(LATER, "X", 10, Micros(T0 + 4)),
    ):
        with pytest.raises(NotKept, match=f"keeps quotes since {T0 + 5}"):
            ask()
    assert len(store.as_of(LATER)) == len(store.as_of(LATER, since=Micros(T0 + 5))) == 1


def test_append__known_wholly_before_what_is_kept__left_out(tmp_path):
    store = Store(tmp_path)
    store.append([quote(1)])
    store.retain(Micros(T0 + 5))
    assert store.append([quote(1)]) == 0 and store.append([quote(2), quote(5)]) == 2
    assert to_quotes(store.as_of(LATER)) == [quote(2), quote(5)]


def test_retain__somebody_reads__nothing_goes_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "_PATIENCE_S", 0.0)
    store = Store(tmp_path)
    store.append([quote(1)])
    with Root(tmp_path).shared():
        assert store.retain(LATER) == upkeep.Removed(0, 0, 1)
        assert len(store.as_of(LATER)) == 1
    assert store.retain(LATER) == upkeep.Removed(1, 1, 0)


def test_retain__old_quotes_appended_while_it_copies__in_the_archive_too(tmp_path, monkeypatch):
    store, copy = Store(tmp_path / "s"), upkeep._copy
    store.append([quote(1)])

    def late(partitions, archive):
        if not store.kept_since:
            Store(tmp_path / "s").append([quote(2)])
            monkeypatch.setattr(upkeep, "_copy", copy)
        copy(partitions, archive)

    monkeypatch.setattr(upkeep, "_copy", late)
    assert store.retain(Micros(T0 + 5), tmp_path / "a") == upkeep.Removed(2, 2, 0)
    assert to_quotes(Store(tmp_path / "a").as_of(LATER)) == [quote(1), quote(2)]
    assert store.as_of(LATER).empty


@pytest.mark.parametrize("moment", [0, -1, 2**62])
def test_retain__no_time__bad_rule(tmp_path, moment):
    with pytest.raises(BadRule, match="before"):
        Store(tmp_path).retain(Micros(moment))


@settings(max_examples=40)
@given(st.data())
def test_store__list_index_or_horizon_damaged__rows_or_feed_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("store")
    store = Store(folder)
    for known in range(3):
        store.append([quote(known - 9 * DAY)])
        store.append([quote(known, source=str(known))])
    store.retain(Micros(T0 - DAY))
    with Root(folder).shared(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "_PATIENCE_S", 0.0)
        store.compact(everything=True)
    files = [*folder.rglob("*.replaces"), folder / "kept-since", *folder.rglob("*.indexed.parquet")]
    assert len(files) == 3
    file = data.draw(st.sampled_from(files))
    whole = bytearray(file.read_bytes())
    whole = whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole
    for _ in range(data.draw(st.integers(0, 3)) if whole else 0):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(whole)
    read_index.cache_clear()
    try:
        Store(folder).newest(LATER, "X")
        Store(folder).bars(LATER, "X", 7)
        list(Store(folder).batches(LATER, "X", rows=1))
        found = to_quotes(Store(folder).as_of(LATER))
        assert Store(folder).verify() == 1
    except FeedError:
        return
    assert found == [quote(known, source=str(known)) for known in range(3)]


WRITER = """
import sys
from feeds.store import Store
from feeds.types import Quote
store = Store(sys.argv[1])
for batch in range(int(sys.argv[2])):
    known = 1_678_500_000_000_000 + batch
    store.append([Quote(f"s{i}", "X", float(batch + 1), 1.0, known, known) for i in range(7)])
"""
MERGER = """
import sys
from feeds.store import Store
store, files = Store(sys.argv[1]), 0
while True:
    files += store.compact(everything=True).files
    print(files, flush=True)
"""


def child(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])


def test_store__processes_that_write_and_merge_meanwhile__a_reader_sees_all_of_it_once(tmp_path):
    store, seen, reads = Store(tmp_path), 0, 0
    with child(MERGER, tmp_path) as merger, child(WRITER, tmp_path, 120) as writer:
        try:
            merger.stdout.readline()
            done = False
            while not done:
                done = writer.poll() is not None
                rows, _ = stored(tmp_path)
                counts = store.as_of(LATER).groupby("price").size()
                assert (counts == 7).all() and list(counts.index) == [float(b + 1) for b in range(len(counts))]
                assert seen <= rows // 7 <= len(counts), "a quote twice, or not at all"
                seen, reads = len(counts), reads + 1
            assert seen == 120 and writer.returncode == 0 and reads > 3
            for line in merger.stdout:
                if int(line) >= 120:
                    break
        finally:
            merger.kill()
    assert store.verify() <= 3 and stored(tmp_path)[0] == 7 * 120
