"""Quotes as columns: the same checks as for one quote at a time, and the order on disk.

Why this file exists: half a million quotes a second are too many objects, so the store works on whole columns, and
both ways in must accept the same quotes and write the same bytes. Never in it: files, queries, a clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feeds.sources.source import EARLIEST, LATEST, MAX_NAME, MalformedQuote
from feeds.types import Micros, Quote

SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("price", pa.float64(), nullable=False),
        pa.field("size", pa.float64()),
        pa.field("ts", pa.int64(), nullable=False),
        pa.field("known_at", pa.int64(), nullable=False),
    ]
)
"""Columns of a partition and of what the store answers; times in UTC microseconds, a null size where none was given."""

_CODED = pa.schema(
    [field.with_type(pa.dictionary(pa.int32(), pa.string())) if i < 2 else field for i, field in enumerate(SCHEMA)]
)
_TIMES = "microseconds of a UTC time from 2009 to 2099"

Codes = NDArray[np.int32]
Floats = NDArray[np.float64]
Times = NDArray[np.int64]


class Columns(NamedTuple):
    """Quotes as arrays of one length. `sources`, `symbols`: the names that occur, ascending; `source`, `symbol`: which
    of them. `size` is NaN where none was given.
    """

    sources: tuple[str, ...]
    symbols: tuple[str, ...]
    source: Codes
    symbol: Codes
    price: Floats
    size: Floats
    ts: Times
    known_at: Times

    def __len__(self) -> int:
        """How many quotes."""
        return len(self.ts)

    def take(self, rows: NDArray[np.intp]) -> Columns:
        """The quotes at the positions `rows`; names that no longer occur are left out."""
        sources, source = _used(self.sources, self.source[rows])
        symbols, symbol = _used(self.symbols, self.symbol[rows])
        rest = (self.price[rows], self.size[rows], self.ts[rows], self.known_at[rows])
        return Columns(sources, symbols, source, symbol, *rest)

    def series(self) -> Codes:
        """A number for each quote's symbol and source: equal for equal pairs, ordered by symbol, then source."""
        codes: Codes = self.symbol * np.int32(len(self.sources)) + self.source
        return codes

    def in_order(self) -> Columns:
        """Ordered as on disk: by symbol, `known_at`, source, `ts`, price, size (none first).

        By symbol first, so that the statistics of a partition's row groups tell one symbol from the next.
        """
        order = np.lexsort((self.source, self.known_at, self.symbol))
        alike = np.ones(len(order), dtype=bool)
        for key in (self.symbol, self.known_at, self.source):
            alike[1:] &= key[order[1:]] == key[order[:-1]]
        alike[:1] = False
        alike[:-1] |= alike[1:]
        if alike.any():
            some = self._settle(order[alike])
            order[alike] = some
        return self.take(order)

    def _settle(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Positions ordered by all six columns."""
        size = np.nan_to_num(self.size[rows], nan=-1.0, posinf=math.inf)
        keys = (size, self.price[rows], self.ts[rows], self.source[rows], self.known_at[rows], self.symbol[rows])
        settled: NDArray[np.intp] = rows[np.lexsort(keys)]
        return settled

    def first_said(self) -> Columns:
        """Each statement (source, symbol, price, size, ts) once, with its earliest `known_at`.

        A hash of 64 bits picks out the few that may be alike; only those are compared.
        """
        statement = self.series().astype(np.uint64)
        for column in (self.ts, self.price, self.size):
            statement = _mix(statement ^ column.view(np.uint64))
        order = np.argsort(statement, kind="stable")
        same = np.zeros(len(order), dtype=bool)
        same[1:] = statement[order[1:]] == statement[order[:-1]]
        if not same.any():
            return self
        same[:-1] |= same[1:]
        kept = np.ones(len(order), dtype=bool)
        kept[self._later(order[same])] = False
        return self.take(np.flatnonzero(kept))

    def _later(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of `rows` that say what another of them said no later."""
        size = np.nan_to_num(self.size[rows], nan=-1.0, posinf=math.inf)
        keys = (self.known_at[rows], size, self.price[rows], self.ts[rows], self.series()[rows])
        order = np.lexsort(keys)
        again = np.ones(len(order), dtype=bool)
        for key in keys[1:]:
            again[1:] &= key[order[1:]] == key[order[:-1]]
        again[:1] = False
        later: NDArray[np.intp] = rows[order[again]]
        return later

    def table(self) -> pa.Table:
        """As an Arrow table, names as dictionaries."""
        named = (
            pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names, pa.string()))
            for codes, names in ((self.source, self.sources), (self.symbol, self.symbols))
        )
        size = pa.array(self.size, mask=np.isnan(self.size))
        rest = (pa.array(self.price), size, pa.array(self.ts), pa.array(self.known_at))
        return pa.Table.from_arrays([*named, *rest], schema=_CODED)


def from_quotes(quotes: Sequence[Quote]) -> Columns:
    """Quotes that were checked (`check_quote`) as columns, in their order."""
    columns = [pa.array([getattr(quote, field.name) for quote in quotes], field.type) for field in SCHEMA]
    return from_table(pa.Table.from_arrays(columns, schema=SCHEMA))


def from_table(table: pa.Table | pa.RecordBatch) -> Columns:
    """A table with the columns of `SCHEMA`, in any order, as columns in the order of its rows.

    Names may be dictionaries, integers of any width; a null size is none. Raises `MalformedQuote` if a column is
    missing or cannot be what it should be.
    """
    found = {}
    for field in _CODED:
        try:
            column = table[field.name]
            column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            column = _as_named(column) if field.name in _CODED.names[:2] else _as_number(column, field.type)
        except (KeyError, pa.ArrowException, UnicodeDecodeError) as error:
            why = f"{error}".splitlines()[0][:100]
            raise MalformedQuote("?", field.name, why, f"a column of {SCHEMA.field(field.name).type}") from error
        if column.null_count and not field.nullable:
            raise MalformedQuote("?", field.name, None, "given in every row")
        found[field.name] = column
    named = [_named(found[name]) for name in ("source", "symbol")]
    size = pc.fill_null(found["size"], math.nan) if found["size"].null_count else found["size"]
    if bool(pc.any(pc.is_nan(found["size"])).as_py()):
        row = int(pc.index(pc.is_nan(found["size"]), True).as_py())
        raise MalformedQuote(named[0][0][named[0][1][row]], "size", math.nan, "None or a finite number of at least 0")
    price, ts, known_at = (found[name].to_numpy(zero_copy_only=False) for name in ("price", "ts", "known_at"))
    size = size.to_numpy(zero_copy_only=False) + 0.0  # minus zero is zero
    return Columns(named[0][0], named[1][0], named[0][1], named[1][1], price, size, ts, known_at)


def check_columns(columns: Columns) -> Columns:
    """The same columns if every quote in them is sound as `check_quote` means it. Raises `MalformedQuote` for one."""
    for field, names in (("source", columns.sources), ("symbol", columns.symbols)):
        for name in names:
            if not (0 < len(name) <= MAX_NAME and name.isprintable()):
                raise MalformedQuote("?", field, name, f"1 to {MAX_NAME} printable characters")
    sound = {
        "price": ((columns.price > 0.0) & (columns.price < math.inf), "a finite number above 0"),
        "size": (~((columns.size < 0.0) | (columns.size == math.inf)), "None or a finite number of at least 0"),
        "ts": ((columns.ts >= EARLIEST) & (columns.ts < LATEST), _TIMES),
        "known_at": ((columns.known_at >= EARLIEST) & (columns.known_at < LATEST), _TIMES),
    }
    for field, (passes, limit) in sound.items():
        if not passes.all():
            row = int(np.argmin(passes))
            given = getattr(columns, field)[row].item()
            raise MalformedQuote(columns.sources[columns.source[row]], field, given, limit)
    return columns


def joined(parts: Sequence[Columns]) -> Columns:
    """All quotes of `parts`, one part after the other."""
    return from_table(pa.concat_tables([part.table() for part in parts]).unify_dictionaries())


def to_quotes(frame: pd.DataFrame) -> list[Quote]:
    """The rows of an `as_of` answer as quotes, in their order."""
    columns = [frame[field.name].tolist() for field in SCHEMA]
    return [
        Quote(source, symbol, price, None if math.isnan(size) else size, Micros(ts), Micros(known_at))
        for source, symbol, price, size, ts, known_at in zip(*columns, strict=True)
    ]


def to_frame(quotes: Iterable[Quote]) -> pd.DataFrame:
    """Quotes in the layout of an `as_of` answer (same columns and order), for code that reads either."""
    rows = sorted(quotes, key=_row_order)
    columns = {field.name: pa.array([getattr(row, field.name) for row in rows], field.type) for field in SCHEMA}
    frame: pd.DataFrame = pa.table(columns, schema=SCHEMA).to_pandas()
    return frame


def groups_of(codes: Codes | Times) -> Iterator[tuple[int, int, int]]:
    """Runs of equal codes: the code, where it begins, where it ends."""
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])) if len(codes) else np.empty(0, np.intp)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(codes)], strict=False):
        yield int(codes[start]), start, end


def _row_order(row: Quote) -> tuple[int, str, str, int, float, float]:
    return row.known_at, row.symbol, row.source, row.ts, row.price, -1.0 if row.size is None else row.size


def _as_named(column: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(column.type):
        return column.cast(_CODED.field(0).type)
    return column.cast(pa.string()).dictionary_encode()


def _as_number(column: pa.Array, kind: pa.DataType) -> pa.Array:
    found = column.type
    if not (
        pa.types.is_integer(found) or pa.types.is_null(found) or (pa.types.is_floating(found) and kind != pa.int64())
    ):
        raise pa.ArrowTypeError(f"a column of {found}")
    return column.cast(kind)


def _named(column: pa.DictionaryArray) -> tuple[tuple[str, ...], Codes]:
    """The names that occur, ascending, and which of them each row has."""
    try:
        names = column.dictionary.to_pylist()
    except UnicodeDecodeError as error:
        raise MalformedQuote("?", "name", "bytes", "text") from error
    if None in names:
        raise MalformedQuote("?", "name", None, "given in every row")
    ascending = sorted(set(names))
    place = {name: rank for rank, name in enumerate(ascending)}
    ranks = np.array([place[name] for name in names], np.int32)
    return _used(tuple(ascending), ranks[column.indices.to_numpy(zero_copy_only=False)])


def _used(names: tuple[str, ...], codes: Codes) -> tuple[tuple[str, ...], Codes]:
    """Only the names that occur, and the codes renumbered."""
    occurs = np.bincount(codes, minlength=len(names)) > 0
    if occurs.all():
        return names, codes
    renumbered: Codes = (np.cumsum(occurs) - 1).astype(np.int32)
    return tuple(name for name, used in zip(names, occurs.tolist(), strict=True) if used), renumbered[codes]


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit moves every output bit."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = bits ^ (bits >> np.uint64(31))
    return mixed
