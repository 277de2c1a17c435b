"""One websocket of one source, bounded: a message, or a FeedError.

Why this file exists: as `http.py` for answers, so here for messages: size, silence, a broken frame and the end of the
connection all come out as FeedErrors. Never in it: subscriptions, what a message means, reconnecting
(`feeds.sources.live` does).

Protocol: RFC 6455. Backpressure: aiohttp stops reading from the socket while unread messages wait.
"""

from __future__ import annotations

import json

import aiohttp

from feeds.sources.bounded import FAILURES
from feeds.sources.live import Clock
from feeds.sources.source import MalformedAnswer, SourceUnavailable
from feeds.sources.strict_json import parse_json
from feeds.types import Micros


class WebSocket:
    """A connection made by `Http.websocket`; close it, or use it as an async context manager."""

    def __init__(self, source: str, raw: aiohttp.ClientWebSocketResponse, clock: Clock) -> None:
        """Take over the connected `raw`."""
        self.source = source
        self._raw, self._clock = raw, clock
        self.received_at = Micros(0)
        """When the last message was here."""

    async def receive(self) -> bytes:
        """The next message, text as UTF-8. Raises SourceUnavailable (closed, silent, broken) or MalformedAnswer."""
        try:
            message = await self._raw.receive()
        except FAILURES as error:
            what = "fell silent" if isinstance(error, TimeoutError) else f"broke ({type(error).__name__})"
            await self.close()
            raise SourceUnavailable(self.source, f"the websocket {what}") from None
        self.received_at = self._clock()
        if message.type is aiohttp.WSMsgType.TEXT:
            return _utf8(self.source, message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data)
        if message.type is aiohttp.WSMsgType.ERROR:
            raise SourceUnavailable(self.source, f"the websocket broke ({type(message.data).__name__})")
        raise SourceUnavailable(self.source, f"the websocket was closed (code {self._raw.close_code})")

    async def receive_json(self) -> object:
        """The next message as one strict JSON value. Raises as `receive`, and MalformedAnswer."""
        return parse_json(self.source, await self.receive())

    async def send(self, text: str) -> None:
        """Send a text message. Raises SourceUnavailable."""
        try:
            await self._raw.send_str(text)
        except FAILURES as error:
            raise SourceUnavailable(self.source, f"the websocket broke ({type(error).__name__})") from None

    async def send_json(self, value: object) -> None:
        """Send a value as JSON. Raises SourceUnavailable."""
        await self.send(json.dumps(value, allow_nan=False, separators=(",", ":")))

    async def close(self) -> None:
        """End the connection; waits at most a second for the other side; a second call does nothing."""
        try:
            await self._raw.close()
        except FAILURES:
            return  # it is gone already

    async def __aenter__(self) -> WebSocket:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _utf8(source: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedAnswer(source, "half of a surrogate pair", "whole Unicode characters") from None
