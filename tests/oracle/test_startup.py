from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from feeds.sources.secret import Secret
from feeds.sources.source import FeedError
from feeds.store import Store
from feeds.types import Micros, Quote
from oracle import startup
from oracle.config import ChainSettings, HttpSettings
from oracle.errors import ConfigError
from oracle.peers import GuardedServer, listen
from oracle.startup import ClockOff, adapter_token, check_offset, check_quotes, clock_offset_ms
from tests.strategies.nodes import settings

CHAIN = ChainSettings("http://rpc", 5, "0x" + "09" * 20, "0x" + "08" * 20)
NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("offset", "chain_time"), [(None, NOW // 1000), (500, 0), (-500, NOW // 1000), (0, NOW // 1000 - 9)]
)
def test_check_offset__within_500_ms__passes(offset: int | None, chain_time: int) -> None:
    check_offset(offset, chain_time, NOW, CHAIN)


@pytest.mark.parametrize(("offset", "words"), [(501, "501 ms off"), (-2000, "-2000 ms off")])
def test_check_offset__further_from_the_peers__is_refused(offset: int, words: str) -> None:
    with pytest.raises(ClockOff, match=f"{words}.*500 ms; set this machine's clock by NTP"):
        check_offset(offset, 0, NOW, CHAIN)


def test_check_offset__behind_the_newest_block__is_refused() -> None:
    with pytest.raises(ClockOff, match="1000 ms behind the newest block of chain 5"):
        check_offset(None, NOW // 1000 + 1, NOW, CHAIN)


def test_check_quotes__damaged_file__is_one_line_with_the_folder_and_the_mend(tmp_path: Path) -> None:
    check_quotes(tmp_path)
    assert list(tmp_path.iterdir()) == []
    store, now = Store(tmp_path / "quotes"), Micros(NOW * 1000)
    for minute in range(3):
        store.append([Quote("a", "X", 1.0 + minute, 1.0, now, Micros(now + minute))])
    check_quotes(tmp_path)
    file = sorted((tmp_path / "quotes").rglob("*.parquet"))[1]
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(FeedError) as refusal:
        check_quotes(tmp_path)
    said = str(refusal.value)
    assert said.startswith(f"store {file}: ") and "or move it away to go on without its quotes" in said
    assert "\n" not in said
    file.unlink()
    check_quotes(tmp_path)


def test_adapter_token__reference__is_read_at_the_start_and_must_be_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path, 0)
    assert adapter_token(config) is None
    config = replace(config, http=HttpSettings(adapter_token=Secret("env", "A_BRIDGE_TOKEN")))
    with pytest.raises(FeedError, match="A_BRIDGE_TOKEN: the variable is not set"):
        adapter_token(config)
    monkeypatch.setenv("A_BRIDGE_TOKEN", "hunter2")
    with pytest.raises(
        ConfigError, match=r"http\.adapter_token: env:A_BRIDGE_TOKEN holds 7, allowed: at least 16"
    ) as no:
        adapter_token(config)
    assert "hunter2" not in str(no.value)
    monkeypatch.setenv("A_BRIDGE_TOKEN", "0123456789abcdef")
    assert adapter_token(config) == "0123456789abcdef"


@contextlib.asynccontextmanager
async def clocks(*bodies: bytes) -> AsyncIterator[dict[bytes, str]]:
    """Peers that answer /v1/time with these bytes."""
    async with contextlib.AsyncExitStack() as stack:
        found = {}
        for number, body in enumerate(bodies):
            app = web.Application()

            async def answer(_request: web.Request, body: bytes = body) -> web.Response:
                return web.Response(body=body)

            app.router.add_get("/v1/time", answer)
            socket = listen("127.0.0.1", 0)
            server = GuardedServer(app, socket)
            await server.start()
            stack.push_async_callback(server.close)
            found[bytes([number]) * 20] = f"http://127.0.0.1:{socket.getsockname()[1]}"
        yield found


async def test_clock_offset__peers_clocks__give_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup.time, "time_ns", lambda: NOW * 1_000_000)
    bodies = [b'{"now_ms": %d}' % (NOW - off) for off in (-40, 700, 30)]
    async with clocks(*bodies) as endpoints:
        assert await clock_offset_ms(endpoints) == 30


@pytest.mark.parametrize(("trip_ms", "offset"), [(500, 250), (501, None)])
async def test_clock_offset__peer_answers_late__its_answer_is_no_reason_to_stay_down(
    monkeypatch: pytest.MonkeyPatch, trip_ms: int, offset: int | None
) -> None:
    async with clocks(b'{"now_ms": %d}' % NOW) as endpoints:
        moments = iter([NOW, NOW + trip_ms])
        monkeypatch.setattr(startup.time, "time_ns", lambda: next(moments, NOW + trip_ms) * 1_000_000)
        assert await clock_offset_ms(endpoints) == offset


async def test_clock_offset__rubbish_and_silence__are_left_out() -> None:
    bad = (b"", b"[]", b"{}", b'{"now_ms": "1"}', b'{"now_ms": true}', b'{"now_ms": -1}', b"x" * 5000, b"\xff")
    async with clocks(*bad) as endpoints:
        assert await clock_offset_ms(endpoints | {b"y" * 20: "http://127.0.0.1:9", b"z" * 20: "no url"}) is None


async def test_until_stopped__signal__ends_the_node(tmp_path: Path) -> None:
    import os
    import signal

    class Idle:
        async def run(self) -> None:
            await asyncio.Event().wait()

    task = asyncio.create_task(startup._until_stopped(Idle()))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(task, 5) == signal.SIGTERM
