"""One process at a time: a lock on a file that the system lets go of when the holder is gone, however it ended.

Why this file exists: two nodes on one journal would sign twice, two demos in one folder would wipe each other's files.
Never in it: what is being guarded.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


class Held(Exception):
    """Another process holds the lock. `holder`: its process id as it wrote it down, or "unknown"."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def hold(path: Path) -> IO[str]:
    """Hold an exclusive lock on the file until it is closed or the process dies. Raises Held, or OSError."""
    file = open(path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 - the caller keeps it open
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(32).strip() or "unknown"
        file.close()
        raise Held(holder) from error
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file
