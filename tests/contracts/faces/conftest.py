"""Every face of the network's feeds, and a proxy over each, made by the factory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from oracle.chain.faces import Face, create_face, create_proxy, deploy_factory
from oracle.chain.localnet import LocalNet, sample_words

PRICE, FORECAST, EVENT = 1, 2, 4
QUANTILE, OUTCOME = 1, 2
"""The 5 % quantile of feed 2, and outcome 2 of event 4."""
SERIES = {
    Face.FEED: (PRICE, 0), Face.STRICT: (PRICE, 0), Face.POSITIVE: (PRICE, 0), Face.FORECAST: (FORECAST, QUANTILE),
    Face.EVENT: (EVENT, OUTCOME),
}  # fmt: skip
"""Number and component that the tests read through each face."""


@dataclass(frozen=True)
class Made:
    """The factory with one face of each sort, and the proxies over them, owned by `owner`."""

    factory: Any
    owner: str
    faces: dict[Face, Any]
    proxies: dict[Face, Any]


@pytest.fixture(scope="module")
def made(first_net: LocalNet) -> Iterator[Made]:
    """Deployed once a module."""
    taken = first_net.chain.snapshot()
    w3, anyone, owner = first_net.chain.w3, first_net.chain.accounts[-2], first_net.chain.accounts[-3]
    factory = deploy_factory(w3, first_net.core, anyone)
    faces = {face: create_face(w3, factory, anyone, face, *series) for face, series in SERIES.items()}
    proxies = {face: create_proxy(w3, factory, anyone, at.address, owner) for face, at in faces.items()}
    yield Made(factory, owner, faces, proxies)
    first_net.chain.revert(taken)


@pytest.fixture
def told(made: Made, net: LocalNet) -> Any:
    """Two rounds of every feed, 100 + number and then 200 + number, and it is the next slot. Returns their drafts."""
    drafts = []
    net.chain.move_to(net.chain.now + 60)
    for value in (100, 200):
        drafts.append(net.draft(sample_words(net.active.feeds, value), late=2))
        net.chain.move_to(drafts[-1].observed_at + 5)
        net.transmit(net.blob(drafts[-1]))
        net.chain.move_to(net.chain.now + 60)
    return drafts
