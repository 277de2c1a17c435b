"""From what was seen to what is reported: scores, gas, faults, weights.

Why this file exists: every number of `summary.json` is computed here, from the chain's words, the nodes' own accounts
and hindsight, and from nothing else. Never in it: running, drawing, a number that the run did not produce.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feeds.types import SECOND
from models.bundle import Bundle
from models.evaluate import EvaluationReport, best_single, evaluate
from models.forecast import LEVELS, FloatArray
from models.panel import PanelTrack
from models.recipes import OWNERS
from oracle.consensus.aggregate import weighted_median
from oracle.consensus.network import BPS, PPM, FeedId, FeedSpec, NetworkConfig
from oracle.consensus.schedule import leader
from oracle.consensus.words import FLAG_VECTOR, FeedWord, unpack_vector, unpack_word
from oracle.demo import scenario
from oracle.demo.record import BundleFigures, FaultFigures, GasFigures, SlotRecord, ValidatorRecord
from oracle.demo.replay import Json, ReplaySeen, SlotSeen
from oracle.errors import LocalFault

HOURLY, DAILY = 0, 1
"""Rows of the two horizons in a panel's arrays."""


@dataclass(frozen=True, slots=True)
class Skill:
    """Reports at both horizons, and the name of the bundle that was best in hindsight at one hour."""

    hourly: EvaluationReport
    daily: EvaluationReport
    best: str


def words_of(seen: SlotSeen, specs: Sequence[FeedSpec]) -> dict[FeedId, tuple[FeedWord, tuple[int, ...]]]:
    """What the chain stored in a slot: feed -> (its word, its components)."""
    by_number = {int(spec.number): spec for spec in specs}
    found: dict[FeedId, tuple[FeedWord, tuple[int, ...]]] = {}
    for landed in seen.result.transmissions:
        words = iter(landed.words)
        for packed in words:
            word = unpack_word(packed)
            spec = by_number[word.feed]
            parts = unpack_vector(spec, next(words)) if word.flags & FLAG_VECTOR else ()
            found[spec.number] = (word, parts)
    return found


def slot_records(
    seen: ReplaySeen, network: NetworkConfig, row_of: Sequence[int], track: PanelTrack, bundles: Sequence[Bundle]
) -> tuple[SlotRecord, ...]:
    """One record a slot, as the chain shows it afterwards; outcomes are hindsight from the recorded closes.

    `row_of`: row of the validator table of each node, in the demo's order.
    """
    outcomes = {int(ts) // SECOND: row for ts, row in zip(track.ts.tolist(), track.outcomes, strict=True)}
    leaders = [row_of.index(leader(network, slot.result.slot)) for slot in seen.slots]
    return tuple(
        _record(slot, network, first, outcomes[slot.at], bundles)
        for slot, first in zip(seen.slots, leaders, strict=True)
    )


def _record(
    slot: SlotSeen, network: NetworkConfig, first: int, outcome: FloatArray, bundles: Sequence[Bundle]
) -> SlotRecord:
    words = words_of(slot, network.feeds)
    price, unit = words.get(scenario.PRICE), 10**scenario.DECIMALS
    valid = price is not None and not price[0].invalid
    account = slot.rounds.get(scenario.WITNESS, {})
    event = _parts(words, scenario.EVENT)
    attacked = scenario.OUTLIER_FIRST <= slot.index < scenario.OUTLIER_FIRST + scenario.OUTLIER_SLOTS
    sent = _own_price(slot.rounds.get(scenario.OUTLIER, {})) if attacked else None
    return SlotRecord(
        slot=slot.result.slot,
        at=slot.at,
        outcome="failed" if price is None else "accepted" if valid else "invalid",
        leader=first,
        price=price[0].value / unit if price is not None and valid else None,
        confidence=price[0].confidence / unit if price is not None and valid else None,
        forecast_1h=_returns(words, scenario.HOURLY),
        forecast_24h=_returns(words, scenario.DAILY),
        realised_1h=_known(outcome[HOURLY]),
        realised_24h=_known(outcome[DAILY]),
        event_yes=None if event is None else event[1] / BPS,
        weights=_weights(account, bundles),
        gas=sum(landed.gas_used for landed in slot.result.transmissions) or None,
        signers=len(account.get("report", {}).get("signers", ())),
        attack_price=None if sent is None else sent / unit,
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _parts(words: Mapping[FeedId, tuple[FeedWord, tuple[int, ...]]], feed: FeedId) -> tuple[int, ...] | None:
    word, parts = words.get(feed, (None, ()))
    return None if word is None or word.invalid else parts


def _returns(words: Mapping[FeedId, tuple[FeedWord, tuple[int, ...]]], feed: FeedId) -> tuple[float, ...] | None:
    parts = _parts(words, feed)
    return None if parts is None else tuple(part / PPM for part in parts)


def _weights(account: Json, bundles: Sequence[Bundle]) -> tuple[float, ...]:
    said = account.get("weights")
    return () if not said else tuple(float(said[bundle.hash][str(scenario.HOUR_S)]) for bundle in bundles)


def _own_price(account: Json) -> int | None:
    """A node's own observation of the price, as it tells it."""
    values = [item["value"] for item in account.get("observation", ()) if item["feed"] == scenario.PRICE]
    return int(values[0]) if values else None


def skill(records: Sequence[SlotRecord], track: PanelTrack, bundles: Sequence[Bundle], seed: int) -> Skill:
    """The forecasts on chain against the reference walk and every single bundle, at both horizons."""
    place = {int(ts) // SECOND: row for row, ts in enumerate(track.ts.tolist())}
    rows = [place[record.at] for record in records]
    names = [bundle.manifest.name for bundle in bundles]
    said = ([record.forecast_1h for record in records], [record.forecast_24h for record in records])
    reports, best = [], 0
    for row, (label, horizon) in enumerate((("on chain", scenario.HOUR_S), ("on chain", scenario.DAY_S))):
        ours = np.array([parts or (np.nan,) * len(LEVELS) for parts in said[row]])
        outcomes = track.outcomes[rows, row]
        singles = {name: track.members[rows, k, row] for k, name in enumerate(names)}
        if row == HOURLY:
            best = best_single(np.stack(list(singles.values())), outcomes)
        mean = {"plain mean": np.mean(list(singles.values()), axis=0)}
        baselines = {"random walk": track.reference[rows, row]} | mean | singles
        ts = track.ts[rows]
        reports.append(evaluate(label, ts, ours, outcomes, baselines, horizon, scenario.HOUR_S, seed))
    return Skill(reports[HOURLY], reports[DAILY], names[best])


def gas_figures(seen: ReplaySeen, specs: Sequence[FeedSpec]) -> GasFigures:
    """Mean gas of a round's transmissions, and the same for each feed that was stored."""
    pairs = [
        (sum(landed.gas_used for landed in slot.result.transmissions), len(words_of(slot, specs)))
        for slot in seen.slots
        if slot.result.transmissions
    ]
    total = sum(gas for gas, _ in pairs)
    return GasFigures(total / len(pairs), total / sum(feeds for _, feeds in pairs))


def fault_figures(seen: ReplaySeen, network: NetworkConfig, row_of: Sequence[int]) -> tuple[FaultFigures, float]:
    """What the two faults did, and the honest validators' largest spread during the first, in bps.

    Shift: the stored price against the stake-weighted median of the honest observations alone. Conflicts: distinct
    evidence against the restarted validator that any node holds.
    """
    first, count = scenario.OUTLIER_FIRST, scenario.OUTLIER_SLOTS
    shift, spread, compared = 0.0, 0.0, 0
    for slot in seen.slots[first : first + count]:
        stored = words_of(slot, network.feeds).get(scenario.PRICE)
        honest = [
            (int(network.rows[row_of[number]].stake), price)
            for number, account in slot.rounds.items()
            if number != scenario.OUTLIER and (price := _own_price(account)) is not None
        ]
        if stored is not None and honest:
            without, values = weighted_median(honest), [price for _, price in honest]
            compared += 1
            shift = max(shift, abs(stored[0].value - without) / without * BPS)
            spread = max(spread, (max(values) - min(values)) / without * BPS)
    if not compared:
        raise LocalFault("no slot of the outlier has both a stored price and honest observations: nothing to compare")
    offender = row_of[scenario.CRASHER]
    conflicts = {
        (item["kind"], item["slot"])
        for status in seen.statuses
        for item in status["evidence"]
        if item["offender"] == offender
    }
    return FaultFigures(shift, len(conflicts)), spread


def bundle_figures(records: Sequence[SlotRecord], bundles: Sequence[Bundle]) -> tuple[BundleFigures, ...]:
    """Each bundle with its weight in the last one-hour forecast."""
    final = next(record.weights for record in reversed(records) if record.weights)
    owners = {address: name for name, address in OWNERS.items()}
    return tuple(
        BundleFigures(bundle.manifest.name, bundle.manifest.family, owners[bundle.manifest.owner], bundle.hash, weight)
        for bundle, weight in zip(bundles, final, strict=True)
    )


def validator_records(
    seen: ReplaySeen, records: Sequence[SlotRecord], network: NetworkConfig, row_of: Sequence[int]
) -> tuple[ValidatorRecord, ...]:
    """Each validator over the replay: slots led, slots observed, and reports in which its signature was used."""
    found = []
    notes = {
        scenario.OUTLIER: f"sent {scenario.OUTLIER_TIMES}x prices for {scenario.OUTLIER_SLOTS} slots",
        scenario.CRASHER: f"killed twice, once for {scenario.DOWN_SLOTS} slots",
        scenario.ONE_SOURCE: "carries one of the two sources",
    }
    for number, (name, stake, row) in enumerate(zip(scenario.NAMES, scenario.STAKES, row_of, strict=True)):
        reports = [slot.rounds.get(scenario.WITNESS, {}).get("report", {}) for slot in seen.slots]
        found.append(
            ValidatorRecord(
                name=name,
                address="0x" + network.rows[row].address.hex(),
                stake=float(stake),
                effective_share=int(network.rows[row].stake) / int(network.total_stake),
                slots_led=sum(record.leader == number for record in records),
                observations_made=sum(bool(slot.rounds.get(number, {}).get("observation")) for slot in seen.slots),
                signatures_used=sum(row in report.get("signers", ()) for report in reports),
                note=notes.get(number, ""),
            )
        )
    return tuple(found)
