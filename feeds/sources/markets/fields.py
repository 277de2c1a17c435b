"""Reading the fields of a venue's JSON: the value that its page promises, or `MalformedAnswer` naming the field.

Why this file exists: three venues write numbers as numbers and as text, times as ISO text and as milliseconds, lists as
text that holds a list; the parsers say what they expect and nothing else gets through. Never in it: what a field means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NoReturn

from feeds.sources.source import EARLIEST, LATEST, MalformedAnswer, brief
from feeds.sources.strict_json import parse_json
from feeds.types import SECOND, Micros

MAX_TEXT = 100_000
"""Most characters of a text, rules among them."""
MAX_LIST = 1_000
"""Most items of a list."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{0,80})?([eE][+-]?[0-9]{1,2})?")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:Z|([+-][0-9]{2})(?::?([0-9]{2}))?)"
)


class Fields:
    """One JSON object of `source`'s answer. A field that is null counts as not there."""

    def __init__(self, source: str, value: object) -> None:
        """Raises `MalformedAnswer` unless `value` is an object."""
        if not isinstance(value, dict):
            raise MalformedAnswer(source, value, "a JSON object")
        self.source, self.value = source, value
        self._values: Mapping[str, object] = value

    def get(self, name: str) -> object:
        """Whatever the field holds, None if it is not there."""
        return self._values.get(name)

    def text(self, name: str) -> str:
        """A text that is there, not empty."""
        found = self.maybe_text(name)
        if not found:
            self._refuse(name, "a text")
        return found

    def maybe_text(self, name: str) -> str:
        """A text, empty if it is not there."""
        found = self.get(name)
        if found is None:
            return ""
        if not isinstance(found, str) or len(found) > MAX_TEXT:
            self._refuse(name, f"a text of at most {MAX_TEXT} characters")
        return found

    def flag(self, name: str) -> bool:
        """True or false, false if it is not there."""
        found = self.get(name)
        if found is None:
            return False
        if not isinstance(found, bool):
            self._refuse(name, "true or false")
        return bool(found)

    def number(self, name: str) -> Decimal | None:
        """A number or the text of one, None if it is not there or an empty text."""
        found = self.get(name)
        return None if found is None or found == "" else decimal_of(self.source, name, found)

    def objects(self, name: str) -> list[Fields]:
        """A list of objects."""
        found = self.get(name)
        if not isinstance(found, list) or len(found) > MAX_LIST:
            self._refuse(name, f"a list of at most {MAX_LIST} objects")
        return [Fields(self.source, item) for item in found]

    def coded_list(self, name: str) -> list[str]:
        """A list of texts, or the text of a JSON list of texts; numbers become text. Empty if it is not there."""
        found = self.get(name)
        if isinstance(found, str):
            found = parse_json(self.source, found.encode("utf-8", "surrogatepass")) if found else []
        if found is None:
            return []
        if not isinstance(found, list) or len(found) > MAX_LIST:
            self._refuse(name, f"a list of at most {MAX_LIST} texts")
        return [self._item(name, item) for item in found]

    def time(self, name: str) -> Micros | None:
        """A time as ISO 8601 text with its offset, None if it is not there or empty."""
        found = self.maybe_text(name)
        if not found:
            return None
        match = _TIME.fullmatch(found)
        if match is None:
            self._refuse(name, "an ISO 8601 time with its offset")
        day, clock, fraction, hours, minutes = match.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{clock}{hours or '+00'}:{minutes or '00'}")
        except ValueError:
            self._refuse(name, "an ISO 8601 time with its offset")
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        micros = int((fraction or "").ljust(6, "0")[:6])
        return self._within(name, (since.days * 86_400 + since.seconds) * SECOND + micros)

    def milliseconds(self, name: str) -> Micros | None:
        """A time as milliseconds since the epoch, None if it is not there."""
        found = self.get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or found != int(found):
            self._refuse(name, "whole milliseconds since 1970")
        return self._within(name, int(found) * 1000)

    def _within(self, name: str, micros: int) -> Micros:
        if not EARLIEST <= micros < LATEST:
            self._refuse(name, "a time from 2009 to 2099")
        return Micros(micros)

    def _item(self, name: str, item: object) -> str:
        if isinstance(item, int | float) and not isinstance(item, bool):
            return repr(item)
        if not isinstance(item, str) or len(item) > MAX_TEXT:
            self._refuse(name, "a list of texts")
        return str(item)

    def _refuse(self, name: str, limit: str) -> NoReturn:
        raise MalformedAnswer(self.source, f"{name} {brief(self.get(name))!r}"[:80], f"{name} as {limit}")


def decimal_of(source: str, name: str, given: object) -> Decimal:
    """A JSON number, or the text of a decimal number, exactly. Raises `MalformedAnswer`."""
    if isinstance(given, int | float) and not isinstance(given, bool) and -1e30 < given < 1e30:
        return Decimal(repr(given))
    if isinstance(given, str) and _NUMBER.fullmatch(given):
        return Decimal(given)
    raise MalformedAnswer(source, f"{name} {brief(given)!r}"[:80], f"{name} as a number")
