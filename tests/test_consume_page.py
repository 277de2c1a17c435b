"""docs/consume.md and docs/deploy.md say what the contracts do: tables, code, addresses, gas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from web3 import Web3

from contracts import constant_int
from contracts.artifacts import EVM_VERSION, artifact
from oracle.chain.deployment.plan import parse_plan
from oracle.chain.faces import Face, create_face, create_proxy, deploy_factory
from oracle.chain.localnet import LocalNet, forecast_spec, price_spec, sample_words
from tests.contracts.faces.test_states import TABLE
from tests.test_docs import blocks

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "consume.md").read_text(encoding="utf-8")
DRIFT = 50
"""A figure of the page may be off by one part in this many."""


def bits(prefix: str) -> dict[str, int]:
    table = PAGE[PAGE.index(f"| {prefix} | bit | meaning |") :].partition("\n\n")[0]
    return {name: int(bit) for name, bit in re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", table, flags=re.M)}


@pytest.mark.parametrize("prefix", ["flag", "status"])
def test_bits__those_of_the_page__are_those_of_the_chain(prefix: str) -> None:
    text = (ROOT / "contracts" / "constants.vy").read_text(encoding="utf-8")
    known = set(re.findall(rf"^{prefix.upper()}_(\w+):", text, flags=re.M))
    assert bits(prefix) == {name: constant_int(f"{prefix.upper()}_{name}") for name in known} and len(known) > 5


def test_faces_and_states__table_of_the_page__is_the_one_that_is_tested() -> None:
    assert TABLE.strip() in PAGE


def test_functions_and_calls__that_the_page_names__exist() -> None:
    known: set[str] = set()
    for name in (*(face.contract for face in Face), "Aggregator", "Staking", "FeedFactory", "FeedProxy"):
        known |= {entry["name"] for entry in artifact(name).abi if "name" in entry}
    prose = re.sub(r"^ *```.*?^ *```$", "", PAGE, flags=re.M | re.S)
    named = {name for name in re.findall(r"`(?:[A-Z]\w+\.)?([a-z]\w+)\([^`]*\)`", prose)}
    assert len(named) > 40 and named - known == set()


def test_numbers__of_the_page__are_those_of_the_chain() -> None:
    assert f"newest {constant_int('RING'):,} are kept" in PAGE
    assert constant_int("PAUSE_SECONDS") == 24 * 3600 and constant_int("PAUSE_INTERVAL") == 7 * 86_400
    assert constant_int("RETIREMENT_NOTICE") == 30 * 86_400
    for face in Face:
        assert f"{int(face)} {face.contract}" in " ".join(PAGE.split())


def test_vyper__blocks__compile_and_read_a_strict_face(made: tuple[LocalNet, Any, dict[Face, Any]]) -> None:
    from vyper.compiler import compile_code
    from vyper.compiler.settings import Settings

    net, _, faces = made
    (source,) = blocks("consume.md", "vyper")
    out = compile_code(source, output_formats=["abi", "bytecode"], settings=Settings(evm_version=EVM_VERSION))
    factory = net.chain.w3.eth.contract(abi=out["abi"], bytecode=out["bytecode"])
    sent = factory.constructor(faces[Face.STRICT].address).transact({"from": net.chain.accounts[0]})
    at = net.chain.w3.eth.wait_for_transaction_receipt(sent)["contractAddress"]
    vault = net.chain.w3.eth.contract(abi=out["abi"], address=at)
    assert vault.functions.price().call({}, "pending") == 117_000_000


def test_python__blocks__do_what_they_say(
    made: tuple[LocalNet, Any, dict[Face, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, factory, faces = made
    formula, read, own = blocks("consume.md", "python")
    owner = net.chain.accounts[3]
    scope: dict[str, Any] = {"factory": factory.address, "aggregator": net.core.aggregator.address, "owner": owner}
    exec(formula, scope)
    proxy = create_proxy(net.chain.w3, factory, net.chain.accounts[0], faces[Face.STRICT].address, owner)
    assert (scope["at"], scope["behind"]) == (faces[Face.STRICT].address, proxy.address)
    monkeypatch.setattr(Web3, "HTTPProvider", lambda url: net.chain.w3.provider)
    exec(read.replace("0x...", faces[Face.FEED].address), {})
    assert capsys.readouterr().out.startswith("S0 / USD 1.17 ")
    exec(own, {})
    assert capsys.readouterr().out.split() == ["117450000", "1"]


def test_deploy_page__plan__is_one() -> None:
    (plan,) = blocks("deploy.md", "toml")
    feed = parse_plan(Path("plan.toml"), plan).feeds[0]
    assert feed.spec.symbol == "EUR/USD" and len(feed.faces) == 3 and len(feed.proxies) == 1


# Gas


@pytest.fixture(scope="module")
def made() -> tuple[LocalNet, Any, dict[Face, Any]]:
    """Eight feeds with one round, the factory, and the faces that the gas table names."""
    specs = [price_spec(0), forecast_spec(1), *(price_spec(number) for number in range(4, 10))]
    net = LocalNet.start((100,) * 4, specs)
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 117_000_000))))
    net.chain.move_to(net.chain.now + 60)
    sender = net.chain.accounts[0]
    factory = deploy_factory(net.chain.w3, net.core, sender)
    series = {Face.FEED: (0, 0), Face.STRICT: (0, 0), Face.POSITIVE: (0, 0), Face.FORECAST: (1, 0)}
    faces = {face: create_face(net.chain.w3, factory, sender, face, *key) for face, key in series.items()}
    return net, factory, faces


def cold_gas(net: LocalNet, target: str, calldata: str) -> int:
    """Gas between two GAS opcodes around a STATICCALL with this calldata, by a contract that did nothing before."""
    data = bytes.fromhex(calldata[2:])
    words = [data[at : at + 32].ljust(32, b"\0") for at in range(0, len(data), 32)]
    places = ((32 * at).to_bytes(2, "big") for at in range(len(words)))
    stores = b"".join(b"\x7f" + word + b"\x61" + at + b"\x52" for word, at in zip(words, places, strict=True))
    call = b"\x5a\x5f\x5f\x61" + len(data).to_bytes(2, "big") + b"\x5f\x73" + bytes.fromhex(target[2:]) + b"\x5a\xfa"
    # The difference, times whether the call succeeded.
    runtime = stores + call + b"\x5a\x91\x90\x91\x90\x03\x02\x5f\x52\x60\x20\x5f\xf3"
    creation = b"\x61" + len(runtime).to_bytes(2, "big") + b"\x80\x60\x0a\x3d\x39\x3d\xf3" + runtime
    eth, sender = net.chain.w3.eth, net.chain.accounts[0]
    sent = eth.send_transaction({"from": sender, "data": creation, "gas": 10**6})
    at = eth.wait_for_transaction_receipt(sent)["contractAddress"]
    assert at is not None
    gas = int.from_bytes(eth.call({"to": at, "from": sender}))
    assert gas > 0, f"the call of {target} failed"
    return gas


def measured(made: tuple[LocalNet, Any, dict[Face, Any]]) -> dict[str, int]:
    """The gas table's calls by their text."""
    net, factory, faces = made
    sender, aggregator = net.chain.accounts[0], net.core.aggregator
    proxy = create_proxy(net.chain.w3, factory, sender, faces[Face.STRICT].address, sender)
    many = aggregator.encode_abi("latestMany", args=[[spec.number for spec in net.active.feeds]])
    calls = {
        "`Feed.latestRoundData()`": (faces[Face.FEED], "latestRoundData"),
        "`StrictFeed.latestRoundData()`": (faces[Face.STRICT], "latestRoundData"),
        "`PositiveFeed.latestAnswer()`": (faces[Face.POSITIVE], "latestAnswer"),
        "`ForecastFeed.latestRoundData()`": (faces[Face.FORECAST], "latestRoundData"),
        "`ForecastFeed.quantiles()`": (faces[Face.FORECAST], "quantiles"),
        "`FeedProxy.latestRoundData()` over StrictFeed": (proxy, "latestRoundData"),
    }
    found = {label: cold_gas(net, at.address, at.encode_abi(name)) for label, (at, name) in calls.items()}
    return found | {"`Aggregator.latestMany()` of 8 feeds": cold_gas(net, aggregator.address, many)}


def test_gas__figures_of_the_page__are_those_measured(made: tuple[LocalNet, Any, dict[Face, Any]]) -> None:
    table = PAGE[PAGE.index("| call | gas |") :].partition("\n\n")[0]
    stated = {
        label: int(gas.replace(",", "")) for label, gas in re.findall(r"^\| (`.*) \| ([\d,]+) \|$", table, flags=re.M)
    }
    now = measured(made)
    assert stated.keys() == now.keys()
    off = {label: (gas, now[label]) for label, gas in stated.items() if DRIFT * abs(gas - now[label]) > gas}
    assert not off, f"stated and measured: {off}"
