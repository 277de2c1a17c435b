"""Answers and messages of a session, bounded for everyone who reads them, libraries too.

Why this file exists: ccxt and web3 parse what they receive themselves, with parsers that a stranger can make run out of
memory, of stack or of time. So size, nesting and number of values are checked where the bytes come in, before any
parser sees them. Never in it: what an answer means.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from feeds.sources.strict_json import MAX_DEPTH, MAX_VALUES, too_deep, too_many

FAILURES = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError, ValueError)
"""What aiohttp raises when the other side, or the way there, is at fault (ssl and Unicode errors among them)."""
BodyEnded = Callable[[aiohttp.ClientResponse, BaseException | None], None]
"""Told of each body read to its end, or of what broke it off."""


BURST = 64
"""Websocket messages, pings among them, that are read without letting others run: a flood must not hold up the node."""


class Unbounded(aiohttp.ClientPayloadError):
    """A body or message is larger or nested deeper than the limit."""


class BoundedSocket(aiohttp.ClientWebSocketResponse):
    """A websocket whose messages are nested no deeper, and hold no more values, than `strict_json` allows."""

    _read_now = 0

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:
        """The next message that is no ping or pong (connect with `autoping=False`: aiohttp answers a flood in one go).

        One that is too deep or of too many values ends the connection, as one too large does.
        """
        while True:
            message = await super().receive(timeout)
            self._read_now = (self._read_now + 1) % BURST
            if self._read_now == 0:
                await asyncio.sleep(0)
            if message.type is aiohttp.WSMsgType.PING:
                await self.pong(message.data)
            elif message.type is not aiohttp.WSMsgType.PONG:
                break
        data = message.data
        if message.type is aiohttp.WSMsgType.TEXT:
            data = data.encode("utf-8", "surrogatepass")
        heavy = _heavy(data) if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY) else None
        if heavy is not None:
            await self.close(code=aiohttp.WSCloseCode.MESSAGE_TOO_BIG)
            return aiohttp.WSMessage(aiohttp.WSMsgType.ERROR, Unbounded(f"a message {heavy}"), None)
        return message


class _BoundedResponse(aiohttp.ClientResponse):
    """A response whose body is read up to the limit and no further, before and after decompression."""

    limit: int
    ended: BodyEnded

    async def read(self) -> bytes:
        """The body, also for `text` and `json`. Raises ClientPayloadError beyond the limit."""
        if self._body is None:
            try:
                self._body = await self._bounded()
            except asyncio.CancelledError:
                self.close()
                raise
            except FAILURES as error:
                self.close()
                type(self).ended(self, error)
                raise
            type(self).ended(self, None)
        return await super().read()

    async def _bounded(self) -> bytes:
        if (self.content_length or 0) > self.limit:
            raise Unbounded(f"a body of {self.content_length} bytes, limit {self.limit}")
        body = bytearray()
        async for part in self.content.iter_any():
            body += part
            if len(body) > self.limit or self.content.total_raw_bytes > self.limit:
                raise Unbounded(f"a body of more than {self.limit} bytes")
        found = bytes(body)
        heavy = _heavy(found)
        if heavy is not None:
            raise Unbounded(f"a body {heavy}")
        return found


def _heavy(data: bytes) -> str | None:
    """Why no parser may see `data`; None if it may."""
    if too_many(data):
        return f"of more than {MAX_VALUES:,} JSON values"
    return f"nested deeper than {MAX_DEPTH} levels" if too_deep(data) else None


def bounded_response(limit: int, ended: BodyEnded) -> type[aiohttp.ClientResponse]:
    """A response class for a session: bodies of at most `limit` bytes, `ended` told of each."""
    return type("BoundedResponse", (_BoundedResponse,), {"limit": limit, "ended": staticmethod(ended)})


def reason_of(error: BaseException) -> str:
    """What went wrong, in words that hold neither URL nor header."""
    if isinstance(error, Unbounded):
        return str(error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, TimeoutError):
        return "too slow: no whole answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError | aiohttp.ClientSSLError):
        return "its TLS certificate or handshake is not in order"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"no websocket: HTTP status {error.status}"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError | BrokenPipeError):
        return "it closed the connection"
    if isinstance(error, OSError) and error.strerror:
        return f"connection failed: {error.strerror}"[:120]
    return f"its answer is no sound HTTP ({type(error).__name__})"
