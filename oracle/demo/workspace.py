"""The folder that the demo writes into: sound before anything is trained, and used by one demo at a time.

Why this file exists: what would only fail after minutes is refused in the first second. Never in it: the demo.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from oracle.errors import ConfigError
from oracle.locks import Held, hold

FOLDERS = ("cache", "bundles", "net")
FILES = ("summary.json", "report.html", "deployment.json")
LOCK = ".lock"


class BadWorkspace(ConfigError):
    """The demo's folder cannot be used."""


@contextmanager
def workspace(folder: Path) -> Iterator[None]:
    """Make `folder` if it is missing and hold it for this process. Raises BadWorkspace."""
    elsewhere = "or run `dodona demo` in another folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = hold(folder / LOCK)
    except OSError as error:
        place = error.filename or folder
        raise BadWorkspace(f"{place}: cannot write there ({error.strerror}); mend that, {elsewhere}") from error
    except Held as other:
        mend = f"end it first, {elsewhere}"
        raise BadWorkspace(f"{folder}: another demo (process {other.holder}) is at work here; {mend}") from other
    with lock:
        _check_parts(folder, elsewhere)
        yield


def write_whole(path: Path, data: bytes) -> None:
    """Write the file in one step: whoever reads it finds all of it, or what was there before. Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with ExitStack() as undo:
        undo.callback(os.unlink, temporary)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        undo.pop_all()


def _check_parts(folder: Path, elsewhere: str) -> None:
    for name in FOLDERS:
        path = folder / name
        if os.path.lexists(path) and not path.is_dir():
            raise BadWorkspace(f"{path}: is in the way of a folder of that name; move it away, {elsewhere}")
    for name in FILES:
        path = folder / name
        if os.path.lexists(path) and not path.is_file():
            raise BadWorkspace(f"{path}: is in the way of a file of that name; move it away, {elsewhere}")
