import jsonpath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.json_path import MISSING, JsonPath
from feeds.sources.source import BadRule, FeedError, MalformedAnswer

DOCUMENT = {
    "data": {"price": "1.5", "none": None, "a'b": 2, "a,b": 3, "*": 4},
    "rows": [{"id": "x", "p": 1}, {"id": "y", "p": 2}],
}
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["x", "price"])
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "data", "price"]), inner),
    max_leaves=15,
)


@pytest.mark.parametrize(
    ("query", "pick", "wanted"),
    [
        ("$.data.price", "one", "1.5"), ("$['data']['price']", "one", "1.5"), ("$.data.none", "one", None),
        ("$.data.nothing", "one", MISSING), ("$.rows[?@.id=='y'].p", "one", 2), ("$..price", "one", "1.5"),
        ("$.rows[*].p", "first", 1), ("$.rows[*].p", "last", 2), ("$.rows[-1].p", "one", 2),
        ("$.rows[0:1].p", "one", 1),
        ("$.data[\"a'b\"]", "one", 2), ("$.data['a,b']", "one", 3), ("$.data['*']", "one", 4),
        ("$.rows[?@.p>1 && @.id=='y'].p", "one", 2), ("$.rows[?@.id=='y'][?@>1]", "one", 2),
    ],
)  # fmt: skip
def test_find__sound_query__the_value(query, pick, wanted):
    assert JsonPath(query, "price", pick).find("s", DOCUMENT) == wanted


def test_find__several_where_one_is_meant__malformed():
    with pytest.raises(MalformedAnswer, match="several values"):
        JsonPath("$.rows[*].p", "price").find("s", DOCUMENT)


@pytest.mark.parametrize("document", ["$", '{"data": 1}', 7, None, True, 1.5])
def test_find__document_without_parts__missing(document):
    assert JsonPath("$.data", "price").find("s", document) is MISSING


@pytest.mark.parametrize(
    "query",
    [
        "", "price", "$.", "$..", "$.a..b..c", "$[*,*]", "$['a','b']", "$[?@..x]", "$[?@[*].x]", "$[?@[?@.x]]",
        "$[?@[1:2]]",
        "$[?match(@.a,'(a*)*b')]", "$[?search(@.a,'x')]", "$[?count(@.*)>1]", "$.a | $.b", "$" + ".a" * 200, 7, None,
        "$[?@.a=~/x/]", "$" + "[?@" * 60,
    ],
)  # fmt: skip
def test_compile__costly_or_no_query__refused_naming_the_setting(query):
    with pytest.raises(BadRule, match="source s: price"):
        JsonPath(query, "source s: price")


def test_compile__unknown_pick__refused():
    with pytest.raises(BadRule, match="pick"):
        JsonPath("$.a", "price", "any")


PIECES = [
    "$",
    ".a",
    "..",
    "[*]",
    "[0]",
    "[?@.a]",
    "['b']",
    "[?",
    "]",
    "@",
    "==1",
    "'",
    '"',
    "(",
    ")",
    ".price",
    ",",
    "\\",
]
pieces = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)


@given(pieces | pieces.map("$".__add__) | st.text(max_size=20), st.sampled_from(["one", "first", "last"]), documents)
def test_find__any_query_and_document__a_value_of_it_or_feed_error(query, pick, document):
    try:
        value = JsonPath(query, "price", pick).find("s", document)
    except FeedError:
        return
    everything = [document, *jsonpath.findall("$..*", document)] if isinstance(document, dict | list) else []
    assert value is MISSING or value in everything
