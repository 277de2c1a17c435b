"""Checks of what peers say: each passes, or raises the PeerFault of the rule it breaks.

Why this file exists: the same checks serve the leader, the attesters and the simulator. Never in it: state, effects.
"""

from __future__ import annotations

from collections.abc import Callable

from oracle.consensus.aggregate import Aggregate, aggregate
from oracle.consensus.messages import Attestation, SignedObservation, SignedProposal
from oracle.consensus.network import MS, NetworkConfig, has_quorum
from oracle.consensus.schedule import leader
from oracle.consensus.wire import first_observation
from oracle.errors import BadSignature, NoQuorum, NotTheLeader, SlotTimeMismatch, WrongSlot

Recover = Callable[[bytes, bytes], bytes | None]
"""(digest, 64 byte signature) -> address (20 bytes) that made it, None where there is none (high s, zero, no point)."""


def screen(config: NetworkConfig, data: bytes, recover: Recover, now_ms: int) -> None:
    """Cheap look at a peer's bytes before they are decoded: raise if they are a proposal of a slot that is over or far
    ahead, or one whose first observation no validator signed. So a stranger's bytes cost no more than their transport.
    """
    first = first_observation(data, config)
    if first is not None:
        width, current = config.slot_seconds * MS, config.slot_at(now_ms)
        oldest = config.slot_at(now_ms - config.max_report_age * MS - width)
        if not oldest <= first.slot <= current + 1:
            raise WrongSlot("proposal is for a slot that is not worked on", given=first.slot, limit=current)
        check_observation(config, first, recover)


def check_signature(config: NetworkConfig, recover: Recover, digest: bytes, signature: bytes, row: int) -> None:
    """Raise BadSignature unless `row` signed `digest`."""
    signer = recover(digest, signature)
    if signer != config.rows[row].address:
        given = signer.hex() if signer else None
        raise BadSignature("signature is not that of the row it names", given=given, limit=row)


def check_time(config: NetworkConfig, slot: int, observed_at: int) -> None:
    """Raise SlotTimeMismatch unless `observed_at` (seconds) lies in `slot`: the rule that the chain repeats."""
    found = config.slot_at(observed_at * MS)
    if found != slot:
        raise SlotTimeMismatch("observedAt lies in another slot", given=found, limit=slot)


def check_observation(config: NetworkConfig, signed: SignedObservation, recover: Recover) -> None:
    """Raise unless the time lies in the slot and the row signed it."""
    check_time(config, signed.slot, signed.observation.observed_at)
    check_signature(config, recover, signed.observation.digest(config), signed.signature, signed.signer)


def check_leader(config: NetworkConfig, signed: SignedProposal, recover: Recover) -> None:
    """Raise NotTheLeader unless the slot's leader signed the proposal."""
    digest, row = signed.proposal.digest(config), leader(config, signed.slot)
    if recover(digest, signed.signature) != config.rows[row].address:
        raise NotTheLeader("proposal is not signed by the slot's leader", limit=row)


def check_proposal(config: NetworkConfig, signed: SignedProposal, recover: Recover) -> Aggregate:
    """Check every observation and the quorum of a leader's proposal (order and digests: `wire.decode`), and recompute.

    Returns what the observations give: nothing of the leader's own enters. Raises the PeerFault of the broken rule.
    """
    items = signed.proposal.observations
    stake = sum(config.rows[item.signer].stake for item in items)
    if not has_quorum(stake, config.total_stake):
        raise NoQuorum("proposal needs more than 2/3 of stake", given=stake, limit=config.total_stake)
    for item in items:
        check_observation(config, item, recover)
    return aggregate(config, {item.signer: item.observation for item in items})


def check_attestation(config: NetworkConfig, attestation: Attestation, recover: Recover) -> None:
    """Raise unless the report's time lies in its slot and the row signed it."""
    check_time(config, attestation.slot, attestation.report.observed_at)
    digest = attestation.report.digest(config)
    check_signature(config, recover, digest, attestation.signature, attestation.signer)
