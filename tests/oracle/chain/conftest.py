"""An embedded chain with the contracts on it, and an RPC in front of it that misbehaves on request."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3 import Web3
from web3.middleware import SignAndSendRawMiddlewareBuilder
from web3.providers import JSONBaseProvider

from oracle.chain.deploy import Core, Timing, deploy_core, list_feeds, register_validator, roll_epoch, send
from oracle.chain.rpc import Rpc
from oracle.config import ChainSettings
from oracle.consensus.events import AttestedReport, FeedResult
from oracle.consensus.messages import Report
from oracle.consensus.network import FeedKind, FeedSpec, NetworkConfig, Slot
from oracle.consensus.words import FeedWord, build_pages, merkle_root, pack_vector, pack_word
from oracle.devchain import DevChain, dev_address, dev_alloc, dev_key
from oracle.keys import HotKey
from oracle.ledger import Ledger

GENESIS = 1_508_112_000
TOKEN = 10**18
KEYS = tuple(HotKey(keccak(b"chain test %d" % number)) for number in range(4))
SPEC = FeedSpec(
    0, FeedKind.PRICE, 8, 0, b"EUR".ljust(32, b"\0"), b"USD".ljust(32, b"\0"), 0, 3600, 5_000, 1, 10**20, 20_000,
    100_000, 40_000, 1, 1, 10_000, bytes(32), bytes(32),
)  # fmt: skip
FORECAST = replace(
    SPEC, number=4, kind=FeedKind.FORECAST, decimals=6, horizon=3600, min_value=-(10**6), max_value=10**6
)
TIMING = Timing(60, 150, 1000, 2000, 0, 1)


class InProcess(JSONBaseProvider):
    """web3 straight onto the methods, for the deployment."""

    def __init__(self, chain: DevChain) -> None:
        super().__init__()
        self.chain = chain

    def make_request(self, method: Any, params: Any) -> Any:
        request = json.loads(self.encode_rpc_request(method, params))
        return json.loads(json.dumps(self.chain.handle(request)))


@dataclass
class Network:
    """Deployed contracts, and reports with enough signatures."""

    chain: DevChain
    core: Core
    w3: Web3

    @property
    def ledger(self) -> Ledger:
        return self.chain.ledger

    def attest(self, config: NetworkConfig, slot: int, value: int, quantiles: tuple[int, ...] | None = None) -> Any:
        """A report of the price feed (and the forecast), observed one second into the slot; the chain goes there."""
        start = config.slot_start_ms(slot) // 1000
        self.ledger.set_time(start + 5)
        lanes = {0: pack_word(FeedWord(0, value, 3, 10_000, 0))}
        results = [FeedResult(config.feeds[0].number, value, 3, 10_000, 0)]
        if quantiles is not None:
            spec = config.feeds[1]
            lanes[4] = pack_word(FeedWord(4, quantiles[4], 5, 10_000, 128))
            lanes[5] = pack_vector(spec, quantiles)
            results.append(FeedResult(spec.number, quantiles[4], 5, 10_000, 128, quantiles))
        pages = build_pages(lanes, config.pages)
        report = Report(config.digest, Slot(slot), start + 1, merkle_root(pages))
        digest = report.digest(config)
        rows = sorted((index, key.sign(digest)) for key in KEYS if (index := config.index_of(key.address)) is not None)
        return AttestedReport(report, tuple(results), pages, tuple(rows[:3]))


@pytest.fixture(scope="session")
def deployed() -> Network:
    """Deployed once; tests go back to this state."""
    alloc = dev_alloc(6) | {KEYS[0].address: TOKEN}
    chain = DevChain(Ledger(31337, GENESIS, alloc, GENESIS))
    w3 = Web3(InProcess(chain))
    accounts = [Account.from_key(dev_key(index)) for index in range(6)]
    w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(accounts), layer=0)
    owner = to_checksum_address(dev_address(0))
    core = deploy_core(w3, owner, TIMING, supply=10**9 * TOKEN, min_self_bond=TOKEN, anchor_time=GENESIS)
    list_feeds(w3, core, [SPEC, FORECAST])
    for number, key in enumerate(KEYS):
        cold = to_checksum_address(dev_address(number + 1))
        stake = (40, 30, 20, 10)[number] * TOKEN
        send(w3, core.token.functions.transfer(cold, stake), owner)
        register_validator(w3, core, cold, key.checksum_address, f"http://127.0.0.1:{9000 + number}", stake, key.sign)
    roll_epoch(w3, core, owner)
    return Network(chain, core, w3)


@pytest.fixture
def network(deployed: Network) -> Any:
    snapshot = deployed.ledger.snapshot()
    yield deployed
    deployed.ledger.automine = True
    deployed.ledger.revert(snapshot)


Rewrite = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]


@dataclass
class Proxy:
    """An RPC that plays the `faults` (one for each HTTP request), then rewrites single answers with `rewrite`."""

    chain: DevChain
    url: str = ""
    faults: deque[str] = field(default_factory=deque)
    rewrite: Rewrite = lambda request, answer: answer
    seen: list[str] = field(default_factory=list)

    async def endpoint(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        requests = body if isinstance(body, list) else [body]
        self.seen += [each["method"] for each in requests]
        fault = self.faults.popleft() if self.faults else ""
        if fault.isdigit():
            return web.Response(status=int(fault), text="no")
        if fault == "slow":
            await asyncio.sleep(1.0)
        answers = [self.rewrite(each, self.chain.handle(each)) for each in requests]
        text = json.dumps(answers if isinstance(body, list) else answers[0])
        shown = {"half": text[: len(text) // 2], "list": "[]", "null": "null", "words": "<html>sorry</html>"}
        return web.Response(text=shown.get(fault, text), content_type="application/json")


@pytest_asyncio.fixture
async def proxy(network: Network) -> AsyncIterator[Proxy]:
    proxy = Proxy(network.chain)
    app = web.Application()
    app.router.add_post("/", proxy.endpoint)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield proxy
    await runner.cleanup()


@pytest_asyncio.fixture
async def rpc(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rpc]:
    monkeypatch.setattr("oracle.chain.rpc.BACKOFF_S", 0.01)
    rpc = Rpc(proxy.url, timeout_s=10)
    yield rpc
    await rpc.close()


@pytest.fixture
def chain_settings(network: Network, proxy: Proxy) -> ChainSettings:
    core = network.core
    return ChainSettings(proxy.url, 31337, core.aggregator.address.lower(), core.staking.address.lower())


@pytest.fixture
def keys() -> tuple[HotKey, ...]:
    return KEYS
