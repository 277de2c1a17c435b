import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.playback import Playback, play
from feeds.sources.replay import ReplaySource
from feeds.sources.source import BadRule, MissingData, Source, SourceClosed
from feeds.types import SECOND, Micros

T0 = 1_678_500_000 * SECOND
NOW = 1_900_000_000 * SECOND
MINUTE = 60 * SECOND


def source(closes, name="s", every=MINUTE):
    ts = T0 + every * np.arange(len(closes), dtype=np.int64)
    return ReplaySource(name, {"A/B": pd.DataFrame({"ts": ts, "close": np.array(closes, float), "volume": 1.0})}, 0)


async def test_playback__speed_60__a_minute_of_the_record_each_second():
    (played,) = play([source([1, 2, 3, 4])], speed=60)
    assert isinstance(played, Source)
    assert [(q.price, q.known_at) for q in await played.poll(Micros(NOW))] == [(1.0, NOW)]
    assert await played.poll(Micros(NOW + SECOND // 2)) == []
    assert [(q.price, q.ts) for q in await played.poll(Micros(NOW + 2 * SECOND))] == [
        (2.0, NOW + SECOND), (3.0, NOW + 2 * SECOND)
    ]  # fmt: skip
    await played.close()
    with pytest.raises(SourceClosed):
        await played.poll(Micros(NOW))


async def test_playback__as_fast_as_asked__one_moment_of_all_sources_each_time():
    fast, slow = play([source([1, 2, 3, 4], "fast"), source([10, 20], "slow", 3 * MINUTE)], speed=None)
    seen = []
    for second in range(5):
        now = Micros(NOW + second * SECOND)
        quotes = [*await fast.poll(now), *await slow.poll(now)]
        assert all(q.known_at == now for q in quotes)
        seen.append([q.price for q in quotes])
    assert seen == [[1.0, 10.0], [2.0], [3.0], [4.0, 20.0], []]


@given(
    st.lists(st.integers(-100, 4000), min_size=1, max_size=30),
    st.sampled_from([0.5, 1.0, 60.0, 1e6, None]),
    st.integers(1, 20),
)
async def test_playback__any_polls__each_row_once_in_order_never_from_the_future(moves, speed, count):
    (played,) = play([source(range(1, count + 1))], speed)
    now, seen = NOW, []
    for move in moves:
        now += move * SECOND
        quotes = await played.poll(Micros(now))
        assert all(q.ts <= q.known_at <= now for q in quotes)
        seen += quotes
    assert [q.price for q in seen] == list(range(1, len(seen) + 1))


def test_playback__bad_speed_or_nothing_to_play__raises():
    for speed in (0.0, -1.0, 1e9, float("nan")):
        with pytest.raises(BadRule, match="speed"):
            Playback(Micros(T0), speed)
    with pytest.raises(MissingData, match="any row to play"):
        play([])
