"""Many small files become few, and old ones go: the only code that takes a file of the store away.

Why this file exists: a node writes one file a poll and opens all of them at its start, and a disk has an end. Both
must go on beside readers and writers of other processes, and be stopped at any moment without a quote lost or told
twice. `feeds/partitions.py` says why that holds; here is the order of steps that it rests on. Never in it: queries.

Merging: read some files and check each, write down the names that the new file replaces, put the new file there (this
is the moment), and only then, when nobody reads, remove the old ones and last the list. Removing what is too old, when
nobody reads or appends: say since when quotes are kept (this is the moment), then remove the files.

Which files are merged: a log-structured merge by size (O'Neil et al. 1996). Files of one month fall into levels by
their rows; when a level of a month has `FAN_IN` files they become one, or as few as `MAX_ROWS` allows. So a quote is
rewritten at most once for each level, and at rest a month has fewer than `FAN_IN` files of each level and full ones.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from feeds.columns import joined
from feeds.parquet import MAX_ROWS, encode, read_columns, read_whole
from feeds.partitions import (
    REPLACES,
    TEMPORARY,
    Partition,
    Root,
    parse_name,
    read_replaces,
    replaced,
    sync_folder,
    write_replaces,
)
from feeds.types import Micros

FAN_IN = 32
"""So many files of one level become one."""
LEVELS = (FAN_IN, FAN_IN**2, FAN_IN**3, MAX_ROWS // 2)
"""Rows below which a file is of each level. One with half of the most that a file may have is full."""

AT_ONCE = 1024
"""Most files that one merge reads: one that is stopped begins anew, so that it must be short to get on at all."""

_PATIENCE_S = 2.0


class Merged(NamedTuple):
    """`files`: how many were merged; `into`: how many they became; `waiting`: how many replaced files lie there still,
    passed over, because somebody reads: the next run removes them. All 0 where another process was at it.
    """

    files: int
    into: int
    waiting: int


class Removed(NamedTuple):
    """`files` with `rows` quotes were removed; `waiting`: so many are to go, but somebody reads: try again later."""

    files: int
    rows: int
    waiting: int


def compact(root: Root, everything: bool = False) -> Merged:
    """Merge what is due, or with `everything` all that are not full. Raises `OSError`, `StoreDamaged`."""
    with root.upkeep() as alone:
        if not alone:
            return Merged(0, 0, 0)
        sweep(root, 0.0)
        files, made = 0, set[str]()
        while groups := due(root.view().partitions, everything):
            for group in groups:
                names = {partition.name for partition in group}
                files += len(names - made)
                made = made - names | {merge(root, group)}
        return Merged(files, len(made), sweep(root, _PATIENCE_S if files else 0.0))


def due(partitions: Iterable[Partition], everything: bool) -> list[list[Partition]]:
    """Which files are to become one, in order of `known_at`; never files of two months, so that a month can go."""
    months: dict[str, list[Partition]] = defaultdict(list)
    for partition in partitions:
        months[partition.folder].append(partition)
    return [group for month in months.values() for group in _groups(_picked(sorted(month), everything))]


def _picked(month: Sequence[Partition], everything: bool) -> list[Partition]:
    if everything:
        return list(month)
    full = [level for level in LEVELS if sum(_level(p.rows) == level for p in month) >= FAN_IN]
    return [p for p in month if full and _level(p.rows) <= full[-1]]


def _level(rows: int) -> int:
    """The bound below which the file lies."""
    return next((level for level in LEVELS if rows < level), MAX_ROWS)


def _groups(picked: Sequence[Partition]) -> list[list[Partition]]:
    """Neighbours together while they fit into one file and one merge; one alone is left as it is."""
    groups: list[list[Partition]] = []
    rows = MAX_ROWS
    for partition in picked:
        if rows + partition.rows > MAX_ROWS or len(groups[-1]) == AT_ONCE:
            groups.append([])
            rows = 0
        groups[-1].append(partition)
        rows += partition.rows
    return [group for group in groups if len(group) > 1]


def merge(root: Root, group: Sequence[Partition]) -> str:
    """Put one file in the place of several; its name. Within `upkeep`. Raises `OSError`, `StoreDamaged`."""
    columns = joined([read_columns(partition) for partition in group]).first_said().in_order()
    whole, content = encode(columns, group[0].folder, indexed=True)
    old = {partition.name for partition in group}
    for partition in (*group, whole):  # what they replaced may still be there: the new file answers for that too
        if os.path.exists(partition.replaces):
            old.update(read_replaces(Path(partition.replaces)))
    write_replaces(whole, sorted(old - {whole.name}))
    root.put(whole, content)
    return whole.name


def sweep(root: Root, patience_s: float) -> int:
    """Remove what nobody may read any more, and what crashes left; how much is left there because somebody reads.

    Within `upkeep`. Raises `OSError`, `StoreDamaged`.
    """
    for name in os.listdir(root.path):
        if name.startswith(TEMPORARY):  # in the root itself only who holds `upkeep` writes
            os.unlink(root.path / name)
    kept_since = root.kept_since()
    waiting = sum(len(gone) + len(lists) for gone, lists in (_plan(folder, kept_since) for folder in root.months()))
    if waiting:
        with root.exclusive(patience_s) as held:
            if held:
                _clear(root, kept_since)
                return 0
    return waiting


def _clear(root: Root, kept_since: Micros) -> None:
    for folder in root.months():
        for names in _plan(folder, kept_since):
            for name in names:
                os.unlink(f"{folder}/{name}")
            if names:
                sync_folder(folder)
        root.forget_month(folder)


def _plan(folder: str, kept_since: Micros) -> tuple[list[str], list[str]]:
    """Names of files that may go, and of lists that may go once these have."""
    names = os.listdir(folder)
    partitions = {p.name: p for p in (parse_name(folder, name) for name in names) if p is not None}
    passed_over = replaced(folder, partitions, names)
    gone = [name for name, p in partitions.items() if name in passed_over or p.last < kept_since]
    gone += [name for name in names if name.startswith(TEMPORARY)]
    return gone, [name for name in names if name.endswith(REPLACES)]


def retain(root: Root, before: Micros, archive: Root | None) -> Removed:
    """Remove the files known wholly before `before`, first copying them to `archive` if one is given.

    A file with one younger quote stays whole. Raises `OSError`, `StoreDamaged`.
    """
    with root.upkeep() as alone:
        if not alone:
            return Removed(0, 0, 0)
        copied = _old(root, before)
        _copy(copied, archive)
        with root.exclusive(_PATIENCE_S) as held:  # no append from here on
            old = _old(root, before)
            if not held:
                return Removed(0, 0, len(old))
            _copy(sorted(set(old) - set(copied)), archive)
            if old:
                root.keep_since(before)
                _clear(root, before)
            return Removed(len(old), sum(partition.rows for partition in old), 0)


def _old(root: Root, before: Micros) -> list[Partition]:
    return [partition for partition in root.view().partitions if partition.last < before]


def _copy(partitions: Sequence[Partition], archive: Root | None) -> None:
    """Put sound copies into another store."""
    if archive is None:
        return
    for partition in partitions:
        content = read_whole(partition)
        with archive.shared():
            archive.add(partition._replace(folder=archive.month_of(partition.first)), content)
