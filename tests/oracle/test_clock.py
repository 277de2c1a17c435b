from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.clock import Activity, SteppedClock, SystemClock
from oracle.errors import LocalFault


def test_stepped_clock__advance__fires_due_timers_in_order() -> None:
    clock, fired = SteppedClock(1000), list[str]()
    clock.call_at(1300, lambda: fired.append("late"))
    clock.call_at(1200, lambda: fired.append("first"))
    clock.call_at(1200, lambda: fired.append("second"))
    assert clock.next_timer_ms() == 1200
    clock.advance(1299)
    assert (fired, clock.now_ms(), clock.next_timer_ms()) == (["first", "second"], 1299, 1300)


def test_stepped_clock__hold__shows_time_but_fires_nothing_until_told() -> None:
    clock, fired = SteppedClock(0), list[int]()
    clock.call_at(5, lambda: fired.append(clock.now_ms()))
    clock.advance(10, hold=True)
    assert (fired, clock.now_ms(), clock.next_timer_ms()) == ([], 10, 5)
    clock.advance(10)
    assert fired == [10]


def test_stepped_clock__timer_in_the_past__fires_at_once() -> None:
    clock, fired = SteppedClock(10), list[int]()
    clock.call_at(10, lambda: fired.append(1))
    assert fired == [1]


def test_stepped_clock__back_in_time__is_a_local_fault() -> None:
    clock = SteppedClock(10)
    with pytest.raises(LocalFault, match="cannot go back"):
        clock.advance(9)


def test_stepped_clock__closed__fires_nothing() -> None:
    clock, fired = SteppedClock(0), list[int]()
    clock.call_at(1, lambda: fired.append(1))
    clock.close()
    clock.advance(2)
    assert fired == []


@given(st.lists(st.integers(0, 50), max_size=30), st.lists(st.integers(0, 20), max_size=10))
def test_stepped_clock__any_timers_any_steps__each_fires_once_and_not_early(at: list[int], steps: list[int]) -> None:
    clock, fired = SteppedClock(0), list[tuple[int, int]]()
    for number, moment in enumerate(at):
        clock.call_at(moment, lambda number=number: fired.append((number, clock.now_ms())))
    for step in steps:
        clock.advance(clock.now_ms() + step)
    assert sorted(number for number, _ in fired) == [n for n, moment in enumerate(at) if moment <= clock.now_ms()]
    assert all(shown >= at[number] for number, shown in fired)


async def test_system_clock__timers__fire_in_time_and_not_after_close() -> None:
    clock, fired, done = SystemClock(), list[str](), asyncio.Event()
    now = clock.now_ms()
    clock.call_at(now + 30, done.set)
    clock.call_at(now + 10, lambda: fired.append("early"))
    clock.call_at(now + 60_000, lambda: fired.append("never"))
    await asyncio.wait_for(done.wait(), 5)
    assert fired == ["early"] and clock.now_ms() >= now + 30
    clock.close()
    clock.call_at(now, lambda: fired.append("closed"))
    await asyncio.sleep(0.01)
    assert fired == ["early"] and clock.next_timer_ms() is None


def test_activity__work__is_busy_inside_and_begun_after() -> None:
    activity = Activity()
    with pytest.raises(ValueError), activity.work():
        assert (activity.busy, activity.begun) == (1, 1)
        raise ValueError
    assert (activity.busy, activity.begun) == (0, 1)
    with pytest.raises(LocalFault, match="ended twice"):
        activity.end()
