"""Secrets by reference: a settings file says where a key is, never what it is.

Why this file exists: API keys end up in logs, tracebacks, pickles and dumps of settings. A `Secret` holds only the
reference, so nothing that prints, copies or stores it can give the key away; the key is read when it is sent. Never in
it: a key kept in memory, a key in a message.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from feeds.sources.source import BadRule, SecretMissing

MAX_SECRET_BYTES = 4096
"""A secret file larger than this is some other file."""

_REFERENCE = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9_-]{0,31}) )?(?P<kind>env|file):(?P<place>\S(?:[^\x00\r\n]*\S)?)"
)
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is: `kind` is `env` or `file`, `place` the variable's name or the file's path.

    `scheme` is put before the value with a space, as HTTP's Authorization header wants it (RFC 9110, 11.6.2).
    """

    kind: str
    place: str
    scheme: str = ""

    def __post_init__(self) -> None:
        """Raise BadRule for a reference that `parse` would not read."""
        if _REFERENCE.fullmatch(str(self)) is None:
            raise BadRule("secret", str(self), "env:NAME or file:/path")

    @classmethod
    def parse(cls, reference: str) -> Secret:
        """From `env:NAME` or `file:/path`, with an authorization scheme before it if wanted: `Bearer env:NAME`.

        Raises BadRule; the text given is not repeated, for it may be the secret itself.
        """
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if match is None:
            raise BadRule(
                "secret", "something else (not shown)", "a reference: env:NAME or file:/path, never the secret"
            )
        return cls(match["kind"], match["place"], match["scheme"] or "")

    def __str__(self) -> str:
        return f"{self.scheme} {self.kind}:{self.place}".lstrip()

    def reveal(self) -> str:
        """The secret itself, read now, its scheme before it: hand it to the wire and forget it.

        One line of printable ASCII; white space around it is dropped. Raises SecretMissing.
        """
        value = self._read().strip()
        if _VALUE.fullmatch(value) is None:
            what = "it is empty" if not value else "it is not one line of printable ASCII"
            raise SecretMissing(str(self), what, "put the bare key there")
        return f"{self.scheme} {value}".lstrip()

    def _read(self) -> str:
        if self.kind == "env":
            value = os.environ.get(self.place)
            if value is None:
                raise SecretMissing(str(self), "the variable is not set", f"set {self.place} in the node's environment")
            return value
        try:
            with Path(self.place).open("rb") as file:
                data = file.read(MAX_SECRET_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no path"
            raise SecretMissing(str(self), f"cannot be read ({reason})", "mend the path or its rights") from None
        if len(data) > MAX_SECRET_BYTES:
            raise SecretMissing(str(self), f"is larger than {MAX_SECRET_BYTES} bytes", "point to the key's own file")
        return data.decode("latin-1")
