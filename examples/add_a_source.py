"""A source of your own in ten minutes: an API that settings alone cannot read. `python examples/add_a_source.py URL`"""

import asyncio
import sys

from feeds.sources.http import Http
from feeds.sources.live import Clock, Live, system_clock
from feeds.sources.source import FeedError, MalformedAnswer, QuoteGate
from feeds.types import Quote


class Desk:
    """The middle of what a currency desk bids and asks: `[{"pair": "EURUSD", "bid": "1.07", "ask": "1.08"}, ...]`."""

    def __init__(self, url: str, http: Http, clock: Clock = system_clock) -> None:
        self.name, self.symbols = "desk", ("EUR/USD", "GBP/USD")
        self.gate = QuoteGate(self.name)  # every price goes through it: sound ones become quotes, others are counted
        self._url, self._http = url, http  # one Http for all sources: time, size, rate and redirects are its business

    async def fetch(self) -> list[Quote]:
        """One round: sound quotes or a FeedError, whatever the other side does."""
        answer = await self._http.request(self.name, "GET", self._url)
        rows = answer.json()
        if not isinstance(rows, list):
            raise MalformedAnswer(self.name, rows, "a list")
        quotes = [self._quote(row, answer.received_at) for row in rows if isinstance(row, dict)]
        return [quote for quote in quotes if quote is not None]

    def _quote(self, row: dict[str, object], known_at: int) -> Quote | None:
        symbol = next((s for s in self.symbols if s.replace("/", "") == row.get("pair")), None)
        if symbol is None:
            return None
        bid, ask = (self.gate.admit(symbol, row.get(side), None, known_at, known_at) for side in ("bid", "ask"))
        return bid and ask and self.gate.admit(symbol, (bid.price + ask.price) / 2, None, known_at, known_at)

    async def close(self) -> None:
        """Nothing here is our own."""


async def main(url: str, wanted: int = 2) -> list[Quote]:
    http, quotes = Http(), []
    source = Live(Desk(url, http), every=1.0)  # asks in a task of its own; polls never wait
    try:
        for _ in range(100):
            try:
                quotes += await source.poll(system_clock())
            except FeedError as error:
                print(error)
            if len(quotes) >= wanted:
                break
            await asyncio.sleep(0.1)
    finally:
        await source.close()
        await http.close()
    for quote in quotes:
        print(quote)
    return quotes


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
