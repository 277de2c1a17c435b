"""What validators say to one another, and the typed data (EIP-712) that they sign.

Why this file exists: every message is a frozen record whose digest is fixed by `constants.vy`; bytes in and out are in
`wire.py`. Never in it: what to do with a message, floats.

`observed_at` is integer UTC seconds, as on chain. `digest(config)` is what a key signs: keccak256(0x1901 || domain ||
struct hash). Signatures are 64 bytes (EIP-2098). `signer` is a row of the validator table. The leader of a slot is
known to all, so a proposal names no signer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from eth_utils.crypto import keccak

from contracts import constant_str
from oracle.consensus.network import FeedId, NetworkConfig, Slot
from oracle.errors import Unencodable

_OBSERVATION = keccak(constant_str("OBSERVATION_TYPE").encode())
_PROPOSAL = keccak(constant_str("PROPOSAL_TYPE").encode())
_REPORT = keccak(constant_str("REPORT_TYPE").encode())
NO_COMMITMENT = bytes(32)


class Kind(StrEnum):
    """What a validator signs at most once a slot; the journal keeps one high-water slot per kind."""

    OBSERVATION = "observation"
    PROPOSAL = "proposal"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class FeedObservation:
    """What one validator saw of one feed in one slot; a feed that it did not see is absent (None) instead.

    `value`: at the feed's decimals; forecast: the median quantile (components[4]); event: the leading outcome (ties:
    lowest). `confidence`: >= 0, in the value's units (event: basis points). `previous`: own values of the two slots
    before, newest first, None where there was none. `sources`: bitmap of the sources used. `family_share`: largest
    share of one model family, basis points. `outside_run`: consecutive own slots outside [min, max] up to this one,
    positive above, negative below, held within -127..127. `components`: 9 quantiles in 1e-6 | basis points summing to
    10,000 | nothing. `resolved`: an event whose outcome is final to this validator.
    """

    feed: FeedId
    value: int
    confidence: int
    previous: tuple[int | None, int | None] = (None, None)
    sources: int = 0
    family_share: int = 0
    outside_run: int = 0
    components: tuple[int, ...] = ()
    resolved: bool = False


Values = tuple[FeedObservation | None, ...]
"""One entry per feed of the config, in table order."""


def pack_int(value: int) -> bytes:
    """Signed integer as a length byte and the fewest big-endian bytes.

    >>> pack_int(-129).hex()
    '02ff7f'
    """
    size = ((value if value >= 0 else ~value).bit_length() + 8) // 8
    return bytes((size,)) + value.to_bytes(size, "big", signed=True)


def pack_values(values: Values) -> bytes:
    """Canonical bytes of an observation's values: a count, then each feed that was seen, ascending.

    Raises Unencodable for a number that has no place in the format.
    """
    seen = [value for value in values if value is not None]
    parts = [len(seen).to_bytes(2, "big")]
    try:
        for value in seen:
            before = [old for old in value.previous if old is not None]
            marks = (value.previous[0] is not None) | (value.previous[1] is not None) << 1 | value.resolved << 2
            parts += [value.feed.to_bytes(2, "big"), bytes((marks,)), pack_int(value.value), pack_int(value.confidence)]
            parts += [pack_int(old) for old in before]
            parts += [pack_int(value.sources), value.family_share.to_bytes(2, "big")]
            parts += [value.outside_run.to_bytes(1, "big", signed=True), bytes((len(value.components),))]
            parts += [part.to_bytes(3, "big", signed=True) for part in value.components]
    except (OverflowError, ValueError) as fault:
        raise Unencodable(f"observation has a number that does not fit its field: {fault}") from fault
    return b"".join(parts)


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def typed_digest(config: NetworkConfig, struct_hash: bytes) -> bytes:
    """EIP-712 signing digest of a struct hash in this config's domain."""
    return keccak(b"\x19\x01" + config.domain + struct_hash)


@dataclass(frozen=True, slots=True)
class Observation:
    """One validator's view of one slot. `commitment` is signed from the start and zero until commit-reveal.

    `struct_hash`: EIP-712 struct hash; its `valuesHash` is keccak256 of the canonical bytes of `values`.
    """

    config_digest: bytes
    slot: Slot
    observed_at: int
    values: Values
    commitment: bytes = NO_COMMITMENT
    struct_hash: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash once, as everybody asks for it; raises Unencodable for numbers that have no place in the format."""
        head = _OBSERVATION + self.config_digest + _word(self.slot) + _word(self.observed_at)
        object.__setattr__(self, "struct_hash", keccak(head + keccak(pack_values(self.values)) + self.commitment))

    def digest(self, config: NetworkConfig) -> bytes:
        """What the observer signs."""
        return typed_digest(config, self.struct_hash)


@dataclass(frozen=True, slots=True)
class SignedObservation:
    """An observation with its signature."""

    observation: Observation
    signer: int
    signature: bytes

    @property
    def slot(self) -> Slot:
        """Slot of the observation."""
        return self.observation.slot


@dataclass(frozen=True, slots=True)
class Proposal:
    """The signed observations that a leader collected, ascending by signer; nothing of the leader's own.

    `struct_hash`: EIP-712 struct hash, the name under which attestations speak of this proposal; its
    `observationsHash` is keccak256 over signer (1 byte), struct hash and signature of each.
    """

    config_digest: bytes
    slot: Slot
    observations: tuple[SignedObservation, ...]
    struct_hash: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash once, as everybody asks for it."""
        rows = (bytes((item.signer,)) + item.observation.struct_hash + item.signature for item in self.observations)
        head = _PROPOSAL + self.config_digest + _word(self.slot)
        object.__setattr__(self, "struct_hash", keccak(head + keccak(b"".join(rows))))

    def digest(self, config: NetworkConfig) -> bytes:
        """What the leader signs."""
        return typed_digest(config, self.struct_hash)


@dataclass(frozen=True, slots=True)
class SignedProposal:
    """A proposal with the signature of its slot's leader."""

    proposal: Proposal
    signature: bytes

    @property
    def slot(self) -> Slot:
        """Slot of the proposal."""
        return self.proposal.slot


@dataclass(frozen=True, slots=True)
class Report:
    """What goes on chain: `root` over all feed pages of the slot."""

    config_digest: bytes
    slot: Slot
    observed_at: int
    root: bytes

    @property
    def struct_hash(self) -> bytes:
        """EIP-712 struct hash."""
        return keccak(_REPORT + self.config_digest + _word(self.slot) + _word(self.observed_at) + self.root)

    def digest(self, config: NetworkConfig) -> bytes:
        """What attesters sign and the Aggregator checks."""
        return typed_digest(config, self.struct_hash)


@dataclass(frozen=True, slots=True)
class Attestation:
    """One validator's signature of a report, naming the proposal (its struct hash) that gives the report."""

    report: Report
    proposal: bytes
    signer: int
    signature: bytes

    @property
    def slot(self) -> Slot:
        """Slot of the report."""
        return self.report.slot


@dataclass(frozen=True, slots=True)
class ProposalRequest:
    """`requester` (a row) lacks the proposal with this struct hash. Unsigned: the answer goes to that row only."""

    config_digest: bytes
    slot: Slot
    proposal: bytes
    requester: int


Message = SignedObservation | SignedProposal | Attestation | ProposalRequest
"""Everything that travels between validators."""
