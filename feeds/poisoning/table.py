"""A data set's rows as what the checks read: bars by source and symbol, or forecasts of events.

Why this file exists: whatever the file's format, the checks must see the same rows, in any order, with times in one
unit. Never in it: a check, a parser (`feeds.dataset.open_file` reads the bytes).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feeds.dataset.errors import UnsupportedData
from feeds.dataset.manifest import MANIFEST
from feeds.dataset.open_file import Rows
from feeds.dataset.read import DataSet
from feeds.poisoning.finding import Floats, Ints
from feeds.poisoning.forecasts import Forecasts
from feeds.sources.replay import Frames
from feeds.sources.source import EARLIEST, LATEST, MalformedFile
from feeds.types import SECOND

MAX_ROWS = 5_000_000
"""Most rows looked at in one go: the checks hold them in memory. Look at larger sets part by part."""
MINUTE = 60 * SECOND

_UNITS = {SECOND: "seconds", 1_000: "milliseconds", 1: "microseconds"}
_EVENTS = ("event_id", "forecaster", "ts", "probability", "outcome", "resolved_at")
_BARS = ("ts", "source", "symbol", "close")
_QUOTES = ("ts", "source", "symbol", "price")


def read_table(path: Path) -> pa.Table:
    """All rows of a packed data set, CSV, gzip CSV, Parquet file or store. Raises FeedError, also beyond `MAX_ROWS`."""
    if (path / MANIFEST).is_file():
        packed = DataSet(path)
        count, schema = packed.manifest.rows, packed.manifest.schema
        _check_size(path.name, count)
        return _joined(list(packed.chunks(range(packed.manifest.chunks))), schema.arrow)
    rows, batches, count = Rows(path), [], 0
    for batch in rows.batches():
        count += len(batch)
        _check_size(path.name, count)
        batches.append(batch)
    return _joined(batches, rows.schema.arrow)


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """One table: a batch may hold its texts as a dictionary, the next one plainly."""
    plain = [
        pa.RecordBatch.from_arrays([c.cast(f.type) for c, f in zip(batch.columns, schema, strict=True)], schema=schema)
        for batch in batches
    ]
    return pa.Table.from_batches(plain, schema)


def _check_size(name: str, rows: int) -> None:
    if rows > MAX_ROWS:
        raise UnsupportedData(name, f"holds more than {MAX_ROWS} rows", "look at it part by part")


def holds_forecasts(table: pa.Table) -> bool:
    """Whether the rows are forecasts of events (else they should be bars or quotes)."""
    return "probability" in table.column_names


def forecasts_of(table: pa.Table, name: str) -> Forecasts:
    """The table as forecasts. Raises MalformedFile for a missing column or a value outside its range."""
    _need(table, _EVENTS, name)
    probability, outcome = (_reals(table, column, name) for column in ("probability", "outcome"))
    if not ((probability >= 0.0) & (probability <= 1.0)).all():
        raise MalformedFile(name, "a probability is outside 0 to 1")
    if not np.isin(outcome, (0.0, 1.0)).all():
        raise MalformedFile(name, "an outcome is neither 0 nor 1")
    known = _times(table, "known_at", name) if "known_at" in table.column_names else None
    (events, event), (people, forecaster) = (_names(table, c, name) for c in ("event_id", "forecaster"))
    times = _times(table, "ts", name), _times(table, "resolved_at", name)
    return Forecasts(
        events, people, event, forecaster, probability, outcome.astype(np.int64), *times, known, _rest(table)
    )


def frames_of(table: pa.Table, name: str) -> Frames:
    """The table as bars by source and symbol: `ts`, `close`, `volume`, and `known_at` where there is one.

    Quotes (`price`, `size`) become bars of a minute: the last price, the sum of the sizes, known when the last one was.
    Raises MalformedFile.
    """
    quotes = "close" not in table.column_names
    _need(table, _QUOTES if quotes else _BARS, name)
    columns = {"ts": _times(table, "ts", name), "close": _reals(table, "price" if quotes else "close", name, True)}
    amount = "size" if quotes else "volume"
    blank = np.full(table.num_rows, np.nan)
    columns["volume"] = _reals(table, amount, name, True) if amount in table.column_names else blank
    if "known_at" in table.column_names:
        columns["known_at"] = _times(table, "known_at", name)
    (sources, source), (symbols, symbol) = (_names(table, c, name) for c in ("source", "symbol"))
    frame = pd.DataFrame(columns)
    found: Frames = {}
    for pair, rows in frame.groupby(source * len(symbols) + symbol, sort=True):
        bars = _minutes(rows) if quotes else rows.sort_values(list(frame.columns), ignore_index=True)
        s, y = divmod(int(str(pair)), len(symbols))
        found.setdefault(sources[s], {})[symbols[y]] = bars
    return found


def _minutes(rows: pd.DataFrame) -> pd.DataFrame:
    ordered = rows.sort_values(["ts", "close", "volume"], kind="stable")
    kinds = {"close": "last", "volume": "sum"} | ({"known_at": "last"} if "known_at" in rows else {})
    bars = ordered.groupby(ordered["ts"] // MINUTE * MINUTE).agg(kinds)
    bars.loc[ordered.groupby(ordered["ts"] // MINUTE * MINUTE)["volume"].count() == 0, "volume"] = np.nan
    return bars.rename_axis("ts").reset_index()


def _need(table: pa.Table, columns: tuple[str, ...], name: str) -> None:
    if not table.num_rows:
        raise MalformedFile(name, "holds no rows")
    if missing := [column for column in columns if column not in table.column_names]:
        raise MalformedFile(name, f"has no column {missing[0]}", f"name its columns {', '.join(columns)}")


def _reals(table: pa.Table, column: str, name: str, absent: bool = False) -> Floats:
    held = table[column]
    if not (pa.types.is_integer(held.type) or pa.types.is_floating(held.type)):
        raise MalformedFile(name, f"column {column} holds no numbers")
    if held.null_count and not absent:
        raise MalformedFile(name, f"a row has no {column}")
    found: Floats = held.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    return found


def _times(table: pa.Table, column: str, name: str) -> Ints:
    """Microseconds; the unit follows from the size, as a time of 2009 to 2099 is sound in one unit only."""
    held = table[column]
    if pa.types.is_timestamp(held.type):
        held = held.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    if not pa.types.is_integer(held.type) or held.null_count:
        raise MalformedFile(name, f"column {column} holds something that is no time")
    values: Ints = held.cast(pa.int64(), safe=False).to_numpy().astype(np.int64)
    for unit in _UNITS:
        if ((values >= EARLIEST // unit) & (values < LATEST // unit)).all():
            return values * unit
    raise MalformedFile(name, f"a {column} is not in UTC {', '.join(_UNITS.values())} from 2009 to 2099")


def _names(table: pa.Table, column: str, name: str) -> tuple[tuple[str, ...], Ints]:
    """The texts that occur, ascending, and which of them each row has; absent is refused."""
    if table[column].null_count:
        raise MalformedFile(name, f"a row has no {column}")
    return _coded(table[column])


def _coded(held: pa.ChunkedArray) -> tuple[tuple[str, ...], Ints]:
    texts = held.cast(pa.string())
    names = sorted(pc.unique(texts).to_pylist())
    codes: Ints = pc.index_in(texts, pa.array(names, pa.string())).to_numpy().astype(np.int64)
    return tuple(names), codes


def _rest(table: pa.Table) -> Ints:
    """A number per row, equal where all columns that the checks do not read are equal."""
    found = np.zeros(table.num_rows, np.int64)
    for column in sorted(set(table.column_names) - {*_EVENTS, "known_at"}):
        _, codes = _coded(pc.fill_null(table[column].cast(pa.string()), ""))
        _, found = np.unique(found * (int(codes.max()) + 1) + codes, return_inverse=True)
        found = found.reshape(-1).astype(np.int64)
    return found
