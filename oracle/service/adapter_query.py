"""A request of Chainlink's external-adapter protocol: bytes in, one question out.

Why this file exists: a Chainlink job names its pair in one of several ways that have grown over the years, and
whatever else a stranger posts must end in the protocol's own error. Pure: no network, no node, no answer in it.

Request: `POST` of `{"id": ..., "data": {...}, "meta": ..., "responseURL": ...}`, as Chainlink's `bridge` task sends
it (core/services/pipeline/task.bridge.go): `data` is what the job's `requestData` says, `meta` the last answer on
chain, `id` may be missing. Parameter names, their aliases, "not twice" and "empty is absent" are those of
ea-framework-js (src/adapter/price.ts, src/validation/input-params.ts): base | from | coin, quote | to | market,
endpoint in any case, `overrides`. `meta` and `responseURL` are passed over: nobody is ever called back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feeds.sources.source import MalformedAnswer
from feeds.sources.strict_json import parse_json
from oracle.errors import DodonaError

ADAPTER_NAME = "dodona"
"""Our name in a request's `overrides`."""
MAX_REQUEST = 16_384
"""Most bytes of a request: a hundred times what a job sends."""
MAX_ID = 128
MAX_WORD = 64
NO_ID = "1"
"""`jobRunID` where the request has no usable id, as adapters have always answered."""
ENDPOINTS = {"price": "price", "crypto": "price", "forex": "price", "forecast": "forecast", "event": "event"}
"""What a request may name -> what is answered. Without a name: `price`."""
_ALIASES = {"base": ("base", "from", "coin"), "quote": ("quote", "to", "market")}
_OURS = ("result", "price", "data.result", "data,result")

JobId = str | int


class AdapterRefusal(DodonaError):
    """Base of every refusal: `status` is the HTTP status and the body's `statusCode`, `name` the error's name."""

    status = 400
    name = "AdapterInputError"


class BadRequest(AdapterRefusal):
    """The request is not one, or asks for what is not answered here."""


class WrongToken(AdapterRefusal):
    """The request does not carry the token that the operator asks for."""

    status = 401


class UnknownPair(AdapterRefusal):
    """No feed of this node answers it."""

    status = 404


class RequestTooSlow(AdapterRefusal):
    """The body did not arrive in time."""

    status = 408


class RequestTooLong(AdapterRefusal):
    """More bytes than a request has."""

    status = 413


class NoAnswer(AdapterRefusal):
    """The question is sound, but now there is no number that this node stands by: never an old one instead."""

    status = 504
    name = "AdapterDataProviderError"


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `feed`: a feed's number, instead of or beside the pair. `horizon`: seconds, forecasts only.

    `max_age_ms`: the asker wants nothing older, None: the feed's own limit alone. `base` and `quote` are empty where
    only the feed is named.
    """

    endpoint: str
    base: str = ""
    quote: str = ""
    feed: int | None = None
    horizon: int | None = None
    max_age_ms: int | None = None

    @property
    def symbol(self) -> str:
        """The pair as symbols are written."""
        return f"{self.base}/{self.quote}" if self.base else ""


def parse_body(body: bytes) -> dict[str, Any]:
    """The request as JSON says it. Raises BadRequest for what is no object and what `parse_json` refuses."""
    try:
        found = parse_json("request", body)
    except MalformedAnswer as error:
        raise BadRequest(f"the body is {one_line(str(error.given))}, must be {error.limit}; mend the job") from error
    if not isinstance(found, dict):
        raise BadRequest('the body is not a JSON object; send {"id": ..., "data": {...}}')
    return found


def job_id(body: Mapping[str, Any]) -> JobId:
    """The id to answer with. Raises BadRequest for one that cannot be said back."""
    given = body.get("id")
    if given is None or given == "":
        return NO_ID
    if isinstance(given, str) and len(given) <= MAX_ID and given.isprintable():
        return given
    if type(given) is int and abs(given) < 2**256:
        return given
    raise BadRequest(f"id must be a text of at most {MAX_ID} printable characters or a whole number; mend the job")


def query_of(body: Mapping[str, Any]) -> Query:
    """The question of a parsed body. Raises BadRequest."""
    data = body.get("data")
    if not isinstance(data, dict):
        raise BadRequest('data must be an object, such as {"base": "BTC", "quote": "USD"}; mend the job')
    said = body.get("endpoint") or data.get("endpoint") or "price"
    endpoint = ENDPOINTS.get(said.lower()) if isinstance(said, str) else None
    if endpoint is None:
        raise BadRequest(f"endpoint must be one of {', '.join(ENDPOINTS)}; mend the job")
    wanted = data.get("resultPath")
    if wanted and wanted not in _OURS:
        raise BadRequest("resultPath is answered for `result` alone; remove it from the job")
    base, quote = (_pair_part(data, part) for part in _ALIASES)
    feed = _whole(data, "feed", 2**32)
    if bool(base) != bool(quote) or (feed is None and not base):
        raise BadRequest("base (or from, coin) and quote (or to, market) are both needed; mend the job")
    query = Query(
        endpoint=endpoint,
        base=_overridden(data, base),
        quote=quote,
        feed=feed,
        horizon=_whole(data, "horizon", 2**32),
        max_age_ms=_whole(data, "maxAge", 2**53),
    )
    if query.horizon is not None and endpoint != "forecast":
        raise BadRequest("horizon goes with endpoint = forecast; mend the job")
    return query


def _pair_part(data: Mapping[str, Any], part: str) -> str:
    given = [data[name] for name in _ALIASES[part] if data.get(name)]
    if len(given) > 1:
        raise BadRequest(f"{part} is given more than once (as {', '.join(_ALIASES[part])}); mend the job")
    return _word(given[0], part) if given else ""


def _overridden(data: Mapping[str, Any], base: str) -> str:
    """The base as the job's own `overrides` rename it for this adapter."""
    every = data.get("overrides") or {}
    if not isinstance(every, dict):
        raise BadRequest("overrides must be an object; mend the job")
    for adapter, renamed in every.items():
        if adapter.lower() == ADAPTER_NAME:
            if not isinstance(renamed, dict):
                raise BadRequest(f"overrides of {ADAPTER_NAME} must be an object of symbol: symbol; mend the job")
            return _word(renamed[base], "overrides") if base in renamed else base
    return base


def _word(value: object, name: str) -> str:
    good = isinstance(value, str) and 0 < len(value) <= MAX_WORD and value.isascii() and value.isprintable()
    if not isinstance(value, str) or not good or " " in value:
        raise BadRequest(f"{name} must be one symbol, such as BTC: one pair a request; mend the job")
    return value


def _whole(data: Mapping[str, Any], name: str, limit: int) -> int | None:
    """A whole number below `limit`, also as text, since jobs fill in variables as text."""
    value = data.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if type(value) is not int or not 0 <= value < limit:
        raise BadRequest(f"{name} must be a whole number from 0 to {limit - 1}; mend the job")
    return value


def one_line(text: str, limit: int = 200) -> str:
    """At most `limit` printable characters: parts of what is said come from outside."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))[:limit]
