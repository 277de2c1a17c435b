"""What a hostile web server does instead of an honest answer: one function a fault, `FAULTS` by name."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol

from aiohttp import web

from tests.feeds.sources.mutations import mutate_bytes, mutate_json


class Server(Protocol):
    """What a fault needs of the server it stands in."""

    rng: Random
    tick: float

    @property
    def stopping(self) -> bool:
        """The test is over."""
        ...

    async def body(self, request: web.Request) -> bytes:
        """What the honest handler would say."""
        ...

    async def until_gone(self, request: web.Request) -> None:
        """Wait until the client hung up or the test is over."""
        ...


Fault = Callable[[Server, web.Request], Awaitable[web.StreamResponse]]
BIG = 4 << 20
"""Size of what is too big; tests set a lower limit."""


def _answer(body: bytes, **headers: str) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": "application/json", **headers})


def _status(status: int, body: bytes = b'{"error":"no"}', **headers: str) -> Fault:
    async def fault(server: Server, request: web.Request) -> web.Response:
        kinds = {"Content-Type": "application/json"} if body.startswith(b"{") else {"Content-Type": "text/html"}
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers={**kinds, **more})

    return fault


def _fixed(body: bytes, **headers: str) -> Fault:
    async def fault(server: Server, request: web.Request) -> web.Response:
        return _answer(body, **{name.replace("_", "-"): value for name, value in headers.items()})

    return fault


def _changed(change: Callable[[bytes, Random], bytes], **headers: str) -> Fault:
    async def fault(server: Server, request: web.Request) -> web.Response:
        body = change(await server.body(request), server.rng)
        return _answer(body, **{name.replace("_", "-"): value for name, value in headers.items()})

    return fault


async def _hang(server: Server, request: web.Request) -> web.Response:
    await server.until_gone(request)
    return web.Response()


async def _slow_loris(server: Server, request: web.Request) -> web.StreamResponse:
    body = await server.body(request)
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(BIG)})
    await response.prepare(request)
    try:
        for byte in body + b" " * BIG:
            if server.stopping:
                break
            await response.write(bytes([byte]))
            await asyncio.sleep(server.tick)
    except (ConnectionError, OSError):
        pass  # the client hung up: that is what it should do
    return response


async def _slow_head(server: Server, request: web.Request) -> web.Response:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX: " + b"a" * 8000:
        if request.transport is None or request.transport.is_closing() or server.stopping:
            break
        request.transport.write(bytes([byte]))
        await asyncio.sleep(server.tick)
    return web.Response()


def _raw(data: bytes) -> Fault:
    async def fault(server: Server, request: web.Request) -> web.Response:
        transport = request.transport
        if transport is not None:
            transport.write(data)
            transport.close()
        await server.until_gone(request)
        return web.Response()

    return fault


async def _reset(server: Server, request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut_body(server: Server, request: web.Request) -> web.StreamResponse:
    body = await server.body(request)
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body) + 99)})
    await response.prepare(request)
    await response.write(body)
    if request.transport is not None:
        request.transport.close()
    return response


async def _flood(server: Server, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    try:
        for _ in range(BIG >> 14):
            await response.write(b" " * (1 << 14))
    except (ConnectionError, OSError):
        pass  # the client hung up: that is what it should do
    return response


_BOMB = gzip.compress(b" " * (16 * BIG), mtime=0)
_FUTURE, _PAST = "Fri, 31 Dec 2027 23:59:59 GMT", "Thu, 01 Jan 2015 00:00:00 GMT"

FAULTS: dict[str, Fault] = {
    "429": _status(429),
    "429_seconds": _status(429, Retry_After="2"),
    "429_date": _status(429, Date="Wed, 01 Mar 2023 00:00:00 GMT", Retry_After="Wed, 01 Mar 2023 00:00:03 GMT"),
    "429_forever": _status(429, Retry_After="99999999999999999999"),
    "429_odd": _status(429, Retry_After="soon \u00e9"),
    "400": _status(400),
    "403_html": _status(403, b"<html>forbidden</html>"),
    "404": _status(404),
    "418_empty": _status(418, b""),
    "451_region": _status(451, b'{"code":0,"msg":"Service unavailable from a restricted location"}'),
    "500": _status(500),
    "502_html": _status(502, b"<html>bad gateway</html>"),
    "503": _status(503),
    "503_seconds": _status(503, Retry_After="1"),
    "redirect": _status(302, b"", Location="http://127.0.0.1:9/stolen"),
    "redirect_self": _status(307, b"", Location="/"),
    "204": _status(204, b""),
    "empty": _fixed(b""),
    "null": _fixed(b"null"),
    "empty_object": _fixed(b"{}"),
    "empty_list": _fixed(b"[]"),
    "error_object": _fixed(b'{"error":["EGeneral:Internal error"],"code":-1003,"msg":"too many"}'),
    "deep": _fixed(b"[" * 100_000),
    "deep_closed": _fixed(b"[" * 5000 + b"]" * 5000),
    "long_integer": _fixed(b'{"price":' + b"9" * 100_000 + b"}"),
    "oversized": _fixed(b'"' + b"a" * BIG + b'"'),
    "html": _fixed(b"<html>maintenance</html>", Content_Type="text/html"),
    "html_as_json": _fixed(b"<html>maintenance</html>"),
    "bomb": _fixed(_BOMB, Content_Encoding="gzip"),
    "deflate_bomb": _fixed(zlib.compress(b" " * (16 * BIG)), Content_Encoding="deflate"),
    "false_gzip": _changed(lambda body, rng: body, Content_Encoding="gzip"),
    "cut_gzip": _changed(lambda body, rng: gzip.compress(body)[:-6], Content_Encoding="gzip"),
    "false_encoding": _changed(lambda body, rng: body, Content_Encoding="br"),
    "wrong_type": _changed(lambda body, rng: body, Content_Type="text/plain"),
    "wrong_charset": _changed(lambda body, rng: body, Content_Type="application/json; charset=utf-16"),
    "no_charset": _changed(lambda body, rng: body, Content_Type="application/json; charset=klingon"),
    "half_json": _changed(lambda body, rng: body[: len(body) // 2]),
    "more_json": _changed(lambda body, rng: body + body),
    "bad_utf8": _changed(lambda body, rng: body.replace(b'"', b'"\xff\xfe', 1) or b"\xff"),
    "surrogate": _changed(lambda body, rng: body.replace(b'"', b'"\\ud800', 1)),
    "mutated": _changed(mutate_json),
    "mutated_bytes": _changed(mutate_bytes),
    "skewed": _changed(lambda body, rng: body, Date=_FUTURE),
    "skewed_back": _changed(lambda body, rng: body, Date=_PAST),
    "odd_date": _changed(lambda body, rng: body, Date="yesterday"),
    "huge_header": _changed(lambda body, rng: body, X_Padding="a" * 100_000),
    "hang": _hang,
    "slow_loris": _slow_loris,
    "slow_head": _slow_head,
    "no_http": _raw(b"\x00\x01 hello\r\n\r\n"),
    "half_head": _raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "odd_length": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
    "odd_chunks": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
    "two_lengths": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "reset": _reset,
    "cut_body": _cut_body,
    "flood": _flood,
}  # fmt: skip
"""Name -> what is done instead of an honest answer."""
HARMLESS = frozenset({"skewed", "skewed_back", "odd_date"})
"""Faults through which an answer must still come out whole."""
SLOW = frozenset({"hang", "slow_loris", "slow_head"})
"""Faults that last until the client gives up."""
MAY_PASS = frozenset({"mutated", "mutated_bytes", "wrong_type", "cut_gzip", "204"})
"""Faults after which an answer may still be sound: only its quotes are judged."""
