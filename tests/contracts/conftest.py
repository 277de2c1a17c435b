"""One deployed network for all contract tests, set back to its start after each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from eth_tester.exceptions import TransactionFailed
from web3.exceptions import ContractLogicError

from oracle.chain.localnet import LocalNet, event_spec, forecast_spec, price_spec
from oracle.consensus.network import FeedSpec

STAKES = (40, 30, 20, 10)


def first_feeds() -> tuple[FeedSpec, ...]:
    """Three pages: prices 0 and 1 with forecast 2-3; event 4-5 with price 7; price 9 in lane 1 of page 2."""
    return (price_spec(0), price_spec(1), forecast_spec(2), event_spec(4, 3), price_spec(7), price_spec(9))


@pytest.fixture(scope="session")
def first_net() -> LocalNet:
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
