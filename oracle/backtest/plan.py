"""What a back-test replays, and everything that has to stand before its first slot.

Why this file exists: a wrong plan must be refused in one line before anything is deployed. Never in it: the rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from feeds.series import CloseSeries
from feeds.types import SECOND
from models import bundle as bundles
from models.bundle import Bundle
from models.panel import Panel
from models.recipes import reference_walk
from models.train import train
from oracle.chain.deploy import Timing
from oracle.chain.localnet import LocalChain, LocalNet, name32, price_spec
from oracle.config import FeedSettings
from oracle.consensus.network import LANES, FeedId, FeedKind, FeedSpec
from oracle.errors import ConfigError
from oracle.observe import source_list_hash
from oracle.recorded import EMBEDDED, recorded_series, recorded_sources
from oracle.settings import moment
from oracle.sources import open_sources
from oracle.watch import Watch

PRICE = FeedId(0)
HISTORY = 500
"""Bars that features and reference need before the first slot."""
WARM_UP_S = 30 * 86_400
"""The combiner learns at most this long before the first slot, and never from what a bundle was trained on."""
MAX_SLOTS = 100_000
MIN_VALIDATORS, MAX_VALIDATORS = 4, 32
INT24 = 1 << 23


class BacktestError(ConfigError):
    """A plan that cannot be replayed; one line that names the setting and the mend."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay.

    `bundles`: folders, one for each bundle. `data`: "eurusd" (needs the `demo` extra) or the path of recorded bars
    (CSV as in `feeds.sources.replay.load_csv`); every source in it that has the bundles' symbol is used. `slots`:
    rounds to run, one for each bar. `validators`: 4..32, with equal stake. `start`: UTC time from which on bars are
    replayed; None: as late as the data allow. Choose one after the end of the bundles' training data: a back-test on
    what a model was trained on says nothing, and the result says so (`BacktestResult.cautions`).
    """

    bundles: tuple[Path, ...]
    data: str | Path = EMBEDDED
    slots: int = 24
    validators: int = 4
    start: datetime | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """A plan made ready. `starts`: UTC seconds at which each slot begins; `reference`: the random walk beside it."""

    net: LocalNet
    watch: Watch
    starts: tuple[int, ...]
    series: CloseSeries
    bundles: tuple[Bundle, ...]
    reference: Bundle
    horizons: tuple[int, ...]

    @property
    def width(self) -> int:
        """Seconds in one bar, which is one slot."""
        return self.bundles[0].manifest.features.width

    def panel(self) -> Panel:
        """A fresh panel of the bundles with the reference beside them."""
        return _panel(self.bundles, self.horizons, self.starts[0], self.reference)

    def cautions(self) -> tuple[str, ...]:
        """One line for each bundle that may have been trained on what is replayed."""
        return tuple(line for bundle in self.bundles for line in _caution(bundle, self.starts[0]))


async def prepare(plan: Plan) -> Setup:
    """Load, choose the slots, deploy. Raises ConfigError, BundleError, FeedError, PanelError, TrainingError."""
    _check(plan)
    loaded = tuple(bundles.load(folder) for folder in plan.bundles)
    symbol, width = loaded[0].manifest.symbol, loaded[0].manifest.features.width
    horizons = tuple(sorted({horizon for bundle in loaded for horizon in bundle.manifest.horizons}))
    settings = recorded_sources(plan.data, symbol, width)
    sources = open_sources(settings)
    series = await recorded_series(open_sources(settings), symbol, width)
    starts = _starts(plan, series, horizons)
    panel = _panel(loaded, horizons, starts[0])
    names = tuple(item.name for item in settings)
    specs = _specs(symbol, width, horizons, names, float(series.close[0]))
    before = series.ts <= starts[0] * SECOND
    walk = reference_walk(symbol, width, horizons)
    reference = train(walk, series.ts[before], series.close[before], symbol, progress=False)
    net = _deploy(plan, specs, width, starts[0])
    feeds = [FeedSettings(spec.number, symbol, names, max_age_s=max(1, width // 2)) for spec in specs]
    watch = Watch(feeds, sources, {(symbol, names): panel})
    watch.check(net.active)
    return Setup(net, watch, starts, series, loaded, reference, horizons)


def _check(plan: Plan) -> None:
    if not plan.bundles:
        raise BacktestError('backtest: no bundle is named; give a bundle\'s folder, e.g. bundle="my_bundle"')
    _check_integer("slots", plan.slots, 1, MAX_SLOTS)
    _check_integer("validators", plan.validators, MIN_VALIDATORS, MAX_VALIDATORS)
    if plan.start is not None and (not isinstance(plan.start, datetime) or plan.start.tzinfo is None):
        raise BacktestError(
            f"backtest: start must be a datetime with a zone, e.g. datetime(2017, 10, 16, tzinfo=UTC), "
            f"given {plan.start!r}", given=plan.start,
        )  # fmt: skip


def _check_integer(name: str, given: object, least: int, most: int) -> None:
    if type(given) is not int or not least <= given <= most:
        message = f"backtest: {name} must be a whole number from {least} to {most}, given {given!r}"
        raise BacktestError(message, given=given, limit=(least, most))


def _panel(loaded: Sequence[Bundle], horizons: tuple[int, ...], start: int, reference: Bundle | None = None) -> Panel:
    """The panel that the validators run; its combiner learns from where every bundle's training had ended."""
    trained = max((bundle.manifest.trained_until or 0 for bundle in loaded), default=0)
    learn_from = min(start, max(start - WARM_UP_S, trained))
    width = loaded[0].manifest.features.width
    return Panel(loaded, horizons, width, learn_from=learn_from * SECOND, reference=reference)


def _caution(bundle: Bundle, start: int) -> list[str]:
    about, begins = bundle.manifest, f"{moment(start * 1000):%Y-%m-%d %H:%M} UTC"
    if about.trained_until is None:
        return [f"CAUTION: {about.name} does not say until when it was trained; this replay begins {begins}"]
    if about.trained_until <= start:
        return []
    until = f"{moment(about.trained_until * 1000):%Y-%m-%d %H:%M} UTC"
    return [f"NOT EVIDENCE: {about.name} was trained until {until}, this replay begins {begins}; choose a later start"]


def _starts(plan: Plan, series: CloseSeries, horizons: Sequence[int]) -> tuple[int, ...]:
    """The closes that are replayed, as UTC seconds; the outcomes of a plan without `start` are all in the data."""
    ts = series.ts // SECOND
    if len(ts) <= HISTORY:
        message = f"backtest: {plan.data} gives {len(ts)} closes, {HISTORY} must come before the first slot"
        raise BacktestError(f"{message}; give longer data", given=len(ts), limit=HISTORY)
    if plan.start is None:
        last = int(np.searchsorted(ts, ts[-1] - horizons[-1], side="right"))
        first = last - plan.slots
    else:
        first = int(np.searchsorted(ts, plan.start.timestamp()))
        last = len(ts)
    span = f"{plan.data} allows slots from {moment(int(ts[HISTORY]) * 1000)} to {moment(int(ts[-1]) * 1000)}"
    if first < HISTORY:
        message = f"backtest: {plan.slots} slots from close {first} on, but {HISTORY} closes must come before; {span}"
        raise BacktestError(f"{message}: give fewer slots or a later start", given=first, limit=HISTORY)
    if first + plan.slots > last:
        message = f"backtest: {plan.slots} slots, but only {last - first} closes are left from start on; {span}"
        raise BacktestError(f"{message}: give fewer slots or an earlier start", given=plan.slots, limit=last - first)
    return tuple(int(at) for at in ts[first : first + plan.slots])


def _specs(
    symbol: str, width: int, horizons: Sequence[int], names: Sequence[str], listing: float
) -> tuple[FeedSpec, ...]:
    """A price feed and one forecast feed for each horizon, each sent every slot."""
    base, _, quote = symbol.partition("/")
    value = round(listing * 10**8)
    shared = {
        "base": name32(base), "quote": name32(quote), "heartbeat": width, "sources": source_list_hash(names),
        "min_sources": 1, "min_observers": 1, "methodology": name32("backtest"), "max_dispersion": 50_000,
    }  # fmt: skip
    specs = [price_spec(PRICE, min_value=max(1, value // 100), max_value=value * 100, **shared)]
    number = 1
    for horizon in horizons:
        kind = {"kind": FeedKind.FORECAST, "decimals": 6, "min_value": -INT24, "max_value": INT24}
        specs.append(price_spec(number, **shared | kind | {"horizon": horizon}))
        number += 2 if number % LANES < LANES - 3 else LANES - number % LANES
    return tuple(specs)


def _deploy(plan: Plan, specs: Sequence[FeedSpec], width: int, first: int) -> LocalNet:
    """The contracts on a fresh chain that starts early enough: every transaction takes a second of its time."""
    timing = Timing(
        slot_seconds=width, max_report_age=2 * width + 30, grace_ms=1_000, stage_ms=max(100, width * 5),
        confirmation=width, min_validators=4,
    )  # fmt: skip
    transactions = 16 + 3 * plan.validators + len(specs)
    chain = LocalChain(accounts=plan.validators + 2, start=first - (3 + transactions // width) * width)
    net = LocalNet.start((100,) * plan.validators, specs, timing=timing, chain=chain)
    begins = net.active.slot_start_ms(net.active.first_slot) // 1000
    if begins > first:
        raise BacktestError(f"backtest: the first slot begins at {begins}, after the first bar {first}")
    return net
