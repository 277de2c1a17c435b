"""A packed data set on disk: its chunks one by one, each checked before anybody sees it.

Why this file exists: whoever trains, proves or verifies must not use a row that the root does not cover, nor one that
was not known yet. Never in it: writing, a path that comes from inside a data set (parts have fixed names).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from eth_utils.crypto import keccak

from feeds.dataset.encoding import Schema, encode_chunk
from feeds.dataset.errors import UnsupportedData, WrongProof, WrongRows
from feeds.dataset.manifest import MANIFEST, Manifest, read_manifest
from feeds.dataset.merkle import LEAF_BYTES, Leaf, leaf_hash, root_of
from feeds.dataset.open_file import MAX_FOOTER, MAX_GROUP_BYTES, conform, open_regular
from feeds.dataset.pack import CHUNKS, PART_CHUNKS, part_name, span_of, times_of
from feeds.sources.source import BadRule, MalformedFile, MissingData
from feeds.types import Micros


class DataSet:
    """A data set in a folder. Opening checks the manifest and that the list of chunks leads to its root, not the
    rows.
    """

    def __init__(self, folder: Path) -> None:
        """Open it. Raises `MissingData`, `UnsupportedData`, `MalformedManifest`, `WrongProof`."""
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder / MANIFEST)
        self.leaves: tuple[Leaf, ...] = read_leaves(folder / CHUNKS, self.manifest)

    @property
    def root(self) -> str:
        """The Merkle root, as bundles and the usage log name the data set."""
        return self.manifest.root

    def chunks_of_rows(self, start: int, end: int) -> range:
        """The chunks that hold the rows from `start` up to, not with, `end`. Raises `BadRule` for no such rows."""
        if not 0 <= start < end <= self.manifest.rows:
            raise BadRule("rows", f"{start}:{end}", f"some of 0:{self.manifest.rows}")
        size = self.manifest.chunk_rows
        return range(start // size, -(-end // size))

    def chunk(self, number: int) -> pa.RecordBatch:
        """The rows of one chunk, as the root covers them. Raises `BadRule`, `MissingData`, `WrongRows`."""
        if not 0 <= number < len(self.leaves):
            raise BadRule("chunk", number, f"0 to {len(self.leaves) - 1}")
        (rows,) = self.chunks([number])
        return rows

    def chunks(self, numbers: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """The rows of some chunks, ascending, one after the other. Raises like `chunk`."""
        place = 0
        while place < len(numbers):
            part = numbers[place] // PART_CHUNKS
            wanted = [number for number in numbers[place:] if number // PART_CHUNKS == part]
            with Part(self.folder, part, self.manifest.schema) as file:
                for number in wanted:
                    yield self.check(number, file.rows(number % PART_CHUNKS, self.leaves[number]))[0]
            place += len(wanted)

    def check(self, number: int, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, bytes]:
        """The rows and their canonical bytes if they are those of the chunk. Raises `WrongRows`."""
        leaf = self.leaves[number]
        data = encode_chunk(self.manifest.schema, leaf.first_row, rows)
        if keccak(data) != leaf.content:
            raise WrongRows(f"chunk {number}", "its rows are not those under the root")
        known = self.manifest.known
        if known is not None and span_of(rows, known) != leaf.known:
            raise WrongRows(f"chunk {number}", "its leaf states other times than its rows")
        return rows, data

    def as_of(self, t: Micros) -> Iterator[pa.RecordBatch]:
        """The rows known at `t`, in their order, chunk by chunk; no row known later is read further than its time.

        Raises `MissingData` where the data set does not say when rows were known, and as `chunk`.
        """
        known = self.manifest.known
        if known is None:
            mend = "pack it again, naming the column that says since when each row was known"
            raise MissingData("a point-in-time column", self.manifest.name, mend)
        for rows in self.chunks([number for number, leaf in enumerate(self.leaves) if leaf.known[0] <= t]):
            seen = rows.filter(pa.array(times_of(rows, known) <= t))
            if seen.num_rows:
                yield seen


class Part:
    """One part file. Reading raises `MissingData` for none, `WrongRows` for one that cannot be what was packed."""

    def __init__(self, folder: Path, number: int, schema: Schema) -> None:
        """Open it."""
        self._name, self._schema = part_name(number), schema
        try:
            self._source = open_regular(folder / self._name)
        except UnsupportedData as error:
            raise WrongRows(self._name, error.reason) from error
        limits = {"thrift_string_size_limit": MAX_FOOTER, "thrift_container_size_limit": MAX_FOOTER}
        texts = [column.name for column in schema.columns if column.kind == "text"]
        try:
            self._file = pq.ParquetFile(
                self._source, pre_buffer=False, read_dictionary=texts, page_checksum_verification=True, **limits
            )
        except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
            self._source.close()
            raise WrongRows(self._name, f"Parquet: {error}".splitlines()[0][:200]) from error

    def __enter__(self) -> Part:
        """For `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()
        self._source.close()

    def rows(self, group: int, leaf: Leaf) -> pa.RecordBatch:
        """The rows of one row group, not yet checked but for their number and types. Raises `WrongRows`."""
        where = f"{self._name} row group {group}"
        try:
            metadata = self._file.metadata
            if self._file.schema_arrow.names != self._schema.names or group >= metadata.num_row_groups:
                raise WrongRows(where, "it has other columns, or the part ends before it")
            about = metadata.row_group(group)
            if about.num_rows != leaf.rows or about.total_byte_size > MAX_GROUP_BYTES:
                raise WrongRows(where, f"it holds {about.num_rows} rows, not {leaf.rows}")
            (rows,) = self._file.read_row_group(group, use_threads=False).combine_chunks().to_batches() or [None]
            if rows is None or rows.num_rows != leaf.rows:
                raise WrongRows(where, "it does not hold as many rows as it says")
            return conform(rows, self._schema, where)
        except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, ValueError, MalformedFile) as error:
            raise WrongRows(where, f"{error}".splitlines()[0][:200]) from error


def read_leaves(path: Path, manifest: Manifest) -> tuple[Leaf, ...]:
    """The leaf records of a data set, if they lead to the manifest's root and agree with it. Raises `WrongProof`."""
    with open_regular(path) as file:
        data = file.read(manifest.chunks * LEAF_BYTES + 1)
    if len(data) != manifest.chunks * LEAF_BYTES:
        raise WrongProof(path.name, f"{len(data)} bytes", f"{manifest.chunks * LEAF_BYTES} bytes")
    records = [data[at : at + LEAF_BYTES] for at in range(0, len(data), LEAF_BYTES)]
    check_root(path.name, root_of([leaf_hash(record) for record in records]), manifest)
    leaves = tuple(Leaf.unpack(record) for record in records)
    for number, leaf in enumerate(leaves):
        check_leaf(number, leaf, manifest)
    return leaves


def check_root(what: str, root: bytes, manifest: Manifest) -> None:
    """Raises `WrongProof` unless `root` is the manifest's."""
    if "0x" + root.hex() != manifest.root:
        raise WrongProof(what, "0x" + root.hex(), manifest.root)


def check_leaf(number: int, leaf: Leaf, manifest: Manifest) -> None:
    """Raises `WrongProof` unless a leaf is where and as long as its number says, and known within the stated span."""
    first = number * manifest.chunk_rows
    rows = min(manifest.chunk_rows, manifest.rows - first)
    if (leaf.first_row, leaf.rows) != (first, rows):
        raise WrongProof(f"chunk {number}", f"rows {leaf.first_row} + {leaf.rows}", f"rows {first} + {rows}")
    low, high = manifest.known_span or (0, 0)
    if not low <= leaf.known[0] <= leaf.known[1] <= high:
        raise WrongProof(f"chunk {number}: known", leaf.known, (low, high))
