"""What facts rest on, kept whole: bodies under the hash of their content, written once and never changed.

Why this file exists: in a dispute a reader needs what the source really showed, long after its page has changed; a hash
alone proves nothing to who has not the body. Never in it: fetching, what a body means.

Under the root a folder for each first two hex digits of a hash, in it `<sha256>` with the body as it was fetched. A
file is put there whole or not at all (`feeds.partitions.write_whole`), nothing is ever overwritten or removed, and what
is read is hashed again, so a body that was tampered with is never shown. As by its hash a body is what it is, several
processes may write at a time.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from feeds.partitions import TEMPORARY, sync_folder, write_whole
from feeds.sources.source import BadRule, EvidenceDamaged

MAX_BODY = 1 << 20
"""Most bytes of one body: longer ones are refused, never cut, as a cut body has another hash than the page."""
_HASH = re.compile("[0-9a-f]{64}")


def body_hash(body: bytes) -> str:
    """SHA-256 of a body as 64 hex digits: its name."""
    return hashlib.sha256(body).hexdigest()


class EvidenceStore:
    """Bodies on disk by their hash."""

    def __init__(self, path: str | Path, max_body: int = MAX_BODY) -> None:
        """Nothing is made on disk before the first `keep`. Raises `BadRule`."""
        if not 1 <= max_body <= 1 << 30:
            raise BadRule("evidence: max_body", max_body, "1 byte to 1 GiB")
        self.path, self.max_body = Path(path), max_body

    def keep(self, body: bytes) -> str:
        """Keep a body, safe from a crash once this returns; its hash. The same again changes nothing.

        Raises `EvidenceDamaged`: too long, the disk refuses, or another body lies under its name.
        """
        sha256 = body_hash(body)
        if len(body) > self.max_body:
            raise EvidenceDamaged(sha256, str(self.path), f"{len(body)} bytes, limit {self.max_body}")
        file = self._file(sha256)
        try:
            if file.exists():
                self.read(sha256)
                sync_folder(file.parent)
                return sha256
            for folder in (self.path, file.parent):
                if not folder.exists():
                    folder.mkdir(parents=True, exist_ok=True)
                    sync_folder(folder.parent)
            write_whole(file, body)
        except OSError as error:
            raise EvidenceDamaged(sha256, str(self.path), f"cannot keep it ({error.strerror})") from error
        return sha256

    def read(self, sha256: str) -> bytes:
        """The body with that hash. Raises `EvidenceDamaged` if it is not there, too long, or not what was kept."""
        if not _HASH.fullmatch(sha256):
            raise EvidenceDamaged(sha256[:64], str(self.path), "no SHA-256 in hex digits")
        try:
            handle = os.open(self._file(sha256), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(handle, "rb") as file:
                body = file.read(self.max_body + 1)
        except OSError as error:
            raise EvidenceDamaged(sha256, str(self.path), f"cannot read it ({error.strerror})") from error
        if len(body) > self.max_body:
            raise EvidenceDamaged(sha256, str(self.path), f"longer than {self.max_body} bytes")
        if body_hash(body) != sha256:
            raise EvidenceDamaged(sha256, str(self.path), "it is not what was fetched")
        return body

    def verify(self) -> int:
        """Read everything; how many bodies there are. Raises `EvidenceDamaged` at the first that is not sound."""
        count = 0
        for sha256 in self._names():
            self.read(sha256)
            count += 1
        return count

    def _names(self) -> Iterator[str]:
        if not self.path.is_dir():
            return
        for folder in sorted(self.path.iterdir()):
            for file in sorted(folder.iterdir()) if folder.is_dir() else ():
                if not file.name.startswith(TEMPORARY):
                    yield file.name

    def _file(self, sha256: str) -> Path:
        return self.path / sha256[:2] / sha256
