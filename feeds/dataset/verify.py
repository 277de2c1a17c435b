"""Whether a data set is what its manifest says: chunk by chunk, so that one bad byte does not cost the rest.

Why this file exists: large data sets come in pieces, from mirrors that nobody trusts. Whatever is sound stays usable
(`DataSet.chunks`), and the report says which parts to fetch again. Never in it: changing the data set.

What a check has found can be kept in a note (JSON beside the data, by size and time of change of each part), so that
the next run looks only at parts that came or changed since. The note is this machine's own memory: whoever can write it
can write the data, so it saves time and proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from feeds.dataset.canonical import canonical, parse_canonical
from feeds.dataset.errors import UnsupportedData, WrongRows
from feeds.dataset.manifest import Manifest
from feeds.dataset.open_file import Rows, open_regular
from feeds.dataset.pack import PART_CHUNKS, About, Tally, part_name, rechunked
from feeds.dataset.read import DataSet, Part
from feeds.partitions import write_whole
from feeds.sources.source import MalformedFile, MissingData

MAX_NOTE = 16 << 20


@dataclass(slots=True)
class Verification:
    """What is sound. `good`, `bad`, `missing`: numbers of chunks, ascending; `reasons`: why each bad one is bad.

    `remembered`: how many of the good ones were so by the note. `faults`: what is wrong with the manifest itself
    although every chunk is good. `strangers`: other files in the folder; they belong to nothing and nothing reads them.
    """

    manifest: Manifest
    good: list[int] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    remembered: int = 0
    faults: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every row is there and is what the root covers."""
        return not (self.bad or self.missing or self.faults)

    @property
    def fetch(self) -> list[str]:
        """The parts to fetch again."""
        return [part_name(part) for part in sorted({number // PART_CHUNKS for number in (*self.bad, *self.missing)})]

    def _fail(self, number: int, reason: str) -> None:
        self.bad.append(number)
        self.reasons[number] = reason


def verify(folder: Path, data: Sequence[Path] | None = None, note: Path | None = None) -> Verification:
    """Check every chunk of the data set in `folder`, or of the files `data` (any format) against its manifest.

    `note`: where to keep what was found, and to look first. Raises `MissingData`, `MalformedManifest`, `WrongProof` if
    manifest or list of chunks cannot be used; all that is wrong with the rows is in the answer.
    """
    dataset = DataSet(folder)
    found = Verification(dataset.manifest)
    tally = _fresh_tally(dataset.manifest)
    if data is not None:
        _check_files(dataset, data, found, tally)
    else:
        before = {} if note is None else read_note(note, dataset.manifest)
        after = _check_parts(dataset, found, tally, before)
        names = {part_name(part) for part in range(-(-len(dataset.leaves) // PART_CHUNKS))}
        names |= {"manifest.json", "chunks.bin", "" if note is None else note.name}
        found.strangers = sorted(entry.name for entry in os.scandir(folder) if entry.name not in names)[:100]
        if note is not None:
            _write_note(note, dataset.manifest, after)
    if not (found.bad or found.missing or found.remembered):
        _check_manifest(dataset.manifest, tally, found)
    return found


def _fresh_tally(manifest: Manifest) -> Tally:
    return Tally(manifest.schema, manifest.time, manifest.known)


def _check_manifest(manifest: Manifest, tally: Tally, found: Verification) -> None:
    """What the manifest says beyond the root must follow from the rows too."""
    about = About(
        manifest.name, manifest.version, manifest.licence, manifest.provider, manifest.parents,
        manifest.transformation, chunk_rows=manifest.chunk_rows,
    )  # fmt: skip
    true = tally.manifest(about).as_json()
    stated = manifest.as_json()
    found.faults += [
        f"manifest: {name} is not what follows from the rows"
        for name in sorted(stated)
        if name != "signature" and stated[name] != true[name]
    ]


def _check_parts(
    dataset: DataSet, found: Verification, tally: Tally, before: dict[str, list[int]]
) -> dict[str, list[int]]:
    """Check part by part; the note of those that are sound: name -> size, time of change in ns."""
    after: dict[str, list[int]] = {}
    for part in range(-(-len(dataset.leaves) // PART_CHUNKS)):
        numbers = range(part * PART_CHUNKS, min((part + 1) * PART_CHUNKS, len(dataset.leaves)))
        name = part_name(part)
        mark = _mark(dataset.folder / name)
        if mark is not None and before.get(name) == mark:
            found.good += numbers
            found.remembered += len(numbers)
            after[name] = mark
            continue
        _check_part(dataset, part, numbers, found, tally)
        if mark is not None and not any(number in found.reasons for number in numbers):
            after[name] = mark
    return after


def _check_part(dataset: DataSet, part: int, numbers: range, found: Verification, tally: Tally) -> None:
    try:
        with Part(dataset.folder, part, dataset.manifest.schema) as file:
            for number in numbers:
                try:
                    rows, encoded = dataset.check(number, file.rows(number % PART_CHUNKS, dataset.leaves[number]))
                    tally.add(dataset.leaves[number], encoded, rows)
                    found.good.append(number)
                except (WrongRows, UnsupportedData, MalformedFile) as error:
                    found._fail(number, f"{error}")
    except MissingData:
        found.missing += numbers
    except WrongRows as error:
        for number in numbers:
            found._fail(number, f"{error}")


def _check_files(dataset: DataSet, paths: Sequence[Path], found: Verification, tally: Tally) -> None:
    """Check rows from anywhere; where reading ends in an error, the chunks from there on are bad."""
    number, reason = 0, "the rows end before it"
    try:
        for rows in rechunked(_all_rows(paths, dataset.manifest), dataset.manifest.chunk_rows):
            if number == len(dataset.leaves):
                found.faults.append(f"the files hold more than the {dataset.manifest.rows} rows of the manifest")
                return
            try:
                _, encoded = dataset.check(number, rows)
                tally.add(dataset.leaves[number], encoded, rows)
                found.good.append(number)
            except (WrongRows, UnsupportedData, MalformedFile) as error:
                found._fail(number, f"{error}")
            number += 1
    except (MalformedFile, UnsupportedData) as error:
        reason = f"{error}"
    for rest in range(number, len(dataset.leaves)):
        found._fail(rest, reason)


def _all_rows(paths: Iterable[Path], manifest: Manifest) -> Iterator[pa.RecordBatch]:
    for path in paths:
        yield from Rows(path, manifest.schema).batches()


def _mark(path: Path) -> list[int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def read_note(path: Path, manifest: Manifest) -> dict[str, list[int]]:
    """What an earlier check kept of the same manifest; nothing if the note is not there, damaged or of another."""
    try:
        with open_regular(path) as file:
            found = parse_canonical(file.read(MAX_NOTE + 1), MAX_NOTE)
    except (OSError, ValueError, MissingData, UnsupportedData):  # only a memory: without it all is checked again
        return {}
    if not isinstance(found, dict) or found.get("manifest") != manifest.digest.hex():
        return {}
    parts = found.get("parts")
    return parts if isinstance(parts, dict) else {}


def _write_note(path: Path, manifest: Manifest, parts: dict[str, list[int]]) -> None:
    """Put there by renaming: where a stranger's folder has a link of that name, it is not followed."""
    write_whole(path, canonical({"manifest": manifest.digest.hex(), "parts": parts}))


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in few words.

    >>> ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    words = [f"{low}" if low == high else f"{low}-{high}" for low, high in parts]
    return ", ".join(words[:20]) + (f" and {len(words) - 20} more" if len(words) > 20 else "")
