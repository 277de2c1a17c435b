"""Append-only quotes on disk: Parquet partitions, read by DuckDB, only ever as of a moment.

Why this file exists: features, labels and back-tests must see what was known at `t` and nothing else, and a node
killed at any moment must find every quote that it was told is safe. Never in it: an update, a delete, a read that
does not say as of when.

On disk: `<known month>/<first known_at>-<last known_at>-<content hash>.parquet`, one file for each append. A file is
written beside its place under a name beginning with `.tmp-`, synced, renamed, and its folder synced, so that it is
there whole or not at all; leftovers of a crash are never read. The name follows from the content, so that the same
append twice is one file, and the times in it let a read pass over files that came to be known later.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import math
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feeds.sources.source import LATEST, StoreDamaged, check_quote
from feeds.types import SECOND, Micros, Quote

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
"""Columns of a partition and of what `as_of` returns; times in UTC microseconds, a null size where none was given."""

_PARTITION = re.compile(r"(\d{16})-(\d{16})-[0-9a-f]{32}\.parquet")
_AS_OF = """
    SELECT source, symbol, price, size, ts, min(known_at) AS known_at
    FROM read_parquet($files) WHERE known_at <= $t AND ($symbol IS NULL OR symbol = $symbol)
    GROUP BY source, symbol, price, size, ts HAVING min(known_at) >= $since
    ORDER BY known_at, symbol, source, ts, price, size NULLS FIRST
"""
_WHOLE = "SELECT source, symbol, price, size, ts, known_at, filename FROM read_parquet($files, filename = true)"
_AT_ONCE = 1000


class Store:
    """Quotes on disk under one folder. Several processes may append to and read one folder at a time."""

    def __init__(self, path: str | Path) -> None:
        """Make the folder if it is not there. Raises `StoreDamaged` if that fails."""
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreDamaged(str(path), f"cannot make the folder ({error.strerror})") from error
        self._db = duckdb.connect(":memory:", config={"threads": 1, "autoinstall_known_extensions": False})

    def append(self, quotes: Iterable[Quote]) -> int:
        """Write quotes so that they survive a crash once this returns, all of them or none; how many there were.

        Nothing to write is no file. Writing the same again, in a later life too, changes no answer. Raises
        `MalformedQuote` before anything is written, `StoreDamaged` if the disk refuses.
        """
        rows = sorted(map(check_quote, quotes), key=_row_order)
        if not rows:
            return 0
        table = pa.Table.from_arrays(
            [pa.array([getattr(row, field.name) for row in rows], field.type) for field in SCHEMA], schema=SCHEMA
        )
        name = f"{rows[0].known_at:016d}-{rows[-1].known_at:016d}-{_content_hash(table)}.parquet"
        try:
            self._write(table, self.path / _month(rows[0].known_at), name)
        except OSError as error:
            raise StoreDamaged(str(self.path), f"cannot write ({error.strerror or error})") from error
        return len(rows)

    def as_of(self, t: Micros, symbol: str | None = None, since: Micros | None = None) -> pd.DataFrame:
        """What was known at `t`: columns of `SCHEMA`, ordered by `known_at`, then symbol, source, `ts`.

        `symbol`: only that one. `since`: only what first came to be known at or after it. A quote stored several
        times (a source polled again after a restart) is one row with the earliest `known_at`; two prices of one
        source for one `ts` (a correction) are two rows. Raises `StoreDamaged`.
        """
        files = [str(path) for path in self._partitions(t)]
        if not files:
            return to_frame(())
        given = {"files": files, "t": int(t), "symbol": symbol, "since": -1 if since is None else int(since)}
        try:
            frame: pd.DataFrame = self._db.cursor().execute(_AS_OF, given).df()
        except (duckdb.Error, UnicodeDecodeError) as error:  # its own message may quote bytes of the damaged file
            raise StoreDamaged(str(self.path), f"{error}".splitlines()[0][:300]) from error
        return frame

    def verify(self) -> int:
        """Check every partition's rows against the hash in its name; how many there are.

        Parquet as read here carries no checksum, so a flipped bit can pass as another price: a node runs this once
        at its start. Raises `StoreDamaged` naming the first file that is not what was appended.
        """
        files = self._partitions(LATEST)
        for first in range(0, len(files), _AT_ONCE):
            some = files[first : first + _AT_ONCE]
            if not self._all_sound(some):
                for file in some:
                    _check_partition(file)
                raise StoreDamaged(str(self.path), f"what is read of {some[0].name} to {some[-1].name} is not right")
        return len(files)

    def close(self) -> None:
        """Let go of the reader. What was appended is already safe."""
        self._db.close()

    def _partitions(self, t: Micros) -> list[Path]:
        """Files with anything known by `t`, in order of name."""
        found = []
        try:
            for folder in os.scandir(self.path):
                if folder.is_dir():
                    for entry in os.scandir(folder.path):
                        match = _PARTITION.fullmatch(entry.name)
                        if match and int(match[1]) <= t:
                            found.append(Path(entry.path))
        except OSError as error:
            raise StoreDamaged(str(self.path), f"cannot list ({error.strerror})") from error
        return sorted(found)

    def _all_sound(self, files: list[Path]) -> bool:
        """Whether every file holds the rows that its name promises; one query, 6 times as fast as file by file."""
        try:
            given = {"files": [str(file) for file in files]}
            found = self._db.cursor().sql(_WHOLE, params=given).to_arrow_table()
            rows = found.select(SCHEMA.names).cast(SCHEMA).combine_chunks()
        except (duckdb.Error, pa.ArrowException, ValueError):
            return False
        sound, at = set(), 0
        for name, group in itertools.groupby(found["filename"].to_pylist()):
            count = sum(1 for _ in group)
            if name.endswith(f"-{_content_hash(rows.slice(at, count))}.parquet"):
                sound.add(name)
            at += count
        return sound == set(given["files"])

    def _write(self, table: pa.Table, folder: Path, name: str) -> None:
        if (folder / name).exists():
            return
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            _sync_folder(self.path)
        temporary = folder / f".tmp-{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as out:
                pq.write_table(table, out, compression="zstd")
                out.flush()
                os.fsync(out.fileno())
            temporary.rename(folder / name)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(folder)


def _check_partition(file: Path) -> None:
    """Raise `StoreDamaged` if the file's rows are not those that its name promises."""
    try:
        table = pq.read_table(file, schema=SCHEMA, partitioning=None)
        sound = file.name.endswith(f"-{_content_hash(table)}.parquet")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreDamaged(str(file), f"{error}".splitlines()[0][:300]) from error
    if not sound:
        raise StoreDamaged(str(file), "its rows are not those that were appended")


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


def _row_order(row: Quote) -> tuple[int, str, str, int, float, float]:
    return row.known_at, row.symbol, row.source, row.ts, row.price, -1.0 if row.size is None else row.size


def _month(known_at: Micros) -> str:
    return datetime.datetime.fromtimestamp(known_at // SECOND, datetime.UTC).strftime("%Y-%m")


def _content_hash(table: pa.Table) -> str:
    """128 bits over the rows themselves, so that the name does not hang on how a library version writes Parquet.

    Names hold no line break and sizes no NaN (`check_quote`), so two tables with the same bytes are the same rows.
    """
    digest = hashlib.sha256()
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.type == pa.string():
            digest.update("\n".join(column.to_pylist()).encode())
        else:
            filled = column.fill_null(math.nan) if field.nullable else column
            digest.update(filled.to_numpy().astype(f"<{'f' if field.type == pa.float64() else 'i'}8").tobytes())
        digest.update(b"\n\n")
    return digest.hexdigest()[:32]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
