"""JSON of one form only: what a hash or a signature is over, read strictly.

Why this file exists: two texts that mean the same must not have two hashes, and a parser that overlooks a doubled key
can be told two things. The form is that of RFC 8785 for the values used here: keys ascending, no spaces, UTF-8,
integers (there is no float in a manifest or a proof). Never in it: what the fields mean.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 8
MAX_NODES = 10_000
"""Most lists and objects in one value."""
MAX_INTEGER = 2**63 - 1


def canonical(value: Any) -> bytes:
    """The one text of a value made of dicts, lists, texts, integers, booleans and None."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def parse_canonical(data: bytes, limit: int) -> Any:
    """The value of canonical bytes. Raises `ValueError` with a reason of one line for anything else.

    `limit`: most bytes. Refused: another form of the same value, a doubled key, a float, a number beyond 64 bits,
    nesting beyond 8, more than 10,000 lists and objects.
    """
    if len(data) > limit:
        raise ValueError(f"{len(data)} bytes, at most {limit}")
    _check_nesting(data)
    try:
        found = json.loads(
            data.decode(), object_pairs_hook=_once, parse_float=_refuse, parse_constant=_refuse, parse_int=_integer
        )
        if canonical(found) != data:
            raise ValueError("not in canonical form (keys ascending, no spaces)")
    except UnicodeError as error:
        raise ValueError("not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at byte {error.pos})") from error
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is no integer")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"{text[:20]}... is beyond 64 bits")
    return int(text)


_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


def _check_nesting(data: bytes) -> None:
    """Before any parser recurses: how deep it goes is the interpreter's setting, and beyond it the process dies."""
    depth = nodes = 0
    for token in _TOKEN.finditer(data):
        first = data[token.start()]
        if first in b"[{":
            depth, nodes = depth + 1, nodes + 1
        elif first in b"]}":
            depth -= 1
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise ValueError(f"nested deeper than {MAX_DEPTH}, or more than {MAX_NODES} lists and objects")
