"""Evidence for the chain: what two messages prove, and what they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from contracts import constant_str
from oracle.chain.evidence import KINDS, NOTHING, NotAnOffence, Proof, equivocation, proof_of
from oracle.consensus.events import Evidence
from oracle.consensus.messages import (
    Attestation,
    Kind,
    Observation,
    Proposal,
    ProposalRequest,
    Report,
    SignedObservation,
    SignedProposal,
)
from oracle.consensus.network import ValidatorRow
from oracle.keys import HotKey
from tests.strategies.consensus import CONFIG as FAKE
from tests.strategies.consensus import SLOT, hashes, observations

KEYS = [HotKey(bytes([index + 1]) * 32) for index in range(4)]
CONFIG = replace(FAKE, rows=tuple(ValidatorRow(KEYS[i].address, row.stake) for i, row in enumerate(FAKE.rows)))
ABSENT = (None,) * len(CONFIG.feeds)
START = CONFIG.slot_start_ms(SLOT) // 1000


def observed(row=1, slot=SLOT, at=START, values=ABSENT, commitment=NOTHING, config=CONFIG):
    observation = Observation(config.digest, slot, at, values, commitment)
    return SignedObservation(observation, row, KEYS[row].sign(observation.digest(config)))


def proposed(rows=(0, 1), row=1, slot=SLOT, config=CONFIG):
    proposal = Proposal(config.digest, slot, tuple(observed(one) for one in rows))
    return SignedProposal(proposal, KEYS[row].sign(proposal.digest(config)))


def attested(row=1, slot=SLOT, at=START, root=b"\1" * 32, proposal=b"\2" * 32, config=CONFIG):
    report = Report(config.digest, slot, at, root)
    return Attestation(report, proposal, row, KEYS[row].sign(report.digest(config)))


PAIRS = {
    Kind.OBSERVATION: (observed(), observed(at=START + 1)),
    Kind.PROPOSAL: (proposed(), proposed(rows=(0, 1, 2))),
    Kind.REPORT: (attested(), attested(root=b"\3" * 32)),
}


def hash_of(proof: Proof, which: int) -> bytes:
    """The struct hash that the contract makes of a statement, written out from the type strings."""
    statement = (proof.first, proof.second)[which]
    name = {1: "PROPOSAL_TYPE", 2: "OBSERVATION_TYPE", 3: "REPORT_TYPE"}[proof.kind]
    words = [keccak(constant_str(name).encode()), CONFIG.digest, proof.slot.to_bytes(32)]
    words += [] if proof.kind == 1 else [statement.observed_at.to_bytes(32)]
    words += [statement.content, *([statement.extra] if proof.kind == 2 else [])]
    return keccak(b"".join(words))


@pytest.mark.parametrize("kind", list(Kind))
def test_equivocation__two_messages_of_one_slot__is_the_argument_of_the_contract(kind):
    first, second = PAIRS[kind]
    proof = equivocation(CONFIG, first, second)
    assert (proof.kind, proof.count, proof.row, proof.slot) == (KINDS[kind], CONFIG.count, 1, SLOT)
    said = [getattr(message, kind.value).struct_hash for message in (first, second)]
    assert [hash_of(proof, which) for which in range(2)] == said
    assert [proof.first.signature, proof.second.signature] == [first.signature, second.signature]
    assert proof.argument == (
        KINDS[kind], CONFIG.count, 1, SLOT,
        (proof.first.observed_at, proof.first.content, proof.first.extra, first.signature),
        (proof.second.observed_at, proof.second.content, proof.second.extra, second.signature),
    )  # fmt: skip


@pytest.mark.parametrize("kind", list(Kind))
def test_proof_of__evidence_of_consensus__is_the_same_proof(kind):
    first, second = PAIRS[kind]
    assert proof_of(CONFIG, Evidence(kind, 1, SLOT, first, second)) == equivocation(CONFIG, first, second)


@pytest.mark.parametrize(
    "change", [{"kind": Kind.REPORT}, {"offender": 2}, {"slot": SLOT + 1}], ids=lambda change: next(iter(change))
)
def test_proof_of__evidence_that_says_something_else__raises(change):
    evidence = replace(Evidence(Kind.OBSERVATION, 1, SLOT, *PAIRS[Kind.OBSERVATION]), **change)
    with pytest.raises(NotAnOffence, match="something else"):
        proof_of(CONFIG, evidence)


OTHER = replace(CONFIG, count=CONFIG.count + 1)


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (observed(), attested(), "two kinds"),
        (observed(), observed(slot=SLOT + 1, at=START + 60), "two slots"),
        (attested(), attested(slot=SLOT + 1), "two slots"),
        (observed(), observed(), "say the same"),
        (proposed(), proposed(), "say the same"),
        (attested(), attested(proposal=b"\7" * 32), "say the same"),
        (observed(), observed(row=2, at=START + 1), "two validators"),
        (proposed(), proposed(row=2, rows=(1, 2)), "two validators"),
        (attested(), attested(root=b"\3" * 32, config=OTHER), "another config"),
        (attested(config=OTHER), attested(root=b"\3" * 32), "another config"),
        (observed(), replace(observed(at=START + 1), signature=bytes(64)), "nobody in the table"),
        (observed(), replace(observed(at=START + 1), signature=b"\1" * 63), "nobody in the table"),
        (observed(), replace(observed(at=START + 1), signer=2), "another signer"),
        (attested(), replace(attested(root=b"\3" * 32), signer=0), "another signer"),
        (observed(), ProposalRequest(CONFIG.digest, SLOT, b"\1" * 32, 1), "without a signature"),
        (ProposalRequest(CONFIG.digest, SLOT, b"\1" * 32, 1), observed(), "without a signature"),
    ],
)
def test_equivocation__no_offence__raises(first, second, why):
    with pytest.raises(NotAnOffence, match=why):
        equivocation(CONFIG, first, second)


def test_equivocation__signature_of_a_stranger__raises():
    stranger, report = HotKey(b"\x77" * 32), attested(root=b"\3" * 32)
    forged = replace(report, signature=stranger.sign(report.report.digest(CONFIG)))
    with pytest.raises(NotAnOffence, match="nobody in the table") as caught:
        equivocation(CONFIG, attested(), forged)
    assert caught.value.given == stranger.address


@given(one=observations(CONFIG, SLOT), other=observations(CONFIG, SLOT))
def test_equivocation__any_two_observations__proves_exactly_those_that_differ(one, other):
    first, second = (SignedObservation(part, 3, KEYS[3].sign(part.digest(CONFIG))) for part in (one, other))
    if one == other:
        with pytest.raises(NotAnOffence, match="say the same"):
            equivocation(CONFIG, first, second)
    else:
        proof = equivocation(CONFIG, first, second)
        assert (hash_of(proof, 0), hash_of(proof, 1)) == (one.struct_hash, other.struct_hash)


@given(roots=st.tuples(hashes, hashes), ats=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)))
def test_equivocation__any_two_reports__proves_exactly_those_that_differ(roots, ats):
    first, second = (attested(2, at=at, root=root) for at, root in zip(ats, roots, strict=True))
    if (roots[0], ats[0]) == (roots[1], ats[1]):
        with pytest.raises(NotAnOffence, match="say the same"):
            equivocation(CONFIG, first, second)
    else:
        proof = equivocation(CONFIG, first, second)
        said = [message.report.struct_hash for message in (first, second)]
        assert (proof.row, [hash_of(proof, which) for which in range(2)]) == (2, said)
