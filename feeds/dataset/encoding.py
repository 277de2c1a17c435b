"""The canonical bytes of rows: what the hashes of a data set are over, whatever file the rows came from.

Why this file exists: the same rows as CSV, gzip CSV, Parquet with any row groups, or a store must have one root. Never
in it: files, hashes of trees.

A chunk of n rows is: the 16 bytes `dodona.chunk.v1` and a zero | keccak256 of the schema's canonical JSON | number of
the first row (8 bytes) | n (4 bytes), all big-endian, then the columns in the schema's order, each as
presence bits (ceil(n / 8) bytes, the first row in the highest bit) and values:

- integer, time: 8 bytes two's complement; real: 8 bytes IEEE 754; flag: 1 byte; each big-endian, zero where absent;
- text: n lengths of 4 bytes (UTF-8 bytes, 0 where absent), then the texts without separators.

One form for each value: an absent cell, NaN and the empty text are all absence (CSV cannot tell them apart), minus zero
is zero, a time is UTC microseconds. Rows keep their order. The width of numbers is fixed, so the place of any numeric
cell follows from n alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from eth_utils.crypto import keccak
from numpy.typing import NDArray

from feeds.dataset.errors import MalformedManifest, MalformedProof, UnsupportedData

Kind = Literal["integer", "time", "real", "flag", "text"]
MAX_COLUMNS = 1024
MAX_NAME = 128
"""Most characters of a column's name."""
MAX_CELL = 1 << 16
"""Most bytes of one text."""
MAX_CHUNK_BYTES = 64 << 20
"""Most canonical bytes of one chunk."""
CHUNK_ROWS = 4096
"""Rows in a chunk, but for the last, unless the manifest says otherwise."""
MAGIC = b"dodona.chunk.v1\0"
_HEAD = len(MAGIC) + 32 + 12

ARROW: dict[str, pa.DataType] = {
    "integer": pa.int64(), "time": pa.timestamp("us", tz="UTC"), "real": pa.float64(), "flag": pa.bool_(),
    "text": pa.string(),
}  # fmt: skip
"""The Arrow type of each kind of column."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `kind`: integer, time (UTC microseconds), real, flag or text. Raises `MalformedManifest`."""

    name: str
    kind: Kind

    def __post_init__(self) -> None:
        """Hold both to their bounds."""
        sound = isinstance(self.name, str) and 0 < len(self.name) <= MAX_NAME and self.name.isprintable()
        if not sound or self.name != self.name.strip():
            raise MalformedManifest("schema: column name", self.name, f"1 to {MAX_NAME} printable characters")
        if self.kind not in get_args(Kind):
            raise MalformedManifest(f"schema: kind of {self.name}", self.kind, f"one of {', '.join(get_args(Kind))}")


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns in order, each name once. Raises `MalformedManifest`."""

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        """Refuse no column, too many, and a name twice."""
        names = [column.name for column in self.columns]
        if not 1 <= len(names) <= MAX_COLUMNS:
            raise MalformedManifest("schema: number of columns", len(names), f"1 to {MAX_COLUMNS}")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise MalformedManifest("schema: column name", twice, "given once")

    @property
    def names(self) -> list[str]:
        """Names in order."""
        return [column.name for column in self.columns]

    def kind_of(self, name: str) -> Kind | None:
        """The kind of a column, None if there is none of that name."""
        return next((column.kind for column in self.columns if column.name == name), None)

    @property
    def arrow(self) -> pa.Schema:
        """As an Arrow schema."""
        return pa.schema([pa.field(column.name, ARROW[column.kind]) for column in self.columns])

    @property
    def digest(self) -> bytes:
        """keccak256 of `[[name,kind],...]` as canonical JSON."""
        rows = [[column.name, column.kind] for column in self.columns]
        return keccak(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode())


def schema_of(columns: Sequence[tuple[str, Any]]) -> Schema:
    """A schema from (name, kind) pairs. Raises `MalformedManifest`."""
    return Schema(tuple(Column(name, kind) for name, kind in columns))


def encode_chunk(schema: Schema, first_row: int, rows: pa.RecordBatch) -> bytes:
    """Canonical bytes of `rows` (of `schema.arrow`; texts may be dictionaries). Raises `UnsupportedData` if too
    large.
    """
    n = rows.num_rows
    parts = [MAGIC, schema.digest, first_row.to_bytes(8), n.to_bytes(4)]
    size = 0
    for column, array in zip(schema.columns, rows.columns, strict=True):
        encoded = _encode_text(column.name, array) if column.kind == "text" else _encode_number(column.kind, array)
        size += sum(map(len, encoded))
        if size > MAX_CHUNK_BYTES:
            mend = "pack with fewer rows a chunk"
            raise UnsupportedData(f"rows from {first_row}", f"a chunk of more than {MAX_CHUNK_BYTES} bytes", mend)
        parts += encoded
    return b"".join(parts)


def _encode_number(kind: Kind, array: pa.Array) -> list[bytes]:
    if kind == "flag":
        present = array.is_valid().to_numpy(zero_copy_only=False)
        values = pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(np.uint8)
        return [np.packbits(present).tobytes(), values.tobytes()]
    if kind == "real":
        reals = pc.fill_null(array, np.nan).to_numpy(zero_copy_only=False)
        present = ~np.isnan(reals)
        return [np.packbits(present).tobytes(), np.where(present, reals + 0.0, 0.0).astype(">f8").tobytes()]
    whole = array.cast(pa.int64()) if kind == "time" else array
    present = whole.is_valid().to_numpy(zero_copy_only=False)
    numbers = pc.fill_null(whole, 0).to_numpy(zero_copy_only=False)
    return [np.packbits(present).tobytes(), numbers.astype(">i8").tobytes()]


def _encode_text(name: str, array: pa.Array) -> list[bytes]:
    if pa.types.is_dictionary(array.type):
        array = _plain(name, array)
    lengths = pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    _check_lengths(name, lengths)
    present = np.packbits(lengths > 0).tobytes()
    texts = pc.fill_null(array, "").cast(pa.large_binary())
    start = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, texts.offset * 8)
    data = texts.buffers()[2]
    body = b"" if data is None else bytes(memoryview(data)[int(start[0]) : int(start[-1])])
    return [present, lengths.astype(">u4").tobytes(), body]


def _plain(name: str, array: pa.DictionaryArray) -> pa.Array:
    """A dictionary's texts one by one, once it is sure that they fit: few bytes can name much text."""
    each = pc.fill_null(pc.binary_length(array.dictionary), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    used = pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False)
    _check_lengths(name, each[used[used >= 0]])
    return array.cast(pa.string())


def _check_lengths(name: str, lengths: NDArray[np.int64]) -> None:
    if lengths.max(initial=0) > MAX_CELL or lengths.sum() > MAX_CHUNK_BYTES:
        raise UnsupportedData(f"column {name}", f"a text of more than {MAX_CELL} bytes, or too much text", "shorten it")


def decode_chunk(schema: Schema, data: bytes) -> tuple[int, pa.RecordBatch]:
    """The number of the first row and the rows of canonical bytes. Raises `MalformedProof` for any other bytes.

    Only the canonical form passes: what comes out is encoded again and compared.
    """
    if not (_HEAD <= len(data) <= _HEAD + MAX_CHUNK_BYTES) or data[: len(MAGIC)] != MAGIC:
        raise MalformedProof("chunk", data[:16].hex(), "canonical bytes of rows")
    at = len(MAGIC) + 32
    if data[len(MAGIC) : at] != schema.digest:
        raise MalformedProof("chunk's schema", data[len(MAGIC) : at].hex(), schema.digest.hex())
    first_row, n = int.from_bytes(data[at : at + 8]), int.from_bytes(data[at + 8 : at + 12])
    if not 0 < n * len(schema.columns) <= len(data):
        raise MalformedProof("chunk's row count", n, f"1 to {len(data)} cells")
    try:
        rows = _decode_columns(schema, memoryview(data)[_HEAD:], n)
        sound = encode_chunk(schema, first_row, rows) == data
    except (ValueError, pa.ArrowException, UnsupportedData) as error:
        raise MalformedProof("chunk", f"{error}".splitlines()[0][:80], "canonical bytes of rows") from error
    if not sound:
        raise MalformedProof("chunk", "bytes in another form", "canonical bytes of rows")
    return first_row, rows


def _decode_columns(schema: Schema, body: memoryview, n: int) -> pa.RecordBatch:
    arrays, at = [], 0

    def take(size: int) -> memoryview:
        nonlocal at
        if at + size > len(body):
            raise ValueError("the chunk ends early")
        at += size
        return body[at - size : at]

    for column in schema.columns:
        absent = ~np.unpackbits(np.frombuffer(take(-(-n // 8)), np.uint8), count=n).astype(bool)
        if column.kind == "text":
            lengths = np.frombuffer(take(4 * n), ">u4").astype(np.int64)
            ends = np.concatenate([[0], np.cumsum(lengths)])
            text = take(int(ends[-1]))
            buffers = [None, pa.py_buffer(ends), pa.py_buffer(bytes(text))]
            array = pa.LargeBinaryArray.from_buffers(pa.large_binary(), n, buffers).cast(pa.string())
            arrays.append(pc.if_else(pa.array(absent), pa.scalar(None, pa.string()), array))
        elif column.kind == "flag":
            arrays.append(pa.array(np.frombuffer(take(n), np.uint8) != 0, mask=absent))
        else:
            form, kind = (">f8", np.float64) if column.kind == "real" else (">i8", np.int64)
            values = np.frombuffer(take(8 * n), form).astype(kind)
            arrays.append(pa.array(values, mask=absent).cast(ARROW[column.kind]))
    if at != len(body):
        raise ValueError("bytes follow the last column")
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow)
