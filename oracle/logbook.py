"""What a node remembers of its recent rounds, and what it therefore complains about.

Why this file exists: metrics, `/v1/rounds` and `/health` tell one story, so one place writes it down. Never in it:
decisions of the protocol, I/O.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oracle.chain.adapter import Landed
from oracle.consensus.events import Attested, Count, Evidence
from oracle.consensus.messages import FeedObservation, Values
from oracle.consensus.network import PPM, FeedKind, NetworkConfig
from oracle.service.metrics import Metrics
from oracle.source_state import SourceState
from oracle.watch import Sighting, SkillRow

KEPT_ROUNDS = 2048
KEPT_EVIDENCE = 256
"""Accusations that /v1/status shows; a Byzantine validator can earn a few every slot, for ever."""
RECENT = 20
TROUBLE_MS = 10 * 60 * 1000
"""How long a mended trouble still shows in /health."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest observation: what one slot's quotes came to. `at_ms`: when the sources had been asked (UTC)."""

    network: NetworkConfig
    slot: int
    at_ms: int
    sighting: Sighting


class Logbook:
    """Recent rounds by slot, recent troubles, and the counters that /health is judged by."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._rounds: OrderedDict[int, Json] = OrderedDict()
        self._own: dict[int, Values] = {}
        self._included: deque[bool] = deque(maxlen=RECENT)
        self._troubles: dict[str, tuple[int, str]] = {}
        self._conditions: dict[str, str] = {}
        self.last_completed: int | None = None
        self.evidence: list[Json] = []
        self.named: Json = {}
        """`source symbol` -> `dead`, `frozen` or `drifting`."""
        self.warnings: tuple[str, ...] = ()
        """What is wrong with sources that the feeds can do without."""
        self.seen: Seen | None = None
        """The newest observation made, None before the first."""

    # Rounds

    def round(self, slot: int) -> Json | None:
        """What is known of one slot; None if nothing."""
        return self._rounds.get(slot)

    def _entry(self, slot: int) -> Json:
        entry = self._rounds.setdefault(slot, {"slot": slot})
        while len(self._rounds) > KEPT_ROUNDS:
            self._own.pop(self._rounds.popitem(last=False)[0], None)
        return entry

    def observed(self, network: NetworkConfig, slot: int, now_ms: int, sighting: Sighting) -> None:
        """An observation was made of what the sources had said by `now_ms`."""
        if self.seen is None or self.seen.at_ms <= now_ms:
            self.seen = Seen(network, slot, now_ms, sighting)
        self._own[slot] = sighting.values
        entry = self._entry(slot)
        entry["observed_at"] = now_ms // 1000
        entry["observation"] = [_observation(value) for value in sighting.values if value is not None]
        entry["abstained"] = {str(feed): {"cause": c, "why": why} for feed, (c, why) in sighting.abstained.items()}
        for feed, (cause, _) in sighting.abstained.items():
            self.metrics.feed_refusals.add(feed=str(feed), rule=cause)

    def sources(self, state: SourceState) -> None:
        """How the sources were at the newest observation."""
        metrics, self.warnings = self.metrics, state.warnings
        self.named = {f"{s} {symbol}": kind for (symbol, s), kind in state.named.items()}
        metrics.source_named.replace({(s, symbol, kind): 1 for (symbol, s), kind in state.named.items()})
        metrics.source_age.replace({(s, symbol): age for (symbol, s), age in state.ages.items()})
        metrics.source_down.replace({(source,): 1 for source in state.down})
        metrics.host_skew.replace({(host,): skew for host, skew in state.skews.items()})
        for (source, name), count in state.refused.items():
            known = metrics.source_refused.value(source=source, field=name)
            metrics.source_refused.add(max(0, count - int(known)), source=source, field=name)
        self.condition("sources", "; ".join(state.risks) or None)

    def weights(self, slot: int, weights: Mapping[str, Mapping[str, float]]) -> None:
        """The weights behind the slot's forecasts: bundle hash -> horizon in seconds -> weight."""
        self._entry(slot)["weights"] = weights
        for bundle, by_horizon in weights.items():
            for horizon, weight in by_horizon.items():
                self.metrics.model_weight.set(weight, bundle=bundle[:10], horizon=horizon)

    def skill(self, rows: Iterable[SkillRow]) -> None:
        """How the panels' earlier forecasts turned out."""
        for row in rows:
            labels = {"symbol": row.symbol, "sources": row.sources, "bundle": row.bundle[:10], "horizon": row.horizon}
            self.metrics.model_skill.set(row.skill, **labels)
            self.metrics.model_targets.set(row.count, **labels)

    def attested(self, network: NetworkConfig, event: Attested) -> None:
        """A report has its quorum."""
        attested = event.attested
        report, slot = attested.report, attested.report.slot
        self.last_completed = slot if self.last_completed is None else max(self.last_completed, slot)
        entry = self._entry(slot)
        entry["report"] = {
            "config_digest": "0x" + report.config_digest.hex(),
            "observed_at": report.observed_at,
            "root": "0x" + report.root.hex(),
            "digest": "0x" + report.digest(network).hex(),
            "signers": [row for row, _ in attested.signatures],
            "blob": "0x" + attested.blob((1 << len(attested.pages)) - 1).hex(),
            "results": [
                {
                    "feed": int(result.feed),
                    "value": result.value,
                    "confidence": result.confidence,
                    "turnout": result.turnout,
                    "flags": result.flags,
                    "components": list(result.components),
                }
                for result in attested.results
            ],
        }
        for spec, own, result in zip(network.feeds, self._own.get(slot, ()), attested.results, strict=False):
            if own is not None:
                off = abs(own.value - result.value)
                scale = PPM / max(1, abs(result.value)) if spec.kind is FeedKind.PRICE else 1.0
                self.metrics.own_distance.set(off * scale, feed=str(spec.number))

    def transmitted(self, slot: int, landed: Landed | None, late_ms: int) -> None:
        """A transmission ended: in a block, or not needed any more."""
        if landed is None:
            self.metrics.transmits.add(outcome="stale")
            return
        outcome = "landed" if landed.feeds else "lost_race"
        self.metrics.transmits.add(outcome=outcome)
        self.metrics.gas_used.add(landed.gas_used)
        self.metrics.slot_to_landed.observe(late_ms)
        self._entry(slot)["transmission"] = {
            "outcome": outcome,
            "hash": "0x" + landed.hash.hex(),
            "block": landed.block,
            "gas_used": landed.gas_used,
            "fee_wei": str(landed.fee_wei),
            "feeds": [int(feed) for feed in landed.feeds],
        }

    def accused(self, evidence: Evidence) -> None:
        """Somebody signed two different things."""
        said = {"kind": str(evidence.kind), "offender": evidence.offender, "slot": int(evidence.slot)}
        self.evidence = [*self.evidence[1 - KEPT_EVIDENCE :], said]
        self._entry(evidence.slot).setdefault("evidence", []).append(said)

    def count(self, count: Count, peer: str | None) -> None:
        """The protocol counted something; `peer`: whose message brought it about."""
        metrics = self.metrics
        metrics.counts.add(name=count.name, detail=count.detail)
        match count.name, count.detail:
            case "led", _:
                metrics.rounds_led.add()
            case "completed", _:
                metrics.rounds_completed.add()
            case "own_observation", "sent":
                metrics.observations_sent.add()
            case "own_observation", outcome:
                self._included.append(outcome == "included")
                metrics.observations_included.add(int(outcome == "included"))
            case name, rule if name.startswith("refused_"):
                metrics.peer_faults.add(rule=rule, peer=peer or "unknown")
                if name == "refused_SignedProposal":
                    metrics.attest_refused.add(rule=rule)
            case name, _ if name.startswith("unsigned_"):
                metrics.sign_refused.add(kind=name.removeprefix("unsigned_"))

    # Health

    def trouble(self, part: str, now_ms: int, why: str) -> None:
        """Something went wrong once; it shows for a while."""
        self._troubles[part] = (now_ms, f"{part}: {why}")

    def condition(self, name: str, why: str | None) -> None:
        """Something is wrong until it is set to None."""
        if why is None:
            self._conditions.pop(name, None)
        else:
            self._conditions[name] = f"{name}: {why}"

    def reasons(self, now_ms: int) -> tuple[str, ...]:
        """Everything that an operator should look at, one line each."""
        found = list(self._conditions.values())
        found += [why for at, why in self._troubles.values() if now_ms - at < TROUBLE_MS]
        left_out = Counter(self._included)[False]
        if len(self._included) == RECENT and left_out > RECENT // 2:
            found.append(f"observations: {left_out} of the last {RECENT} were left out; check clock and endpoint")
        return tuple(found)


def _observation(value: FeedObservation) -> Json:
    return {
        "feed": int(value.feed),
        "value": value.value,
        "confidence": value.confidence,
        "sources": value.sources,
        "family_share": value.family_share,
        "outside_run": value.outside_run,
        "components": list(value.components),
        "resolved": value.resolved,
    }
