"""Fields of a venue's JSON: exactly what was written, or MalformedAnswer naming the field."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.markets.fields import Fields, decimal_of
from feeds.sources.source import MalformedAnswer
from feeds.types import SECOND

NAMED = r"[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]{1,9})?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"


@given(st.datetimes(datetime(2009, 1, 2), datetime(2099, 12, 30)), st.integers(-23, 23), st.sampled_from("T "))
def test_time__any_moment_in_any_offset__to_the_microsecond(moment, hours, gap):
    text = f"{moment.isoformat(gap, 'microseconds')}{hours:+03d}"
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    expected = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds - hours * 3600 * SECOND
    assert Fields("s", {"at": text}).time("at") == Fields("s", {"at": text + "00"}).time("at") == expected


@given(st.from_regex(NAMED, fullmatch=True) | st.text(max_size=30))
def test_time__any_text__time_or_malformed_answer(text):
    with suppress(MalformedAnswer):
        found = Fields("s", {"at": text}).time("at")
        assert found is None if text == "" else found > 0


@given(st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20))
def test_number__any_value__exact_or_malformed_answer(value):
    with suppress(MalformedAnswer):
        found = decimal_of("s", "n", value)
        assert found == Decimal(value if isinstance(value, str) else repr(value))


@given(st.floats(0, 1))
def test_number__any_float__keeps_its_shortest_text(value):
    assert float(decimal_of("s", "n", json.loads(json.dumps(value)))) == value


@pytest.mark.parametrize("value", [True, None, [], "1,5", "0x10", "١", " 1", "nan", "1e999", 10**40, "1" * 31])
def test_number__no_number_of_json__malformed_answer(value):
    with pytest.raises(MalformedAnswer, match="n as a number"):
        decimal_of("s", "n", value)


@given(st.lists(st.text(max_size=5), max_size=4))
def test_coded_list__as_text_or_as_it_is__the_same_list(items):
    assert Fields("s", {"x": items}).coded_list("x") == items == Fields("s", {"x": json.dumps(items)}).coded_list("x")


@pytest.mark.parametrize("value", ["[", "{}", "[[]]", "[null]", "[" * 99_999, {}, 5, ["x"] * 1001, "\ud800"])
def test_coded_list__anything_else__malformed_answer(value):
    with pytest.raises(MalformedAnswer):
        Fields("s", {"x": value}).coded_list("x")


@pytest.mark.parametrize("value", [1.5, "1678500000000", True, -1, 1_678_500_000, 10**20])
def test_milliseconds__no_whole_time_of_our_era__malformed_answer(value):
    with pytest.raises(MalformedAnswer):
        Fields("s", {"at": value}).milliseconds("at")
    assert Fields("s", {"at": 1_678_500_000_000.0}).milliseconds("at") == 1_678_500_000_000_000


def test_fields__nothing_there__empty_or_refused():
    fields = Fields("s", {"null": None, "long": "x" * 100_001})
    assert fields.maybe_text("a") == "" and not fields.flag("a") and fields.number("a") is None
    assert fields.time("null") is None and fields.milliseconds("null") is None and fields.coded_list("null") == []
    for read in (lambda: fields.text("a"), lambda: fields.maybe_text("long"), lambda: fields.objects("a")):
        with pytest.raises(MalformedAnswer):
            read()
    with pytest.raises(MalformedAnswer, match="JSON object"):
        Fields("s", [])
