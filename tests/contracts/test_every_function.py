"""What holds for every external function of every contract, whatever it does: malformed calls change nothing.

A new contract has to be added to `every`, or the first test fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_abi.grammar import ABIType, TupleType, parse
from eth_tester.exceptions import TransactionFailed
from eth_utils.abi import collapse_if_tuple, function_abi_to_4byte_selector

from contracts.artifacts import artifact, contract_names
from oracle.chain.deploy import deploy
from oracle.chain.faces import Face, create_face, create_proxy, deploy_factory
from tests.contracts.call_record import BARE
from tests.contracts.mock_code import deploy_mock

ZERO = "0x" + "00" * 20
BASE, QUOTE = b"EUR".ljust(32, b"\0"), b"USD".ljust(32, b"\0")
NAMES = contract_names()
COMPONENTS = {Face.FEED: (1, 0), Face.STRICT: (1, 0), Face.POSITIVE: (1, 0), Face.FORECAST: (2, 1), Face.EVENT: (4, 1)}


@pytest.fixture(scope="module")
def every(first_net) -> Iterator[dict[str, str]]:
    """The address of one deployed instance of each contract."""
    w3, core, sender = first_net.chain.w3, first_net.core, first_net.chain.accounts[0]
    with first_net.chain.rewound():
        factory = deploy_factory(w3, core, sender)
        made = {
            "OracleToken": core.token, "Staking": core.staking, "Slashing": core.slashing,
            "Configurator": core.configurator, "Aggregator": core.aggregator, "FeedFactory": factory,
        }  # fmt: skip
        for face, series in COMPONENTS.items():
            made[face.contract] = create_face(w3, factory, sender, face, *series)
        made["FeedProxy"] = create_proxy(w3, factory, sender, made["Feed"].address, sender)
        made |= consumers(w3, sender, first_net.chain.now)
        yield {name: contract.address for name, contract in made.items()}


def consumers(w3: Any, sender: str, now: int) -> dict[str, Any]:
    price = deploy_mock(w3, sender, "FeedMock", 0, 8, 0, BASE, QUOTE, 0)
    forecast = deploy_mock(w3, sender, "FeedMock", 1, 6, 0, BASE, QUOTE, 86_400)
    event = deploy_mock(w3, sender, "FeedMock", 2, 0, 2, BASE, bytes(32), 0)
    euro, dollar = (deploy(w3, sender, "PlayToken", name, name, 6) for name in ("EUR", "USD"))
    terms = euro.address, dollar.address, price.address, forecast.address, 500, 300, 3_600
    return {
        "PlayToken": euro, "ReferenceLender": deploy(w3, sender, "ReferenceLender", *terms),
        "ReferenceMarket": deploy(w3, sender, "ReferenceMarket", dollar.address, event.address, now + 10**6),
    }  # fmt: skip


def functions(name: str) -> list[dict[str, Any]]:
    return [entry for entry in artifact(name).abi if entry["type"] == "function"]


def arguments_of(entry: dict[str, Any]) -> list[ABIType]:
    return [parse(collapse_if_tuple(given)) for given in entry["inputs"]]


def empty(kind: ABIType) -> Any:
    """The least value of a type."""
    if kind.is_array:
        size = kind.arrlist[-1]
        return [empty(kind.item_type)] * (size[0] if size else 0)
    if isinstance(kind, TupleType):
        return tuple(empty(part) for part in kind.components)
    if kind.base == "address":
        return ZERO
    if kind.base == "bytes":
        return bytes(kind.sub or 0)
    return {"string": "", "bool": False}.get(kind.base, 0)


def calldata(entry: dict[str, Any]) -> bytes:
    kinds = arguments_of(entry)
    body = encode([kind.to_type_str() for kind in kinds], [empty(kind) for kind in kinds])
    return function_abi_to_4byte_selector(entry) + body


def width(kind: ABIType) -> int:
    """Bytes that an argument takes in the head of a call."""
    return 32 if kind.is_dynamic else len(encode([kind.to_type_str()], [empty(kind)]))


def leaves(kinds: list[ABIType], at: int = 4) -> Iterator[tuple[int, ABIType]]:
    """Where each plain word of the head stands; what an offset points to is left out."""
    for kind in kinds:
        if kind.is_dynamic:
            pass
        elif kind.is_array:
            yield from leaves([kind.item_type] * kind.arrlist[-1][0], at)
        elif isinstance(kind, TupleType):
            yield from leaves(list(kind.components), at)
        else:
            yield at, kind
        at += width(kind)


def dirty(kind: ABIType) -> int | None:
    """The least word that no value of a type has; None where every word is one."""
    if kind.base == "address":
        return 1 << 160
    if kind.base == "bool":
        return 2
    if kind.base == "bytes":
        return None if kind.sub == 32 else 1
    if kind.sub == 256:
        return None
    return 1 << (kind.sub if kind.base == "uint" else kind.sub - 1)


@pytest.fixture
def refused(every, first_net):
    """`refused(contract, data, value=0)`: the call reverts without a word."""
    w3, sender = first_net.chain.w3, first_net.chain.accounts[5]

    def call(name: str, data: bytes, value: int = 0) -> str:
        given = {"to": every[name], "from": sender, "data": data, "value": value, "gas": 10**7}
        try:
            w3.eth.call(given, "pending")
        except TransactionFailed as failure:
            told = str(failure).removeprefix("execution reverted: ")
            return "" if told == repr(BARE.encode()) else f"refused with {told!r}"
        return "not refused"

    return call


def test_contracts__every_one__is_looked_at(every):
    assert set(every) == set(NAMES)


def test_refused__well_formed_call__is_told_from_a_malformed_one(refused):
    """The tests below can fail: an answer and a reason are not what they look for."""
    entries = {entry["name"]: entry for entry in functions("OracleToken")}
    assert refused("OracleToken", calldata(entries["clock"])) == "not refused"
    assert "transfer to the zero address" in refused("OracleToken", calldata(entries["transfer"]))


@pytest.mark.parametrize("name", NAMES)
def test_every_function__value_attached__reverts(refused, name):
    wrong = {
        entry["name"]: why
        for entry in functions(name)
        if entry["stateMutability"] != "payable" and (why := refused(name, calldata(entry), value=1))
    }
    assert not wrong
    assert not refused(name, b"", value=1), "and so does a plain payment"


@pytest.mark.parametrize("name", NAMES)
def test_every_function__calldata_shorter_than_its_head__reverts(refused, name):
    wrong = {}
    for entry in functions(name):
        head = 4 + sum(width(kind) for kind in arguments_of(entry))
        for size in {head - 1, (head + 4) // 2, 4} if entry["inputs"] else {3}:
            if why := refused(name, calldata(entry)[:size]):
                wrong[entry["name"], size] = why
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_every_function__word_out_of_its_types_range__reverts(refused, name):
    wrong = {}
    for entry in functions(name):
        for at, kind in leaves(arguments_of(entry)):
            if (word := dirty(kind)) is not None:
                data = calldata(entry)
                if why := refused(name, data[:at] + word.to_bytes(32) + data[at + 32 :]):
                    wrong[entry["name"], kind.to_type_str(), at] = why
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_every_contract__unknown_selector__reverts(refused, name):
    known = {function_abi_to_4byte_selector(entry) for entry in functions(name)}
    strange = [bytes(4), b"\xff" * 4, *(bytes([one[0] ^ 1, *one[1:]]) for one in sorted(known))]
    wrong = {data.hex(): why for data in strange if data not in known and (why := refused(name, data + bytes(320)))}
    assert not wrong
    assert not refused(name, b"")
