"""Rows in memory as the checks want them: columns by name, texts as numbers, times in microseconds.

Why this file exists: the checks look at whole series, so here memory grows with the rows, and here is the limit. Never
in it: checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feeds.dataset.errors import UnsupportedData
from feeds.dataset.manifest import MANIFEST, TimeColumn
from feeds.dataset.open_file import Rows
from feeds.dataset.pack import KNOWN, OWN_TIME, open_all, time_column, times_of
from feeds.dataset.read import DataSet
from feeds.quality.findings import Bools, Floats, Ints
from feeds.sources.source import MalformedFile, MissingData

MAX_CELLS = 400_000_000
"""Most cells of one report: 3 GB in memory."""
Shape = Literal["bars", "quotes", "events", "table"]
BARS = ("open", "high", "low", "close")
_NAMES = ("symbol", "source", "event_id", "forecaster")
"""Columns that name things, also where the names are numbers."""
_NUMBERS: dict[Shape, tuple[str, ...]] = {
    "bars": BARS, "quotes": ("price",), "events": ("probability", "outcome"), "table": ()
}  # fmt: skip
"""Columns that must hold numbers, by shape."""


@dataclass(slots=True)
class Table:
    """All rows. `numbers`: float64 by name, NaN where absent; `codes`, `names`: texts, code -1 where absent.

    `time`: the rows' own times, `known`: since when each was known, both in UTC microseconds, None without the column.
    `known_from`: how that is said ("column known_at", "ts + 60 s"), "" where it is not.
    """

    name: str
    shape: Shape
    rows: int
    numbers: dict[str, Floats] = field(default_factory=dict)
    codes: dict[str, Ints] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    time: Ints | None = None
    known: Ints | None = None
    known_from: str = ""
    dataset: DataSet | None = None
    store: Path | None = None

    def text(self, name: str, row: int) -> str:
        """One cell of a text column."""
        code = int(self.codes[name][row])
        return "" if code < 0 else self.names[name][code]


def load(paths: Sequence[Path], known: str | None = None, delay: int = 0) -> Table:
    """The rows of files in order, of a store, or of a packed data set (its chunks checked).

    `known`, `delay`: the point-in-time column, and microseconds added to it, where neither a manifest nor the name
    `known_at` says it. Raises `UnsupportedData` for too many rows, `MalformedFile` for prices or probabilities that are
    no numbers, and what reading raises.
    """
    if len(paths) == 1 and (paths[0] / MANIFEST).exists():
        dataset = DataSet(paths[0])
        manifest = dataset.manifest
        _check_size(manifest.rows, len(manifest.schema.columns), manifest.name)
        table = _table(manifest.name, list(dataset.chunks(range(len(dataset.leaves)))), manifest.known)
        table.dataset = dataset
        return table
    schema, files = open_all(paths)
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    batches = list(_bounded(files, len(schema.columns), name))
    if not sum(batch.num_rows for batch in batches):
        raise MalformedFile(name, "holds no rows")
    if known is None and KNOWN in schema.names:
        known = KNOWN
    table = _table(name, batches, None if known is None else time_column(known, batches[0], delay))
    table.store = paths[0] if files[0].format == "store" else None
    return table


def _bounded(files: Sequence[Rows], width: int, name: str) -> Iterator[pa.RecordBatch]:
    rows = 0
    for file in files:
        for batch in file.batches():
            rows += batch.num_rows
            _check_size(rows, width, name)
            yield batch


def _check_size(rows: int, width: int, name: str) -> None:
    if rows * width > MAX_CELLS:
        raise UnsupportedData(name, f"more than {MAX_CELLS} cells", "report on it in parts: name fewer files")


def _table(name: str, batches: list[pa.RecordBatch], known: TimeColumn | None) -> Table:
    columns = batches[0].schema.names
    table = Table(name, _shape(columns), sum(batch.num_rows for batch in batches))
    for column in columns:
        parts = [batch.column(column) for batch in batches]
        kind = parts[0].type
        if column in _NAMES and not pa.types.is_dictionary(kind):
            parts = [part.cast(pa.large_string()) for part in parts]
            kind = parts[0].type
        if pa.types.is_timestamp(kind):
            continue
        if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
            table.codes[column], table.names[column] = _coded(parts)
        else:
            table.numbers[column] = np.concatenate([_floats(part) for part in parts])
    for column in _NUMBERS[table.shape]:
        if column not in table.numbers:
            raise MalformedFile(name, f"column {column} holds something that is no number")
    own = next((column for column in OWN_TIME if column in columns), None)
    if own is not None:
        table.time = _times(batches, time_column(own, batches[0]))
    elif "date" in table.codes:
        table.time = _dates(table)
    if known is not None:
        table.known = _times(batches, known)
        later = f" + {known.delay / 1e6:g} s" if known.delay else ""
        table.known_from = f"column {known.column}{later}"
    return table


def _shape(columns: Sequence[str]) -> Shape:
    held = set(columns)
    if {"event_id", "ts", "probability", "outcome"} <= held:
        return "events"
    if {"symbol", "source", "ts"} <= held:
        return "bars" if set(BARS) <= held else "quotes" if "price" in held else "table"
    return "table"


def _times(batches: Sequence[pa.RecordBatch], column: TimeColumn) -> Ints:
    return np.concatenate([times_of(batch, column) for batch in batches])


def _dates(table: Table) -> Ints | None:
    """ISO dates as times, None if one is not."""
    try:
        days = pa.array(table.names["date"]).cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    codes = table.codes["date"]
    return None if (codes < 0).any() else days[codes].astype(np.int64)


def _floats(array: pa.Array) -> Floats:
    floats: Floats = pc.fill_null(array.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)
    return floats


def _coded(parts: Sequence[pa.Array]) -> tuple[Ints, list[str]]:
    """Which of the names each row has, the names ascending."""
    coded = [
        (part if pa.types.is_dictionary(part.type) else part.dictionary_encode()).cast(
            pa.dictionary(pa.int32(), pa.large_string())
        )
        for part in parts
    ]
    whole = pa.chunked_array(coded).unify_dictionaries().combine_chunks()
    names = whole.dictionary.to_pylist()
    codes = pc.fill_null(whole.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    ascending = sorted(range(len(names)), key=lambda place: names[place])
    rank = np.empty(len(names) + 1, np.int64)
    rank[ascending] = np.arange(len(names))
    rank[-1] = -1
    return rank[codes], [names[place] for place in ascending]


@dataclass(slots=True)
class Series:
    """The rows of one symbol from one source, ascending by time (rows of one time in file order).

    `price`: the close of a bar, or the quote; `open`, `high`, `low`, `volume` are NaN where the data has none. `rows`:
    places in the table. `step`: the commonest distance of two times in microseconds, `regular`: whether at least half
    of all distances are that.
    """

    symbol: str
    source: str
    rows: Ints
    ts: Ints
    price: Floats
    open: Floats
    high: Floats
    low: Floats
    volume: Floats
    step: int
    regular: bool

    @property
    def where(self) -> str:
        """Symbol and source, as findings name them."""
        return f"{self.symbol} {self.source}".strip()

    @property
    def has_volume(self) -> bool:
        """Whether any row states a volume."""
        return bool(np.isfinite(self.volume).any())

    @property
    def sound(self) -> Bools:
        """Rows whose price is a finite number above zero."""
        mask: Bools = np.isfinite(self.price) & (self.price > 0)
        return mask


def series_of(table: Table) -> list[Series]:
    """The series of bars or quotes, by symbol, then source. Raises `MissingData` if the table has no times."""
    if table.time is None:
        raise MissingData("a column of times", table.name, "name it ts")
    symbol, source = table.codes["symbol"], table.codes["source"]
    pair = (symbol + 1) * (len(table.names["source"]) + 1) + source + 1
    order = np.lexsort((np.arange(table.rows), table.time, pair))
    cuts = np.flatnonzero(np.diff(pair[order])) + 1
    return [_series(table, rows.astype(np.int64)) for rows in np.split(order, cuts)]


def _series(table: Table, rows: Ints) -> Series:
    if table.time is None:
        raise MalformedFile(table.name, "has no times")
    ts = table.time[rows]
    absent = np.full(len(rows), np.nan)
    taken = {name: table.numbers[name][rows] for name in (*BARS, "price", "volume", "size") if name in table.numbers}
    price = taken.get("close", taken.get("price", absent))
    volume = taken.get("volume", taken.get("size", absent))
    step, regular = _step(ts)
    first, high, low = (taken.get(name, price) for name in ("open", "high", "low"))
    symbol, source = (table.text(name, int(rows[0])) for name in ("symbol", "source"))
    return Series(symbol, source, rows, ts, price, first, high, low, volume, step, regular)


def _step(ts: Ints) -> tuple[int, bool]:
    gaps = np.diff(ts)
    gaps = gaps[gaps > 0]
    if not len(gaps):
        return 0, False
    sizes, counts = np.unique(gaps, return_counts=True)
    commonest = int(sizes[np.argmax(counts)])
    if 2 * int(counts.max()) >= len(gaps):
        return commonest, True
    return int(np.median(gaps)), False
