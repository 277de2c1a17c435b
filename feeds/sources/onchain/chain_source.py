"""What all sources on a chain share: the round, the refusals, exact prices.

Why this file exists: each kind of contract differs only in what it is asked and in how its numbers become a price. The
round around it is here once: pin a block, ask, admit through the gate. Never in it: a contract's functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from feeds.sources.http import Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.onchain.abi import Block
from feeds.sources.onchain.reader import ChainReader, ChainSettings
from feeds.sources.source import MalformedQuote, QuoteGate
from feeds.types import SECOND, Micros, Quote

MAX_DECIMALS = 36
"""Most decimals of a feed or token that are believed; 18 is usual, 27 the most seen in use."""


class ChainSource(ABC):
    """A `Fetcher` (`feeds.sources.live`) of one symbol from one chain."""

    def __init__(self, settings: ChainSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet. Raises BadRule."""
        self._limits, self.clock = settings, clock
        self.name, self.symbols, self.gate = settings.name, (settings.symbol,), QuoteGate(settings.name)
        self.reader = ChainReader(settings, http, clock)

    async def fetch(self) -> list[Quote]:
        """One quote, or none where the contract's word was refused (counted in `gate.refused`).

        Raises SourceUnavailable (the classes of `feeds.sources.onchain.errors` among them) or SecretMissing.
        """
        block = await self.reader.pin()
        try:
            quote = await self.quote(block)
        except MalformedQuote as refusal:
            self.gate.refused[refusal.field] += 1
            self.gate.last_refusal = refusal
            return []
        return [] if quote is None else [quote]

    @abstractmethod
    async def quote(self, block: Block) -> Quote | None:
        """The quote at `block`, None while there is none yet. Raises MalformedQuote and what `fetch` raises."""

    async def close(self) -> None:
        """Nothing to let go of: the `Http` is shared."""
        return

    def admit(self, price: float, ts: Micros) -> Quote | None:
        """A quote of `price` as of `ts`, through the gate and the operator's bounds. Raises MalformedQuote."""
        low, high = self._limits.min_price, self._limits.max_price
        if not low < price < high:
            raise MalformedQuote(self.name, "price", price, f"above {low:g} and below {high:g}")
        return self.gate.admit(self.symbols[0], price, None, ts, self.clock())

    def check_age(self, field: str, seconds: int, block: Block, limit: int) -> None:
        """Refuse an answer of second `seconds` that is older than `limit` or newer than `block`, its own home."""
        if seconds > block.timestamp:
            raise MalformedQuote(self.name, field, seconds, f"no later than its block's {block.timestamp}")
        age = max(block.timestamp, self.clock() // SECOND) - seconds
        if age > limit:
            raise MalformedQuote(self.name, field, f"{age} s old", f"at most {limit} s old: the answer is stale")

    def refuse(self, field: str, given: object, limit: str) -> MalformedQuote:
        """The error that refuses what the contract said."""
        return MalformedQuote(self.name, field, given, limit)

    def exact(self, numerator: int, denominator: int, exponent: int) -> float:
        """The quotient x 10^exponent, rounded once, to the nearest float. Raises MalformedQuote.

        Integers of any size divide exactly rounded in Python, so no digit is lost on the way.
        """
        if exponent >= 0:
            numerator *= 10**exponent
        else:
            denominator *= 10**-exponent
        try:
            price = numerator / denominator
        except (ZeroDivisionError, OverflowError):
            price = 0.0
        if not price > 0.0:
            raise self.refuse("price", "0, below 0 or beyond float64", "a finite number above 0")
        return price
