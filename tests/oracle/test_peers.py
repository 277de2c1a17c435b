from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from oracle import peers
from oracle.clock import Activity, SteppedClock, SystemClock
from oracle.errors import ConfigError, MalformedMessage
from oracle.peers import MAX_BODY, MAX_QUEUE, Busy, Delivery, GuardedServer, Inbox, Outbox, Seen, listen, usable
from oracle.service.metrics import Metrics

PEER = bytes([7]) * 20
LATER = 10**15


class Box:
    """A receiving node: an inbox behind a real server, with what it took."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.activity, self.metrics = Activity(), Metrics()
        self.busy = 0
        self.url = ""

    def accept(self, body: bytes, peer: str) -> None:
        if self.busy:
            self.busy -= 1
            raise Busy
        if body.startswith(b"bad"):
            raise MalformedMessage("bytes that are no message")
        self.taken.append(body)


@contextlib.asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None) -> AsyncIterator[Box]:
    box = Box()
    app = web.Application(client_max_size=MAX_BODY)
    if handler is None:
        Inbox(box.accept, box.activity, box.metrics).add_route(app)
    else:
        app.router.add_post("/v1/message", handler)
    socket = listen("127.0.0.1", 0)
    box.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    server = GuardedServer(app, socket)
    await server.start()
    try:
        yield box
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def sending(urls: dict[bytes, str], delivery: Delivery | None = None) -> AsyncIterator[Outbox]:
    outbox = Outbox(SystemClock(), Activity(), Metrics(), delivery)
    outbox.set_endpoints(urls)
    try:
        yield outbox
    finally:
        await outbox.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def over(outbox: Outbox) -> bool:
    return outbox._activity.sent == outbox._activity.handled


async def test_post__good_messages__arrive_in_order_and_counters_meet() -> None:
    async with serving() as box, sending({PEER: box.url}) as outbox:
        for number in range(5):
            outbox.post(PEER, b"message %d" % number, LATER)
        assert outbox._activity.sent == 5
        await until(lambda: over(outbox))
        assert box.taken == [b"message %d" % number for number in range(5)]
        assert outbox._metrics.deliveries.value(peer=PEER.hex()[:8], outcome="delivered") == 5
        assert box.activity.busy == 0


async def test_post__same_message_twice__is_taken_once() -> None:
    async with serving() as box, sending({PEER: box.url}) as outbox:
        outbox.post(PEER, b"again", LATER)
        outbox.post(PEER, b"again", LATER)
        await until(lambda: over(outbox))
        assert box.taken == [b"again"]


async def test_post__rubbish__is_refused_once_and_counted_by_rule_and_peer() -> None:
    async with serving() as box, sending({PEER: box.url}) as outbox:
        outbox.post(PEER, b"bad", LATER)
        await until(lambda: over(outbox))
        assert box.metrics.peer_faults.value(rule="MalformedMessage", peer="127.0.0.1") == 1
        assert outbox._metrics.deliveries.value(peer=PEER.hex()[:8], outcome="refused") == 1


async def test_post__busy_peer__is_tried_again() -> None:
    async with serving() as box, sending({PEER: box.url}) as outbox:
        box.busy = 2
        outbox.post(PEER, b"patience", LATER)
        await until(lambda: over(outbox))
        assert box.taken == [b"patience"]


async def test_post__dead_peer__ends_after_its_tries_and_delays_nobody() -> None:
    other = bytes([8]) * 20
    socket = listen("127.0.0.1", 0)
    dead = f"http://127.0.0.1:{socket.getsockname()[1]}"
    socket.close()
    async with serving() as box, sending({PEER: dead, other: box.url}, Delivery(tries=3)) as outbox:
        outbox.post(PEER, b"hello?", LATER)
        outbox.post(other, b"hello!", LATER)
        await until(lambda: box.taken == [b"hello!"])
        await until(lambda: over(outbox))
        assert outbox._metrics.deliveries.value(peer=PEER.hex()[:8], outcome="unreachable") == 1


async def test_post__deadline_passed__is_given_up() -> None:
    async with serving() as box, sending({PEER: box.url}) as outbox:
        outbox.post(PEER, b"too late", 1)
        await until(lambda: over(outbox))
        assert box.taken == []
        assert outbox._metrics.deliveries.value(peer=PEER.hex()[:8], outcome="expired") == 1


async def test_post__slow_peer__times_out_and_a_full_queue_drops_the_oldest() -> None:
    stop = asyncio.Event()

    async def never(_request: web.Request) -> web.Response:
        await stop.wait()
        return web.Response()

    async with serving(never) as box, sending({PEER: box.url}, Delivery(0.05, 0.05, 1)) as outbox:
        for number in range(MAX_QUEUE + 10):
            outbox.post(PEER, b"%d" % number, LATER)
        assert outbox._metrics.deliveries.value(peer=PEER.hex()[:8], outcome="dropped") == 10
        await until(lambda: outbox._metrics.deliveries.value(peer=PEER.hex()[:8], outcome="timeout") > 0)
        stop.set()
    assert over(outbox)


async def test_post__stranger__is_counted_and_not_queued() -> None:
    async with sending({}) as outbox:
        outbox.post(PEER, b"x", LATER)
        assert outbox._activity.sent == 0
        assert outbox._metrics.deliveries.value(peer=PEER.hex()[:8], outcome="no endpoint") == 1


async def test_set_endpoints__peer_left__its_letters_are_over() -> None:
    async with sending({PEER: "http://127.0.0.1:9"}, Delivery(1, 1, 100)) as outbox:
        for _ in range(3):
            outbox.post(PEER, b"x", LATER)
        await asyncio.sleep(0)
        outbox.set_endpoints({})
        await until(lambda: over(outbox))
        assert outbox.peers == {}


async def test_redirect__is_not_followed() -> None:
    async with serving() as box:

        async def elsewhere(_request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(box.url + "/v1/message")

        async with serving(elsewhere) as first, sending({PEER: first.url}) as outbox:
            outbox.post(PEER, b"x", LATER)
            await until(lambda: over(outbox))
        assert box.taken == []


async def raw(url: str, text: bytes, wait: float = 5.0) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(text)
        async with asyncio.timeout(wait):
            return await reader.read(65536)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_inbox__stated_ten_megabytes__is_refused_before_a_byte_is_read() -> None:
    async with serving() as box:
        head = b"POST /v1/message HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
        assert (await raw(box.url, head)).startswith(b"HTTP/1.1 413")
        assert box.metrics.peer_faults.value(rule="BodyTooLong", peer="127.0.0.1") == 1


async def test_inbox__chunked_without_length__is_cut_at_the_limit() -> None:
    async with serving() as box, aiohttp.ClientSession() as session:

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield bytes(100_000)

        with contextlib.suppress(aiohttp.ClientError):
            async with session.post(box.url + "/v1/message", data=chunks()) as answer:
                assert answer.status == 413
        await until(lambda: box.metrics.peer_faults.value(rule="BodyTooLong", peer="127.0.0.1") == 1)
        assert box.taken == []


async def test_inbox__compressed_body__is_never_unpacked() -> None:
    async with serving() as box, aiohttp.ClientSession() as session:
        bomb = gzip.compress(bytes(10_000_000))
        async with session.post(box.url + "/v1/message", data=bomb, headers={"Content-Encoding": "gzip"}) as answer:
            assert answer.status == 200
        assert box.taken == [bomb]


async def test_inbox__body_that_trickles__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "READ_TIMEOUT_S", 0.05)
    async with serving() as box:
        head = b"POST /v1/message HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this"
        assert (await raw(box.url, head)).startswith(b"HTTP/1.1 408")
        assert box.activity.busy == 0


async def test_server__headers_that_never_end__are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "HEADER_TIMEOUT_S", 0.05)
    async with serving() as box:
        assert await raw(box.url, b"POST /v1/message HTTP/1.1\r\nHost: x\r\n") == b""
        async with aiohttp.ClientSession() as session:
            for body in (b"one", b"two"):
                async with session.post(box.url + "/v1/message", data=body) as answer:
                    assert answer.status == 200
                await asyncio.sleep(0.06)
        assert box.taken == [b"one", b"two"]


@pytest.mark.parametrize("held", [b"", b"POST /v1/message HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12"])
async def test_server__stranger_holds_every_place__the_longest_idle_gives_way(
    monkeypatch: pytest.MonkeyPatch, held: bytes
) -> None:
    monkeypatch.setattr(peers, "MAX_CONNECTIONS", 2)
    async with serving() as box:
        host, port = box.url.removeprefix("http://").split(":")
        kept = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        for _, writer in kept:
            writer.write(held)
        await asyncio.sleep(0.02)
        async with aiohttp.ClientSession() as session, session.post(box.url + "/v1/message", data=b"heard") as answer:
            assert answer.status == 200
        assert await asyncio.wait_for(kept[0][0].read(), 1) == b""
        assert not kept[1][0].at_eof()
        for _, writer in kept:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def test_listen__port_in_use__names_it() -> None:
    socket = listen("127.0.0.1", 0)
    port = socket.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: the port is in use; .*\[http\]"):
        listen("127.0.0.1", port)
    socket.close()


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://127.0.0.1:9300", True), ("https://node.example/dodona", True), ("", False), ("ftp://x", False),
        ("http://", False), ("http://x:99999", False), ("http://x y", False), ("http://x?q=1", False),
        ("http://[::1", False), ("http://é", False), ("http://" + "x" * 3000, False), ("\x00", False),
    ],
)  # fmt: skip
def test_usable__endpoints(url: str, good: bool) -> None:
    assert usable(url) is good


def test_seen__over_the_limit__forgets_the_oldest() -> None:
    seen = Seen(limit=2)
    for body in (b"a", b"b", b"c"):
        seen.add(body)
    assert (b"a" in seen, b"b" in seen, b"c" in seen) == (False, True, True)


def test_delivery__stepped_clock__is_patient_but_brief() -> None:
    outbox = Outbox(SteppedClock(0), Activity(), Metrics())
    assert outbox._delivery is peers.STEPPED_DELIVERY
