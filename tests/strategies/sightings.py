"""One slot's observation of each kind of feed, as what a node answers from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from feeds.fuse import Fused
from feeds.rule import SetAside
from feeds.types import Micros
from models.panel import PanelStep
from oracle.config import FeedSettings, QuestionSettings
from oracle.consensus.messages import FeedObservation
from oracle.consensus.network import FeedId, FeedKind
from oracle.logbook import Seen
from oracle.watch import Sighting
from tests.strategies.networks import HOUR, NAMES, network, spec

NOW_MS = 1_700_000_000_000
ASKED_MS = NOW_MS - 1500
SAID_MS = ASKED_MS - 20_000
STRIKE_MS = NOW_MS + 3_600_000
QUANTILES = (-30_000, -20_000, -10_000, -5000, 0, 5000, 10_000, 20_000, 30_000)
PRICE, OTHER = spec(0, FeedKind.PRICE), spec(2, FeedKind.PRICE)
HOURLY, DAILY = spec(4, FeedKind.FORECAST), spec(8, FeedKind.FORECAST, horizon=24 * HOUR)
EVENT = spec(12, FeedKind.EVENT)
NETWORK = network(PRICE, OTHER, HOURLY, DAILY, EVENT)
FEEDS = (
    FeedSettings(0, "BTC/USD", NAMES, 60),
    FeedSettings(2, "ETH/USD", NAMES, 60),
    FeedSettings(4, "BTC/USD", NAMES, 60),
    FeedSettings(8, "BTC/USD", NAMES, 60),
    FeedSettings(12, "event", NAMES, 60, question=QuestionSettings("BTC/USD", "50000", STRIKE_MS)),
)
FUSED = Fused(
    "BTC/USD", 37_000.25, 12.5, Micros(SAID_MS * 1000), ("ask",), (SetAside("mid", "dead: silent for 660.0 s"),)
)


def step() -> PanelStep:
    """A panel's answer with what the adapter reads of it."""
    nothing = np.zeros((0, 2))
    return PanelStep(
        now=ASKED_MS * 1000, ts=SAID_MS * 1000, spot=37_000.0, horizons=(HOUR, 24 * HOUR),
        quantiles=np.zeros((2, 9)), members=np.zeros((0, 2, 9)), awake=nothing > 0, weights=nothing,
        family_share_bps=(0, 0), reference=None,
    )  # fmt: skip


def seen(**changes: Any) -> Seen:
    """An observation in which feed 2 has no price."""
    values = (
        FeedObservation(FeedId(0), 3_700_025_000_000, 1, sources=0b01),
        None,
        FeedObservation(FeedId(4), 0, 1, sources=0b11, components=QUANTILES),
        FeedObservation(FeedId(8), 0, 1, sources=0b11, components=QUANTILES),
        FeedObservation(FeedId(12), 0, 1, sources=0b10, components=(7400, 2600)),
    )
    abstained = {2: ("min_sources", "feed 2: 0 of 2 sources are fresh, needs 1")}
    steps = {("BTC/USD", NAMES): step()}
    sighting = Sighting(values, abstained, None, steps, fused={0: FUSED})
    return replace(Seen(NETWORK, 7, ASKED_MS, sighting), **changes)
