"""A venue over websockets: trades and order books as they happen, folded into one quote a market and moment.

Why this file exists: it turns ccxt's `watch...` calls (https://docs.ccxt.com/#/ccxt.pro.manual) into a `Streamer`: one
`stream()` is one life of the venue's connections, and ends with a FeedError when any of them is lost, so that `Live`
connects anew, with pauses. Never in it: the connection (`socket.py`), what is a quote (`tape.py`).

- Trades are taken out of ccxt's cache after each message, so its bound of 1000 (`tradesLimit`) never drops any.
- Each `fold` seconds every market says one quote. One without new trades repeats its last price with size 0.0, but only
  while the venue sends messages: a connection on which nothing arrives for `silence` seconds is lost, and between two
  heartbeats nobody knows whether the market or the venue is silent.
- A book whose updates have a gap (`gaps.py`, ccxt's ChecksumError) is forgotten and counted in
  `refused["book_gap"]`; it is subscribed to anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from itertools import islice
from typing import Any

from feeds.sources.exchange.client import PARSER_ERRORS, ccxt_error, end, raise_feed_error
from feeds.sources.exchange.depth import DepthBoard
from feeds.sources.exchange.fetcher import ExchangeFetcher, ExchangeSettings
from feeds.sources.exchange.gaps import GapWatch
from feeds.sources.exchange.socket import Ask, Streaming
from feeds.sources.exchange.tape import Tape
from feeds.sources.http import Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.source import BadRule, FeedError, MalformedAnswer, QuoteGate, SourceUnavailable
from feeds.types import SECOND, Depth, Micros, Quote

SPEAKING = 10 * SECOND
"""A venue that sent a message within so long is alive: markets without trades are then known to be quiet."""
MAX_BOOK = 200_000
"""Most levels of one side that a book may grow to; the fullest we know of have a third."""
UNASKED = ("tickers", "bidsasks", "ohlcvs", "fundingRates", "balance", "positions", "liquidations")
"""What ccxt keeps of a venue's messages beside trades and books, which are all that we subscribe to."""


class ExchangeStreamer:
    """One venue over websockets (a `Streamer`: give it to `Live`). Markets that it lacks are named in `troubles`."""

    def __init__(self, settings: ExchangeSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is connected yet. Raises BadRule where the settings are for REST."""
        if not settings.streaming:
            raise BadRule(f"source {settings.name}: streaming", False, "true for a stream; use ExchangeFetcher")
        self.settings, self.gate = settings, QuoteGate(settings.name)
        self.troubles: dict[str, str] = {}
        """What is wrong with each market."""
        self._clock = clock
        self._venue = settings.venue_for(http, clock, mixin=Streaming)
        self._tapes = {symbol: Tape(symbol, self.gate) for symbol in settings.symbols}
        self._board = DepthBoard(self.gate, settings.depth_bps)
        self._moved: set[str] = set()
        self._booked: dict[str, Micros] = {}
        self._gaps = GapWatch(settings.venue)
        self._work: set[asyncio.Task[Any]] = set()

    @property
    def name(self) -> str:
        """The source's name."""
        return self.settings.name

    @property
    def symbols(self) -> tuple[str, ...]:
        """The markets that are watched."""
        return self.settings.symbols

    def depths(self, now: Micros) -> list[Depth]:
        """What it costs to move each market, as last known."""
        return self._board.depths(now)

    async def stream(self) -> AsyncIterator[list[Quote]]:
        """Quotes of one life of the connections, an empty list where there is nothing to say. Raises FeedErrors.

        It ends where a market that was missing is there now, or the other way round.
        """
        exchange = await self._venue.open()
        try:
            missing = self._venue.missing()
            self.troubles = {symbol: str(error) for symbol, error in missing.items()}
            exchange.on_heard, exchange.heartbeat_s = self._heard, self.settings.silence / 3
            self._gaps = GapWatch(self.settings.venue)
            self._watch(exchange, [symbol for symbol in self.symbols if symbol not in missing])
            loop = asyncio.get_running_loop()
            heard, since = 0, loop.time()
            while self._work:
                await asyncio.wait(self._work, timeout=self.settings.fold, return_when=asyncio.FIRST_EXCEPTION)
                self._check(exchange)
                if exchange.heard != heard:
                    heard, since = exchange.heard, loop.time()
                elif loop.time() - since > self.settings.silence:
                    raise SourceUnavailable(self.name, f"its websocket said nothing for {self.settings.silence:g} s")
                yield self._fold(exchange)
                if self._venue.due():
                    await self._venue.open()
                    if self._venue.missing().keys() != missing.keys():
                        return
        finally:
            await end(self._work)
            await exchange.disconnect()
            await self._venue.close()
            self._moved.clear()
            for symbol in self.symbols:
                self._lose(symbol)

    async def close(self) -> None:
        """End the connections; `Http` stays."""
        await end(self._work)
        await self._venue.close()

    def _watch(self, exchange: Any, symbols: list[str]) -> None:
        """Start what keeps ccxt's subscriptions alive: one task for all markets where the venue allows it."""
        wish = self.settings
        if wish.price == "trade":
            self._start(exchange, "trades", "watchTrades", symbols)
        if wish.price == "mid" or wish.book_every:
            self._start(exchange, "order_book", "watchOrderBook", symbols, wish.book_levels)

    def _start(self, exchange: Any, kind: str, feature: str, symbols: list[str], *limit: int) -> None:
        if exchange.has.get(f"{feature}ForSymbols"):
            many = getattr(exchange, f"watch_{kind}_for_symbols")
            asks = [partial(many, symbols, limit=limit[0]) if limit else partial(many, symbols)]
        elif exchange.has.get(feature):
            one = getattr(exchange, f"watch_{kind}")
            asks = [partial(one, symbol, limit=limit[0]) if limit else partial(one, symbol) for symbol in symbols]
        else:
            reason = f"the venue has no {feature}; mend `price`, `book_every` or `streaming`"
            raise SourceUnavailable(self.name, reason)
        for ask in asks:
            self._work.add(asyncio.get_running_loop().create_task(self._renew(exchange, ask)))

    async def _renew(self, exchange: Any, ask: Ask) -> None:
        """Ask again and again: ccxt subscribes at the first call, and anew where a subscription is lost."""
        gaps = 0
        while True:
            try:
                found = await ask()
            except (ccxt_error(), *PARSER_ERRORS) as error:
                gaps += 1
                if type(error).__name__ != "ChecksumError" or gaps > 3:
                    raise_feed_error(self.name, error, self._clock())
                self.gate.refused["book_gap"] += 1
                for symbol in self.symbols:
                    if symbol not in exchange.orderbooks:
                        self._lose(symbol)
                continue
            if isinstance(found, dict) and "bids" in found:
                gaps = 0
                self._moved.add(str(found.get("symbol")))

    def _lose(self, symbol: str) -> None:
        """The book of `symbol` is not known any more."""
        self._board.forget(symbol)
        self._booked.pop(symbol, None)

    def _heard(self, exchange: Any, message: object) -> None:
        """After each message: take the trades out of ccxt's cache, and look for gaps. Raises MalformedAnswer.

        What nobody asked for is forgotten: a venue could fill our memory with it.
        """
        now = self._clock()
        for symbol in list(exchange.trades):
            trades = exchange.trades.pop(symbol)
            tape = self._tapes.get(symbol)
            if tape is not None:
                tape.add(list(trades), now)
        for kept in (getattr(exchange, name, None) for name in UNASKED):
            if isinstance(kept, dict):
                kept.clear()
        for symbol in exchange.orderbooks.keys() - self._tapes.keys():
            del exchange.orderbooks[symbol]
        gap = self._gaps.gap(exchange, message)
        if gap is not None:
            self.gate.refused["book_gap"] += 1
            raise MalformedAnswer(self.name, gap, "without a gap")

    def _check(self, exchange: Any) -> None:
        """Raise what ended a connection or a subscription, and MalformedAnswer for a book that grew too large."""
        lost = exchange.lost
        if isinstance(lost, (FeedError, ccxt_error(), *PARSER_ERRORS)):
            raise_feed_error(self.name, lost, self._clock())
        if lost is not None:
            raise lost
        for symbol, book in exchange.orderbooks.items():
            if (most := max(len(book["bids"]), len(book["asks"]))) > MAX_BOOK:
                raise MalformedAnswer(self.name, f"{most} levels of {symbol}", f"at most {MAX_BOOK} a side")
        for task in self._work:
            if task.done() and not task.cancelled():
                task.result()

    def _fold(self, exchange: Any) -> list[Quote]:
        """What every market says now."""
        now, wish = self._clock(), self.settings
        mids = [self._look_at_book(exchange, symbol, now) for symbol in sorted(self._moved & self._tapes.keys())]
        self._moved.clear()
        alive = now - exchange.heard_at < SPEAKING
        found = mids if wish.price == "mid" else [tape.look(now, alive) for tape in self._tapes.values()]
        return [quote for quote in found if quote is not None]

    def _look_at_book(self, exchange: Any, symbol: str, now: Micros) -> Quote | None:
        """The book as it stands: at once where it is the price, else every `book_every` seconds."""
        wish, book = self.settings, exchange.orderbooks.get(symbol)
        due = wish.price == "mid" or not 0 <= now - self._booked.get(symbol, Micros(0)) < wish.book_every * SECOND
        if book is None or not due:
            return None
        self._booked[symbol] = now
        sides = {side: list(islice(book[side], wish.book_levels)) for side in ("bids", "asks")}
        return self._board.take(symbol, {"symbol": symbol, "timestamp": book.get("timestamp"), **sides}, now)


def exchange_origin(
    settings: ExchangeSettings, http: Http, clock: Clock = system_clock
) -> ExchangeFetcher | ExchangeStreamer:
    """What `Live` takes for these settings: a streamer where they say `streaming`, else a fetcher."""
    return (ExchangeStreamer if settings.streaming else ExchangeFetcher)(settings, http, clock)
