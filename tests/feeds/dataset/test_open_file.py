"""Files told by content: the same rows from every kind, and from any other bytes an error of ours."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zipfile
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.dataset import inflate
from feeds.dataset.encoding import MAX_CELL, encode_chunk
from feeds.dataset.errors import MalformedManifest, UnsupportedData
from feeds.dataset.inflate import Inflated
from feeds.dataset.open_file import Rows
from feeds.dataset.pack import rechunked
from feeds.sources.source import FeedError, MalformedFile, MissingData
from tests.strategies.tables import SCHEMA, csv_bytes, quotes, rows, write

FILES = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def canonical_of(path, schema=None):
    found = Rows(path, schema)
    whole = list(rechunked(found.batches(), 1 << 16))
    return found.schema, b"".join(encode_chunk(found.schema, 0, rows) for rows in whole)


@FILES
@given(rows(), st.integers(1, 50), st.sampled_from(["snappy", "zstd", "gzip", "none"]), st.booleans())
def test_rows__same_rows_from_any_kind_of_file__same_bytes(tmp_path, batch, group, codec, coded):
    wanted = encode_chunk(SCHEMA, 0, batch)
    kinds = {"csv": {}, "gzip": {}, "parquet": {"row_group_size": group, "compression": codec, "use_dictionary": coded}}
    for kind, options in kinds.items():
        path = write(batch, tmp_path / "any.ending", kind, **options)
        assert canonical_of(path, SCHEMA) == (SCHEMA, wanted)
    table = pa.table(batch)
    others = [table.set_column(1, "source", table["source"].cast(pa.large_string()))]
    others.append(table.set_column(1, "source", table["source"].combine_chunks().dictionary_encode()))
    for other in others:
        pq.write_table(other, tmp_path / "other")
        assert canonical_of(tmp_path / "other") == (SCHEMA, wanted)


def test_kinds__told_from_every_cell__not_from_the_first(tmp_path):
    lines = ["a,b,c,d,e,f,g"] + ["1,1,18446744073709551617,,007,inf,x"] * 300_000 + ["2,1.5,1,,8,-2e3,"]
    (tmp_path / "t.parquet").write_text("\n".join(lines))
    found = Rows(tmp_path / "t.parquet")
    kinds = [column.kind for column in found.schema.columns]
    assert kinds == ["integer", "real", "text", "real", "text", "real", "text"]
    assert sum(batch.num_rows for batch in found.batches()) == 300_001


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["9223372036854775807", "-9223372036854775808"], "integer"), (["9223372036854775808"], "text"),
        (["1.5", "9007199254740993"], "text"), (["1.5", "9007199254740991"], "real"), (["0x10"], "text"),
        (["1e5", ".5", "5.", "nan", "0.10"], "real"), (["1_000"], "text"), (["+1"], "real"), (["-0"], "integer"),
        (["01"], "text"), (["1,5"], "text"), (["00.5"], "text"), ([" 1"], "text"), (["inf", "-inf"], "real"),
    ],
)  # fmt: skip
def test_kinds__edges(tmp_path, cells, kind):
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f'"{cell}",1\n' for cell in cells))
    assert Rows(tmp_path / "x.csv").schema.kind_of("a") == kind


def bomb(size):
    return gzip.compress(b"a,b\n" + b"0,0\n" * (size // 4), 9, mtime=0)


def test_gzip__bomb__refused_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(inflate, "GRACE", 1 << 20)
    (tmp_path / "b.csv.gz").write_bytes(bomb(32 << 20))
    before = pa.total_allocated_bytes()
    with pytest.raises(UnsupportedData, match="unpacks to more than"):
        Rows(tmp_path / "b.csv.gz")
    assert pa.total_allocated_bytes() - before < 64 << 20


def test_gzip__members_after_one_another__all_read(tmp_path):
    batch = quotes(100)
    data = csv_bytes(batch)
    (tmp_path / "two").write_bytes(gzip.compress(data[:500]) + gzip.compress(data[500:]))
    assert canonical_of(tmp_path / "two", SCHEMA)[1] == encode_chunk(SCHEMA, 0, batch)


@given(st.binary(max_size=2000), st.integers(1, 70))
def test_inflated__any_text_in_any_pieces__comes_back(text, piece):
    stream = Inflated(io.BytesIO(gzip.compress(text)), "x")
    found = b""
    while got := stream.read(piece):
        found += got
    assert found == text


@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 8))
def test_inflated__damaged__what_was_there_or_refused(noise, at, cut):
    plain = b"a,b\n1,2\n" * 50
    packed = gzip.compress(plain, mtime=0)
    for data in (packed[: len(packed) - 1 - cut], packed[:at] + noise + packed[at:], b"\x1f\x8b" + noise):
        try:
            found = Inflated(io.BytesIO(data), "x").read()
        except (MalformedFile, UnsupportedData):
            continue
        assert found == plain


def archives():
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../../etc/x.csv", "a\n1\n")
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../x"), io.BytesIO())
    return {
        "zip": zipped.getvalue(), "tar": tarred.getvalue(), "pickle": pickle.dumps([1]), "empty": b"",
        "json": b'{"a": 1}', "binary": bytes(range(256)), "page": b"<!doctype html><p>not found",
        "elf": b"\x7fELF" + bytes(60),        "zstd": b"\x28\xb5\x2f\xfd" + bytes(9), "numpy": b"\x93NUMPY" + bytes(9),
    }  # fmt: skip


@pytest.mark.parametrize("kind", archives())
def test_format__what_is_no_table__refused_whatever_its_name(tmp_path, kind):
    path = tmp_path / "prices.csv"
    path.write_bytes(archives()[kind])
    with pytest.raises((UnsupportedData, MalformedFile)):
        list(Rows(path).batches())


def test_format__link_pipe_folder_or_nothing__refused(tmp_path):
    real = write(quotes(5), tmp_path / "real.csv", "csv")
    (tmp_path / "link.csv").symlink_to(real)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "folder")
    for name, error in (
        ("link.csv", "symbolic link"), ("pipe.csv", "no plain file"), ("folder", "no store"), ("store", "symbolic link")
    ):  # fmt: skip
        with pytest.raises(UnsupportedData, match=error):
            Rows(tmp_path / name)
    with pytest.raises(MissingData):
        Rows(tmp_path / "nothing")


@pytest.mark.parametrize(
    "text",
    [
        b"a,a\n1,2\n", b",b\n1,2\n", b"a,b\n", b"a,b", b"a,b\n1\n", b"a,b\n1,2,3\n", b'a,b\n"1,2\n',
        b"\xff\xfe,b\n1,2\n", b"a\n\xff\xfe\n", b"," * 5000 + b"\n", b'"a",b\n1,2\n',
        b"a\n" + b"x" * (MAX_CELL + 1) + b"\n", b"\n\n", b"a\n\n",
    ],
)  # fmt: skip
def test_csv__broken__refused(tmp_path, text):
    (tmp_path / "x.csv").write_bytes(text)
    with pytest.raises((MalformedFile, MalformedManifest, UnsupportedData)):
        list(Rows(tmp_path / "x.csv").batches())


def test_parquet__columns_that_are_no_cells__refused(tmp_path):
    for column in (pa.array([[1]]), pa.array([{"a": 1}]), pa.array([b"x"]), pa.array([1], pa.time64("us"))):
        pq.write_table(pa.table({"x": column}), tmp_path / "x")
        with pytest.raises(UnsupportedData, match="column 'x'"):
            Rows(tmp_path / "x")
    pq.write_table(pa.table([[1], [2]], names=["x", "x"]), tmp_path / "x")
    with pytest.raises(UnsupportedData, match="given once"):
        Rows(tmp_path / "x")


def test_parquet__text_bomb__refused_before_it_is_unpacked(tmp_path):
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["x" * (MAX_CELL + 1)])
    pq.write_table(pa.table({"x": long}), tmp_path / "x")
    assert (tmp_path / "x").stat().st_size < 200_000
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(MalformedFile, match="at most"):
        list(Rows(tmp_path / "x").batches())
    assert pa.default_memory_pool().max_memory() - before < 64 << 20


@FILES
@given(st.sampled_from(["csv", "gzip", "parquet"]), st.binary(max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_rows__bytes_put_anywhere__rows_or_an_error_of_ours(tmp_path, kind, noise, at, until):
    whole = write(quotes(60), tmp_path / "x", kind).read_bytes()
    start = int(at * len(whole))
    (tmp_path / "x").write_bytes(whole[:start] + noise + whole[start + int(until * 20) :])
    try:
        for batch in Rows(tmp_path / "x").batches():
            assert batch.num_rows > 0
    except FeedError as error:
        assert "\n" not in f"{error}"


@FILES
@given(st.binary(max_size=200))
def test_rows__any_bytes__rows_or_an_error_of_ours(tmp_path, data):
    for start in (b"", b"PAR1", b"\x1f\x8b\x08\x00", b"a,b\n"):
        (tmp_path / "x").write_bytes(start + data)
        try:
            list(Rows(tmp_path / "x").batches())
        except FeedError:
            continue


def test_gzip__zlib_stream_named_gz__told_as_what_it_is(tmp_path):
    (tmp_path / "x.csv.gz").write_bytes(zlib.compress(b"a,b\n1,2\n" * 100))
    with pytest.raises(FeedError):
        list(Rows(tmp_path / "x.csv.gz").batches())
