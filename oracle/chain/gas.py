"""What the chain core costs in gas, from real transactions in this process.

Measures one push and one cold read of a stated network; `benchmarks/gas.py` prints them beside the peers, a test
holds them under their bars. Nothing else belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass

from oracle.chain.localnet import LocalNet, price_spec, sample_words

BARS = {
    (4, 1): 62_000, (4, 8): 14_000, (4, 32): 9_100,
    (13, 1): 91_000, (13, 8): 18_000, (13, 32): 10_000,
    (31, 1): 150_000, (31, 8): 26_000, (31, 32): 12_000,
}  # fmt: skip
"""Most gas per feed by (validators, feeds), whole transaction, that we allow ourselves."""
FEED_READ_BAR = 11_000
"""Most gas of a cold `latestRoundData` on a Feed."""
LATEST_ROUND_DATA = bytes.fromhex("feaf968c")


@dataclass(frozen=True, slots=True)
class Pushed:
    """One measured push: validators, signatures, feeds, gas of the whole transaction."""

    validators: int
    signatures: int
    feeds: int
    total: int

    @property
    def per_feed(self) -> float:
        """Gas per feed."""
        return self.total / self.feeds


def measure_push(validators: int, feeds: int) -> Pushed:
    """Gas of one `transmit` of all feeds in steady state."""
    net = LocalNet.start([100] * validators, [price_spec(number) for number in range(feeds)])
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 117_000_000))))
    net.wear_in()
    net.chain.move_to(net.chain.now + 60)
    receipt = net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 118_512_345))))
    return Pushed(validators, len(net.quorum()), feeds, int(receipt["gasUsed"]))


def measure_feed_read() -> int:
    """Gas of a cold `latestRoundData` on a Feed, called from another contract."""
    net = LocalNet.start([100] * 4, [price_spec(0)])
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 117_000_000))))
    return cold_call(net, net.face(0).address, LATEST_ROUND_DATA)


def cold_call(net: LocalNet, target: str, data: bytes) -> int:
    """Gas between the two GAS opcodes around a STATICCALL of a fresh contract: MSTORE data, GAS, call, GAS, return."""
    push_data = b"\x63" + data + b"\x5f\x52"  # PUSH4 selector, MSTORE at 0: it ends at byte 32
    call = b"\x5a\x60\xa0\x60\x20\x60\x04\x60\x1c\x73" + bytes.fromhex(target[2:]) + b"\x5a\xfa\x50"
    answer = b"\x5a\x90\x03\x5f\x52\x60\x20\x5f\xf3"
    runtime = push_data + call + answer
    creation = b"\x61" + len(runtime).to_bytes(2) + b"\x80\x60\x0a\x3d\x39\x3d\xf3" + runtime
    eth = net.chain.w3.eth
    sender = net.chain.accounts[0]
    receipt = eth.wait_for_transaction_receipt(eth.send_transaction({"from": sender, "data": creation, "gas": 10**6}))
    created = receipt["contractAddress"]
    assert created is not None, "a creation has an address"
    return int.from_bytes(eth.call({"to": created, "from": sender}))
