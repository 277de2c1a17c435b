import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.series import close_series
from feeds.sources.replay import HOUR, ReplaySource, common_hours, load_embedded_eurusd
from feeds.sources.source import BadRule
from feeds.store import Store, to_frame
from feeds.types import Micros, Quote

T0 = 1_678_500_000_000_000 // HOUR * HOUR
MINUTE = HOUR // 60


def quote(minute, price=1.0, source="a", lag=0, symbol="X"):
    return Quote(source, symbol, price, 1.0, Micros(T0 + (minute - lag) * MINUTE), Micros(T0 + minute * MINUTE))


quotes = st.builds(
    quote, st.integers(1, 600), st.floats(0.5, 2.0), st.sampled_from("abc"), st.integers(0, 200), st.sampled_from("XY")
)


def test_close_series__mid_beyond_a_float__left_out():
    huge = [Quote(s, "X", 1.7e308, 1.0, Micros(10**15 + 7), Micros(10**15 + 7)) for s in "ab"]
    fine = [Quote("a", "X", 2.0, 1.0, Micros(10**15 + 20), Micros(10**15 + 20))]
    assert close_series(huge + fine, "X", 10).close.tolist() == [2.0]


def test_close_series__bars_that_close_on_the_hour__their_close_at_that_hour():
    series = close_series([quote(60, 1.1), quote(120, 1.2), quote(240, 1.4)], "X", HOUR)
    assert ((series.ts - T0) // HOUR).tolist() == [1, 2, 4]
    assert series.close.tolist() == [1.1, 1.2, 1.4]
    assert (series.ts.dtype, series.close.dtype) == (np.int64, np.float64)


def test_close_series__many_quotes_and_sources__median_of_each_sources_newest():
    rows = [quote(10, 9.0), quote(50, 1.0), quote(60, 7.0, lag=30), quote(55, 1.2, "b"), quote(56, 5.0, "c")]
    assert close_series(rows, "X", HOUR, Micros(T0 + HOUR)).close.tolist() == [1.2]
    assert close_series(rows[:4], "X", HOUR, Micros(T0 + HOUR)).close.tolist() == [1.1]


def test_close_series__interval_not_over__left_out():
    rows = [quote(60, 1.1), quote(61, 1.2)]
    assert close_series(rows, "X", HOUR).close.tolist() == [1.1]
    assert close_series(rows, "X", HOUR, Micros(T0 + 2 * HOUR - 1)).close.tolist() == [1.1]
    assert close_series(rows, "X", HOUR, Micros(T0 + 2 * HOUR)).close.tolist() == [1.1, 1.2]


def test_close_series__quote_of_two_widths_ago__passed_over():
    assert close_series([quote(60, lag=120)], "X", HOUR).ts.size == 0
    assert close_series([quote(60, lag=119)], "X", HOUR).ts.size == 1


def test_close_series__nothing_of_the_symbol__empty():
    assert close_series([quote(60)], "Z", HOUR).close.size == 0
    assert close_series([], "X", HOUR).ts.dtype == np.int64


def test_close_series__width_below_one__raises():
    with pytest.raises(BadRule, match="width"):
        close_series([], "X", 0)


@settings(deadline=None)
@given(st.lists(quotes, max_size=40), st.integers(0, 11))
def test_close_series__more_known_later__never_changes_the_past(rows, hour):
    now = Micros(T0 + hour * HOUR)
    then = close_series([q for q in rows if q.known_at <= now], "X", HOUR, now)
    later = close_series(to_frame(rows), "X", HOUR, Micros(T0 + 99 * HOUR))
    past = later.ts <= now
    assert np.array_equal(then.ts, later.ts[past])
    assert np.array_equal(then.close, later.close[past])
    assert (np.diff(later.ts) > 0).all()


async def test_close_series__embedded_hours_through_the_store__mid_of_both_at_the_close(tmp_path):
    frames = load_embedded_eurusd()
    store = Store(tmp_path)
    for name, frame in frames.items():
        source = ReplaySource(name, {"EUR/USD": frame}, HOUR)
        store.append(await source.poll(Micros(2_000_000_000_000_000)))
    series = close_series(store.as_of(Micros(2_000_000_000_000_000)), "EUR/USD", HOUR)
    common = common_hours(frames)
    mids = np.mean([f.set_index("ts").loc[common, "close"].to_numpy() for f in frames.values()], axis=0)
    at = np.searchsorted(series.ts, common + HOUR)
    assert np.array_equal(series.ts[at], common + HOUR)
    assert np.allclose(series.close[at], mids, rtol=1e-15)
    assert len(series.ts) == len(set(frames["backtestingpy"]["ts"]) | set(frames["gym_anytrading_ask"]["ts"]))
