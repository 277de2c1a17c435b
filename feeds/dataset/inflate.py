"""A gzip stream in bounded memory, and an end to the kind that never ends.

Why this file exists: a kilobyte can unpack to a gigabyte, and a data set comes from a stranger. Never in it: what the
text inside means. Format: RFC 1952 (several members may follow one another).
"""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO

from feeds.dataset.errors import UnsupportedData
from feeds.sources.source import MalformedFile

MAGIC = b"\x1f\x8b"
MAX_BYTES = 256 << 30
"""Most bytes of one unpacked file."""
MAX_RATIO = 400
"""Most bytes out of one byte in, once `GRACE` are out: honest tables stay under 100, deflate itself ends at 1,032."""
GRACE = 16 << 20
_PIECE = 1 << 18


class Inflated(io.RawIOBase):
    """What a gzip file holds, as a readable stream. Reading raises `MalformedFile` or `UnsupportedData`."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read from `file`; `name` is for messages. Closing this closes it."""
        self._file, self._name = file, name
        self._inflater = zlib.decompressobj(wbits=31)
        self._input, self._taken, self._given, self._began = b"", 0, 0, False

    def readable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As `io.RawIOBase` says; 0 at the end."""
        while True:
            if not self._input:
                self._input = self._file.read(_PIECE)
                self._taken += len(self._input)
            if not self._input and not self._began:
                return 0
            ended = not self._input  # yet the inflater may still hold output that did not fit
            self._began = True
            try:
                out = self._inflater.decompress(self._input, len(buffer))
            except zlib.error as error:
                raise MalformedFile(self._name, f"gzip: {error}") from error
            self._input = self._inflater.unconsumed_tail
            if self._inflater.eof:
                self._input = self._inflater.unused_data
                self._inflater, self._began = zlib.decompressobj(wbits=31), False
            if out:
                self._count(len(out))
                buffer[: len(out)] = out
                return len(out)
            if ended and self._began:
                raise MalformedFile(self._name, "gzip data ends early")

    def _count(self, size: int) -> None:
        self._given += size
        if self._given > MAX_BYTES or self._given > max(GRACE, MAX_RATIO * self._taken):
            reason = f"unpacks to more than {MAX_RATIO} bytes a byte" if self._given <= MAX_BYTES else "is too large"
            raise UnsupportedData(self._name, f"gzip data {reason}", "unpack it yourself if you trust it")
