"""Where in a JSON document a value stands: JSONPath (RFC 9535), of a kind that costs no more than the document.

Why this file exists: the query is our operator's, the document a stranger's. RFC 9535 lets a short query do quadratic
or exponential work on a document made for it (its section 4.1 warns), so only queries are taken whose work is linear in
the document: at most one `..`, one selector a bracket, and in filters names and indices only, no regular expressions.
Linear is not cheap: a node of a document takes
microseconds, and all of that in Python. So `json_api` searches off the event loop. Never in it: network, the meaning
of the value.
"""

from __future__ import annotations

import re
from itertools import islice

import jsonpath

from feeds.sources.source import BadRule, MalformedAnswer

MAX_QUERY = 256
"""Most characters of a query."""
PICKS = ("one", "first", "last")
"""Which of several values counts: `one` refuses several, `last` is for lists in order of time."""
MAX_FOUND = 10_000
"""Most values that `last` looks through."""

_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")


class Missing:
    """Stands for a value that is not there; JSON's null is one that is."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()
"""The one `Missing`."""


class JsonPath:
    """One query, compiled. `field` names the setting it came from. Raises BadRule for one that is not taken."""

    def __init__(self, query: str, field: str, pick: str = "one") -> None:
        """Compile it."""
        if pick not in PICKS:
            raise BadRule(f"{field}: pick", pick, " or ".join(PICKS))
        if not isinstance(query, str) or not 0 < len(query) <= MAX_QUERY:
            raise BadRule(field, query, f"a JSONPath of 1 to {MAX_QUERY} characters")
        _refuse_costly(query, field)
        try:
            self._compiled = _ENVIRONMENT.compile(query)
        except jsonpath.JSONPathError as error:
            raise BadRule(field, query, f"a JSONPath of RFC 9535 ({str(error).splitlines()[0]})") from None
        self.query, self.field, self.pick = query, field, pick

    def find(self, source: str, document: object) -> object:
        """The value in `document`, or `MISSING`. Raises MalformedAnswer where several are found and one is meant."""
        if not isinstance(document, dict | list):
            return MISSING
        most = {"one": 2, "first": 1, "last": MAX_FOUND}[self.pick]
        try:
            found: list[object] = [match.obj for match in islice(self._compiled.finditer(document), most)]
        except jsonpath.JSONPathError as error:
            raise MalformedAnswer(source, f"a document that {self.query} fails on ({error})"[:200], "plainer") from None
        if len(found) > 1 and self.pick == "one":
            raise MalformedAnswer(source, f"several values at {self.query}", "one (or set pick to first or last)")
        return found[-1] if found else MISSING


def _refuse_costly(query: str, field: str) -> None:
    bare = _QUOTED.sub("''", query)
    if bare.count("..") > 1:
        raise BadRule(field, query, "a JSONPath with at most one `..`")
    depth = 0
    filters: list[int] = []
    for place, character in enumerate(bare):
        if character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
            if filters and depth < filters[-1]:
                filters.pop()
        elif character == "?":
            filters.append(depth)
            if len(filters) > 1:
                raise BadRule(field, query, "a JSONPath without filters inside filters")
        elif character == "," and not filters:
            raise BadRule(field, query, "a JSONPath with one selector in each bracket")
        elif filters and (character in "*:" or bare.startswith("..", place)):
            raise BadRule(field, query, "a JSONPath whose filters hold names and indices only")


_ENVIRONMENT = jsonpath.JSONPathEnvironment(strict=True)
for _costly in ("match", "search", "count"):
    del _ENVIRONMENT.function_extensions[_costly]
