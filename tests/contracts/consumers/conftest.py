"""A chain, feeds and tokens for the tests of the consumers.

Feeds are mocks here; `tests/oracle/demo/test_consumers.py` drives the same contracts through the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
from eth_tester.exceptions import TransactionFailed
from web3 import Web3
from web3.exceptions import ContractLogicError

from contracts.artifacts import EVM_VERSION, artifact
from oracle.chain.localnet import LocalChain

MOCKS = Path(__file__).parents[1] / "mocks"
EXAMPLES = Path(__file__).parents[3] / "examples" / "consumer"
BASE, QUOTE = b"EUR".ljust(32, b"\0"), b"USD".ljust(32, b"\0")


@cache
def compiled(path: Path) -> tuple[list[dict[str, Any]], str]:
    """ABI and creation code of a Vyper source outside the contracts folder."""
    from vyper import compile_code
    from vyper.compiler.settings import Settings

    source = path.read_text(encoding="utf-8")
    out = compile_code(source, output_formats=["abi", "bytecode"], settings=Settings(evm_version=EVM_VERSION))
    return out["abi"], out["bytecode"]


def code_of(name: str) -> tuple[list[dict[str, Any]], str]:
    for folder in (MOCKS, EXAMPLES):
        if (folder / f"{name}.vy").exists():
            return compiled(folder / f"{name}.vy")
    found = artifact(name)
    return found.abi, "0x" + found.bytecode.hex()


@dataclass
class Bench:
    """One chain with helpers that deploy, send, expect a revert, and tell the time."""

    chain: Any

    @property
    def w3(self) -> Web3:
        return self.chain.w3

    @property
    def accounts(self) -> list[str]:
        return self.chain.accounts

    def terms(self, sender: int) -> Any:
        """Everything that web3 would otherwise ask the chain for before it sends."""
        return {"from": self.accounts[sender], "gas": 5_000_000, "gasPrice": 10**10, "chainId": self.chain_id}

    @cached_property
    def chain_id(self) -> int:
        return self.w3.eth.chain_id

    @property
    def now(self) -> int:
        return int(self.w3.eth.get_block("latest")["timestamp"])

    def deploy(self, name: str, *args: Any) -> Any:
        abi, code = code_of(name)
        sent = self.w3.eth.contract(abi=abi, bytecode=code).constructor(*args).transact(self.terms(0))
        return self.w3.eth.contract(abi=abi, address=self.w3.eth.get_transaction_receipt(sent)["contractAddress"])

    def refuses_deploy(self, reason: str, name: str, *args: Any) -> None:
        abi, code = code_of(name)
        with pytest.raises((ContractLogicError, TransactionFailed), match=reason):
            self.w3.eth.contract(abi=abi, bytecode=code).constructor(*args).estimate_gas({"from": self.accounts[0]})

    def send(self, call: Any, sender: int = 0) -> Any:
        receipt = self.w3.eth.get_transaction_receipt(call.transact(self.terms(sender)))
        assert receipt["status"] == 1
        return receipt

    def reverts(self, call: Any, reason: str, sender: int = 0) -> None:
        with pytest.raises((ContractLogicError, TransactionFailed), match=reason):
            call.call({"from": self.accounts[sender]})

    def go_to(self, second: int) -> None:
        """Mine a block at this second."""
        self.chain.move_to(second)
        self.w3.eth.send_transaction(self.terms(0) | {"to": self.accounts[0], "value": 0})

    def pass_time(self, seconds: int) -> None:
        self.go_to(self.now + seconds)

    def price_feed(self, decimals: int = 8) -> Any:
        return self.deploy("FeedMock", 0, decimals, 0, BASE, QUOTE, 0)

    def forecast_feed(self, horizon: int = 86_400, quote: bytes = QUOTE) -> Any:
        return self.deploy("FeedMock", 1, 6, 0, BASE, quote, horizon)

    def event_feed(self, outcomes: int = 2) -> Any:
        return self.deploy("FeedMock", 2, 0, outcomes, b"question".ljust(32, b"\0"), bytes(32), 0)

    def say(self, feed: Any, answer: int, round_id: int = 1, at: int | None = None) -> None:
        moment = self.now if at is None else at
        self.send(feed.functions.say(round_id, answer, moment, moment, round_id))


@pytest.fixture(scope="session")
def chain_bench() -> Bench:
    return Bench(LocalChain())


@pytest.fixture(scope="module")
def module_bench(chain_bench: Bench) -> Iterator[Bench]:
    """The chain for what a module deploys once, put back after the module."""
    with chain_bench.chain.rewound():
        yield chain_bench


@pytest.fixture
def bench(chain_bench: Bench) -> Iterator[Bench]:
    """The chain, put back afterwards to what it was before the test."""
    with chain_bench.chain.rewound():
        yield chain_bench


@pytest.fixture(scope="session")
def forecast_quantiles() -> Callable[[int], list[int]]:
    """Nine plausible quantiles in 1e-6 from the first one."""
    return lambda q01: [q01, q01 // 2, q01 // 3, q01 // 4, 0, -q01 // 4, -q01 // 3, -q01 // 2, -q01]
