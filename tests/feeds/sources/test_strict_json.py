import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.source import FeedError, MalformedAnswer
from feeds.sources.strict_json import parse_json, too_deep

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**256), 2**256) | st.floats(-1e308, 1e308) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
jsonish = st.lists(
    st.sampled_from(
        [b"[", b"]", b"{", b"}", b'"', b"\\", b",", b":", b"1", b"e9", b"-", b"NaN", b"null", b"\\u", b"d83d", b"\xff"]
    )
    | st.binary(max_size=3),
    max_size=200,
).map(b"".join)  # fmt: skip


@given(values, st.booleans())
def test_parse__sound_json__as_the_standard_library(value, ascii_only):
    data = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        data.decode()
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeError:
        with pytest.raises(MalformedAnswer):
            parse_json("s", data)
        return
    assert parse_json("s", data) == value


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "break off"), (b'{"a":', "break off"), (b"[1] [2]", "go wrong"), (b"{'a':1}", "go wrong"),
        (b"NaN", "NaN"), (b"[-Infinity]", "Infinity"), (b"1e999", "1e999"), (b'{"a":1,"a":2}', "same key twice"),
        (b"9" * 81, "81 characters"), (b"9" * 100_000, "100000 characters"), (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf1", "go wrong"),
        (b'"\\ud83d"', "surrogate"), (b'{"\\uDC00":1}', "surrogate"), (b"[" * 100_000, "deeply"),
        (b"[" * 65 + b"]" * 65, "deeply"), (b'{"a":' * 100_000, "deeply"), (b'"' + b"\x01" + b'"', "go wrong"),
    ],
)  # fmt: skip
def test_parse__what_is_no_sound_json__refused_with_the_reason(data, why):
    with pytest.raises(MalformedAnswer, match=why) as caught:
        parse_json("kraken", data)
    assert caught.value.source == "kraken"
    assert len(str(caught.value)) < 400


@given(jsonish | st.binary(max_size=60))
def test_parse__any_bytes__a_finite_value_or_feed_error(data):
    try:
        value = parse_json("s", data)
    except FeedError:
        return
    json.dumps(value, allow_nan=False).encode()


@given(jsonish)
def test_too_deep__any_bytes__says_what_a_careful_reader_counts(data):
    depth = deepest = place = 0
    while place < len(data):
        byte = data[place : place + 1]
        if byte == b'"':
            place += 1
            while place < len(data) and data[place : place + 1] != b'"':
                place += 2 if data[place : place + 1] == b"\\" else 1
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
        place += 1
    assert too_deep(data, 3) == (deepest > 3)


def test_too_deep__adversarial_strings__linear_and_right():
    assert not too_deep(b'["' + b"[" * 10_000 + b'"]')
    assert too_deep(b'"\\""' + b"[" * 65)
    assert not too_deep(b'"\\' * 100_000 + b"[" * 100)
    assert too_deep(b'"' * 100_000 + b"[" * 65)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_parse__number__the_nearest_float(number):
    assert parse_json("s", repr(number).encode()) == number
    assert math.isfinite(number)
