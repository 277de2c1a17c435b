"""From files to a data set: read once, hash chunk by chunk, write parts, manifest last.

Why this file exists: the root must come out the same whoever packs the same rows from whatever files, and a packing
that was cut short must leave nothing that looks like a data set. Memory is one chunk and one batch. Never in it:
signing keys.

On disk: `manifest.json`, `chunks.bin` (the leaf records, 128 bytes each), and, unless only described, the rows in
`part-000000.parquet`, ...: each the next 64 chunks, a row group a chunk.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from eth_utils.crypto import keccak

from feeds.dataset.encoding import CHUNK_ROWS, Schema, encode_chunk
from feeds.dataset.errors import UnsupportedData
from feeds.dataset.manifest import MANIFEST, MAX_CHUNK_ROWS, MAX_COUNTS, PER_UNIT, Count, Manifest, Parent, TimeColumn
from feeds.dataset.merkle import MAX_CHUNKS, Leaf, leaf_hash, root_of
from feeds.dataset.open_file import Rows, differ
from feeds.sources.source import LATEST, BadRule, MalformedFile, MissingData

CHUNKS = "chunks.bin"
PART_CHUNKS = 64
"""Chunks in one part."""
OWN_TIME = ("ts", "time", "timestamp")
"""Names under which a column of the rows' own times is found without being named."""
KNOWN = "known_at"
"""The name under which the point-in-time column is found without being named."""
NOBODY = "0x" + "0" * 40
"""The provider of a data set for which nobody vouches."""


@dataclass(frozen=True, slots=True)
class About:
    """What the packer says of a data set; the rest of its manifest comes from the rows. Fields as in `Manifest`.

    `time`, `known`: names of columns, the unit told by the size of their numbers; `delay`: microseconds from the
    `known` column to when a row was known (a bar's width, where that column is the bar's open).
    """

    name: str
    version: str
    licence: str
    provider: str = NOBODY
    parents: tuple[Parent, ...] = ()
    transformation: str = ""
    time: str | None = None
    known: str | None = None
    delay: int = 0
    chunk_rows: int = CHUNK_ROWS


def rechunked(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `size`, but for the last."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while batch.num_rows:
            part = batch.slice(0, size - count)
            batch = batch.slice(part.num_rows)
            held.append(part)
            count += part.num_rows
            if count == size:
                yield _joined(held)
                held, count = [], 0
    if held:
        yield _joined(held)


def _joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(parts) == 1:
        return parts[0]
    plain = (pa.RecordBatch.from_arrays([_plain(array) for array in p.columns], names=p.schema.names) for p in parts)
    return pa.concat_batches(plain)


def _plain(array: pa.Array) -> pa.Array:
    # At most one chunk's rows of texts that were checked: `encode_chunk` bounds what they may add up to.
    return array.cast(pa.large_string()) if pa.types.is_dictionary(array.type) else array


def times_of(rows: pa.RecordBatch, column: TimeColumn) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A time column in microseconds, its delay added. Raises `MalformedFile` for a cell that is no time."""
    array = rows.column(column.column)
    if array.null_count:
        raise MalformedFile(f"column {column.column}", "a row has no time there", "fill it, or name no such column")
    whole = array.cast(pa.int64()).to_numpy(zero_copy_only=False)
    low, high = -(2**62) // 10**6, 2**62 // 10**6
    if column.unit != "us" and column.unit != "ns" and len(whole) and not (low < whole.min() and whole.max() < high):
        raise MalformedFile(f"column {column.column}", f"a time that is not in {column.unit}", "keep one unit")
    micros = -(-whole // 1000) if column.unit == "ns" else whole * PER_UNIT[column.unit]
    if len(micros) and not (micros.min() >= 0 and micros.max() < LATEST - column.delay):
        raise MalformedFile(
            f"column {column.column}", f"a time that is not in {column.unit}, of 1970 to 2099", "keep one unit"
        )
    found: np.ndarray[Any, np.dtype[np.int64]] = micros + column.delay
    return found


def span_of(rows: pa.RecordBatch, column: TimeColumn) -> tuple[int, int]:
    """The first and the last of a column's times in microseconds."""
    times = times_of(rows, column)
    return int(times.min()), int(times.max())


def time_column(name: str, first: pa.RecordBatch, delay: int = 0) -> TimeColumn:
    """A column as a time, its unit told by its first number: the years 2001 to 2099 do not overlap between units.

    Raises `MissingData` for no such column, `MalformedFile` for one that holds no times.
    """
    if name not in first.schema.names:
        raise MissingData(f"column {name}", "the data", f"its columns are {', '.join(first.schema.names)[:200]}")
    array = first.column(name)
    if pa.types.is_timestamp(array.type):
        return TimeColumn(name, "us", delay)
    if not pa.types.is_integer(array.type) or array.null_count == len(array):
        raise MalformedFile(f"column {name}", "holds no times", "name a column of whole numbers or times")
    size = int(array.drop_null()[0].as_py())
    for unit, least in (("s", 10**9), ("ms", 10**12), ("us", 10**15), ("ns", 10**18)):
        if least <= size < 4_102_444_800 * least // 10**9:
            return TimeColumn(name, unit, delay)  # type: ignore[arg-type]
    raise MalformedFile(
        f"column {name}", f"{size} is no time in s, ms, us or ns", "name a column of times of 2001 to 2099"
    )


class Tally:
    """What the manifest says of the rows, gathered while they stream by."""

    def __init__(self, schema: Schema, time: TimeColumn | None, known: TimeColumn | None) -> None:
        """Begin with no rows."""
        self.schema, self.time, self.known = schema, time, known
        self.leaves: list[Leaf] = []
        self.content = hashlib.sha256()
        self.span: tuple[int, int] | None = None
        named = schema.kind_of("symbol") == "text" and schema.kind_of("source") == "text"
        self.pairs: Counter[tuple[str, str]] | None = Counter() if named else None

    def add(self, leaf: Leaf, data: bytes, rows: pa.RecordBatch) -> None:
        """The next chunk: leaf, canonical bytes, rows. Raises `UnsupportedData` for too many, `MalformedFile`."""
        if len(self.leaves) >= MAX_CHUNKS:
            raise UnsupportedData("rows", f"more than {MAX_CHUNKS} chunks", "pack more rows a chunk, or in parts")
        self.leaves.append(leaf)
        self.content.update(data)
        if self.time is not None:
            found = span_of(rows, self.time)
            old = self.span or found
            self.span = min(old[0], found[0]), max(old[1], found[1])
        if self.pairs is not None:
            self._count(self.pairs, rows)

    def _count(self, pairs: Counter[tuple[str, str]], rows: pa.RecordBatch) -> None:
        table = pa.table([_plain(rows.column(name)) for name in ("symbol", "source")], ["symbol", "source"])
        found = table.group_by(["symbol", "source"]).aggregate([([], "count_all")])
        for symbol, source, count in zip(*(found.column(i).to_pylist() for i in range(3)), strict=True):
            pairs[symbol or "", source or ""] += count
        if len(pairs) > MAX_COUNTS or not all(_countable(name) for pair in pairs for name in pair):
            self.pairs = None

    def manifest(self, about: About) -> Manifest:
        """The manifest of the rows so far, which must be some. Raises `MalformedManifest` for what `about` says."""
        spans = [leaf.known for leaf in self.leaves]
        return Manifest(
            name=about.name,
            version=about.version,
            licence=about.licence,
            provider=about.provider,
            root="0x" + root_of([leaf_hash(leaf.pack()) for leaf in self.leaves]).hex(),
            content="0x" + self.content.hexdigest(),
            rows=sum(leaf.rows for leaf in self.leaves),
            chunks=len(self.leaves),
            chunk_rows=about.chunk_rows,
            schema=self.schema,
            time=self.time,
            known=self.known,
            span=self.span,
            known_span=None if self.known is None else (min(s[0] for s in spans), max(s[1] for s in spans)),
            counts=tuple(Count(*pair, rows) for pair, rows in sorted((self.pairs or {}).items())),
            parents=tuple(sorted(about.parents, key=lambda parent: parent.root)),
            transformation=about.transformation,
        )


def _countable(name: str) -> bool:
    return 0 < len(name) <= 128 and name.isprintable()


def _columns_of_time(about: About, first: pa.RecordBatch) -> tuple[TimeColumn | None, TimeColumn | None]:
    """The columns of the rows' own times and of when they were known, as `about` says or as they are commonly named."""
    names = first.schema.names
    own = about.time or next((name for name in OWN_TIME if name in names and _is_time(name, first)), None)
    known = about.known or (KNOWN if KNOWN in names else None)
    time = None if own is None else time_column(own, first)
    return time, None if known is None else time_column(known, first, about.delay)


def _is_time(name: str, first: pa.RecordBatch) -> bool:
    try:
        time_column(name, first)
    except MalformedFile:
        return False
    return True


def open_all(paths: Sequence[Path]) -> tuple[Schema, list[Rows]]:
    """Files that follow one another, with one schema. Raises `BadRule` for a file named twice, `MalformedFile`."""
    if not paths or len({path.resolve() for path in paths}) != len(paths):
        raise BadRule("files to pack", f"{len(paths)} paths", "one or more, each once")
    rows = [Rows(path) for path in paths]
    for other in rows[1:]:
        if other.schema != rows[0].schema:
            reason = f"its columns are not those of {rows[0].name}: {differ(other.schema, rows[0].schema)}"
            raise MalformedFile(other.name, reason, "pack files of one schema together")
    return rows[0].schema, rows


def pack(paths: Sequence[Path], out: Path, about: About, *, copy: bool = True) -> Manifest:
    """Make the data set of the rows in `paths`, in that order, in the new folder `out`. Deterministic.

    `copy`: write the rows too; without it only manifest and chunks are written, and the rows stay where they are.
    Raises `BadRule` (an option, or `out` exists), `MalformedManifest` (what `about` says), and what reading raises.
    """
    if out.exists():
        raise BadRule("folder for the data set", str(out), "a new one")
    if not 1 <= about.chunk_rows <= MAX_CHUNK_ROWS:
        raise BadRule("rows a chunk", about.chunk_rows, f"1 to {MAX_CHUNK_ROWS}")
    schema, files = open_all(paths)
    with _new_folder(out) as folder:
        tally = _stream(files, schema, about, folder if copy else None)
        manifest = tally.manifest(about)
        (folder / CHUNKS).write_bytes(b"".join(leaf.pack() for leaf in tally.leaves))
        (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return manifest


def _stream(files: list[Rows], schema: Schema, about: About, folder: Path | None) -> Tally:
    tally: Tally | None = None
    parts = Parts(folder, schema)
    first_row = 0
    try:
        for rows in rechunked((batch for file in files for batch in file.batches()), about.chunk_rows):
            tally = tally or Tally(schema, *_columns_of_time(about, rows))
            data = encode_chunk(schema, first_row, rows)
            known = (0, 0) if tally.known is None else span_of(rows, tally.known)
            tally.add(Leaf(keccak(data), first_row, rows.num_rows, known), data, rows)
            parts.write(rows)
            first_row += rows.num_rows
    finally:
        parts.close()
    if tally is None:
        raise MalformedFile(files[0].name, "holds no rows")
    return tally


def part_name(number: int) -> str:
    """The file of the chunks from `number` * 64 on."""
    return f"part-{number:06d}.parquet"


class Parts:
    """Writes chunks to part files, one row group each; to nowhere without a folder."""

    def __init__(self, folder: Path | None, schema: Schema) -> None:
        """Parts in `folder`."""
        self._folder, self._schema, self._count = folder, schema, 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.RecordBatch) -> None:
        """The next chunk."""
        if self._folder is None:
            return
        if self._count % PART_CHUNKS == 0:
            self.close()
            path = self._folder / part_name(self._count // PART_CHUNKS)
            self._writer = pq.ParquetWriter(
                path, self._schema.arrow, compression="zstd", compression_level=3, write_page_checksum=True,
                store_schema=False,
            )  # fmt: skip
        self._count += 1
        if self._writer is not None:
            plain = [
                _plain(array).cast(field.type) for array, field in zip(rows.columns, self._schema.arrow, strict=True)
            ]
            self._writer.write_batch(pa.RecordBatch.from_arrays(plain, schema=self._schema.arrow))

    def close(self) -> None:
        """Finish the part that is open."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets its name once all is in it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield made
        for path in made.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        made.chmod(0o755)
        made.rename(out)
    finally:
        if made.exists():
            shutil.rmtree(made)
