"""Kraken's spot API, as far as our calls go (docs.kraken.com: REST "Market Data", WebSocket v2 "trade" and "book")."""

from __future__ import annotations

from typing import Any

from feeds.sources.exchange.gaps import kraken_checksum
from tests.feeds.sources.exchange.venues import Dialect, Market, iso

OLD_NAMES = {"BTC": "XXBT", "USD": "ZUSD", "EUR": "ZEUR"}
PRICE_DECIMALS, SIZE_DECIMALS = 2, 8


class Kraken(Dialect):
    """`AssetPairs`, `Trades`, `Depth`; channels `trade`, `book`, `heartbeat`, `status`."""

    def _id(self, market: Market) -> str:
        return OLD_NAMES.get(market.base, market.base) + OLD_NAMES.get(market.quote, market.quote)

    def rest(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/0/public/AssetPairs":
            return 200, {"error": [], "result": {self._id(m): self._info(m) for m in self.floor.markets.values()}}
        market = next((m for m in self.floor.markets.values() if self._id(m) == query.get("pair")), None)
        if market is None:
            return 200, {"error": ["EQuery:Unknown asset pair"]}
        count = int(query.get("count", "1000"))
        if path == "/0/public/Trades":
            rows = [[f"{p:.5f}", f"{q:.8f}", ts / 1_000_000, "b", "m", "", n] for n, ts, p, q in market.trades[-count:]]
            return 200, {"error": [], "result": {self._id(market): rows, "last": str(market.trades[-1][1] * 1000)}}
        if path == "/0/public/Depth":
            age = self.time.now // 1_000_000
            bids, asks = ([[f"{p:.5f}", f"{q:.3f}", age] for p, q in side] for side in market.sides(count))
            return 200, {"error": [], "result": {self._id(market): {"bids": bids, "asks": asks}}}
        return 404, {"error": ["EGeneral:Unknown method"]}

    def _info(self, market: Market) -> dict[str, Any]:
        short = {"BTC": "XBT"}.get(market.base, market.base)
        return {
            "altname": short + market.quote, "wsname": f"{short}/{market.quote}", "aclass_base": "currency",
            "base": OLD_NAMES.get(market.base, market.base), "aclass_quote": "currency",
            "quote": OLD_NAMES.get(market.quote, market.quote), "lot": "unit", "pair_decimals": PRICE_DECIMALS,
            "cost_decimals": 5, "lot_decimals": SIZE_DECIMALS, "lot_multiplier": 1, "leverage_buy": [2],
            "leverage_sell": [2], "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "fee_volume_currency": "ZUSD",
            "ordermin": "0.0001", "costmin": "0.5", "tick_size": "0.01",
            "status": "online" if market.active else "delisted",
        }  # fmt: skip

    def subscribe(self, wish: dict[str, Any], state: dict[str, Any]) -> list[Any]:
        if wish["method"] == "ping":
            return [{"method": "pong", "req_id": wish.get("req_id"), "time_in": iso(self.time.now)}]
        wanted, said = wish["params"], []
        for symbol in wanted["symbol"]:
            market = self.floor.markets.get(symbol)
            about = {"method": "subscribe", "req_id": wish["req_id"], "time_in": iso(self.time.now)}
            if market is None:
                error = f"Currency pair not supported {symbol}"
                said.append({**about, "success": False, "error": error, "symbol": symbol})
                continue
            state.setdefault(wanted["channel"], []).append(market)
            result = {"channel": wanted["channel"], "symbol": symbol, "snapshot": True}
            said.append({**about, "success": True, "result": result})
            said.append(self.trade(market, 5) if wanted["channel"] == "trade" else self.snapshot(market))
        return said

    def beat(self, state: dict[str, Any]) -> list[Any]:
        said: list[Any] = [{"channel": "heartbeat"}]
        for market in state.get("trade", []):
            self.floor.trade(market.symbol, market.price, 0.25)
            said.append(self.trade(market))
        return said + [self.book_update(market) for market in state.get("book", [])]

    def trade(self, market: Market, count: int = 1) -> dict[str, Any]:
        """The newest trades."""
        rows = [
            {
                "symbol": market.symbol, "side": "sell", "price": p, "qty": q, "ord_type": "limit", "trade_id": n,
                "timestamp": iso(ts),
            }
            for n, ts, p, q in market.trades[-count:]
        ]  # fmt: skip
        return {"channel": "trade", "type": "update" if count == 1 else "snapshot", "data": rows}

    def snapshot(self, market: Market) -> dict[str, Any]:
        """The whole book."""
        bids, asks = ([{"price": p, "qty": q} for p, q in side] for side in market.sides())
        data = {"symbol": market.symbol, "bids": bids, "asks": asks, "checksum": self._sum(market)}
        return {"channel": "book", "type": "snapshot", "data": [data]}

    def book_update(self, market: Market) -> dict[str, Any]:
        """The best bid grows by one."""
        best = max(market.bids)
        market.bids[best] += 1.0
        change = [{"price": best, "qty": market.bids[best]}]
        data = {"symbol": market.symbol, "bids": change, "asks": [], "checksum": self._sum(market)}
        return {"channel": "book", "type": "update", "data": [{**data, "timestamp": iso(self.time.now)}]}

    def _sum(self, market: Market) -> int:
        bids, asks = market.sides()
        return kraken_checksum(asks, bids, PRICE_DECIMALS, SIZE_DECIMALS)
