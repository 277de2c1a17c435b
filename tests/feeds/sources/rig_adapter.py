"""External adapters in the check suite: one of today with every field and a token, one of the first days with few."""

import os

from aiohttp import web

from feeds.sources.adapter import AdapterSettings, AdapterSource
from feeds.sources.secret import Secret
from tests.feeds.sources.check_suite import Rig

SECRET = "an-adapter-token-that-no-error-may-show"
os.environ["DODONA_TEST_ADAPTER_TOKEN"] = SECRET


def whole(time):
    """As ea-framework-js answers (src/util/types.ts)."""

    async def honest(request):
        body = await request.json()
        prices = {"BTC": 37_000.25, "ETH": 2_003.5}
        if request.headers.get("Authorization") != f"Bearer {SECRET}" or body["data"]["endpoint"] != "crypto":
            error = {"name": "AdapterInputError", "message": "not for you"}
            return web.json_response({"status": "errored", "statusCode": 401, "error": error}, status=401)
        result, now_ms = prices[body["data"]["base"]], time.clock() // 1000
        stamps = {
            "providerDataRequestedUnixMs": now_ms - 900,
            "providerDataReceivedUnixMs": now_ms - 700,
            "providerIndicatedTimeUnixMs": now_ms - 1000,
        }
        return web.json_response(
            {"data": {"result": result}, "result": result, "statusCode": 200, "timestamps": stamps, "meta": {}}
        )

    return honest


def sparse(time):
    """The least that an adapter may say: https://github.com/smartcontractkit/chainlink/wiki/External-Adapters."""

    async def honest(request):
        return web.json_response({"jobRunID": (await request.json())["id"], "data": {"result": "1.08675"}})

    return honest


def build_whole(stage):
    settings = AdapterSettings(
        name="bridge", url=stage.url, symbols=("BTC/USD", "ETH/USD"), data={"endpoint": "crypto"},
        headers={"Authorization": Secret.parse("Bearer env:DODONA_TEST_ADAPTER_TOKEN")},
    )  # fmt: skip
    return AdapterSource(settings, stage.http, stage.time.clock)


def build_sparse(stage):
    return AdapterSource(
        AdapterSettings(name="old", url=f"{stage.url}/fx", symbols=("EUR/USD",)), stage.http, stage.time.clock
    )


RIGS = [
    Rig("adapter", build_whole, {"BTC/USD": 37_000.25, "ETH/USD": 2_003.5}, whole, secret=SECRET),
    Rig("adapter-sparse", build_sparse, {"EUR/USD": 1.08675}, sparse),
]
