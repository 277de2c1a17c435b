"""The embedded chain with contracts on it, served over HTTP JSON-RPC to the sources under test.

`Bench` compiles and deploys what is in `mocks/` and moves the chain's time; `Stand` is what `tests/contracts` and
`oracle.chain.localnet` call a chain, so that a whole network of ours can stand on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web
from eth_account import Account
from web3 import Web3
from web3.middleware import SignAndSendRawMiddlewareBuilder
from web3.providers import JSONBaseProvider

from contracts.artifacts import EVM_VERSION
from oracle.chain.deploy import send
from oracle.devchain import DevChain, dev_alloc, dev_key
from oracle.ledger import Ledger

MOCKS = Path(__file__).parent / "mocks"
CHAIN_ID = 31337
ACCOUNTS = 8


@cache
def mock_code(name: str) -> dict[str, Any]:
    """ABI and creation code of a mock."""
    from vyper.compiler import compile_code
    from vyper.compiler.settings import Settings

    text = (MOCKS / f"{name}.vy").read_text(encoding="utf-8")
    return compile_code(text, output_formats=["abi", "bytecode"], settings=Settings(evm_version=EVM_VERSION))


class _InProcess(JSONBaseProvider):
    """web3 straight onto the chain's methods, for deploying."""

    def __init__(self, chain: DevChain) -> None:
        super().__init__()
        self.chain = chain

    def make_request(self, method: Any, params: Any) -> Any:
        request = json.loads(self.encode_rpc_request(method, params))
        return json.loads(json.dumps(self.chain.handle(request)))


class Bench:
    """One chain. It is its own clock: `clock` follows the newest block, so that nothing here waits or is stale."""

    def __init__(self, genesis: int) -> None:
        self.chain = DevChain(Ledger(CHAIN_ID, genesis, dev_alloc(ACCOUNTS), genesis))
        self.w3 = Web3(_InProcess(self.chain))
        keys = [Account.from_key(dev_key(index)) for index in range(ACCOUNTS)]
        self.w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(keys), layer=0)
        self.accounts = [key.address for key in keys]
        self.lag = 0
        """Seconds that our clock is ahead of the newest block."""

    @property
    def now(self) -> int:
        """Second of the next block, as `oracle.chain.localnet` wants it."""
        return self.chain.ledger.next_timestamp()

    @property
    def head(self) -> int:
        """Second of the newest block."""
        return int(self.chain.ledger.head.header.timestamp)

    def clock(self) -> int:
        """UTC microseconds."""
        return (self.head + self.lag) * 1_000_000

    def move_to(self, second: int) -> None:
        """Give the next block this time."""
        self.chain.ledger.set_time(second)

    def mine(self, seconds: int = 12) -> None:
        """One empty block, so many seconds after the last."""
        self.move_to(self.head + seconds)
        self.chain.mine()

    def deploy(self, name: str, *arguments: Any) -> Any:
        """Deploy a mock and return its handle."""
        code = mock_code(name)
        made = self.w3.eth.contract(abi=code["abi"], bytecode=code["bytecode"])
        return made(send(self.w3, made.constructor(*arguments), self.accounts[0])["contractAddress"])

    def do(self, call: Any, seconds: int = 12) -> None:
        """Send a bound call in a block so many seconds after the last."""
        self.move_to(self.head + seconds)
        send(self.w3, call, self.accounts[0])

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """Undo whatever happens inside."""
        taken, lag, time = self.chain.ledger.snapshot(), self.lag, self.chain.ledger.now
        try:
            yield
        finally:
            self.chain.ledger.revert(taken)
            self.lag, self.chain.ledger.now = lag, time

    def snapshot(self) -> int:
        """Remember the chain."""
        return self.chain.ledger.snapshot()

    def revert(self, taken: int) -> None:
        """Go back to a snapshot."""
        self.chain.ledger.revert(taken)

    def set_storage(self, contract: str, values: Mapping[int, int]) -> None:
        """The embedded chain cannot, and no test here needs it."""
        raise NotImplementedError

    async def node(self, request: web.Request) -> web.Response:
        """The HTTP side, for `HostileServer`."""
        return web.json_response(self.chain.handle(json.loads(await request.read())))
