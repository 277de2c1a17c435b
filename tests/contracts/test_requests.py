"""Asking for a round costs at least a transmission, once a feed and slot, and says nothing about the value."""

from __future__ import annotations

from contracts import constant_int
from oracle.chain.deploy import send
from tests.contracts.mock_code import deploy_mock

FEE = 10**15
REQUEST_GAS = constant_int("REQUEST_GAS")


def request(net, number, value, sender=6):
    call = net.core.aggregator.functions.requestRound(number)
    given = {"from": net.chain.accounts[sender], "value": value, "gas": 10**6}
    return net.chain.w3.eth.wait_for_transaction_receipt(call.transact(given))


def set_fee(net, fee):
    return send(net.chain.w3, net.core.aggregator.functions.setRequestFee(fee), net.core.owner)


def test_request__fee_paid__is_noted_for_the_slot_and_logged(net, ask):
    receipt = set_fee(net, FEE)
    (log,) = net.core.aggregator.events.RequestFeeSet().process_receipt(receipt)
    assert log["args"]["fee"] == FEE == ask(net.core.aggregator, "requestFee")
    slot = net.active.slot_at(net.chain.now * 1000)
    receipt = request(net, 7, FEE)
    (log,) = net.core.aggregator.events.RoundRequested().process_receipt(receipt)
    expected = {"number": 7, "requester": net.chain.accounts[6], "slot": slot, "fee": FEE}
    assert dict(log["args"]) == expected
    assert ask(net.core.aggregator, "requestedSlot", 7) == slot
    assert ask(net.core.aggregator, "requestedSlot", 1) == 0
    assert ask(net.core.aggregator, "latest", 7)[0] == 0, "a request makes no round"


def test_request__too_little_or_twice_a_slot__reverts(net, ask, reverts):
    set_fee(net, FEE)
    call, sender = net.core.aggregator.functions.requestRound(0), net.chain.accounts[6]
    for value in (0, FEE - 1):
        with reverts("aggregator: fee too small"):
            call.call({"from": sender, "value": value}, "pending")
    request(net, 0, FEE)
    with reverts("aggregator: already requested"):
        call.call({"from": net.chain.accounts[7], "value": FEE}, "pending")
    net.chain.move_to(net.chain.now + 60)
    request(net, 0, FEE)


def test_request_fee__low_setting__is_a_transmission_at_the_base_fee(net, ask):
    base = net.chain.w3.eth.get_block("pending")["baseFeePerGas"]
    assert base > 0
    assert ask(net.core.aggregator, "requestFee") == REQUEST_GAS * base


def test_request__paid_too_much__the_rest_comes_back(net):
    set_fee(net, FEE)
    eth, sender = net.chain.w3.eth, net.chain.accounts[6]
    before = eth.get_balance(sender)
    receipt = request(net, 0, 5 * FEE)
    spent = before - eth.get_balance(sender) - receipt["gasUsed"] * receipt["effectiveGasPrice"]
    assert spent == FEE == eth.get_balance(net.core.aggregator.address)


def test_collect_fees__by_the_owner__sends_all_of_it(net, ask, reverts):
    set_fee(net, FEE)
    request(net, 0, FEE)
    request(net, 1, FEE)
    with reverts("aggregator: zero address"):
        ask(net.core.aggregator, "collectFees", "0x" + "00" * 20, sender=net.core.owner)
    target = "0x" + "77" * 20
    receipt = send(net.chain.w3, net.core.aggregator.functions.collectFees(target), net.core.owner)
    (log,) = net.core.aggregator.events.FeesCollected().process_receipt(receipt)
    assert dict(log["args"]) == {"to": target, "amount": 2 * FEE}
    assert net.chain.w3.eth.get_balance(target) == 2 * FEE
    assert net.chain.w3.eth.get_balance(net.core.aggregator.address) == 0


def test_request__refund_that_calls_back__gains_nothing(net, ask, reverts):
    """A requester that asks again from inside its refund is refused: the slot was noted before the money moved."""
    set_fee(net, FEE)
    asker = deploy_mock(net.chain.w3, net.core.owner, "GreedyRequester", net.core.aggregator.address)
    call = asker.functions.ask(0, True)
    given = {"from": net.core.owner, "value": 4 * FEE, "gas": 10**6}
    with reverts("aggregator: already requested"):
        call.call(given, "pending")
    calm = asker.functions.ask(0, False).transact(given)
    assert net.chain.w3.eth.wait_for_transaction_receipt(calm)["status"] == 1
    assert net.chain.w3.eth.get_balance(asker.address) == 3 * FEE
