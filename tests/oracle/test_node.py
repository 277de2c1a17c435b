from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from feeds.sources.source import StoreDamaged
from feeds.store import Store
from feeds.types import Micros
from oracle.config import (
    FaultSettings,
)
from oracle.consensus.messages import Kind
from oracle.consensus.schedule import leader
from tests.strategies.nodes import KEYS, Net, network, running, slots


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
        back = await net.start(0)
        assert back.health().reasons == ()
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
        feed = node.config.feeds[0]
        assert node._watch._prices.price(feed, now) == before._prices.price(feed, now)
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
