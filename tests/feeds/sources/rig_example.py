"""The source that `examples/add_a_source.py` shows, under the rules that every source keeps."""

import runpy
from pathlib import Path

from aiohttp import web

from tests.feeds.sources.check_suite import Rig

EXAMPLE = runpy.run_path(str(Path(__file__).resolve().parents[3] / "examples" / "add_a_source.py"))


def desk(time):
    async def honest(request):
        rows = [("EURUSD", "1.0701", "1.0703"), ("GBPUSD", 1.25, 1.26), ("USDJPY", "131", "132")]
        return web.json_response([{"pair": pair, "bid": bid, "ask": ask} for pair, bid, ask in rows])

    return honest


RIGS = [
    Rig(
        "example",
        lambda stage: EXAMPLE["Desk"](stage.url, stage.http, stage.time.clock),
        {"EUR/USD": 1.0702, "GBP/USD": 1.255},
        desk,
    )
]
