"""The files of a store: their names, how they come to be whole or not at all, and who may take one away.

Why this file exists: several processes append to one folder, read it and merge its files, any of them may be killed
at any moment, and no reader may ever see a quote twice or miss one. Never in it: what the quotes mean, queries.

Under the root, a folder for each month of a first `known_at`:

    <first known_at>-<last>-<first ts>-<last ts>-<rows>-<content hash>.parquet            quotes as one append gave them
    <first known_at>-<last>-<first ts>-<last ts>-<rows>-<content hash>.indexed.parquet    with an index in its footer
    <stem of an indexed file>.replaces    names of the files whose quotes it holds as well, while they are still there
    .tmp-<random>                         being written; a crash leaves it behind
    kept-since                            in the root: what was known wholly before it was removed, `Store.retain`

A file is written under a temporary name, synced, renamed, and its folder synced: it is there whole or not at all, and
once `write_whole` returns it survives a crash. So the renaming of a merged file is one moment at which it takes the
place of all that it replaces: a reader that lists it passes over those, one that does not finds all of them.

That holds because of two locks. Whoever reads or appends holds the root shared, and only who holds it exclusively takes
files away; a reader that is slow only makes the removal wait, what is replaced stays passed over. And a listing takes
time, in which files could appear, the later of two and not the earlier: so it and the renaming of a file of quotes
exclude each other (`.listing`). Where many read and append, somebody always holds the root: so who wants it alone shuts
a door before it (`.door`), for a moment at a time. The system lets go of a dead process's locks.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import os
import re
import time
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from feeds.sources.source import StoreDamaged
from feeds.types import SECOND, Micros

TEMPORARY = ".tmp-"
REPLACES = ".replaces"
_INDEXED = ".indexed.parquet"
_KEPT_SINCE = "kept-since"
_NAME = re.compile(r"(\d{16})-(\d{16})-(\d{16})-(\d{16})-(\d{7})-([0-9a-f]{32})(\.indexed)?\.parquet")
_MONTH = re.compile(r"\d{4}-\d{2}")
_PIECE = 4 << 20
_PAUSE_S = 0.002
_SHUT_S = 0.1


class Partition(NamedTuple):
    """One file of quotes: when they came to be known, their own times, how many. `indexed`: its footer has an index."""

    first: Micros
    last: Micros
    ts_first: Micros
    ts_last: Micros
    rows: int
    content: str
    indexed: bool
    folder: str

    @property
    def name(self) -> str:
        """The file's name."""
        times = f"{self.first:016d}-{self.last:016d}-{self.ts_first:016d}-{self.ts_last:016d}"
        return f"{times}-{self.rows:07d}-{self.content}{_INDEXED if self.indexed else '.parquet'}"

    @property
    def path(self) -> str:
        """Where the file is."""
        return f"{self.folder}/{self.name}"

    @property
    def replaces(self) -> str:
        """Where the names of the files that it replaces are, while there are any."""
        return self.path.removesuffix(".parquet") + REPLACES


class View(NamedTuple):
    """What a reader may read: `partitions` in order of name; nothing known wholly before `kept_since`."""

    partitions: list[Partition]
    kept_since: Micros


class Root:
    """The folder of one store. Nothing here is safe without `shared` or `exclusive`, as each method says."""

    def __init__(self, path: Path) -> None:
        """Make the folder if it is not there. Raises `OSError`."""
        self.path = path
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
        self._settled: set[Path] = set()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within it no file of the store vanishes. Files may be added."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            with self._locked(".door", fcntl.LOCK_SH):
                fcntl.flock(handle, fcntl.LOCK_SH)
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # a child forked meanwhile would keep it by its copy of the handle
            os.close(handle)

    @contextmanager
    def exclusive(self, patience_s: float) -> Iterator[bool]:
        """Whether, within that time, everybody who reads or appends was done: only then may files be removed."""
        handle = os.open(self.path, os.O_RDONLY)
        until = time.monotonic() + patience_s
        try:
            while not (held := self._alone(handle)) and time.monotonic() < until:
                time.sleep(_SHUT_S)
            yield held
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)

    def _alone(self, handle: int) -> bool:
        """Shut the door, and take the root if all who are inside come out within a moment."""
        with self._locked(".door", fcntl.LOCK_EX):
            until = time.monotonic() + _SHUT_S
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except BlockingIOError:
                    if time.monotonic() >= until:
                        return False
                    time.sleep(_PAUSE_S)

    @contextmanager
    def upkeep(self) -> Iterator[bool]:
        """Whether this is the only process that merges and removes now."""
        try:
            with self._locked(".upkeep", fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield True
        except BlockingIOError:
            yield False

    @contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        handle = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)

    def view(self) -> View:
        """What is there to be read. Within `shared`. Raises `StoreDamaged`."""
        with self._locked(".listing", fcntl.LOCK_SH):
            kept_since = self.kept_since()
            listed = {folder: os.listdir(folder) for folder in self.months()}
        found: list[Partition] = []
        for folder, names in listed.items():
            partitions = {p.name: p for p in (parse_name(folder, name) for name in names) if p is not None}
            gone = replaced(folder, partitions, names)
            found += [p for p in partitions.values() if p.name not in gone and p.last >= kept_since]
        return View(sorted(found), kept_since)

    def months(self) -> list[str]:
        """The folders of the months, in order."""
        return sorted(e.path for e in os.scandir(self.path) if _MONTH.fullmatch(e.name) and e.is_dir())

    def kept_since(self) -> Micros:
        """What was known wholly before it was removed; 0 if nothing ever was. Raises `StoreDamaged`."""
        file = self.path / _KEPT_SINCE
        try:
            text = _checked_lines(file.read_bytes())
        except FileNotFoundError:
            return Micros(0)
        if text is None or len(text) != 1 or not re.fullmatch(r"\d{1,16}", text[0]):
            raise StoreDamaged(str(file), "it does not say since when quotes are kept")
        return Micros(int(text[0]))

    def keep_since(self, moment: Micros) -> None:
        """From now on nobody reads what was known wholly before `moment`. Within `upkeep`."""
        write_whole(self.path / _KEPT_SINCE, _with_check([str(moment)]))

    def add(self, partition: Partition, content: bytes | memoryview) -> None:
        """Put a file of quotes there, safe from a crash once this returns. Within `shared`."""
        folder = Path(partition.folder)
        if folder not in self._settled:  # whoever made the folder may have died before it was safe
            folder.mkdir(exist_ok=True)
            sync_folder(self.path)
            sync_folder(self.path.parent)
            self._settled.add(folder)
        self.put(partition, content)

    def put(self, partition: Partition, content: bytes | memoryview) -> None:
        """`add` to a folder that is safe. Within `shared` or `upkeep`."""
        if os.path.exists(partition.path):
            sync_folder(partition.folder)
        else:
            write_whole(Path(partition.path), content, self._locked(".listing", fcntl.LOCK_EX))

    def month_of(self, known_at: Micros) -> str:
        """The folder for a file whose first quote came to be known then."""
        month = datetime.datetime.fromtimestamp(known_at // SECOND, datetime.UTC).strftime("%Y-%m")
        return str(self.path / month)

    def forget_month(self, folder: str) -> None:
        """Remove the folder of a month if nothing is in it. Within `exclusive`."""
        self._settled.discard(Path(folder))
        if not os.listdir(folder):
            os.rmdir(folder)


def parse_name(folder: str, name: str) -> Partition | None:
    """The partition that a name means, None for any other file.

    Raises `StoreDamaged` for Parquet under another name: passing over somebody's quotes would lose them in silence.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        if name.endswith(".parquet") and not name.startswith(TEMPORARY):
            raise StoreDamaged(f"{folder}/{name}", "no partition of this version has such a name")
        return None
    first, last, ts_first, ts_last, rows = (int(text) for text in match.groups()[:5])
    times = Micros(first), Micros(last), Micros(ts_first), Micros(ts_last)
    return Partition(*times, rows, match[6], match[7] is not None, folder)


def replaced(folder: str, there: Container[str], names: Iterable[str]) -> set[str]:
    """Names of files in `folder`, listed as `names`, that another, which is `there`, holds as well.

    A list whose file is not there is of a merge that did not come about. Raises `StoreDamaged`.
    """
    found: set[str] = set()
    for name in names:
        if name.endswith(REPLACES) and name.removesuffix(REPLACES) + ".parquet" in there:
            found.update(read_replaces(Path(folder) / name))
    return found


def read_replaces(file: Path) -> list[str]:
    """The names in one list. Raises `StoreDamaged`."""
    names = _checked_lines(file.read_bytes())
    if names is None:
        raise StoreDamaged(str(file), "it is not the list of names that was written")
    return names


def write_replaces(partition: Partition, names: list[str]) -> None:
    """Write down which files `partition` replaces; it takes effect when that file appears."""
    write_whole(Path(partition.replaces), _with_check(names))


def write_whole(path: Path, content: bytes | memoryview, alone: AbstractContextManager[None] | None = None) -> None:
    """Put a file at `path`, whole or not at all, safe from a crash once this returns. Raises `OSError`.

    `alone`: what to hold at the moment when it appears.
    """
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    rest = memoryview(content).cast("B")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            while rest:
                rest = rest[os.write(handle, rest[:_PIECE]) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        with alone or nullcontext():
            os.rename(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def sync_folder(folder: str | Path) -> None:
    """Make the names in `folder` survive a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _with_check(lines: list[str]) -> bytes:
    body = "".join(f"{line}\n" for line in lines).encode()
    return body + hashlib.sha256(body).hexdigest().encode() + b"\n"


def _checked_lines(content: bytes) -> list[str] | None:
    """The lines before the check, None if that is not theirs."""
    body, check = content[:-65], content[-65:]
    if check != hashlib.sha256(body).hexdigest().encode() + b"\n":
        return None
    return body.decode().splitlines()
