"""The whole path on the system clock: venues, node processes, the chain, and what a Chainlink bridge is answered."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from oracle.devnet import Transmission
from tests.feeds.sources.exchange import venues
from tests.strategies.live_world import DECIMALS, PRICE, LiveDevnet, World, words

JOB = "b8004e29-89e2-4e1d-8e44-49afad2eb480"
PATIENCE = 20
"""Slots within which whatever is waited for must have happened."""


class Stage:
    """A running network, and what is seen of it slot by slot."""

    def __init__(self, world: World, net: LiveDevnet, web: aiohttp.ClientSession) -> None:
        self.world, self.net, self._web = world, net, web
        self.landed: list[Transmission] = []

    async def slots(self, count: int) -> list[Transmission]:
        """What lands in the next `count` slots."""
        begin, found = self.net.slot_now(), list[Transmission]()
        for slot in range(begin, begin + count):
            found += (await self.net.run_slot(slot)).transmissions
        self.landed += found
        return found

    async def until(self, happened: Callable[[Transmission], bool]) -> Transmission:
        """The first report from now on of which `happened` is true."""
        for _ in range(PATIENCE):
            for landed in await self.slots(1):
                if happened(landed):
                    return landed
        last = [words(each) for each in self.landed[-3:]]
        raise AssertionError(f"not within {PATIENCE} slots; the last reports: {last}")

    async def get(self, number: int, path: str) -> Any:
        async with self._web.get(self.net.nodes[number].url + path) as answer:
            return await (answer.text() if path == "/metrics" else answer.json())

    async def bridge(self, number: int) -> dict[str, Any]:
        """What a node answers to Chainlink's bridge task (core/services/pipeline/task.bridge.go)."""
        asked: dict[str, Any] = {
            "id": JOB, "data": {"from": "BTC", "to": "USD"}, "meta": {"latestAnswer": 1, "updatedAt": 1},
            "responseURL": "http://127.0.0.1:9/v2/resume/1",
        }  # fmt: skip
        async with self._web.post(self.net.nodes[number].url + "/adapter", json=asked) as answer:
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams say ten things a second, not a hundred."""
    monkeypatch.setattr(venues, "BEAT", 0.1)


@asynccontextmanager
async def running(folder: Path, slot_seconds: int, stakes: tuple[int, ...]) -> AsyncIterator[Stage]:
    async with (
        World().open() as world,
        LiveDevnet(folder, world, slot_seconds, stakes) as net,
        aiohttp.ClientSession() as web,
    ):
        yield Stage(world, net, web)


def price(landed: Transmission, feed: int = 0) -> float:
    return words(landed)[feed].value / 10**DECIMALS


def told(landed: Transmission) -> bool:
    """The report says a price; on a starved machine too few sources may be fresh, and then it says that it has none."""
    return words(landed)[0].turnout > 0


def whole(landed: Transmission) -> bool:
    """Every validator stands behind both feeds."""
    return all(word.turnout == 10_000 for word in words(landed))


def quiet(folder: Path) -> bool:
    """No node wrote a line beyond what it says at a start."""
    lines = [line for log in folder.glob("*/node.log") for line in log.read_text().splitlines()]
    return bool(lines) and all("level=info" in line for line in lines)


async def test_live_network__venue_lies_then_is_limited_then_node_crashes__price_stands_and_node_goes_on(
    tmp_path: Path,
) -> None:
    moved = 1.01 * PRICE
    async with running(tmp_path, 1, (1,)) as stage:
        world, net = stage.world, stage.net
        await stage.until(lambda landed: price(landed) == price(landed, 1) == PRICE)
        world.trade_at(moved)
        world.trade_at(10 * PRICE, "kraken")
        await stage.until(lambda landed: price(landed) == price(landed, 1) == moved)
        said = await stage.bridge(0)
        assert said["result"] == said["data"]["result"] == moved and said["jobRunID"] == JOB
        assert [each["source"] for each in said["data"]["setAside"]] == ["kraken"]
        world.trade_at(moved, "kraken")
        world.servers["kraken"].always = "429"
        while not (health := await stage.get(0, "/health"))["warnings"]:
            await stage.until(lambda landed: price(landed) == moved)
        assert health["healthy"] and "source kraken is unavailable (HTTP status 429" in health["warnings"][0]
        assert 'dodona_source_down{source="kraken"} 1' in await stage.get(0, "/metrics")
        assert (await stage.bridge(0))["result"] == moved
        await net.kill(0)
        await net.restart(0)
        assert (await stage.get(0, "/health"))["reasons"] == []
        await stage.until(lambda landed: price(landed) == price(landed, 1) == moved)
        assert (await stage.bridge(0))["result"] == moved and not (await stage.get(0, "/v1/status"))["evidence"]
    recalled = [int(count) for count in re.findall(r"recalled_quotes=(\d+)", (tmp_path / "node0/node.log").read_text())]
    assert recalled[0] == 0 < recalled[1] and quiet(tmp_path)
    assert not [words(landed) for landed in stage.landed if told(landed) and not PRICE <= price(landed) <= moved]
    slots = [landed.slot for landed in stage.landed]
    assert slots == sorted(set(slots)) and len(slots) > (slots[-1] - slots[0]) / 2


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["429_seconds", "hang", "half_json", "mutated"])
async def test_live_network__venue_with_one_fault_for_long_and_a_node_crashes__nearly_every_slot_lands_at_the_price(
    tmp_path: Path, fault: str
) -> None:
    async with running(tmp_path, 2, (40, 30, 20, 10)) as stage:
        await stage.until(lambda landed: whole(landed) and price(landed, 1) == PRICE)
        stage.world.servers["binance"].always = fault
        found = await stage.slots(20)
        assert len(found) >= 18 and all(whole(landed) for landed in found[-5:])
        for number in range(4):
            health, said = await stage.get(number, "/health"), await stage.bridge(number)
            assert health["healthy"] and said["result"] == pytest.approx(PRICE, rel=1e-3)
            assert health["warnings"] or fault == "mutated"  # some mutations are sound answers
        await stage.net.kill(3)
        await stage.slots(3)
        await stage.net.restart(3)
        assert (await stage.get(3, "/health"))["reasons"] == []
        await stage.until(whole)
    assert quiet(tmp_path)
    assert all(price(landed) == pytest.approx(PRICE, rel=1e-3) for landed in stage.landed if told(landed))
