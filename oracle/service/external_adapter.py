"""The node as a Chainlink external adapter: `POST /adapter`, so that an unchanged Chainlink job can use Dodona.

Why this file exists: whoever runs a Chainlink node can take our prices, forecasts and event probabilities through a
bridge and nothing else. Read-only: it answers from the newest observation that the node made for itself and moves
nothing: no source is asked, no market advanced, nobody called back. Never in it: a number that the node does not
stand by now. Who asks gets the feed's refusal in the protocol's error shape instead.

Answer: `{jobRunID, data: {result, ...}, result, statusCode, timestamps}`, or `{jobRunID, status: "errored",
statusCode, error: {name, message}}` with the same HTTP status, as ea-framework-js answers (src/util/types.ts,
src/validation/error.ts). Chainlink's bridge task takes a body with an `error`, or a `statusCode` other than 200, as
failed whatever the HTTP status (core/services/pipeline/eautils).
"""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from aiohttp import web

from models.forecast import LEVELS
from oracle.clock import Clock
from oracle.config import FeedSettings
from oracle.consensus.messages import FeedObservation
from oracle.consensus.network import BPS, PPM, FeedKind, FeedSpec
from oracle.logbook import Seen
from oracle.observe import ABOVE
from oracle.prices import symbol_of
from oracle.service.adapter_query import (
    MAX_REQUEST,
    NO_ID,
    AdapterRefusal,
    BadRequest,
    JobId,
    NoAnswer,
    Query,
    RequestTooLong,
    RequestTooSlow,
    UnknownPair,
    WrongToken,
    job_id,
    one_line,
    parse_body,
    query_of,
)
from oracle.service.metrics import Metrics
from oracle.settings import moment
from oracle.watch import series_of

PATH = "/adapter"
READ_TIMEOUT_S = 5.0
MAX_SHOWN = 20
"""Symbols that the answer to an unknown pair names."""
_KINDS = {"price": FeedKind.PRICE, "forecast": FeedKind.FORECAST, "event": FeedKind.EVENT}


class Book(Protocol):
    """What the adapter may ask: the newest observation, and the counters."""

    metrics: Metrics

    @property
    def seen(self) -> Seen | None:
        """The newest observation made, None before the first."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A number with what stands behind it. `said_at_ms`: the time that the oldest of its sources gave."""

    result: float
    said_at_ms: int
    data: Mapping[str, Any]


def answer(query: Query, feeds: Sequence[FeedSettings], seen: Seen, now_ms: int) -> Found:
    """What the observation `seen` says to `query` at `now_ms`. Raises UnknownPair, BadRequest or NoAnswer."""
    spec, feed = _feed(query, feeds, seen)
    limit_ms = feed.max_age_s * 1000
    if now_ms - seen.at_ms > limit_ms:
        raise NoAnswer(f"feed {feed.number}: last observed {now_ms - seen.at_ms} ms ago, limit {limit_ms} ms")
    value = seen.sighting.values[seen.network.feeds.index(spec)]
    if value is None:
        _, why = seen.sighting.abstained.get(feed.number, ("", f"feed {feed.number}: nothing was observed"))
        raise NoAnswer(one_line(why, 400))
    found = _ANSWERS[spec.kind](spec, feed, value, seen)
    limit_ms += min(limit_ms, seen.network.slot_seconds * 1000)  # fresh when observed, it stands until the next slot
    limit_ms = limit_ms if query.max_age_ms is None else min(limit_ms, query.max_age_ms)
    age_ms = now_ms - found.said_at_ms
    if age_ms > limit_ms and not value.resolved:  # what is resolved does not go stale
        raise NoAnswer(f"feed {feed.number}: its oldest source is {age_ms} ms old, limit {limit_ms} ms")
    return replace(found, data={"feed": feed.number, "symbol": symbol_of(feed), "slot": seen.slot, **found.data})


def _feed(query: Query, feeds: Sequence[FeedSettings], seen: Seen) -> tuple[FeedSpec, FeedSettings]:
    """The feed that is meant: by number, by pair, by horizon; the lowest number where several prices fit."""
    kind = _KINDS[query.endpoint]
    fit = []
    for feed in feeds:
        spec = seen.network.feed(feed.number)
        if spec is not None and spec.kind is kind:
            fit.append((spec, feed))
    known = sorted({symbol_of(feed) for _, feed in fit})
    if query.feed is not None:
        fit = [found for found in fit if found[1].number == query.feed]
    if query.symbol:
        fit = [found for found in fit if symbol_of(found[1]).casefold() == query.symbol.casefold()]
    if not fit:
        named = " of ".join(part for part in (f"feed {query.feed}" * (query.feed is not None), query.symbol) if part)
        shown = ", ".join(known[:MAX_SHOWN]) or "none"
        raise UnknownPair(f"no {query.endpoint} feed answers {one_line(named)}; answered here: {one_line(shown, 400)}")
    if query.horizon is not None:
        fit = [found for found in fit if found[0].horizon == query.horizon] or _ambiguous(query, fit)
    if len(fit) > 1 and kind is not FeedKind.PRICE:
        _ambiguous(query, fit)
    return min(fit, key=lambda found: found[1].number)


def _ambiguous(query: Query, fit: Sequence[tuple[FeedSpec, FeedSettings]]) -> Any:
    what = "horizon" if query.endpoint == "forecast" else "feed"
    each = (spec.horizon if what == "horizon" else feed.number for spec, feed in fit)
    raise BadRequest(f"name the {what}, one of {', '.join(map(str, sorted(each)[:MAX_SHOWN]))}; mend the job")


def _sources(feed: FeedSettings, value: FeedObservation) -> list[str]:
    return [name for index, name in enumerate(feed.sources) if value.sources >> index & 1]


def _price(spec: FeedSpec, feed: FeedSettings, value: FeedObservation, seen: Seen) -> Found:
    fused = seen.sighting.fused[feed.number]
    flags = list(fused.flags)
    if value.outside_run:
        flags.append(f"bounds: outside the feed's bounds for {abs(value.outside_run)} of this node's slots")
    data = {
        "confidence": fused.confidence,
        "sources": list(fused.sources),
        "setAside": [{"source": source, "reason": reason} for source, reason in fused.set_aside],
        "flags": flags,
    }
    return Found(fused.price, fused.ts // 1000, data)


def _forecast(spec: FeedSpec, feed: FeedSettings, value: FeedObservation, seen: Seen) -> Found:
    step = seen.sighting.steps[series_of(feed)]
    returns = [part / PPM for part in value.components]
    prices = [step.spot * math.exp(part) for part in returns]
    data = {
        "horizon": spec.horizon,
        "spot": step.spot,
        "quantiles": {str(level): price for level, price in zip(LEVELS, prices, strict=True)},
        "logReturns": {str(level): part for level, part in zip(LEVELS, returns, strict=True)},
        "sources": _sources(feed, value),
    }
    return Found(prices[len(prices) // 2], step.ts // 1000, data)


def _event(spec: FeedSpec, feed: FeedSettings, value: FeedObservation, seen: Seen) -> Found:
    asked, shares = feed.question, [part / BPS for part in value.components]
    if asked is None:
        raise NoAnswer(f"feed {feed.number} has no question in this node's settings")
    step = seen.sighting.steps.get(series_of(feed))
    said_at_ms = asked.at_ms if value.resolved or step is None else step.ts // 1000
    data = {
        "probabilities": {"below": shares[1 - ABOVE], "atOrAbove": shares[ABOVE]},
        "strike": asked.strike,
        "at": moment(asked.at_ms).isoformat().replace("+00:00", "Z"),
        "resolved": value.resolved,
        "sources": _sources(feed, value),
    }
    return Found(shares[ABOVE], said_at_ms, data)


_ANSWERS: dict[FeedKind, Callable[[FeedSpec, FeedSettings, FeedObservation, Seen], Found]] = {
    FeedKind.PRICE: _price,
    FeedKind.FORECAST: _forecast,
    FeedKind.EVENT: _event,
}


class ExternalAdapter:
    """The route. `token`: what a request must bring as `Authorization: Bearer`, None: anybody may ask."""

    def __init__(self, book: Book, feeds: Sequence[FeedSettings], clock: Clock, token: str | None = None) -> None:
        self._book, self._feeds, self._clock = book, tuple(feeds), clock
        self._token = None if token is None else token.encode()

    def add_route(self, app: web.Application) -> None:
        """Mount the route on `app`."""
        app.router.add_post(PATH, self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        job: JobId = NO_ID
        asked = "unread"
        try:
            self._admit(request)
            body = parse_body(await _read(request))
            job = job_id(body)
            query = query_of(body)
            asked = query.endpoint
            seen = self._book.seen
            if seen is None:
                raise NoAnswer("this node has made no observation yet; try again in a slot")
            found = answer(query, self._feeds, seen, self._clock.now_ms())
        except AdapterRefusal as refusal:
            self._book.metrics.adapter_requests.add(endpoint=asked, outcome=refusal.rule)
            return _refused(job, refusal)
        self._book.metrics.adapter_requests.add(endpoint=asked, outcome="answered")
        return web.json_response(_body(job, found, seen.at_ms))

    def _admit(self, request: web.Request) -> None:
        """Raise WrongToken or BadRequest before a byte of the body is read. The compare takes the same time always."""
        if self._token is not None:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token)
            if not right or scheme.lower() != "bearer":
                raise WrongToken("send the token of this node's [http] adapter_token as Authorization: Bearer")
        if request.content_type != "application/json":
            raise BadRequest("Content-Type must be application/json; mend the client")


async def _read(request: web.Request) -> bytes:
    """The body. Raises RequestTooLong before it is all read, RequestTooSlow, or BadRequest where it breaks off."""
    too_long = RequestTooLong(f"a request is at most {MAX_REQUEST} bytes; mend the job", limit=MAX_REQUEST)
    if (request.content_length or 0) > MAX_REQUEST:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            async for part in request.content.iter_any():
                body += part
                if len(body) > MAX_REQUEST:
                    raise too_long
    except TimeoutError as error:
        raise RequestTooSlow(f"a request arrives within {READ_TIMEOUT_S:g} s; mend the link") from error
    except web.RequestPayloadError as error:
        raise BadRequest("the body breaks off; send it again") from error
    return bytes(body)


def _body(job: JobId, found: Found, at_ms: int) -> dict[str, Any]:
    """The answer; `at_ms`: when the node last asked its sources, which poll never waits for."""
    return {
        "jobRunID": job,
        "data": {"result": found.result, **found.data},
        "result": found.result,
        "statusCode": 200,
        "timestamps": {
            "providerDataRequestedUnixMs": at_ms,
            "providerDataReceivedUnixMs": at_ms,
            "providerIndicatedTimeUnixMs": found.said_at_ms,
        },
    }


def _refused(job: JobId, refusal: AdapterRefusal) -> web.Response:
    body = {
        "jobRunID": job,
        "status": "errored",
        "statusCode": refusal.status,
        "error": {"name": refusal.name, "message": str(refusal)},
    }
    response = web.json_response(body, status=refusal.status)
    if isinstance(refusal, WrongToken):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(refusal, RequestTooLong | RequestTooSlow | WrongToken):
        response.force_close()  # what is left of the body is not read
    return response
