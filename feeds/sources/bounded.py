"""Answers and messages of a session, bounded for everyone who reads them, libraries too.

Why this file exists: ccxt and web3 parse what they receive themselves, with parsers that a stranger can make run out of
memory or of stack. So size and nesting are checked where the bytes come in, before any parser sees them. Never in it:
what an answer means.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from feeds.sources.strict_json import MAX_DEPTH, too_deep

FAILURES = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError, ValueError)
"""What aiohttp raises when the other side, or the way there, is at fault (ssl and Unicode errors among them)."""
BodyEnded = Callable[[aiohttp.ClientResponse, BaseException | None], None]
"""Told of each body read to its end, or of what broke it off."""


class Unbounded(aiohttp.ClientPayloadError):
    """A body or message is larger or nested deeper than the limit."""


class BoundedSocket(aiohttp.ClientWebSocketResponse):
    """A websocket whose messages are not nested deeper than `strict_json` allows; aiohttp bounds their size."""

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:
        """The next message; one that is nested too deeply ends the connection, as one that is too large does."""
        message = await super().receive(timeout)
        data = message.data
        if message.type is aiohttp.WSMsgType.TEXT:
            data = data.encode("utf-8", "surrogatepass")
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY) and too_deep(data):
            await self.close(code=aiohttp.WSCloseCode.MESSAGE_TOO_BIG)
            error = Unbounded(f"a message nested deeper than {MAX_DEPTH} levels")
            return aiohttp.WSMessage(aiohttp.WSMsgType.ERROR, error, None)
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
        if too_deep(bytes(body)):
            raise Unbounded(f"a body nested deeper than {MAX_DEPTH} levels")
        return bytes(body)


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
