"""What a `Core` is told (events) and what it wants done (effects): the whole seam between the round and the world.

Why this file exists: sans-IO (h11): the node performs effects and reports back as events, the simulator does the same
in memory. Never in it: behaviour. Times in `_ms` are integer UTC milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from oracle.consensus.messages import Kind, Message, Report, SignedProposal, Values
from oracle.consensus.network import FeedId, Slot
from oracle.consensus.words import pack_blob


class TimerKind(StrEnum):
    """What a timer is for."""

    GRACE = "grace"
    TRANSMIT = "transmit"


@dataclass(frozen=True, slots=True)
class Timer:
    """Name of a timer; setting one again with the same name changes nothing that has fired."""

    kind: TimerKind
    slot: Slot


@dataclass(frozen=True, slots=True)
class Head:
    """What the chain shows of one feed.

    `slot`: last slot stored, valid or not. `invalid`: whether that one was INVALID. `value` and `components`: of the
    last valid round (components empty where unknown or none). `final`: whether the last valid round had FINAL.
    """

    feed: FeedId
    slot: Slot
    invalid: bool
    value: int
    components: tuple[int, ...] = ()
    final: bool = False


@dataclass(frozen=True, slots=True)
class FeedResult:
    """Aggregate of one feed in one slot, before packing. `turnout` in basis points of total effective stake."""

    feed: FeedId
    value: int
    confidence: int
    turnout: int
    flags: int
    components: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AttestedReport:
    """A report with more than 2/3 of stake behind it. `signatures`: (row, 64 bytes), the fewest rows that suffice.

    `results`: per feed of the config, table order. `pages`: all pages of the tree, 128 bytes each.
    """

    report: Report
    results: tuple[FeedResult, ...]
    pages: tuple[bytes, ...]
    signatures: tuple[tuple[int, bytes], ...]

    def blob(self, chosen: int) -> bytes:
        """Bytes for `Aggregator.transmit` that store the pages of bitmap `chosen`."""
        return pack_blob(self.report.slot, self.report.observed_at, self.signatures, self.pages, chosen)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two signed messages of one kind, validator (row) and slot that differ: provable by the signatures alone."""

    kind: Kind
    offender: int
    slot: Slot
    first: Message
    second: Message


# --- events: what the world tells the core ---


@dataclass(frozen=True, slots=True)
class JournalState:
    """Told once, before all else: whether the journal was `empty` at start. Nothing is signed until it is told."""

    empty: bool


@dataclass(frozen=True, slots=True)
class SlotStarted:
    """The local clock entered `slot` (also told once at start, in mid-slot)."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Observed:
    """Answer to `Observe`: values per feed in table order (None = abstention), seen at `observed_at` (seconds)."""

    slot: Slot
    observed_at: int
    values: Values


@dataclass(frozen=True, slots=True)
class Received:
    """A decoded message of a peer."""

    message: Message


@dataclass(frozen=True, slots=True)
class Signed:
    """Answer to `Sign`: journaled, then signed."""

    kind: Kind
    slot: Slot
    digest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignRefused:
    """Answer to `Sign`: the journal or the key said no."""

    kind: Kind
    slot: Slot
    reason: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that was set has come due."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class ChainHeads:
    """What the chain shows now, by feed number; a feed never stored is absent.

    Answer to `ReadHeads`, and welcome at any other time. `requested`: feeds that somebody paid a round for. `revoked`:
    rows of the config whose signatures the chain takes no more; one of them would make it refuse a whole report.
    """

    heads: Mapping[FeedId, Head]
    requested: frozenset[FeedId] = frozenset()
    revoked: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Superseded:
    """The next config starts at `first_slot`: nothing of this one is signed from there on."""

    first_slot: Slot


Event = JournalState | SlotStarted | Observed | Received | Signed | SignRefused | TimerFired | ChainHeads | Superseded


# --- effects: what the core wants done ---


@dataclass(frozen=True, slots=True)
class Observe:
    """Observe every feed for `slot`; answer with `Observed`."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Sign:
    """Journal, then sign `digest`; answer with `Signed` or `SignRefused`."""

    kind: Kind
    slot: Slot
    digest: bytes


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to every other row of the table. The core has already handled its own copy."""

    message: Message


@dataclass(frozen=True, slots=True)
class Send:
    """Send to one validator, by address (20 bytes)."""

    to: bytes
    message: Message


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire `timer` at a time of the local clock."""

    timer: Timer
    at_ms: int


@dataclass(frozen=True, slots=True)
class ReadHeads:
    """Read the chain now; answer with `ChainHeads`. Asked just before sending the report of `slot`."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Attested:
    """The report of a slot has its quorum: for the API, metrics and stores, told once a slot.

    `proposal` holds the signed observations that the report is made of: anybody can recompute it.
    """

    attested: AttestedReport
    proposal: SignedProposal


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send `attested.blob(pages)` to the Aggregator. `pages`: bitmap of the pages that need storing."""

    attested: AttestedReport
    pages: int


@dataclass(frozen=True, slots=True)
class Accuse:
    """Somebody signed two different things: keep and report the evidence."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Count:
    """A metric: `name` counts by `detail` (a rule, a kind, or nothing)."""

    name: str
    detail: str = ""


Effect = Observe | Sign | Broadcast | Send | SetTimer | ReadHeads | Attested | Transmit | Accuse | Count
