"""A whole network on one machine: chain, contracts and N validators as real processes.

Why this file exists: `dodona demo`, tests and rehearsals need the real thing, only small and under control: nodes are
`dodona node run` processes with their own keys, journals and ports; a crash is SIGKILL. `clock="stepped"` replays
recorded time as fast as the machine allows (`run_slot`); `clock="system"` leaves the nodes to themselves. Never in
here: a shortcut around HTTP, the chain or the keys that a real operator would not have. The keys are public knowledge.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3 import HTTPProvider, Web3
from web3.middleware import SignAndSendRawMiddlewareBuilder

from oracle.chain.adapter import TRANSMITTED
from oracle.chain.deploy import Core, Timing, deploy_core, deploy_feed, list_feeds, register_validator, roll_epoch, send
from oracle.chain.rpc import Rpc
from oracle.conductor import Conductor
from oracle.config import (
    ChainSettings,
    ClockMode,
    ClockSettings,
    FaultSettings,
    FeedSettings,
    HttpSettings,
    KeySettings,
    LocalConfig,
    ModelSettings,
    NodeSettings,
    to_toml,
)
from oracle.consensus.network import FeedSpec
from oracle.devchain import DEFAULT_CHAIN_ID, dev_address, dev_key
from oracle.errors import ConfigError, LocalFault
from oracle.keys import HotKey, create_keystore
from oracle.processes import Child, free_ports
from oracle.source_settings import SourceSettings

TOKEN = 10**18
SUPPLY = 10**9 * TOKEN
GAS_MONEY = 1000  # ether for each validator
STAKES = (40, 30, 20, 10)
START_S = 120.0
PASSWORD = "devnet"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What one validator observes with; the rest of its settings is the devnet's to fill in."""

    sources: tuple[SourceSettings, ...]
    feeds: tuple[FeedSettings, ...]
    models: ModelSettings | None = None
    faults: FaultSettings | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Transmission:
    """A report that landed. `words`: as they were signed, a feed's vector word following its scalar word."""

    hash: str
    block: int
    slot: int
    gas_used: int
    sender: str
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SlotResult:
    """One slot as seen on chain, with the real seconds and the steps of time that it took."""

    slot: int
    transmissions: tuple[Transmission, ...]
    seconds: float
    steps: int


@dataclass(slots=True)
class Node:
    """One validator: settings, key, and its process while it runs."""

    number: int
    config: LocalConfig
    key: HotKey
    child: Child | None = None
    restarts: int = 0

    @property
    def url(self) -> str:
        """Base of its HTTP service."""
        return f"http://{self.config.http.host}:{self.config.http.port}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where everything is. `faces`: Feed contract by feed number. Addresses are checksummed text."""

    rpc_url: str
    chain_id: int
    token: str
    staking: str
    aggregator: str
    owner: str
    first_slot: int
    anchor_time: int
    faces: Mapping[int, str] = field(default_factory=dict)


class Devnet:
    """`async with Devnet(folder, feeds, plans, timing, first_slot_at=...) as net: await net.run_slot(net.first_slot)`.

    `plans`: one for each validator, `stakes` in tokens in the same order. `first_slot_at`: UTC second at which the
    first slot begins (stepped clock only; a multiple of the slot length). Feeds and nodes are up when the block is
    entered; when it is left, however, every process has ended. `folder` keeps configs, journals, logs, deployment.json.
    """

    def __init__(
        self, folder: Path, feeds: Sequence[FeedSpec], plans: Sequence[NodePlan], timing: Timing, *,
        first_slot_at: int | None = None, stakes: Sequence[int] = STAKES, clock: ClockMode = "stepped",
        chain_id: int = DEFAULT_CHAIN_ID, faces: bool = True,
    ) -> None:  # fmt: skip
        if len(plans) != len(stakes):
            raise ConfigError(f"devnet: {len(plans)} node plans for {len(stakes)} stakes; give one plan a validator")
        if (clock == "stepped") != (first_slot_at is not None):
            raise ConfigError("devnet: first_slot_at goes with a stepped clock, and only with it")
        if first_slot_at is not None and first_slot_at % timing.slot_seconds:
            raise ConfigError(f"devnet: first_slot_at {first_slot_at} is no multiple of {timing.slot_seconds} s")
        self.folder, self.feeds, self.plans, self.timing = folder.resolve(), tuple(feeds), tuple(plans), timing
        self.stakes, self.clock, self.chain_id, self._faces = tuple(stakes), clock, chain_id, faces
        lead = lead_slots(timing) * timing.slot_seconds
        # Every block of the deployment takes a second of chain time: on the system clock they lie in the past.
        passed = int(time.time()) - 60 - 8 * (len(plans) + len(feeds))
        self._genesis = passed if first_slot_at is None else first_slot_at - lead
        self.nodes: list[Node] = []
        self.deployment: Deployment
        self.conductor: Conductor
        self.core: Core
        self.web3: Web3
        self._chain: Child | None = None
        self._rpc: Rpc | None = None
        self._session: aiohttp.ClientSession | None = None
        self._seen_block = 0

    # Life

    async def __aenter__(self) -> Devnet:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if threading.current_thread() is threading.main_thread() and task is not None:
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
        async with AsyncExitStack() as unless_started:
            unless_started.push_async_callback(self._stop)
            await self._start()
            unless_started.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        rpc_url = await self._start_chain()
        self._rpc = Rpc(rpc_url)
        keys = [HotKey(keccak(b"dodona devnet validator %d" % number)) for number in range(len(self.plans))]
        ports = free_ports(len(self.plans))
        self.deployment = await asyncio.to_thread(self._deploy, rpc_url, keys, ports)
        if self.clock == "system":
            await self._rpc.request("dodona_setTime", None)
        (self.folder / "deployment.json").write_text(json.dumps(_as_json(self.deployment), indent=1), encoding="utf-8")
        now = await self._rpc.request("eth_getBlockByNumber", "latest", False)
        self._seen_block = int(now["number"], 16)
        self.conductor = Conductor(self._session, self._rpc, int(now["timestamp"], 16) * 1000 + 1000)
        for number, (plan, key, port) in enumerate(zip(self.plans, keys, ports, strict=True)):
            config = self._config(number, plan, port)
            create_keystore(config.key.keystore, PASSWORD, secret=key.secret, light=True)
            self.nodes.append(Node(number, config, key))
        try:
            async with asyncio.TaskGroup() as group:
                for node in self.nodes:
                    group.create_task(self._launch(node))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _start_chain(self) -> str:
        arguments = ["-m", "oracle.devchain", "--chain-id", str(self.chain_id), "--genesis-time", str(self._genesis)]
        self._chain = await Child.start("chain", arguments, self.folder / "chain.log", piped=True)
        return str(json.loads(await self._chain.line(START_S))["url"])

    async def _stop(self) -> None:
        """End everything by process id. Runs to its end even while the task is being cancelled."""
        children = [node.child for node in self.nodes if node.child is not None]
        await asyncio.shield(asyncio.gather(*(child.stop() for child in children)))
        if self._chain is not None:
            await asyncio.shield(self._chain.stop())
        if self._rpc is not None:
            await self._rpc.close()
        if self._session is not None:
            await self._session.close()
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    # Contracts (in a thread: deploy.py is plain synchronous web3)

    def _deploy(self, rpc_url: str, keys: Sequence[HotKey], ports: Sequence[int]) -> Deployment:
        w3 = Web3(HTTPProvider(rpc_url))
        accounts = [Account.from_key(dev_key(index)) for index in range(len(keys) + 1)]
        w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(accounts), layer=0)
        owner = to_checksum_address(dev_address(0))
        core = deploy_core(w3, owner, self.timing, supply=SUPPLY, min_self_bond=TOKEN, anchor_time=self._genesis)
        list_feeds(w3, core, self.feeds)
        for number, (key, port, stake) in enumerate(zip(keys, ports, self.stakes, strict=True)):
            cold = to_checksum_address(dev_address(number + 1))
            send(w3, core.token.functions.transfer(cold, stake * TOKEN), owner)
            url = f"http://127.0.0.1:{port}"
            register_validator(w3, core, cold, key.checksum_address, url, stake * TOKEN, key.sign)
            gas_money = {"from": owner, "to": key.checksum_address, "value": Web3.to_wei(GAS_MONEY, "ether")}
            w3.eth.wait_for_transaction_receipt(w3.eth.send_transaction(gas_money))  # type: ignore[arg-type]
        first = roll_epoch(w3, core, owner)
        aggregator = core.aggregator
        numbers = [int(spec.number) for spec in self.feeds if self._faces]
        faces: dict[int, str] = {number: deploy_feed(w3, owner, aggregator, number).address for number in numbers}
        configs = core.configurator.functions
        config = configs.configOf(configs.configCount().call()).call()
        self.core, self.web3 = core, w3
        return Deployment(
            rpc_url, self.chain_id, core.token.address, core.staking.address, aggregator.address, owner, first,
            int(config[5]) - (int(config[4]) - first) * self.timing.slot_seconds, faces,
        )  # fmt: skip

    # Nodes

    def _config(self, number: int, plan: NodePlan, port: int) -> LocalConfig:
        name = plan.name or f"node{number}"
        home = self.folder / name
        where = self.deployment
        password = home / "password"
        home.mkdir(parents=True, exist_ok=True)
        password.write_text(PASSWORD, encoding="utf-8")
        password.chmod(0o600)
        return LocalConfig(
            path=home / "node.toml",
            node=NodeSettings(name=name, data_dir=home / "data"),
            chain=ChainSettings(
                where.rpc_url, where.chain_id, where.aggregator.lower(), where.staking.lower(), timeout_s=30
            ),
            key=KeySettings(keystore=home / "keystore.json", password_file=password),
            http=HttpSettings(port=port),
            clock=ClockSettings(mode=self.clock),
            sources=plan.sources,
            feeds=plan.feeds,
            models=plan.models,
            faults=plan.faults,
        )

    async def _launch(self, node: Node) -> None:
        """Write the node's settings, start its process, wait until it answers."""
        if self.clock == "stepped":
            node.config = replace(node.config, clock=ClockSettings("stepped", self.conductor.now_ms))
        node.config.path.write_text(to_toml(node.config), encoding="utf-8")
        arguments = ["-m", "oracle.cli", "node", "run", "--config", str(node.config.path)]
        log = node.config.path.parent / "node.log"
        node.child = await Child.start(node.config.node.name, arguments, log, ONE_THREAD)
        await self._answers(node, node.child)
        if self.clock == "stepped":
            self.conductor.urls[node.number] = node.url

    async def _answers(self, node: Node, child: Child) -> None:
        assert self._session is not None
        path = "/v1/clock" if self.clock == "stepped" else "/health"
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                async with self._session.get(node.url + path) as response:
                    if response.status in (200, 503):
                        return
            except (aiohttp.ClientError, OSError, TimeoutError):
                if not child.running:
                    break
            await asyncio.sleep(0.1)
        raise child.died()

    async def kill(self, number: int) -> None:
        """Crash a node: SIGKILL, no goodbye."""
        node = self.nodes[number]
        if node.child is None:
            raise LocalFault(f"devnet: node {number} is not running")
        await node.child.kill()
        node.child = None
        if self.clock == "stepped":
            self.conductor.urls.pop(number, None)

    async def restart(self, number: int) -> None:
        """Start a crashed node again on its own journal, at the network's time."""
        node = self.nodes[number]
        if node.child is not None:
            raise LocalFault(f"devnet: node {number} is running; kill it first")
        node.restarts += 1
        await self._launch(node)

    def check(self) -> None:
        """Raise ProcessDied for a process that ended without being killed."""
        for child in (self._chain, *(node.child for node in self.nodes)):
            if child is not None and not child.running:
                raise child.died()

    # Time

    @property
    def first_slot(self) -> int:
        """First slot of the first config."""
        return self.deployment.first_slot

    def slot_start_ms(self, slot: int) -> int:
        """First millisecond of a slot."""
        where = self.deployment
        return (where.anchor_time + (slot - where.first_slot) * self.timing.slot_seconds) * 1000

    async def skip_to(self, slot: int) -> None:
        """Let time pass to the start of `slot` as if every machine slept through it: no round in between is run."""
        await self.conductor.jump(self.slot_start_ms(slot))

    async def run_slot(self, slot: int) -> SlotResult:
        """Run a slot to its end (stepped), or wait until it is over (system clock), and read what it left on chain."""
        begun = time.perf_counter()
        end = self.slot_start_ms(slot + 1)
        steps = 0
        if self.clock == "stepped":
            steps = -self.conductor.steps
            await self.conductor.advance_to(end)
            steps += self.conductor.steps
        else:
            await asyncio.sleep(max(0.0, end / 1000 - time.time()))
        self.check()
        landed = await self._landed()
        return SlotResult(slot, landed, time.perf_counter() - begun, steps)

    async def _landed(self) -> tuple[Transmission, ...]:
        """Transmissions since the last look, oldest first."""
        assert self._rpc is not None
        query = {
            "address": self.deployment.aggregator, "topics": ["0x" + TRANSMITTED.hex()],
            "fromBlock": hex(self._seen_block + 1),
        }  # fmt: skip
        head = await self._rpc.quantity("eth_blockNumber")
        if head <= self._seen_block:
            return ()
        self._seen_block = head
        logs = await self._rpc.request("eth_getLogs", query)
        receipts = await self._rpc.batch([("eth_getTransactionReceipt", [log["transactionHash"]]) for log in logs])
        return tuple(_transmission(log, receipt) for log, receipt in zip(logs, receipts, strict=True))


def lead_slots(timing: Timing) -> int:
    """Slots between the roll of a config and its first slot: the confirmation depth and two more.

    The devnet's slot 0 begins with its chain, so this is also the number of its first slot with a config.
    """
    return -(-timing.confirmation // timing.slot_seconds) + 2


def _transmission(log: Mapping[str, Any], receipt: Mapping[str, Any]) -> Transmission:
    data = bytes.fromhex(log["data"][2:])
    words = tuple(int.from_bytes(data[at : at + 32]) for at in range(96, len(data), 32))
    return Transmission(
        log["transactionHash"], int(log["blockNumber"], 16), int(log["topics"][1], 16), int(receipt["gasUsed"], 16),
        receipt["from"], words,
    )  # fmt: skip


def _as_json(deployment: Deployment) -> dict[str, Any]:
    names = [name for name in Deployment.__slots__ if name != "faces"]
    return {name: getattr(deployment, name) for name in names} | {
        "faces": {str(number): address for number, address in deployment.faces.items()}
    }
