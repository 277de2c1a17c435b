"""Stepped time: when the network counts as quiet, and in which order clocks and timers move."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

import oracle.conductor
from oracle.chain.rpc import Rpc
from oracle.conductor import ClockLost, Conductor, NeverQuiet
from oracle.devchain import dev_alloc, serve
from oracle.ledger import Ledger

START = 1_508_000_000_000


@dataclass
class FakeNode:
    """A clock behind HTTP. `timers` are absolute; firing one leaves `work` readings with busy = 1."""

    log: list[tuple[str, int, int]]
    number: int
    timers: list[int] = field(default_factory=list)
    now_ms: int = START
    work: int = 0
    lost: int = 0
    begun: int = 0
    broken: bool = False
    left: int = 0

    async def clock(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.json_response({"error": "no"}, status=409)
        if request.method == "POST":
            body = await request.json()
            self.now_ms = body["now_ms"]
            self.log.append(("hold" if body.get("hold") else "fire", self.number, self.now_ms))
            due = [at for at in self.timers if at <= self.now_ms]
            if due and not body.get("hold"):
                self.timers = [at for at in self.timers if at > self.now_ms]
                self.begun += len(due)
                self.left = self.work
        busy = int(self.left > 0)
        self.left = max(0, self.left - (request.method == "GET"))
        return web.json_response({
            "now_ms": self.now_ms, "next_timer_ms": min(self.timers, default=None), "sent": self.begun + self.lost,
            "handled": self.begun, "busy": busy, "begun": self.begun,
        })  # fmt: skip


Build = Callable[..., Awaitable[tuple[Conductor, list[FakeNode], list[tuple[str, int, int]]]]]


@pytest_asyncio.fixture
async def build() -> AsyncIterator[Build]:
    closing: list[Any] = []
    served = await serve(Ledger(31337, START // 1000, dev_alloc(1), START // 1000))
    session, rpc = aiohttp.ClientSession(), Rpc(served.url)

    async def make(*timers: list[int], **fields: Any) -> Any:
        log: list[tuple[str, int, int]] = []
        nodes = [FakeNode(log, number, list(each), **fields) for number, each in enumerate(timers)]
        conductor = Conductor(session, rpc, START)
        for node in nodes:
            app = web.Application()
            app.router.add_route("*", "/v1/clock", node.clock)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            closing.append(runner)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            conductor.urls[node.number] = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return conductor, nodes, log

    yield make
    await session.close()
    for runner in closing:
        await runner.cleanup()
    await rpc.close()
    await served.stop()


async def test_advance__timers_of_two_nodes__in_order_all_clocks_set_before_any_fires(build: Build) -> None:
    conductor, nodes, log = await build([START + 500, START + 9000], [START + 200])
    await conductor.advance_to(START + 5000)
    assert [at for what, _, at in log if what == "fire"] == [START + 200] * 2 + [START + 500] * 2
    for at in (START + 200, START + 500):
        moves = [what for what, _, when in log if when == at]
        assert moves == ["hold", "hold", "fire", "fire"]
    assert nodes[0].timers == [START + 9000] and conductor.now_ms == nodes[1].now_ms == START + 5000
    assert conductor.steps == 2


async def test_advance__timer_at_the_end__waits_for_the_next_call(build: Build) -> None:
    conductor, nodes, _ = await build([START + 1000])
    await conductor.advance_to(START + 1000)
    assert nodes[0].timers == [START + 1000] and nodes[0].now_ms == START + 1000
    await conductor.advance_to(START + 2000)
    assert nodes[0].timers == []


async def test_advance__work_in_progress__next_timer_waits_for_it(build: Build) -> None:
    conductor, nodes, _ = await build([START + 100, START + 200], work=5)
    await conductor.advance_to(START + 300)
    assert nodes[0].left == 0 and nodes[0].begun == 2


async def test_quiet__message_under_way_for_ever__never_quiet(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle.conductor, "QUIET_S", 0.05)
    conductor, _, _ = await build([START + 100], lost=1)
    with pytest.raises(NeverQuiet, match=str(START)):
        await conductor.advance_to(START + 300)


async def test_advance__node_refuses_or_is_gone__clock_lost_names_it(build: Build) -> None:
    conductor, _, _ = await build([START + 100], broken=True)
    with pytest.raises(ClockLost, match="node 0"):
        await conductor.advance_to(START + 300)
    conductor.urls[0] = "http://127.0.0.1:9"
    with pytest.raises(ClockLost, match="see its log"):
        await conductor.advance_to(START + 300)
