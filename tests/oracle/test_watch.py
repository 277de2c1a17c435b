from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from feeds.sources.replay import ReplaySource
from feeds.sources.source import FeedError, Source, SourceUnavailable
from feeds.types import SECOND, Micros, Quote
from models.bundle import BundleMissing, save
from oracle.config import FaultSettings, FeedSettings, ModelSettings, QuestionSettings
from oracle.consensus.network import FeedKind, FeedSpec
from oracle.errors import ConfigError
from oracle.journal import OwnValue
from oracle.logbook import Logbook
from oracle.observe import source_list_hash
from oracle.service.metrics import Metrics
from oracle.source_settings import ReplaySettings
from oracle.sources import load_bundles, open_panel, open_sources
from oracle.watch import Watch, series_of
from tests.strategies.bundles import forest, random_walk
from tests.strategies.networks import HOUR, NAMES, START, at, bars, network, spec

ABSENT = FaultSettings(10, 0, 1)


PRICE, HOURLY, EVENT = spec(0, FeedKind.PRICE), spec(1, FeedKind.FORECAST), spec(4, FeedKind.EVENT)
QUESTION = QuestionSettings("EUR/USD", "1.2", (START + 150 * HOUR) * 1000)
FEEDS = (
    FeedSettings(0, "EUR/USD", NAMES, 2 * HOUR),
    FeedSettings(1, "EUR/USD", NAMES, 2 * HOUR),
    FeedSettings(4, "event", NAMES, 2 * HOUR, question=QUESTION),
)


def sources() -> list[Source]:
    return [ReplaySource(n, {"EUR/USD": bars(o)}, HOUR * SECOND) for n, o in (("ask", 1e-4), ("mid", 0.0))]


@pytest.fixture
def models(tmp_path: Path) -> ModelSettings:
    for name, bundle in (("walk", random_walk(1)), ("forest", forest(2))):
        save(bundle, tmp_path / "bundles" / name)
    return ModelSettings(tmp_path / "bundles", width_s=HOUR)


def watch(models: ModelSettings, **changes: Any) -> Watch:
    panel = open_panel(models, load_bundles(models), "EUR/USD", 1.0)
    found = Watch(FEEDS, sources(), {("EUR/USD", NAMES): panel}, changes.get("faults"))
    found.check(network(PRICE, HOURLY, EVENT))
    return found


async def seen(node: Watch, hour: int, *feeds: FeedSpec) -> tuple[Any, ...]:
    await node.poll(at(hour))
    return node.see(network(*feeds), hour, at(hour), ({}, {})).values


async def test_see__all_kinds__gives_integers_in_table_order(models: ModelSettings) -> None:
    node = watch(models)
    price, hourly, event = await seen(node, 120, PRICE, HOURLY, EVENT)
    assert price.value == round((1.2 + 5e-5 + 0.002 * math.sin(119 / 5.0)) * 10**8)
    assert (price.sources, len(hourly.components), hourly.value) == (0b11, 9, hourly.components[4])
    assert sum(event.components) == 10_000 and not event.resolved
    weights = node.weights(node.see(network(HOURLY), 120, at(120), ({}, {})))
    assert len(weights) == 2 and sum(row["3600"] for row in weights.values()) == pytest.approx(1.0)


async def test_skill__matured_forecasts__are_in_the_metrics(models: ModelSettings) -> None:
    node, metrics = watch(models), Metrics()
    await node.poll(at(150))
    sighting = node.see(network(HOURLY), 150, at(150), ({}, {}))
    rows = node.skill(sighting)
    assert {(row.bundle, row.horizon) for row in rows} >= {("pooled", "3600"), ("pooled", "86400")}
    walk = next(row for row in rows if row.horizon == "3600" and row.skill == 0.0)
    assert walk.count > 20 and len(rows) == 6
    Logbook(metrics).skill(rows)
    text = f'symbol="EUR/USD",sources="ask,mid",bundle="{walk.bundle[:10]}",horizon="3600"'
    assert f"dodona_model_skill{{{text}}} 0\n" in metrics.expose()
    assert f"dodona_model_targets{{{text}}} {walk.count}\n" in metrics.expose()


async def test_see__node_restarted_later__says_the_same_as_one_that_ran_through(models: ModelSettings) -> None:
    running, feeds = watch(models), (PRICE, HOURLY, EVENT)
    for hour in range(110, 131):
        last = await seen(running, hour, *feeds)
    assert await seen(watch(models), 130, *feeds) == last


async def test_see__question_time_passed__is_resolved_by_the_price_then_known(models: ModelSettings) -> None:
    price = 1.2 + 5e-5 + 0.002 * math.sin(149 / 5.0)
    for hour in (150, 300):
        (event,) = await seen(watch(models), hour, EVENT)
        assert event.resolved and event.value == int(price >= 1.2)


async def test_see__stale_quotes__abstains_on_every_feed(models: ModelSettings) -> None:
    node = watch(models)
    await node.poll(at(450))
    sighting = node.see(network(PRICE, HOURLY, replace(EVENT, outcomes=2)), 450, at(450), ({}, {}))
    assert sighting.values[:2] == (None, None)
    assert {feed: cause for feed, (cause, _) in sighting.abstained.items()} == {0: "min_sources", 1: "stale_series"}


async def test_see__feed_not_in_the_settings__abstains(models: ModelSettings) -> None:
    node = watch(models)
    await node.poll(at(120))
    sighting = node.see(network(PRICE, spec(5, FeedKind.PRICE)), 120, at(120), ({}, {}))
    assert sighting.values[0] is not None and sighting.values[1] is None
    assert sighting.abstained[5][0] == "not_configured"


async def test_see__past_values__are_in_the_observation(models: ModelSettings) -> None:
    node = watch(models)
    await node.poll(at(120))
    past = ({0: OwnValue(11, 0)}, {0: OwnValue(12, 0)})
    (price,) = node.see(network(PRICE), 120, at(120), past).values
    assert price is not None and price.previous == (11, 12)


async def test_see__rehearsed_fault__only_in_its_slots(models: ModelSettings) -> None:
    node, honest = watch(models, faults=FaultSettings(10, 121, 122)), watch(models)
    for hour, factor in ((120, 1), (121, 10), (122, 1)):
        (bad,), (good,) = await seen(node, hour, PRICE), await seen(honest, hour, PRICE)
        assert bad.value == factor * good.value


class Broken:
    """A source that is down."""

    name, symbols = "mid", ("EUR/USD",)

    async def poll(self, now: Micros) -> list[Quote]:
        raise SourceUnavailable("mid", "timeout")

    async def close(self) -> None:
        pass


async def test_poll__one_source_down__the_other_carries_on_and_it_is_named() -> None:
    node = Watch(FEEDS[:1], [sources()[0], Broken()], {})
    (price,) = await seen(node, 120, PRICE)
    assert price.sources == 0b01 and "mid is unavailable" in node.down["mid"]


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        (spec(0, FeedKind.PRICE, sources=source_list_hash(("mid", "ask"))), "not the network's list"),
        (spec(1, FeedKind.FORECAST, horizon=60), "looks 60 s ahead"),
        (spec(4, FeedKind.EVENT, outcomes=3), "3 outcomes"),
        (spec(4, FeedKind.PRICE), "no event feed on chain"),
        (spec(0, FeedKind.EVENT), r"\[feeds.question\]"),
    ],
)
def test_check__settings_against_the_network__are_refused(models: ModelSettings, feed: FeedSpec, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        watch(models).check(network(feed))


def test_check__forecast_without_models__is_refused() -> None:
    with pytest.raises(ConfigError, match=r"give the node \[models\]"):
        Watch(FEEDS, sources(), {}).check(network(HOURLY))


def test_load_bundles__pin_without_bundle_or_empty_folder__is_refused(models: ModelSettings, tmp_path: Path) -> None:
    hashes = [bundle.hash for bundle in load_bundles(models)]
    assert [b.hash for b in load_bundles(replace(models, pinned=(hashes[1][2:],)))] == [hashes[1]]
    with pytest.raises(ConfigError, match="no bundle hashes to the pinned"):
        load_bundles(replace(models, pinned=("00" * 32,)))
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        with pytest.raises(BundleMissing):
            load_bundles(replace(models, bundles_dir=tmp_path / folder))


def test_open_panel__no_bundle_for_the_symbol__is_refused(models: ModelSettings) -> None:
    with pytest.raises(ConfigError, match="no bundle for BTC/USD"):
        open_panel(models, load_bundles(models), "BTC/USD", 1.0)


async def test_open_sources__recorded_file__is_read_by_source_and_symbol(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    rows = [f"{START + h * HOUR},{s},EUR/USD,1,1,1,{p},1" for h in range(3) for s, p in (("a", 1.1), ("b", 1.2))]
    path.write_text("ts,source,symbol,open,high,low,close,volume\n" + "\n".join(rows))
    chosen = ReplaySettings("mine", f"{path}#b", "EUR/USD", HOUR)
    (source,) = open_sources([chosen])
    assert [(q.source, q.price) for q in await source.poll(at(9))] == [("mine", 1.2)] * 3
    for wrong in (replace(chosen, data=str(path)), replace(chosen, symbol="A/B"), replace(chosen, data="eurusd:bid")):
        with pytest.raises(ConfigError, match="source mine"):
            open_sources([wrong])
    with pytest.raises(FeedError):
        open_sources([replace(chosen, data=str(tmp_path / "none.csv"))])


def test_series_of__event__reads_the_questions_symbol() -> None:
    assert [series_of(feed) for feed in FEEDS] == [("EUR/USD", NAMES)] * 3


def stuck(count: int, flat_from: int) -> pd.DataFrame:
    """Bars of a minute; from bar `flat_from` on one price at zero volume."""
    close = [1.2 + 1e-4 * min(bar, flat_from) for bar in range(count)]
    volume = [0.0 if bar >= flat_from else 1.0 for bar in range(count)]
    return pd.DataFrame({"ts": [(START + bar * 60) * SECOND for bar in range(count)], "close": close, "volume": volume})


@pytest.mark.parametrize("minute", [40, 41])
async def test_see__stuck_source_that_also_missed_a_bar__does_not_pass_as_alive(minute: int) -> None:
    feed = FeedSettings(0, "EUR/USD", ("mid",), max_age_s=120)
    node = Watch([feed], [ReplaySource("mid", {"EUR/USD": stuck(39, 20)}, 60 * SECOND)], {})
    for now in range(25, minute + 1):
        await node.poll(at(0) + now * 60 * SECOND)  # type: ignore[arg-type]
    sighting = node.see(network(PRICE), 0, Micros(at(0) + minute * 60 * SECOND), ({}, {}))
    assert sighting.values == (None,) and sighting.abstained[0][0] == "min_sources"


async def test_see__question_on_a_stuck_source_that_missed_bars__is_not_resolved_by_it() -> None:
    asked = QuestionSettings("EUR/USD", "1.2", (START + 41 * 60) * 1000)
    feed = FeedSettings(4, "event", ("mid",), 120, question=asked)
    node = Watch([feed], [ReplaySource("mid", {"EUR/USD": stuck(39, 20)}, 60 * SECOND)], {})
    await node.poll(at(1))
    sighting = node.see(network(EVENT), 0, at(1), ({}, {}))
    assert sighting.values == (None,) and sighting.abstained[4][0] == "min_sources"
