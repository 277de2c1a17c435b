"""A source's order books, as depths and as mid quotes.

Why this file exists: the REST and the websocket form of a venue do the same with a book: check it, state what it costs
to move the market, and, where the operator chose the mid as price, make a quote of it. Never in it: network, ccxt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from feeds.sources.exchange.order_book import check_book, cost_to_move
from feeds.sources.exchange.tape import MAX_AHEAD
from feeds.sources.source import EARLIEST, MalformedQuote, QuoteGate
from feeds.types import Depth, Micros, Quote


class DepthBoard:
    """The newest depths of each market of one source."""

    def __init__(self, gate: QuoteGate, bps: tuple[float, ...]) -> None:
        """Nothing known. `bps`: the moves whose cost is stated."""
        self._gate, self._bps = gate, bps
        self._depths: dict[str, list[Depth]] = {}
        self._stated: dict[str, int] = {}

    def take(self, symbol: str, book: object, known_at: Micros) -> Quote | None:
        """Take in ccxt's unified order book (`bids`, `asks`, `timestamp` in milliseconds or None): its mid as a quote.

        The quote's size is None, its time the book's own, or `known_at` where the venue gives none. A book that is
        not sound is refused and counted, and the market's depth is not known any more: None.
        """
        try:
            return self._take(symbol, book, known_at)
        except MalformedQuote as refusal:
            self._gate.refused[refusal.field] += 1
            self._gate.last_refusal = refusal
            self.forget(symbol)
            return None

    def forget(self, symbol: str) -> None:
        """The book of `symbol` is not known any more."""
        self._depths.pop(symbol, None)

    def depths(self, now: Micros) -> list[Depth]:
        """The newest depths known by `now`, by symbol and move."""
        return [depth for _, found in sorted(self._depths.items()) for depth in found if depth.known_at <= now]

    def _take(self, symbol: str, given: object, known_at: Micros) -> Quote | None:
        source = self._gate.source
        if not isinstance(given, Mapping):
            raise MalformedQuote(source, "book", given, "an order book")
        if given.get("symbol") not in (symbol, None):
            raise MalformedQuote(source, "symbol", given.get("symbol"), f"{symbol}, which was asked for")
        book = check_book(source, given.get("bids"), given.get("asks"))
        ts = self._time(given.get("timestamp"), known_at)
        depths = []
        for bps in self._bps:
            up, down = cost_to_move(book, bps)
            if not (math.isfinite(up.amount) and math.isfinite(down.amount)):
                raise MalformedQuote(source, "book", "orders worth more than any number", "finite")
            short = up.lower_bound or down.lower_bound
            depths.append(Depth(source, symbol, bps, up.amount, down.amount, ts, known_at, short))
        self._depths[symbol] = depths
        stated = self._stated[symbol] = max(ts, self._stated.get(symbol, 0) + 1)
        return self._gate.admit(symbol, book.mid, None, stated, known_at)

    def _time(self, given: object, known_at: Micros) -> Micros:
        if given is None:
            return known_at
        sound = isinstance(given, float | int) and not isinstance(given, bool) and 0 <= given < 1e14
        ts = Micros(round(given * 1000)) if sound else Micros(0)  # type: ignore[operator]
        if not EARLIEST <= ts <= known_at + MAX_AHEAD:
            raise MalformedQuote(self._gate.source, "ts", given, "milliseconds of a UTC time that is not ahead of ours")
        return ts
