"""Faces: what consumers read, made by the FeedFactory at addresses that are known before.

Deploys the factory with its blueprints, has faces and proxies made, and computes their addresses as FeedFactory.vy
documents them. What a face answers is Vyper's business; how gas is measured is in gas.py.
"""

from __future__ import annotations

from enum import IntEnum

from eth_abi.abi import encode
from eth_typing import ChecksumAddress
from eth_utils.crypto import keccak
from web3 import Web3
from web3.contract import Contract

from contracts import constant_int
from contracts.artifacts import artifact
from oracle.chain.deploy import Core, contract_at, deploy, send

PROXY = "FeedProxy"


class Face(IntEnum):
    """A face that the factory makes, by its number there."""

    FEED = constant_int("FACE_FEED")
    STRICT = constant_int("FACE_STRICT")
    POSITIVE = constant_int("FACE_POSITIVE")
    FORECAST = constant_int("FACE_FORECAST")
    EVENT = constant_int("FACE_EVENT")

    @property
    def contract(self) -> str:
        """Name of the face's contract."""
        return _CONTRACTS[self]

    @property
    def of_component(self) -> bool:
        """Whether the face shows one component of a vector."""
        return self in (Face.FORECAST, Face.EVENT)


_CONTRACTS = {
    Face.FEED: "Feed", Face.STRICT: "StrictFeed", Face.POSITIVE: "PositiveFeed", Face.FORECAST: "ForecastFeed",
    Face.EVENT: "EventFeed",
}  # fmt: skip


def face_address(factory: str, aggregator: str, face: Face, number: int, component: int = 0) -> ChecksumAddress:
    """Where `factory` puts (or has put) a face of feed `number`; `component` is 0 for faces without one."""
    salt = keccak(encode(["uint256"] * 3, [face, number, component]))
    given = [number, component] if face.of_component else [number]
    arguments = encode(["address", *["uint256"] * len(given)], [aggregator, *given])
    return _create2(factory, salt, artifact(face.contract).bytecode + arguments)


def proxy_address(factory: str, face: str, owner: str) -> ChecksumAddress:
    """Where `factory` puts (or has put) the proxy that starts with `face` and belongs to `owner`."""
    salt = keccak(encode(["address", "address"], [face, owner]))
    return _create2(factory, salt, artifact(PROXY).bytecode + encode(["address"] * 3, [factory, face, owner]))


def deploy_factory(w3: Web3, core: Core, sender: str) -> Contract:
    """Deploy a blueprint (ERC-5202) of each face and of the proxy, then the factory over the core's Aggregator."""
    names = [face.contract for face in Face] + [PROXY]
    blueprints = [_deploy_blueprint(w3, name, sender) for name in names]
    return deploy(w3, sender, "FeedFactory", core.aggregator.address, blueprints)


def create_face(w3: Web3, factory: Contract, sender: str, face: Face, number: int, component: int = 0) -> Contract:
    """Have a face made, which anyone may do; one that exists already is returned as it is."""
    send(w3, factory.functions.create(face, number, component), sender)
    return contract_at(w3, face.contract, factory.functions.addressOf(face, number, component).call())


def create_proxy(w3: Web3, factory: Contract, sender: str, face: str, owner: str) -> Contract:
    """Have the proxy made that starts with `face` and belongs to `owner`, which anyone may do."""
    send(w3, factory.functions.createProxy(face, owner), sender)
    return contract_at(w3, PROXY, factory.functions.proxyOf(face, owner).call())


def _deploy_blueprint(w3: Web3, name: str, sender: str) -> str:
    creation = w3.eth.contract(abi=[], bytecode=artifact(name).blueprint)
    return str(send(w3, creation.constructor(), sender)["contractAddress"])


def _create2(sender: str, salt: bytes, creation: bytes) -> ChecksumAddress:
    # EIP-1014
    return Web3.to_checksum_address(keccak(b"\xff" + bytes.fromhex(sender[2:]) + salt + keccak(creation))[12:])
