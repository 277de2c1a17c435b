"""A web server that is honest, or anything but, as a script says.

Why this file exists: every source must come through every fault below with sound quotes or a FeedError. The honest part
is the source's own handler, which speaks the real wire format; `HostileServer` stands before it and damages what it
says. Listens on 127.0.0.1 only, on a port that the system picks.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from types import TracebackType

from aiohttp import WSMsgType, web

from tests.feeds.sources.http_faults import FAULTS, HARMLESS
from tests.feeds.sources.socket_faults import SOCKET_FAULTS

Honest = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""Answers as the real server would; a websocket is opened with `open_socket`."""
_QUIET = logging.getLogger("hostile server")
"""Says nothing: a client that hangs up in the middle of a fault does what it should."""
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False
SERVER: web.AppKey[HostileServer] = web.AppKey("hostile_server")
FAULT: web.RequestKey[str] = web.RequestKey("fault", str)


class HostileServer:
    """Use as an async context manager. `script`: names of faults, one per request, then honest again.

    With `seed`, the script over, each request suffers a random fault with the probability `share`.
    `only`: the faults that chance may pick. `tick`: seconds between two bytes of what drips.
    """

    def __init__(
        self,
        honest: Honest,
        script: Iterable[str] = (),
        *,
        seed: int | None = None,
        share: float = 0.5,
        only: Iterable[str] = (),
        tick: float = 0.02,
    ) -> None:
        self.honest, self.script, self.share, self.tick = honest, list(script), share, tick
        self.always: str | None = None
        """A fault for every request, script or not."""
        self.rng = Random(seed)
        self.random = seed is not None
        self.only = tuple(only) or (*FAULTS, *SOCKET_FAULTS)
        self.requests = 0
        self._seen: deque[str] = deque(maxlen=50)
        self.served: dict[str, int] = {}
        """How often each fault was served; `honest` too."""
        self.url = ""
        self._stopping = asyncio.Event()
        self._sockets: weakref.WeakSet[web.WebSocketResponse] = weakref.WeakSet()

    async def __aenter__(self) -> HostileServer:
        app = web.Application(client_max_size=8 << 20)
        app[SERVER] = self
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.2, access_log=None, logger=_QUIET
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for socket in list(self._sockets):
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()
        await self._runner.cleanup()

    @property
    def seen(self) -> list[str]:
        """Paths with query, newest last, at most 50."""
        return list(self._seen)

    @property
    def stopping(self) -> bool:
        """The test is over: whatever drips or hangs must end."""
        return self._stopping.is_set()

    @property
    def ws_url(self) -> str:
        """The same server for websockets."""
        return self.url.replace("http", "ws", 1)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self._seen.append(request.path_qs)
        socket = request.headers.get("Upgrade", "").lower() == "websocket"
        fault = self._next_fault(socket)
        self.served[fault] = self.served.get(fault, 0) + 1
        request[FAULT] = fault
        if fault == "honest" or fault in SOCKET_FAULTS or (socket and fault in HARMLESS):
            return await self.honest(request)
        return await FAULTS[fault](self, request)

    def _next_fault(self, socket: bool) -> str:
        if self.always is not None:
            return self.always
        if self.script:
            return self.script.pop(0)
        if self.random and self.rng.random() < self.share:
            usable = [name for name in self.only if (name in SOCKET_FAULTS and socket) or name in FAULTS]
            return self.rng.choice(usable)
        return "honest"

    async def body(self, request: web.Request) -> bytes:
        """What the honest handler would say; a websocket handler says nothing to plain requests."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return b"{}"
        answer = await self.honest(request)
        assert isinstance(answer, web.Response) and isinstance(answer.body, bytes)
        return answer.body

    async def until_gone(self, request: web.Request) -> None:
        """Wait until the client hung up or the test is over."""
        while not self.stopping and request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(self.tick)


async def open_socket(request: web.Request, **how: object) -> HostileSocket:
    """For honest handlers: accept the websocket; what goes out through it may be damaged."""
    server = request.app[SERVER]
    raw = web.WebSocketResponse(**how)  # type: ignore[arg-type]
    await raw.prepare(request)
    server._sockets.add(raw)
    return HostileSocket(server, raw, request)


class HostileSocket:
    """The honest handler's end of a websocket: `send` and `receive` texts, then return `raw`."""

    def __init__(self, server: HostileServer, raw: web.WebSocketResponse, request: web.Request) -> None:
        self.server, self.raw, self.request = server, raw, request
        self.fault = request[FAULT]
        self._sent = 0
        self.held: str | None = None

    async def receive(self, wait: float | None = None) -> str | None:
        """The client's next text, None when it is gone (or said nothing for `wait` seconds)."""
        try:
            message = await self.raw.receive(wait)
        except TimeoutError:
            return None
        return str(message.data) if message.type is WSMsgType.TEXT else None

    async def send(self, text: str) -> None:
        """Send honestly or as the fault says; the first two messages are honest, so that there is something to lose."""
        self._sent += 1
        if self.raw.closed:
            raise asyncio.CancelledError
        try:
            if self.fault not in SOCKET_FAULTS or self._sent <= 2:
                await self.raw.send_str(text)
            else:
                await SOCKET_FAULTS[self.fault](self, text)
        except ConnectionError:  # the client has gone: nothing more to say
            raise asyncio.CancelledError from None
