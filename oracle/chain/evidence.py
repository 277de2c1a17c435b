"""Evidence for the chain: two signed messages in, the argument of `Slashing.reportEquivocation` out.

Why this file exists: the chain knows three kinds of statement by their hashes; a node holds whole messages. What goes
in here is checked as the contract checks it, so that nobody pays for a transaction that must revert. Never in it: I/O,
time (whether the evidence window is still open is the chain's to say), opinions: an honest forecast's error is nothing.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from eth_utils.crypto import keccak

from oracle.consensus.events import Evidence
from oracle.consensus.messages import (
    Attestation,
    Kind,
    Message,
    Observation,
    Proposal,
    Report,
    SignedObservation,
    SignedProposal,
    pack_values,
)
from oracle.consensus.network import NetworkConfig
from oracle.errors import LocalFault
from oracle.keys import recover

KINDS = {Kind.PROPOSAL: 1, Kind.OBSERVATION: 2, Kind.REPORT: 3}
"""Numbers of the kinds on chain, in order of gravity."""
NOTHING = bytes(32)
_Signed = Observation | Proposal | Report


class NotAnOffence(LocalFault):
    """Two messages that do not prove that one validator signed twice: the chain would refuse them."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed without config and slot; field order of the Vyper struct.

    `content`: valuesHash, observationsHash or root. `extra`: an observation's commitment. Zero where a kind has none.
    """

    observed_at: int
    content: bytes
    extra: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """Two statements of one kind by one row of a config for one slot; field order of the Vyper struct."""

    kind: int
    count: int
    row: int
    slot: int
    first: Statement
    second: Statement

    @property
    def argument(self) -> tuple[Any, ...]:
        """What `reportEquivocation` and `offenceOf` take: plain nested tuples."""
        return astuple(self)


def proof_of(config: NetworkConfig, evidence: Evidence) -> Proof:
    """The proof that an `Accuse` of consensus stands for. Raises NotAnOffence."""
    proof = equivocation(config, evidence.first, evidence.second)
    accused = (KINDS[evidence.kind], evidence.offender, evidence.slot)
    if (proof.kind, proof.row, proof.slot) != accused:
        raise NotAnOffence(
            "the messages prove something else than the evidence says (kind, row, slot)",
            given=(proof.kind, proof.row, proof.slot), limit=accused,
        )  # fmt: skip
    return proof


def equivocation(config: NetworkConfig, first: Message, second: Message) -> Proof:
    """The proof that two messages of `config` make. Raises NotAnOffence, naming what is missing."""
    one, one_row, one_signature = _opened(config, first)
    other, other_row, other_signature = _opened(config, second)
    if type(one) is not type(other):
        raise NotAnOffence("the messages are of two kinds", given=type(other).__name__, limit=type(one).__name__)
    if one.slot != other.slot:
        raise NotAnOffence("the messages are for two slots", given=other.slot, limit=one.slot)
    if one_row != other_row:
        raise NotAnOffence("the messages are of two validators", given=other_row, limit=one_row)
    if one.struct_hash == other.struct_hash:
        raise NotAnOffence("the messages say the same", given=one.struct_hash.hex())
    statements = (_statement(one, one_signature), _statement(other, other_signature))
    return Proof(KINDS[Kind(type(one).__name__.lower())], config.count, one_row, one.slot, *statements)


def _opened(config: NetworkConfig, message: Message) -> tuple[_Signed, int, bytes]:
    """What a message's signature covers, the row that made it, and the signature."""
    signed: _Signed
    named: int | None
    match message:
        case SignedObservation(signed, named, signature):
            pass
        case SignedProposal(signed, signature):
            named = None
        case Attestation(signed, _, named, signature):
            pass
        case _:
            raise NotAnOffence("a message without a signature proves nothing", given=type(message).__name__)
    if signed.config_digest != config.digest:
        given, limit = signed.config_digest.hex(), config.digest.hex()
        raise NotAnOffence("a message is of another config", given=given, limit=limit)
    signer = recover(signed.digest(config), signature)
    row = None if signer is None else config.index_of(signer)
    if signer is None or row is None:
        raise NotAnOffence(f"nobody in the table of config {config.count} signed the message", given=signer)
    if named not in (None, row):
        raise NotAnOffence("a message names another signer than its signature", given=named, limit=row)
    return signed, row, signature


def _statement(signed: _Signed, signature: bytes) -> Statement:
    match signed:
        case Observation(observed_at=observed_at, values=values, commitment=commitment):
            return Statement(observed_at, keccak(pack_values(values)), commitment, signature)
        case Report(observed_at=observed_at, root=root):
            return Statement(observed_at, root, NOTHING, signature)
        case Proposal(observations=items):
            rows = (bytes((item.signer,)) + item.observation.struct_hash + item.signature for item in items)
            return Statement(0, keccak(b"".join(rows)), NOTHING, signature)
