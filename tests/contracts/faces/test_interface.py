"""The faces and the proxy have Chainlink's ABI: names, types, mutability and indexed flags, written out by hand.

Sources: AggregatorInterface.sol (V2), AggregatorV3Interface.sol and EACAggregatorProxy.sol as deployed on chain.
"""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak

from contracts.artifacts import artifact
from oracle.chain.faces import Face

ROUND_DATA = ("uint80", "int256", "uint256", "uint256", "uint80")
V2 = {
    "latestAnswer": ((), ("int256",)),
    "latestTimestamp": ((), ("uint256",)),
    "latestRound": ((), ("uint256",)),
    "getAnswer": (("roundId uint256",), ("int256",)),
    "getTimestamp": (("roundId uint256",), ("uint256",)),
}
V3 = {
    "decimals": ((), ("uint8",)),
    "description": ((), ("string",)),
    "version": ((), ("uint256",)),
    "getRoundData": (("_roundId uint80",), ROUND_DATA),
    "latestRoundData": ((), ROUND_DATA),
}
PROXY = {
    "aggregator": ((), ("address",)),
    "phaseId": ((), ("uint16",)),
    "phaseAggregators": (("uint16",), ("address",)),
    "proposedAggregator": ((), ("address",)),
    "proposedGetRoundData": (("_roundId uint80",), ROUND_DATA),
    "proposedLatestRoundData": ((), ROUND_DATA),
    "accessController": ((), ("address",)),
    "owner": ((), ("address",)),
}
PROXY_CHANGES = {"proposeAggregator": ("address",), "confirmAggregator": ("address",)}
EVENTS = {
    "AnswerUpdated": (("current", "int256", True), ("roundId", "uint256", True), ("updatedAt", "uint256", False)),
    "NewRound": (("roundId", "uint256", True), ("startedBy", "address", True), ("startedAt", "uint256", False)),
}
PROXY_EVENTS = {
    "AggregatorProposed": (("current", "address", True), ("proposed", "address", True)),
    "AggregatorConfirmed": (("previous", "address", True), ("latest", "address", True)),
}
SELECTORS = {
    "latestAnswer()": "50d25bcd", "latestTimestamp()": "8205bf6a", "latestRound()": "668a0f02",
    "getAnswer(uint256)": "b5ab58dc", "getTimestamp(uint256)": "b633620c", "decimals()": "313ce567",
    "description()": "7284e416", "version()": "54fd4d50", "getRoundData(uint80)": "9a6fc8f5",
    "latestRoundData()": "feaf968c",
}  # fmt: skip
TOPICS = {
    "AnswerUpdated(int256,uint256,uint256)": "0559884fd3a460db3073b7fc896cc77986f16e378210ded43186175bf646fc5f",
    "NewRound(uint256,address,uint256)": "0109fc6f55cf40689f02fbaad7af7fe7bbac8a3d2186600afc7d3e10cac60271",
}


def functions(name: str) -> dict[str, dict]:
    return {entry["name"]: entry for entry in artifact(name).abi if entry["type"] == "function"}


def events(name: str) -> dict[str, tuple]:
    return {
        entry["name"]: tuple((part["name"], part["type"], part["indexed"]) for part in entry["inputs"])
        for entry in artifact(name).abi
        if entry["type"] == "event"
    }


def check_views(name: str, expected: dict[str, tuple]) -> None:
    found = functions(name)
    for function, (inputs, outputs) in expected.items():
        entry = found[function]
        given = [f"{part['name']} {part['type']}" for part in entry["inputs"]]
        assert entry["stateMutability"] == "view", function
        assert len(given) == len(inputs) and all(
            is_.endswith(asked) for is_, asked in zip(given, inputs, strict=True)
        ), function
        assert tuple(part["type"] for part in entry["outputs"]) == outputs, function


@pytest.mark.parametrize("name", [face.contract for face in Face])
def test_face__chainlinks_v2_and_v3__same_shape(name):
    check_views(name, V2 | V3)
    assert EVENTS.items() <= events(name).items()
    assert {function for function, entry in functions(name).items() if entry["stateMutability"] != "view"} == {"sync"}


def test_proxy__chainlinks_eac_aggregator_proxy__same_shape():
    check_views("FeedProxy", V2 | V3 | PROXY)
    assert PROXY_EVENTS.items() <= events("FeedProxy").items()
    for function, inputs in PROXY_CHANGES.items():
        entry = functions("FeedProxy")[function]
        assert tuple(part["type"] for part in entry["inputs"]) == inputs
        assert (entry["stateMutability"], entry["outputs"]) == ("nonpayable", [])


def test_selectors_and_topics__as_seen_on_chain():
    assert {signature: keccak(text=signature)[:4].hex() for signature in SELECTORS} == SELECTORS
    assert {signature: keccak(text=signature).hex() for signature in TOPICS} == TOPICS


@pytest.mark.parametrize("name", [face.contract for face in Face])
def test_face__what_a_careful_reader_asks__answered_by_every_face_with_one_signature(name):
    """IFeed as one interface: a consumer that reads one face can be pointed at any other."""
    asked = {
        "status", "isStale", "invalid", "paused", "retiresAt", "turnout", "confidence", "flags", "latestVector",
        "vector", "slotOf", "kind", "base", "quote", "horizon", "outcomes", "number", "component", "identity",
        "aggregator", "heartbeat", "deviation", "bounds", "jump", "vetoBand", "maxDispersion", "minSources",
        "minObservers", "maxFamilyShare", "methodology", "sourceList", "lastSynced",
    }  # fmt: skip
    plain, found = functions("Feed"), functions(name)
    assert asked <= found.keys()
    for function in asked:
        assert found[function]["inputs"] == plain[function]["inputs"]
        assert found[function]["outputs"] == plain[function]["outputs"]
