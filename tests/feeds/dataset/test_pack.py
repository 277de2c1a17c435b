"""Packing: the same rows have one root, a packed set is verified chunk by chunk, and nobody sees a row too early."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.dataset.errors import MalformedManifest, WrongProof, WrongRows
from feeds.dataset.manifest import Parent, TimeColumn
from feeds.dataset.merkle import LEAF_BYTES, Leaf, leaf_hash, root_of
from feeds.dataset.pack import About, pack, part_name
from feeds.dataset.read import DataSet
from feeds.dataset.verify import ranges, verify
from feeds.sources.source import BadRule, MalformedFile, MissingData
from feeds.store import Store
from feeds.types import SECOND, Micros, Quote
from tests.strategies.tables import START, quotes, rows, write

ABOUT = About("quotes", "1", "MIT", known="ts", delay=60 * SECOND, chunk_rows=4)
FILES = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def packed(tmp_path):
    """280 rows in 70 chunks in 2 parts."""
    source = write(quotes(280), tmp_path / "quotes.csv", "csv")
    pack([source], tmp_path / "set", ABOUT)
    return tmp_path / "set"


@FILES
@given(rows(least=2), st.integers(1, 9), st.integers(1, 9), st.data())
def test_pack__same_rows_in_other_files__same_root(tmp_path_factory, batch, chunk_rows, group, data):
    folder = tmp_path_factory.mktemp("rows")
    about = dataclasses.replace(ABOUT, chunk_rows=chunk_rows)
    cut = data.draw(st.integers(1, batch.num_rows - 1))
    sound = [write(batch, folder / "whole", "parquet", row_group_size=group)]
    halves = [write(part, folder / f"{n}", "parquet") for n, part in enumerate((batch.slice(0, cut), batch.slice(cut)))]
    one, two = pack(sound, folder / "one", about), pack(halves, folder / "two", about, copy=False)
    assert one == two and one.rows == batch.num_rows
    for name in os.listdir(folder / "two"):
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()
    assert verify(folder / "one").sound
    for kind in ("csv", "gzip", "parquet"):
        other = write(batch, folder / f"other-{kind}", kind)
        assert verify(folder / "two", [other]).sound
        assert verify(folder / "two", halves).sound


def test_manifest__packed__says_what_the_rows_say(packed):
    manifest = DataSet(packed).manifest
    assert (manifest.rows, manifest.chunks, manifest.chunk_rows) == (280, 70, 4)
    assert manifest.time == TimeColumn("ts", "s") and manifest.known == TimeColumn("ts", "s", 60 * SECOND)
    assert manifest.span == (START * SECOND, (START + 279 * 60) * SECOND)
    assert manifest.known_span == (manifest.span[0] + 60 * SECOND, manifest.span[1] + 60 * SECOND)
    assert [(c.symbol, c.source, c.rows) for c in manifest.counts] == [("X/Y", "a", 140), ("X/Y", "b", 140)]
    dataset = DataSet(packed)
    encoded = [dataset.check(n, rows)[1] for n, rows in enumerate(dataset.chunks(range(70)))]
    assert manifest.content == "0x" + hashlib.sha256(b"".join(encoded)).hexdigest()


@pytest.mark.parametrize(
    ("number", "unit"), [(10**9, "s"), (10**12, "ms"), (10**15, "us"), (10**18 + 1, "ns"), (4 * 10**18, "ns")]
)
def test_time__any_unit__told_by_its_size(tmp_path, number, unit):
    pq.write_table(pa.table({"ts": [number], "known_at": [number]}), tmp_path / "x")
    manifest = pack([tmp_path / "x"], tmp_path / "set", About("x", "1", "MIT"))
    assert manifest.time == TimeColumn("ts", unit) and manifest.known is not None
    expected = {"s": number * 10**6, "ms": number * 1000, "us": number, "ns": -(-number // 1000)}[unit]
    assert manifest.span == (expected, expected)


@pytest.mark.parametrize(
    ("column", "error"), [([1, 2], MalformedFile), ([None, 10**9], MalformedFile), ([10**9, 10**12], MalformedFile),
                          (["a", "b"], MalformedFile), ([10**9, -5], MalformedFile)]
)  # fmt: skip
def test_known__column_that_is_no_time__refused(tmp_path, column, error):
    pq.write_table(pa.table({"k": column}), tmp_path / "x")
    with pytest.raises(error):
        pack([tmp_path / "x"], tmp_path / "set", dataclasses.replace(ABOUT, known="k"))
    assert sorted(os.listdir(tmp_path)) == ["x"]


def test_pack__wrong_use__refused_and_nothing_left(tmp_path, packed):
    source = tmp_path / "quotes.csv"
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    before = sorted(os.listdir(tmp_path))
    for paths, out, about, error in (
        ([source], packed, ABOUT, BadRule),
        ([source, source], tmp_path / "x", ABOUT, BadRule),
        ([], tmp_path / "x", ABOUT, BadRule),
        ([source, other], tmp_path / "x", ABOUT, MalformedFile),
        ([source], tmp_path / "x", dataclasses.replace(ABOUT, chunk_rows=0), BadRule),
        ([source], tmp_path / "x", dataclasses.replace(ABOUT, name="../x"), MalformedManifest),
        ([source], tmp_path / "x", dataclasses.replace(ABOUT, known="nowhere"), MissingData),
        ([tmp_path / "nothing"], tmp_path / "x", ABOUT, MissingData),
    ):
        with pytest.raises(error):
            pack(paths, out, about)
    assert sorted(os.listdir(tmp_path)) == before


def test_lineage__parents_and_transformation__stand_in_the_manifest(tmp_path, packed):
    parent = Parent(DataSet(packed).root, "quotes")
    about = dataclasses.replace(ABOUT, parents=(parent,), transformation="every second row")
    source = write(quotes(500, step=120), tmp_path / "half.csv", "csv")
    assert pack([source], tmp_path / "half", about).parents == (parent,)
    with pytest.raises(MalformedManifest, match="transformation"):
        pack([source], tmp_path / "x", dataclasses.replace(about, transformation=""))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1), st.floats(0, 0.999), st.integers(1, 255))
def test_verify__one_byte_flipped__its_chunks_named_and_the_others_kept(packed, part, at, flip):
    path = packed / part_name(part)
    whole = path.read_bytes()
    place = int(at * len(whole))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
    try:
        found = verify(packed)
        ours = range(part * 64, min(part * 64 + 64, 70))
        assert set(found.bad) <= set(ours) and sorted(found.good + found.bad) == list(range(70))
        assert found.fetch == ([part_name(part)] if found.bad else [])
        for number in found.bad[:2]:
            with pytest.raises(WrongRows):
                DataSet(packed).chunk(number)
        for number in found.good[:70:30]:
            assert DataSet(packed).chunk(number).num_rows == 4
    finally:
        path.write_bytes(whole)


def test_verify__one_chunk_of_other_rows__only_that_is_bad(packed):
    with pq.ParquetFile(packed / part_name(0)) as file:
        groups = [file.read_row_group(n) for n in range(64)]
    groups[7] = groups[7].set_column(3, "price", pa.array([1.0] * 4))
    with pq.ParquetWriter(packed / part_name(0), groups[0].schema) as writer:
        for group in groups:
            writer.write_table(group)
    found = verify(packed)
    assert found.bad == [7] and len(found.good) == 69 and "not those under the root" in found.reasons[7]
    assert ranges(found.good) == "0-6, 8-69"


def test_verify__a_part_not_here_yet__missing_and_the_next_run_resumes(packed, tmp_path, monkeypatch):
    (packed / part_name(1)).rename(tmp_path / "elsewhere")
    note = packed / ".verified.json"
    found = verify(packed, note=note)
    assert found.missing == list(range(64, 70)) and found.fetch == [part_name(1)] and not found.sound
    (tmp_path / "elsewhere").rename(packed / part_name(1))
    read = []
    check = DataSet.check
    monkeypatch.setattr(DataSet, "check", lambda self, number, rows: read.append(number) or check(self, number, rows))
    found = verify(packed, note=note)
    assert found.sound and found.remembered == 64 and read == list(range(64, 70))
    os.utime(packed / part_name(0), ns=(1, 1))
    assert verify(packed, note=note).remembered == 6
    note.write_text('{"manifest":1}')
    assert verify(packed, note=note).remembered == 0


def test_verify__cut_download__sound_chunks_of_other_parts_stay(packed):
    path = packed / part_name(0)
    path.write_bytes(path.read_bytes()[:-100])
    found = verify(packed)
    assert found.good == list(range(64, 70)) and "Parquet" in found.reasons[0]
    path.unlink()
    path.symlink_to(packed / part_name(1))
    assert verify(packed).bad == list(range(64))


def test_verify__rows_from_elsewhere__bad_from_where_they_differ(packed, tmp_path):
    lines = (tmp_path / "quotes.csv").read_text().splitlines(keepends=True)
    changed = [*lines[:101], lines[101].replace(",10", ",11"), *lines[102:]]
    for text, bad, faults in (
        (changed, [25], 0), (lines[:201], list(range(50, 70)), 0), ([*lines, lines[1]], [], 1),
        ([*lines[:101], "rubbish\n"], list(range(70)), 0), (lines[:6] + lines[7:], list(range(1, 70)), 0),
    ):  # fmt: skip
        (tmp_path / "other").write_text("".join(text))
        found = verify(packed, [tmp_path / "other"])
        assert (found.bad, len(found.faults)) == (bad, faults) and not found.sound


@pytest.mark.parametrize(
    "change",
    [{"span": (0, 2**50)}, {"counts": ()}, {"content": "0x" + "00" * 32}, {"known_span": (0, 2**51)}],
)
def test_verify__manifest_that_says_more_than_the_rows__named(packed, change):
    manifest = dataclasses.replace(DataSet(packed).manifest, **change)
    (packed / "manifest.json").write_bytes(manifest.to_bytes())
    found = verify(packed)
    assert not found.bad and [fault.split()[1] for fault in found.faults] == list(change)


def test_chunks_file__not_that_of_the_root__refused(packed):
    path = packed / "chunks.bin"
    whole = path.read_bytes()
    for data in (whole[:-1], whole + whole, whole[LEAF_BYTES:] + whole[:LEAF_BYTES], bytes(len(whole))):
        path.write_bytes(data)
        with pytest.raises(WrongProof):
            DataSet(packed)


def test_chunks_file__leaves_that_overlap_under_a_root_of_their_own__refused(packed):
    leaves = [dataclasses.replace(leaf, first_row=0) for leaf in DataSet(packed).leaves]
    _replace_leaves(packed, leaves)
    with pytest.raises(WrongProof, match="chunk 1"):
        DataSet(packed)


def test_chunks_file__leaf_that_states_other_times_than_its_rows__chunk_refused(packed):
    leaves = list(DataSet(packed).leaves)
    leaves[5] = dataclasses.replace(leaves[5], known=leaves[0].known)
    _replace_leaves(packed, leaves)
    assert verify(packed).bad == [5]
    with pytest.raises(WrongRows, match="other times"):
        list(DataSet(packed).as_of(Micros(2**60)))


def _replace_leaves(folder, leaves: list[Leaf]) -> None:
    manifest = DataSet(folder).manifest
    root = "0x" + root_of([leaf_hash(leaf.pack()) for leaf in leaves]).hex()
    (folder / "manifest.json").write_bytes(dataclasses.replace(manifest, root=root).to_bytes())
    (folder / "chunks.bin").write_bytes(b"".join(leaf.pack() for leaf in leaves))


@FILES
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(0, 10**6))
def test_as_of__any_times_in_any_order__rows_known_by_then_and_no_other(tmp_path_factory, times, t):
    folder = tmp_path_factory.mktemp("set")
    known = [START * SECOND + time for time in times]
    pq.write_table(pa.table({"n": range(len(known)), "known_at": known}), folder / "x")
    pack([folder / "x"], folder / "set", dataclasses.replace(ABOUT, known=None, delay=0, chunk_rows=4))
    moment = Micros(START * SECOND + t)
    told = [row for batch in DataSet(folder / "set").as_of(moment) for row in batch["n"].to_pylist()]
    assert told == [n for n, time in enumerate(known) if time <= moment]


def test_as_of__no_point_in_time_column__refused(tmp_path):
    source = write(quotes(5), tmp_path / "q.csv", "csv")
    pack([source], tmp_path / "set", dataclasses.replace(ABOUT, known=None))
    with pytest.raises(MissingData, match="point-in-time"):
        list(DataSet(tmp_path / "set").as_of(Micros(2**60)))


def test_store__packed_before_and_after_compaction__same_root(tmp_path):
    store = Store(tmp_path / "store")
    for start in range(0, 60, 20):
        times = [Micros((START + i) * SECOND) for i in range(start, start + 20)]
        store.append([Quote("a", "X", 1.0 + i % 5, None if i % 3 else 2.0, t, t) for i, t in enumerate(times)])
    one = pack([tmp_path / "store"], tmp_path / "one", About("store", "1", "MIT"))
    store.compact(everything=True)
    store.close()
    two = pack([tmp_path / "store"], tmp_path / "two", About("store", "1", "MIT"))
    assert one == two and one.known == TimeColumn("known_at", "us") and one.rows == 60
    assert verify(tmp_path / "two").sound and verify(tmp_path / "one", [tmp_path / "store"]).sound
    frame = pa.concat_tables([pa.Table.from_batches(DataSet(tmp_path / "one").chunks([0]))]).to_pandas()
    assert np.isnan(frame["size"]).sum() == 39 and list(frame.columns) == [
        "source", "symbol", "price", "size", "ts", "known_at"
    ]  # fmt: skip
