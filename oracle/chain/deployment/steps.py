"""The transactions of a deployment, in order, each with its nonce and what it creates.

Why this file exists: an account's contracts have addresses that follow from its nonces (Ethereum yellow paper, section
7), so that every argument of every step is known before the first one is sent: the whole list can be shown, rehearsed,
compared, and taken up again in the middle. Pure: no chain, no clock, no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import rlp
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3 import Web3

from contracts.artifacts import artifact
from oracle.chain.deployment.plan import DeployPlan
from oracle.chain.faces import PROXY, Face, face_address, proxy_address

OWNED = ("Configurator", "Aggregator")
"""Contracts whose owner is the deployer until the last steps hand them over. Staking's deployer can name the network
once, which is a step, and nothing after."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a deployment is bound to beside its plan: chain, account, the nonce of its first step, slot 0's second."""

    chain_id: int
    deployer: str
    first_nonce: int
    anchor_time: int


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction. `name` is unique in a deployment; `to` None creates a contract; `creates` is its address.

    `shown`: contract, function and arguments as a person reads them; `data`: calldata or creation code.
    """

    index: int
    name: str
    contract: str
    function: str
    arguments: tuple[Any, ...]
    to: str | None
    creates: str | None
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Deployment:
    """All steps, and the address of everything that they leave behind, by name."""

    start: Start
    plan: DeployPlan
    steps: tuple[Step, ...]
    addresses: Mapping[str, str]

    def nonce(self, step: Step) -> int:
        """Nonce of the deployer's transaction that is this step."""
        return self.start.first_nonce + step.index


def created_address(sender: str, nonce: int) -> str:
    """Address of the contract that `sender` creates with its transaction of this nonce.

    >>> created_address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", 1)
    '0x343c43A37D37dfF08AE8C4A11544c718AbB4fCF8'
    """
    return to_checksum_address(keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))[12:])


def build(plan: DeployPlan, start: Start) -> Deployment:
    """Lay out a deployment. Deterministic: the same plan, start and compiler give the same bytes."""
    work = _Builder(plan, start)
    work.core()
    work.factory()
    work.listings()
    work.gates()
    work.faces()
    work.handover()
    return Deployment(start, plan, tuple(work.steps), dict(work.addresses))


class _Builder:
    def __init__(self, plan: DeployPlan, start: Start) -> None:
        self.plan, self.start = plan, start
        self.steps: list[Step] = []
        self.addresses: dict[str, str] = {}

    # The order of these is the order on chain.

    def core(self) -> None:
        """Token, Staking, Configurator, Aggregator and Slashing, tied together."""
        plan = self.plan
        if plan.token.address is None:
            token = self._create("OracleToken", plan.token.supply)
        else:
            token = self.addresses["Token"] = plan.token.address
        staking = self._create("Staking", token, astuple(plan.rules))
        configurator = self._create("Configurator", staking, astuple(plan.timing), self.start.anchor_time)
        aggregator = self._create("Aggregator", configurator)
        slashing = self._create("Slashing", staking)
        self._call("Configurator", "setAggregator", aggregator)
        self._call("Staking", "setNetwork", aggregator, slashing)

    def factory(self) -> None:
        """A blueprint of each face and of the proxy, and the factory that makes them."""
        names = [face.contract for face in Face] + [PROXY]
        blueprints = [self._blueprint(name) for name in names]
        self._create("FeedFactory", self.addresses["Aggregator"], blueprints)

    def listings(self) -> None:
        """Every feed of the plan, for the first config."""
        for feed in self.plan.feeds:
            self._call("Configurator", "listFeed", astuple(feed.spec), name=f"listing of feed {feed.spec.number}")

    def gates(self) -> None:
        """Guardian, sequencer source and request fee, where the plan names them."""
        gates = self.plan.gates
        if gates.guardian is not None:
            self._call("Aggregator", "setGuardian", gates.guardian)
        if gates.sequencer is not None:
            self._call("Aggregator", "setSequencer", gates.sequencer, gates.sequencer_grace)
        if gates.request_fee:
            self._call("Aggregator", "setRequestFee", gates.request_fee)

    def faces(self) -> None:
        """The faces and proxies that the plan wants of each feed."""
        factory, aggregator, owner = self.addresses["FeedFactory"], self.addresses["Aggregator"], self.plan.owner
        for feed in self.plan.feeds:
            number = feed.spec.number
            for face in feed.faces:
                made = face_address(factory, aggregator, face.face, number, face.component)
                key = (int(face.face), number, face.component)
                self._call("FeedFactory", "create", *key, name=f"{face} of feed {number}", creates=made)
            for face in feed.proxies:
                target = self.addresses[f"{face} of feed {number}"]
                made, name = proxy_address(factory, target, owner), f"proxy over {face} of feed {number}"
                self._call("FeedFactory", "createProxy", target, owner, name=name, creates=made)

    def handover(self) -> None:
        """Tokens to their holder, ownership to the owner of the plan."""
        token = self.plan.token
        if token.holder is not None and token.holder != self.start.deployer:
            self._call("OracleToken", "transfer", token.holder, token.supply)
        if self.plan.owner == self.start.deployer:
            return
        for name in OWNED:
            self._call(name, "transfer_ownership", self.plan.owner)

    # One step each

    def _create(self, name: str, *arguments: Any) -> str:
        made = Web3().eth.contract(abi=artifact(name).abi, bytecode=artifact(name).bytecode)
        data = bytes.fromhex(str(made.constructor(*arguments).data_in_transaction)[2:])
        return self._append(name, name, "constructor", arguments, None, data, self._next_address())

    def _blueprint(self, name: str) -> str:
        made = self._next_address()
        return self._append(f"{name} blueprint", name, "blueprint", (), None, artifact(name).blueprint, made)

    def _call(
        self, contract: str, function: str, *arguments: Any, name: str | None = None, creates: str | None = None
    ) -> None:
        to = self.addresses[contract]
        data = Web3().eth.contract(abi=artifact(contract).abi).encode_abi(function, args=list(arguments))
        label = name or f"{contract}.{function}"
        self._append(label, contract, function, arguments, to, bytes.fromhex(str(data)[2:]), creates)

    def _append(
        self, name: str, contract: str, function: str, arguments: tuple[Any, ...], to: str | None, data: bytes,
        creates: str | None,
    ) -> str:  # fmt: skip
        self.steps.append(Step(len(self.steps), name, contract, function, arguments, to, creates, data))
        if creates is not None:
            self.addresses[name] = creates
        return creates or ""

    def _next_address(self) -> str:
        return created_address(self.start.deployer, self.start.first_nonce + len(self.steps))
