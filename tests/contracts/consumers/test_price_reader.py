"""The example consumer: its Vyper source compiles and checks; the Solidity one asks for the same functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contracts.artifacts import artifact

EXAMPLES = Path(__file__).parents[3] / "examples" / "consumer"
PRICE = 118_000_000


@dataclass
class Scene:
    bench: Any
    price: Any
    forecast: Any
    reader: Any


@pytest.fixture(scope="module")
def standing_scene(module_bench) -> Scene:
    bench = module_bench
    price, forecast = bench.price_feed(), bench.forecast_feed()
    bench.say(price, PRICE)
    bench.say(forecast, 0)
    bench.send(forecast.functions.spread(list(range(-40, 41, 10))))
    return Scene(bench, price, forecast, bench.deploy("PriceReader", price.address, forecast.address, 3_700))


@pytest.fixture
def scene(standing_scene, bench) -> Scene:
    return standing_scene


def test_price_and_range__good_feeds__are_answered(scene):
    assert scene.reader.functions.price().call() == [PRICE, 7]
    assert scene.reader.functions.range90().call() == [-30, 30]


@pytest.mark.parametrize(("flags", "reason"), [(4, "reader: flagged price"), (8, "reader: flagged price")])
def test_price__flagged__reverts(scene, flags, reason):
    scene.bench.send(scene.price.functions.mark(False, flags))
    scene.bench.reverts(scene.reader.functions.price(), reason)


@pytest.mark.parametrize("answer", [0, -PRICE])
def test_price__not_positive__reverts(scene, answer):
    scene.bench.say(scene.price, answer, 2)
    scene.bench.reverts(scene.reader.functions.price(), "reader: price not positive")


@pytest.mark.parametrize(("name", "feed"), [("price", "price"), ("range90", "forecast")])
def test_read__invalid_or_stale__reverts(scene, name, feed):
    call = getattr(scene.reader.functions, name)()
    scene.bench.send(getattr(scene, feed).functions.mark(True, 0))
    scene.bench.reverts(call, "reader: invalid")
    scene.bench.send(getattr(scene, feed).functions.mark(False, 0))
    scene.bench.pass_time(3_800)
    scene.bench.reverts(call, "reader: stale")


@pytest.mark.parametrize("suffix", ["vy", "sol"])
def test_source__each_language__short_and_asks_only_for_what_the_feed_has(suffix):
    source = (EXAMPLES / f"PriceReader.{suffix}").read_text(encoding="utf-8")
    assert source.count("\n") < 80
    head = source[source.index("\ninterface ") + 1 :]
    block = head[: head.index("\n\n\n" if suffix == "vy" else "\n}")]
    asked = set(re.findall(r"(?:def|function) (\w+)\(\)", block))
    offered = {entry["name"] for entry in artifact("Feed").abi if entry["type"] == "function" and not entry["inputs"]}
    assert asked == {"latestRoundData", "invalid", "flags", "confidence", "latestVector"} and asked <= offered
