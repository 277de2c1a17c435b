"""What docs/feeds.md tells operators to write is taken as written: settings of every kind, and a Chainlink job."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from oracle.clock import SteppedClock
from oracle.config import load, to_toml
from oracle.logbook import Logbook
from oracle.service.external_adapter import ExternalAdapter
from oracle.service.metrics import Metrics
from oracle.source_settings import KINDS, LiveSettings
from tests.strategies.settings import MINIMAL
from tests.strategies.sightings import FEEDS, NOW_MS, seen

PAGE = Path(__file__).resolve().parents[2] / "docs" / "feeds.md"
BLOCKS = re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
NODE = MINIMAL + 'adapter_token = "env:BRIDGE_TOKEN"\n'


def test_page__settings_of_every_kind__load_and_are_written_back_equal(tmp_path: Path) -> None:
    (block,) = [block for block in BLOCKS if block.count("[[sources]]") > len(KINDS)]
    path = tmp_path / "node.toml"
    path.write_text(NODE + block, encoding="utf-8")
    config = load(path)
    kinds = {source.kind if isinstance(source, LiveSettings) else "replay" for source in config.sources}
    assert kinds == {"replay", *KINDS}
    path.write_text(to_toml(config), encoding="utf-8")
    assert load(path) == config


@pytest.mark.parametrize("block", [block for block in BLOCKS if "[[sources]]" in block], ids=lambda text: text[:40])
def test_page__every_example_of_sources__loads(tmp_path: Path, block: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(NODE + block, encoding="utf-8")
    assert load(path).sources


def task(pipeline: str, name: str) -> dict[str, str]:
    """The attributes of one task of a job's `observationSource`."""
    (inside,) = re.findall(rf"(?m)^\s*{name}\s+\[(.*)\]$", pipeline)
    pairs = re.findall(r'(\w+)=("(?:\\.|[^"])*"|\S+)', inside)
    return {key: json.loads(value) if value.startswith('"') else value for key, value in pairs}


async def test_page__job__gets_the_price_through_bridge_and_jsonparse() -> None:
    (job,) = [tomllib.loads(block) for block in BLOCKS if "observationSource" in block]
    pipeline = job["observationSource"]
    bridge, parse, scale = (task(pipeline, name) for name in ("dodona", "price", "answer"))
    assert (bridge["type"], parse["type"], scale["type"]) == ("bridge", "jsonparse", "multiply")
    request = json.loads(bridge["requestData"].replace("$(jobSpec.externalJobID)", '"b8004e29-89e2"'))
    book, app = Logbook(Metrics()), web.Application()
    book.seen = seen()
    ExternalAdapter(book, FEEDS, SteppedClock(NOW_MS)).add_route(app)
    async with TestClient(TestServer(app)) as client, client.post("/adapter", json=request) as got:
        found: Any = await got.json()
    assert got.status == 200 and found["jobRunID"] == "b8004e29-89e2"
    for part in parse["path"].split(","):
        found = found[part]
    assert round(found * int(scale["times"])) == 3_700_025_000_000
