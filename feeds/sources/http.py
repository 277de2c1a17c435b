"""The one way out to the web: one session for all sources of a process, and what it lets in.

Why this file exists: a price API is a stranger. Whatever it answers (nothing, drops, a flood, a bomb, a redirect into
our own network, a page of HTML, a lie about its clock), a source gets an `Answer` or a FeedError, within a time and a
size. Never in it: what an answer means, retries (`feeds.sources.live` paces), secrets in messages.

Redirects are refused, proxies of the environment and cookies ignored, TLS is verified. `session` is for libraries that
send by themselves (ccxt, web3): its middleware and its response class keep the same rules for them.
"""

from __future__ import annotations

import asyncio
import json as json_module
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from feeds.sources.bounded import FAILURES, BoundedSocket, bounded_response, reason_of
from feeds.sources.live import Clock, Pause, system_clock
from feeds.sources.pacing import DEFAULT_LIMITS, HostState, HttpLimits, retry_after
from feeds.sources.secret import Secret
from feeds.sources.source import BadRule, FeedError, MalformedAnswer, RateLimited, SourceClosed, SourceUnavailable
from feeds.sources.strict_json import parse_json
from feeds.sources.url import Headers, Params, checked_url, revealed, with_params
from feeds.sources.websocket import WebSocket
from feeds.types import SECOND, Micros

__all__ = ["Answer", "Http", "HttpLimits", "Secret"]

JSON_TYPES = re.compile(r"application/([a-z0-9!#$&^_.+-]+\+)?json|text/json", re.IGNORECASE)
"""Media types of JSON (RFC 8259; the suffix of RFC 6839)."""

_ALL = (*FAILURES, FeedError, RuntimeError)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one request of `source`, read to its end. Times are ours, in UTC microseconds."""

    source: str
    status: int
    body: bytes
    headers: Mapping[str, str]
    requested_at: Micros
    received_at: Micros

    def json(self, *, content_types: re.Pattern[str] = JSON_TYPES) -> object:
        """The body as one strict JSON value (`strict_json`).

        Raises MalformedAnswer, also where the content type is none of `content_types` or not in UTF-8.
        """
        kind, _, parameters = self.headers.get("Content-Type", "").partition(";")
        if content_types.fullmatch(kind.strip()) is None:
            raise MalformedAnswer(self.source, f"content type {kind.strip() or 'none'}", "JSON")
        charset = re.search(r"charset\s*=\s*\"?([^\s;\"]*)", parameters, re.IGNORECASE)
        if charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
            raise MalformedAnswer(self.source, f"charset {charset[1]}", "UTF-8")
        return parse_json(self.source, self.body)


class Http:
    """One per process; pass it to every source. It may be built before the event loop runs.

    `steady` is a clock of seconds that never goes back; `pause` waits. Both, and `clock`, are injected in tests.
    """

    def __init__(
        self,
        *,
        clock: Clock = system_clock,
        limits: HttpLimits = DEFAULT_LIMITS,
        steady: Callable[[], float] = time.monotonic,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Nothing is opened yet."""
        self.limits = limits
        self._clock, self._steady, self._pause = clock, steady, pause
        self._session: aiohttp.ClientSession | None = None
        self._hosts: dict[str, HostState] = {}
        self._closed = False

    @property
    def skew(self) -> dict[str, float]:
        """Host -> seconds that its clock is ahead of ours, by its `Date` headers. Reported, never applied."""
        return {host: state.skew for host, state in self._hosts.items() if state.skew is not None}

    @property
    def held(self) -> dict[str, str]:
        """Hosts that are left alone now, and why."""
        now = self._steady()
        return {host: hold[1] for host, state in self._hosts.items() if (hold := state.held(now)) is not None}

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session, opened at first use; needs a running event loop. Raises SourceClosed after `close`.

        Requests through it obey hosts' rates, holds, redirects and size caps as ours do, and may raise FeedErrors
        (naming the host) beside aiohttp's own.
        """
        if self._closed:
            raise SourceClosed("http")
        if self._session is None:
            limits = self.limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=limits.connections, limit_per_host=limits.connections_per_host),
                timeout=aiohttp.ClientTimeout(
                    total=limits.total_s,
                    connect=limits.connect_s,
                    sock_connect=limits.connect_s,
                    sock_read=limits.read_s,
                ),
                response_class=bounded_response(limits.body_bytes, self._body_ended),
                ws_response_class=BoundedSocket,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "dodona", "Accept-Encoding": "gzip, deflate"},
                middlewares=(self._guard,),
                trust_env=False,
            )
        return self._session

    def slow_down(self, url: str | Secret, rate: float, burst: int = 1) -> None:
        """Ask the host of `url` no oftener than `rate` times a second; of several wishes the slowest holds."""
        if not (1e-4 <= rate <= 1e5 and 1 <= burst <= 1000):
            raise BadRule("rate", (rate, burst), "0.0001 to 100,000 requests a second, bursts of 1 to 1000")
        self._host(checked_url(url)).slow_down(rate, burst)

    async def request(
        self,
        source: str,
        method: str,
        url: str | Secret,
        *,
        params: Params | None = None,
        headers: Headers | None = None,
        json: object = None,
        any_status: bool = False,
    ) -> Answer:
        """Ask once. `json` is sent as the body where it is not None; secrets are read now.

        A status of 200 to 299 is an `Answer`; 400 to 599 too with `any_status` (except 429, and 503 with
        `Retry-After`). Raises SourceUnavailable, RateLimited or MalformedAnswer for all that the other side can do,
        SecretMissing, SourceClosed, and BadRule for a URL or header that cannot be sent.
        """
        target = with_params(checked_url(url), params)
        sent_headers = revealed(source, target, headers)
        body = None
        if json is not None:
            body = json_module.dumps(json, allow_nan=False, separators=(",", ":")).encode()
            sent_headers["Content-Type"] = "application/json"
        requested_at, failure = self._clock(), None
        try:
            async with self.session.request(method, target, headers=sent_headers, data=body) as response:
                answer = await response.read()
        except _ALL as error:
            failure = self._failure(source, error)
        if failure is not None:  # raised here, not above: aiohttp's error, which holds our headers, is not its context
            raise failure
        if not 200 <= response.status < 300 and not (any_status and response.status >= 400):
            raise SourceUnavailable(source, f"HTTP status {response.status}")
        return Answer(source, response.status, answer, response.headers, requested_at, self._clock())

    async def websocket(
        self,
        source: str,
        url: str | Secret,
        *,
        params: Params | None = None,
        headers: Headers | None = None,
        protocols: tuple[str, ...] = (),
        heartbeat_s: float | None = 20.0,
    ) -> WebSocket:
        """Connect to a `ws://` or `wss://` URL (`http(s)` also). Raises as `request` does.

        Every `heartbeat_s` seconds of silence a ping goes out; one without pong ends the connection.
        """
        target = with_params(checked_url(url), params)
        sent_headers = revealed(source, target, headers)
        limits = self.limits
        failure = None
        try:
            async with asyncio.timeout(limits.connect_s + limits.read_s):
                raw = await self.session.ws_connect(
                    target,
                    headers=sent_headers,
                    protocols=protocols,
                    heartbeat=heartbeat_s,
                    autoping=False,  # `BoundedSocket` answers
                    max_msg_size=limits.message_bytes,
                    timeout=aiohttp.ClientWSTimeout(ws_receive=limits.silence_s, ws_close=1.0),
                )
        except _ALL as error:
            failure = self._failure(source, error)
        if failure is not None:
            raise failure
        return WebSocket(source, raw, self._clock)

    async def close(self) -> None:
        """Close every connection; a second call does nothing."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _failure(self, source: str, error: BaseException) -> BaseException:
        """What to raise in the source's name for what `session` raised; the error itself if it is our own mistake."""
        if isinstance(error, RateLimited):
            return RateLimited(source, error.retry_at, error.reason)
        if isinstance(error, SourceUnavailable):
            return SourceUnavailable(source, error.reason)
        if isinstance(error, FeedError):
            return error
        if isinstance(error, RuntimeError):  # aiohttp's word for a session closed in mid-request
            return SourceClosed(source) if self._closed else error
        return unavailable(source, error)

    def _host(self, url: URL) -> HostState:
        host = (url.host_port_subcomponent or "?").lower()
        state = self._hosts.get(host)
        if state is None:
            state = self._hosts[host] = HostState(self.limits)
        return state

    async def _guard(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Middleware of the session: a host's holds and pace before a request, what its answer teaches after it."""
        host, name = self._host(request.url), request.url.host or "?"
        await self._wait_for_turn(host, name)
        sent = self._clock()
        try:
            response = await send(request)
        except FAILURES as error:
            host.failed(self._steady(), reason_of(error))
            raise
        host.saw_date(response.headers, sent, self._clock())
        status = response.status
        asked = retry_after(response.headers, self._clock()) if status in (429, 503) else None
        if status == 429 or asked is not None:
            seconds = self.limits.rest_s if asked is None else asked
            why = f"HTTP status {status}, it asked for {seconds:g} s of rest"
            until = host.hold(self._steady(), seconds, why)
            response.close()
            raise self._limited(name, until, why)
        if status in _REDIRECTS:
            response.close()
            raise SourceUnavailable(name, f"HTTP status {status}: it redirects, which is not followed")
        if status >= 500:
            host.failed(self._steady(), f"HTTP status {status}")
        elif status == 101:
            host.succeeded()
        return response

    async def _wait_for_turn(self, host: HostState, name: str) -> None:
        held = host.held(self._steady())
        if held is not None:
            raise self._limited(name, *held)
        wait = host.turn(self._steady())
        if wait > self.limits.total_s:
            host.give_back_turn()
            raise self._limited(name, self._steady() + wait, f"more requests wait than go out in {wait:.0f} s")
        if wait > 0.0:
            await self._pause(wait)
            held = host.held(self._steady())
            if held is not None:
                raise self._limited(name, *held)

    def _limited(self, name: str, until: float, why: str) -> RateLimited:
        return RateLimited(name, Micros(self._clock() + int((until - self._steady()) * SECOND)), why)

    def _body_ended(self, response: aiohttp.ClientResponse, error: BaseException | None) -> None:
        """A body was read to its end, or broke off with `error`: the host's record."""
        host = self._host(response.url)
        if error is not None:
            host.failed(self._steady(), reason_of(error))
        elif response.status < 500:
            host.succeeded()


def unavailable(source: str, error: BaseException) -> SourceUnavailable:
    """What a library's own network failure means, for sources that send through `session` themselves.

    Raise it outside the `except` block, or the original (which may hold headers and a URL with keys) goes along as
    its context.
    """
    return SourceUnavailable(source, reason_of(error))
