"""The node as an external adapter: what a Chainlink bridge asks and gets, and what anybody else gets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.adapter import AdapterSettings, AdapterSource
from feeds.sources.http import Http
from feeds.sources.secret import Secret
from feeds.sources.source import SourceUnavailable
from feeds.types import Micros
from models.forecast import LEVELS
from oracle.clock import SteppedClock
from oracle.consensus.messages import FeedObservation
from oracle.consensus.network import FeedId
from oracle.logbook import Logbook, Seen
from oracle.peers import GuardedServer, listen
from oracle.service import external_adapter
from oracle.service.adapter_query import (
    MAX_REQUEST,
    NoAnswer,
    Query,
)
from oracle.service.external_adapter import ExternalAdapter, answer
from oracle.service.metrics import Metrics
from tests.strategies.networks import NAMES
from tests.strategies.nodes import running
from tests.strategies.sightings import ASKED_MS, FEEDS, FUSED, NETWORK, NOW_MS, SAID_MS, STRIKE_MS, seen, step

JOB = "b8004e29-89e2-4e1d-8e44-49afad2eb480"
TOKEN = "correct horse battery staple"


class Book:
    """A node's logbook as the adapter sees it."""

    def __init__(self, found: Seen | None) -> None:
        self.metrics, self.seen = Metrics(), found


@contextlib.asynccontextmanager
async def adapter(book: Book | Logbook, token: str | None = None) -> AsyncIterator[TestClient]:
    app = web.Application()
    ExternalAdapter(book, FEEDS, SteppedClock(NOW_MS), token).add_route(app)
    async with TestClient(TestServer(app)) as client:
        yield client


async def ask(client: TestClient, data: object, **beside: object) -> tuple[int, dict[str, Any]]:
    async with client.post("/adapter", json={"id": JOB, "data": data, **beside}) as got:
        return got.status, await got.json()


def bridge(status: int, body: bytes) -> str:
    """What Chainlink's bridge task makes of an answer: the body as text, or its error.

    Written from core/services/pipeline/task.bridge.go and eautils: `statusCode`, `providerStatusCode` and `error` of
    the body decide before the HTTP status does.
    """
    said = json.loads(body)
    code = said.get("statusCode", status)
    if code == 200 and said.get("providerStatusCode") not in (None, 200):
        code = said["providerStatusCode"]
    if code == 200 and said.get("error") is not None:
        code = 500
    if code != 200 or status >= 400:
        raise RuntimeError(f"{said['error']['name']}: {said['error']['message']}")
    return body.decode()


def jsonparse(text: str, path: str) -> Any:
    """Chainlink's jsonparse task: keys parted by commas."""
    found = json.loads(text)
    for part in path.split(","):
        found = found[part]
    return found


async def test_bridge_task__as_chainlink_core_sends_it__reads_the_price_at_both_paths() -> None:
    request = {
        "id": JOB,
        "data": {"from": "BTC", "to": "USD"},
        "meta": {"latestAnswer": 3_699_912_000_000, "updatedAt": 1_699_999_000},
        "responseURL": None,
    }
    async with adapter(Book(seen())) as client, client.post("/adapter", json=request) as got:
        text = bridge(got.status, await got.read())
    assert jsonparse(text, "data,result") == jsonparse(text, "result") == 37_000.25
    assert json.loads(text) == {
        "jobRunID": JOB,
        "data": {
            "result": 37_000.25, "feed": 0, "symbol": "BTC/USD", "slot": 7, "confidence": 12.5, "sources": ["ask"],
            "setAside": [{"source": "mid", "reason": "dead: silent for 660.0 s"}], "flags": [],
        },
        "result": 37_000.25,
        "statusCode": 200,
        "timestamps": {
            "providerDataRequestedUnixMs": ASKED_MS,
            "providerDataReceivedUnixMs": ASKED_MS,
            "providerIndicatedTimeUnixMs": SAID_MS,
        },
    }  # fmt: skip


async def test_bridge_task__no_price_now__gets_the_reason_as_its_error() -> None:
    book = Book(seen())
    request = {"id": 7, "data": {"from": "ETH", "to": "USD"}}
    async with adapter(book) as client, client.post("/adapter", json=request) as got:
        assert got.status == 504
        body = await got.read()
    assert json.loads(body) == {
        "jobRunID": 7,
        "status": "errored",
        "statusCode": 504,
        "error": {"name": "AdapterDataProviderError", "message": "feed 2: 0 of 2 sources are fresh, needs 1"},
    }
    with pytest.raises(RuntimeError, match="0 of 2 sources are fresh"):
        bridge(504, body)
    assert book.metrics.adapter_requests.value(endpoint="price", outcome="NoAnswer") == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "data must be an object"),
        ({"data": []}, "data must be an object"),
        ({"data": {}}, "both needed"),
        ({"data": {"base": "BTC"}}, "both needed"),
        ({"data": {"base": "BTC", "from": "ETH", "quote": "USD"}}, "base is given more than once"),
        ({"data": {"base": ["BTC", "ETH"], "quote": "USD"}}, "one pair a request"),
        ({"data": {"base": "B" * 65, "quote": "USD"}}, "one symbol"),
        ({"data": {"base": "BTC", "quote": "U\nSD"}}, "one symbol"),
        ({"data": {"base": "BTC", "quote": "USD", "endpoint": "volume"}}, "endpoint must be one of price"),
        ({"data": {"base": "BTC", "quote": "USD"}, "endpoint": 3}, "endpoint must be one of"),
        ({"data": {"base": "BTC", "quote": "USD", "resultPath": "volume"}}, "resultPath"),
        ({"data": {"base": "BTC", "quote": "USD", "horizon": 60}}, "horizon goes with endpoint = forecast"),
        ({"data": {"feed": -1}}, "feed must be a whole number"),
        ({"data": {"feed": True}}, "feed must be a whole number"),
        ({"data": {"base": "BTC", "quote": "USD", "maxAge": 1.5}}, "maxAge must be"),
        ({"data": {"base": "BTC", "quote": "USD", "overrides": []}}, None),
        ({"data": {"base": "BTC", "quote": "USD", "overrides": [1]}}, "overrides must be"),
        ({"data": {"base": "BTC", "quote": "USD", "overrides": {"dodona": 1}}}, "overrides of dodona"),
        ({"data": {"base": "BTC", "quote": "USD", "overrides": {"dodona": {"BTC": 1}}}}, "overrides must be one"),
        ({"data": {"base": "EUR", "quote": "USD"}}, "answered here: BTC/USD, ETH/USD"),
        ({"data": {"feed": 3}}, "no price feed answers feed 3"),
        ({"data": {"feed": 2, "base": "BTC", "quote": "USD"}}, "no price feed answers feed 2 of BTC/USD"),
        ({"data": {"base": "BTC", "quote": "USD", "endpoint": "forecast"}}, "name the horizon, one of 3600, 86400"),
        ({"data": {"feed": 4, "endpoint": "forecast", "horizon": 5}}, "name the horizon, one of 3600"),
        ({"data": {"base": "ETH", "quote": "USD", "endpoint": "event"}}, "no event feed answers ETH/USD"),
    ],
)
async def test_adapter__wrong_request__is_a_4xx_of_the_protocol_that_names_the_mend(
    body: dict[str, object], said: str | None
) -> None:
    async with adapter(Book(seen())) as client, client.post("/adapter", json={"id": JOB, **body}) as got:
        found = await got.json()
    if said is None:  # what is empty is absent
        assert got.status == 200
        return
    assert got.status == found["statusCode"] in (400, 404) and found["jobRunID"] == JOB
    assert (found["status"], found["error"]["name"]) == ("errored", "AdapterInputError")
    assert said in found["error"]["message"]


async def test_forecast__horizon__gives_quantiles_of_the_price() -> None:
    async with adapter(Book(seen())) as client:
        wanted = {"base": "BTC", "quote": "USD", "endpoint": "forecast", "horizon": "3600"}
        status, body = await ask(client, wanted)
    data = body["data"]
    assert (status, body["result"], data["spot"], data["horizon"]) == (200, 37_000.0, 37_000.0, 3600)
    assert list(data["quantiles"]) == [str(level) for level in LEVELS] and data["sources"] == ["ask", "mid"]
    assert data["quantiles"]["0.99"] == 37_000.0 * math.exp(0.03) and data["logReturns"]["0.01"] == -0.03


async def test_event__open_then_resolved__gives_the_probability_and_does_not_go_stale_once_known() -> None:
    query = Query("event", "BTC", "USD")
    found = answer(query, FEEDS, seen(), NOW_MS)
    assert found.result == 0.26 and found.data["probabilities"] == {"below": 0.74, "atOrAbove": 0.26}
    assert (found.data["strike"], found.data["resolved"], found.said_at_ms) == ("50000", False, SAID_MS)
    fact = seen().sighting
    known = FeedObservation(FeedId(12), 1, 0, sources=0b11, components=(0, 10_000), resolved=True)
    later = STRIKE_MS + 10**9
    resolved = Seen(NETWORK, 9, later, replace(fact, values=(*fact.values[:4], known)))
    found = answer(query, FEEDS, resolved, later + 1000)
    assert (found.result, found.data["resolved"], found.said_at_ms) == (1.0, True, STRIKE_MS)
    with pytest.raises(NoAnswer, match="last observed"):
        answer(query, FEEDS, resolved, later + 61_000)


async def test_adapter__before_the_first_observation__says_so() -> None:
    async with adapter(Book(None)) as client:
        status, body = await ask(client, {"base": "BTC", "quote": "USD"})
    assert status == 504 and "no observation yet" in body["error"]["message"]


def test_answer__source_was_fresh_when_observed__stands_until_the_next_slot() -> None:
    network = replace(NETWORK, slot_seconds=2)
    fused = replace(FUSED, ts=Micros((ASKED_MS - 60_000) * 1000))  # as old as the feed allows: it had its part in it
    last = seen(network=network)
    last = replace(last, sighting=replace(last.sighting, fused={0: fused}))
    query = Query("price", feed=0)
    assert answer(query, FEEDS, last, ASKED_MS + 2000).result == FUSED.price
    with pytest.raises(NoAnswer, match="62001 ms old, limit 62000 ms"):
        answer(query, FEEDS, last, ASKED_MS + 2001)
    with pytest.raises(NoAnswer, match="limit 60000 ms"):
        answer(replace(query, max_age_ms=60_000), FEEDS, last, ASKED_MS + 1)


@given(
    now=st.integers(NOW_MS - 10**5, NOW_MS + 10**6),
    said=st.integers(NOW_MS - 10**6, NOW_MS),
    asked=st.integers(NOW_MS - 10**6, NOW_MS),
    wanted=st.none() | st.integers(0, 10**6),
    endpoint=st.sampled_from([0, 4, 12]),
)
def test_answer__any_ages__is_never_older_than_feed_and_asker_allow(
    now: int, said: int, asked: int, wanted: int | None, endpoint: int
) -> None:
    old = seen(at_ms=asked)
    fused = replace(FUSED, ts=Micros(said * 1000))
    steps = {("BTC/USD", NAMES): replace(step(), ts=said * 1000)}
    old = replace(old, sighting=replace(old.sighting, fused={0: fused}, steps=steps))
    query = Query({0: "price", 4: "forecast", 12: "event"}[endpoint], feed=endpoint, max_age_ms=wanted)
    limit = min(120_000, 10**9 if wanted is None else wanted)  # slots are of an hour: as long again as the feed allows
    if now - asked <= 60_000 and now - said <= limit:
        assert answer(query, FEEDS, old, now).said_at_ms == said
    else:
        with pytest.raises(NoAnswer):
            answer(query, FEEDS, old, now)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200), (TOKEN, 401), (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN}x", 401), ("Bearer", 401), ("Bearer \xe9", 401), (None, 401),
    ],
)  # fmt: skip
async def test_token__asked_for__lets_in_only_who_brings_it(header: str | None, status: int) -> None:
    headers = {} if header is None else {"Authorization": header}
    book = Book(seen())
    async with adapter(book, TOKEN) as client:
        data = {"data": {"base": "BTC", "quote": "USD"}}
        async with client.post("/adapter", json=data, headers=headers) as got:
            body = await got.json()
            assert got.status == body["statusCode"] == status and TOKEN not in json.dumps(body)
            assert ("WWW-Authenticate" in got.headers) == (status == 401)
    assert book.metrics.adapter_requests.total() == 1


async def test_limits__long_or_foreign_bodies__are_4xx(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"id": 1'
        await asyncio.sleep(5)
        yield b"}"

    async def endlessly() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 4096

    json_type = {"Content-Type": "application/json"}
    async with adapter(Book(seen())) as client:
        async with client.post("/adapter", data=b" " * (MAX_REQUEST + 1), headers=json_type) as got:
            assert (got.status, (await got.json())["statusCode"]) == (413, 413)
        with contextlib.suppress(ConnectionError, OSError):
            async with client.post("/adapter", data=endlessly(), headers=json_type) as got:
                assert got.status == 413
        async with client.post("/adapter", data=b"{}", headers={"Content-Type": "text/plain"}) as got:
            assert got.status == 400 and "application/json" in (await got.json())["error"]["message"]
        async with client.get("/adapter") as got:
            assert got.status == 405
        monkeypatch.setattr(external_adapter, "READ_TIMEOUT_S", 0.01)
        async with client.post("/adapter", data=slowly(), headers=json_type) as got:
            assert (got.status, (await got.json())["statusCode"]) == (408, 408)


async def test_adapter__mutated_requests__are_never_a_500() -> None:
    draw, letters = random.Random(5), b'{}[]",:\\0aBTC\xff\x00 e9.-'
    whole = json.dumps({"id": JOB, "data": {"from": "BTC", "to": "USD", "maxAge": 30000}, "meta": {"a": 1e3}}).encode()
    statuses = set()
    async with adapter(Book(seen())) as client:
        for _ in range(300):
            body = bytearray(whole)
            for _ in range(draw.randrange(4)):
                at = draw.randrange(len(body))
                body[at : at + draw.randrange(3)] = bytes(draw.choices(letters, k=draw.randrange(3)))
            async with client.post("/adapter", data=bytes(body), headers={"Content-Type": "application/json"}) as got:
                said = await got.json()
                assert said["statusCode"] == got.status and got.status in (200, 400, 404, 504), (body, said)
                assert ("result" in said) == (got.status == 200)
                statuses.add(got.status)
    assert statuses >= {200, 400, 404}


async def test_adapter__chunks_that_break_off__end_in_a_4xx_and_the_next_is_answered() -> None:
    app = web.Application()
    book = Book(seen())
    ExternalAdapter(book, FEEDS, SteppedClock(NOW_MS)).add_route(app)
    socket = listen("127.0.0.1", 0)
    server = GuardedServer(app, socket)
    await server.start()
    head = b"POST /adapter HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    try:
        for rest in (b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\nzz\r\n', b"Content-Length: 9\r\n\r\n{}"):
            reader, writer = await asyncio.open_connection("127.0.0.1", socket.getsockname()[1])
            writer.write(head + rest)
            writer.write_eof()
            said = await asyncio.wait_for(reader.read(), 10)
            assert said == b"" or said.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), said
            writer.close()
            await writer.wait_closed()
        packed = b"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
        reader, writer = await asyncio.open_connection("127.0.0.1", socket.getsockname()[1])
        writer.write(head + packed)
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()
    finally:
        await server.close()


async def test_round_trip__our_client_asks_our_server__price_and_time_come_through_and_so_does_a_refusal() -> None:
    app, book, token = web.Application(), Book(seen()), {"Authorization": Secret.parse("Bearer env:A_TOKEN_OF_OURS")}
    ExternalAdapter(book, FEEDS, SteppedClock(NOW_MS), TOKEN).add_route(app)
    http = Http(clock=lambda: Micros(NOW_MS * 1000))
    async with TestServer(app) as server:
        url = str(server.make_url("/adapter"))
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("A_TOKEN_OF_OURS", TOKEN)
            both = AdapterSettings(name="peer", url=url, symbols=("BTC/USD", "ETH/USD"), headers=token)
            (quote,) = await AdapterSource(both, http).fetch()
            assert (quote.symbol, quote.price, quote.ts) == ("BTC/USD", 37_000.25, SAID_MS * 1000)
            one = AdapterSettings(name="peer", url=url, symbols=("ETH/USD",), headers=token)
            with pytest.raises(SourceUnavailable, match="status 504, AdapterDataProviderError: feed 2: 0 of 2 sources"):
                await AdapterSource(one, http).fetch()
            patched.setenv("A_TOKEN_OF_OURS", "another")
            with pytest.raises(SourceUnavailable, match="status 401"):
                await AdapterSource(both, http).fetch()
    await http.close()


async def test_adapter__over_a_running_node__says_what_it_observed(tmp_path: Path) -> None:
    async with running(tmp_path, [0]) as net:
        await net.run_to(4)
        node = net.nodes[0]
        seen_now = node.book.seen
        assert seen_now is not None
        settings = node.config.feeds[0]
        base, _, quote = settings.symbol.partition("/")
        found = answer(Query("price", base, quote), node.config.feeds, seen_now, seen_now.at_ms)
        value = seen_now.sighting.values[0]
        assert value is not None and found.result == pytest.approx(value.value / 1e8, abs=1e-8)
        assert found.data["sources"] and found.data["slot"] == seen_now.slot
