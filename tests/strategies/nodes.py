"""Nodes in this process over real HTTP on a stepped clock, with a stand-in for the chain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from aiohttp import web

from feeds.sources.replay import ReplaySource
from feeds.store import Store
from feeds.types import SECOND, Micros
from oracle.chain.adapter import Landed
from oracle.clock import SteppedClock
from oracle.config import (
    ChainSettings,
    ClockSettings,
    FaultSettings,
    FeedSettings,
    HttpSettings,
    KeySettings,
    LocalConfig,
    NodeSettings,
)
from oracle.consensus.events import AttestedReport, ChainHeads, Head
from oracle.consensus.network import FeedId, FeedKind, FeedSpec, NetworkConfig, Slot, Stake, ValidatorRow
from oracle.errors import Reverted, Unreachable
from oracle.intake import QUOTES_DIR
from oracle.journal import Identity, open_journal
from oracle.keys import HotKey
from oracle.node import Node
from oracle.peers import GuardedServer, Inbox, listen
from oracle.watch import Watch

START, SLOT = 1_500_000_000 // 60 * 60, 60
KEYS = sorted((HotKey(bytes(31) + bytes([n])) for n in range(1, 5)), key=lambda key: key.address)
SPEC = FeedSpec(
    FeedId(0),
    FeedKind.PRICE,
    8,
    0,
    b"EUR".ljust(32, b"\0"),
    b"USD".ljust(32, b"\0"),
    0,
    60,
    1,
    1,
    10**12,
    20_000,
    50_000,
    50_000,
    1,
    1,
    10_000,
    bytes(32),
    bytes(32),
)
STAKES = (225, 225, 200, 100)


def network(count: int = 1, first_slot: int = 0) -> NetworkConfig:
    return NetworkConfig(
        chain_id=5,
        aggregator=bytes([9]) * 20,
        count=count,
        randomness=bytes(32),
        anchor_slot=Slot(0),
        anchor_time=START,
        slot_seconds=SLOT,
        first_slot=Slot(first_slot),
        max_report_age=150,
        grace_ms=500,
        stage_ms=1000,
        min_validators=1,
        rows=tuple(ValidatorRow(key.address, Stake(stake)) for key, stake in zip(KEYS, STAKES, strict=True)),
        feeds=(SPEC,),
    )


class Chain:
    """The contracts as all nodes see them, without a chain."""

    def __init__(self) -> None:
        self.configs = [network()]
        self.urls: dict[bytes, str] = {}
        self.landed: list[AttestedReport] = []
        self.down = False
        self.money = 10**21
        self.revoked_rows = frozenset[int]()

    def _up(self) -> None:
        if self.down:
            raise Unreachable("http://rpc: no answer; check it")

    async def network_configs(self) -> tuple[NetworkConfig, ...]:
        self._up()
        return tuple(self.configs[-2:])

    async def config_count(self) -> int:
        self._up()
        return self.configs[-1].count

    async def endpoints(self, _config: NetworkConfig) -> dict[bytes, str]:
        return self.urls

    async def chain_heads(self, _config: NetworkConfig) -> ChainHeads:
        self._up()
        if not self.landed:
            return ChainHeads({}, revoked=self.revoked_rows)
        last = self.landed[-1]
        head = Head(FeedId(0), last.report.slot, False, last.results[0].value)
        return ChainHeads({FeedId(0): head}, revoked=self.revoked_rows)

    async def transmit(self, attested: AttestedReport, _pages: int) -> Landed | None:
        self._up()
        if self.landed and attested.report.slot <= self.landed[-1].report.slot:
            return None
        if self.revoked_rows & {row for row, _ in attested.signatures}:
            raise Reverted("aggregator: revoked signer")
        self.landed.append(attested)
        return Landed(bytes(32), 1, attested.report.slot, 80_000, 10**14, (FeedId(0),))

    async def balance(self) -> int:
        return self.money


def settings(folder: Path, number: int) -> LocalConfig:
    where = folder / f"n{number}"
    return LocalConfig(
        path=where / "node.toml",
        node=NodeSettings(f"n{number}", where),
        chain=ChainSettings("http://rpc", 5, "0x" + "09" * 20, "0x" + "08" * 20),
        key=KeySettings(where / "k"),
        http=HttpSettings(),
        clock=ClockSettings("stepped", START * 1000),
        sources=(),
        feeds=(FeedSettings(0, "EUR/USD", ("mid",), 600),),
    )


def watch(faults: FaultSettings | None = None, shown_from: Micros | None = None) -> Watch:
    ts = [(START + minute * SLOT) * SECOND for minute in range(-10, 200)]
    bars = pd.DataFrame({"ts": ts, "close": [1.1 + 1e-5 * i for i in range(len(ts))], "volume": [1.0] * len(ts)})
    source = ReplaySource("mid", {"EUR/USD": bars}, 0, start=shown_from)
    return Watch((FeedSettings(0, "EUR/USD", ("mid",), 600),), [source], {}, faults)


class Net:
    """Nodes in this process, each with its own server and journal, and a conductor's patience."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.chain = folder, Chain()
        self.nodes: dict[int, Node] = {}
        self._stacks: dict[int, contextlib.AsyncExitStack] = {}
        sockets = [listen("127.0.0.1", 0) for _ in KEYS]
        self._ports = [int(socket.getsockname()[1]) for socket in sockets]
        for key, port, socket in zip(KEYS, self._ports, sockets, strict=True):
            self.chain.urls[key.address] = f"http://127.0.0.1:{port}"
            socket.close()
        self.now = START * 1000
        self.shown_from: Micros | None = None

    async def start(self, number: int, faults: FaultSettings | None = None) -> Node:
        config, stack = settings(self.folder, number), contextlib.AsyncExitStack()
        key = KEYS[number]
        journal = open_journal(config.node.data_dir, Identity(5, "0x" + "09" * 20, key.checksum_address))
        stack.callback(journal.close)
        sight, store = watch(faults, self.shown_from), Store(config.node.data_dir / QUOTES_DIR)
        stack.callback(store.close)
        sight.recall(store, Micros(self.now * 1000))
        node = Node(config, key, journal, self.chain, sight, SteppedClock(self.now))  # type: ignore[arg-type]
        stack.push_async_callback(node.close)
        await node.warm_up()
        await node.join()
        app = web.Application()
        Inbox(node.accept, node.activity, node.metrics).add_route(app)
        server = GuardedServer(app, listen("127.0.0.1", self._ports[number]))
        await server.start()
        stack.push_async_callback(server.close)
        task = asyncio.create_task(node.run())
        stack.push_async_callback(self._cancel, task)
        self.nodes[number], self._stacks[number] = node, stack
        await self.quiet()
        return node

    @staticmethod
    async def _cancel(task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def stop(self, number: int) -> None:
        del self.nodes[number]
        await self._stacks.pop(number).aclose()

    async def close(self) -> None:
        for number in list(self.nodes):
            await self.stop(number)

    async def quiet(self) -> None:
        async with asyncio.timeout(20):
            while any(n.activity.busy or n.activity.sent != n.activity.handled for n in self.nodes.values()):
                await asyncio.sleep(0.002)

    async def run_to(self, slot: int) -> None:
        """Run every timer before the start of `slot`."""
        end = (START + slot * SLOT) * 1000
        while True:
            await self.quiet()
            due = [at for n in self.nodes.values() if (at := n.clock.next_timer_ms()) is not None and at < end]
            if not due:
                return
            self.now = min(due)
            for hold in (True, False):
                for node in self.nodes.values():
                    assert isinstance(node.clock, SteppedClock)
                    node.clock.advance(max(self.now, node.clock.now_ms()), hold=hold)


@contextlib.asynccontextmanager
async def running(folder: Path, numbers: Sequence[int] = range(4), **faults: Any) -> AsyncIterator[Net]:
    net = Net(folder)
    try:
        for number in numbers:
            await net.start(number, faults.get(f"n{number}"))
        yield net
    finally:
        await net.close()


def slots(net: Net) -> list[int]:
    return [attested.report.slot for attested in net.chain.landed]
