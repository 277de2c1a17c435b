import json

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.http import Http
from feeds.sources.json_api import JsonApi, JsonApiSettings, micros, scaled
from feeds.sources.live import Live
from feeds.sources.secret import Secret
from feeds.sources.source import BadRule, MalformedAnswer, RateLimited, SourceUnavailable, check_quote
from feeds.types import SECOND, Micros
from tests.feeds.sources.check_suite import BEGIN, LIMITS, StageTime
from tests.feeds.sources.hostile import HostileServer

PLAIN = {"name": "api", "symbols": ("BTC/USD",), "price": "$.price", "rate": 1000}


async def quotes_of(document, **settings):
    """What a source with `settings` makes of `document`, and its gate."""
    body, time = json.dumps(document).encode(), StageTime()

    async def honest(request):
        return web.Response(body=body, content_type="application/json")

    async with HostileServer(honest) as server:
        http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
        api = JsonApi(JsonApiSettings(url=f"{server.url}/p", **{**PLAIN, **settings}), http)
        try:
            return await api.fetch(), api.gate
        finally:
            await http.close()


@pytest.mark.parametrize(
    ("document", "settings", "price", "size"),
    [
        ({"price": "20000.5"}, {}, 20000.5, None),
        ({"price": 2_000_050_000_000}, {"decimals": 8}, 20000.5, None),
        ({"price": "12345678901234567890"}, {"decimals": 18}, 12.345678901234567, None),
        ({"price": 2, "v": "3"}, {"decimals": -2, "size": "$.v"}, 200.0, 3.0),
        ({"price": 0.25, "v": 100}, {"invert": True, "size": "$.v"}, 4.0, 25.0),
        ({"price": "1e-3", "v": 5000}, {"invert": True, "size": "$.v", "size_decimals": 3}, 1000.0, 0.005),
        ({"price": [1, 2, 3]}, {"price": "$.price[*]", "pick": "last"}, 3.0, None),
    ],
)
async def test_fetch__units_decimals_inversion__quote_in_our_units(document, settings, price, size):
    (quote,), _ = await quotes_of(document, **settings)
    assert (quote.source, quote.symbol, quote.price, quote.size) == ("api", "BTC/USD", price, size)
    assert quote.ts == quote.known_at == BEGIN


@pytest.mark.parametrize(
    ("at", "unit", "ts"),
    [
        (1_678_518_900, "s", 1_678_518_900 * SECOND), ("1678518900.25", "s", 1_678_518_900_250_000),
        (1_678_518_900_123, "ms", 1_678_518_900_123_000), (1_678_518_900_123_456, "us", 1_678_518_900_123_456),
        (1_678_518_900_123_456_789, "ns", 1_678_518_900_123_456),
        ("2023-03-11T07:15:00.5Z", "iso8601", 1_678_518_900_500_000),
        ("2023-03-11 08:15:00+01:00", "iso8601", 1_678_518_900 * SECOND),
        (4_000_000_000, "s", 4_000_000_000 * SECOND),
    ],
)  # fmt: skip
async def test_fetch__time_in_any_unit__stated_honestly_stale_or_future(at, unit, ts):
    (quote,), _ = await quotes_of({"price": 1, "at": at}, time="$.at", time_unit=unit)
    assert (quote.ts, quote.known_at) == (ts, BEGIN)


@pytest.mark.parametrize(
    ("document", "settings", "field"),
    [
        ({"price": None}, {}, "price"), ({}, {}, "price"), ({"price": "1,5"}, {}, "price"),
        ({"price": True}, {}, "price"),
        ({"price": 0}, {"invert": True}, "price"), ({"price": -1}, {}, "price"), ({"price": "9" * 81}, {}, "price"),
        ({"price": 1}, {"size": "$.v"}, "size"), ({"price": 1, "v": {}}, {"size": "$.v"}, "size"),
        ({"price": 1, "at": "soon"}, {"time": "$.at"}, "ts"), ({"price": 1}, {"time": "$.at"}, "ts"),
        ({"price": 1, "at": 1_678_518_900_000}, {"time": "$.at"}, "ts"),
        ({"price": 1, "at": 10**79}, {"time": "$.at"}, "ts"),
        ({"price": 1, "at": "2023-13-45"}, {"time": "$.at", "time_unit": "iso8601"}, "ts"),
        ({"price": 1e-320}, {"invert": True}, "price"),
    ],
)  # fmt: skip
async def test_fetch__unsound_field__refused_by_name_and_said(document, settings, field):
    with pytest.raises(MalformedAnswer, match=f"{field} is"):
        await quotes_of(document, **settings)


async def test_fetch__one_of_two_symbols_bad__the_other_kept_and_it_counted():
    quotes, gate = await quotes_of(
        {"BTCUSD": {"p": "2"}, "ETHUSD": {"p": "x"}}, symbols=("BTC/USD", "ETH/USD"), price="$['{code}'].p"
    )
    assert [(q.symbol, q.price) for q in quotes] == [("BTC/USD", 2.0)]
    assert gate.refused == {"price": 1}
    quotes, gate = await quotes_of(
        {"BTCUSD": [{"p": 2}], "ETHUSD": [{"p": 1}, {"p": 1}]}, symbols=("BTC/USD", "ETH/USD"), price="$['{code}'][*].p"
    )
    assert [(q.symbol, q.price) for q in quotes] == [("BTC/USD", 2.0)]
    assert gate.refused == {"request": 1}


async def test_fetch__one_each__symbols_in_the_url_and_one_failure_leaves_the_other():
    time = StageTime()

    async def honest(request):
        return web.json_response({"price": 3} if request.query["pair"] == "BTC/USD" else {}, status=200)

    async with HostileServer(honest) as server:
        http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
        settings = JsonApiSettings(
            url=f"{server.url}/{{base}}-{{quote}}/{{code}}", query={"pair": "{symbol}"}, codes={"ETH/USD": "x/../ y"},
            **{**PLAIN, "symbols": ("BTC/USD", "ETH/USD")},
        )  # fmt: skip
        api = JsonApi(settings, http)
        assert [q.symbol for q in await api.fetch()] == ["BTC/USD"]
        assert sorted(server.seen) == ["/BTC-USD/BTCUSD?pair=BTC%2FUSD", "/ETH-USD/x%2F..%2F%20y?pair=ETH%2FUSD"]
        server.always = "429_seconds"
        with pytest.raises(RateLimited):
            await api.fetch()
        await http.close()


async def test_fetch__media_type_named_in_settings__taken():
    time = StageTime()

    async def honest(request):
        return web.Response(text='{"price": 2}', content_type="text/plain")

    async with HostileServer(honest) as server:
        http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
        strict = JsonApi(JsonApiSettings(url=server.url, **PLAIN), http)
        with pytest.raises(SourceUnavailable, match="content type"):
            await strict.fetch()
        lenient = JsonApi(JsonApiSettings(url=server.url, content_types=("text/plain",), **PLAIN), http)
        assert [q.price for q in await lenient.fetch()] == [2.0]
        await http.close()


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("url", {"url": "https://{base}.example.org/"}), ("url", {"url": "{symbol}"}),
        ("url", {"url": "https://a.org{base}/"}),
        ("url", {"url": "https://a.org/{nothing}"}), ("url", {"url": "https://a.org/{symbol.__class__}"}),
        ("url", {"url": "ftp://a.org/"}), ("url", {"url": "https://u@a.org/"}), ("query", {"query": {"q": "{x}"}}),
        ("name", {"name": ""}), ("symbols", {"symbols": ()}), ("symbols", {"symbols": ("A", "A")}),
        ("pick", {"pick": "any"}),
        ("time_unit", {"time_unit": "h"}), ("decimals", {"decimals": 99}), ("every_s", {"every_s": 0}),
        ("rate", {"rate": -1}),
        ("codes", {"codes": {"X/Y": "xy"}}), ("code", {"codes": {"BTC/USD": "'] | $..*"}}),
        ("price", {"price": "$..a..b"}),
        ("price", {"price": "$.{oops}"}), ("symbol", {"symbols": ("BTC/USD'",)}),
        ("url", {"symbols": ("BTC",), "url": "https://a.org/{quote}"}),
    ],
)  # fmt: skip
def test_settings__outside_their_range__refused_by_name(field, settings):
    with pytest.raises(BadRule, match=rf"\b{field}\b"):
        JsonApiSettings(**{"url": "https://a.org/p", **PLAIN, **settings})


@given(st.text(min_size=1, max_size=10), st.text(max_size=10), st.text(max_size=12))
def test_settings__any_symbol_and_code__host_and_path_stay_the_authors(base, quote, code):
    symbol = f"{base}/{quote}"
    try:
        settings = JsonApiSettings(
            name="s", url="https://api.example.org/v1/{base}/{code}?q={quote}&end=1", symbols=(symbol,),
            codes={symbol: code}, price="$['{code}'].p", headers={"K": Secret.parse("env:K")},
        )  # fmt: skip
    except BadRule:
        return
    url = settings.url_of(symbol)
    assert url.startswith("https://api.example.org/v1/") and url.endswith("&end=1")
    assert url.count("/") == 5 and url.count("?") == 1 and url.count("&") == 1
    assert settings.paths(symbol)["price"].query == f"$['{code}'].p"


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3),
    st.integers(-30, 77),
)
def test_scaled_and_micros__any_value__number_or_itself(value, decimals):
    assert isinstance(scaled(value, decimals), float) or scaled(value, decimals) is value
    for unit in ("s", "ms", "us", "ns", "iso8601"):
        found = micros(value, unit)
        assert type(found) is int or found is value


@given(
    st.dictionaries(
        st.sampled_from(["price", "v", "at"]), st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    )
)
async def test_read__any_document__a_sound_quote_or_refused(document):
    time = StageTime()
    http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
    settings = JsonApiSettings(url="http://127.0.0.1/", size="$.v", time="$.at", invert=True, **PLAIN)
    api = JsonApi(settings, http)
    quote = api._read("BTC/USD", document, Micros(BEGIN))
    assert (quote is None) == (api.gate.refused.total() == 1)
    assert quote is None or check_quote(quote) is quote
    live = Live(api, settings.every_s)
    assert (live.name, live.symbols) == ("api", ("BTC/USD",))
