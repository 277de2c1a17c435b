"""A stage's time, and the one way out on it."""

import pytest

from feeds.sources.http import Http
from tests.feeds.sources.check_suite import LIMITS, StageTime


@pytest.fixture
def time():
    return StageTime()


@pytest.fixture
async def http(time):
    found = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
    yield found
    await found.close()
