"""A small network of one validator, its feeds, and recorded bars, for tests of what a node observes."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from feeds.types import SECOND, Micros
from oracle.consensus.network import FeedId, FeedKind, FeedSpec, NetworkConfig, Slot, Stake, ValidatorRow
from oracle.observe import source_list_hash

HOUR = 3600
START = 1_500_000_000 // HOUR * HOUR
NAMES = ("ask", "mid")


def spec(number: int, kind: FeedKind, **changes: Any) -> FeedSpec:
    """A feed of any kind with bounds that nothing meets."""
    fields: dict[str, Any] = {
        "number": FeedId(number), "kind": kind, "decimals": {0: 8, 1: 6, 2: 0}[kind],
        "outcomes": 2 if kind is FeedKind.EVENT else 0, "base": b"EUR".ljust(32, b"\0"), "quote": bytes(32),
        "horizon": HOUR if kind is FeedKind.FORECAST else 0, "heartbeat": 60, "deviation": 1,
        "min_value": -(10**12), "max_value": 10**12, "max_dispersion": 1, "jump": 1, "veto_band": 1,
        "min_sources": 1, "min_observers": 1,
        "max_family_share": 10_000, "methodology": bytes(32), "sources": source_list_hash(NAMES),
    }  # fmt: skip
    return FeedSpec(**(fields | changes))


def network(*feeds: FeedSpec) -> NetworkConfig:
    """One validator, slots of an hour from START on."""
    return NetworkConfig(
        chain_id=1, aggregator=bytes(20), count=1, randomness=bytes(32), anchor_slot=Slot(0), anchor_time=START,
        slot_seconds=HOUR, first_slot=Slot(0), max_report_age=60, grace_ms=0, stage_ms=1000, min_validators=1,
        rows=(ValidatorRow(bytes([1]) * 20, Stake(1)),), feeds=feeds,
    )  # fmt: skip


def bars(offset: float, count: int = 400) -> pd.DataFrame:
    """Hourly bars around 1.2 from START on."""
    close = [1.2 + offset + 0.002 * math.sin(hour / 5.0) for hour in range(count)]
    ts = [(START + hour * HOUR) * SECOND for hour in range(count)]
    return pd.DataFrame({"ts": ts, "close": close, "volume": [1.0] * count})


def at(hour: int) -> Micros:
    """The time `hour` hours after START."""
    return Micros((START + hour * HOUR) * SECOND)
