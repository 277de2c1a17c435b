"""Chainlink external adapters as a source: what they say, and what they say when they cannot."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.adapter import RETRIED, AdapterSettings, AdapterSource, Said, micros_of, parse_answer
from feeds.sources.http import Http
from feeds.sources.secret import Secret
from feeds.sources.source import BadRule, FeedError, MalformedAnswer, RateLimited, SourceUnavailable
from feeds.types import Micros
from tests.feeds.sources.check_suite import BEGIN, LIMITS, StageTime
from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.mutations import mutate_json

STAMP = BEGIN // 1000 - 1234
WHOLE = {
    "jobRunID": "1", "data": {"result": 37000.25}, "result": 37000.25, "statusCode": 200,
    "timestamps": {"providerDataReceivedUnixMs": STAMP + 500, "providerIndicatedTimeUnixMs": STAMP},
}  # fmt: skip


def settings(**changes: Any) -> AdapterSettings:
    return AdapterSettings(**({"name": "a", "url": "http://127.0.0.1:1/", "symbols": ("BTC/USD",)} | changes))


@contextlib.asynccontextmanager
async def asked(
    answers: dict[str, Any], *symbols: str
) -> AsyncIterator[tuple[AdapterSource, list[Any], HostileServer]]:
    """A source before a server that answers by base: a body, or (status, body)."""
    time, said = StageTime(), []

    async def honest(request: web.Request) -> web.Response:
        body = await request.json()
        said.append(body)
        found = answers[body["data"]["base"]]
        status, found = found if isinstance(found, tuple) else (200, found)
        return web.json_response(found, status=status)

    async with HostileServer(honest) as server:
        http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
        try:
            yield AdapterSource(settings(url=server.url, symbols=symbols), http, time.clock), said, server
        finally:
            await http.close()


async def test_fetch__several_symbols__one_request_each_in_the_protocol() -> None:
    answers = {"BTC": WHOLE, "EUR": {"result": "1.08675"}, "XAU": {"data": {"result": 1912}, "timestamps": None}}
    async with asked(answers, "BTC/USD", "EUR/USD", "XAU/USD") as (source, said, _):
        quotes = {quote.symbol: quote for quote in await source.fetch()}
    assert sorted(body["data"]["base"] for body in said) == ["BTC", "EUR", "XAU"]
    assert len({body["id"] for body in said}) == 3 and all(body["data"]["quote"] == "USD" for body in said)
    assert {symbol: quote.price for symbol, quote in quotes.items()} == {
        "BTC/USD": 37000.25, "EUR/USD": 1.08675, "XAU/USD": 1912.0,
    }  # fmt: skip
    assert (quotes["BTC/USD"].ts, quotes["BTC/USD"].known_at) == (STAMP * 1000, BEGIN)
    assert quotes["EUR/USD"].ts == quotes["EUR/USD"].known_at == BEGIN and quotes["EUR/USD"].size is None


async def test_fetch__one_symbol_fails__the_others_count_and_it_is_said() -> None:
    error = (502, {"status": "errored", "statusCode": 502, "error": {"name": "E", "message": "no data"}})
    async with asked({"BTC": WHOLE, "ETH": error}, "BTC/USD", "ETH/USD") as (source, _, _):
        assert [quote.symbol for quote in await source.fetch()] == ["BTC/USD"]
        assert source.gate.refused == {"answer": 1}
    async with asked({"ETH": error}, "ETH/USD") as (source, _, _):
        with pytest.raises(SourceUnavailable, match=r"status 502, E: no data"):
            await source.fetch()


async def test_fetch__symbols_without_value__do_not_silence_those_that_have_one() -> None:
    time = StageTime()

    async def honest(request: web.Request) -> web.Response:
        base = (await request.json())["data"]["base"]
        return web.json_response(WHOLE, status=200) if base in ("BTC", "ETH") else web.json_response({}, status=504)

    limits = replace(LIMITS, failures=5, rest_s=5.0)
    async with HostileServer(honest) as server:
        http = Http(clock=time.clock, limits=limits, steady=time.steady, pause=time.pause)
        symbols = ("BTC/USD", *(f"NO{n}/USD" for n in range(7)), "ETH/USD")
        source = AdapterSource(settings(url=server.url, symbols=symbols), http, time.clock)
        await source.fetch()
        for _ in range(6):
            time.advance(20)
            assert {quote.symbol for quote in await source.fetch()} >= {"BTC/USD"}
        asked = server.requests
        assert {quote.symbol for quote in await source.fetch()} == {"BTC/USD", "ETH/USD"}
        assert server.requests == asked + 2 + RETRIED
        await http.close()


async def test_fetch__asked_to_wait__raises_until_when() -> None:
    async with asked({"BTC": WHOLE}, "BTC/USD") as (source, _, server):
        server.always = "429_seconds"
        with pytest.raises(RateLimited) as caught:
            await source.fetch()
        assert caught.value.retry_at > BEGIN


async def test_fetch__page_of_html_behind_a_502__is_its_status() -> None:
    async with asked({"BTC": WHOLE}, "BTC/USD") as (source, _, server):
        server.always = "502_html"
        with pytest.raises(SourceUnavailable, match="HTTP status 502"):
            await source.fetch()


async def test_fetch__unsound_price_or_time__is_refused_and_counted() -> None:
    bad = {"BTC": {**WHOLE, "result": -1, "data": {"result": -1}}}
    bad["ETH"] = {**WHOLE, "timestamps": {"providerIndicatedTimeUnixMs": "noon"}}
    async with asked(bad, "BTC/USD", "ETH/USD") as (source, _, _):
        assert await source.fetch() == []
        assert source.gate.refused == {"price": 1, "ts": 1}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (WHOLE, Said(37000.25, STAMP)),
        ({"result": "37000.250", "data": {"result": 37000.25}}, Said(37000.25, None)),
        ({"data": {"result": "0.5"}, "error": None, "statusCode": 200, "providerStatusCode": 200}, Said("0.5", None)),
        ({"result": 1, "data": None}, Said(1, None)),
        ({"result": 1, "timestamps": {"providerDataReceivedUnixMs": 5}}, Said(1, 5)),
        ({"result": 1, "timestamps": {"providerIndicatedTimeUnixMs": None}}, Said(1, None)),
    ],
)
def test_parse_answer__shapes_of_the_years__give_price_and_time(body: object, said: Said) -> None:
    assert parse_answer("a", 200, body) == said


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, {"statusCode": 504, "error": {"name": "N", "message": "m"}}, "status 504, N: m"),
        (504, {"error": {"message": "only this"}}, "status 504, only this"),
        (200, {"result": 1, "status": "errored"}, "status 200, without a reason"),
        (200, {"result": 1, "providerStatusCode": 403}, "status 403"),
        (200, {"result": 1, "error": "boom"}, "status 200, boom"),
        (429, {"errorMessage": "could not hit data fetcher"}, "status 429, could not hit data fetcher"),
        (200, {"error": {"name": None, "message": 3}}, "without a reason"),
        (200, {"pending": True}, "pending"),
        (500, {}, "status 500, without a reason"),
    ],
)
def test_parse_answer__failure_in_any_dress__is_unavailable_with_its_words(
    status: int, body: object, words: str
) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        parse_answer("a", status, body)
    assert words in str(caught.value) and not isinstance(caught.value, MalformedAnswer)


@pytest.mark.parametrize(
    "body",
    [[], None, 3, "x", {}, {"data": {}}, {"result": None}, {"result": 1, "data": {"result": 2}},
     {"result": True, "data": {"result": 1}}, {"result": "x", "data": {"result": "y"}}],
    ids=repr,
)  # fmt: skip
def test_parse_answer__no_answer_of_the_protocol__is_malformed(body: object) -> None:
    with pytest.raises(MalformedAnswer):
        parse_answer("a", 200, body)


def test_parse_answer__an_error_as_long_as_a_book__is_one_short_printable_line() -> None:
    body = {"statusCode": 500, "error": {"name": "E\n\x1b[31m", "message": "a\u202eb " * 10_000}}
    with pytest.raises(SourceUnavailable) as caught:
        parse_answer("a", 200, body)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
JSON = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.text(max_size=6), LEAVES, max_size=2)
KEYS = [
    "result",
    "data",
    "statusCode",
    "providerStatusCode",
    "error",
    "errorMessage",
    "status",
    "pending",
    "timestamps",
]


@given(status=st.integers(200, 599), body=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6) | JSON)
def test_parse_answer__any_json__is_an_answer_or_a_feed_error(status: int, body: object) -> None:
    with contextlib.suppress(FeedError):
        said = parse_answer("a", status, body)
        assert said.price is not None and type(micros_of(said.stamp_ms)) is int


def test_parse_answer__mutations_of_a_sound_one__are_an_answer_or_a_feed_error() -> None:
    rng = Random(11)
    for _ in range(500):
        body = json.loads(mutate_json(json.dumps(WHOLE).encode(), rng))
        with contextlib.suppress(FeedError):
            parse_answer("a", 200, body)


@given(stamp=JSON)
def test_micros_of__anything__is_whole_microseconds_or_what_no_gate_lets_pass(stamp: object) -> None:
    assert type(micros_of(stamp)) is int
    assert micros_of(1_678_536_000_123) == Micros(1_678_536_000_123_000) and micros_of("1678536000123") == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"), ({"url": "ftp://x"}, "url"), ({"url": "http://u:p@x/"}, "url"),
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("BTC",)}, "symbols"), ({"symbols": ("A/B", "A/B")}, "symbols"),
        ({"data": {"from": "ETH"}}, "data"), ({"data": {str(n): 1 for n in range(33)}}, "data"),
    ],
)  # fmt: skip
def test_settings__out_of_range__name_the_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(BadRule) as caught:
        settings(**changes)
    assert field in caught.value.field and "u:p" not in str(caught.value)


async def test_fetch__adapter_repeats_the_key_it_refuses__the_error_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DODONA_TEST_KEY", "k3y-not-to-be-seen")
    answers = {"BTC": (401, {"error": "invalid token k3y-not-to-be-seen"})}
    async with asked(answers, "BTC/USD") as (source, _, server):
        secret = Secret.parse("Bearer env:DODONA_TEST_KEY")
        wish = settings(url=server.url, headers={"Authorization": secret})
        with pytest.raises(SourceUnavailable, match=r"invalid token \*\*\*") as caught:
            await AdapterSource(wish, source._http).fetch()
    assert "k3y" not in f"{caught.value!r} {caught.value.reason}"
