import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.pacing import HostState, HttpLimits, http_date, retry_after
from feeds.sources.source import BadRule
from feeds.types import SECOND, Micros

NOW = Micros(1_678_500_000 * SECOND)
DATE = "Sat, 11 Mar 2023 02:00:00 GMT"


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.1, 50), st.integers(1, 10))
def test_turn__any_arrivals__never_more_than_rate_and_burst(gaps, rate, burst):
    host, now, sent = HostState(HttpLimits(rate=rate, burst=burst)), 100.0, []
    for gap in gaps:
        now += gap
        sent.append(now + host.turn(now))
    assert sent == sorted(sent)
    for first in range(len(sent)):
        for last in range(first + burst, len(sent)):
            allowed = (last - first - burst + 1) / rate
            assert sent[last] - sent[first] >= allowed - 1e-6


def test_turn__after_rest__a_burst_at_once_then_the_rate():
    host = HostState(HttpLimits(rate=2, burst=3))
    assert [host.turn(10.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 1.0]
    host.give_back_turn()
    assert host.turn(10.0) == 1.0


def test_slow_down__several_wishes__the_slowest_holds():
    host = HostState(HttpLimits(rate=10, burst=5))
    host.slow_down(0.5, 1)
    host.slow_down(5, 5)
    assert [host.turn(10.0) for _ in range(3)] == [0.0, 2.0, 4.0]


def test_failed__too_often__rests_longer_each_time_until_it_answers():
    host, now = HostState(HttpLimits(failures=3, rest_s=5, most_rest_s=12)), 0.0
    for _ in range(2):
        host.failed(now, "down")
    assert host.held(now) is None
    spans = []
    for _ in range(4):
        host.failed(now, "down")
        until, why = host.held(now)
        assert "3 times in a row (down)" in why
        spans.append(until - now)
        now = until
        assert host.held(now) is None, "one request may try again"
    assert spans == [5, 10, 12, 12]
    host.succeeded()
    host.failed(now, "down")
    assert host.held(now) is None


def test_hold__beyond_the_limit__cut_to_it_and_the_longer_one_stays():
    host = HostState(HttpLimits(most_retry_after_s=100))
    assert host.hold(0.0, 1e9, "asked") == 100.0
    assert host.hold(0.0, 5.0, "asked less") == 100.0
    assert host.held(99.0) == (100.0, "asked")
    assert host.held(100.0) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0), ({"Retry-After": "9" * 30}, 1e9), ({"Retry-After": "-1"}, None), ({}, None),
        ({"Retry-After": "soon"}, None), ({"Retry-After": "1.5"}, None), ({"Retry-After": "\u0663"}, None),
        ({"Retry-After": "Sat, 11 Mar 2023 02:00:30 GMT"}, 30.0),
        ({"Retry-After": "Sat, 11 Mar 2023 02:00:30 GMT", "Date": "Sat, 11 Mar 2023 02:00:20 GMT"}, 10.0),
        ({"Retry-After": "Sat, 11 Mar 2023 01:00:00 GMT"}, 0.0),
    ],
)  # fmt: skip
def test_retry_after__seconds_or_date__seconds_to_wait(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@given(
    st.text(max_size=70) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{1,9} [0-9:]{8} [A-Z+0-9-]{3,6}")
)
def test_http_date__any_text__a_time_or_none(text):
    found = http_date(text)
    assert found is None or type(found) is int
    assert retry_after({"Retry-After": text, "Date": text}, NOW) in (None, 0.0) or text.strip().isdigit()


def test_http_date__three_forms_of_the_rfc__one_time():
    for text in (DATE, "Saturday, 11-Mar-23 02:00:00 GMT", "Sat Mar 11 02:00:00 2023"):
        assert http_date(text) == NOW


def test_skew__median_of_dates__one_odd_answer_does_not_count():
    host = HostState(HttpLimits())
    assert host.skew is None
    for _ in range(4):
        host.saw_date({"Date": DATE}, Micros(NOW - 3 * SECOND), Micros(NOW - 1 * SECOND))
    host.saw_date({"Date": "Thu, 01 Jan 2015 00:00:00 GMT"}, NOW, NOW)
    host.saw_date({"Date": "nonsense"}, NOW, NOW)
    assert host.skew == 2.5
    cached = HostState(HttpLimits())
    cached.saw_date({"Date": DATE, "Age": "60"}, Micros(NOW + 60 * SECOND), Micros(NOW + 61 * SECOND))
    assert cached.skew == 0.0


@pytest.mark.parametrize(
    "field", ["connect_s", "read_s", "total_s", "body_bytes", "rate", "burst", "failures", "rest_s"]
)
def test_limits__outside_range__refused_by_name(field):
    for given_value in (-1, 0, 10**12, float("nan")):
        with pytest.raises(BadRule, match=field):
            HttpLimits(**{field: given_value})
