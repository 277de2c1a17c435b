"""Legal answers of the largest size, made to be dear: they are refused cheaply, or read where nobody waits for it."""

import json
import sys
import threading

import pytest
from aiohttp import web

from feeds.sources import json_api
from feeds.sources.http import Http
from feeds.sources.json_api import JsonApi, JsonApiSettings
from feeds.sources.json_path import JsonPath
from feeds.sources.source import MalformedAnswer, MalformedQuote, QuoteGate, SourceUnavailable
from feeds.sources.strict_json import MAX_VALUES, parse_json, too_many
from tests.feeds.sources.check_suite import LIMITS, StageTime
from tests.feeds.sources.hostile import HostileServer, open_socket

LARGEST = 8 << 20
DEAR = {
    "lists": b"[" + b"[]," * (LARGEST // 3 - 1) + b"0]",
    "objects": b"[" + b'{"a":0},' * (LARGEST // 8 - 1) + b"0]",
    "numbers": b"[" + b"0," * (LARGEST // 2 - 2) + b"0]",
    "keys": b"{" + b",".join(b'"%d":0' % number for number in range(LARGEST // 11)) + b"}",
    "empty texts": b"[" * 65 + b'""' * (LARGEST // 2 - 40),
}


@pytest.mark.parametrize("name", DEAR)
def test_parse_json__largest_body_of_many_values__refused_before_it_is_parsed(name, monkeypatch):
    monkeypatch.setattr("feeds.sources.strict_json._DECODER", None)
    assert len(DEAR[name]) <= LARGEST
    with pytest.raises(MalformedAnswer, match="too many values"):
        parse_json("s", DEAR[name])


def test_parse_json__a_long_list_of_markets__read():
    market = {"symbol": "BTCUSDT", "filters": [{"type": "PRICE", "min": "0.01"}] * 10, "orders": ["LIMIT"] * 20}
    body = json.dumps([market] * 4000).encode()
    assert not too_many(body) and len(parse_json("s", body)) == 4000
    assert too_many(b"[" + b"0," * MAX_VALUES + b"0]") and not too_many(json.dumps(["," * LARGEST]).encode())


async def test_http__library_with_the_session__never_sees_a_body_or_message_of_many_values():
    async def answer(request):
        if "Upgrade" not in request.headers:
            return web.Response(body=DEAR["lists"], content_type="application/json")
        socket = await open_socket(request)
        await socket.send(DEAR["lists"].decode())
        await socket.server.until_gone(request)
        return socket.raw

    async with HostileServer(answer) as server:
        time = StageTime()
        wide = json_api.Http.__init__.__kwdefaults__["limits"]
        http = Http(clock=time.clock, limits=wide, steady=time.steady, pause=time.pause)
        try:
            with pytest.raises(SourceUnavailable, match=f"more than {MAX_VALUES:,} JSON values"):
                await http.request("s", "GET", server.url)
            async with await http.websocket("s", server.ws_url) as socket:
                with pytest.raises(SourceUnavailable, match="Unbounded"):
                    await socket.receive()
        finally:
            await http.close()


async def api_of(document, symbols, **settings):
    """A JSON API's one round over `document`."""
    body, time = json.dumps(document).encode(), StageTime()

    async def honest(request):
        return web.Response(body=body, content_type="application/json")

    async with HostileServer(honest) as server:
        http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
        api = JsonApi(JsonApiSettings("api", f"{server.url}/p", symbols, rate=1000, **settings), http)
        try:
            return await api.fetch()
        finally:
            await http.close()


async def test_json_api__a_search__is_not_made_on_the_event_loop(monkeypatch):
    searched, find = [], JsonPath.find
    monkeypatch.setattr(JsonPath, "find", lambda *given: searched.append(threading.current_thread()) or find(*given))
    await api_of({"price": 1}, ("A/B",), price="$..price")
    assert searched and threading.main_thread() not in searched


async def test_json_api__answer_that_takes_long_to_search__given_up_between_two_symbols(monkeypatch):
    monkeypatch.setattr(json_api, "MAX_WORK_S", 0.05)
    searched, find = [], JsonPath.find
    monkeypatch.setattr(JsonPath, "find", lambda *given: searched.append(1) or find(*given))
    document = {"all": [{"s": "A/B", "p": 1}, *[{"s": 0}] * 20_000]}
    symbols = tuple(f"A{number}/B" for number in range(100))
    with pytest.raises(MalformedAnswer, match="s to read"):
        await api_of(document, symbols, price="$..[?@.s=='{symbol}'].p")
    assert len(searched) < 10


@pytest.mark.parametrize("given", [[[0] * 1000] * 100_000, {str(n): [n] for n in range(100_000)}, "x" * LARGEST])
def test_errors__a_huge_value_was_given__they_keep_and_show_a_little_of_it(given):
    gate = QuoteGate("s")
    assert gate.admit("A/B", given, None, 1, 1) is None
    for error in (MalformedAnswer("s", given, "x"), gate.last_refusal, MalformedQuote("s", "price", given, "x")):
        assert len(str(error)) < 200 and len(repr(error.given)) < 10_000
        assert sys.getsizeof(error.given) < 1000
