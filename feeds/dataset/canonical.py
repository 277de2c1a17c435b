"""JSON of one form only: what a hash or a signature is over, read strictly.

Why this file exists: two texts that mean the same must not have two hashes. The form is that of RFC 8785 for the values
used here: keys ascending, no spaces, UTF-8, integers (there is no float in a manifest or a proof). Never in it: a
parser (that is `feeds.sources.strict_json`, for all that comes from strangers), what the fields mean.
"""

from __future__ import annotations

import json
from typing import Any

from feeds.sources.source import MalformedAnswer
from feeds.sources.strict_json import parse_json, too_deep, too_many

MAX_DEPTH = 8
MAX_VALUES = 100_000
"""Most values in one text; the largest list of parts of a data set takes 82,000."""
MAX_INTEGER = 2**63 - 1


def canonical(value: Any) -> bytes:
    """The one text of a value made of dicts, lists, texts, integers, booleans and None."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def parse_canonical(data: bytes, limit: int) -> Any:
    """The value of canonical bytes. Raises `ValueError` with a reason of one line for anything else.

    `limit`: most bytes. Refused: another form of the same value, a doubled key, a float, a number beyond 64 bits,
    nesting beyond 8, more than 100,000 values.
    """
    if len(data) > limit:
        raise ValueError(f"{len(data)} bytes, at most {limit}")
    if too_many(data, MAX_VALUES) or too_deep(data, MAX_DEPTH):
        raise ValueError(f"nested deeper than {MAX_DEPTH}, or more than {MAX_VALUES} values")
    try:
        found = parse_json("file", data)
    except MalformedAnswer as error:
        raise ValueError(f"{error.given}, must be {error.limit}") from error
    _check_numbers(found)
    if canonical(found) != data:
        raise ValueError("not in canonical form (keys ascending, no spaces)")
    return found


def _check_numbers(value: object) -> None:
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += item.values()
        elif isinstance(item, list):
            left += item
        elif isinstance(item, float) or (isinstance(item, int) and abs(item) > MAX_INTEGER):
            raise ValueError(f"{str(item)[:20]} is no integer of 64 bits")
