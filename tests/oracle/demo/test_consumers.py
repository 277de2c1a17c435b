"""The demo's borrowers and traders over the real contracts: attested reports on a served chain, loans, payouts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.middleware import SignAndSendRawMiddlewareBuilder

from contracts import constant_int
from oracle.chain.deploy import Timing
from oracle.chain.localnet import LocalNet, name32, price_spec
from oracle.consensus.network import FeedKind, FeedSpec
from oracle.consensus.words import FeedWord, pack_vector, pack_word
from oracle.demo.consumers import ConsumerFeeds, Consumers, EventQuestion, Terms, compare, liquidated_at_ratio
from oracle.demo.record import LoanRecord
from oracle.devchain import dev_address, dev_key

INVALID, FINAL, VECTOR = (constant_int(f"FLAG_{name}") for name in ("INVALID", "FINAL", "VECTOR"))
HOUR = Timing(slot_seconds=3600, max_report_age=300, grace_ms=1_000, stage_ms=2_000, confirmation=60, min_validators=1)
START = 1_508_108_400
Q01 = -12_000
TERMS = Terms(loan_every=2, collateral=1_000, cash=5_000_000, sets=70)


class ServedChain:
    """The embedded chain in a process of its own, in the shape that LocalNet works with."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oracle.devchain", "--genesis-time", str(START), "--clock", "set"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.w3 = Web3(HTTPProvider(json.loads(self.process.stdout.readline())["url"]))
        keys = [Account.from_key(dev_key(index)) for index in range(6)]
        self.w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(keys), layer=0)
        self.accounts = [Web3.to_checksum_address(dev_address(index)) for index in range(6)]
        self.now = START
        self.move_to(START + 10)

    def move_to(self, second: int) -> None:
        self.now = second
        self.w3.provider.make_request("dodona_setTime", [second])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def forecast_spec() -> FeedSpec:
    return price_spec(
        4, kind=FeedKind.FORECAST, decimals=6, base=name32("S0"), horizon=86_400, min_value=-(10**6), max_value=10**6
    )


def event_spec() -> FeedSpec:
    return price_spec(
        6, kind=FeedKind.EVENT, decimals=0, outcomes=2, base=name32("rain"), quote=bytes(32), min_value=0, max_value=1
    )


@dataclass
class World:
    """A network of three validators and the demo's consumers on it; each `hour` is a slot."""

    net: LocalNet
    people: Consumers
    first: int
    passed: int = 0

    def publish(self, price: int, flags: int = 0, final: bool = False) -> None:
        """Store one report: the price, a forecast, and an event that leans to yes."""
        forecast, event = forecast_spec(), event_spec()
        quantiles = [Q01, -8_000, -6_000, -3_000, 0, 3_000, 6_000, 8_000, 12_000]
        words = {
            0: pack_word(FeedWord(0, price, 1, 10_000, flags)),
            4: pack_word(FeedWord(4, 0, 1, 10_000, VECTOR)), 5: pack_vector(forecast, quantiles),
            6: pack_word(FeedWord(6, 1, 1, 10_000, VECTOR | (FINAL if final else 0))),
            7: pack_vector(event, [100, 9_900]),
        }  # fmt: skip
        receipt = self.net.transmit(self.net.blob(self.net.draft(words)))
        assert receipt["status"] == 1

    def hour(self, price: int | None, flags: int = 0, final: bool = False) -> None:
        start = self.first + 3600 * self.passed
        self.net.chain.move_to(start + 5)
        if price is not None:
            self.publish(price, flags, final)
        self.net.chain.move_to(start + 3590)
        self.people.act(start)
        self.passed += 1


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    chain: Any = ServedChain()
    try:
        net = LocalNet.start([3, 2, 1], [price_spec(0), forecast_spec(), event_spec()], timing=HOUR, chain=chain)
        addresses = [net.face(number).address for number in (0, 4, 6)]
        first = net.active.slot_start_ms(net.active.first_slot) // 1000
        question = EventQuestion("S0 at or above 1.00?", first + 6 * 3600)
        people = Consumers(chain.w3, chain.accounts[0], ConsumerFeeds(*addresses), question, TERMS)
        yield World(net, people, first)
    finally:
        chain.stop()


@pytest.fixture(scope="module")
def played(world: World) -> World:
    """Eight hours: calm, a missed report, an INVALID one, a fall of 2 %, and the question settled late."""
    calm, fallen = 118_000_000, 115_640_000
    world.hour(calm)
    world.hour(calm)
    world.hour(None)
    world.hour(calm, flags=INVALID)
    world.hour(calm)
    world.hour(fallen)
    world.hour(fallen)
    world.hour(fallen, final=True)
    return world


def test_loans__calm_hours__opened_at_the_ratio_of_the_forecast(played: World) -> None:
    loans = [loan.record for loan in played.people.loans]
    assert [loan.opened_at - played.first for loan in loans] == [0, 4 * 3600, 6 * 3600]
    for loan in loans:
        assert loan.loan_to_value == pytest.approx(0.98 * 0.98807171, abs=1e-7)
        assert loan.borrowed == pytest.approx(1_000 * loan.price * loan.loan_to_value, abs=1e-5)


def test_loans__fall_beyond_the_quantile__liquidated_without_bad_debt(played: World) -> None:
    closed = [loan.record.liquidated_at for loan in played.people.loans]
    assert closed == [played.first + 5 * 3600, played.first + 5 * 3600, None]
    figures = played.people.lender_figures()
    assert (figures.loans, figures.liquidations, figures.bad_debt) == (3, 2, 0.0)
    assert [loan.debt for loan in played.people.loans[:2]] == [0, 0]
    assert played.people.lender.functions.totalDebt().call() == played.people.loans[2].debt


def test_refusals__stale_or_invalid_or_not_final__counted(played: World) -> None:
    assert played.people.refusals == {"reader: stale feed": 1, "price is INVALID": 1, "market: not final": 1}


def test_market__final_feed__winner_is_paid_what_both_paid_in(played: World) -> None:
    figures = played.people.market_figures()
    assert (figures.question, figures.outcome, figures.paid) == ("S0 at or above 1.00?", "yes", 140.0)
    assert played.people.market.functions.escrow().call() == 0


def test_story__same_loans_at_constant_ratios__are_told_apart(played: World) -> None:
    story = played.people.lender_story()
    assert (story.bonus, story.buffer, len(story.loans)) == (0.01, 0.01, 3)
    assert "Of 3 loans it had to liquidate 2" in story.comparison and "at a constant 80%, 0" in story.comparison


def test_market_figures__no_outcome_yet__says_unresolved() -> None:
    people = Consumers.__new__(Consumers)
    people.question, people.outcome, people.paid = EventQuestion("?", 0), None, 0
    assert people.market_figures().outcome == "unresolved"


def test_compare__no_loans__says_nothing() -> None:
    assert compare((), [], 0.8, 0.98) == ""


def test_liquidated_at_ratio__price_at_opening_or_exactly_at_the_threshold__does_not_count() -> None:
    loans = [LoanRecord("a", 10, 1.0, 0.5, 1.0)]
    assert liquidated_at_ratio(loans, [(0, 0.1), (10, 0.1), (11, 1.0)], 0.5, 0.5) == 0
    assert liquidated_at_ratio(loans, [(11, 0.9999)], 0.5, 0.5) == 1
