"""A node's numbers, in Prometheus' text format.

Why this file exists: every metric has one name, one meaning and one place. Never in it: how a number comes about.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from oracle.errors import LocalFault

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES = 4096
"""Label combinations a metric keeps; later ones count under `other`, so that nobody fills our memory with labels."""

Labels = tuple[str, ...]


def _text(value: float) -> str:
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 2**53):
        return str(int(value))
    return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN") if not math.isfinite(value) else repr(value)


def _label_text(names: Labels, values: Labels, more: str = "") -> str:
    escaped = (v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for v in values)
    pairs = [f'{name}="{value}"' for name, value in zip(names, escaped, strict=True)]
    pairs += [more] if more else []
    return "{" + ",".join(pairs) + "}" if pairs else ""


@dataclass(slots=True)
class _Metric:
    """One named metric with its label names."""

    name: str
    meaning: str
    labels: Labels = ()
    _values: dict[Labels, float] = field(default_factory=dict)

    def _key(self, values: Mapping[str, str]) -> Labels:
        if set(values) != set(self.labels):
            raise LocalFault(f"metric {self.name} has labels {self.labels}, given {tuple(values)}")
        key = tuple(str(values[name]) for name in self.labels)
        return key if key in self._values or len(self._values) < MAX_SERIES else ("other",) * len(self.labels)

    def value(self, **labels: str) -> float:
        """The current number of one label combination; 0 where nothing was recorded."""
        return self._values.get(self._key(labels), 0)

    def total(self) -> float:
        """The sum over all label combinations."""
        return sum(self._values.values())

    def items(self) -> list[tuple[Labels, float]]:
        """Label values and numbers, sorted."""
        return sorted(self._values.items())

    def _head(self, kind: str) -> Iterator[str]:
        yield f"# HELP {self.name} {self.meaning}"
        yield f"# TYPE {self.name} {kind}"

    def _lines(self) -> Iterator[str]:
        if not self._values and not self.labels:
            yield f"{self.name} 0"
        for key, value in self.items():
            yield f"{self.name}{_label_text(self.labels, key)} {_text(value)}"


class Counter(_Metric):
    """A number that only grows."""

    __slots__ = ()

    def add(self, amount: int = 1, **labels: str) -> None:
        """Grow by `amount` >= 0."""
        if amount < 0:
            raise LocalFault(f"counter {self.name} cannot shrink by {amount}")
        key = self._key(labels)
        self._values[key] = self._values.get(key, 0) + amount

    def expose(self) -> Iterator[str]:
        """Lines of the text format."""
        yield from self._head("counter")
        yield from self._lines()


class Gauge(_Metric):
    """A number that goes up and down."""

    __slots__ = ()

    def set(self, value: float, **labels: str) -> None:
        """Replace the number."""
        self._values[self._key(labels)] = value

    def replace(self, rows: Mapping[Labels, float]) -> None:
        """Replace every number: label values, in the order of the label names, -> number. What is not given is gone."""
        self._values.clear()
        for key, value in rows.items():
            self.set(value, **dict(zip(self.labels, key, strict=True)))

    def expose(self) -> Iterator[str]:
        """Lines of the text format."""
        yield from self._head("gauge")
        yield from self._lines()


class Histogram:
    """How often a measured number fell into each bucket; bucket bounds are upper and inclusive."""

    __slots__ = ("_bounds", "_counts", "_sum", "meaning", "name")

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        self.name, self.meaning = name, meaning
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    @property
    def count(self) -> int:
        """How many numbers were recorded."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Record one number."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def expose(self) -> Iterator[str]:
        """Lines of the text format, buckets cumulative."""
        yield f"# HELP {self.name} {self.meaning}"
        yield f"# TYPE {self.name} histogram"
        running = 0
        for bound, count in zip((*self._bounds, math.inf), self._counts, strict=True):
            running += count
            le = f'le="{_text(bound)}"'
            yield f"{self.name}_bucket{_label_text((), (), le)} {running}"
        yield f"{self.name}_sum {_text(self._sum)}"
        yield f"{self.name}_count {running}"


_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000)


class Metrics:
    """Every metric of a node (page "The round", metrics that matter)."""

    def __init__(self) -> None:
        self.observations_sent = Counter("dodona_observations_sent_total", "Observations signed and sent.")
        self.observations_included = Counter(
            "dodona_observations_included_total", "Own observations found in valid proposals: the signal of health."
        )
        self.rounds_led = Counter("dodona_rounds_led_total", "Slots in which this node was leader and proposed.")
        self.rounds_completed = Counter("dodona_rounds_completed_total", "Slots this node saw attested.")
        self.counts = Counter("dodona_protocol_total", "Protocol events by name and detail.", ("name", "detail"))
        self.attest_refused = Counter("dodona_attest_refused_total", "Proposals not attested, by rule.", ("rule",))
        self.sign_refused = Counter("dodona_sign_refused_total", "Signatures the journal refused, by kind.", ("kind",))
        self.peer_faults = Counter("dodona_peer_faults_total", "Rubbish from outside.", ("rule", "peer"))
        self.deliveries = Counter("dodona_deliveries_total", "Messages to peers.", ("peer", "outcome"))
        self.received = Counter("dodona_messages_received_total", "Messages accepted from outside, by kind.", ("kind",))
        self.transmits = Counter("dodona_transmits_total", "Transmissions to the chain, by outcome.", ("outcome",))
        self.gas_used = Counter("dodona_gas_used_total", "Gas of landed transmissions.")
        self.feed_refusals = Counter(
            "dodona_feed_refusals_total", "Feeds this node abstained on, by feed and rule.", ("feed", "rule")
        )
        self.restarts = Counter("dodona_restarts_total", "Parts restarted by the supervisor.", ("part",))
        self.quote_to_signed = Histogram(
            "dodona_quote_to_observation_ms", "From the newest quote used to the signed observation.", _MS
        )
        self.observe_ms = Histogram("dodona_observe_ms", "Wall time to make one observation.", _MS)
        self.slot_to_landed = Histogram("dodona_slot_to_landed_ms", "From slot start to the landed transaction.", _MS)
        self.own_distance = Gauge(
            "dodona_own_distance_ppm", "Own value against the report's, by feed (prices: relative).", ("feed",)
        )
        self.model_weight = Gauge("dodona_model_weight", "Weight of a bundle, by horizon.", ("bundle", "horizon"))
        self.model_skill = Gauge(
            "dodona_model_skill",
            "1 - mean CRPS / the random walk's, of what the panel (pooled) or a bundle said, since learning began.",
            ("symbol", "sources", "bundle", "horizon"),
        )
        self.model_targets = Gauge(
            "dodona_model_targets",
            "Outcomes behind dodona_model_skill; they overlap where the horizon is longer than a bar.",
            ("symbol", "sources", "bundle", "horizon"),
        )
        self.adapter_requests = Counter(
            "dodona_adapter_requests_total",
            "Requests of the external-adapter protocol, by what was asked and what came of it.",
            ("endpoint", "outcome"),
        )
        self.balance = Gauge("dodona_balance_wei", "The hot key's balance.")
        self.clock_offset = Gauge("dodona_clock_offset_ms", "Own clock minus the others', median over peers.")
        self.slot = Gauge("dodona_slot", "The slot the clock is in.")
        self.healthy = Gauge("dodona_healthy", "1 while /health answers 200.")
        self._of_sources()

    def _of_sources(self) -> None:
        """What comes in, as of the newest observation."""
        self.source_named = Gauge(
            "dodona_source_named",
            "1 while fusion names a source dead, frozen or drifting.",
            ("source", "symbol", "kind"),
        )
        self.source_age = Gauge(
            "dodona_source_age_seconds",
            "Age of a source's newest quote when it was last looked at.",
            ("source", "symbol"),
        )
        self.source_down = Gauge("dodona_source_down", "1 while a source fails to answer.", ("source",))
        self.source_refused = Counter(
            "dodona_source_refused_total",
            "Rows of a source that were refused, by the field at fault.",
            ("source", "field"),
        )
        self.host_skew = Gauge(
            "dodona_host_clock_skew_seconds", "A source host's clock minus ours, by its Date headers.", ("host",)
        )

    def expose(self) -> str:
        """The whole page."""
        every = [m for m in vars(self).values() if isinstance(m, Counter | Gauge | Histogram)]
        return "\n".join(line for metric in every for line in metric.expose()) + "\n"
