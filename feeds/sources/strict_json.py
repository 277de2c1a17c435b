"""JSON from strangers: one value, or `MalformedAnswer`.

Why this file exists: Python's parser takes more than RFC 8259 allows (NaN, Infinity, numbers that overflow to
infinity, lone surrogates that no file can hold, the last of two equal keys), and deep nesting ends the whole process:
its C part recurses as far as the interpreter's limit, which packages raise beyond what the stack holds (py-evm does).
So depth is counted before anything is parsed; and how many values there are, for a node waits while it parses. Every
source reads its bytes through this one function. Never in it: network, the meaning of a field.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import NoReturn

from feeds.sources.source import MalformedAnswer

MAX_DEPTH = 64
"""Most levels of arrays and objects; real price APIs use fewer than 10."""
MAX_DIGITS = 80
"""Most characters of an integer: 2^256 has 78 digits."""
MAX_VALUES = 400_000
"""Most commas and opening brackets: no fewer values. The longest list of markets we know of has a third; so many are
parsed in a fifth of a second at worst, where 8 MiB of nothing but `[],` would take four times that."""


def parse_json(source: str, data: bytes) -> object:
    """The value of one JSON text in UTF-8 (RFC 8259, no byte order mark).

    Raises MalformedAnswer, naming `source`, for anything else, and for what is legal but has no use here: an object
    with a key twice, more than `MAX_VALUES` values or `MAX_DEPTH` levels, an integer of more than `MAX_DIGITS`
    characters, a number beyond float64, a lone surrogate.
    """
    if too_many(data):
        raise MalformedAnswer(source, "JSON of too many values", f"at most {MAX_VALUES:,}")
    if too_deep(data):
        raise MalformedAnswer(source, "JSON nested too deeply", f"at most {MAX_DEPTH} levels")
    value, given, limit = None, "", ""
    try:
        value = _DECODER.decode(data.decode("utf-8", "strict"))
    except _Refused as refused:
        given, limit = refused.given, refused.limit
    except UnicodeDecodeError as error:
        given, limit = f"a byte that is not UTF-8 at {error.start}", "JSON in UTF-8"
    except json.JSONDecodeError as error:
        given = f"{len(data)} bytes that break off or go wrong at {error.pos} ({error.msg})"
        limit = "one JSON value"
    if given:  # raised here, not above: the parser's error, which holds the whole document, is not its context
        raise MalformedAnswer(source, given, limit)
    if (b"\\ud" in data or b"\\uD" in data) and not _encodable(value):
        raise MalformedAnswer(source, "half of a surrogate pair", "whole Unicode characters")
    return value


def _encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Refused(Exception):
    """What a hook of the decoder does not let pass."""

    def __init__(self, given: str, limit: str) -> None:
        self.given, self.limit = given, limit


def _constant(text: str) -> NoReturn:
    raise _Refused(text, "a number (RFC 8259 has no NaN and no Infinity)")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Refused(f"an integer of {len(text)} characters", f"at most {MAX_DIGITS}")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused(text[:40], "a number within float64")
    return number


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("an object with the same key twice", "an object with each key once")
    return found


def too_deep(data: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether a parser would descend more than `limit` levels into `data`, sound JSON or not; linear in its size."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    brackets = _without_strings(data).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(1 if step else -1 for step in brackets), default=0) > limit


def too_many(data: bytes, limit: int = MAX_VALUES) -> bool:
    """Whether a parser would make more than about `limit` values of `data`, sound JSON or not; linear in its size."""
    if data.count(b'"') > 4 * limit:  # a value has two strings at most, itself and its key
        return True
    if _marks(data) <= limit:
        return False
    return _marks(_without_strings(data)) > limit


def _marks(data: bytes) -> int:
    """Brackets that open and commas: every value but the outermost stands behind one of its own."""
    return data.count(b"[") + data.count(b"{") + data.count(b",")


def _without_strings(data: bytes) -> bytes:
    """The same without its strings, an unclosed one to the end, as a parser would read them."""
    return _STRING.sub(b"", data)


_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_STEPS = bytes(1 if byte in b"[{" else 0 for byte in range(256))
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float, strict=True
)
