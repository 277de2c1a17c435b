"""What the chain core costs in gas, from real transactions in this process.

Measures pushes and cold reads of stated networks; `benchmarks/gas.py` prints them beside the peers, a test holds them
under their bars and near what was recorded. Nothing else belongs here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from web3.contract import Contract

from oracle.chain.deploy import list_feeds
from oracle.chain.faces import Face, create_face, create_proxy, deploy_factory
from oracle.chain.localnet import LocalNet, event_spec, forecast_spec, price_spec, sample_words

BARS = {
    (4, 1): 62_000, (4, 8): 14_000, (4, 32): 9_100,
    (13, 1): 91_000, (13, 8): 18_000, (13, 32): 10_000,
    (31, 1): 150_000, (31, 8): 26_000, (31, 32): 12_000,
}  # fmt: skip
"""Most gas per feed by (validators, feeds), whole transaction, that we allow ourselves."""
READ_BARS = {"feed": 11_000, "proxy": 16_200}
"""Most gas of a cold `latestRoundData` on a Feed, and through a FeedProxy over it."""
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


def measure_pushes(validators: int, feeds: Sequence[int]) -> tuple[Pushed, ...]:
    """Gas of one `transmit` of all feeds in steady state, for each number of `feeds` (ascending), by one network."""
    net = LocalNet.start([100] * validators, [price_spec(number) for number in range(feeds[0])])
    found = []
    for count, more in zip(feeds, [*feeds[1:], 0], strict=True):
        net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 117_000_000))))
        net.wear_in()
        net.chain.move_to(net.chain.now + 60)
        receipt = net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 118_512_345))))
        found.append(Pushed(validators, len(net.quorum()), count, int(receipt["gasUsed"])))
        if more:
            list_feeds(net.chain.w3, net.core, [price_spec(number) for number in range(count, more)])
            net.chain.move_to(net.chain.now + 600)
            net.roll()
    return tuple(found)


def measure_face_reads() -> dict[str, int]:
    """Gas of a cold `latestRoundData` on each face, by its name, called from another contract."""
    net, factory = _net_with_factory()
    series = {Face.FORECAST: (1, 1), Face.EVENT: (4, 1)}
    found = {}
    for face in Face:
        made = create_face(net.chain.w3, factory, net.core.owner, face, *series.get(face, (0, 0)))
        found[face.name.lower()] = cold_call(net, made.address, LATEST_ROUND_DATA)
    return found


def measure_proxy_read() -> int:
    """Gas of a cold `latestRoundData` on a FeedProxy over a Feed, called from another contract."""
    net, factory = _net_with_factory()
    w3, owner = net.chain.w3, net.core.owner
    feed = create_face(w3, factory, owner, Face.FEED, 0)
    return cold_call(net, create_proxy(w3, factory, owner, feed.address, owner).address, LATEST_ROUND_DATA)


def measure_reads() -> dict[str, int]:
    """All cold reads: a Feed and the other faces by name, and `proxy`."""
    return measure_face_reads() | {"proxy": measure_proxy_read()}


def figures(pushes: Sequence[Pushed], reads: Mapping[str, int]) -> dict[str, float]:
    """The figures under the names of the house: `gas.n4.f1.total`, `gas.n4.f1.per_feed`, `read.feed.cold`."""
    named: dict[str, float] = {f"read.{name}.cold": gas for name, gas in reads.items()}
    for pushed in pushes:
        name = f"gas.n{pushed.validators}.f{pushed.feeds}"
        named |= {f"{name}.total": pushed.total, f"{name}.per_feed": round(pushed.per_feed, 1)}
    return named


def _net_with_factory() -> tuple[LocalNet, Contract]:
    net = LocalNet.start([100] * 4, [price_spec(0), forecast_spec(1), event_spec(4)])
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 117_000_000))))
    return net, deploy_factory(net.chain.w3, net.core, net.core.owner)


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
