"""What a back-test found: history on chain, scores, gas, and the chain itself to ask further.

Why this file exists: tests assert on it, and a failing test prints its table. Never in it: running.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from web3 import Web3
from web3.contract import Contract

from feeds.types import SECOND
from models.evaluate import EvaluationReport, evaluate
from models.forecast import LEVELS, FloatArray
from models.panel import PanelTrack, track
from oracle.backtest.plan import PRICE, BacktestError, Setup
from oracle.chain.localnet import LocalNet
from oracle.consensus.network import PPM, FeedId, FeedSpec
from oracle.consensus.words import FeedWord

RANDOM_WALK = "random walk"


@dataclass(frozen=True, slots=True)
class Round:
    """One slot: when it began (UTC seconds), gas spent, and what the chain stored by feed."""

    slot: int
    at: int
    gas: int
    stored: Mapping[FeedId, tuple[FeedWord, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, repr=False)
class BacktestResult:
    """What the chain shows and how good it was.

    `history`: one row a slot, indexed by slot: `at` (UTC), `price`, `confidence`, `gas`, and for each horizon of h
    seconds `q01@h` ... `q99@h` (NaN where the chain has none) and `realised@h` (log returns, hindsight; NaN where there
    is none). `reports`: by horizon in seconds, for those that could be scored. `rounds`: as stored. `cautions`: why the
    scores may mean nothing, one line each. `net`: the live chain; `face(number)` reads it as a consumer would.
    """

    history: pd.DataFrame
    reports: Mapping[int, EvaluationReport]
    rounds: tuple[Round, ...]
    cautions: tuple[str, ...]
    net: LocalNet

    def __repr__(self) -> str:
        return f"BacktestResult({self._summary()})"

    @property
    def feeds(self) -> tuple[FeedSpec, ...]:
        """The feeds that were replayed: the price, then one forecast for each horizon."""
        return self.net.active.feeds

    @property
    def horizons(self) -> tuple[int, ...]:
        """Seconds that the forecast feeds look ahead, ascending."""
        return tuple(spec.horizon for spec in self.feeds if spec.is_vector)

    @property
    def web3(self) -> Web3:
        """The embedded chain."""
        return self.net.chain.w3

    @property
    def aggregator(self) -> Contract:
        """The Aggregator on it."""
        return self.net.core.aggregator

    @property
    def accepted(self) -> int:
        """Slots in which a valid price was stored."""
        return sum(PRICE in item.stored and not item.stored[PRICE][0].invalid for item in self.rounds)

    @property
    def gas_mean(self) -> float:
        """Mean gas of a slot's transmissions, over the slots that had one."""
        spent = [item.gas for item in self.rounds if item.gas]
        return sum(spent) / len(spent) if spent else 0.0

    def face(self, number: int) -> Contract:
        """Deploy the Chainlink-shaped face of a feed and return it. Raises BacktestError for a number without feed."""
        known = [int(spec.number) for spec in self.feeds]
        if number not in known:
            raise BacktestError(f"backtest: no feed {number}; the price is 0, all: {known}", given=number, limit=known)
        return self.net.face(number)

    def report(self, horizon: int | None = None) -> EvaluationReport:
        """The scores at a horizon in seconds; None: the shortest. Raises BacktestError if it was not scored."""
        found = self.reports.get(min(self.reports, default=0) if horizon is None else horizon)
        if found is None:
            what = "nothing" if horizon is None else f"nothing {horizon} s ahead"
            scored = ", ".join(map(str, self.reports)) or "none"
            message = f"backtest: {what} was scored; horizons that were, in seconds: {scored}"
            raise BacktestError(message, given=horizon, limit=tuple(self.reports))
        return found

    def skill(self, horizon: int | None = None, against: str = RANDOM_WALK) -> float:
        """1 - CRPS over the baseline's: above 0 is better than the baseline."""
        return 1.0 - self.report(horizon).ratio(against).ratio

    def coverage(self, horizon: int | None = None) -> float:
        """Share of outcomes inside the 5 % to 95 % band."""
        return self.report(horizon).coverage_90

    def table(self) -> str:
        """Scores as plain text, one block a horizon, what the chain did, and every caution."""
        blocks = [report.table() for report in self.reports.values()]
        unscored = [h for h in self.horizons if h not in self.reports]
        blocks += [f"{h / 3600:g} h ahead: not scored, no forecast on chain has an outcome yet" for h in unscored]
        return "\n\n".join(["\n".join([self._summary(), *self.cautions]), *blocks])

    def _summary(self) -> str:
        return f"{self.accepted} of {len(self.rounds)} slots accepted, {self.gas_mean:,.0f} gas a slot"


def make_result(setup: Setup, rounds: Sequence[Round]) -> BacktestResult:
    """Score what the chain stored; outcomes are hindsight from the recorded closes."""
    first, last = setup.starts[0] * SECOND, setup.starts[-1] * SECOND
    seen = track(setup.panel(), setup.series.ts, setup.series.close, first, last)
    forecasts = {spec.horizon: spec.number for spec in setup.net.active.feeds if spec.is_vector}
    said = {horizon: _quantiles(rounds, number) for horizon, number in forecasts.items()}
    scored = {horizon: _score(setup, seen, row, said[horizon]) for row, horizon in enumerate(setup.horizons)}
    reports = {horizon: report for horizon, report in scored.items() if report is not None}
    history = _history(rounds, said, seen, setup.horizons)
    return BacktestResult(history, reports, tuple(rounds), setup.cautions(), setup.net)


def _quantiles(rounds: Sequence[Round], number: FeedId) -> FloatArray:
    """Quantiles on chain (N, 9), NaN where a slot has no valid ones."""
    table = np.full((len(rounds), len(LEVELS)), np.nan)
    for row, item in enumerate(rounds):
        word, parts = item.stored.get(number, (None, ()))
        if word is not None and not word.invalid:
            table[row] = np.array(parts) / PPM
    return table


def _score(setup: Setup, seen: PanelTrack, row: int, ours: FloatArray) -> EvaluationReport | None:
    """Ours beside the random walk and, of several bundles, each alone; None where nothing can be scored."""
    outcomes = seen.outcomes[:, row]
    baselines = {RANDOM_WALK: seen.reference[:, row]}
    if len(setup.bundles) > 1:
        names = [bundle.manifest.name for bundle in setup.bundles]
        baselines |= {name: seen.members[:, place, row] for place, name in enumerate(names)}
    answered = np.isfinite(outcomes) & np.isfinite(ours).all(axis=-1)
    beside = {}
    for name, theirs in baselines.items():
        both = answered & np.isfinite(theirs).all(axis=-1)
        if both.any():  # one that never spoke at this horizon would leave nothing to compare
            answered, beside[name] = both, theirs
    if not answered.any():
        return None
    return evaluate("on chain", seen.ts, ours, outcomes, beside, setup.horizons[row], setup.width)


def _history(
    rounds: Sequence[Round], said: Mapping[int, FloatArray], seen: PanelTrack, horizons: Sequence[int]
) -> pd.DataFrame:
    prices = [item.stored.get(PRICE) for item in rounds]
    good = [None if stored is None or stored[0].invalid else stored[0] for stored in prices]
    columns: dict[str, object] = {
        "at": pd.to_datetime([item.at for item in rounds], unit="s", utc=True),
        "price": [np.nan if word is None else word.value / 10**8 for word in good],
        "confidence": [np.nan if word is None else word.confidence / 10**8 for word in good],
        "gas": [item.gas for item in rounds],
    }
    for row, horizon in enumerate(horizons):
        for place, level in enumerate(LEVELS):
            columns[f"q{round(level * 100):02d}@{horizon}"] = said[horizon][:, place]
        columns[f"realised@{horizon}"] = seen.outcomes[:, row]
    return pd.DataFrame(columns, index=pd.Index([item.slot for item in rounds], name="slot"))
