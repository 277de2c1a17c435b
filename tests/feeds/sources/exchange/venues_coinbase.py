"""Coinbase Advanced Trade, as far as our calls go (docs.cdp.coinbase.com: public endpoints, WebSocket channels)."""

from __future__ import annotations

from typing import Any

from tests.feeds.sources.exchange.venues import Dialect, Market, iso

PRODUCTS = "/api/v3/brokerage/market/products"


class Coinbase(Dialect):
    """Public `products`, `ticker` (trades) and `product_book`; channels `market_trades` and `level2`."""

    def _market(self, name: str) -> Market | None:
        return self.floor.markets.get(name.replace("-", "/"))

    def _id(self, market: Market) -> str:
        return market.symbol.replace("/", "-")

    def rest(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == PRODUCTS:
            spot = query.get("product_type", "SPOT") == "SPOT"
            found = [self._info(market) for market in self.floor.markets.values()] if spot else []
            return 200, {"products": found, "num_products": len(found)}
        name = query.get("product_id") or path.removeprefix(PRODUCTS + "/").removesuffix("/ticker")
        market = self._market(name)
        if market is None:
            return 404, {"error": "NOT_FOUND", "error_details": "valid product_id is required", "message": "product"}
        if path.endswith("/ticker"):
            rows = [self._row(market, row) for row in reversed(market.trades[-int(query.get("limit", "100")) :])]
            return 200, {"trades": rows, "best_bid": str(max(market.bids)), "best_ask": str(min(market.asks))}
        if path == "/api/v3/brokerage/market/product_book":
            limit = int(query.get("limit", "1000"))
            bids, asks = ([{"price": str(p), "size": str(q)} for p, q in side] for side in market.sides(limit))
            book = {"product_id": self._id(market), "bids": bids, "asks": asks, "time": iso(self.time.now)}
            return 200, {"pricebook": book}
        return 404, {"error": "NOT_FOUND"}

    def _row(self, market: Market, row: tuple[int, int, float, float]) -> dict[str, Any]:
        number, ts, price, size = row
        about = {"trade_id": str(number), "product_id": self._id(market), "price": str(price), "size": str(size)}
        return {**about, "time": iso(ts), "side": "BUY"}

    def _info(self, market: Market) -> dict[str, Any]:
        return {
            "product_id": self._id(market), "price": str(market.price), "base_increment": "0.00000001",
            "quote_increment": "0.01", "quote_min_size": "1", "quote_max_size": "50000000", "base_min_size": "0.00001",
            "base_max_size": "1500", "base_name": market.base, "quote_name": market.quote, "is_disabled": False,
            "status": "online", "cancel_only": False, "limit_only": False, "post_only": False,
            "trading_disabled": not market.active, "auction_mode": False, "product_type": "SPOT",
            "quote_currency_id": market.quote, "base_currency_id": market.base, "alias": "", "alias_to": [],
            "base_display_symbol": market.base, "quote_display_symbol": market.quote, "price_increment": "0.01",
        }  # fmt: skip

    def subscribe(self, wish: dict[str, Any], state: dict[str, Any]) -> list[Any]:
        said: list[Any] = []
        for name in wish["product_ids"]:
            market = self._market(name)
            if market is None:
                said.append({"type": "error", "message": f"{name} is not a valid product"})
                continue
            state.setdefault(wish["channel"], []).append(market)
            whole = self.trades(market, 5) if wish["channel"] == "market_trades" else self.snapshot(market)
            said.append(whole)
        done = {"subscriptions": {wish["channel"]: wish["product_ids"]}}
        return [*said, {"channel": "subscriptions", "events": [done]}]

    def beat(self, state: dict[str, Any]) -> list[Any]:
        said = []
        for market in state.get("market_trades", []):
            self.floor.trade(market.symbol, market.price, 0.25)
            said.append(self.trades(market))
        return said + [self.book_update(market) for market in state.get("level2", [])]

    def trades(self, market: Market, count: int = 1) -> dict[str, Any]:
        """The newest trades, the newest first."""
        rows = [self._row(market, row) for row in reversed(market.trades[-count:])]
        event = {"type": "update" if count == 1 else "snapshot", "trades": rows}
        return {"channel": "market_trades", "events": [event]}

    def _level(self, side: str, price: float, size: float) -> dict[str, str]:
        about = {"side": side, "event_time": iso(self.time.now)}
        return {**about, "price_level": str(price), "new_quantity": str(size)}

    def snapshot(self, market: Market) -> dict[str, Any]:
        """The whole book."""
        bids, asks = market.sides()
        updates = [self._level("bid", *level) for level in bids] + [self._level("offer", *level) for level in asks]
        return self._book(market, "snapshot", updates)

    def book_update(self, market: Market) -> dict[str, Any]:
        """The best bid grows by one."""
        best = max(market.bids)
        market.bids[best] += 1.0
        return self._book(market, "update", [self._level("bid", best, market.bids[best])])

    def _book(self, market: Market, kind: str, updates: list[Any]) -> dict[str, Any]:
        event = {"type": kind, "product_id": self._id(market), "updates": updates}
        return {"channel": "l2_data", "events": [event]}

    def stamp(self, message: Any, state: dict[str, Any]) -> Any:
        number = state["said"]
        state["said"] += 1
        if message.get("type") == "error":
            return message
        return {**message, "client_id": "", "timestamp": iso(self.time.now), "sequence_num": number}
