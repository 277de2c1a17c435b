"""Exchanges as sources: what an operator sets, and the venue that is asked again and again over REST.

Why this file exists: it says which of a venue's many numbers is its quote. Never in it: ccxt itself
(`client.py`), how trades become a quote (`tape.py`), websockets (`stream.py`).

The quote of a market is its newest trade, with the size of all trades since the look before (0.0 where nothing
traded); with `price = "mid"` it is the middle of its order book, whose size is not stated (None). Trades are evidence
that money changed hands, so they are the rule; the mid is for markets that trade too seldom. Beside the quotes stands
what it costs to move the market (`Depth`), from the order book.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Literal

from feeds.sources.exchange.client import Venue, venues
from feeds.sources.exchange.depth import DepthBoard
from feeds.sources.exchange.tape import Tape
from feeds.sources.http import Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.source import MAX_NAME, BadRule, FeedError, MalformedAnswer, QuoteGate, SourceUnavailable
from feeds.types import SECOND, Depth, Micros, Quote

AT_ONCE = 4
"""Markets of one source that are asked at a time; the venue's rate holds all the same."""
MAX_SYMBOLS = 200

_PAIR = re.compile(r"[A-Z0-9]{1,20}/[A-Z0-9]{1,20}")
_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """One venue as a source. Spans in seconds.

    `venue`: ccxt's name of it, like `kraken`. `symbols`: unified spot symbols like `BTC/USD`. `streaming`: over
    websockets. `price`: `trade` or `mid`. `trades`: most trades asked for at a time. `book_every`: between two looks
    at a market's order book, 0 for never; `book_levels`: levels of a side asked for; `depth_bps`: moves whose cost is
    stated. `request_gap`: between two requests instead of the venue's own limit in ccxt: a smaller one gets a node
    banned. `url`: scheme and host of a mirror, instead of the venue's own. For streams: `fold`: trades of so long
    become one quote; `silence`: a connection without any message for so long is lost. Raises BadRule.
    """

    name: str
    venue: str
    symbols: tuple[str, ...]
    streaming: bool = False
    price: Literal["trade", "mid"] = "trade"
    trades: int = 500
    book_every: float = 30.0
    book_levels: int = 500
    depth_bps: tuple[float, ...] = (100.0,)
    request_gap: float | None = None
    url: str = ""
    fold: float = 1.0
    silence: float = 60.0

    def __post_init__(self) -> None:
        """Check every field."""
        here = f"source {self.name}"
        if not (0 < len(self.name) <= MAX_NAME and self.name.isprintable()):
            raise BadRule("source name", self.name, f"1 to {MAX_NAME} printable characters")
        if self.venue not in venues(self.streaming):
            over = " over websockets" if self.streaming else ""
            raise BadRule(f"{here}: venue", self.venue, f"a venue that ccxt knows{over}, like kraken")
        if not 0 < len(self.symbols) <= MAX_SYMBOLS or len(set(self.symbols)) != len(self.symbols):
            raise BadRule(f"{here}: symbols", self.symbols, f"1 to {MAX_SYMBOLS} different symbols")
        for symbol in self.symbols:
            if _PAIR.fullmatch(symbol) is None:
                raise BadRule(f"{here}: symbols", symbol, "a spot market like BTC/USD")
        if self.price not in ("trade", "mid"):
            raise BadRule(f"{here}: price", self.price, "trade or mid")
        if self.url and _URL.fullmatch(self.url) is None:
            raise BadRule(f"{here}: url", self.url, "http(s)://host without a path")
        for field, given, low, high in (
            ("trades", self.trades, 1, 1000),
            ("book_every", self.book_every, 0.0, 86_400.0),
            ("book_levels", self.book_levels, 1, 5000),
            ("request_gap", self.request_gap or 0.0, 0.0, 3600.0),
            ("fold", self.fold, 0.01, 60.0),
            ("silence", self.silence, 0.05, 3600.0),
            *(("depth_bps", bps, 0.01, 5000.0) for bps in self.depth_bps),
        ):
            if not low <= given <= high:
                raise BadRule(f"{here}: {field}", given, f"from {low} to {high}")
        if not 1 <= len(self.depth_bps) <= 8:
            raise BadRule(f"{here}: depth_bps", self.depth_bps, "1 to 8 moves in basis points")

    def venue_for(self, http: Http, clock: Clock, **more: Any) -> Venue:
        """The venue of these settings, reached through `http`."""
        return Venue(
            self.venue, self.name, self.symbols, http, clock,
            streaming=self.streaming, url=self.url, request_gap=self.request_gap, **more,
        )  # fmt: skip


class ExchangeFetcher:
    """One venue over REST (a `Fetcher`: give it to `Live`): one quote per market and round.

    A market that fails is named in `troubles` and the others go on; only where none answers does a round fail.
    """

    def __init__(self, settings: ExchangeSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet. Raises BadRule where the settings are for a stream."""
        if settings.streaming:
            raise BadRule(f"source {settings.name}: streaming", True, "false for REST; use ExchangeStreamer")
        self.settings, self.gate = settings, QuoteGate(settings.name)
        self.troubles: dict[str, str] = {}
        """What went wrong with each market at the last look."""
        self._clock, self._venue = clock, settings.venue_for(http, clock)
        self._tapes = {symbol: Tape(symbol, self.gate) for symbol in settings.symbols}
        self._board = DepthBoard(self.gate, settings.depth_bps)
        self._booked: dict[str, Micros] = {}

    @property
    def name(self) -> str:
        """The source's name."""
        return self.settings.name

    @property
    def symbols(self) -> tuple[str, ...]:
        """The markets that are asked."""
        return self.settings.symbols

    def depths(self, now: Micros) -> list[Depth]:
        """What it costs to move each market, as last known."""
        return self._board.depths(now)

    async def fetch(self) -> list[Quote]:
        """One look at every market. Raises the first market's FeedError where no market gave a quote."""
        exchange = await self._venue.open()
        missing = self._venue.missing()
        self.troubles = {symbol: str(error) for symbol, error in missing.items()}
        turn = asyncio.Semaphore(AT_ONCE)

        async def look(symbol: str) -> Quote | FeedError | None:
            async with turn:
                try:
                    return await self._look(exchange, symbol)
                except FeedError as error:
                    self.troubles[symbol] = str(error)
                    return error

        seen = await asyncio.gather(*(look(symbol) for symbol in self.symbols if symbol not in missing))
        quotes = [item for item in seen if isinstance(item, Quote)]
        errors = [item for item in seen if isinstance(item, FeedError)]
        if errors and not quotes:
            raise errors[0]
        return sorted(quotes, key=lambda quote: quote.known_at)

    async def close(self) -> None:
        """Let go of ccxt and what it started; `Http` stays."""
        await self._venue.close()

    async def _look(self, exchange: Any, symbol: str) -> Quote | None:
        wish = self.settings
        if wish.price == "mid":
            return await self._look_at_book(exchange, symbol)
        trades = await self._ask(
            exchange, "fetchTrades", symbol, lambda: exchange.fetch_trades(symbol, None, wish.trades)
        )
        if not isinstance(trades, list):
            raise MalformedAnswer(self.name, type(trades).__name__, "a list of trades")
        known_at = self._clock()
        self._tapes[symbol].add(trades, known_at, full=len(trades) >= wish.trades)
        quote = self._tapes[symbol].look(known_at)
        if wish.book_every and not 0 <= known_at - self._booked.get(symbol, Micros(0)) < wish.book_every * SECOND:
            self._booked[symbol] = known_at
            try:
                await self._look_at_book(exchange, symbol)
            except FeedError as error:
                self.troubles[symbol] = f"no order book: {error}"
        return quote

    async def _look_at_book(self, exchange: Any, symbol: str) -> Quote | None:
        levels = self.settings.book_levels
        book = await self._ask(exchange, "fetchOrderBook", symbol, lambda: exchange.fetch_order_book(symbol, levels))
        return self._board.take(symbol, book, self._clock())

    async def _ask(self, exchange: Any, feature: str, symbol: str, call: Any) -> Any:
        if not exchange.has.get(feature):
            raise SourceUnavailable(self.name, f"the venue has no {feature}; mend `price` or `book_every`")
        return await self._venue.ask(call, symbol)
