"""The `dodona` command.

Why this file exists: one entry, and the one place where a foreseen error becomes a line and an exit code: 2 for what
the user can mend, 130 for Ctrl-C. Never in it: work; the groups are in `oracle/commands/`. Everything heavy is imported
inside `main`, so that Ctrl-C in the first second ends it as quietly as later.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

MENDABLE, INTERRUPTED = 2, 130


def main() -> None:
    """Run the command line; foreseen errors are one line on standard error."""
    try:
        with _quiet_interrupts():
            from oracle.commands.root import FORESEEN, app, run
        try:
            sys.exit(run(app))
        except FORESEEN as error:
            _refuse(str(error))
        except OSError as error:  # a disk that is full, a file that may not be read: the machine's, not the code's
            _refuse(f"{error.filename or 'system'}: {error.strerror or error}; mend that, then run it again")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _refuse(text: str) -> NoReturn:
    print(f"dodona: {one_line(text)}", file=sys.stderr)
    sys.exit(MENDABLE)


def one_line(text: str) -> str:
    """The text on one line without control characters: parts of it come from files, chains and peers."""
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in words)


@contextmanager
def _quiet_interrupts() -> Iterator[None]:
    """While modules load, Ctrl-C ends the process at once: nothing is open yet, and no import is left half done."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    main()
