"""What a hostile websocket server does with an honest message: one function a fault, `SOCKET_FAULTS` by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol

from aiohttp import web

from tests.feeds.sources.http_faults import BIG, Server
from tests.feeds.sources.mutations import mutate_bytes, mutate_json


class Socket(Protocol):
    """What a fault needs of the connection it damages."""

    @property
    def server(self) -> Server:
        """The server."""
        ...

    raw: web.WebSocketResponse
    request: web.Request
    held: str | None


Fault = Callable[[Socket, str], Awaitable[None]]


async def _drop(socket: Socket, text: str) -> None:
    if socket.server.rng.random() < 0.5:
        await socket.raw.send_str(text)


async def _twice(socket: Socket, text: str) -> None:
    await socket.raw.send_str(text)
    await socket.raw.send_str(text)


async def _swapped(socket: Socket, text: str) -> None:
    held, socket.held = socket.held, None
    if held is None:
        socket.held = text
    else:
        await socket.raw.send_str(text)
        await socket.raw.send_str(held)


def _instead(change: Callable[[bytes, Random], bytes]) -> Fault:
    async def fault(socket: Socket, text: str) -> None:
        await socket.raw.send_str(change(text.encode(), socket.server.rng).decode("utf-8", "replace"))

    return fault


def _frame(data: bytes) -> Fault:
    async def fault(socket: Socket, text: str) -> None:
        transport = socket.request.transport
        if transport is not None:
            transport.write(data)
        await asyncio.sleep(0)

    return fault


async def _cut(socket: Socket, text: str) -> None:
    if socket.request.transport is not None:
        socket.request.transport.abort()
    await asyncio.sleep(0)


async def _goodbye(socket: Socket, text: str) -> None:
    await socket.raw.close(code=1012, message=b"restarting")


async def _silence(socket: Socket, text: str) -> None:
    await socket.server.until_gone(socket.request)


async def _binary(socket: Socket, text: str) -> None:
    await socket.raw.send_bytes(b"\x00\xff" + text.encode())


async def _large(socket: Socket, text: str) -> None:
    await socket.raw.send_str('"' + "a" * BIG + '"')


SOCKET_FAULTS: dict[str, Fault] = {
    "ws_gap": _drop,
    "ws_twice": _twice,
    "ws_swapped": _swapped,
    "ws_mutated": _instead(mutate_json),
    "ws_mutated_bytes": _instead(mutate_bytes),
    "ws_half": _instead(lambda body, rng: body[: len(body) // 2]),
    "ws_not_json": _instead(lambda body, rng: b"hello"),
    "ws_deep": _instead(lambda body, rng: b"[" * 50_000),
    "ws_binary": _binary,
    "ws_large": _large,
    "ws_bad_utf8": _frame(b"\x81\x02\xff\xfe"),
    "ws_bad_frame": _frame(b"\xf3\xff\x00\x01"),
    "ws_cut": _cut,
    "ws_goodbye": _goodbye,
    "ws_silence": _silence,
}
"""Name -> what becomes of an honest message on a websocket, from the third on."""
