"""One file of quotes as bytes: how it is encoded, the index in its footer, and whether it still is what was written.

Why this file exists: a question about one symbol must open few files and read little of each. The rows are ordered by
symbol, then `known_at`, in row groups of 65,536, so that the statistics of a row group tell whether it matters; the
index says which symbols and sources a file holds at all, and between which times. Never in it: where files lie, which
of them are read.

The index is JSON in the footer's `dodona.series`, after its own hash: rows of [symbol, source, quotes, first and last
`known_at`, first and last `ts`], ordered by symbol, then source.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feeds.columns import Columns, from_table, groups_of
from feeds.partitions import Partition
from feeds.sources.source import MalformedQuote, StoreDamaged
from feeds.types import Micros

ROW_GROUP = 1 << 16
"""Quotes in a row group, and from how many on a file has an index: a smaller one is read as a whole anyway."""
MAX_ROWS = 1 << 20
"""Most quotes in one file, so in one append and in memory while files are merged."""

_KEY = "dodona.series"


class Index(NamedTuple):
    """What one file holds. `span`: symbol -> rows of the rest; `times`: int64 (N, 5): quotes, first and last
    `known_at`, first and last `ts` of each symbol and source.
    """

    span: dict[str, tuple[int, int]]
    sources: tuple[str, ...]
    times: NDArray[np.int64]

    def of(self, symbol: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The sources of one symbol, and their rows of `times`."""
        start, end = self.span.get(symbol, (0, 0))
        return self.sources[start:end], self.times[start:end]


def encode(columns: Columns, folder: str, indexed: bool) -> tuple[Partition, memoryview]:
    """A file for quotes that are in order: its name and its bytes. The same quotes give the same of both."""
    out = pa.BufferOutputStream()
    table = columns.table()
    with pq.ParquetWriter(
        out,
        table.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["source", "symbol"],
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP)
        if indexed:
            body = json.dumps(_index_rows(columns), ensure_ascii=False, separators=(",", ":"))
            writer.add_key_value_metadata({_KEY: _hash(body) + body})
    content = memoryview(out.getvalue())
    known, ts = columns.known_at, columns.ts
    first, last, ts_first, ts_last = (Micros(int(time)) for time in (known.min(), known.max(), ts.min(), ts.max()))
    unnamed = Partition(first, last, ts_first, ts_last, len(columns), "", indexed, folder)
    return unnamed._replace(content=content_hash(unnamed, content)), content


def content_hash(partition: Partition, content: bytes | memoryview) -> str:
    """128 bits over a file and what else its name says of it."""
    digest = hashlib.sha256(content)
    digest.update(partition._replace(content="", folder="").name.encode())
    return digest.hexdigest()[:32]


def read_whole(partition: Partition) -> bytes:
    """A file's bytes if they and its name are what was written. Raises `StoreDamaged`, `OSError`."""
    content = Path(partition.path).read_bytes()
    if content_hash(partition, content) != partition.content:
        raise StoreDamaged(partition.path, "it is not what was appended")
    return content


def read_columns(partition: Partition) -> Columns:
    """All quotes of a file that is what was written. Raises `StoreDamaged`, `OSError`."""
    content = read_whole(partition)
    try:
        with pq.ParquetFile(pa.BufferReader(content), read_dictionary=["source", "symbol"]) as file:
            return from_table(file.read(use_threads=False))
    except (pa.ArrowException, OSError, ValueError, MalformedQuote) as error:
        raise StoreDamaged(partition.path, f"{error}".splitlines()[0][:300]) from error


@functools.lru_cache(maxsize=4096)
def read_index(path: str) -> Index:
    """The index of an indexed file, remembered: no name ever gets another content. Raises `StoreDamaged`."""
    return _load_index(path)


def _load_index(path: str) -> Index:
    try:
        with pq.ParquetFile(path) as file:
            text = (file.metadata.metadata or {}).get(_KEY.encode(), b"").decode()
        check, body = text[:64], text[64:]
        if check != _hash(body):
            raise ValueError("its index is not the one that was written")
        return _parse_index(json.loads(body))
    except (pa.ArrowException, OSError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise StoreDamaged(path, f"{error}".splitlines()[0][:300]) from error


def _index_rows(columns: Columns) -> list[list[Any]]:
    codes = columns.series()
    order = np.argsort(codes, kind="stable")
    known, ts = columns.known_at[order], columns.ts[order]
    rows: list[list[Any]] = []
    for code, start, end in groups_of(codes[order]):
        symbol, source = divmod(code, len(columns.sources))
        times = (known[start:end].min(), known[start:end].max(), ts[start:end].min(), ts[start:end].max())
        rows.append([columns.symbols[symbol], columns.sources[source], end - start, *(int(time) for time in times)])
    return rows


def _parse_index(rows: list[list[Any]]) -> Index:
    span: dict[str, tuple[int, int]] = {}
    for number, row in enumerate(rows):
        span[row[0]] = (span.get(row[0], (number, 0))[0], number + 1)
    times = np.array([row[2:] for row in rows], np.int64).reshape(len(rows), 5)
    return Index(span, tuple(row[1] for row in rows), times)


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
