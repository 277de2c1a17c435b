"""What the demo measures, as plain records: the figures of `summary.json` and the series that the page draws.

The conductor fills them from what it read back from the chain. Floats are welcome here: nothing of it is signed or
sent anywhere. Never in this file: measuring, drawing, writing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

SlotOutcome = Literal["accepted", "invalid", "failed"]
"""accepted: stored with a valid price; invalid: stored with the INVALID flag; failed: no report on chain."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """Slots of the replay: tried, stored with a valid price, and stored with the INVALID flag."""

    attempted: int
    accepted: int
    invalid: int


@dataclass(frozen=True, slots=True)
class FeedFigures:
    """One feed at the end of the run. `last_value` is the integer on chain, at `decimals`."""

    symbol: str
    kind: str
    address: str
    rounds: int
    last_value: int
    decimals: int


@dataclass(frozen=True, slots=True)
class SkillFigures:
    """Skill of the combined forecast at `horizon_h` hours; ratios are ours over theirs, below 1 is better."""

    horizon_h: int
    forecasts: int
    crps_vs_random_walk: float
    crps_vs_random_walk_interval: tuple[float, float]
    crps_vs_best_single: float
    coverage_90: float


@dataclass(frozen=True, slots=True)
class LongForecastFigures:
    """The 24 h forecasts; `independent` counts windows that do not overlap."""

    forecasts: int
    independent: int
    crps_vs_random_walk: float
    coverage_90: float


@dataclass(frozen=True, slots=True)
class GasFigures:
    """Gas of a whole transmit transaction, mean over rounds, and the same divided by the feeds that it carried."""

    transmit_mean: float
    per_feed_mean: float


@dataclass(frozen=True, slots=True)
class FaultFigures:
    """Largest move of the feed that the outlier caused, in bps, and conflicting signatures of the restarted node."""

    outlier_validator_max_shift_bps: float
    restarted_validator_conflicts: int


@dataclass(frozen=True, slots=True)
class LenderFigures:
    """The reference lender: loans opened, liquidations, and bad debt in units of the debt token."""

    loans: int
    liquidations: int
    bad_debt: float


@dataclass(frozen=True, slots=True)
class MarketFigures:
    """The reference market: the question, the outcome that the feed gave, and what winners were paid in tokens."""

    question: str
    outcome: str
    paid: float


@dataclass(frozen=True, slots=True)
class BundleFigures:
    """One model bundle and its weight (0 to 1) in the mixture after the last slot."""

    name: str
    family: str
    owner: str
    hash: str
    weight_final: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything in `summary.json`, in its order. The field names are the file's keys."""

    rounds: Rounds
    feeds: tuple[FeedFigures, ...]
    skill: SkillFigures
    forecast_24h: LongForecastFigures
    gas: GasFigures
    faults: FaultFigures
    lender: LenderFigures
    market: MarketFigures
    bundles: tuple[BundleFigures, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """One slot as the chain shows it afterwards.

    `at`: observation time, Unix seconds. `price` and `confidence`: quote units, None where no valid round was stored.
    `forecast_1h`, `forecast_24h`: nine log-return quantiles at 0.01 .05 .10 .25 .50 .75 .90 .95 .99 as stored on
    chain, or None. `realised_1h`, `realised_24h`: the log return that followed, None where it cannot be known.
    `event_yes`: probability of "yes" on chain, 0 to 1. `weights`: mean mixture weight per bundle, in the order of
    `Summary.bundles`. `gas`: of the accepted transmit, None without one. `leader`: index into `DemoRecord.validators`.
    `signers`: how many validators signed. `attack_price`: what a dishonest validator sent, or None.
    """

    slot: int
    at: int
    outcome: SlotOutcome
    leader: int
    price: float | None = None
    confidence: float | None = None
    forecast_1h: tuple[float, ...] | None = None
    forecast_24h: tuple[float, ...] | None = None
    realised_1h: float | None = None
    realised_24h: float | None = None
    event_yes: float | None = None
    weights: tuple[float, ...] = ()
    gas: int | None = None
    signers: int = 0
    attack_price: float | None = None


@dataclass(frozen=True, slots=True)
class ValidatorRecord:
    """One validator over the run. `stake` in whole tokens; `effective_share` of the total after the cap, 0 to 1.
    `observations_made`: slots in which it observed, whether a leader included it or not. `signatures_used`: reports in
    whose fewest sufficient signatures, as the witness held them, its own stood; it may have signed more.
    """

    name: str
    address: str
    stake: float
    effective_share: float
    slots_led: int
    observations_made: int
    signatures_used: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """One fault that the demo causes on purpose: slots first..last (both included) and what was measured."""

    name: str
    validator: int
    first_slot: int
    last_slot: int
    what: str
    measured: str


@dataclass(frozen=True, slots=True)
class LoanRecord:
    """One loan. Times are Unix seconds; `loan_to_value` at opening, 0 to 1; `liquidated_at` None if it lived on."""

    borrower: str
    opened_at: int
    price: float
    loan_to_value: float
    borrowed: float
    liquidated_at: int | None = None
    liquidation_price: float | None = None
    bad_debt: float = 0.0


@dataclass(frozen=True, slots=True)
class LenderStory:
    """The lender's terms and loans; `comparison` is one measured sentence on the lender with a constant ratio."""

    bonus: float
    buffer: float
    loans: tuple[LoanRecord, ...]
    comparison: str = ""


@dataclass(frozen=True, slots=True)
class DemoRecord:
    """The whole replay beside its `Summary`: what the charts and tables of the page are drawn from."""

    symbol: str
    slot_seconds: int
    slots: tuple[SlotRecord, ...]
    validators: tuple[ValidatorRecord, ...]
    faults: tuple[FaultRecord, ...]
    lender: LenderStory
    chain_id: int
    aggregator: str
    seed: int
    event_threshold: float | None = None
    event_expiry: int | None = None
    source_names: tuple[str, ...] = ()
