"""From a venue's trades to quotes: each trade once, in order, at most one quote a look.

Why this file exists: venues repeat trades, send them out of order, lose some and replay old ones after a reconnect; a
fused price must not notice. Pure: unified trades (ccxt's public trade structure: `id`, `symbol`, `timestamp` in
milliseconds, `price`, `amount`) in, `Quote`s out. Never in it: network, ccxt, a clock.

A quote of one look: the price of the newest trade, the size of all trades new since the look before, and the newest
trade's time. One quote a look bounds what fusion and store must take in, and bars keep their volume; the price path
between two looks is lost. Where nothing traded, the last price comes again with size 0.0 at the time of the look, so
that a market without trades (frozen) differs from a venue that does not answer (dead).

- The first look knows no "since": it states the newest trade with its own size.
- Times never go back: a trade that the venue publishes after we said that nothing traded until T is stated at T + 1
  microsecond.
- A trade told late (its time is before the newest) adds its volume, never its price.
- `refused["missed"]` counts trades that were never shown, where ids tell: by the gap in numbers that otherwise count
  up by one, else one whenever a full answer begins after the last trade known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from feeds.sources.source import MalformedQuote, QuoteGate
from feeds.types import SECOND, Micros, Quote

REMEMBERED = 4000
"""Trades whose ids are kept to know them again: four of the longest answers. What is older than all of them is old."""
MAX_AHEAD = 60 * SECOND
"""A trade further ahead of its own arrival is refused: its time would hold back all that follow."""
PROOF = 20
"""So many ids in a row that count up by one, and a gap in them is a number of missed trades."""
LEAP = 1_000_000
"""A greater step between two ids is another numbering, not a gap."""


class _Trade(NamedTuple):
    """One sound trade; the order of its fields is the order of trades."""

    ts: int
    number: int
    key: str
    price: float
    size: float


class Tape:
    """The trades of one market of one source. Memory is bounded by `REMEMBERED` however long it runs."""

    def __init__(self, symbol: str, gate: QuoteGate) -> None:
        """Nothing known yet; what is unsound is counted by `gate`."""
        self.symbol, self._gate = symbol, gate
        self._known: set[str] = set()
        self._order: deque[tuple[str, int]] = deque()
        self._floor, self._stated = 0, 0
        self._last: _Trade | None = None
        self._volume, self._fresh = 0.0, False
        self._top, self._run = -1, 0

    def add(self, trades: Iterable[object], known_at: Micros, full: bool = False) -> int:
        """Take in trades in any order; how many of them were new and sound. What is unsound is refused and counted.

        `full`: the venue's answer was as long as it can be, so there may be trades before it that it does not show.
        """
        first, overlap, new = self._last is None, False, []
        for item in trades:
            trade = self._read(item, known_at)
            if trade is None:
                continue
            if trade.ts <= self._floor or trade.key in self._known:
                overlap = True
            else:
                self._known.add(trade.key)
                new.append(trade)
        if not new:
            return 0
        new.sort()
        self._order.extend((trade.key, trade.ts) for trade in new)
        while len(self._order) > REMEMBERED:
            key, ts = self._order.popleft()
            self._known.discard(key)
            self._floor = max(self._floor, ts)
        if full and not first and not overlap and self._run < PROOF:
            self._gate.refused["missed"] += 1
        self._count_gaps(sorted(trade.number for trade in new))
        self._volume = new[-1].size if first else self._volume + sum(trade.size for trade in new)
        self._last = new[-1] if self._last is None or new[-1][:2] >= self._last[:2] else self._last
        self._fresh = True
        return len(new)

    def look(self, known_at: Micros, alive: bool = True) -> Quote | None:
        """What this look says; None before the first trade, and where nothing is new and the venue not `alive`."""
        last = self._last
        if last is None or not (self._fresh or alive):
            return None
        size, ts = (self._volume, last.ts) if self._fresh else (0.0, known_at)
        self._stated = max(ts, self._stated + 1)
        self._volume, self._fresh = 0.0, False
        return self._gate.admit(self.symbol, last.price, size, self._stated, known_at)

    def _read(self, item: object, known_at: Micros) -> _Trade | None:
        if not isinstance(item, Mapping):
            return self._refuse("trade", item, "a trade")
        if item.get("symbol") != self.symbol:
            return self._refuse("symbol", item.get("symbol"), f"{self.symbol}, which was asked for")
        given = item.get("timestamp")
        if not (isinstance(given, float | int) and not isinstance(given, bool) and 0 <= given < 1e14):
            return self._refuse("ts", given, "milliseconds of a UTC time")
        ts = round(given * 1000)
        if ts > known_at + MAX_AHEAD:
            return self._refuse("ts", ts, f"at most {MAX_AHEAD // SECOND} s ahead of its arrival")
        quote = self._gate.admit(self.symbol, item.get("price"), item.get("amount"), ts, known_at)
        if quote is None:
            return None
        if not quote.size:
            return self._refuse("size", quote.size, "above 0 for a trade")
        name = item.get("id")
        named = isinstance(name, str | int) and name != ""
        key = str(name)[:64] if named else f"{ts} {quote.price!r} {quote.size!r}"
        number = int(key) if key.isascii() and key.isdigit() and len(key) < 19 else -1
        return _Trade(ts, number, key, quote.price, quote.size)

    def _refuse(self, field: str, given: object, limit: str) -> _Trade | None:
        self._gate.refused[field] += 1
        self._gate.last_refusal = MalformedQuote(self._gate.source, field, given, limit)
        return None

    def _count_gaps(self, numbers: Iterable[int]) -> None:
        before = missed = self._gate.refused["missed"]
        for number in numbers:
            step = number - self._top
            if number < 0 or self._top < 0 or abs(step) > LEAP:
                self._run = 0
            elif step == 1:
                self._run = min(self._run + 1, 10 * PROOF)
            elif self._run >= PROOF and step > 1:
                missed += step - 1
                self._run //= 2
            elif self._run >= PROOF:
                missed -= 1
            elif step > 1:
                self._run = 0
            if number >= 0 and (step > 0 or step < -LEAP):
                self._top = number
        if missed != before:
            self._gate.refused["missed"] = max(0, missed)
