"""Requests of the external-adapter protocol: every way to ask, and every way not to."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.service.adapter_query import AdapterRefusal, job_id, parse_body, query_of
from oracle.service.external_adapter import answer
from tests.strategies.sightings import FEEDS, NOW_MS, seen


@pytest.mark.parametrize(
    "data",
    [
        {"base": "BTC", "quote": "USD"}, {"from": "btc", "to": "usd"}, {"coin": "Btc", "market": "USD"},
        {"base": "BTC", "to": "USD", "endpoint": "crypto"}, {"base": "BTC", "quote": "USD", "endpoint": "PRICE"},
        {"base": "XBT", "quote": "USD", "overrides": {"Dodona": {"XBT": "BTC"}, "kraken": {"XBT": "no"}}},
        {"base": "BTC", "quote": "USD", "from": "", "resultPath": "result", "transport": "rest"},
        {"feed": "0"}, {"feed": 0, "base": "BTC", "quote": "USD", "maxAge": 30_000},
    ],
)  # fmt: skip
def test_query__each_way_to_say_one_pair__finds_its_price(data: dict[str, object]) -> None:
    assert answer(query_of({"data": data}), FEEDS, seen(), NOW_MS).result == 37_000.25


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
JSON = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.text(max_size=6), LEAVES, max_size=2)
NAMED = ["base", "from", "coin", "quote", "to", "market", "endpoint", "feed", "horizon", "maxAge", "overrides"]
VALUES = JSON | st.sampled_from(["BTC", "USD", "price", "forecast", "event", "0", "4", 0, 4, 12, 3600, "BTC/USD"])
BODIES = st.fixed_dictionaries(
    {"data": st.dictionaries(st.sampled_from([*NAMED, "resultPath"]), VALUES, max_size=6) | JSON},
    optional={"id": JSON, "meta": JSON, "endpoint": VALUES, "responseURL": JSON},
)


@given(body=BODIES | JSON)
def test_query__any_json__is_an_answer_or_a_refusal(body: object) -> None:
    with contextlib.suppress(AdapterRefusal):
        parsed = parse_body(json.dumps(body).encode())
        json.dumps(job_id(parsed))
        found = answer(query_of(parsed), FEEDS, seen(), NOW_MS)
        assert json.loads(json.dumps(found.data, allow_nan=False))["symbol"] == "BTC/USD"


@given(body=st.binary(max_size=300))
def test_parse_body__any_bytes__is_an_object_or_a_refusal(body: bytes) -> None:
    with contextlib.suppress(AdapterRefusal):
        assert isinstance(parse_body(body), dict)
