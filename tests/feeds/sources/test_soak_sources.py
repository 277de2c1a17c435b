import os
import random

import pytest

from tests.feeds.sources.check_suite import Rig, found_rigs
from tests.feeds.sources.rig_json_api import RIGS, build_spot
from tests.feeds.sources.soak import MAX_GROWTH, growth, soak

SECONDS = float(os.environ.get("DODONA_SOAK_SECONDS", "3600"))


class Hoarder:
    """A sound source that keeps a hundred bytes of every request."""

    def __init__(self, stage):
        self.inner, self.kept = build_spot(stage), []
        self.name, self.symbols, self.gate, self.close = (
            self.inner.name, self.inner.symbols, self.inner.gate, self.inner.close
        )  # fmt: skip

    async def fetch(self):
        for _ in self.symbols:  # one request each
            self.kept.append(os.urandom(100 - 33))  # 33 bytes are the object's head
        return await self.inner.fetch()


@pytest.mark.soak
async def test_every_source__hour_of_hostility__flat_memory_no_unhandled_exception_all_recover():
    rigs = [rig for rig in found_rigs() if rig.honest is not None]
    outcome = await soak(rigs, SECONDS)
    print(f"\n{outcome.requests} requests, {outcome.growth:.1f} bytes a request")
    for name, record in outcome.sources.items():
        print(f"{name}: {record}")
    assert outcome.unhandled == []
    assert outcome.growth < MAX_GROWTH
    assert [name for name, record in outcome.sources.items() if not (record.recoveries and record.late)] == []


@pytest.mark.soak
async def test_judge__source_that_keeps_a_hundred_bytes_a_request__caught():
    outcome = await soak([Rig("hoarder", Hoarder, RIGS[1].prices, RIGS[1].honest)], min(SECONDS, 60.0))
    assert outcome.growth > MAX_GROWTH


async def test_soak__moment_of_it__sources_fail_and_recover():
    def recovered(outcome):
        return all(record.recoveries > 1 for record in outcome.sources.values())

    rigs = [rig for rig in found_rigs() if rig.name in ("json-api-one-each", "websocket")]
    outcome = await soak(rigs, 120.0, enough=recovered)
    assert outcome.unhandled == []
    assert recovered(outcome), outcome.sources


@pytest.mark.parametrize(("leak", "caught"), [(0, False), (20, False), (100, True), (1000, True)])
def test_growth__noisy_memory__leak_of_a_hundred_bytes_a_request_shows(leak, caught):
    rng = random.Random(5)
    samples = [(500 * n, 30_000_000 + leak * 500 * n + rng.randrange(300_000)) for n in range(40)]
    assert (growth(samples) > MAX_GROWTH) is caught
    with pytest.raises(AssertionError, match="too few"):
        growth(samples[:3])
