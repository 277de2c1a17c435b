"""Drives the devnet through the replay: slots, faults, consumers; keeps what was seen.

Why this file exists: the one place that says what happens when. Never in it: scores, pages, or a shortcut into a node:
everything is read over HTTP or from the chain, as an outsider would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from tqdm import tqdm

from oracle.chain.deploy import contract_at
from oracle.demo import scenario
from oracle.demo.consumers import Consumers
from oracle.demo.record import FeedFigures
from oracle.demo.scenario import Replay
from oracle.devnet import Devnet, SlotResult
from oracle.errors import LocalFault

Json = Mapping[str, Any]
PATIENCE = 5
"""Slots without any report after which something is wrong with the network itself, and going on is pointless."""


class NothingLanded(LocalFault):
    """The replay's validators do not get a single report on chain."""


@dataclass(frozen=True, slots=True)
class SlotSeen:
    """One slot as an outsider saw it. `at`: UTC second at which it began; `rounds`: each running node's own account."""

    index: int
    at: int
    result: SlotResult
    rounds: Mapping[int, Json]


@dataclass(frozen=True, slots=True)
class ReplaySeen:
    """The whole replay. `statuses`: each node's status after the last slot. `feeds`: as their faces say at the end."""

    slots: tuple[SlotSeen, ...]
    statuses: tuple[Json, ...]
    feeds: tuple[FeedFigures, ...]


@dataclass(slots=True)
class Driver:
    """Runs `replay` on a started devnet; `consumers` act at the end of each slot."""

    net: Devnet
    replay: Replay
    consumers: Consumers
    session: aiohttp.ClientSession
    seen: list[SlotSeen] = field(default_factory=list)

    async def run(self) -> ReplaySeen:
        """All slots in order. Raises LocalFault if a process died that should not have."""
        for index in tqdm(range(len(self.replay.starts)), desc="replay", unit="round"):
            self.seen.append(await self._slot(index))
            if len(self.seen) == PATIENCE and not any(slot.result.transmissions for slot in self.seen):
                raise NothingLanded(f"no report landed in {PATIENCE} slots; see {self.net.folder}/*/node.log")
        statuses = await asyncio.gather(*(self._get(number, "/v1/status") for number in range(len(self.net.nodes))))
        feeds = await asyncio.to_thread(self._feeds)
        return ReplaySeen(tuple(self.seen), tuple(status or {} for status in statuses), feeds)

    async def _slot(self, index: int) -> SlotSeen:
        slot = self.replay.slot(index)
        await self.net.skip_to(slot)
        await self._faults(index, slot)
        result = await self.net.run_slot(slot)
        await asyncio.to_thread(self.consumers.act, self.replay.starts[index])
        up = [node.number for node in self.net.nodes if node.child is not None]
        found = await asyncio.gather(*(self._get(number, f"/v1/rounds/{slot}") for number in up))
        rounds = {number: answer for number, answer in zip(up, found, strict=True) if answer is not None}
        return SlotSeen(index, self.replay.starts[index], result, rounds)

    async def _faults(self, index: int, slot: int) -> None:
        """Crashes and restarts of the largest validator, each in the middle of a round."""
        crash = index in (scenario.CRASH_AT, scenario.DOWN_FROM)
        back = index in (scenario.CRASH_AT, scenario.DOWN_FROM + scenario.DOWN_SLOTS)
        if crash or back:
            await self.net.conductor.advance_to(self.net.slot_start_ms(slot) + scenario.CRASH_AFTER_MS)
        if crash:
            await self.net.kill(scenario.CRASHER)
        if back:
            await self.net.restart(scenario.CRASHER)

    async def _get(self, number: int, path: str) -> Json | None:
        async with self.session.get(self.net.nodes[number].url + path) as response:
            if response.status == 404:
                return None
            response.raise_for_status()
            answer: Json = await response.json()
            return answer

    def _feeds(self) -> tuple[FeedFigures, ...]:
        found = []
        for spec in self.net.feeds:
            address = self.net.deployment.faces[spec.number]
            face = contract_at(self.net.web3, "Feed", address).functions
            found.append(
                FeedFigures(
                    symbol=spec.symbol,
                    kind=spec.kind.name.lower(),
                    address=address,
                    rounds=int(face.latestRound().call()),
                    last_value=int(face.latestAnswer().call()),
                    decimals=int(face.decimals().call()),
                )
            )
        return tuple(found)
