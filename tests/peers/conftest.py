"""Contracts that others wrote, and one network of ours for them to read, on anvil."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from eth_tester.exceptions import TransactionFailed

from oracle.chain.anvil import AnvilChain
from oracle.chain.deploy import send
from oracle.chain.faces import Face, create_face, create_proxy, deploy_factory
from oracle.chain.localnet import LocalNet, event_spec, forecast_spec, price_spec, sample_words
from tests.peers.solidity import Built, missing_packages

PRICE, EMPTY = 0, 8
"""The feed that is told values, and one on a page that no report brings to the chain."""
TOLD_PAGES = 0b011
PRICE_FACES = (Face.FEED, Face.STRICT, Face.POSITIVE)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Everything in here needs what npm brings."""
    reason = missing_packages() or ("node is not on PATH" if shutil.which("node") is None else None)
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def refused() -> Callable[[str], Any]:
    """`with refused("No data present"): ...`: the exact reason, to the end."""
    return lambda reason: pytest.raises(TransactionFailed, match=rf"^execution reverted: {re.escape(reason)}$")


@dataclass
class Place:
    """The network, and how to put a peer's contract beside it."""

    net: LocalNet
    factory: Any

    def face(self, face: Face, number: int = PRICE, component: int = 0) -> Any:
        return create_face(self.net.chain.w3, self.factory, self.net.core.owner, face, number, component)

    def proxy(self, face: Any) -> Any:
        """Our FeedProxy over a face."""
        return create_proxy(self.net.chain.w3, self.factory, self.net.core.owner, face.address, self.net.core.owner)

    def deploy(self, built: Built, *arguments: Any) -> Any:
        made = self.net.chain.w3.eth.contract(abi=built.abi, bytecode=built.bytecode)
        return made(send(self.net.chain.w3, made.constructor(*arguments), self.net.core.owner)["contractAddress"])

    def send(self, call: Any) -> Any:
        return send(self.net.chain.w3, call, self.net.core.owner)

    def tell(self, value: int, flags: int = 0) -> None:
        """A report a minute later: `value` for the price feed, nothing for the empty one."""
        net = self.net
        net.chain.move_to(net.chain.now + 60)
        net.transmit(net.blob(net.draft(sample_words(net.active.feeds, value, flags)), chosen=TOLD_PAGES))


@pytest.fixture(scope="session")
def standing() -> Iterator[Place]:
    chain = AnvilChain()
    feeds = (price_spec(PRICE), forecast_spec(2), event_spec(4), price_spec(EMPTY))
    net = LocalNet.start((40, 30, 20, 10), feeds, chain=chain)
    yield Place(net, deploy_factory(chain.w3, net.core, net.core.owner))
    chain.close()


@pytest.fixture
def place(standing: Place) -> Iterator[Place]:
    """The network as it was when it had no round yet."""
    with standing.net.chain.rewound():
        yield standing


def ask(contract: Any, name: str, *arguments: Any) -> Any:
    """Call in the next block, without changing anything."""
    return contract.get_function_by_name(name)(*arguments).call({}, "pending")
