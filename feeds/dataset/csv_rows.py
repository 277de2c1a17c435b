"""CSV as typed rows, streamed: the kind of a column follows from all of its cells, never from the first few.

Why this file exists: a reader that guesses from its first block gives one file two schemas, and a reader of floats
rounds a 20-digit round id. Never in it: gzip, files, the meaning of columns. Format: RFC 4180, UTF-8, a header.

A column is integer if every cell that is not empty is a plain whole number of 64 bits; real if every cell is a finite
or infinite decimal number without leading zeros and none is a whole number that a float cannot hold, or if all are
empty; otherwise text. An empty cell is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from feeds.dataset.encoding import MAX_CELL, MAX_COLUMNS, Kind, Schema, schema_of
from feeds.sources.source import MalformedFile

BLOCK = 4 << 20
"""Bytes read at a time; a row must fit into it."""
_INTEGER = r"^-?(0|[1-9][0-9]{0,18})$"
_DIGITS = r"^[+-]?[0-9]+$"
_REAL = r"^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?$|^[+-]?(inf|Inf|INF)$|^(nan|NaN|NAN)$"
_EXACT = 2**53

Opener = Callable[[], BinaryIO]


def infer(opener: Opener, name: str) -> Schema:
    """The columns and kinds of a CSV: one pass over it. Raises `MalformedFile` or what the opened file raises."""
    kinds: dict[str, set[Kind]] | None = None
    filled: set[str] = set()
    for batch in _texts(opener, name):
        kinds = kinds if kinds is not None else {column: {"integer", "real"} for column in batch.schema.names}
        for column, array in zip(batch.schema.names, batch.columns, strict=True):
            if array.null_count < len(array):
                filled.add(column)
            if kinds[column]:
                kinds[column] &= _possible(array, kinds[column])
    if kinds is None:
        raise MalformedFile(name, "holds no rows")
    for column in kinds.keys() - filled:
        kinds[column] = {"real"}
    order: tuple[Kind, ...] = ("integer", "real", "text")
    return schema_of([(column, next(k for k in order if k in found | {"text"})) for column, found in kinds.items()])


def batches(opener: Opener, name: str, schema: Schema) -> Iterator[pa.RecordBatch]:
    """The rows with the kinds of `schema`, whose columns must be the header. Raises `MalformedFile`."""
    rows = 0
    for batch in _texts(opener, name):
        if batch.schema.names != schema.names:
            raise MalformedFile(name, f"its header is {','.join(batch.schema.names)[:100]}, not the manifest's columns")
        arrays = [
            _typed(array, column.name, column.kind, name)
            for column, array in zip(schema.columns, batch.columns, strict=True)
        ]
        rows += batch.num_rows
        yield pa.RecordBatch.from_arrays(arrays, schema=schema.arrow)
    if not rows:
        raise MalformedFile(name, "holds no rows")


def _texts(opener: Opener, name: str) -> Iterator[pa.RecordBatch]:
    """All cells as texts, empty ones as null."""
    with opener() as file:
        names = _header(file, name)
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    parse = pacsv.ParseOptions(newlines_in_values=True)
    try:
        with (
            opener() as file,
            pacsv.open_csv(file, pacsv.ReadOptions(use_threads=False, block_size=BLOCK), parse, convert) as reader,
        ):
            for batch in reader:
                if batch.num_rows:
                    yield batch
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise MalformedFile(name, f"CSV: {error}".splitlines()[0][:200]) from error


def _header(file: BinaryIO, name: str) -> list[str]:
    """The names in the first line. Raises `MalformedFile`."""
    head = b""
    while len(head) < BLOCK and b"\n" not in head:
        piece = file.read(1 << 16)
        if not piece:
            break
        head += piece
    line = head.split(b"\n", 1)[0] + b"\n"
    if line.count(b",") >= MAX_COLUMNS or b'"' in line or b"\0" in line:
        raise MalformedFile(name, f"a header of more than {MAX_COLUMNS} columns, or with quotes in it")
    try:
        names = line.decode("utf-8-sig").rstrip("\r\n").split(",")
    except UnicodeDecodeError as error:
        raise MalformedFile(name, "its header is no UTF-8 text") from error
    if len(set(names)) != len(names) or not all(names):
        raise MalformedFile(name, "a column of its header has no name, or one name is given twice")
    return names


def _possible(array: pa.Array, candidates: set[Kind]) -> set[Kind]:
    """Those of the candidates that all cells of a batch allow."""
    cells = array.drop_null()
    if not len(cells):
        return candidates
    found: set[Kind] = set()
    if "integer" in candidates and pc.all(pc.match_substring_regex(cells, _INTEGER)).as_py():
        try:
            cells.cast(pa.int64())
            found.add("integer")
        except pa.ArrowInvalid:  # of 19 digits, and beyond 64 bits
            pass
    if "real" in candidates and pc.all(pc.match_substring_regex(cells, _REAL)).as_py():
        whole = cells.filter(pc.match_substring_regex(cells, _DIGITS))
        if not len(whole) or pc.max(pc.abs(whole.cast(pa.float64()))).as_py() < _EXACT:
            found.add("real")
    return found


def _typed(array: pa.Array, column: str, kind: Kind, name: str) -> pa.Array:
    try:
        if kind == "text":
            if (pc.max(pc.binary_length(array)).as_py() or 0) > MAX_CELL:
                raise MalformedFile(name, f"column {column}: a text of more than {MAX_CELL} bytes")
            return array
        if kind == "time":
            return array.cast(pa.int64()).cast(pa.timestamp("us", tz="UTC"))
        if kind == "flag":
            return array.cast(pa.bool_())
        return array.cast(pa.int64() if kind == "integer" else pa.float64())
    except pa.ArrowException as error:
        raise MalformedFile(name, f"column {column}: {error}".splitlines()[0][:200]) from error
