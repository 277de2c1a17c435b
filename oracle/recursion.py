"""Python's recursion limit, put back to what the C stack bears after py-evm has lifted it.

Why this file exists: importing py-evm lifts the limit for the whole process to 100,000 (its dependency py_ecc does),
and then JSON of 100,000 open brackets overruns the C stack of CPython's parser and kills the process, where it should
raise RecursionError. Parsers turn that into their room's error. Never in it: parsing.
"""

from __future__ import annotations

import sys

LIMIT = 12_288
"""Frames: py-evm's own need, 1,024 nested calls of 12 frames each; CPython 3.11's parsers bear four times as many."""


def restore_limit() -> None:
    """Lower the limit to LIMIT where it is higher. Call it after importing py-evm or eth-tester."""
    sys.setrecursionlimit(min(LIMIT, sys.getrecursionlimit()))
