"""Which training run used which part of which data set: the book that rewards of data providers are counted from.

Why this file exists: a provider is paid for data that models were trained on, so each run must count once, for the rows
that it really used, and nobody may slip a run in or out unseen. Never in it: amounts, payment, training.

Format: one line of canonical JSON a run, each with the SHA-256 of the line before it (a hash chain, Haber and Stornetta
1991): a changed, lost or moved line is seen by whoever holds a later hash. A line is written whole, then synced; a line
that a crash cut short is dropped by the next writer. One writer at a time, by a lock on the file itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feeds.sources.source import MalformedAnswer
from feeds.sources.strict_json import parse_json
from models.bundle import Bundle

FORMAT = "dodona.usage.v1"
MAX_LINE = 64 << 10
"""Most bytes of one run's line."""
MAX_BOOK = 1 << 30
"""Most bytes of a book: a longer one is refused before it fills the memory."""
MAX_USES = 16
"""Most data sets of one run: as many as a bundle's manifest names."""
NOBODY = "0x" + "00" * 20
"""The provider of what nobody vouches for."""
MAX_EPOCHS = 1_000_000
GENESIS = "0x" + "00" * 32
"""What the first line names as the hash of the line before it."""

_HASH = re.compile(r"0x[0-9a-f]{64}")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_MICROS = 4_102_444_800_000_000


class UsageError(ValueError):
    """Anything wrong with the book of usage; one line that names the thing and the mend."""


class BadUse(UsageError):
    """`field` of a use or a run is outside its bounds."""

    def __init__(self, field: str, given: object, limit: str) -> None:
        """Keep the field, the value given and the limit."""
        self.field, self.given, self.limit = field, given, limit
        super().__init__(f"usage: {field} is {str(given)[:80]!r}, must be {limit}; mend what recorded it")


class UsageDamaged(UsageError):
    """Line `line` of the book at `path` is not what was written."""

    def __init__(self, path: str, line: int, reason: str) -> None:
        """Keep the path, the line (from 1) and the reason."""
        self.path, self.line, self.reason = path, line, reason
        super().__init__(f"{path}: line {line}: {reason}; restore the book from a copy, nothing was changed")


class UsageConflict(UsageError):
    """Run `run` is in the book already, with other uses."""

    def __init__(self, run: str) -> None:
        """Keep the run's id."""
        self.run = run
        super().__init__(
            f"usage: run {run} is recorded with other uses; a run's id covers what it used, give a new one"
        )


class UnrecordedRoots(UsageError):
    """A bundle claims data-set roots that no recorded run of it used, or hides some that one did."""

    def __init__(self, bundle: str, claimed: Iterable[str], hidden: Iterable[str]) -> None:
        """Keep the bundle's hash and both lists, sorted."""
        self.bundle, self.claimed, self.hidden = bundle, tuple(sorted(claimed)), tuple(sorted(hidden))
        told = f"claims {len(self.claimed)} roots that no run used" if self.claimed else ""
        told += f"{' and ' if told and self.hidden else ''}hides {len(self.hidden)} that one did" if self.hidden else ""
        super().__init__(f"bundle {bundle} {told}; train it again with the book, or ask its owner for theirs")


@dataclass(frozen=True, slots=True)
class Use:
    """A part of one data set as one run used it. Raises BadUse.

    `root`: 0x, of the data set; `provider`: 0x address in lower case, zero if nobody vouches; `chunks`: first and one
    past the last that rows were taken from; `rows`: how many rows; `epochs`: how often each was shown; `span`: first
    and last time of the rows, UTC microseconds.
    """

    root: str
    provider: str
    chunks: tuple[int, int]
    rows: int
    epochs: int
    span: tuple[int, int]

    def __post_init__(self) -> None:
        """Hold every field to its bounds."""
        _text("root", self.root, _HASH)
        _text("provider", self.provider, _ADDRESS)
        _rising("chunks", self.chunks, 2**32)
        if self.chunks[0] == self.chunks[1]:
            raise BadUse("chunks", self.chunks, "at least one chunk")
        _whole("rows", self.rows, 1, 2**53)
        _whole("epochs", self.epochs, 1, MAX_EPOCHS)
        _rising("span", self.span, _MICROS)

    def as_json(self) -> dict[str, Any]:
        """The fields as they stand in the book."""
        return {
            "root": self.root, "provider": self.provider, "chunks": list(self.chunks), "rows": self.rows,
            "epochs": self.epochs, "span": list(self.span),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """One training run: its id, the hash of the bundle that came of it, and what it used. Raises BadUse.

    Two runs with one id are one run. An id that is the hash of everything that decides the bundle, as
    `models.train.train` gives it, makes training the same again worth nothing.
    """

    run: str
    bundle: str
    uses: tuple[Use, ...]

    def __post_init__(self) -> None:
        """Hold every field to its bounds; one use a root."""
        _text("run", self.run, _HASH)
        _text("bundle", self.bundle, _HASH)
        if not 1 <= len(self.uses) <= MAX_USES:
            raise BadUse("uses", len(self.uses), f"1 to {MAX_USES}")
        if len({use.root for use in self.uses}) != len(self.uses):
            raise BadUse("uses", [use.root for use in self.uses], "one a root")
        object.__setattr__(self, "uses", tuple(sorted(self.uses, key=lambda use: use.root)))


@dataclass(frozen=True, slots=True)
class Count:
    """What all runs together used of one data set of one provider.

    `runs`, `bundles`: how many different ones; `rows`: sum over runs; `row_epochs`: rows times epochs, summed;
    `chunks`: how many different chunks at least one run used; `bundle_hashes`: which bundles, sorted. Whole numbers
    only.
    """

    root: str
    provider: str
    runs: int
    bundles: int
    rows: int
    row_epochs: int
    chunks: int
    bundle_hashes: tuple[str, ...]


class UsageLog:
    """The book at one path. Reading needs no lock and sees whole lines only."""

    def __init__(self, path: Path) -> None:
        """A book that need not exist yet; its folder must."""
        self.path = path

    def record(self, run: Run) -> bool:
        """Write the run, durably; False if it is there already. Raises UsageConflict, UsageDamaged, UsageError."""
        with self._writing() as handle:
            whole, tail = self._lines()
            for known in self._runs(whole):
                if known.run == run.run:
                    if known != run:
                        raise UsageConflict(run.run)
                    return False
            if tail:
                os.ftruncate(handle, sum(len(line) + 1 for line in whole))
            line = _line(run, _hash(whole[-1]) if whole else GENESIS)
            if len(line) >= MAX_LINE:
                raise BadUse("line", len(line), f"under {MAX_LINE} bytes")
            os.lseek(handle, 0, os.SEEK_END)
            _write_all(handle, line + b"\n")
            os.fsync(handle)
            _sync_folder(self.path.parent)
        return True

    def knows(self, run: str) -> bool:
        """Whether a run of this id is recorded. Raises UsageDamaged."""
        return any(known.run == run for known in self.runs())

    def runs(self) -> tuple[Run, ...]:
        """All runs, in the order in which they were written. Raises UsageDamaged."""
        return tuple(self._runs(self._lines()[0]))

    @property
    def head(self) -> str:
        """Hash of the last whole line: who keeps it can tell later that nothing before it was changed."""
        whole, _ = self._lines()
        return _hash(whole[-1]) if whole else GENESIS

    def counts(self, root: str | None = None, provider: str | None = None) -> tuple[Count, ...]:
        """Usage by data set and provider, of all or of one root or provider; sorted. Raises UsageDamaged."""
        held: dict[tuple[str, str], list[tuple[Run, Use]]] = {}
        for run in self.runs():
            for use in run.uses:
                if root in (None, use.root) and provider in (None, use.provider):
                    held.setdefault((use.provider, use.root), []).append((run, use))
        return tuple(_count(key, uses) for key, uses in sorted(held.items()))

    def check(self, bundle: Bundle) -> None:
        """Hold a bundle's claimed roots to the book: all those, and only those, that its recorded runs used.

        Raises UnrecordedRoots, UsageDamaged.
        """
        used = {use.root for run in self.runs() if run.bundle == bundle.hash for use in run.uses}
        claimed = set(bundle.manifest.data_roots)
        if claimed != used:
            raise UnrecordedRoots(bundle.hash, claimed - used, used - claimed)

    def _lines(self) -> tuple[list[bytes], bytes]:
        """Whole lines, and what a crash may have left behind them."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BOOK + 1)
        except FileNotFoundError:
            return [], b""
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot read the book of usage ({error.strerror}); check the path"
            ) from error
        if len(data) > MAX_BOOK:
            raise UsageError(f"{self.path}: more than {MAX_BOOK} bytes; begin another book")
        *whole, tail = data.split(b"\n")
        return whole, tail

    def _runs(self, lines: list[bytes]) -> Iterator[Run]:
        before = GENESIS
        seen: set[str] = set()
        for number, line in enumerate(lines, 1):
            try:
                run, stated = parse_line(line)
            except BadUse as error:
                raise UsageDamaged(str(self.path), number, str(error)) from error
            if stated != before:
                raise UsageDamaged(str(self.path), number, "does not follow the line before it")
            if run.run in seen:
                raise UsageDamaged(str(self.path), number, f"run {run.run} stands twice")
            seen.add(run.run)
            before = _hash(line)
            yield run

    @contextmanager
    def _writing(self) -> Iterator[int]:
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot write the book of usage ({error.strerror}); check the path"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        except OSError as error:
            raise UsageError(
                f"{self.path}: the run was not recorded ({error.strerror}); make room, try again"
            ) from error
        finally:
            os.close(handle)


def _sync_folder(folder: Path) -> None:
    """A new file's name is on disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def parse_line(line: bytes) -> tuple[Run, str]:
    """The run of one line and the hash of the line before it. Any bytes give that or BadUse."""
    if len(line) >= MAX_LINE:
        raise BadUse("line", len(line), f"under {MAX_LINE} bytes")
    try:
        raw = parse_json("book", line)
    except MalformedAnswer as error:
        raise BadUse("line", line[:60], "one JSON object") from error
    fields = _fields("line", raw, {"format", "run", "bundle", "uses", "previous"})
    if fields["format"] != FORMAT:
        raise BadUse("format", fields["format"], FORMAT)
    _text("previous", fields["previous"], _HASH)
    if not isinstance(fields["uses"], list):
        raise BadUse("uses", fields["uses"], "a list")
    run = Run(fields["run"], fields["bundle"], tuple(_use(each) for each in fields["uses"]))
    previous = str(fields["previous"])
    if _line(run, previous) != line:
        raise BadUse("line", line[:60], "in its canonical form")
    return run, previous


def _use(raw: Any) -> Use:
    fields = _fields("use", raw, {"root", "provider", "chunks", "rows", "epochs", "span"})
    for name in ("chunks", "span"):
        if not isinstance(fields[name], list):
            raise BadUse(name, fields[name], "two whole numbers")
        fields[name] = tuple(fields[name])
    return Use(**fields)


def _line(run: Run, previous: str) -> bytes:
    fields = {"format": FORMAT, "run": run.run, "bundle": run.bundle, "previous": previous}
    fields |= {"uses": [use.as_json() for use in run.uses]}  # type: ignore[dict-item]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _hash(line: bytes) -> str:
    return "0x" + hashlib.sha256(line).hexdigest()


def _count(key: tuple[str, str], uses: list[tuple[Run, Use]]) -> Count:
    provider, root = key
    bundles = tuple(sorted({run.bundle for run, _ in uses}))
    covered, reached = 0, 0
    for first, stop in sorted(use.chunks for _, use in uses):
        covered += max(0, stop - max(first, reached))
        reached = max(reached, stop)
    rows, shown = sum(use.rows for _, use in uses), sum(use.rows * use.epochs for _, use in uses)
    return Count(root, provider, len(uses), len(bundles), rows, shown, covered, bundles)


def _fields(what: str, raw: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(raw, Mapping) or set(raw) != names:
        raise BadUse(what, type(raw).__name__, f"an object with the fields {', '.join(sorted(names))}")
    return dict(raw)


def _text(field: str, value: Any, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadUse(field, value, f"of the form {pattern.pattern}")


def _whole(field: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise BadUse(field, value, f"a whole number from {least} to {most}")


def _rising(field: str, value: Any, most: int) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise BadUse(field, value, "two whole numbers")
    for each in value:
        _whole(field, each, 0, most)
    if value[0] > value[1]:
        raise BadUse(field, value, "rising")
