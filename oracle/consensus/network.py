"""The network's config: what the chain says, hashed, so that every signature covers it.

Why this file exists: `NetworkConfig` is the one object that all pure code takes its rules from; its digest is in
every signed message (libocr's idea of an on-chain config apart from the local one). Never in it: anything that one
operator may set alone, I/O, floats.

Times: `*_ms` and `now` are integer UTC milliseconds, other times integer UTC seconds. Stake is effective stake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import NewType

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from contracts import constant_int, constant_str
from oracle.errors import BadFeedSpec, BadNetworkConfig, ValueOutOfRange

FeedId = NewType("FeedId", int)
"""Number of a feed, 0..65535, never reused; fixes its page (n // 4) and lane (n % 4)."""
Slot = NewType("Slot", int)
"""Number of a slot, uint32."""
Stake = NewType("Stake", int)
"""Stake in the token's smallest unit, uint96."""

BPS = constant_int("BPS")
STAKE_CAP_BPS = constant_int("STAKE_CAP_BPS")
MAX_STAKE = constant_int("MAX_STAKE")
MAX_VALIDATORS = constant_int("MAX_VALIDATORS")
MAX_PAGES = constant_int("MAX_PAGES")
MAX_FEED_NUMBER = constant_int("MAX_FEED_NUMBER")
MAX_OUTCOMES = constant_int("MAX_OUTCOMES")
LANES = constant_int("LANES")
PPM = 1_000_000
QUANTILES = 9
"""Components of a forecast's vector: the levels are fixed by the vector feed word."""
INT128 = 1 << 127
MS = 1000

_FEED_TYPES = [
    *("uint16", "uint8", "uint8", "uint8", "bytes32", "bytes32", "uint32", "uint32", "uint32", "int128", "int128"),
    *("uint32", "uint32", "uint32", "uint8", "uint8", "uint16", "bytes32", "bytes32"),
]
_CONFIG_TYPES = [
    *("uint256", "address", "uint32", "bytes32", "uint32", "uint64", "uint32", "uint32", "uint32", "uint32", "uint32"),
    *("uint8", "bytes32", "bytes32"),
]


class FeedKind(IntEnum):
    """What a feed publishes."""

    PRICE = constant_int("KIND_PRICE")
    FORECAST = constant_int("KIND_FORECAST")
    EVENT = constant_int("KIND_EVENT")


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """One feed of the config; field order is that of the Vyper struct.

    `base`, `quote`: 32 bytes, ASCII padded on the right (event: base = question id, quote = zero). `horizon`: seconds,
    forecasts only. `heartbeat`: seconds. `deviation`, `max_dispersion`, `jump`, `veto_band`: parts per million,
    relative for prices, absolute in 1e-6 for forecasts (log return) and events (probability). `min_sources`,
    `min_observers`: least number of distinct sources and of validators behind a value. `max_family_share`: basis
    points. Raises BadFeedSpec.
    """

    number: FeedId
    kind: FeedKind
    decimals: int
    outcomes: int
    base: bytes
    quote: bytes
    horizon: int
    heartbeat: int
    deviation: int
    min_value: int
    max_value: int
    max_dispersion: int
    jump: int
    veto_band: int
    min_sources: int
    min_observers: int
    max_family_share: int
    methodology: bytes
    sources: bytes

    def __post_init__(self) -> None:
        """Check each field against its type and its kind."""
        limits = {"number": MAX_FEED_NUMBER, "decimals": 255, "min_sources": 64, "max_family_share": BPS}
        limits["min_observers"] = MAX_VALIDATORS
        limits |= dict.fromkeys(("horizon", "heartbeat", "deviation", "max_dispersion", "jump", "veto_band"), 2**32 - 1)
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise BadFeedSpec(f"feed {self.number}: {name} must be in 0..{limit}", given=getattr(self, name))
        for name in ("base", "quote", "methodology", "sources"):
            if len(getattr(self, name)) != 32:
                raise BadFeedSpec(f"feed {self.number}: {name} must be 32 bytes", given=len(getattr(self, name)))
        if not -INT128 <= self.min_value <= self.max_value < INT128:
            raise BadFeedSpec(f"feed {self.number}: bounds must be int128 and ascending", given=self.min_value)
        if self.is_vector and self.number % LANES == LANES - 1:
            raise BadFeedSpec(f"feed {self.number}: a vector feed needs the next lane of its page; pick another number")
        low, high = (2, MAX_OUTCOMES) if self.kind is FeedKind.EVENT else (0, 0)
        if not low <= self.outcomes <= high:
            raise BadFeedSpec(f"feed {self.number}: outcomes must be in {low}..{high}", given=self.outcomes)

    @property
    def is_vector(self) -> bool:
        """Whether the feed also owns the next lane, for its components."""
        return self.kind is not FeedKind.PRICE

    @property
    def width(self) -> int:
        """Number of components: 9 quantiles, one per outcome, or 0 for a price."""
        return {FeedKind.PRICE: 0, FeedKind.FORECAST: QUANTILES, FeedKind.EVENT: self.outcomes}[self.kind]

    @property
    def page(self) -> int:
        """Number of the feed's page."""
        return self.number // LANES

    @property
    def symbol(self) -> str:
        """Readable name, such as `EUR/USD` or `EUR/USD+3600s`."""
        base, quote = (part.rstrip(b"\0").decode("ascii", "replace") for part in (self.base, self.quote))
        name = f"{base}/{quote}" if quote else base
        return f"{name}+{self.horizon}s" if self.kind is FeedKind.FORECAST else name

    @property
    def hash(self) -> bytes:
        """keccak256(abi.encode(FeedSpec))."""
        values = (
            self.number, int(self.kind), self.decimals, self.outcomes, self.base, self.quote, self.horizon,
            self.heartbeat, self.deviation, self.min_value, self.max_value, self.max_dispersion, self.jump,
            self.veto_band, self.min_sources, self.min_observers, self.max_family_share, self.methodology, self.sources,
        )  # fmt: skip
        return keccak(abi_encode(_FEED_TYPES, values))


@dataclass(frozen=True, slots=True)
class ValidatorRow:
    """One row of the validator table: hot key's address (20 bytes) and effective stake."""

    address: bytes
    stake: Stake


def effective_stakes(stakes: Sequence[int]) -> list[int]:
    """Cap each stake at the fixed point of `c = cap * sum(min(s_j, c))`, cap = 30 %; same order as given.

    With R_k the stake left after the k largest, k is the smallest with `s_(k+1) <= c_k = cap * R_k // (1 - k * cap)`.
    Where n * cap < 1 (three rows or fewer) every row weighs the smallest stake. Raises ValueOutOfRange for a stake
    that is no uint96. Design page 2, "Effective stake".

    >>> effective_stakes([40_000, 30_000, 20_000, 10_000])
    [22500, 22500, 20000, 10000]
    >>> effective_stakes([5, 9])
    [5, 5]
    """
    for stake in stakes:
        if not 0 <= stake <= MAX_STAKE:
            raise ValueOutOfRange("stake must be a uint96", given=stake, limit=MAX_STAKE)
    ordered = sorted(stakes, reverse=True)
    if len(ordered) * STAKE_CAP_BPS < BPS:
        return [min(ordered)] * len(ordered) if ordered else []
    rest, cap = sum(ordered), 0
    for largest, stake in enumerate(ordered):
        cap = STAKE_CAP_BPS * rest // (BPS - largest * STAKE_CAP_BPS)
        if stake <= cap:
            break
        rest -= stake
    return [min(stake, cap) for stake in stakes]


def has_quorum(stake: int, total: int) -> bool:
    """Whether `stake` is more than two thirds of `total`: the one quorum rule, for observing and attesting."""
    return 3 * stake > 2 * total


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """One config of the network: the fields of the digest, the validator table and the feed table.

    `aggregator`: 20 bytes. `randomness`: of the block in which the config was rolled. `rows`: as on chain, largest
    raw stake first. `feeds`: ascending number. Everything after `feeds` is derived. Raises BadNetworkConfig.
    """

    chain_id: int
    aggregator: bytes
    count: int
    randomness: bytes
    anchor_slot: Slot
    anchor_time: int
    slot_seconds: int
    first_slot: Slot
    max_report_age: int
    grace_ms: int
    stage_ms: int
    min_validators: int
    rows: tuple[ValidatorRow, ...]
    feeds: tuple[FeedSpec, ...]
    table_hash: bytes = field(init=False, repr=False, compare=False)
    feeds_hash: bytes = field(init=False, repr=False, compare=False)
    digest: bytes = field(init=False, repr=False, compare=False)
    domain: bytes = field(init=False, repr=False, compare=False)
    total_stake: Stake = field(init=False, repr=False, compare=False)
    pages: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _index: dict[bytes, int] = field(init=False, repr=False, compare=False)
    _specs: dict[int, FeedSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the config against itself, then derive the hashes and tables that all pure code reads."""
        self._check()
        derive = object.__setattr__
        rows = (row.address + row.stake.to_bytes(12, "big") for row in self.rows)
        derive(self, "table_hash", keccak(b"".join(rows)))
        derive(self, "feeds_hash", keccak(b"".join(feed.hash for feed in self.feeds)))
        values = (
            self.chain_id, self.aggregator, self.count, self.randomness, self.anchor_slot, self.anchor_time,
            self.slot_seconds, self.first_slot, self.max_report_age, self.grace_ms, self.stage_ms,
            self.min_validators, self.table_hash, self.feeds_hash,
        )  # fmt: skip
        derive(self, "digest", keccak(abi_encode(_CONFIG_TYPES, values)))
        derive(self, "domain", domain_separator(constant_str("DOMAIN_NAME"), self.chain_id, self.aggregator))
        derive(self, "total_stake", Stake(sum(row.stake for row in self.rows)))
        derive(self, "pages", tuple(sorted({feed.page for feed in self.feeds})))
        derive(self, "_index", {row.address: index for index, row in enumerate(self.rows)})
        derive(self, "_specs", {int(feed.number): feed for feed in self.feeds})

    def _check(self) -> None:
        """Raise BadNetworkConfig for the first field that cannot be."""
        numbers = [lane for feed in self.feeds for lane in (feed.number, feed.number + 1)[: 1 + feed.is_vector]]
        rules = (
            (1 <= len(self.rows) <= MAX_VALIDATORS, f"1..{MAX_VALIDATORS} validators", len(self.rows)),
            (len({row.address for row in self.rows}) == len(self.rows), "distinct validators", len(self.rows)),
            (all(len(row.address) == 20 for row in self.rows), "validator addresses of 20 bytes", None),
            (all(0 <= row.stake <= MAX_STAKE for row in self.rows), "uint96 stakes", None),
            (any(row.stake for row in self.rows), "some stake", 0),
            (bool(self.feeds), "at least one feed", 0),
            (all(a < b for a, b in pairwise(numbers)), "ascending lanes, none twice", numbers),
            (len({feed.page for feed in self.feeds}) <= MAX_PAGES, f"at most {MAX_PAGES} pages", None),
            (len(self.aggregator) == 20 and len(self.randomness) == 32, "20 byte aggregator, 32 byte randomness", None),
            (self.slot_seconds > 0, "a slot of at least one second", self.slot_seconds),
            (0 <= self.min_validators <= MAX_VALIDATORS, "a possible minimum of validators", self.min_validators),
        )
        for holds, wanted, given in rules:
            if not holds:
                raise BadNetworkConfig(f"config {self.count}: needs {wanted}; roll a corrected config", given=given)

    def slot_at(self, now_ms: int) -> Slot:
        """Slot that the time lies in (may be negative long before the anchor)."""
        return Slot(self.anchor_slot + (now_ms - self.anchor_time * MS) // (self.slot_seconds * MS))

    def slot_start_ms(self, slot: int) -> int:
        """First millisecond of the slot; its end is the start of the next."""
        return (self.anchor_time + (slot - self.anchor_slot) * self.slot_seconds) * MS

    def index_of(self, address: bytes) -> int | None:
        """Row of a validator's address (20 bytes), None for a stranger."""
        return self._index.get(address)

    def feed(self, number: int) -> FeedSpec | None:
        """Spec of feed `number`, None if this config has no such feed."""
        return self._specs.get(number)


def domain_separator(name: str, chain_id: int, contract: bytes) -> bytes:
    """EIP-712 domain separator over name, version "1", chain id and contract (20 bytes)."""
    kind = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    version = constant_str("DOMAIN_VERSION").encode()
    parts = (keccak(kind), keccak(name.encode()), keccak(version), chain_id, contract)
    return keccak(abi_encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], parts))
