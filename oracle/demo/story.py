"""The demo's result as one `Summary`, one `DemoRecord` and one table on the terminal.

Why this file exists: terminal, JSON and page must tell the same numbers. Never in it: computing one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from models.bundle import Bundle
from models.panel import PanelTrack
from oracle.consensus.network import NetworkConfig
from oracle.demo import figures, scenario
from oracle.demo.consumers import Consumers
from oracle.demo.figures import Skill
from oracle.demo.record import (
    DemoRecord,
    FaultFigures,
    FaultRecord,
    LongForecastFigures,
    Rounds,
    SkillFigures,
    SlotRecord,
    Summary,
)
from oracle.demo.replay import ReplaySeen
from oracle.devnet import Devnet
from oracle.errors import LocalFault


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that is told. `honest_spread_bps`: the most that honest validators differed during the outlier."""

    summary: Summary
    record: DemoRecord
    skill: Skill
    honest_spread_bps: float


def tell(
    net: Devnet, network: NetworkConfig, track: PanelTrack, bundles: Sequence[Bundle], consumers: Consumers,
    seen: ReplaySeen, began: float,
) -> Story:  # fmt: skip
    """Put the measured run together. `began`: `time.perf_counter()` at the start of the command."""
    row_of = [int(status["row"]) for status in seen.statuses]
    slots = figures.slot_records(seen, network, row_of, track, bundles)
    skill = figures.skill(slots, track, bundles, scenario.SEED)
    faults, spread = figures.fault_figures(seen, network, row_of)
    outcomes = [slot.outcome for slot in slots]
    summary = Summary(
        rounds=Rounds(len(outcomes), outcomes.count("accepted"), outcomes.count("invalid")),
        feeds=seen.feeds,
        skill=_hourly(skill),
        forecast_24h=_daily(skill),
        gas=figures.gas_figures(seen, network.feeds),
        faults=faults,
        lender=consumers.lender_figures(),
        market=consumers.market_figures(),
        bundles=figures.bundle_figures(slots, bundles),
        seconds=round(time.perf_counter() - began, 1),
    )
    record = DemoRecord(
        symbol=scenario.SYMBOL,
        slot_seconds=scenario.TIMING.slot_seconds,
        slots=slots,
        validators=figures.validator_records(seen, slots, network, row_of),
        faults=_fault_records(slots, faults, spread),
        lender=consumers.lender_story(),
        chain_id=network.chain_id,
        aggregator=net.deployment.aggregator,
        seed=scenario.SEED,
        event_threshold=float(scenario.STRIKE),
        event_expiry=int(scenario.EXPIRY.timestamp()),
        source_names=scenario.SOURCES,
    )
    return Story(summary, record, skill, spread)


def _hourly(skill: Skill) -> SkillFigures:
    walk = skill.hourly.ratio("random walk")
    if walk.interval is None:
        raise LocalFault(f"{skill.hourly.forecasts} one-hour forecasts are too few for an interval")
    return SkillFigures(
        horizon_h=1,
        forecasts=skill.hourly.forecasts,
        crps_vs_random_walk=walk.ratio,
        crps_vs_random_walk_interval=(walk.interval.low, walk.interval.high),
        crps_vs_best_single=skill.hourly.ratio(skill.best).ratio,
        coverage_90=skill.hourly.coverage_90,
    )


def _daily(skill: Skill) -> LongForecastFigures:
    return LongForecastFigures(
        forecasts=skill.daily.forecasts,
        independent=skill.daily.independent,
        crps_vs_random_walk=skill.daily.ratio("random walk").ratio,
        coverage_90=skill.daily.coverage_90,
    )


def _fault_records(slots: Sequence[SlotRecord], faults: FaultFigures, spread: float) -> tuple[FaultRecord, ...]:
    first, last = scenario.OUTLIER_FIRST, scenario.OUTLIER_FIRST + scenario.OUTLIER_SLOTS - 1
    down, back = scenario.DOWN_FROM, scenario.DOWN_FROM + scenario.DOWN_SLOTS
    shift = faults.outlier_validator_max_shift_bps
    moved = f"moved the feed by {shift:.3f} bps at most; honest validators differ by up to {spread:.3f} bps"
    led = [slot for slot in slots[down:back] if slot.leader != scenario.CRASHER]
    on = sum(slot.outcome == "accepted" for slot in led)
    went = f"{on} of {len(led)} slots with a live leader accepted meanwhile"
    conflicts = f"{faults.restarted_validator_conflicts} conflicting signatures"
    at = slots[scenario.CRASH_AT].slot
    return (
        FaultRecord(
            "Outlier", scenario.OUTLIER, slots[first].slot, slots[last].slot,
            f"sends {scenario.OUTLIER_TIMES} times the price", moved,
        ),
        FaultRecord("Crash", scenario.CRASHER, at, at, "killed amid a round, restarted in the same slot", conflicts),
        FaultRecord("Outage", scenario.CRASHER, slots[down].slot, slots[back].slot, "killed amid a round, away", went),
    )  # fmt: skip


def summary_table(story: Story) -> str:
    """The run as plain text."""
    s, skill = story.summary, story.skill
    low, high = s.skill.crps_vs_random_walk_interval
    lines = [
        "",
        f"Rounds        {s.rounds.accepted} of {s.rounds.attempted} accepted, {s.rounds.invalid} INVALID",
        f"Gas           {s.gas.transmit_mean:,.0f} a round, {s.gas.per_feed_mean:,.0f} a feed",
        f"1 h forecast  CRPS {s.skill.crps_vs_random_walk:.4f} of random walk + EWMA [{low:.4f}, {high:.4f}], "
        f"{s.skill.crps_vs_best_single:.4f} of the best single ({skill.best}); 90 % band covers "
        f"{s.skill.coverage_90:.1%} of {s.skill.forecasts}",
        f"24 h forecast CRPS {s.forecast_24h.crps_vs_random_walk:.4f}, covers {s.forecast_24h.coverage_90:.1%}; "
        f"{s.forecast_24h.independent} independent days: not evidence",
        f"Outlier       shift {s.faults.outlier_validator_max_shift_bps:.3f} bps at most "
        f"(honest validators differ by up to {story.honest_spread_bps:.3f})",
        f"Restart       {s.faults.restarted_validator_conflicts} conflicting signatures",
        f"Lender        {s.lender.loans} loans, {s.lender.liquidations} liquidations, bad debt {s.lender.bad_debt:g}",
        f"Market        {s.market.question} {s.market.outcome}; paid {s.market.paid:g}",
        "",
        f"{'FEED':<20}{'KIND':<10}{'ROUNDS':>7}  {'LAST VALUE':>14}",
        *(f"{f.symbol:<20}{f.kind:<10}{f.rounds:>7}  {f.last_value / 10**f.decimals:>14g}" for f in s.feeds),
        "",
        f"{'BUNDLE':<22}{'FAMILY':<13}{'OWNER':<11}{'WEIGHT':>7}",
        *(f"{b.name:<22}{b.family:<13}{b.owner:<11}{b.weight_final:>7.1%}" for b in s.bundles),
        "",
        f"The window was chosen for the fall of 26 October. {s.seconds:.0f} s in all.",
    ]
    return "\n".join(lines)
