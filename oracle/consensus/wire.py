"""Bytes in and out: the canonical encoding of every message.

Why this file exists: any bytes from a peer become a message or a PeerFault, nothing else, and each message has exactly
one encoding (`decode(encode(m)) == m`, `encode(decode(b)) == b`). Length is bounded before anything is parsed. Never in
it: signature checks, or what a message means for the round (`verify.py`, `protocol.py`).

    tag 1 | config digest 32 | slot 4 | body
    0x11 observation   observedAt 8 | commitment 32 | signer 1 | signature 64 | values
    0x12 proposal      signature 64 | count 1 | count x (observedAt ... values): digest and slot are the proposal's
    0x13 attestation   observedAt 8 | root 32 | proposal 32 | signer 1 | signature 64
    0x14 request       proposal 32 | requester 1
    values             count 2 | count x (feed 2 | marks 1 | value | confidence | previous... | sources |
                       family share 2 | outside run 1 | components 1 | 3 each), ascending; integers as length + bytes
"""

from __future__ import annotations

from dataclasses import dataclass

from oracle.consensus.aggregate import MEDIAN_LEVEL, leading
from oracle.consensus.messages import (
    Attestation,
    FeedObservation,
    Message,
    Observation,
    Proposal,
    ProposalRequest,
    Report,
    SignedObservation,
    SignedProposal,
    Values,
    pack_values,
)
from oracle.consensus.network import BPS, INT128, FeedId, FeedKind, FeedSpec, NetworkConfig, Slot
from oracle.errors import (
    DuplicateObservation,
    FieldOutOfRange,
    MalformedMessage,
    MessageTooLong,
    Unencodable,
    UnknownSigner,
    WrongDigest,
)

OBSERVATION, PROPOSAL, ATTESTATION, REQUEST = 0x11, 0x12, 0x13, 0x14
HEAD_BYTES = 37
SIGNED_BYTES = 8 + 32 + 1 + 64
INT_BYTES = 17
MAX_RUN = 127


def _max_values_bytes(config: NetworkConfig) -> int:
    """Longest encoding of one observation's values."""
    fixed = 2 + 1 + 4 * INT_BYTES + 10 + 2 + 1 + 1
    return 2 + sum(fixed + 3 * spec.width for spec in config.feeds)


def max_bytes(config: NetworkConfig, tag: int = PROPOSAL) -> int:
    """Longest valid message with this tag; without one, longest of all (what a server may read from a peer)."""
    signed = SIGNED_BYTES + _max_values_bytes(config)
    bodies = {OBSERVATION: signed, PROPOSAL: 65 + len(config.rows) * signed, ATTESTATION: 137, REQUEST: 33}
    return HEAD_BYTES + bodies.get(tag, 0)


def config_digest_of(data: bytes) -> bytes:
    """Config digest that undecoded bytes claim (for a node between two configs); raises MalformedMessage."""
    if len(data) < HEAD_BYTES:
        raise MalformedMessage("message is shorter than its head", given=len(data), limit=HEAD_BYTES)
    return data[1:33]


def check_feed(spec: FeedSpec, seen: FeedObservation) -> None:
    """Raise FieldOutOfRange for what no honest observer of this feed can say."""
    rules = [
        ("value", -INT128 <= seen.value < INT128, seen.value),
        ("confidence", 0 <= seen.confidence < INT128, seen.confidence),
        ("previous", all(old is None or -INT128 <= old < INT128 for old in seen.previous), seen.previous),
        ("sources", 0 <= seen.sources < 1 << 64, seen.sources),
        ("family_share", 0 <= seen.family_share <= BPS, seen.family_share),
        ("outside_run", -MAX_RUN <= seen.outside_run <= MAX_RUN, seen.outside_run),
        ("components", len(seen.components) == spec.width, len(seen.components)),
        ("resolved", spec.kind is FeedKind.EVENT or not seen.resolved, seen.resolved),
    ]
    if spec.kind is FeedKind.FORECAST and len(seen.components) == spec.width:
        rules.append(("value", seen.value == seen.components[MEDIAN_LEVEL], seen.value))
    if spec.kind is FeedKind.EVENT and len(seen.components) == spec.width:
        whole = min(seen.components) >= 0 and sum(seen.components) == BPS
        rules += [("components", whole, seen.components), ("value", seen.value == leading(seen.components), seen.value)]
    for name, holds, given in rules:
        if not holds:
            raise FieldOutOfRange(f"feed {spec.number}: {name} is not possible", given=given)


def check_values(config: NetworkConfig, values: Values) -> None:
    """Raise Unencodable for values built here that a peer would refuse."""
    if len(values) != len(config.feeds):
        raise Unencodable("an observation needs one entry per feed", given=len(values), limit=len(config.feeds))
    for spec, value in zip(config.feeds, values, strict=True):
        if value is None:
            continue
        if value.feed != spec.number:
            raise Unencodable("values must be in table order", given=value.feed, limit=spec.number)
        try:
            check_feed(spec, value)
        except FieldOutOfRange as fault:
            raise Unencodable(str(fault), given=fault.given) from fault


def _pack_signed(item: SignedObservation, config: NetworkConfig) -> bytes:
    check_values(config, item.observation.values)
    head = item.observation.observed_at.to_bytes(8, "big") + item.observation.commitment + bytes((item.signer,))
    return head + item.signature + pack_values(item.observation.values)


def encode(message: Message, config: NetworkConfig) -> bytes:
    """Canonical bytes of a message of this config. Raises Unencodable for what `decode` would refuse."""
    match message:
        case SignedObservation(observation):
            tag, digest, body = OBSERVATION, observation.config_digest, _pack_signed(message, config)
        case SignedProposal(proposal, signature):
            items = proposal.observations
            if any(
                (item.slot, item.observation.config_digest) != (proposal.slot, proposal.config_digest) for item in items
            ):
                raise Unencodable("a proposal holds observations of its own slot and config only")
            packed = (_pack_signed(item, config) for item in items)
            tag, digest = PROPOSAL, proposal.config_digest
            body = b"".join([signature, bytes((len(items),)), *packed])
        case Attestation(report, name, signer, signature):
            tag, digest = ATTESTATION, report.config_digest
            body = report.observed_at.to_bytes(8, "big") + report.root + name + bytes((signer,)) + signature
        case ProposalRequest(digest, _, name, requester):
            tag, body = REQUEST, name + bytes((requester,))
    return bytes((tag,)) + digest + message.slot.to_bytes(4, "big") + body


@dataclass(slots=True)
class _Reader:
    """Bounds-checked cursor; every shortage is a MalformedMessage."""

    data: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        """Next `size` bytes."""
        part = self.data[self.at : self.at + size]
        if len(part) != size:
            raise MalformedMessage("message ends early", given=len(self.data), limit=self.at + size)
        self.at += size
        return part

    def number(self, size: int, signed: bool = False) -> int:
        """Next `size` bytes as a big-endian integer."""
        return int.from_bytes(self.take(size), "big", signed=signed)

    def integer(self) -> int:
        """Next length-prefixed integer, in its shortest form only."""
        size = self.number(1)
        if not 1 <= size <= INT_BYTES - 1:
            raise MalformedMessage("integer has an impossible length", given=size, limit=INT_BYTES - 1)
        part = self.take(size)
        if size > 1 and (part[0], part[1] >> 7) in ((0, 0), (255, 1)):
            raise MalformedMessage("integer is not in its shortest form", given=part.hex())
        return int.from_bytes(part, "big", signed=True)

    def end(self) -> None:
        """Raise unless everything was read."""
        if self.at != len(self.data):
            raise MalformedMessage("message has bytes after its end", given=len(self.data), limit=self.at)


def _take_feed(reader: _Reader) -> FeedObservation:
    """One feed's observation, shape only."""
    feed, marks = FeedId(reader.number(2)), reader.number(1)
    if marks > 7:
        raise MalformedMessage("feed observation has unknown marks", given=marks, limit=7)
    value, confidence = reader.integer(), reader.integer()
    last = reader.integer() if marks & 1 else None
    before = reader.integer() if marks & 2 else None
    sources, share, run = reader.integer(), reader.number(2), reader.number(1, signed=True)
    components = tuple(reader.number(3, signed=True) for _ in range(reader.number(1)))
    return FeedObservation(feed, value, confidence, (last, before), sources, share, run, components, bool(marks & 4))


def _take_values(reader: _Reader, config: NetworkConfig) -> Values:
    """Values in table order, each checked against its feed."""
    count = reader.number(2)
    if count > len(config.feeds):
        raise FieldOutOfRange("more feeds than the config has", given=count, limit=len(config.feeds))
    seen, last = dict[int, FeedObservation](), -1
    for _ in range(count):
        item = _take_feed(reader)
        spec = config.feed(item.feed)
        if spec is None or item.feed <= last:
            raise MalformedMessage("feed is unknown or out of order", given=item.feed)
        check_feed(spec, item)
        seen[item.feed], last = item, item.feed
    return tuple(seen.get(spec.number) for spec in config.feeds)


def _take_signer(reader: _Reader, config: NetworkConfig) -> int:
    signer = reader.number(1)
    if signer >= len(config.rows):
        raise UnknownSigner("no such row in the validator table", given=signer, limit=len(config.rows) - 1)
    return signer


def _take_signed(reader: _Reader, config: NetworkConfig, slot: Slot) -> SignedObservation:
    observed_at, commitment = reader.number(8), reader.take(32)
    signer, signature = _take_signer(reader, config), reader.take(64)
    values = _take_values(reader, config)
    return SignedObservation(Observation(config.digest, slot, observed_at, values, commitment), signer, signature)


def _take_proposal(reader: _Reader, config: NetworkConfig, slot: Slot) -> SignedProposal:
    signature, count = reader.take(64), reader.number(1)
    if count > len(config.rows):
        raise FieldOutOfRange("more observations than validators", given=count, limit=len(config.rows))
    items = list[SignedObservation]()
    for _ in range(count):
        item = _take_signed(reader, config, slot)
        if items and item.signer <= items[-1].signer:
            raise DuplicateObservation("observations must ascend by signer, one each", given=item.signer)
        items.append(item)
    return SignedProposal(Proposal(config.digest, slot, tuple(items)), signature)


def first_observation(data: bytes, config: NetworkConfig) -> SignedObservation | None:
    """First observation of an undecoded proposal of this config, None for bytes that claim to be anything else.

    A proposal is dear to decode, so whoever is asked to should first see that one signature in it is a validator's.
    Raises a PeerFault as `decode` does.
    """
    if data[:1] != bytes((PROPOSAL,)):
        return None
    reader = _Reader(data[: max_bytes(config)])
    reader.take(1 + 32)
    slot = Slot(reader.number(4))
    reader.take(64)
    return _take_signed(reader, config, slot) if reader.number(1) else None


def _take_message(reader: _Reader, config: NetworkConfig) -> Message:
    tag, digest, slot = reader.number(1), reader.take(32), Slot(reader.number(4))
    if digest != config.digest:
        raise WrongDigest("message is for another config", given=digest.hex(), limit=config.digest.hex())
    match tag:
        case 0x11:
            return _take_signed(reader, config, slot)
        case 0x12:
            return _take_proposal(reader, config, slot)
        case 0x13:
            report = Report(digest, slot, reader.number(8), reader.take(32))
            return Attestation(report, reader.take(32), _take_signer(reader, config), reader.take(64))
        case 0x14:
            return ProposalRequest(digest, slot, reader.take(32), _take_signer(reader, config))
    raise MalformedMessage("unknown kind of message", given=tag)


def decode(data: bytes, config: NetworkConfig) -> Message:
    """Message of this config that the bytes encode; raises a PeerFault for any other bytes.

    Length is checked first, against the longest message of its kind that this config allows.
    """
    limit = max_bytes(config, data[0] if data else 0)
    if len(data) > limit:
        raise MessageTooLong("message is longer than any valid one", given=len(data), limit=limit)
    reader = _Reader(data)
    message = _take_message(reader, config)
    reader.end()
    return message
