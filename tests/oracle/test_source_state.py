"""What the sources' state means: a warning, or a risk that makes the node unhealthy; and the metrics of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.source import SourceUnavailable
from feeds.types import SECOND, Depth, Micros, Quote
from oracle.config import FeedSettings
from oracle.consensus.network import FeedKind
from oracle.logbook import Logbook
from oracle.service.metrics import Metrics
from oracle.source_state import SourceState, complaints
from oracle.watch import Watch
from tests.strategies.networks import network, spec

MINUTE = 60 * SECOND
START = Micros(1_678_500_000 * SECOND // MINUTE * MINUTE)
NAMES = ("a", "b", "c")


class Told:
    """A source that says 100 once a minute until it falls silent or fails, and knows its order book."""

    symbols = ("BTC/USD",)

    def __init__(self, name: str, until: int = 99, cost: float = 1e6, fails: bool = False) -> None:
        self.name, self.until, self.cost, self.fails = name, until, cost, fails
        self.refused = {"price": 3} if name == "a" else {}

    async def poll(self, now: Micros) -> list[Quote]:
        if self.fails:
            raise SourceUnavailable(self.name, "timeout")
        minute = (now - START) // MINUTE
        price = 100.0 + 0.01 * (minute % 3)
        return [Quote(self.name, "BTC/USD", price, 1.0, now, now)] if minute <= self.until else []

    def depths(self, now: Micros) -> list[Depth]:
        return [Depth(self.name, "BTC/USD", 100.0, self.cost, self.cost, now, now)]

    async def close(self) -> None:
        pass


async def state_after(minutes: int, *sources: Told, **settings: object) -> tuple[SourceState, Watch]:
    feed = FeedSettings(0, "BTC/USD", tuple(source.name for source in sources), max_age_s=120, **settings)  # type: ignore[arg-type]
    watch = Watch([feed], sources, {})
    watch.skews = lambda: {"api.example": -2.5}
    for minute in range(minutes):
        now = Micros(START + minute * MINUTE)
        await watch.poll(now)
        sighting = watch.see(network(spec(0, FeedKind.PRICE)), minute, now, ({}, {}))
    return sighting.sources, watch


async def test_state__one_of_three_dead__is_a_warning_and_shows_in_every_metric() -> None:
    state, _ = await state_after(40, Told("a"), Told("b"), Told("c", until=20))
    assert state.named == {("BTC/USD", "c"): "dead"} and state.risks == ()
    assert state.warnings == ("source c is dead in BTC/USD: see whether it still quotes, and its settings",)
    metrics = Metrics()
    book = Logbook(metrics)
    book.sources(state)
    book.sources(state)
    text = metrics.expose()
    assert 'dodona_source_named{source="c",symbol="BTC/USD",kind="dead"} 1\n' in text
    assert 'dodona_source_age_seconds{source="c",symbol="BTC/USD"} 1140\n' in text
    assert 'dodona_source_age_seconds{source="a",symbol="BTC/USD"} 0\n' in text
    assert 'dodona_source_refused_total{source="a",field="price"} 3\n' in text
    assert 'dodona_host_clock_skew_seconds{host="api.example"} -2.5\n' in text
    assert book.reasons(0) == () and book.warnings == state.warnings and book.named == {"c BTC/USD": "dead"}


async def test_state__name_withdrawn__leaves_the_metrics() -> None:
    metrics = Metrics()
    book = Logbook(metrics)
    book.sources(SourceState(named={("BTC/USD", "c"): "frozen"}, risks=("feed 0: 1 of 2",), warnings=("x",)))
    assert book.reasons(0) == ("sources: feed 0: 1 of 2",)
    book.sources(SourceState())
    assert 'kind="frozen"' not in metrics.expose() and not book.reasons(0) and not book.warnings and not book.named


async def test_state__too_few_left__is_a_risk_that_names_feed_and_sources() -> None:
    for sources in ((Told("a"), Told("b"), Told("c", fails=True)), (Told("a"), Told("b"), Told("c", until=20))):
        state, _ = await state_after(40, *sources, min_sources=2)
        assert state.risks == ("feed 0: 2 of 3 sources count, at least 2 are needed; mend c or add a source",)


async def test_state__source_down__is_told_with_its_reason() -> None:
    state, _ = await state_after(3, Told("a"), Told("b"), Told("c", fails=True))
    assert state.down.keys() == {"c"} and state.risks == ()
    assert state.warnings[0].startswith("source c is unavailable (timeout)")


async def test_state__everything_well__says_nothing() -> None:
    state, _ = await state_after(40, Told("a"), min_sources=1)
    assert state.warnings == () and state.risks == ()


async def test_depth__polled_with_the_quotes__thin_source_does_not_count() -> None:
    _, watch = await state_after(5, Told("a"), Told("b"), Told("c", cost=10.0), min_depth=1000.0)
    now = Micros(START + 5 * MINUTE)
    await watch.poll(now)
    sighting = watch.see(network(spec(0, FeedKind.PRICE)), 5, now, ({}, {}))
    assert sighting.fused[0].sources == ("a", "b")
    assert dict(sighting.fused[0].set_aside)["c"] == "thin: 10 would move it by 1 %, limit 1000"


kinds = st.sampled_from(["dead", "frozen", "drifting"])


@given(
    st.sets(st.sampled_from(NAMES)),
    st.dictionaries(st.tuples(st.just("BTC/USD"), st.sampled_from(NAMES)), kinds),
    st.integers(1, 3),
    st.none() | st.integers(0, 3),
)
def test_complaints__any_state__a_risk_only_where_something_is_wrong_and_little_is_left(
    down: set[str], named: dict[tuple[str, str], str], least: int, counted: int | None
) -> None:
    feed = FeedSettings(7, "BTC/USD", NAMES, min_sources=least)
    told = {} if counted is None else {7: counted}
    warnings, risks = complaints([feed], told, {name: f"source {name} is off" for name in down}, named)
    lost = down | {name for _, name in named}
    left = min(3 - len(lost), 3 if counted is None else counted)
    assert bool(risks) is (bool(lost) and left <= least)
    assert len(warnings) == len(down) + len(named)
    assert all(name in risk for risk in risks for name in lost)


@pytest.mark.parametrize("symbol", ["ETH/USD", "USDT/USD"])
def test_complaints__faulty_in_another_symbol__is_no_risk(symbol: str) -> None:
    feed = FeedSettings(0, "BTC/USD", ("a",), min_sources=1)
    assert complaints([feed], {0: 1}, {}, {(symbol, "a"): "dead"})[1] == ()
