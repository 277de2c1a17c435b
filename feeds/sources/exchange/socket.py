"""The websocket under ccxt's streaming classes: ours in place of theirs, bounded, and never silently dead.

Why this file exists: in ccxt's own client (`ccxt.async_support.base.ws.client`) one message that a parser stumbles over
ends the reading without a word, errors that nobody waits for are lost, compressed messages may unpack to any size, and
background tasks outlive it. `Socket` offers the same surface to ccxt's exchange classes (`future`, `resolve`, `reject`,
`send`, `subscriptions`, ...) over `Http.websocket`, with one reading task; whatever fails ends the connection, and the
failure is kept in `lost`. Never in it: a venue's messages, reconnecting (`stream.py`).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from feeds.sources.exchange.client import PARSER_ERRORS, Bounded, ccxt_error, end, keep
from feeds.sources.source import FeedError, MalformedAnswer, SourceUnavailable
from feeds.sources.strict_json import parse_json
from feeds.sources.websocket import WebSocket
from feeds.types import Micros

BURST = 64
"""Messages that are read without letting others run: a flood must not hold up the node."""
BURST_BYTES = 256 << 10
"""The same in bytes."""


class Streaming(Bounded):
    """`Bounded`, with our sockets. `on_heard` is called after each message, with the exchange and the message."""

    on_heard: Callable[[Any, object], None]
    heartbeat_s: float
    sockets: list[Socket]
    lost: BaseException | None = None
    """What ended a connection; None while all stand."""
    heard, heard_at = 0, Micros(0)
    """How many messages came over all connections, and when the last one was here."""

    def open(self: Any) -> None:
        """Called by ccxt before it uses a connection."""
        self.asyncio_loop = asyncio.get_running_loop()

    def client(self: Any, url: str) -> Socket:
        """The connection to `url`, a new one if there is none (ccxt's `client`)."""
        self.open()
        if url not in self.clients:
            options = self.extend(self.streaming, {"ping": getattr(self, "ping", None)}, self.options.get("ws", {}))
            self.clients[url] = Socket(self, url, options)
            self.sockets.append(self.clients[url])
        found: Socket = self.clients[url]
        return found

    def is_spot_url(self, client: object) -> bool:
        """Always: ccxt's Binance tells spot from futures by `/stream` in the address, which a mirror need not have."""
        return True

    def ended(self: Any, error: BaseException, url: str) -> None:
        """The connection to `url` is over."""
        self.lost = self.lost or error
        self.clients.pop(url, None)

    async def disconnect(self: Any) -> None:
        """Close every connection, end what ccxt started, forget trades and books."""
        for socket in self.sockets:
            await socket.close()
        for kept in (self.sockets, self.clients, self.trades, self.orderbooks):
            kept.clear()
        await end(self.work)


class Socket:
    """One connection, as ccxt's exchange classes see it. Their names, their meaning."""

    def __init__(self, owner: Any, url: str, options: Mapping[str, Any]) -> None:
        """Not connected yet. `options`: ccxt's streaming options of the venue."""
        self._owner, self.url = owner, url
        self._future: type[asyncio.Future[Any]] = importlib.import_module("ccxt.async_support.base.ws.future").Future
        self.options = self.streaming = dict(options)
        self.futures: dict[str, Any] = {}
        self.subscriptions: dict[str, Any] = {}
        self.rejections: dict[str, BaseException] = {}
        self.connected: Any = self._new()
        self.error: BaseException | None = None
        self.keepAlive = options.get("keepAlive", 30_000)
        self.lastPong: int | None = None
        self._ping: Callable[[Any], object] | None = options.get("ping")
        self._packed = 31 if options.get("gunzip") else -15 if options.get("inflate") else 0
        self._socket: WebSocket | None = None
        self._asked: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def future(self, message_hash: str) -> Any:
        """The future of the next message of this kind."""
        self._asked.add(message_hash)
        found = self.futures.get(message_hash)
        if found is None or found.cancelled():
            found = self.futures[message_hash] = self._new()
        if message_hash in self.rejections:
            found.reject(self.rejections.pop(message_hash))
        return found

    reusableFuture = reusable_future = future

    def _new(self) -> Any:
        future = self._future()
        # an error that nobody waits for is not lost: `lost` has it
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    def resolve(self, result: object, message_hash: str) -> object:
        """Whoever waits for this kind of message gets it."""
        future = self.futures.pop(message_hash, None)
        if future is not None:
            future.resolve(result)
        return result

    def reject(self, error: BaseException, message_hash: str | None = None) -> BaseException:
        """Whoever waits for this kind of message (None: for any) gets the error.

        Where nobody ever asked for it (a venue that refuses a subscription answers to the request's number), the
        connection is given up: it would stand without a word.
        """
        for name in [message_hash] if message_hash is not None else list(self.futures):
            future = self.futures.pop(name, None)
            if future is not None:
                future.reject(error)
            elif name in self._asked:
                self.rejections[name] = error
            else:
                self.on_error(error)
        return error

    def connect(self, session: object = None, backoff_delay: float = 0) -> Any:
        """Begin to connect, once; `connected` is resolved then."""
        if not self._tasks and self.error is None:
            task = asyncio.get_running_loop().create_task(self._run())
            task.add_done_callback(self._ended)
            keep(self._tasks, task)
        return self.connected

    async def throttle(self, cost: object = None) -> None:
        """Called by the task that ccxt starts for a message to be sent: from here on the task is ours to end."""
        task = asyncio.current_task()
        if task is not None:
            keep(self._owner.work, task)
        await self._owner.throttle(1)

    async def send(self, message: object) -> None:
        """Send a text, or a value as JSON. Raises SourceUnavailable."""
        if self._socket is None or self.error is not None:
            raise SourceUnavailable(self._owner.source, "the websocket is not open")
        await self._socket.send(message if isinstance(message, str) else json.dumps(message, separators=(",", ":")))

    def on_error(self, error: BaseException) -> None:
        """Give the connection up: all who wait get `error`, and the stream ends."""
        if self.error is not None:
            return
        self.error = error
        self.reject(error)
        self._owner.ended(error, self.url)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    reset = on_error

    async def close(self) -> None:
        """End the connection and its tasks; a second call does nothing."""
        await end(self._tasks)
        for future in list(self.futures.values()):
            future.cancel()
        self.futures.clear()

    async def _run(self) -> None:
        owner = self._owner
        try:
            self._socket = await owner.http.websocket(owner.source, self.url, heartbeat_s=owner.heartbeat_s)
            async with self._socket:
                self.connected.resolve(self.url)
                if self._ping is not None:
                    keep(self._tasks, asyncio.get_running_loop().create_task(self._keep_alive(self._ping)))
                taken = 0
                while True:
                    data = await self._socket.receive()
                    self._take(data)
                    taken += len(data) + BURST_BYTES // BURST
                    if taken > BURST_BYTES:
                        taken = 0
                        await asyncio.sleep(0)
        except (FeedError, ccxt_error(), *PARSER_ERRORS) as error:
            self.on_error(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A mistake in code (what `_run` does not foresee) must not end the reading without a word either."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.on_error(error)

    async def _keep_alive(self, ping: Callable[[Any], object]) -> None:
        """Some venues want a ping of their own words; the websocket's own go out beside it."""
        try:
            while True:
                await asyncio.sleep(self.keepAlive / 1000)
                await self.send(ping(self))
        except (FeedError, *PARSER_ERRORS) as error:
            self.on_error(error)

    def _take(self, data: bytes) -> None:
        owner = self._owner
        owner.heard, owner.heard_at = owner.heard + 1, owner.clock()
        if self._packed and not data.startswith((b"{", b"[")):
            data = unpacked(owner.source, data, self._packed, owner.http.limits.message_bytes)
        json_text = data.startswith((b"{", b"["))
        message = parse_json(owner.source, data) if json_text else data.decode("utf-8", "replace")
        owner.handle_message(self, message)
        owner.on_heard(owner, message)


def unpacked(source: str, data: bytes, wbits: int, limit: int) -> bytes:
    """A compressed message, at most `limit` bytes of it. `wbits` as zlib's: 31 for gzip, -15 for raw deflate.

    Raises MalformedAnswer.
    """
    inflater = zlib.decompressobj(wbits=wbits)
    try:
        plain = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise MalformedAnswer(source, f"a message that does not unpack ({error})", "a compressed message") from None
    if len(plain) > limit:
        raise MalformedAnswer(source, "a message that unpacks to too much", f"at most {limit} bytes")
    return plain


Ask = Callable[[], Awaitable[Any]]
"""One call of ccxt's `watch...`."""
