import asyncio
import json

import aiohttp
import pytest

from feeds.sources.source import FeedError, MalformedAnswer, RateLimited, SourceClosed, SourceUnavailable
from tests.feeds.sources.hostile import HostileServer, open_socket
from tests.feeds.sources.http_faults import FAULTS, HARMLESS
from tests.feeds.sources.socket_faults import SOCKET_FAULTS

ENDS = set(SOCKET_FAULTS) - {"ws_gap", "ws_twice", "ws_swapped", "ws_mutated", "ws_mutated_bytes"}
"""Faults after which no message is sound."""


async def counting(request):
    """Sends 0, 1, 2, ... as JSON; "again" is answered by the number of the connection."""
    socket = await open_socket(request)
    first = await socket.receive(0.05)
    if first is not None:
        await socket.send(json.dumps({"you said": first}))
    for number in range(50):
        await socket.send(json.dumps(number))
    await socket.server.until_gone(request)
    return socket.raw


@pytest.fixture
async def server():
    async with HostileServer(counting, seed=3, share=0.0) as found:
        yield found


async def test_websocket__honest__messages_in_order_with_their_time_then_silence(http, server, time):
    async with await http.websocket("s", f"{server.ws_url}/x?y=1", params={"z": "a b"}) as socket:
        await socket.send_json({"op": "go"})
        assert await socket.receive_json() == {"you said": '{"op":"go"}'}
        assert [await socket.receive_json() for _ in range(50)] == list(range(50))
        assert socket.received_at == time.now
        with pytest.raises(SourceUnavailable, match="fell silent"):
            await socket.receive()
    assert server.seen == ["/x?y=1&z=a%20b"]
    with pytest.raises(SourceUnavailable):
        await socket.receive()
    with pytest.raises(SourceUnavailable):
        await socket.send("too late")
    await socket.close()


@pytest.mark.parametrize("fault", sorted(SOCKET_FAULTS))
async def test_websocket__fault_in_mid_stream__sound_messages_or_feed_error(http, server, fault):
    server.always = fault
    received, error = [], None
    async with await http.websocket("s", server.ws_url) as socket:
        try:
            while len(received) < 120:
                received.append(await socket.receive_json())
        except FeedError as failure:
            error = failure
    assert received[:2] == [0, 1], "honest at first"
    assert error is not None and error.source == "s"
    if fault in ENDS:
        assert received == [0, 1] or fault == "ws_half"


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - HARMLESS))
async def test_websocket__fault_in_place_of_a_handshake__feed_error(http, server, fault):
    server.always = fault
    with pytest.raises(SourceUnavailable) as caught:
        await http.websocket("s", server.ws_url)
    assert caught.value.source == "s" and caught.value.__context__ is None
    assert isinstance(caught.value, RateLimited) == fault.startswith(("429", "503_"))


async def test_websocket__library_with_the_session__deep_message_ends_it_unparsed(http, server):
    server.always = "ws_deep"
    patience = aiohttp.ClientWSTimeout(ws_close=0.05)
    async with http.session.ws_connect(server.ws_url, timeout=patience) as raw:
        kinds = [(await raw.receive()).type for _ in range(4)]
    assert kinds[2:] == [aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSED]


async def test_websocket__http_closed_meanwhile__receive_ends(http, server):
    socket = await http.websocket("s", server.ws_url)
    for _ in range(50):
        await socket.receive()
    waiting = asyncio.ensure_future(socket.receive())
    await asyncio.sleep(0)
    await http.close()
    with pytest.raises(SourceUnavailable):
        await waiting
    with pytest.raises(SourceClosed):
        await http.websocket("s", server.ws_url)


async def test_receive__half_a_surrogate_pair__malformed(http):
    async def odd(request):
        socket = await open_socket(request)
        await socket.raw.send_str('"\\ud800"')
        await socket.server.until_gone(request)
        return socket.raw

    async with HostileServer(odd) as server, await http.websocket("s", server.ws_url) as socket:
        with pytest.raises(MalformedAnswer, match="surrogate"):
            await socket.receive_json()


async def test_websocket__flood_of_pings__answered_while_others_run(http):
    """Two bytes each, so that ten thousands are here at once: aiohttp would answer all of them before anything else."""
    answered = asyncio.Event()

    async def flooding(request):
        socket = await open_socket(request, autoping=False)
        request.transport.write(b"\x89\x00" * 10_000)
        await socket.send("0")
        if (await socket.raw.receive()).type is aiohttp.WSMsgType.PONG:
            answered.set()
        await socket.server.until_gone(request)
        return socket.raw

    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with HostileServer(flooding) as server, await http.websocket("s", server.ws_url) as socket:
        await asyncio.sleep(0)
        beside = asyncio.create_task(other())
        while socket._raw._reader.is_eof() or not socket._raw._reader._buffer:
            await asyncio.sleep(0)
        before = turns
        assert await socket.receive_json() == 0
        beside.cancel()
        assert turns - before > 100
        await asyncio.wait_for(answered.wait(), 5)
