"""The manifest: what a data set says of itself, as canonical JSON that can be hashed and signed.

Why this file exists: a model's bundle, a reward and a dispute name data by its root, and whoever reads the name must
find who gave the data, under which licence, made from what. Any bytes give a `Manifest` or `MalformedManifest`. Never
in it: rows, keys, signing (`oracle.data_signature`): the signature is kept here as text and checked there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from eth_utils.crypto import keccak

from feeds.dataset.canonical import canonical, parse_canonical
from feeds.dataset.encoding import MAX_COLUMNS, Schema, schema_of
from feeds.dataset.errors import MalformedManifest
from feeds.dataset.merkle import MAX_CHUNKS
from feeds.dataset.open_file import open_regular
from feeds.sources.source import LATEST, MissingData

FORMAT = "dodona.dataset.v1"
MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 20
"""Most bytes of a manifest."""
MAX_PARENTS = 64
MAX_COUNTS = 1024
MAX_CHUNK_ROWS = 1 << 16
Unit = Literal["s", "ms", "us", "ns"]
PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Microseconds in one unit; nanoseconds are divided by 1,000 (rounded up: never earlier than the truth)."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,31}")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_HASH = re.compile(r"0x[0-9a-f]{64}")
_SIGNATURE = re.compile(r"0x[0-9a-f]{128}")
_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A column as a time: integers in `unit` (or a `time` column, in "us"), `delay` microseconds later."""

    column: str
    unit: Unit
    delay: int = 0


@dataclass(frozen=True, slots=True)
class Parent:
    """A data set that this one was made from: its root, and its name for people."""

    root: str
    name: str


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows one source has of one symbol."""

    symbol: str
    source: str
    rows: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A data set in words. Raises `MalformedManifest` for any field outside its bounds.

    `root`: Merkle root over the chunks (0x, keccak256, `feeds.dataset.merkle`). `content`: 0x SHA-256 of all chunks'
    canonical bytes, one after the other. `licence`: an SPDX id or a text. `provider`: 0x address in lower case, zero if
    nobody vouches. `parents`, `transformation`: what it was made from, and by what; both empty for data from outside.
    `time`: the column of the rows' own times; `known`: since when each row was known, None where the data does not say,
    and then nothing can be asked of it as of a moment. `span`: first and last own time, `known_span`: of `known`, in
    microseconds, None without the column. `counts`: by symbol and source where the data has both columns and no more
    than 1,024 pairs. `signature`: 0x, 64 bytes (EIP-2098) of the provider over `digest`, or None.
    """

    name: str
    version: str
    licence: str
    provider: str
    root: str
    content: str
    rows: int
    chunks: int
    chunk_rows: int
    schema: Schema
    time: TimeColumn | None = None
    known: TimeColumn | None = None
    span: tuple[int, int] | None = None
    known_span: tuple[int, int] | None = None
    counts: tuple[Count, ...] = ()
    parents: tuple[Parent, ...] = ()
    transformation: str = ""
    signature: str | None = None

    def __post_init__(self) -> None:
        """Hold every field to its bounds, and the fields to one another."""
        for field, pattern in _PATTERNS.items():
            _text(field, getattr(self, field), pattern)
        for field, most in (("licence", 4096), ("transformation", 1024)):
            _prose(field, getattr(self, field), most, least=1 if field == "licence" else 0)
        _whole("rows", self.rows, 1, 2**62)
        _whole("chunk_rows", self.chunk_rows, 1, MAX_CHUNK_ROWS)
        _whole("chunks", self.chunks, 1, MAX_CHUNKS)
        if self.chunks != -(-self.rows // self.chunk_rows):
            raise MalformedManifest("chunks", self.chunks, f"{-(-self.rows // self.chunk_rows)} for that many rows")
        for field in ("time", "known"):
            self._check_time(field, getattr(self, field), getattr(self, {"time": "span"}.get(field, "known_span")))
        self._check_counts()
        self._check_parents()
        if self.signature is not None:
            _text("signature", self.signature, _SIGNATURE)

    def _check_time(self, field: str, column: TimeColumn | None, span: tuple[int, int] | None) -> None:
        if span is not None:
            for value in span:
                _whole(f"{field} span", value, 0, LATEST)
            if column is None or span[0] > span[1]:
                raise MalformedManifest(f"{field} span", span, "two rising times of a column that is named")
        if column is None:
            return
        if span is None:
            raise MalformedManifest(f"{field} span", None, "two times, as the column is named")
        kind = self.schema.kind_of(column.column)
        if kind not in ("integer", "time") or column.unit not in (*PER_UNIT, "ns"):
            raise MalformedManifest(f"{field} column", column.column, "a column of whole numbers in s, ms, us or ns")
        if kind == "time" and column.unit != "us":
            raise MalformedManifest(f"{field} unit", column.unit, "us, as the column holds times")
        _whole(f"{field} delay", column.delay, 0, 366 * _DAY)

    def _check_counts(self) -> None:
        if len(self.counts) > MAX_COUNTS:
            raise MalformedManifest("counts", len(self.counts), f"at most {MAX_COUNTS} pairs")
        for count in self.counts:
            _prose("counts: symbol", count.symbol, 128)
            _prose("counts: source", count.source, 128)
            _whole("counts: rows", count.rows, 1, self.rows)
        pairs = [(count.symbol, count.source) for count in self.counts]
        if pairs != sorted(set(pairs)) or (pairs and sum(count.rows for count in self.counts) != self.rows):
            raise MalformedManifest("counts", f"{len(pairs)} pairs", "ascending, each once, all rows together")

    def _check_parents(self) -> None:
        roots = [parent.root for parent in self.parents]
        for parent in self.parents:
            _text("parents: root", parent.root, _HASH)
            _prose("parents: name", parent.name, 128)
        if len(roots) > MAX_PARENTS or roots != sorted(set(roots)) or self.root in roots:
            raise MalformedManifest("parents", f"{len(roots)} roots", f"up to {MAX_PARENTS}, ascending, not itself")
        if roots and not self.transformation:
            raise MalformedManifest("transformation", "", "named where there are parents")

    def as_json(self) -> dict[str, Any]:
        """The fields as they stand in the file."""
        times = {
            field: None if column is None else {"column": column.column, "unit": column.unit, "delay": column.delay}
            for field, column in (("time", self.time), ("known", self.known))
        }
        plain = {field: getattr(self, field) for field in (*_PATTERNS, "licence", "transformation", "signature")}
        return plain | times | {
            "format": FORMAT,
            "rows": self.rows,
            "chunks": self.chunks,
            "chunk_rows": self.chunk_rows,
            "schema": [[column.name, column.kind] for column in self.schema.columns],
            "span": None if self.span is None else list(self.span),
            "known_span": None if self.known_span is None else list(self.known_span),
            "counts": [[count.symbol, count.source, count.rows] for count in self.counts],
            "parents": [[parent.root, parent.name] for parent in self.parents],
        }  # fmt: skip

    def to_bytes(self) -> bytes:
        """The file: canonical JSON and a line end."""
        return canonical(self.as_json()) + b"\n"

    @property
    def digest(self) -> bytes:
        """keccak256 of the canonical JSON without the signature: what the provider signs, the manifest's identity."""
        fields_but_one = {name: value for name, value in self.as_json().items() if name != "signature"}
        return keccak(canonical(fields_but_one))

    def signed(self, signature: str) -> Manifest:
        """The same manifest with a signature."""
        return replace(self, signature=signature)


_PATTERNS = {"name": _NAME, "version": _VERSION, "provider": _ADDRESS, "root": _HASH, "content": _HASH}
_WORDS = {
    _NAME: "1 to 128 letters, digits, dots, dashes and _, the first and the last a letter or digit",
    _VERSION: "1 to 32 letters, digits, dots, dashes and +, the first a letter or digit",
    _ADDRESS: "0x and 40 hex digits in lower case", _HASH: "0x and 64 hex digits in lower case",
    _SIGNATURE: "0x and 128 hex digits in lower case",
}  # fmt: skip
_FIELDS = {field.name for field in fields(Manifest)} | {"format"}


def parse_manifest(data: bytes) -> Manifest:
    """A manifest from the bytes of its file. Raises `MalformedManifest` for any that are not one."""
    try:
        raw = parse_canonical(data.removesuffix(b"\n"), MAX_MANIFEST)
    except ValueError as error:
        raise MalformedManifest("file", f"{error}", f"canonical JSON of at most {MAX_MANIFEST} bytes") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise MalformedManifest("format", raw.get("format") if isinstance(raw, dict) else None, FORMAT)
    if raw.keys() != _FIELDS:
        odd = sorted(raw.keys() ^ _FIELDS)
        raise MalformedManifest("fields", odd[0], "the fields of this format, all and no others")
    del raw["format"]
    for field, read in _READERS.items():
        raw[field] = read(field, raw[field])
    return Manifest(**raw)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file. Raises `MissingData` if it cannot be read, `UnsupportedData` for a link, a pipe or a
    device, `MalformedManifest`.
    """
    try:
        with open_regular(path) as file:
            return parse_manifest(file.read(MAX_MANIFEST + 2))
    except MissingData as error:
        raise MissingData(path.name, error.where, "name a packed data set") from error
    except OSError as error:
        raise MissingData(path.name, f"{path.parent} ({error.strerror})", "name a packed data set") from error


def _rows_of(field: str, given: object, width: int, most: int) -> list[list[Any]]:
    if not isinstance(given, list) or len(given) > most:
        raise MalformedManifest(field, type(given).__name__, f"a list of at most {most}")
    for row in given:
        if not isinstance(row, list) or len(row) != width:
            raise MalformedManifest(field, row, f"lists of {width}")
    return given


def _span(field: str, given: object) -> tuple[int, int] | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 2 or not all(type(value) is int for value in given):
        raise MalformedManifest(field, given, "two times in microseconds")
    return given[0], given[1]


def _time(field: str, given: object) -> TimeColumn | None:
    if given is None:
        return None
    if not isinstance(given, dict) or given.keys() != {"column", "unit", "delay"}:
        raise MalformedManifest(field, given, "a column, its unit and a delay")
    _prose(f"{field} column", given["column"], 128)
    _prose(f"{field} unit", given["unit"], 2)
    return TimeColumn(**given)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "schema": lambda field, given: schema_of([(n, k) for n, k in _texts(_rows_of(field, given, 2, MAX_COLUMNS))]),
    "span": _span,
    "known_span": _span,
    "time": _time,
    "known": _time,
    "counts": lambda field, given: tuple(Count(*row) for row in _rows_of(field, given, 3, MAX_COUNTS)),
    "parents": lambda field, given: tuple(Parent(*row) for row in _rows_of(field, given, 2, MAX_PARENTS)),
}


def _texts(rows: list[list[Any]]) -> list[list[str]]:
    for row in rows:
        if not all(isinstance(value, str) for value in row):
            raise MalformedManifest("schema", row, "a name and a kind")
    return rows


def _text(field: str, given: object, pattern: re.Pattern[str]) -> None:
    if not isinstance(given, str) or not pattern.fullmatch(given):
        raise MalformedManifest(field, given, _WORDS[pattern])


def _prose(field: str, given: object, most: int, least: int = 1) -> None:
    sound = isinstance(given, str) and least <= len(given) <= most
    if not sound or not all(letter.isprintable() or letter == "\n" for letter in str(given)):
        raise MalformedManifest(field, given, f"{least} to {most} printable characters")


def _whole(field: str, given: object, least: int, most: int) -> None:
    if type(given) is not int or not least <= given <= most:
        raise MalformedManifest(field, given, f"a whole number of {least} to {most}")
