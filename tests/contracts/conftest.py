"""One deployed network for all contract tests, set back to its start after each; and what its chain runs on.

`LocalChain` is py-evm in this process. With DODONA_TEST_CHAIN=anvil, or on ape's foundry provider, whoever makes one in
these tests is given an `AnvilChain` instead: the first is the anvil that ape started, the others have their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakSet

import ape
import pytest
from eth_tester.exceptions import TransactionFailed
from web3.exceptions import ContractLogicError

from oracle.chain.anvil import AnvilChain
from oracle.chain.localnet import GENESIS_TIME, LocalChain, LocalNet, event_spec, forecast_spec, price_spec
from oracle.consensus.network import FeedSpec
from tests.contracts.call_record import call_record, pytest_collection_modifyitems, pytest_deselected  # noqa: F401
from tests.contracts.staking_bench import Bench

STAKES = (40, 30, 20, 10)


def first_feeds() -> tuple[FeedSpec, ...]:
    """Three pages: prices 0 and 1 with forecast 2-3; event 4-5 with price 7; price 9 in lane 1 of page 2."""
    return (price_spec(0), price_spec(1), forecast_spec(2), event_spec(4, 3), price_spec(7), price_spec(9))


def foundry_url() -> str | None:
    """Where ape's anvil answers, if ape runs these tests on its foundry provider."""
    provider = ape.networks.active_provider
    return str(provider.uri) if provider is not None and provider.name == "foundry" else None


def is_on_anvil() -> bool:
    """Whether the chains of this run are anvil; a name that is no chain is an error, not py-evm."""
    named = os.environ.get("DODONA_TEST_CHAIN", "embedded")
    if named not in {"embedded", "anvil"}:
        raise pytest.UsageError(f"DODONA_TEST_CHAIN={named}: it is `embedded` (py-evm, the default) or `anvil`")
    return named == "anvil" or foundry_url() is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked `embedded` is about py-evm itself, and says why."""
    marker = item.get_closest_marker("embedded")
    if marker is not None and is_on_anvil():
        pytest.skip(f"py-evm only: {marker.args[0]}")


@pytest.fixture(scope="session", autouse=True)
def chain_kind() -> Iterator[None]:
    """Make every `LocalChain` of these tests one of the kind that was asked for."""
    if not is_on_anvil():
        yield
        return
    made: WeakSet[AnvilChain] = WeakSet()
    urls = [url] if (url := foundry_url()) is not None else []

    def make(_: type, accounts: int = 80, start: int = GENESIS_TIME) -> AnvilChain:
        chain = AnvilChain(accounts, start, url=urls.pop() if urls else None)
        made.add(chain)
        return chain

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalChain, "__new__", make)
        yield
    for chain in made:
        chain.close()


@pytest.fixture(scope="session")
def first_net(chain_kind: None) -> LocalNet:
    """Validators with 40/30/20/10, six feeds on three pages, in the first slot of the first config."""
    return LocalNet.start(STAKES, first_feeds())


@pytest.fixture
def net(first_net: LocalNet) -> Iterator[LocalNet]:
    """The network, for one test."""
    taken = first_net.chain.snapshot()
    yield replace(first_net, keys=dict(first_net.keys))
    first_net.chain.revert(taken)


@contextmanager
def refusal(reason: str) -> Iterator[None]:
    with pytest.raises((TransactionFailed, ContractLogicError), match=re.escape(reason) + r"$"):
        yield


@pytest.fixture
def reverts() -> Callable[[str], AbstractContextManager[None]]:
    """`with reverts("aggregator: no quorum"): ...`: the exact reason, to the end."""
    return refusal


@pytest.fixture
def ask() -> Callable[..., Any]:
    """`ask(contract, "name", *arguments, sender=...)`: call in the next block, without changing anything."""

    def call(contract: Any, name: str, *arguments: Any, sender: str | None = None) -> Any:
        found = partial(contract.get_function_by_name(name), *arguments)()
        return found.call({} if sender is None else {"from": sender}, "pending")

    return call


@pytest.fixture(scope="module")
def first_bench() -> Bench:
    """Validators with 40/30/20/10 behind a judge that the tests command, for one file."""
    return Bench.start(STAKES)


@pytest.fixture
def bench(first_bench: Bench) -> Iterator[Bench]:
    """That network, for one test."""
    with first_bench.own_copy() as copy:
        yield copy
