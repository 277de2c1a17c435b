"""What the demo replays: the days, the feeds, the validators and the faults, all fixed before any number was seen.

Why this file exists: everything that was chosen for the demo stands on one page. Never in it: running anything.

The window holds the day on which the European Central Bank cut its purchases (26 October 2017, -169 bps in 24 hours);
it was chosen for that fall, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from eth_hash.auto import keccak

from feeds.sources.replay import common_hours
from feeds.types import SECOND
from oracle.chain.deploy import Timing
from oracle.config import FaultSettings, FeedSettings, ModelSettings, QuestionSettings
from oracle.consensus.network import FeedId, FeedKind, FeedSpec, Slot
from oracle.devnet import NodePlan, lead_slots
from oracle.errors import ConfigError
from oracle.observe import source_list_hash
from oracle.source_settings import ReplaySettings

SYMBOL = "EUR/USD"
HOUR_S = 3_600
DAY_S = 24 * HOUR_S
TRAIN_UNTIL = datetime(2017, 9, 20, tzinfo=UTC)
START = datetime(2017, 10, 16, tzinfo=UTC)
SLOTS = 300
SEED = 20171016

STAKES = (40, 30, 20, 10)
NAMES = ("themis", "dione", "peleia", "tomaros")
SOURCES = ("ask", "mid")
"""The network's source list: `gym-anytrading`'s ask side and `backtesting`'s series."""
DATA = {"ask": "eurusd:ask", "mid": "eurusd:mid"}
WITNESS = 2
"""The validator whose model weights the report shows: honest all through, both sources, never restarted."""
ONE_SOURCE = 3
"""The validator that carries one source only, so that honest validators differ."""

PRICE, HOURLY, DAILY, EVENT = FeedId(0), FeedId(1), FeedId(4), FeedId(6)
DECIMALS = 8
STRIKE = "1.1750"
EXPIRY = datetime(2017, 10, 31, 12, tzinfo=UTC)
QUESTION = f"EUR/USD at or above {STRIKE} at 2017-10-31 12:00 UTC?"

OUTLIER, OUTLIER_FIRST, OUTLIER_SLOTS, OUTLIER_TIMES = 1, 24, 50, 10
CRASHER, CRASH_AT, DOWN_FROM, DOWN_SLOTS = 0, 150, 160, 10
CRASH_AFTER_MS = 2_000
"""The crash comes this long after a slot began: after the observation, before or amid the transmission."""

TIMING = Timing(
    slot_seconds=HOUR_S, max_report_age=2 * HOUR_S + 30, grace_ms=1_000, stage_ms=20_000, confirmation=HOUR_S,
    min_validators=3,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replay:
    """The slots to run, as UTC seconds at which each begins: the moment at which an hour's close is known.

    `starts`: ascending; closed hours (weekends) are not among them and time jumps over them.
    """

    starts: tuple[int, ...]

    def slot(self, index: int) -> Slot:
        """Slot number of the `index`-th slot of the replay; the devnet numbers every hour, closed ones too."""
        return Slot(lead_slots(TIMING) + (self.starts[index] - self.starts[0]) // TIMING.slot_seconds)


def replay_of(frames: dict[str, pd.DataFrame], slots: int = SLOTS) -> Replay:
    """The first `slots` hours from START on that both recorded series hold. Raises ConfigError if there are fewer."""
    opens = common_hours(frames)
    first = int(START.timestamp()) * SECOND
    chosen = opens[opens >= first][:slots]
    if len(chosen) < slots:
        raise ConfigError(f"the recorded data hold {len(chosen)} common hours from {START:%Y-%m-%d}, wanted {slots}")
    return Replay(tuple(int(at) // SECOND + HOUR_S for at in chosen))


def feed_specs(listing_price: float) -> tuple[FeedSpec, ...]:
    """The four feeds. `listing_price`: bounds are 1/100 and 100 times of it."""
    value = round(listing_price * 10**DECIMALS)
    price = FeedSpec(
        number=PRICE, kind=FeedKind.PRICE, decimals=DECIMALS, outcomes=0, base=_name("EUR"), quote=_name("USD"),
        horizon=0, heartbeat=HOUR_S, deviation=100, min_value=value // 100, max_value=value * 100,
        max_dispersion=5_000, jump=20_000, veto_band=10_000, min_sources=2, min_observers=3,
        max_family_share=10_000,
        methodology=keccak(b"Dodona demo: median of fresh sources, stake-weighted median of validators"),
        sources=source_list_hash(SOURCES),
    )  # fmt: skip
    limit = 8_388_607
    hourly = replace(
        price, number=HOURLY, kind=FeedKind.FORECAST, decimals=6, horizon=HOUR_S, deviation=50, min_value=-limit,
        max_value=limit, max_dispersion=2_000, jump=limit, veto_band=4_000,
        methodology=keccak(b"Dodona demo: quantiles of the log return, MLpol over seven bundles"),
    )  # fmt: skip
    event = replace(
        hourly, number=EVENT, kind=FeedKind.EVENT, decimals=0, outcomes=2, base=_name(f"EURUSD>={STRIKE}"),
        quote=bytes(32), horizon=0, deviation=10_000, min_value=0, max_value=1, max_dispersion=200_000,
        jump=1_000_000, veto_band=400_000, methodology=keccak(QUESTION.encode()),
    )  # fmt: skip
    return price, hourly, replace(hourly, number=DAILY, horizon=DAY_S), event


def _name(text: str) -> bytes:
    return text.encode("ascii").ljust(32, b"\0")


def node_plans(bundles: Path, replay: Replay) -> tuple[NodePlan, ...]:
    """What each validator observes with; one of them sends false prices for a while."""
    fault = FaultSettings(OUTLIER_TIMES, replay.slot(OUTLIER_FIRST), replay.slot(OUTLIER_FIRST + OUTLIER_SLOTS))
    models = ModelSettings(bundles, warm_from_ms=int(TRAIN_UNTIL.timestamp()) * 1000)
    plans = []
    for number, name in enumerate(NAMES):
        without = ("ask",) if number == ONE_SOURCE else ()
        sources = tuple(ReplaySettings(key, DATA[key], SYMBOL) for key in SOURCES if key not in without)
        rehearsed = fault if number == OUTLIER else None
        plans.append(NodePlan(sources, _feed_settings(without), models, rehearsed, name))
    return tuple(plans)


def _feed_settings(without: tuple[str, ...]) -> tuple[FeedSettings, ...]:
    question = QuestionSettings(SYMBOL, STRIKE, int(EXPIRY.timestamp()) * 1000)
    plain = FeedSettings(PRICE, SYMBOL, SOURCES, max_age_s=HOUR_S // 2, without=without)
    others = (replace(plain, number=number) for number in (HOURLY, DAILY))
    return plain, *others, replace(plain, number=EVENT, question=question)
