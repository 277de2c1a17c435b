"""JSON APIs in the check suite: one request for all symbols, and one request each."""

import os

from aiohttp import web

from feeds.sources.json_api import JsonApi, JsonApiSettings
from feeds.sources.secret import Secret
from tests.feeds.sources.check_suite import Rig

SECRET = "a-key-that-no-error-may-show"
os.environ["DODONA_TEST_API_KEY"] = SECRET


def ticker(time):
    """As Kraken's public Ticker: many pairs in one answer, prices as text (docs.kraken.com/api, Get Ticker)."""

    async def honest(request):
        result = {"XXBTZUSD": {"c": ["20123.50000", "0.005"]}, "USDTZUSD": {"c": ["0.99871", "500.0"]}}
        return web.json_response({"error": [], "result": result})

    return honest


def spot(time):
    """One pair a request, price scaled, with its time (the shape of many small APIs)."""
    prices = {"/v2/ETH-USD/spot": 143_251_000_000, "/v2/SOL-USD/spot": 1_921_000_000}

    async def honest(request):
        if request.path not in prices or request.headers.get("X-Key") != SECRET:
            return web.json_response({"error": "not found"}, status=404)
        at = time.clock() // 1000 - 500
        return web.json_response({"data": {"amount": prices[request.path], "at": at, "vol": 2}})

    return honest


def build_ticker(stage):
    settings = JsonApiSettings(
        name="kraken-like", url=f"{stage.url}/0/public/Ticker", query={"pair": "{codes}"},
        symbols=("BTC/USD", "USDT/USD"), codes={"BTC/USD": "XXBTZUSD", "USDT/USD": "USDTZUSD"},
        price="$.result['{code}'].c[0]", size="$.result['{code}'].c[1]", rate=1000,
    )  # fmt: skip
    return JsonApi(settings, stage.http)


def build_spot(stage):
    settings = JsonApiSettings(
        name="spot", url=f"{stage.url}/v2/{{base}}-{{quote}}/spot", symbols=("ETH/USD", "SOL/USD"),
        headers={"X-Key": Secret.parse("env:DODONA_TEST_API_KEY")}, price="$.data.amount", decimals=8,
        time="$.data.at", time_unit="ms", rate=1000,
    )  # fmt: skip
    return JsonApi(settings, stage.http)


RIGS = [
    Rig("json-api-all-at-once", build_ticker, {"BTC/USD": 20123.5, "USDT/USD": 0.99871}, ticker),
    Rig("json-api-one-each", build_spot, {"ETH/USD": 1432.51, "SOL/USD": 19.21}, spot, secret=SECRET),
]
