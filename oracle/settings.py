"""A TOML table whose every key is asked for, ranged and accounted for.

Why this file exists: `config.py` says what a node's settings are; the checking that makes each error name the file,
the key, what was given, what is allowed and how to mend it is here, once. Never in it: any one setting.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from oracle.errors import ConfigError

MAX_FILE_BYTES = 1_000_000
URL_ALLOWED = "an http:// or https:// URL, e.g. http://127.0.0.1:8545"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SettingError(ConfigError):
    """One setting is missing, unknown, of the wrong type or out of range."""

    def __init__(self, file: Path, key: str, given: object, allowed: str, mend: str) -> None:
        self.file, self.key, self.allowed, self.mend = file, key, allowed, mend
        shown = "nothing" if given is None else repr(given)
        super().__init__(f"{file}: {key}: given {shown}, allowed: {allowed}. {mend}", given=given, limit=allowed)


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; a pipe or a device cannot make us wait or read for ever.

    Raises OSError, whose `strerror` says why not.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes")
    return data


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises ConfigError where it cannot be read or is not TOML."""
    try:
        text = read_bounded(path, MAX_FILE_BYTES).decode("utf-8")
    except OSError as error:
        message = f"{path}: cannot read the settings file ({error.strerror}); `dodona node init` writes one"
        raise ConfigError(message) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML ({error}); save it as UTF-8 text") from error
    return parse_toml(path, text)


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """The tables in this text, which `path` holds or is to hold. Raises ConfigError where it is not TOML."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error}); mend the line it names") from error


class Table:
    """One TOML table. Each getter marks its key as known; `finish` refuses what nobody asked for."""

    __slots__ = ("_asked", "_values", "file", "name")

    def __init__(self, file: Path, name: str, values: object) -> None:
        self.file, self.name = file, name
        self._asked: list[str] = []
        if not isinstance(values, dict):
            raise SettingError(file, name, values, "a table", f"Write it as [{name}].")
        self._values: Mapping[str, Any] = values

    def key(self, key: str) -> str:
        """The key's full name, as errors show it."""
        return f"{self.name}.{key}" if self.name else key

    def fail(self, key: str, given: object, allowed: str, mend: str = "") -> SettingError:
        """The error for this key, to be raised by the caller."""
        return SettingError(self.file, self.key(key), given, allowed, mend or f"Set {key} to an allowed value.")

    def has(self, key: str) -> bool:
        """Whether the file gives this key, which is known from now on."""
        self._asked.append(key)
        return key in self._values

    def _get(self, key: str, allowed: str) -> Any:
        self._asked.append(key)
        if key not in self._values:
            raise self.fail(key, None, allowed, f"Add `{key}` to [{self.name or 'the top of the file'}].")
        return self._values[key]

    def _absent(self, key: str, default: object) -> bool:
        """Whether the default stands: the key is optional and the file does not give it."""
        return default is not None and not self.has(key)

    def raw(self, key: str) -> object:
        """The value as TOML gives it (None where it is absent), for the caller to check."""
        self._asked.append(key)
        return self._values.get(key)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number in `[low, high]`, or the default where the file gives none."""
        allowed = f"a whole number from {low} to {high}"
        if self._absent(key, default):
            return cast(int, default)
        value = self._get(key, allowed)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(key, value, allowed)
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number in `[low, high]`, whole or not, or the default where the file gives none."""
        allowed = f"a number from {low:g} to {high:g}"
        if self._absent(key, default):
            return cast(float, default)
        value = self._get(key, allowed)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.fail(key, value, allowed)
        return float(value)

    def integers(self, key: str, low: int, high: int, most: int) -> tuple[int, ...]:
        """A list of up to `most` whole numbers in `[low, high]`."""
        allowed = f"a list of at most {most} whole numbers from {low} to {high}"
        value = self._get(key, allowed)
        good = isinstance(value, list) and len(value) <= most
        if not good or not all(type(item) is int and low <= item <= high for item in value):
            raise self.fail(key, value, allowed)
        return tuple(value)

    def text(self, key: str, pattern: str, allowed: str, default: str | None = None) -> str:
        """A string that the pattern matches as a whole."""
        if self._absent(key, default):
            return cast(str, default)
        value = self._get(key, allowed)
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise self.fail(key, value, allowed)
        return value

    def url(self, key: str) -> str:
        """An http(s) URL with a host."""
        value = self.text(key, r"[^\s]{1,2000}", URL_ALLOWED)
        if not is_http_url(value):
            raise self.fail(key, value, URL_ALLOWED)
        return value

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of a few words."""
        allowed = "one of " + ", ".join(f'"{choice}"' for choice in choices)
        if self._absent(key, default):
            return cast(str, default)
        value = self._get(key, allowed)
        if value not in choices:
            raise self.fail(key, value, allowed)
        return str(value)

    def path(self, key: str, default: str | None = None) -> Path:
        """A path; a relative one starts at the settings file's folder."""
        value = self.text(key, r"[^\0]{1,4096}", "a path", default)
        return (self.file.parent / Path(value).expanduser()).resolve()

    def names(
        self, key: str, pattern: str, allowed: str, most: int, default: tuple[str, ...] | None = None
    ) -> tuple[str, ...]:
        """A list of up to `most` different strings that the pattern matches."""
        allowed = f"a list of at most {most} different items, each {allowed}"
        if self._absent(key, default):
            return cast(tuple[str, ...], default)
        value = self._get(key, allowed)
        good = isinstance(value, list | tuple) and len(value) <= most
        if not good or not all(isinstance(item, str) and re.fullmatch(pattern, item) for item in value):
            raise self.fail(key, value, allowed)
        if len(set(value)) != len(value):
            raise self.fail(key, value, allowed, "Remove the repeated item.")
        return tuple(value)

    def moment_ms(self, key: str, default: int | None = None) -> int:
        """A date and time with its zone, as UTC milliseconds since the Unix epoch."""
        allowed = "a date and time with its zone, e.g. 2017-10-16T00:00:00Z"
        if self._absent(key, default):
            return cast(int, default)
        value = self._get(key, allowed)
        if not isinstance(value, datetime) or value.tzinfo is None or value < _EPOCH:
            raise self.fail(key, value, allowed)
        return (value - _EPOCH) // timedelta(milliseconds=1)

    def table(self, key: str) -> Table:
        """The sub-table of that name; an absent one reads as empty."""
        self._asked.append(key)
        return Table(self.file, self.key(key), self._values.get(key, {}))

    def tables(self, key: str, most: int) -> Iterator[Table]:
        """The `[[key]]` tables, named `key[0]`, `key[1]`..."""
        self._asked.append(key)
        items = self._values.get(key, [])
        if not isinstance(items, list) or len(items) > most:
            given = len(items) if isinstance(items, list) else items
            raise self.fail(key, given, f"at most {most} [[{key}]] tables")
        for index, item in enumerate(items):
            yield Table(self.file, f"{self.key(key)}[{index}]", item)

    def finish(self) -> None:
        """Raise SettingError for the first key that no getter asked for; its value may be a secret and is not shown."""
        for key in self._values:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                mend = f"Did you mean `{near[0]}`?" if near else "Remove it."
                raise self.fail(key, "(hidden)", "known keys: " + ", ".join(sorted(set(self._asked))), mend)


def write_table(heading: str, values: Mapping[str, object]) -> str:
    """One TOML table as text; keys whose value is None are left out. `heading` includes its brackets."""
    lines = [heading]
    for key, value in values.items():
        if value is not None:
            lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, int | float):
        return repr(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return quoted(str(value))


def quoted(text: str) -> str:
    """A TOML string, or a key of any characters."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def is_http_url(text: str) -> bool:
    """Whether this is an http:// or https:// URL with a host that can be looked up and a port that can be called."""
    try:
        parts = urlsplit(text)
        usable = parts.port != 0 and bool((parts.hostname or "").encode("idna"))
    except ValueError:
        return False
    return usable and parts.scheme in ("http", "https") and text.isprintable() and " " not in text


def moment(ms: int) -> datetime:
    """Milliseconds since the Unix epoch as a UTC datetime."""
    return _EPOCH + timedelta(milliseconds=ms)
