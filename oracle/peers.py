"""Bytes between validators: an aiohttp server for what comes in, one queue and one sender for each peer.

Why this file exists: every limit that stands between a stranger's socket and the protocol is here: sizes, times,
connections, queues, repeats. Never in it: what a message means (`accept` says whether bytes are welcome).

In: `POST /v1/message`, body `application/octet-stream`. 200 taken (or already seen), 400 with the broken rule's name
(PeerFault), 413 too long, 408 too slow, 503 busy: try again. The answer is given once the message is in the node's
hands, so that a delivery that is over has already raised the receiver's own counters (see `oracle.clock`).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import socket
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from oracle.clock import Activity, Clock
from oracle.errors import ConfigError, PeerFault
from oracle.service.metrics import Metrics

MAX_BODY = 1_000_000
READ_TIMEOUT_S = 5.0
HEADER_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 256
MAX_QUEUE = 256
SEEN = 16_384
BACKOFF_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
PATH = "/v1/message"


class BodyTooLong(PeerFault):
    """A body over the limit: refused by its stated length, or as soon as it goes over."""


class BodyTooSlow(PeerFault):
    """A body that did not arrive in time."""


class Busy(Exception):
    """Raised by `accept`: the node's inbox is full; the peer may try again."""


class Accept(Protocol):
    """Takes bytes over or raises PeerFault (rubbish) or Busy. Must not block."""

    def __call__(self, body: bytes, peer: str) -> None:
        """`peer`: the sender as metrics name it."""


class Seen:
    """The last messages taken, by hash, so that a repeat costs nothing."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int = SEEN) -> None:
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._limit = limit

    def __contains__(self, body: bytes) -> bool:
        return hashlib.blake2b(body, digest_size=16).digest() in self._known

    def add(self, body: bytes) -> None:
        """Remember it; forget the oldest over the limit."""
        self._known[hashlib.blake2b(body, digest_size=16).digest()] = None
        if len(self._known) > self._limit:
            self._known.popitem(last=False)


class Inbox:
    """The receiving side: mounts the route and holds each sender to the limits."""

    __slots__ = ("_accept", "_activity", "_metrics", "_seen")

    def __init__(self, accept: Accept, activity: Activity, metrics: Metrics) -> None:
        self._accept, self._activity, self._metrics = accept, activity, metrics
        self._seen = Seen()

    def add_route(self, app: web.Application) -> None:
        """Mount the route on `app`."""
        app.router.add_post(PATH, self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Read one message and hand it over."""
        peer = request.remote or "unknown"
        with self._activity.work():
            try:
                body = await self._read(request)
                self._take(body, peer)
            except PeerFault as fault:
                self._metrics.peer_faults.add(rule=fault.rule, peer=peer)
                status = {BodyTooLong: 413, BodyTooSlow: 408}.get(type(fault), 400)
                answer = web.json_response({"rule": fault.rule, "error": str(fault)}, status=status)
                if status != 400:
                    answer.force_close()
                return answer
            except Busy:
                return web.json_response({"error": "busy, try again"}, status=503)
        return web.Response(status=200)

    def _take(self, body: bytes, peer: str) -> None:
        if body in self._seen:
            return
        self._accept(body, peer)
        self._seen.add(body)

    async def _read(self, request: web.Request) -> bytes:
        """The body, or BodyTooLong before it is all read, or BodyTooSlow."""
        stated = request.content_length
        if stated is not None and stated > MAX_BODY:
            raise BodyTooLong("a message is at most 1 MB", given=stated, limit=MAX_BODY)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                async for part in request.content.iter_any():
                    size += len(part)
                    if size > MAX_BODY:
                        raise BodyTooLong("a message is at most 1 MB", given=size, limit=MAX_BODY)
                    parts.append(part)
        except TimeoutError as error:
            raise BodyTooSlow(f"a body arrives within {READ_TIMEOUT_S:g} s", limit=READ_TIMEOUT_S) from error
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How hard a message is tried: seconds a try may take, tries at most, and connecting time."""

    timeout_s: float = 2.0
    connect_s: float = 1.0
    tries: int = 12


STEPPED_DELIVERY = Delivery(timeout_s=60.0, connect_s=5.0, tries=2)
"""Virtual time stands still while a delivery is under way: be patient with the busy, brief with the dead."""


@dataclass(frozen=True, slots=True)
class _Letter:
    body: bytes
    until_ms: int


class Outbox:
    """The sending side: one bounded queue and one sender a peer; a slow peer delays nobody else.

    `endpoints`: address (20 bytes) -> base URL, as the chain states it. Deliveries end when the peer has answered,
    when `until_ms` has passed, or when the tries are used up.
    """

    def __init__(self, clock: Clock, activity: Activity, metrics: Metrics, delivery: Delivery | None = None) -> None:
        self._clock, self._activity, self._metrics = clock, activity, metrics
        self._delivery = delivery or (STEPPED_DELIVERY if clock.stepped else Delivery())
        self._queues: dict[bytes, asyncio.Queue[_Letter]] = {}
        self._senders: dict[bytes, asyncio.Task[None]] = {}
        self._urls: dict[bytes, str] = {}
        self._session: aiohttp.ClientSession | None = None

    def set_endpoints(self, endpoints: Mapping[bytes, str]) -> None:
        """Replace the address book; senders of peers that left are stopped, new ones started. Needs a running loop."""
        self._urls = {address: url for address, url in endpoints.items() if usable(url)}
        for address in [address for address in self._senders if address not in self._urls]:
            self._senders.pop(address).cancel()
            self._drop(self._queues.pop(address))
        for address in self._urls:
            if address not in self._senders:
                self._queues[address] = asyncio.Queue()
                self._senders[address] = asyncio.create_task(self._send_all(address), name=f"peer {address.hex()[:8]}")

    @property
    def peers(self) -> dict[bytes, str]:
        """The address book in use."""
        return dict(self._urls)

    @property
    def failed(self) -> asyncio.Task[None] | None:
        """A sender that ended by itself (a defect), or None."""
        return next((task for task in self._senders.values() if task.done() and not task.cancelled()), None)

    def post(self, to: bytes, body: bytes, until_ms: int) -> None:
        """Queue `body` for one peer; the oldest waiting one makes room in a full queue. An unknown peer is counted."""
        queue = self._queues.get(to)
        if queue is None:
            self._metrics.deliveries.add(peer=to.hex()[:8], outcome="no endpoint")
            return
        self._activity.sent += 1
        if queue.qsize() >= MAX_QUEUE:
            queue.get_nowait()
            self._over(to, "dropped")
        queue.put_nowait(_Letter(body, until_ms))

    async def close(self) -> None:
        """Stop every sender and close the connections."""
        for task in self._senders.values():
            task.cancel()
        await asyncio.gather(*self._senders.values(), return_exceptions=True)
        for queue in self._queues.values():
            self._drop(queue)
        self._senders.clear()
        self._queues.clear()
        if self._session is not None:
            await self._session.close()

    def _drop(self, queue: asyncio.Queue[_Letter]) -> None:
        while not queue.empty():
            queue.get_nowait()
            self._activity.handled += 1

    def _over(self, to: bytes, outcome: str) -> None:
        self._activity.handled += 1
        self._metrics.deliveries.add(peer=to.hex()[:8], outcome=outcome)

    async def _send_all(self, to: bytes) -> None:
        queue = self._queues[to]
        while True:
            letter = await queue.get()
            outcome = "cancelled"
            try:
                outcome = await self._deliver(to, letter)
            finally:
                self._over(to, outcome)

    async def _deliver(self, to: bytes, letter: _Letter) -> str:
        """Try until the peer has answered; says how it ended."""
        last = "expired"
        for attempt in range(self._delivery.tries):
            if self._clock.now_ms() >= letter.until_ms or to not in self._urls:
                return last
            try:
                status = await self._post(self._urls[to], letter.body)
            except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError, ValueError) as error:
                last = "timeout" if isinstance(error, TimeoutError) else "unreachable"
            else:
                if status < 300:
                    return "delivered"
                if status not in (408, 429) and status < 500:
                    return "refused"
                last = "busy"
            if attempt + 1 < self._delivery.tries:
                await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
        return last

    async def _post(self, url: str, body: bytes) -> int:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=2, keepalive_timeout=60)
            timeout = aiohttp.ClientTimeout(total=self._delivery.timeout_s, sock_connect=self._delivery.connect_s)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)
        headers = {"Content-Type": "application/octet-stream"}
        address = url.rstrip("/") + PATH
        async with self._session.post(address, data=body, headers=headers, allow_redirects=False) as answer:
            await answer.content.read(1024)
            return answer.status


def usable(url: str) -> bool:
    """Whether an endpoint from the chain is an http(s) base URL that we are willing to post to."""
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = len(url) <= 2048 and url.isascii() and url.isprintable() and " " not in url
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port_ok and not parts.query


class GuardedServer:
    """Serves one socket with a cap on connections and on the time until a first request is there (slow loris).

    At the cap a new connection takes the place of the one that has neither begun nor ended a request for the longest:
    otherwise a stranger could hold every place, idle or trickling, and no validator would be heard any more.
    """

    def __init__(self, app: web.Application, listening: socket.socket) -> None:
        # Bodies stay as they came: a message is never compressed, and unpacking a bomb would cost us, not its sender.
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=75.0, shutdown_timeout=2.0, auto_decompress=False
        )
        self._socket = listening
        self._server: asyncio.Server | None = None
        self._silent: set[int] = set()
        self._by_activity: OrderedDict[RequestHandler, None] = OrderedDict()
        app.middlewares.append(self._mark)

    async def start(self) -> None:
        """Serve what connects to the socket."""
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=self._socket)

    async def close(self) -> None:
        """Stop listening, let requests in progress end, close."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None:
            return _Refuse()
        self._make_room(server)
        handler = server()
        self._silent.add(id(handler))
        self._by_activity[handler] = None

        def _give_up() -> None:
            if id(handler) in self._silent:
                self._silent.discard(id(handler))
                handler.force_close()

        asyncio.get_running_loop().call_later(HEADER_TIMEOUT_S, _give_up)
        return handler

    def _make_room(self, server: web.Server) -> None:
        """Close the connections that did nothing for the longest until there is a place."""
        connected = set(server.connections)
        self._by_activity = OrderedDict((kept, None) for kept in self._by_activity if kept in connected)
        while len(self._by_activity) >= MAX_CONNECTIONS:
            idle, _ = self._by_activity.popitem(last=False)
            self._silent.discard(id(idle))
            idle.force_close()

    def _touch(self, connection: RequestHandler) -> None:
        if connection in self._by_activity:
            self._by_activity.move_to_end(connection)

    @web.middleware
    async def _mark(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._silent.discard(id(request.protocol))
        self._touch(request.protocol)
        try:
            return await handler(request)
        finally:
            self._touch(request.protocol)


def listen(host: str, port: int) -> socket.socket:
    """Take the address before anything else is begun. Raises ConfigError if it is in use or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
        taken.listen(128)
    except OSError as error:
        taken.close()
        why = "the port is in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        raise ConfigError(f"{host}:{port}: {why}; stop what listens there, or mend [http] host and port") from error
    taken.setblocking(False)
    return taken


class _Refuse(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()
