"""Exchanges in the check suite: three venues, over REST and over websockets, and one by the mid of its book."""

from __future__ import annotations

from typing import Any

from feeds.sources.exchange.fetcher import ExchangeFetcher, ExchangeSettings
from feeds.sources.exchange.stream import ExchangeStreamer, exchange_origin
from tests.feeds.sources.check_suite import Rig, Stage
from tests.feeds.sources.exchange.venues import Dialect, honest
from tests.feeds.sources.exchange.venues_binance import Binance
from tests.feeds.sources.exchange.venues_coinbase import Coinbase
from tests.feeds.sources.exchange.venues_kraken import Kraken

DIALECTS: dict[str, tuple[type[Dialect], dict[str, float]]] = {
    "binance": (Binance, {"BTC/USDT": 20_000.0, "ETH/USDT": 1_500.0}),
    "kraken": (Kraken, {"BTC/USD": 20_010.0, "ETH/USD": 1_501.0}),
    "coinbase": (Coinbase, {"BTC/USD": 20_020.0, "ETH/USD": 1_502.0}),
}
"""Venue -> its dialect and the prices of its markets."""


def settings(venue: str, stage: Stage, **changes: Any) -> ExchangeSettings:
    """Settings that ask a local venue without waiting."""
    given = {
        "name": venue, "venue": venue, "symbols": tuple(DIALECTS[venue][1]), "url": stage.url, "request_gap": 1e-4,
        "book_levels": 100, "fold": 0.02, "silence": 0.3,
    }  # fmt: skip
    return ExchangeSettings(**{**given, **changes})


def _build(venue: str, **changes: Any) -> Any:
    def build(stage: Stage) -> ExchangeFetcher | ExchangeStreamer:
        return exchange_origin(settings(venue, stage, **changes), stage.http, stage.time.clock)

    return build


def _rig(name: str, venue: str, **changes: Any) -> Rig:
    dialect, prices = DIALECTS[venue]
    markets = {symbol.replace("/", "_"): price for symbol, price in prices.items()}
    return Rig(name, _build(venue, name=name, **changes), prices, honest(dialect, **markets))


RIGS = [
    _rig("kraken", "kraken", book_every=0.0),
    _rig("coinbase mid", "coinbase", price="mid"),
    _rig("binance stream", "binance", streaming=True),
]
"""Each venue once, and every way that a quote comes about; what venues differ in is tested beside them."""
