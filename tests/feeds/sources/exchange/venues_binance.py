"""Binance's spot API, as far as our calls go (developers.binance.com: "Market Data endpoints", "WebSocket Streams")."""

from __future__ import annotations

from typing import Any

from tests.feeds.sources.exchange.venues import Dialect, Market


class Binance(Dialect):
    """`exchangeInfo`, `aggTrades`, `depth`; streams `trade` and `depth`."""

    def _id(self, market: Market) -> str:
        return market.base + market.quote

    def _market(self, name: str) -> Market | None:
        return next((m for m in self.floor.markets.values() if self._id(m) == name.upper()), None)

    def rest(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/api/v3/exchangeInfo":
            trading = query.get("symbolStatus") == "TRADING"
            listed = [m for m in self.floor.markets.values() if m.active or not trading]
            info = {"timezone": "UTC", "serverTime": self.time.now // 1000, "rateLimits": [], "exchangeFilters": []}
            return 200, {**info, "symbols": [self._info(market) for market in listed]}
        market = self._market(query.get("symbol", ""))
        if market is None or not market.active:
            return 400, {"code": -1121, "msg": "Invalid symbol."}
        if path == "/api/v3/aggTrades":
            rows = market.trades[-int(query.get("limit", "500")) :]
            return 200, [
                {"a": n, "p": f"{p:.8f}", "q": f"{q:.8f}", "f": n, "l": n, "T": ts // 1000, "m": True, "M": True}
                for n, ts, p, q in rows
            ]
        if path == "/api/v3/depth":
            bids, asks = self._levels(market, int(query.get("limit", "100")))
            return 200, {"lastUpdateId": market.update, "bids": bids, "asks": asks}
        return 404, {}

    def _levels(self, market: Market, limit: int = 1000) -> list[list[list[str]]]:
        return [[[f"{p:.8f}", f"{q:.8f}"] for p, q in side] for side in market.sides(limit)]

    def _info(self, market: Market) -> dict[str, Any]:
        return {
            "symbol": self._id(market), "status": "TRADING" if market.active else "BREAK",
            "baseAsset": market.base, "baseAssetPrecision": 8, "quoteAsset": market.quote, "quotePrecision": 8,
            "quoteAssetPrecision": 8, "orderTypes": ["LIMIT", "MARKET"], "icebergAllowed": True, "ocoAllowed": True,
            "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "permissions": [], "permissionSets": [],
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
                {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001"},
            ],
        }  # fmt: skip

    def subscribe(self, wish: dict[str, Any], state: dict[str, Any]) -> list[Any]:
        state.setdefault("streams", []).extend(s for s in wish["params"] if s not in state.get("streams", []))
        return [{"result": None, "id": wish["id"]}]

    def beat(self, state: dict[str, Any]) -> list[Any]:
        said = []
        for stream in state.get("streams", []):
            name, _, kind = stream.partition("@")
            market = self._market(name)
            assert market is not None
            if kind == "trade":
                self.floor.trade(market.symbol, market.price, 0.25)
                said.append(self.trade(market))
            else:
                said.append(self.depth_update(market))
        return said

    def trade(self, market: Market) -> dict[str, Any]:
        """The newest trade."""
        number, ts, price, size = market.trades[-1]
        return {
            "e": "trade", "E": self.time.now // 1000, "s": self._id(market), "t": number, "p": f"{price:.8f}",
            "q": f"{size:.8f}", "T": ts // 1000, "m": True, "M": True,
        }  # fmt: skip

    def depth_update(self, market: Market, lost: int = 0) -> dict[str, Any]:
        """The best bid grows by one; `lost` updates before it are never told."""
        best = max(market.bids)
        market.bids[best] += 1.0
        first = market.update + 1 + lost
        market.update = first
        return {
            "e": "depthUpdate", "E": self.time.now // 1000, "s": self._id(market), "U": first, "u": first,
            "b": [[f"{best:.8f}", f"{market.bids[best]:.8f}"]], "a": [],
        }  # fmt: skip
