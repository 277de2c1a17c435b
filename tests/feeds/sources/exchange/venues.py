"""Local exchanges: what Binance, Kraken and Coinbase Advanced say to the requests that our sources make.

Why this file exists: sources are tested against servers that speak the real wire format. A `Floor` holds the markets
(trades and books that a test moves); a dialect tells them as the venue's API pages show, over REST and websocket.
Dialects are in `venues_binance.py`, `venues_kraken.py` and `venues_coinbase.py`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.feeds.sources.check_suite import StageTime
from tests.feeds.sources.hostile import Honest, HostileSocket, open_socket

REMEMBERED = 10_000
"""So many trades of a market does the floor keep."""
BEAT = 0.01
"""Seconds between two things that a websocket says by itself."""


@dataclass
class Market:
    """One market: `trades` as (number, UTC microseconds, price, size), oldest first; sides of the book by price."""

    symbol: str
    price: float
    trades: list[tuple[int, int, float, float]] = field(default_factory=list)
    bids: dict[float, float] = field(default_factory=dict)
    asks: dict[float, float] = field(default_factory=dict)
    update: int = 1000
    active: bool = True

    @property
    def base(self) -> str:
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.partition("/")[2]

    def sides(self, limit: int = 1000) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Bids and asks from the best outwards."""
        return sorted(self.bids.items(), reverse=True)[:limit], sorted(self.asks.items())[:limit]


class Floor:
    """Markets at one venue. Each starts with 30 trades, one a second until now, and a book of 20 levels a side."""

    def __init__(self, time: StageTime, **prices: float) -> None:
        self.time = time
        self.markets: dict[str, Market] = {}
        for name, price in prices.items():
            self.list(name.replace("_", "/"), price)

    def list(self, symbol: str, price: float) -> Market:
        """A new market."""
        market = self.markets[symbol] = Market(symbol, price)
        for step in range(1, 21):
            market.bids[round(price * (1 - step / 1000), 2)] = float(step)
            market.asks[round(price * (1 + step / 1000), 2)] = float(step)
        for age in range(30, 0, -1):
            self.trade(symbol, price, 0.5, ago=age * 1_000_000)
        return market

    def trade(self, symbol: str, price: float, size: float, ago: int = 0, number: int | None = None) -> None:
        """Somebody traded, `ago` microseconds before now."""
        market = self.markets[symbol]
        following = market.trades[-1][0] + 1 if market.trades else 5000
        market.trades.append((following if number is None else number, self.time.now - ago, price, size))
        del market.trades[:-REMEMBERED]
        market.price = price


class Dialect:
    """One venue's API in front of a floor. `beating`: sockets say something by themselves every `BEAT`."""

    def __init__(self, floor: Floor) -> None:
        self.floor, self.time = floor, floor.time
        self.beating = True
        self.subscriptions = 0
        """Subscriptions asked for over all sockets so far."""
        self.outbox: list[Any] = []
        """Messages that every socket says next."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The honest handler."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._talk(request)
        status, answer = self.rest(request.path, dict(request.query))
        return web.json_response(answer, status=status)

    def rest(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        """Status and answer of one GET."""
        raise NotImplementedError

    def subscribe(self, wish: dict[str, Any], state: dict[str, Any]) -> list[Any]:
        """What a socket says to one message of the client; `state` is the socket's own."""
        raise NotImplementedError

    def beat(self, state: dict[str, Any]) -> list[Any]:
        """What a socket says by itself: one more trade and one update of the book for each subscription."""
        raise NotImplementedError

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        socket: HostileSocket = await open_socket(request)
        with suppress(ConnectionError):  # the client hung up
            await self._converse(socket)
        return socket.raw

    async def _converse(self, socket: HostileSocket) -> None:
        state: dict[str, Any] = {"said": 0}
        while not socket.raw.closed and not socket.server.stopping:
            text = await socket.receive(BEAT)
            if text is not None:
                self.subscriptions += 1
                said = self.subscribe(json.loads(text), state)
            elif socket.raw.closed:
                break
            else:
                said, self.outbox = [*(self.beat(state) if self.beating else []), *self.outbox], []
            for message in said:
                await socket.send(message if isinstance(message, str) else json.dumps(self.stamp(message, state)))

    def stamp(self, message: Any, state: dict[str, Any]) -> Any:
        """The message as it goes out."""
        return message


def iso(micros: int) -> str:
    """Like 2023-03-11T12:00:00.000000Z."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def honest(dialect: type[Dialect], **prices: float) -> Any:
    """For rigs: a stage's time to the handler of a new venue with these markets (`BTC_USD=20_000.0`)."""

    def begin(time: StageTime) -> Honest:
        return dialect(Floor(time, **prices)).handle

    return begin
