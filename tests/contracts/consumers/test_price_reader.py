"""The example consumers on real feeds: what they answer, and every reason for which they do not."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from contracts import constant_int
from contracts.artifacts import artifact
from oracle.chain.deploy import send
from oracle.chain.localnet import LocalNet, sample_words
from oracle.consensus.words import FeedWord, pack_vector, pack_word
from tests.contracts.conftest import first_feeds
from tests.contracts.consumers.conftest import compiled
from tests.peers.solidity import compile_file, missing_packages

EXAMPLES = Path(__file__).parents[3] / "examples" / "consumer"
PRICE, MAX_AGE, WINDOW = 118_000_000, 3_700, 3_600
NUMBER, FORECAST = 0, 2
SPECS = {spec.number: spec for spec in first_feeds()}


@dataclass
class Scene:
    """A network, and the two example contracts on its feeds 0 (price) and 2 (forecast)."""

    net: LocalNet
    price: Any
    pull: Any
    expiry: int

    def report(self, value: int, flags: int = 0, *, slots: int = 1) -> bytes:
        """A signed report of all feeds, `slots` slots on, whose price is `value`."""
        net = self.net
        net.chain.move_to(net.chain.now + 60 * slots)
        words = sample_words(net.active.feeds, PRICE, flags)
        words[NUMBER] = pack_word(FeedWord(NUMBER, value, 7_000, 10_000, flags))
        words[FORECAST] = pack_word(FeedWord(FORECAST, 0, 1, 10_000, flags | constant_int("FLAG_VECTOR")))
        words[FORECAST + 1] = pack_vector(SPECS[FORECAST], [-40, -30, -20, -10, 0, 10, 20, 30, 40])
        return net.blob(net.draft(words))

    def tell(self, value: int = PRICE, flags: int = 0) -> None:
        self.net.transmit(self.report(value, flags))


def deploy_example(net: LocalNet, name: str, *arguments: Any) -> Any:
    abi, code = compiled(EXAMPLES / f"{name}.vy")
    made = net.chain.w3.eth.contract(abi=abi, bytecode=code)
    receipt = send(net.chain.w3, made.constructor(*arguments), net.chain.accounts[0])
    return net.chain.w3.eth.contract(abi=abi, address=receipt["contractAddress"])


@pytest.fixture
def scene(net: LocalNet) -> Scene:
    aggregator, expiry = net.core.aggregator.address, net.chain.now + 600
    price, forecast = net.face(NUMBER).address, net.face(FORECAST).address
    reader = deploy_example(net, "PriceReader", price, forecast, MAX_AGE)
    pull = deploy_example(net, "PullReader", aggregator, NUMBER, 90, expiry)
    return Scene(replace(net), reader, pull, expiry)


def test_price_and_range__good_feeds__are_answered(scene, ask):
    scene.tell()
    assert list(ask(scene.price, "price")) == [PRICE, 7_000]
    assert list(ask(scene.price, "range90")) == [-30, 30]


@pytest.mark.parametrize("flag", ["FLAG_DISPERSION", "FLAG_JUMP"])
def test_price__flagged__reverts(scene, ask, reverts, flag):
    scene.tell(flags=constant_int(flag))
    with reverts("reader: flagged price"):
        ask(scene.price, "price")


@pytest.mark.parametrize("value", [0, -PRICE])
def test_price__not_positive__reverts(scene, ask, reverts, value):
    scene.tell(value)
    with reverts("reader: price not positive"):
        ask(scene.price, "price")


@pytest.mark.parametrize("name", ["price", "range90"])
def test_read__invalid_or_paused__reverts(scene, ask, reverts, name):
    scene.tell()
    with scene.net.chain.rewound():
        scene.tell(flags=constant_int("FLAG_INVALID"))
        with reverts("reader: not reliable"):
            ask(scene.price, name)
    guardian, aggregator = scene.net.chain.accounts[-4], scene.net.core.aggregator.functions
    send(scene.net.chain.w3, aggregator.setGuardian(guardian), scene.net.core.owner)
    send(scene.net.chain.w3, aggregator.pauseAll(), guardian)
    with reverts("reader: not reliable"):
        ask(scene.price, name)


@pytest.mark.parametrize("name", ["price", "range90"])
def test_read__older_than_its_own_limit_or_the_network_s__reverts(scene, ask, reverts, name):
    scene.tell()
    stored = scene.net.chain.w3.eth.get_block("latest")["timestamp"]
    scene.net.chain.move_to(stored + MAX_AGE)
    ask(scene.price, name)
    scene.net.chain.move_to(stored + MAX_AGE + 1)
    with reverts("reader: stale"):
        ask(scene.price, name)
    stale_after = scene.net.core.aggregator.functions.staleAfter(NUMBER).call()
    assert stale_after > MAX_AGE + 1
    scene.net.chain.move_to(stored + stale_after + 1)
    with reverts("reader: not reliable"):
        ask(scene.price, name)


def test_read__before_the_first_round__reverts(scene, ask, reverts):
    with reverts("reader: not reliable"):
        ask(scene.price, "price")


# Pull


def test_pull__fresh_report__gives_the_price_with_and_without_storing(scene, ask):
    blob = scene.report(PRICE)
    assert ask(scene.pull, "price", blob) == ask(scene.pull, "updatedPrice", blob) == PRICE
    assert scene.net.core.aggregator.functions.latest(NUMBER).call()[0] == 0
    send(scene.net.chain.w3, scene.pull.functions.updatedPrice(blob), scene.net.chain.accounts[5])
    assert scene.net.core.aggregator.functions.latest(NUMBER).call()[0] == 1
    assert ask(scene.pull, "updatedPrice", blob) == PRICE  # it came late: nothing changes, the newest answers


def test_pull__report_older_than_accepted__reverts(scene, ask, reverts):
    blob = scene.report(PRICE)
    scene.net.chain.move_to(scene.net.chain.now + 91)
    for name in ("price", "updatedPrice"):
        with reverts("aggregator: report too old"):
            ask(scene.pull, name, blob)


def test_pull__older_than_stored__cannot_be_picked(scene, ask, reverts):
    old = scene.report(PRICE)
    scene.tell(PRICE + 5)
    with reverts("aggregator: older than stored"):
        ask(scene.pull, "price", old)
    assert ask(scene.pull, "updatedPrice", old) == PRICE + 5


def test_settle__several_reports__the_earliest_after_the_expiry_counts(scene, ask, reverts):
    w3, anyone = scene.net.chain.w3, scene.net.chain.accounts[6]
    before = scene.report(PRICE - 1, slots=0)
    reports = [scene.report(PRICE + step, slots=11 if step == 0 else 1) for step in range(3)]
    with reverts("reader: before the expiry"):
        ask(scene.pull, "settle", before)
    send(w3, scene.pull.functions.settle(reports[2]), anyone)
    send(w3, scene.pull.functions.settle(reports[0]), anyone)
    for late in reports[:2]:
        with reverts("reader: not earlier"):
            ask(scene.pull, "settle", late)
    with reverts("reader: not settled"):
        ask(scene.pull, "settlement")
    scene.net.chain.move_to(scene.expiry + WINDOW)
    with reverts("reader: window is over"):
        ask(scene.pull, "settle", reports[1])
    assert ask(scene.pull, "settlement") == PRICE


def test_settlement__nobody_showed_a_report__reverts(scene, ask, reverts):
    scene.net.chain.move_to(scene.expiry + WINDOW)
    with reverts("reader: not settled"):
        ask(scene.pull, "settlement")


def test_pull__in_solidity__reads_the_same(scene, ask):
    reason = missing_packages()
    if reason is not None:
        pytest.skip(reason)
    built = compile_file(EXAMPLES / "PullReader.sol")["PullReader"]
    net = scene.net
    made = net.chain.w3.eth.contract(abi=built.abi, bytecode=built.bytecode)
    aggregator = net.core.aggregator.address
    receipt = send(net.chain.w3, made.constructor(aggregator, NUMBER, 90, net.chain.now), net.chain.accounts[0])
    reader = made(receipt["contractAddress"])
    blob = scene.report(PRICE)
    assert ask(reader, "price", blob) == ask(reader, "updatedPrice", blob) == PRICE
    send(net.chain.w3, reader.functions.settle(blob), net.chain.accounts[6])
    net.chain.move_to(net.chain.now + WINDOW)
    assert ask(reader, "settlement") == PRICE


# Sources


def interface_of(source: str, suffix: str) -> set[str]:
    """Names of the functions that an example asks of the other contract."""
    if "method_id(" in source:
        return set(re.findall(r'method_id\("(\w+)\(', source))
    head = source[source.index("\ninterface ") + 1 :]
    block = head[: head.index("\n\n\n" if suffix == "vy" else "\n}")]
    return set(re.findall(r"(?:def|function) (\w+)\(", block))


@pytest.mark.parametrize("suffix", ["vy", "sol"])
@pytest.mark.parametrize(
    ("name", "contract", "asked"),
    [
        ("PriceReader", "Feed", {"latestRoundData", "status", "flags", "confidence", "latestVector"}),
        ("PullReader", "Aggregator", {"verify", "update_and_read", "verifyHistoric"}),
    ],
)
def test_source__each_language__short_and_asks_only_for_what_is_there(name, contract, asked, suffix):
    source = (EXAMPLES / f"{name}.{suffix}").read_text(encoding="utf-8")
    assert source.count("\n") < 80
    offered = {entry["name"] for entry in artifact(contract).abi if entry["type"] == "function"}
    assert interface_of(source, suffix) == asked <= offered
