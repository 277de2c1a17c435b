import asyncio
import gc
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.live import Backoff, Live, system_clock
from feeds.sources.source import (
    BadRule,
    QuoteGate,
    RateLimited,
    Source,
    SourceClosed,
    SourceDefect,
    SourceUnavailable,
)
from feeds.types import SECOND, Depth, Micros
from tests.feeds.sources.check_suite import StageTime, at_once


class Scripted:
    """A fetcher that does what its script says; the script over, it waits for ever."""

    name, symbols = "s", ("A/B",)

    def __init__(self, time, *script):
        self.time, self.script, self.gate = time, list(script), QuoteGate("s")
        self.fetches = self.closed = 0

    async def fetch(self):
        self.fetches += 1
        if not self.script:
            await asyncio.Event().wait()
        step = self.script.pop(0)
        if isinstance(step, BaseException):
            raise step
        now = self.time.now
        return [self.gate.admit("A/B", price, None, now, now) for price in step]

    async def close(self):
        self.closed += 1


class Streamed(Scripted):
    """The same as a stream; the text "end" ends a connection."""

    async def stream(self):
        while True:
            if self.script and self.script[0] == "end":
                self.script.pop(0)
                return
            yield await self.fetch()


async def settled():
    """Let every task run as far as it can."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
def time():
    return StageTime()


@pytest.fixture
async def live(time):
    """Builds Live sources on the stage's time, closed afterwards; `rests` are the pauses they took."""
    built = []

    def build(origin, every=10.0, **more):
        found = Live(origin, every, clock=time.clock, pause=time.pause, draw=lambda: 0.0, **more)
        built.append(found)
        return found

    yield build
    for source in built:
        await source.close()
    assert len(asyncio.all_tasks()) == 1


@pytest.fixture
def rests(time, monkeypatch):
    taken, pause = [], time.pause

    async def counted(seconds):
        taken.append(seconds)
        await pause(seconds)

    monkeypatch.setattr(time, "pause", counted)
    return taken


async def test_poll__quotes_arrived__once_each_in_order_at_the_pace_of_every(live, time, rests):
    source = live(Scripted(time, [1.0], [2.0, 3.0]))
    assert isinstance(source, Source)
    assert at_once(source.poll(time.now)) == []
    await settled()
    assert [q.price for q in at_once(source.poll(time.now))] == [1.0, 2.0, 3.0]
    assert at_once(source.poll(time.now)) == []
    assert rests == [10.0, 10.0]


async def test_poll__quote_known_later_than_asked_about__kept_until_then(live, time):
    source = live(Scripted(time, [1.0]))
    at_once(source.poll(time.now))
    await settled()
    known_at = time.now - 10 * SECOND
    assert at_once(source.poll(Micros(known_at - 1))) == []
    assert [q.known_at for q in at_once(source.poll(Micros(known_at)))] == [known_at]


async def test_failing__poll_says_so_until_it_recovers_with_growing_pauses(live, time, rests):
    down = [SourceUnavailable("s", f"down {n}") for n in range(4)]
    source = live(Scripted(time, *down, [5.0]), every=1.0, backoff=Backoff(first=1, factor=2, most=5))
    at_once(source.poll(time.now))
    while source.failures < 4:
        await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="down 3") as caught:
            at_once(source.poll(time.now))
    assert caught.traceback[-1].name == "poll" and len(caught.traceback) <= 3, "raised again, it must not grow"
    await settled()
    assert [q.price for q in at_once(source.poll(time.now))] == [5.0]
    assert source.fault is None and source.failures == 0
    assert rests == [1, 2, 4, 5, 1]


async def test_failing__rate_limited__waits_as_long_as_it_was_asked(live, time, rests):
    asked = RateLimited("s", Micros(time.now + 300 * SECOND), "HTTP status 429")
    for_ever = RateLimited("s", Micros(time.now + 10**15), "HTTP status 429")
    source = live(Scripted(time, asked, for_ever, [1.0]), every=1.0)
    at_once(source.poll(time.now))
    await settled()
    assert rests == [300, 3600, 1.0]


async def test_hanging_fetch__cut_off_and_asked_again(live, time):
    origin = Scripted(time)
    source = live(origin, every=0.001, cutoff=0.01, backoff=Backoff(first=0.001, most=0.001))
    at_once(source.poll(time.now))
    while origin.fetches < 3:
        await asyncio.sleep(0.001)
    with pytest.raises(SourceUnavailable, match=r"no answer within 0\.01 s"):
        at_once(source.poll(time.now))


@pytest.mark.parametrize(
    "bug", [KeyError("result"), AttributeError("x"), asyncio.CancelledError(), ZeroDivisionError()]
)
@pytest.mark.parametrize("kind", [Scripted, Streamed])
async def test_mistake_in_an_origin__loud_at_the_next_poll_and_started_again_after_a_rest(live, time, bug, kind):
    origin = kind(time, [1.0], bug, [2.0])
    source = live(origin, backoff=Backoff(first=8.0))
    at_once(source.poll(time.now))
    await settled()
    assert [q.price for q in at_once(source.poll(time.now))] == [1.0]
    for _ in range(2):
        with pytest.raises(SourceDefect, match="report it") as caught:
            at_once(source.poll(time.now))
    if not isinstance(bug, asyncio.CancelledError):
        assert caught.value.__cause__ is bug
        assert f"{type(bug).__name__} in fetch" in str(caught.value)
    assert (source.defects, origin.fetches) == (1, 2)
    time.advance(9)
    with pytest.raises(SourceDefect):
        at_once(source.poll(time.now))
    await settled()
    assert [q.price for q in at_once(source.poll(time.now))] == [2.0]
    assert source.fault is None


async def test_mistake__clock_set_back_during_the_rest__started_again_at_once(live, time):
    source = live(Scripted(time, KeyError("x"), [2.0]))
    at_once(source.poll(time.now))
    await settled()
    with pytest.raises(SourceDefect):
        at_once(source.poll(time.now))
    with pytest.raises(SourceDefect):
        at_once(source.poll(Micros(time.now - 86_400 * SECOND)))
    await settled()
    assert [q.price for q in at_once(source.poll(time.now))] == [2.0]


async def test_mistake__in_a_group_of_tasks__named_by_its_own_type(live, time):
    source = live(Scripted(time, ExceptionGroup("g", [ExceptionGroup("h", [IndexError("i")])])))
    at_once(source.poll(time.now))
    await settled()
    with pytest.raises(SourceDefect, match="IndexError"):
        at_once(source.poll(time.now))


async def test_overflow__oldest_dropped_and_counted(live, time):
    source = live(Scripted(time, [1.0, 2.0], [3.0, 4.0, 5.0]), buffer=3)
    at_once(source.poll(time.now))
    await settled()
    assert [q.price for q in at_once(source.poll(time.now))] == [3.0, 4.0, 5.0]
    assert source.refused == {"overflow": 2}


async def test_close__at_any_moment__no_task_left_and_final(live, time):
    for steps in range(12):
        origin = Scripted(time, [1.0], SourceUnavailable("s", "down"), [2.0])
        source = live(origin)
        at_once(source.poll(time.now))
        for _ in range(steps):
            await asyncio.sleep(0)
        await asyncio.gather(source.close(), source.close())
        assert origin.closed == 1
        with pytest.raises(SourceClosed):
            at_once(source.poll(time.now))
    assert len(asyncio.all_tasks()) == 1


async def test_close__before_any_poll_or_after_a_mistake__quiet(live, time):
    unused, broken = live(Scripted(time)), live(Scripted(time, KeyError("x")))
    at_once(broken.poll(time.now))
    await settled()
    for source in (unused, broken):
        await source.close()
    gc.collect()  # an exception that nobody fetched would be complained about here


async def test_close__cancelled_while_the_origin_closes__still_closed(live, time):
    origin = Scripted(time, [1.0])
    source = live(origin)
    at_once(source.poll(time.now))
    await settled()
    task = asyncio.ensure_future(source.close())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await settled()
    assert origin.closed == 1
    assert len(asyncio.all_tasks()) == 1


async def test_stream__lost_or_ended__connected_again_and_closed_each_time(live, time, rests):
    origin = Streamed(time, [1.0], [2.0], "end", SourceUnavailable("s", "lost"), [3.0], [])
    source = live(origin, every=1.0)
    at_once(source.poll(time.now))
    await settled()
    assert [q.price for q in at_once(source.poll(time.now))] == [1.0, 2.0, 3.0]
    assert rests == [1.0, 2.0]
    assert source.fault is None


async def test_stream__ended__poll_names_it(live, time):
    source = live(Streamed(time, "end"), backoff=Backoff(first=5))
    at_once(source.poll(time.now))
    while not source.failures:
        await asyncio.sleep(0)
    with pytest.raises(SourceUnavailable, match="the stream ended"):
        at_once(source.poll(time.now))


async def test_depths__origin_that_knows_books__passed_on(live, time):
    plain, deep = Scripted(time), Scripted(time)
    depth = Depth("s", "A/B", 100.0, 1.0, 2.0, time.now, time.now)
    deep.depths = lambda now: [depth]
    assert live(plain).depths(time.now) == []
    assert live(deep).depths(time.now) == [depth]


@given(
    st.floats(0.001, 3600), st.floats(1, 10), st.floats(0, 1), st.integers(0, 10**9), st.floats(0, 1, exclude_max=True)
)
def test_backoff__any_failures__between_its_share_and_the_most(first, factor, jitter, failures, draw):
    backoff = Backoff(first, factor, 3600.0, jitter)
    delay = backoff.delay(failures, draw)
    assert delay == 0 if failures == 0 else first * (1 - jitter) * 0.999 <= delay <= 3600
    assert backoff.delay(failures + 1, draw) >= delay


@pytest.mark.parametrize(
    ("field", "value"), [("first", 0), ("factor", 0.5), ("most", 0.5), ("jitter", 1.5), ("first", math.nan)]
)
def test_backoff__outside_range__refused_by_name(field, value):
    with pytest.raises(BadRule, match=field):
        Backoff(**{field: value})


def test_live__settings_outside_range__refused_by_name(time):
    for field, value in (("every", 0), ("cutoff", -1), ("buffer", 0), ("buffer", 10**9), ("every", math.nan)):
        with pytest.raises(BadRule, match=f"source s: {field}"):
            Live(Scripted(time), **{"every": 1.0, field: value})


def test_system_clock__now__utc_microseconds():
    assert 1_700_000_000 * SECOND < system_clock() < 4_102_444_800 * SECOND
