from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from aiohttp import web

from feeds.sources.replay import ReplaySource
from feeds.sources.source import StoreDamaged
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
from oracle.consensus.events import AttestedReport, Head, Observed
from oracle.consensus.messages import Kind
from oracle.consensus.network import FeedId, FeedKind, FeedSpec, NetworkConfig, Slot, Stake, ValidatorRow
from oracle.consensus.schedule import leader
from oracle.errors import MalformedMessage, PeerFault, Unreachable, WrongDigest
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

    async def heads(self, _config: NetworkConfig) -> Mapping[FeedId, Head]:
        self._up()
        if not self.landed:
            return {}
        last = self.landed[-1]
        return {FeedId(0): Head(FeedId(0), last.report.slot, False, last.results[0].value)}

    async def transmit(self, attested: AttestedReport, _pages: int) -> Landed | None:
        self._up()
        if self.landed and attested.report.slot <= self.landed[-1].report.slot:
            return None
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


async def test_network__four_nodes__land_one_report_a_slot_after_the_silent_ones(tmp_path: Path) -> None:
    async with running(tmp_path) as net:
        await net.run_to(7)
        assert slots(net) == [2, 3, 4, 5, 6]
        values = [attested.results[0].value for attested in net.chain.landed]
        assert values == [round((1.1 + 1e-5 * (10 + slot)) * 10**8) for slot in range(2, 7)]
        for node in net.nodes.values():
            assert node.health().reasons == () and node.status()["last_completed"] == 6
            assert node.metrics.observations_included.total() == 5
            assert node.metrics.restarts.total() == 0 and node.metrics.peer_faults.total() == 0
        told = net.nodes[0].round(6)
        assert told is not None and told["report"]["results"][0]["value"] == values[-1]
        assert sum(node.metrics.rounds_led.total() for node in net.nodes.values()) == 5


async def test_network__one_node_gone_and_back__goes_on_and_signs_nothing_twice(tmp_path: Path) -> None:
    async with running(tmp_path) as net:
        await net.run_to(4)
        await net.stop(0)
        await net.run_to(12)
        during = [slot for slot in slots(net) if 4 <= slot < 12]
        assert during
        await net.start(0)
        await net.run_to(15)
        assert {12, 13, 14} <= set(slots(net))
        assert all(not node.book.evidence for node in net.nodes.values())
        assert net.nodes[0].metrics.sign_refused.total() == 0


async def test_node__restarted_on_a_source_without_history__goes_on_from_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_store: Store, _quotes: object) -> int:
        raise StoreDamaged("quotes", "cannot write (No space left on device)")

    async with running(tmp_path, [0]) as net:
        await net.run_to(3)
        before, now = net.nodes[0]._watch, Micros(net.now * 1000)
        await net.stop(0)
        net.shown_from = Micros(now + 1)
        node = await net.start(0)
        known = node._watch._window.quotes("EUR/USD", now)
        assert len(known) >= 3 and known == before._window.quotes("EUR/USD", now)
        with monkeypatch.context() as patched:
            patched.setattr(Store, "append", full)
            await net.run_to(6)
            assert any(reason.startswith("quotes: 2 quotes are not stored") for reason in node.health().reasons)
        await net.run_to(8)
        assert not node.health().reasons and node.metrics.restarts.total() == 0


async def test_network__ten_times_the_price_from_one__moves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, n1=FaultSettings(10, 0, 100)) as net:
        await net.run_to(5)
        assert [a.results[0].value for a in net.chain.landed] == [
            round((1.1 + 1e-5 * (10 + slot)) * 10**8) for slot in range(2, 5)
        ]
        distance = net.nodes[1].metrics.own_distance.value(feed="0")
        assert distance == pytest.approx(9_000_000, rel=1e-3)


async def test_node__next_config__takes_over_at_its_first_slot(tmp_path: Path) -> None:
    async with running(tmp_path) as net:
        await net.run_to(4)
        net.chain.configs.append(network(2, 7))
        await net.run_to(10)
        assert slots(net) == [2, 3, 4, 5, 6, 7, 8, 9]
        digests = [attested.report.config_digest for attested in net.chain.landed]
        assert digests == [net.chain.configs[slot >= 7].digest for slot in slots(net)]
        assert all(node.status()["config_count"] == 2 for node in net.nodes.values())


async def test_node__rpc_down__says_so_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oracle.node.RETRY_S", 0.001)
    async with running(tmp_path) as net:
        await net.run_to(3)
        net.chain.down = True
        await net.run_to(5)
        assert any(reason.startswith("chain: http://rpc") for reason in net.nodes[0].health().reasons)
        net.chain.down = False
        await net.run_to(25)
        assert not any(reason.startswith("chain") for reason in net.nodes[0].health().reasons)
        assert slots(net)[-1] == 24 and slots(net) == sorted(set(slots(net)))


async def test_node__no_money_and_no_peers__is_unhealthy(tmp_path: Path) -> None:
    net = Net(tmp_path)
    try:
        net.chain.money, net.chain.urls = 0, {}
        node = await net.start(0)
        text = " ".join(node.health().reasons)
        assert (
            "balance: 0.0000 left" in text and "peers: no usable endpoint" in text and KEYS[0].checksum_address in text
        )
    finally:
        await net.close()


async def test_node__key_not_in_the_table__watches_and_says_so(tmp_path: Path) -> None:
    net = Net(tmp_path)
    try:
        rows = tuple(row for row in network().rows if row.address != KEYS[0].address)
        net.chain.configs = [replace(network(), rows=rows)]
        node = await net.start(0)
        await net.run_to(4)
        assert any("is no validator" in reason for reason in node.health().reasons)
        assert node.metrics.observations_sent.total() == 0 and node.metrics.restarts.total() == 0
    finally:
        await net.close()


async def test_node__journal_says_no__does_not_sign_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, [0]) as net:
        node = net.nodes[0]
        node._journal.reserve("observation", 2, bytes(32))
        await net.run_to(3)
        assert node.metrics.sign_refused.value(kind="observation") == 1
        assert any("high-water mark is slot 2" in reason for reason in node.health().reasons)


async def test_node__core_raises__is_loud_rebuilt_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("oracle.node.RETRY_S", 0.001)
    async with running(tmp_path) as net:
        await net.run_to(3)
        node, digest = net.nodes[0], network().digest
        before = node._epochs.all[0].core
        node._tell(digest, Observed(Slot(2), START + 2 * SLOT, ()))
        await net.quiet()
        assert node._epochs.all[0].core is not before and node.metrics.restarts.value(part="rounds") == 1
        assert any(reason.startswith("rounds: ") for reason in node.health().reasons)
        await net.run_to(6)
        assert {4, 5} <= set(slots(net))


async def test_accept__bytes__are_a_message_or_a_peer_fault(tmp_path: Path) -> None:
    async with running(tmp_path, [0]) as net:
        node = net.nodes[0]
        digest = network().digest
        cases = [(b"", MalformedMessage), (b"\x11" * 64, WrongDigest), (b"\x11" + digest + bytes(9), PeerFault)]
        for body, fault in cases:
            with pytest.raises(fault):
                node.accept(body, "them")
        assert node.activity.busy == 0 and node._queue.empty()


async def test_send__own_observation__is_in_the_journal_before_it_leaves(tmp_path: Path) -> None:
    async with running(tmp_path) as net:
        await net.run_to(5)
        for number, node in net.nodes.items():
            for slot in range(2, 5):
                values = node._journal.values(slot)
                assert values[0].value == round((1.1 + 1e-5 * (10 + slot)) * 10**8)
                assert node._journal.reserved(Kind.OBSERVATION.value, slot) is not None
                sent = node._journal.sent(slot)
                assert (sent is None) == (leader(network(), slot) == number)
