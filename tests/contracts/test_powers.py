"""What owner and guardian can do, all of it, and that none of it is a price."""

from __future__ import annotations

from dataclasses import astuple, replace

from contracts.artifacts import artifact
from oracle.chain.deploy import list_feeds, send
from oracle.chain.localnet import MINUTE, price_spec, sample_words
from tests.contracts.mock_code import deploy_mock


def powers_of(name):
    """Every function of a contract that changes state."""
    changing = ("nonpayable", "payable")
    return {
        entry["name"]
        for entry in artifact(name).abi
        if entry["type"] == "function" and entry["stateMutability"] in changing
    }


OWNER_OF_FEEDS = {"listFeed", "retireFeed", "keepFeed", "stageTiming", "setAggregator", "transfer_ownership"}
OWNER_OF_GATES = {"setGuardian", "setSequencer", "setRequestFee", "collectFees", "transfer_ownership"}
GUARDIAN = {"pause", "pauseAll", "unpause", "unpauseAll"}


def test_powers__of_both_contracts__are_these_and_no_other():
    assert powers_of("Configurator") == OWNER_OF_FEEDS | {"roll", "revoke"}
    anyone = {"transmit", "update_and_read", "requestRound"}
    assert powers_of("Aggregator") == OWNER_OF_GATES | GUARDIAN | anyone | {"adopt", "revoke"}


def test_owner__every_power_used__no_price_changes(net, ask):
    """Owner and guardian list, stage, retire, roll, pause and hand over; rounds stay as the quorum left them."""
    agg, configurator, w3 = net.core.aggregator, net.core.configurator, net.chain.w3
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 7))))
    before = [ask(agg, "latest", spec.number) for spec in net.active.feeds]
    list_feeds(w3, net.core, [replace(price_spec(0), min_value=10, max_value=11)])
    uptime = deploy_mock(w3, net.core.owner, "UptimeMock")
    for call in (
        configurator.functions.stageTiming(astuple(replace(MINUTE, slot_seconds=30))),
        configurator.functions.retireFeed(9), configurator.functions.keepFeed(9), configurator.functions.retireFeed(7),
        agg.functions.setGuardian(net.core.owner), agg.functions.pause(0), agg.functions.unpause(0),
        agg.functions.pauseAll(), agg.functions.unpauseAll(), agg.functions.setSequencer(uptime.address, 60),
        agg.functions.setRequestFee(1), agg.functions.collectFees(net.core.owner),
    ):  # fmt: skip
        send(w3, call, net.core.owner)
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    for contract in (agg, configurator):
        send(w3, contract.functions.transfer_ownership(net.chain.accounts[3]), net.core.owner)
        assert ask(contract, "owner") == net.chain.accounts[3]
    assert before == [ask(agg, "latest", spec.number) for spec in net.active.feeds]
