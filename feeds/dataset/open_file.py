"""Any file of rows as record batches, told by its content: CSV, gzip CSV, Parquet, a store, a packed data set.

Why this file exists: the ending of a name is a claim, and everything from outside is data: nothing here unpacks an
archive, follows a link, or runs what a file names. Memory is bounded by the batch, whatever the file. Never in it:
hashes, the meaning of columns.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from feeds.dataset import csv_rows
from feeds.dataset.encoding import MAX_CELL, Kind, Schema, schema_of
from feeds.dataset.errors import MalformedManifest, UnsupportedData, shown
from feeds.dataset.inflate import MAGIC as GZIP
from feeds.dataset.inflate import Inflated
from feeds.sources.source import LATEST, MalformedFile, MissingData
from feeds.store import Store

BATCH_ROWS = 1 << 16
PARQUET = b"PAR1"
MAX_GROUP_BYTES = 4 << 30
"""Most bytes that a Parquet row group may say it holds, unpacked."""
MAX_FOOTER = 64 << 20
"""Most bytes of text, and elements of a list, in a Parquet footer."""
_KINDS = {
    b"PK\x03\x04": "a zip archive", b"PK\x05\x06": "a zip archive", b"BZh": "bzip2 data", b"\xfd7zXZ": "xz data",
    b"\x28\xb5\x2f\xfd": "zstd data", b"\x80\x02": "a pickle", b"\x80\x03": "a pickle", b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle", b"ARROW1": "an Arrow file", b"\x93NUMPY": "a numpy file", b"\x89HDF": "an HDF5 file",
    b"SQLite": "a database", b"%PDF": "a PDF", b"\x7fELF": "a program", b"<": "a web page", b"{": "JSON", b"[": "JSON",
}  # fmt: skip


class Rows:
    """One input, readable as often as wanted: its columns, and its rows in order."""

    def __init__(self, path: Path, schema: Schema | None = None) -> None:
        """Look at what is at `path`; a CSV is read once for the kinds of its columns unless `schema` gives them.

        Raises `MissingData`, `MalformedFile` or `UnsupportedData`.
        """
        self.path, self.name = path, path.name
        self.format = format_of(path)
        if self.format == "store":
            self.schema = schema_of(_STORE)
        else:
            try:
                self.schema = self._look(schema)
            except MalformedManifest as error:
                reason = f"{error.field.removeprefix('schema: ')} is {shown(error.given)}, must be {error.limit}"
                raise UnsupportedData(self.name, reason, "rename its columns, or leave some out") from error
        if schema is not None:
            if not _fits(self.schema, schema):
                reason = f"its columns are not those of the manifest: {differ(self.schema, schema)}"
                raise MalformedFile(self.name, reason)
            self.schema = schema

    def _look(self, schema: Schema | None) -> Schema:
        if self.format == "parquet":
            with self._parquet() as file:
                return _parquet_schema(file, self.name)
        return csv_rows.infer(self._text, self.name) if schema is None else schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as batches of `schema.arrow`, texts possibly as dictionaries. Raises as the constructor does."""
        if self.format == "store":
            yield from self._store_batches()
        elif self.format == "parquet":
            yield from self._parquet_batches()
        else:
            yield from csv_rows.batches(self._text, self.name, self.schema)

    def _text(self) -> BinaryIO:
        file = open_regular(self.path)
        return Inflated(file, self.name) if self.format == "gzip" else file  # type: ignore[return-value]

    def _store_batches(self) -> Iterator[pa.RecordBatch]:
        store = Store(self.path)
        try:
            for batch in store.batches(LATEST):
                yield conform(batch, self.schema, self.name)
        finally:
            store.close()

    @contextmanager
    def _parquet(self) -> Iterator[pq.ParquetFile]:
        try:
            with open_regular(self.path) as source:
                limits = {"thrift_string_size_limit": MAX_FOOTER, "thrift_container_size_limit": MAX_FOOTER}
                with pq.ParquetFile(source, pre_buffer=False, **limits) as file:
                    texts = [f.name for f in file.schema_arrow if _kind(f.type) == "text"]
                # As dictionaries, texts stay as small as they are in the file until it is sure that they fit.
                source.seek(0)
                with pq.ParquetFile(
                    source, pre_buffer=False, read_dictionary=texts, page_checksum_verification=True, **limits
                ) as file:
                    yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
            raise MalformedFile(self.name, f"Parquet: {error}".splitlines()[0][:200]) from error

    def _parquet_batches(self) -> Iterator[pa.RecordBatch]:
        with self._parquet() as file:
            check_groups(file, self.name)
            for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
                yield conform(batch, self.schema, self.name)


_STORE: tuple[tuple[str, Kind], ...] = (
    ("source", "text"), ("symbol", "text"), ("price", "real"), ("size", "real"), ("ts", "time"), ("known_at", "time"),
)  # fmt: skip


def format_of(path: Path) -> str:
    """csv, gzip (of CSV), parquet or store, by content. Raises `MissingData` or `UnsupportedData`."""
    if path.is_dir() and not path.is_symlink():
        months = [entry for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
        if any(len(entry.name) == 7 and entry.name[4] == "-" for entry in months):
            return "store"
        raise UnsupportedData(
            path.name or str(path), "a folder that is no store of quotes", "name files, or a packed data set"
        )
    with open_regular(path) as file:
        head = file.read(16)
    if head.startswith(PARQUET):
        return "parquet"
    if head.startswith(GZIP):
        return "gzip"
    for magic, what in _KINDS.items():
        if head.startswith(magic):
            raise UnsupportedData(path.name, what, "give CSV, gzip CSV or Parquet: unpack or convert it yourself")
    if not head or b"\0" in head:
        raise UnsupportedData(path.name, "binary data" if head else "an empty file", "give CSV, gzip CSV or Parquet")
    return "csv"


def open_regular(path: Path) -> BinaryIO:
    """A plain file, opened for reading. Raises `MissingData`, `UnsupportedData` for a link, a pipe or a device."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise UnsupportedData(path.name, "a symbolic link", "name the file itself") from error
        raise MissingData(path.name, f"{path.parent} ({error.strerror})", "check the path") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnsupportedData(path.name, "no plain file", "name a file")
    return os.fdopen(handle, "rb")


def _kind(kind: pa.DataType) -> Kind | None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind):
        return "real"
    if pa.types.is_boolean(kind):
        return "flag"
    return "time" if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else None


def _parquet_schema(file: pq.ParquetFile, name: str) -> Schema:
    found = []
    for field in file.schema_arrow:
        kind = _kind(field.type)
        if kind is None:
            mend = "keep columns of numbers, texts, times and flags"
            raise UnsupportedData(name, f"column {field.name[:60]!r} is {str(field.type)[:60]}", mend)
        found.append((field.name, kind))
    return schema_of(found)


def check_groups(file: pq.ParquetFile, name: str) -> None:
    """Refuse a Parquet file that says that one of its row groups is huge. Raises `UnsupportedData`."""
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        if group.total_byte_size > MAX_GROUP_BYTES:
            raise UnsupportedData(name, f"row group {number} holds {group.total_byte_size} bytes", "write smaller ones")


def conform(batch: pa.RecordBatch, schema: Schema, name: str) -> pa.RecordBatch:
    """The same rows with the types of `schema.arrow`; texts stay dictionaries. Raises `MalformedFile`."""
    arrays = []
    for column, array in zip(schema.columns, batch.columns, strict=True):
        try:
            arrays.append(_converted(array, schema.arrow.field(column.name).type, column.kind))
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise MalformedFile(name, f"column {column.name}: {error}".splitlines()[0][:200]) from error
    return pa.RecordBatch.from_arrays(arrays, names=schema.names)


def _converted(array: pa.Array, wanted: pa.DataType, kind: Kind) -> pa.Array:
    if kind == "text":
        array = array if pa.types.is_dictionary(array.type) else array.cast(pa.large_string()).dictionary_encode()
        longest = pa.compute.max(pa.compute.binary_length(array.dictionary)).as_py() or 0
        if longest > MAX_CELL:
            raise pa.ArrowInvalid(f"a text of {longest} bytes, at most {MAX_CELL}")
        array.validate(full=True)  # texts are UTF-8, and each index has its text
        return array
    if kind == "time" and pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp(array.type.unit, tz="UTC"))
    return array.cast(wanted)


def _fits(found: Schema, wanted: Schema) -> bool:
    """Whether columns can be read as others: the same names, and numbers where numbers are wanted."""
    alike = {"integer": {"integer", "real"}, "time": {"time", "integer"}, "real": {"real", "integer"}}
    return found.names == wanted.names and all(
        here.kind == there.kind or here.kind in alike.get(there.kind, set())
        for here, there in zip(found.columns, wanted.columns, strict=True)
    )


def differ(one: Schema, other: Schema) -> str:
    """The first difference of two schemas, in words."""
    for here, there in zip(one.columns, other.columns, strict=False):
        if here != there:
            return f"{here.name} ({here.kind}) where {there.name} ({there.kind}) should be"
    return f"{len(one.columns)} columns where {len(other.columns)} should be"
