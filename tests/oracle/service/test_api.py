from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from oracle.clock import Activity, Clock, SteppedClock, SystemClock
from oracle.service.api import Health, Json, add_routes
from oracle.service.metrics import Metrics


class View:
    """A node as the routes see it."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.reasons: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()

    def health(self) -> Health:
        return Health(self.reasons, self.warnings)

    def status(self) -> Json:
        return {"name": "alder", "slot": 3}

    def round(self, slot: int) -> Json | None:
        return {"slot": slot} if slot == 3 else None


@contextlib.asynccontextmanager
async def client(view: View, clock: Clock, activity: Activity) -> AsyncIterator[TestClient]:
    app = web.Application()
    add_routes(app, view, clock, activity)
    async with TestClient(TestServer(app)) as found:
        yield found


async def test_health__reasons__are_shown_with_503() -> None:
    view = View()
    async with client(view, SystemClock(), Activity()) as http:
        async with http.get("/health") as answer:
            assert (answer.status, await answer.json()) == (200, {"healthy": True, "reasons": [], "warnings": []})
        view.warnings = ("source kraken is dead in BTC/USD: see whether it still quotes",)
        async with http.get("/health") as answer:
            body = await answer.json()
            assert (answer.status, body["healthy"], body["warnings"]) == (200, True, list(view.warnings))
        view.reasons = ("balance: 0 left; fund it",)
        async with http.get("/health") as answer:
            assert (answer.status, (await answer.json())["reasons"]) == (503, ["balance: 0 left; fund it"])


async def test_rounds_and_status__known_and_unknown() -> None:
    async with client(View(), SystemClock(), Activity()) as http:
        for path, status in (("/v1/status", 200), ("/v1/rounds/3", 200), ("/v1/rounds/4", 404), ("/v1/rounds/x", 404)):
            async with http.get(path) as answer:
                assert answer.status == status, path


async def test_metrics__page__has_every_metric_with_help_and_type() -> None:
    view = View()
    view.metrics.peer_faults.add(rule="BadSignature", peer='a"b\n')
    async with client(view, SystemClock(), Activity()) as http, http.get("/metrics") as answer:
        text = await answer.text()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'dodona_peer_faults_total{rule="BadSignature",peer="a\\"b\\n"} 1' in text
    assert "dodona_healthy 1" in text and text.count("# TYPE") == text.count("# HELP") > 15


async def test_clock__system__has_no_clock_routes() -> None:
    async with client(View(), SystemClock(), Activity()) as http:
        async with http.post("/v1/clock", json={"now_ms": 1}) as answer:
            assert answer.status == 404
        async with http.get("/v1/time") as answer:
            assert (await answer.json())["now_ms"] > 10**12


async def test_clock__moved__fires_and_shows_what_is_under_way() -> None:
    clock, activity = SteppedClock(1000), Activity(sent=4, handled=3)
    clock.call_at(2000, activity.begin)
    clock.call_at(3000, activity.begin)
    async with client(View(), clock, activity) as http:
        async with http.get("/v1/clock") as answer:
            expected = {"now_ms": 1000, "next_timer_ms": 2000, "sent": 4, "handled": 3, "busy": 0, "begun": 0}
            assert await answer.json() == expected
        async with http.post("/v1/clock", json={"now_ms": 2000, "hold": True}) as answer:
            assert await answer.json() == expected | {"now_ms": 2000}
        async with http.post("/v1/clock", json={"now_ms": 2000}) as answer:
            assert await answer.json() == expected | {"now_ms": 2000, "next_timer_ms": 3000, "busy": 1, "begun": 1}
        async with http.post("/v1/clock", json={"now_ms": 1999}) as answer:
            assert answer.status == 409


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b"{}", b'{"now_ms": "1"}', b'{"now_ms": true}', b'{"now_ms": 1.5}', b'{"now_ms": -1}',
     b'{"now_ms": 1e400}', b'{"now_ms": 99999999999999999999}', b'{"now_ms": 5, "hold": 1}', b"\xff", b"[" * 50_000],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
async def test_clock__bad_body__is_refused(body: bytes) -> None:
    clock = SteppedClock(0)
    async with client(View(), clock, Activity()) as http, http.post("/v1/clock", data=body) as answer:
        assert answer.status == 400 and clock.now_ms() == 0
