"""What a node has seen so far, and what it makes of it in one slot.

Why this file exists: fusion and panels are pure; somebody has to poll the sources, keep the recent quotes, feed each
panel its new closes and remember what a question's price was at its time. With a store it becomes after a restart what
it would have been without one (`intake.py`). Never in it: conversions to signed integers (`observe.py`), signing, the
clock: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from feeds.fuse import Fused
from feeds.sources.source import DepthSource, FeedError, Source
from feeds.store import Store
from feeds.types import SECOND, Micros, Quote
from models.panel import Panel, PanelError, PanelStep
from oracle.config import FaultSettings, FeedSettings
from oracle.consensus.messages import FeedObservation, Values
from oracle.consensus.network import FeedKind, FeedSpec, NetworkConfig
from oracle.errors import ConfigError, LocalFault
from oracle.intake import Intake, memory_span
from oracle.journal import OwnValue
from oracle.observe import (
    Abstention,
    Point,
    event_point,
    faulty,
    forecast_point,
    fusion_rule,
    price_point,
    resolved_point,
    source_list_hash,
    with_past,
)
from oracle.panel_series import PanelSeries, SeriesKey
from oracle.prices import Prices, symbol_of
from oracle.source_state import SourceState, complaints, refusals

Past = tuple[Mapping[int, OwnValue], Mapping[int, OwnValue]]
"""Own values of the slot before and of the one before that, by feed number."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One slot's observation before it is signed. `abstained`: feed -> (cause, why). `newest`: its last quote.

    `troubles`: part -> what went wrong with it and was mended or not, to be shown in /health. `fused`: what the value
    of each price feed was made from. `sources`: how the sources were.
    """

    values: Values
    abstained: Mapping[int, tuple[str, str]]
    newest: Micros | None
    steps: Mapping[SeriesKey, PanelStep]
    troubles: Mapping[str, str] = field(default_factory=dict)
    fused: Mapping[int, Fused] = field(default_factory=dict)
    sources: SourceState = field(default_factory=SourceState)


@dataclass(frozen=True, slots=True)
class SkillRow:
    """`skill` of one `bundle` (a hash, or `pooled`) at one horizon over `count` targets (`models.scoreboard`)."""

    symbol: str
    sources: str
    bundle: str
    horizon: str
    skill: float
    count: int


class Watch:
    """The sources, windows and panels of one node.

    `panels`: by symbol and sources, for every feed that asks the models. Raises ConfigError through `check`.
    """

    def __init__(
        self,
        feeds: Sequence[FeedSettings],
        sources: Sequence[Source],
        panels: Mapping[SeriesKey, Panel],
        faults: FaultSettings | None = None,
    ) -> None:
        self._feeds = {feed.number: feed for feed in feeds}
        self._sources, self._faults = tuple(sources), faults
        self._series = {key: PanelSeries(key, panel) for key, panel in panels.items()}
        histories = [fusion_rule(feed, feed.symbol).history for feed in feeds]
        self._prices = Prices(feeds, self._sources)
        self._intake = Intake(memory_span(histories, (panel.width for panel in panels.values())))
        self._newest: Micros | None = None
        self._troubles: dict[str, str] = {}
        self.down: dict[str, str] = {}
        """Sources that failed at the last poll, and why."""
        self.skews: Callable[[], Mapping[str, float]] = dict
        """Where the clock skews of the hosts behind the sources can be read (`Http.skew`)."""

    @property
    def unsaved(self) -> str | None:
        """Why quotes are not on disk yet, and the mend; None while all are."""
        return self._intake.fault

    def recall(self, store: Store, now: Micros) -> int:
        """Keep every quote in `store` from now on and begin with what it knew by `now`; how many quotes that were.

        The panels read all of it, a part at a time; of the rest only what fusion still looks at is read. To be called
        once, before the first poll, off the event loop. Raises StoreDamaged.
        """
        self._intake.store = store
        count = self._intake.recall(now)
        self._newest = self._intake.newest
        for series in self._series.values():
            try:
                series.recall(self._intake.history(series.symbol, now))
            except PanelError as error:
                self._rebuild(series, now, error)
        for low, high in self._prices.spans(now):
            self._prices.add(self._intake.known(None, high, low))
        return count

    def save(self) -> None:
        """Put what was polled on disk, one file a poll, none if nothing is new: off the event loop, after each poll."""
        self._intake.save()

    async def poll(self, now: Micros) -> None:
        """Ask every source for what is new. A source that fails is named in `down` and asked again next time."""
        for source in self._sources:
            try:
                quotes = await source.poll(now)
            except FeedError as error:
                self.down[source.name] = str(error)
                continue
            self.down.pop(source.name, None)
            self._take(self._intake.admit(quotes, now))
            if isinstance(source, DepthSource):
                self._prices.add_depth(source.depths(now))
        self._intake.looked(now)

    async def close(self) -> None:
        """Close every source."""
        for source in self._sources:
            await source.close()

    def advance(self, now: Micros) -> None:
        """Bring every panel up to `now` (after a start this is the warm-up).

        A panel that refuses its own series is built again from all quotes known, and that is said in `troubles`.
        Raises LocalFault where no store is kept.
        """
        for series in self._series.values():
            try:
                series.advance(now)
            except PanelError as error:
                self._rebuild(series, now, error)

    def _rebuild(self, series: PanelSeries, now: Micros, why: PanelError) -> None:
        part, begun = f"panel of {series.symbol}", f"refused its own series ({why})"
        if self._intake.store is None:
            raise LocalFault(f"{part} {begun}, and no quotes are stored to rebuild it from") from why
        try:
            series.rebuild(self._intake.history(series.symbol, now), now)
        except (PanelError, FeedError) as error:
            self._troubles[part] = f"{begun} and cannot be rebuilt ({error}); its feeds abstain: restart the node"
        else:
            self._troubles[part] = f"{begun} and was rebuilt from the stored quotes; report it as a fault"

    def see(self, network: NetworkConfig, slot: int, now: Micros, past: Past) -> Sighting:
        """Observe every feed of `network` from what was polled. `past`: own values of the slots -1 and -2."""
        self.advance(now)
        self._catch_up(now)
        values: list[FeedObservation | None] = []
        abstained: dict[int, tuple[str, str]] = {}
        fused: dict[int, Fused] = {}
        for spec in network.feeds:
            try:
                values.append(with_past(spec, self._point(spec, slot, now, fused), *past))
            except Abstention as reason:
                values.append(None)
                abstained[spec.number] = (reason.cause, str(reason))
        steps = {key: series.step for key, series in self._series.items() if series.step is not None}
        troubles, self._troubles = self._troubles, {}
        return Sighting(tuple(values), abstained, self._newest, steps, troubles, fused, self._state(now))

    def _state(self, now: Micros) -> SourceState:
        down, named = dict(self.down), self._prices.named()
        warnings, risks = complaints(tuple(self._feeds.values()), self._prices.counted, down, named)
        refused = refusals(self._sources)
        return SourceState(down, named, self._prices.ages(now), refused, dict(self.skews()), warnings, risks)

    def _catch_up(self, now: Micros) -> None:
        """Judge a source's late history as a restart would, from the store."""
        if self._intake.store is None:
            return
        try:
            self._prices.catch_up(now, self._intake.known)
        except FeedError as error:
            self._troubles["prices"] = f"a source's history cannot be read back ({error}); it counts from now on"

    @property
    def named(self) -> dict[tuple[str, str], str]:
        """Sources named faulty now: (symbol, source) -> `dead`, `frozen` or `drifting`."""
        return self._prices.named()

    def weights(self, sighting: Sighting) -> dict[str, dict[str, float]]:
        """Weights behind a sighting's forecasts: bundle hash -> horizon in seconds -> mean weight over the levels."""
        found: dict[str, dict[str, float]] = {}
        for key, step in sighting.steps.items():
            for bundle, row in zip(self._series[key].panel.bundles, step.weights.tolist(), strict=True):
                found[bundle.hash] = {str(h): weight for h, weight in zip(step.horizons, row, strict=True)}
        return found

    def skill(self, sighting: Sighting) -> list[SkillRow]:
        """How the forecasts of a sighting's panels turned out so far, where any did."""
        rows = []
        for key, step in sighting.steps.items():
            if step.skill is not None:
                names = ["pooled", *(bundle.hash for bundle in self._series[key].panel.bundles)]
                parts = zip(names, step.skill.skill.tolist(), step.skill.count.tolist(), strict=True)
                rows += [
                    SkillRow(key[0], ",".join(key[1]), name, str(horizon), skill, count)
                    for name, skills, counts in parts
                    for horizon, skill, count in zip(step.horizons, skills, counts, strict=True)
                    if count
                ]
        return rows

    def check(self, network: NetworkConfig) -> None:
        """Raise ConfigError where the settings of a feed contradict the network's spec of it."""
        for number, feed in self._feeds.items():
            spec = network.feed(number)
            if spec is not None:
                self._check_feed(spec, feed)

    def _check_feed(self, spec: FeedSpec, feed: FeedSettings) -> None:
        name = f"feed {feed.number}"
        if any(spec.sources) and source_list_hash(feed.sources) != spec.sources:
            raise ConfigError(f"{name}: sources {', '.join(feed.sources)} are not the network's list; mend them")
        if spec.kind is FeedKind.EVENT and (feed.question is None or spec.outcomes != 2):
            raise ConfigError(f"{name} is an event of {spec.outcomes} outcomes; [feeds.question] asks for 2 outcomes")
        if spec.kind is not FeedKind.EVENT and feed.question is not None:
            raise ConfigError(f"{name} is no event feed on chain; remove its [feeds.question]")
        if spec.kind is FeedKind.FORECAST:
            series = self._series.get((feed.symbol, feed.sources))
            if series is None:
                raise ConfigError(f"{name} is a forecast; give the node [models] with bundles")
            if spec.horizon not in series.panel.horizons:
                answered = ", ".join(str(horizon) for horizon in series.panel.horizons)
                raise ConfigError(f"{name} looks {spec.horizon} s ahead, the bundles only {answered} s; add a bundle")

    def _take(self, quotes: Sequence[Quote]) -> None:
        if not quotes:
            return
        newest = max(quote.known_at for quote in quotes)
        self._newest = newest if self._newest is None else max(self._newest, newest)
        for series in self._series.values():
            series.add(quotes)
        self._prices.add(quotes)

    def _point(self, spec: FeedSpec, slot: int, now: Micros, fused: dict[int, Fused]) -> Point:
        feed = self._feeds.get(spec.number)
        if feed is None:
            raise Abstention("not_configured", f"feed {spec.number} is not in the settings")
        if spec.kind is FeedKind.PRICE:
            fused[feed.number] = price = self._prices.price(feed, now)
            return self._faulted(price_point(spec, feed, price), slot)
        if spec.kind is FeedKind.FORECAST:
            return forecast_point(spec, feed, *self._outlook(feed, feed.symbol, now))
        return self._event_point(feed, now)

    def _event_point(self, feed: FeedSettings, now: Micros) -> Point:
        if feed.question is None:
            raise Abstention("not_configured", f"feed {feed.number} has no question in the settings")
        if now >= feed.question.at_ms * 1000:
            return resolved_point(feed, feed.question, self._prices.settled(feed))
        return event_point(feed, feed.question, *self._outlook(feed, feed.question.symbol, now))

    def _outlook(self, feed: FeedSettings, symbol: str, now: Micros) -> tuple[PanelStep, tuple[str, ...]]:
        """The panel's newest step, if it is fresh, and the sources that are fresh now."""
        series = self._series.get((symbol, feed.sources))
        step = None if series is None else series.step
        if step is None:
            raise Abstention("no_series", f"feed {feed.number}: no closes of {symbol} yet")
        age = (now - step.ts) // SECOND
        if age > feed.max_age_s:
            raise Abstention("stale_series", f"feed {feed.number}: last close is {age} s old, limit {feed.max_age_s}")
        return step, self._prices.price(feed, now).sources

    def _faulted(self, point: Point, slot: int) -> Point:
        rehearsed = self._faults
        if rehearsed is None or not rehearsed.from_slot <= slot < rehearsed.to_slot:
            return point
        return faulty(point, rehearsed.price_multiplier)


def series_of(feed: FeedSettings) -> SeriesKey:
    """Which series a feed's models read."""
    return symbol_of(feed), feed.sources
