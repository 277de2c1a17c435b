"""A deployment that is cut off, killed, stuck or robbed of its record goes on and sends no step twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from oracle.chain.deploy import contract_at
from oracle.chain.deployment import record as record_module
from oracle.chain.deployment.runner import ForgottenStep, NonceSpent, Pace
from oracle.chain.deployment.session import hold_record
from oracle.chain.transactions import NotMined
from oracle.errors import ChainFault, ConfigError, Reverted, Unreachable
from oracle.ledger import Refused
from tests.strategies.deployments import SHORT, Place, checked


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def interrupt(place: Place, monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], None]:
    """Kill the run at its `at`-th moment: around each send, around each write of the record, at each signature."""
    moments = [0]

    def moment() -> None:
        moments[0] += 1
        if moments[0] == at:
            raise Killed

    place.provider.hook = lambda method, before: moment() if method == "eth_sendRawTransaction" else None
    replace, sign = record_module.os.replace, place.key.sign

    def replacing(source: Any, target: Any) -> None:
        moment()
        replace(source, target)
        moment()

    def signing(fields: Any) -> bytes:
        moment()
        return sign(fields)

    monkeypatch.setattr(record_module.os, "replace", replacing)
    monkeypatch.setattr(place.key, "sign", signing, raising=False)
    return lambda: monkeypatch.undo()


def test_run__killed_at_every_moment_in_turn__goes_on_and_sends_nothing_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, kills = len(place.open().deployment.steps), list[int]()
    for at in range(1, 8 * total):
        moment = at % 7 + 1  # a step has seven: each of them is hit in many steps
        undo = interrupt(place, monkeypatch, moment)
        try:
            session = place.run()
        except Killed:
            kills.append(moment)
            continue
        finally:
            undo()
            place.provider.hook = lambda method, before: None
        break
    assert len(kills) >= 2 * total and set(kills) == set(range(1, 8))
    assert place.sent == total == len(place.recorded()["steps"])
    assert checked(place, session) > 40
    assert [step["nonce"] for step in place.recorded()["steps"]] == list(range(total))


def test_run__record_lost_its_last_lines__finds_the_mined_transactions_by_nonce(place: Place) -> None:
    session = place.run()
    older = place.recorded()
    older["steps"], older["complete"] = older["steps"][:3], False
    place.file.write_text(json.dumps(older))
    sent, signed = place.sent, place.key.signed
    again = place.run()
    assert (place.sent, place.key.signed) == (sent, signed)
    assert [s["tx"] for s in place.recorded()["steps"]] == [s["tx"] for s in session.record.done]
    assert checked(place, again)


def test_run__nonce_spent_elsewhere__is_refused_and_names_the_transaction(place: Place, tmp_path: Path) -> None:
    session = place.run()
    older = place.recorded()
    keep = len(older["steps"]) - 1
    place.file.write_text(json.dumps(older | {"steps": older["steps"][:keep]}))
    # The same history on a chain of its own, but for the last transaction of the account.
    other = Place(tmp_path, chain_id=place.chain.ledger.chain_id)
    for block in place.chain.ledger.blocks[1:-1]:
        for transaction in block.transactions:
            other.chain.ledger.send_raw(transaction.encode())
    foreign = other.other()
    last = session.deployment.steps[-1]
    with pytest.raises(NonceSpent, match=rf"{last.name}: .*{foreign}.*move .* away"):
        other.run()


def test_run__not_mined_in_time__waits_and_a_later_run_replaces_it_at_a_higher_fee(place: Place) -> None:
    place.chain.ledger.automine = False
    with pytest.raises(NotMined, match=r"OracleToken: 0x.* run this again"):
        place.run(SHORT)
    with pytest.raises(NotMined):
        place.run(SHORT)
    assert len(place.recorded()["unconfirmed"]) == 1 == place.key.signed  # same fees: the same bytes again
    fees = place.provider.answers
    fees["eth_maxPriorityFeePerGas"] = lambda params, result: hex(5 * 10**9)
    with pytest.raises(NotMined):
        place.run(SHORT)
    assert len(place.recorded()["unconfirmed"]) == 2 == place.key.signed
    fees.clear()
    place.chain.ledger.automine = True
    place.chain.ledger.mine()
    session = place.run()
    assert place.sent == len(session.deployment.steps) and checked(place, session)


def test_run__confirmations__waits_for_blocks_on_top(place: Place) -> None:
    with pytest.raises(NotMined, match="OracleToken"):
        place.run(Pace(confirmations=2, give_up_s=0.05, poll_s=0.01))
    assert place.recorded()["steps"] == [] and place.sent == 1
    place.chain.ledger.mine(), place.chain.ledger.mine()
    with pytest.raises(NotMined, match="Staking"):
        place.run(Pace(confirmations=2, give_up_s=0.05, poll_s=0.01))
    assert [step["name"] for step in place.recorded()["steps"]] == ["OracleToken"] and place.sent == 2


@pytest.mark.parametrize("before", [True, False])
def test_run__connection_lost_around_a_send__nothing_is_lost_or_doubled(place: Place, before: bool) -> None:
    def cut(method: str, now: bool) -> None:
        if method == "eth_sendRawTransaction" and now is before and place.chain.ledger.head.number >= 2:
            raise requests.ConnectionError("gone")

    place.provider.hook = cut
    with pytest.raises(Unreachable, match=r"sending it: the RPC did not answer"):
        place.run()
    place.provider.hook = lambda method, now: None
    session = place.run()
    assert place.sent == place.key.signed == len(session.deployment.steps) and checked(place, session)


def test_run__rpc_refuses_a_step__says_its_words(place: Place) -> None:
    def refuse(data: str) -> str:
        raise Refused(-32000, "transaction type not supported")

    place.chain._methods["eth_sendRawTransaction"] = refuse
    with pytest.raises(ChainFault, match=r"OracleToken: the RPC refused it: transaction type not supported"):
        place.run()


def test_run__another_process_deploys__is_refused_with_its_number(place: Place) -> None:
    refused = pytest.raises(ConfigError, match=rf"31337\.lock: process {os.getpid()} is deploying")
    with hold_record(place.w3, place.out), refused, hold_record(place.w3, place.out):
        pass
    with hold_record(place.w3, place.out):
        assert not place.file.exists()


def test_run__chain_forgot_a_step__is_refused(place: Place) -> None:
    number = place.chain.ledger.snapshot()
    place.run()
    place.chain.ledger.revert(number)
    with pytest.raises(ForgottenStep, match=r"does not know 0x"):
        place.run()
    assert place.sent == 0


def test_step__reverts_on_chain__says_that_its_nonce_is_gone(place: Place) -> None:
    place.provider.answers["eth_getTransactionReceipt"] = lambda params, result: result and result | {"status": "0x0"}
    with pytest.raises(Reverted, match=r"OracleToken: 0x.* reverted on chain and took nonce 0"):
        place.run()


def test_step__estimate_reverts__names_the_step_and_the_reason(place: Place) -> None:
    def preempt(method: str, before: bool) -> None:
        if method == "eth_estimateGas" and before and place.sent == 5:
            place.provider.hook = lambda method, before: None
            configurator = contract_at(place.w3, "Configurator", place.recorded()["addresses"]["Configurator"])
            data = configurator.encode_abi("setAggregator", args=[place.recorded()["addresses"]["Aggregator"]])
            place.other(bytes.fromhex(data[2:]), configurator.address)

    place.provider.hook = preempt
    with pytest.raises(Reverted, match=r"Configurator\.setAggregator: gas estimate: .*configurator: aggregator is set"):
        place.run()
    signed = place.key.signed
    session = place.run()  # somebody did the step with this account and this nonce: it is found, not repeated
    assert place.key.signed == signed + len(session.deployment.steps) - 6 and checked(place, session)
