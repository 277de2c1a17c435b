"""A node among hostile bytes, revoked keys and cores that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.consensus.events import Observed
from oracle.consensus.messages import Observation, Proposal, SignedObservation, SignedProposal
from oracle.consensus.network import Slot
from oracle.consensus.wire import encode
from oracle.errors import BadSignature, MalformedMessage, PeerFault, WrongDigest, WrongSlot
from tests.strategies.nodes import SLOT, START, network, running, slots


async def test_network__largest_validator_revoked_its_key_and_signs_on__reports_land_without_it(tmp_path: Path) -> None:
    async with running(tmp_path) as net:
        await net.run_to(4)
        net.chain.revoked_rows = frozenset({0})
        await net.run_to(8)
        assert {4, 5, 6, 7} <= set(slots(net))
        assert all(0 not in dict(attested.signatures) for attested in net.chain.landed if attested.report.slot >= 4)


async def test_node__core_raises__is_loud_rebuilt_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("oracle.node.RETRY_S", 0.001)
    async with running(tmp_path) as net:
        await net.run_to(3)
        node, digest = net.nodes[0], network().digest
        before = node._epochs.all[0].core
        node._tell(digest, Observed(Slot(2), START + 2 * SLOT, ()))
        await net.quiet()
        assert node._epochs.all[0].core is not before and node.metrics.restarts.value(part="rounds") == 1
        assert any(reason.startswith("rounds: ") for reason in node.health().reasons)
        await net.run_to(6)
        assert {4, 5} <= set(slots(net))


async def test_accept__bytes__are_a_message_or_a_peer_fault(tmp_path: Path) -> None:
    async with running(tmp_path, [0]) as net:
        node = net.nodes[0]
        digest = network().digest
        cases = [(b"", MalformedMessage), (b"\x11" * 64, WrongDigest), (b"\x11" + digest + bytes(9), PeerFault)]
        for body, fault in cases:
            with pytest.raises(fault):
                node.accept(body, "them")
        assert node.activity.busy == 0 and node._queue.empty()


async def test_node__core_rebuilt_after_the_next_config_came__still_ends_where_that_begins(tmp_path: Path) -> None:
    async with running(tmp_path) as net:
        await net.run_to(3)
        net.chain.configs.append(network(2, first_slot=6))
        await net.run_to(5)
        node = net.nodes[0]
        old = node._epochs.get(network().digest)
        assert old is not None
        node._epochs.rebuild(old)
        await net.quiet()
        await net.run_to(8)
        assert not old.core._is_ours(6) and old.core._is_ours(5)


async def test_accept__strangers_proposals__cost_one_signature_and_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as net:
        await net.run_to(8)
        node, config = net.nodes[0], network()
        decoded: list[bytes] = []
        monkeypatch.setattr("oracle.node.decode", lambda body, _config: decoded.append(body))
        slot = config.slot_at(node.clock.now_ms())
        for at, fault in ((slot, BadSignature), (slot - 5, WrongSlot), (slot + 2, WrongSlot), (2**32 - 1, WrongSlot)):
            start = config.slot_start_ms(at) // 1000
            observation = Observation(config.digest, Slot(at), start, (None,))
            items = tuple(SignedObservation(observation, row, bytes(64)) for row in range(4))
            body = encode(SignedProposal(Proposal(config.digest, Slot(at), items), bytes(64)), config)
            with pytest.raises(fault):
                node.accept(body, "stranger")
        assert decoded == []
