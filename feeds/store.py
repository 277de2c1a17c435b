"""Append-only quotes on disk: Parquet partitions, read by DuckDB, only ever as of a moment.

Why this file exists: features, labels and back-tests must see what was known at `t` and nothing else, a node killed at
any moment must find every quote that it was told is safe, and 10^8 quotes must not have to fit into memory. Never in
it: an update, a read that does not say as of when, what lies how on disk (`feeds/partitions.py`, `feeds/parquet.py`),
merging and removing (`feeds/upkeep.py`).

A question opens only the files that can hold an answer: by the times in their names, and for a symbol by the index of
each larger file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from feeds import upkeep
from feeds.bars import bars_of, no_bars
from feeds.columns import SCHEMA, Columns, check_columns, from_quotes, from_table, to_frame, to_quotes
from feeds.parquet import MAX_ROWS, ROW_GROUP, encode, read_index, read_whole
from feeds.partitions import Partition, Root, View
from feeds.sources.source import LATEST, BadRule, NotKept, StoreDamaged, check_quote
from feeds.types import Micros, Quote

__all__ = ["MAX_ROWS", "SCHEMA", "Store", "to_frame", "to_quotes"]

BATCH = 1 << 18
"""About so many quotes are in memory at a time while a long answer is streamed."""

_ORDER = "ORDER BY known_at, symbol, source, ts, price, size NULLS FIRST"
_SAID = "source, symbol, price, size, ts"
_WINDOW = f"""
    SELECT {_SAID}, min(known_at) AS known_at FROM read_parquet($files)
    WHERE known_at BETWEEN $since AND $t AND ($symbol IS NULL OR symbol = $symbol)
    GROUP BY {_SAID}
"""
_NEW = f"""
    SELECT {_SAID}, known_at FROM said ANTI JOIN (
        SELECT {_SAID} FROM read_parquet($files)
        WHERE known_at < $since AND ts BETWEEN $low AND $high AND ($symbol IS NULL OR symbol = $symbol)
    ) AS before ON said.source = before.source AND said.symbol = before.symbol AND said.price = before.price
        AND said.ts = before.ts AND said.size IS NOT DISTINCT FROM before.size
    {_ORDER}
"""
_PROBE = """
    SELECT source, max(ts) AS bound FROM read_parquet($files)
    WHERE symbol = $symbol AND known_at BETWEEN $since AND $t GROUP BY source
"""
_LATE = f"""
    SELECT {_SAID}, min(known_at) AS known_at FROM read_parquet($files)
    WHERE known_at <= $t AND ts > $after GROUP BY {_SAID} {_ORDER}
"""
_SUMMARY = """
    SELECT source, symbol, count(*) AS quotes, max(known_at) AS last_known FROM read_parquet($files)
    WHERE known_at <= $t GROUP BY source, symbol ORDER BY source, symbol
"""
_PLACE = "SELECT * FROM read_parquet($file{n}) WHERE symbol = $symbol AND known_at <= $t AND ts >= $low{n}"
_REST = "SELECT * FROM read_parquet($rest) WHERE symbol = $symbol AND known_at <= $t"
_NEWEST = f"""
    SELECT {_SAID}, min(known_at) AS known_at FROM (%s) LEFT JOIN proven USING (source)
    WHERE ts >= coalesce(proven.bound, 0)
    GROUP BY {_SAID} QUALIFY row_number() OVER (
        PARTITION BY source ORDER BY ts DESC, min(known_at) DESC, price DESC, size DESC NULLS LAST
    ) = 1 {_ORDER}
"""

_NO_SUMMARY = pa.schema(
    [("source", pa.string()), ("symbol", pa.string()), ("quotes", pa.int64()), ("last_known", pa.int64())]
).empty_table()


class Store:
    """Quotes on disk under one folder. Several processes and threads may append, read and merge at a time."""

    def __init__(self, path: str | Path) -> None:
        """Make the folder if it is not there. Raises `StoreDamaged` if that fails."""
        self.path = Path(path)
        try:
            self._root = Root(self.path)
        except OSError as error:
            raise StoreDamaged(str(path), f"cannot make the folder ({error.strerror})") from error
        self._db = duckdb.connect(":memory:", config={"threads": 1, "autoinstall_known_extensions": False})
        self._db.execute("SET parquet_metadata_cache = true")

    def append(self, quotes: Iterable[Quote]) -> int:
        """Write quotes so that they survive a crash once this returns, all of them or none; how many there were.

        Nothing to write is no file. Writing the same again, in a later life too, changes no answer. What was known
        wholly before the time since which quotes are kept (`retain`) is left out. Raises `MalformedQuote` or `BadRule`
        (more than `MAX_ROWS`) before anything is written, `StoreDamaged` if the disk refuses.
        """
        return self._append(from_quotes([check_quote(quote) for quote in quotes]))

    def append_table(self, table: pa.Table | pa.RecordBatch) -> int:
        """`append` for whole columns, hundreds of times as fast: a table with the columns of `SCHEMA`, in any order.

        A pandas frame comes as `pyarrow.Table.from_pandas(frame)`. One unsound row refuses the table.
        """
        return self._append(check_columns(from_table(table)))

    def as_of(self, t: Micros, symbol: str | None = None, since: Micros | None = None) -> pd.DataFrame:
        """What was known at `t`: columns of `SCHEMA`, ordered by `known_at`, then symbol, source, `ts`.

        `symbol`: only that one. `since`: only what first came to be known at or after it. A quote stored several
        times (a source polled again after a restart) is one row with the earliest `known_at`; two prices of one
        source for one `ts` (a correction) are two rows. Raises `StoreDamaged`, `NotKept`.
        """
        with self._look(t, since) as view:
            return _frame(self._window(view, t, symbol, since))

    def newest(self, t: Micros, symbol: str) -> pd.DataFrame:
        """Of each source, the quote of `symbol` with the newest `ts` that was known at `t`; of several, the last known.

        The rows of `as_of(t, symbol)` that fusion starts from, without reading the others. Raises like `as_of`.
        """
        with self._look(t, None) as view:
            some = [p for p in view.partitions if p.first <= t]
            proven = self._proven(some, t, symbol)
            given: dict[str, Any] = {"t": int(t), "symbol": symbol}
            parts = []
            for n, (path, low) in enumerate(_places(some, t, symbol, proven)):
                given |= {f"file{n}": path, f"low{n}": low}
                parts.append(_PLACE.format(n=n))
            rest = [p.path for p in some if not p.indexed]
            if rest:
                given["rest"] = rest
                parts.append(_REST)
            if not parts:
                return to_frame(())
            bounds = pa.table({"source": pa.array(proven, pa.string()), "bound": pa.array(proven.values(), pa.int64())})
            return _frame(self._ask(_NEWEST % " UNION ALL ".join(parts), given, proven=bounds))

    def dated_after(self, t: Micros, after: Micros) -> pd.DataFrame:
        """The rows of `as_of(t)` whose own time is later than `after`. Raises like `as_of`."""
        with self._look(t, None) as view:
            files = [p.path for p in view.partitions if p.first <= t and p.ts_last > after]
            given = {"files": files, "t": int(t), "after": int(after)}
            return _frame(self._ask(_LATE, given)) if files else to_frame(())

    def summary(self, t: Micros) -> pd.DataFrame:
        """What there is by `t`, a row of `source, symbol, quotes, last_known` for each source and symbol, in order.

        `quotes` counts a quote that was stored twice and not merged yet as two. Raises like `as_of`.
        """
        with self._look(t, None) as view:
            files = [p.path for p in view.partitions if p.first <= t]
            return _frame(self._ask(_SUMMARY, {"files": files, "t": int(t)}) if files else _NO_SUMMARY)

    def batches(
        self, t: Micros, symbol: str | None = None, since: Micros | None = None, rows: int = BATCH
    ) -> pa.RecordBatchReader:
        """The rows of `as_of` in the same order as a stream of Arrow record batches, about `rows` in memory at a time.

        All of it is one view of the store, taken at the first batch: what is appended later is not in it, and what is
        merged meanwhile stays on disk until the stream has ended or is closed. Batches raise like `as_of`.
        """
        if rows < 1:
            raise BadRule("store: rows", rows, "at least 1")
        return pa.RecordBatchReader.from_batches(SCHEMA, self._stream(t, symbol, since, rows))

    def bars(self, t: Micros, symbol: str, width: int, since: Micros | None = None) -> pd.DataFrame:
        """Bars of `symbol` that had closed by `t`, of each source on its own: the fields of `feeds.types.Bar`.

        `width`: microseconds; bars end at its multiples. A bar over `[ts, ts + width)` is of the quotes that came to
        be known after `ts` and by `ts + width`, and is known then (`feeds.bars`): no quote known later changes it.
        `since`: only bars that began at or after it. Ordered by `known_at`, then source. About one bar's quotes or
        `BATCH` of them are in memory at a time. Raises `BadRule` for a width below 1, else like `as_of`.
        """
        if width < 1:
            raise BadRule("store: width", width, "at least 1 microsecond")
        end = Micros(t // width * width)
        start = None if since is None else Micros(-(-since // width) * width + 1)
        parts = [no_bars()]
        with self._look(t, since) as view:
            for low, high in _slices(view, end, symbol, start, BATCH, width):
                parts.append(bars_of(self._window(view, high, symbol, low), symbol, width))
        return _frame(pa.concat_tables(parts))

    def verify(self) -> int:
        """Check every partition against the hash in its name; how many there are.

        Parquet as read here carries no checksum, so a flipped bit can pass as another price: a node runs this once
        at its start. Raises `StoreDamaged` naming the first file that is not what was appended.
        """
        with self._look(LATEST, None) as view:
            for partition in view.partitions:
                read_whole(partition)
            return len(view.partitions)

    def compact(self, everything: bool = False) -> upkeep.Merged:
        """Make few files of many where that is due (`feeds.upkeep`), or with `everything` as few as can be.

        No answer changes, and whoever reads or appends meanwhile, in any process, need not know. Call it after
        appends: it looks at the folder and mostly has nothing to do. Raises `StoreDamaged`.
        """
        with self._damaged():
            return upkeep.compact(self._root, everything)

    def retain(self, before: Micros, archive: str | Path | None = None) -> upkeep.Removed:
        """Remove the partitions known wholly before `before`; with `archive`, a store at that path gets them first.

        Never removes a quote known at `before` or later. From then on a question about an earlier time raises
        `NotKept` here. Raises `BadRule` for a time that is none, `StoreDamaged`.
        """
        if not 0 < before < LATEST:
            raise BadRule("store: before", before, "microseconds of a UTC time before 2100")
        with self._damaged():
            return upkeep.retain(self._root, before, None if archive is None else Root(Path(archive)))

    @property
    def kept_since(self) -> Micros:
        """What was known wholly before it was removed; 0 if nothing was. Raises `StoreDamaged`."""
        with self._damaged():
            return self._root.kept_since()

    def close(self) -> None:
        """Let go of the reader. What was appended is already safe."""
        self._db.close()

    def _append(self, columns: Columns) -> int:
        if len(columns) > MAX_ROWS:
            raise BadRule("store: quotes in one append", len(columns), f"at most {MAX_ROWS}: append them in parts")
        if not len(columns):
            return 0
        columns = columns.in_order()
        partition, content = encode(columns, "", indexed=len(columns) >= ROW_GROUP)
        with self._damaged("cannot write"), self._root.shared():
            if partition.last < self._root.kept_since():
                return 0
            self._root.add(partition._replace(folder=self._root.month_of(partition.first)), content)
        return len(columns)

    @contextmanager
    def _damaged(self, doing: str = "cannot list, write or remove") -> Iterator[None]:
        """The disk's refusals as `StoreDamaged`."""
        try:
            yield
        except OSError as error:
            raise StoreDamaged(str(self.path), f"{doing} ({error.strerror or error})") from error

    @contextmanager
    def _look(self, t: Micros, since: Micros | None) -> Iterator[View]:
        """What is there, and will be until the end of the block."""
        with self._damaged("cannot list"), self._root.shared():
            view = self._root.view()
            for moment in (t, t if since is None else since):
                if moment < view.kept_since:
                    raise NotKept(str(self.path), moment, view.kept_since)
            yield view

    def _window(self, view: View, t: Micros, symbol: str | None, since: Micros | None) -> pa.Table:
        low = Micros(0 if since is None else since)
        some = [p for p in view.partitions if p.first <= t and p.last >= low and _holds(p, symbol)]
        if not some or low > t:
            return SCHEMA.empty_table()
        given = {"files": [p.path for p in some], "t": int(t), "since": int(low), "symbol": symbol}
        if since is None:
            return self._ask(_WINDOW + _ORDER, given)
        said = self._ask(_WINDOW, given)
        ts = np.unique(said["ts"].to_numpy())
        before = [p.path for p in view.partitions if p.first < low and _overlaps(p, symbol, ts)]
        if not before:
            return self._ask(f"SELECT * FROM said {_ORDER}", {}, said=said)
        given = {"files": before, "since": int(low), "symbol": symbol, "low": int(ts[0]), "high": int(ts[-1])}
        return self._ask(_NEW, given, said=said)

    def _proven(self, partitions: Sequence[Partition], t: Micros, symbol: str) -> dict[str, int]:
        """By source, a `ts` that its newest quote known by `t` is not older than; 0 where nothing proves more.

        A file all of whose quotes of a source were known by then proves its last. Of a file amid which `t` lies, a
        look at about a row group before `t` mostly proves enough; a small one is read as a whole anyway.
        """
        proven: dict[str, int] = {}
        amid, since = [], t
        for partition in partitions:
            if not partition.indexed:
                continue
            sources, times = read_index(partition.path).of(symbol)
            for source, (_, first, last, _, ts_last) in zip(sources, times.tolist(), strict=True):
                if first <= t:
                    proven[source] = max(proven.get(source, 0), ts_last if last <= t else 0)
            count = int(times[:, 0].sum())
            if t < partition.last and count > ROW_GROUP:
                amid.append(partition.path)
                since = Micros(min(since, t - (partition.last - partition.first) * ROW_GROUP // count))
        if amid:
            given = {"files": amid, "symbol": symbol, "t": int(t), "since": int(since)}
            for source, bound in zip(*self._ask(_PROBE, given).to_pydict().values(), strict=True):
                proven[source] = max(proven.get(source, 0), bound)
        return proven

    def _ask(self, query: str, given: dict[str, Any], **tables: pa.Table) -> pa.Table:
        cursor = self._db.cursor()
        try:
            for name, table in tables.items():
                cursor.register(name, table)
            found = cursor.sql(query, params=given).to_arrow_table()
            return found.select(SCHEMA.names).cast(SCHEMA) if "price" in found.column_names else found
        except (duckdb.Error, pa.ArrowException, ValueError) as error:  # it may quote bytes of the damaged file
            raise StoreDamaged(str(self.path), f"{error}".splitlines()[0][:300]) from error
        finally:
            cursor.close()

    def _stream(self, t: Micros, symbol: str | None, since: Micros | None, rows: int) -> Iterator[pa.RecordBatch]:
        with self._look(t, since) as view:
            for low, high in _slices(view, t, symbol, since, rows, 1):
                yield from self._window(view, high, symbol, low).to_batches(max_chunksize=rows)


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _holds(partition: Partition, symbol: str | None) -> bool:
    """Whether the file can have quotes of the symbol."""
    return symbol is None or not partition.indexed or symbol in read_index(partition.path).span


def _overlaps(partition: Partition, symbol: str | None, ts: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    """Whether the file can have quotes of the symbol with one of these times (ascending)."""
    spans = np.array([[partition.ts_first, partition.ts_last]])
    if np.searchsorted(ts, spans[:, 0]) == np.searchsorted(ts, spans[:, 1], side="right"):
        return False
    if symbol is not None and partition.indexed:
        spans = read_index(partition.path).of(symbol)[1][:, 3:]
    return bool((np.searchsorted(ts, spans[:, 0]) < np.searchsorted(ts, spans[:, 1], side="right")).any())


def _places(
    partitions: Sequence[Partition], t: Micros, symbol: str, proven: dict[str, int]
) -> Iterator[tuple[str, int]]:
    """Files with an index that can hold a source's newest quote of the symbol known by `t`, and from which `ts` on."""
    for partition in partitions:
        if partition.indexed:
            sources, times = read_index(partition.path).of(symbol)
            spans = zip(sources, times[:, 1].tolist(), times[:, 4].tolist(), strict=True)
            bounds = [proven[source] for source, first, last in spans if first <= t and last >= proven[source]]
            if bounds:
                yield partition.path, min(bounds)


def _slices(
    view: View, t: Micros, symbol: str | None, since: Micros | None, rows: int, step: int
) -> list[tuple[Micros, Micros]]:
    """The time from `since` to `t` in parts (both ends within) of about `rows` quotes, ends at multiples of `step`.

    As if each file's quotes were spread evenly over its time: it only has to be about right.
    """
    some = [p for p in view.partitions if p.first <= t and p.last >= (since or 0) and _holds(p, symbol)]
    if not some:
        return []
    counts = np.array([_rows(p, symbol) for p in some])
    first, last = (np.array([p[side] for p in some], np.int64) for side in (0, 1))
    rate = counts / (last + 1 - first)
    times, place = np.unique(np.concatenate([first, last + 1]), return_inverse=True)
    change = np.bincount(place, np.concatenate([rate, -rate]), len(times))
    known = np.concatenate([[0.0], np.cumsum(np.cumsum(change)[:-1] * np.diff(times))])
    cuts = np.interp(np.arange(rows, max(known[-1], 1), rows), np.maximum.accumulate(known), times).astype(np.int64)
    low = max(since or 0, int(times[0]))
    ends = np.unique(np.concatenate([-(-cuts // step) * step, [t]]))
    ends = ends[(ends >= low) & (ends <= t)].tolist()
    starts = [low, *(end + 1 for end in ends)][: len(ends)]
    return [(Micros(start), Micros(end)) for start, end in zip(starts, ends, strict=True)]


def _rows(partition: Partition, symbol: str | None) -> int:
    """At most so many quotes of the symbol are in the file."""
    if symbol is None or not partition.indexed:
        return partition.rows
    return int(read_index(partition.path).of(symbol)[1][:, 0].sum())
