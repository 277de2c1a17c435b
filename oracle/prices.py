"""The fused prices of one node's feeds: which market a feed reads, now and at a question's time.

Why this file exists: feeds that agree in their settings share one market and its memory, and a question needs the
price that was known at its moment, whenever it is asked. Never in it: polling, storing, models, signed integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from feeds.fuse import Fused
from feeds.market import Market
from feeds.monitor import Monitor
from feeds.sources.source import DepthSource, Source
from feeds.types import SECOND, Depth, Micros, Quote
from oracle.config import FeedSettings, QuestionSettings
from oracle.observe import fusion_rule, priced

MarketKey = tuple[str, tuple[str, ...], tuple[str, ...], int, int, float | None]
"""What of a feed its market hangs on (`_key`): feeds that agree in it share one market."""


def bookless(sources: Iterable[Source]) -> tuple[str, ...]:
    """Names of the sources that can have no order book, by their kind: what they say or hide does not change it."""
    return tuple(s.name for s in sources if not isinstance(getattr(s, "origin", s), DepthSource))


def market_of(feed: FeedSettings, symbols: Mapping[str, tuple[str, ...]], without_book: tuple[str, ...] = ()) -> Market:
    """The market of a feed. `symbols`: what each source quotes; one that is not listed quotes the feed's symbol."""
    symbol = symbol_of(feed)
    rule = fusion_rule(feed, symbol, symbols, without_book)
    beside: dict[str, tuple[str, ...]] = {}
    for name in feed.sources:
        for other in symbols.get(name, ()):
            if other != symbol:
                beside[other] = (*beside.get(other, ()), name)
    return Market(rule, beside)


def symbol_of(feed: FeedSettings) -> str:
    """The symbol that a feed's price is of: an event's is its question's."""
    return feed.symbol if feed.question is None else feed.question.symbol


class Prices:
    """The markets of all feeds. Not safe to share between threads."""

    def __init__(self, feeds: Sequence[FeedSettings], sources: Sequence[Source]) -> None:
        """Nothing known yet. Raises `UnitMismatch` for a feed whose symbol nobody quotes and that is no pair."""
        self._symbols = {source.name: tuple(getattr(source, "symbols", ())) for source in sources}
        self._bookless = bookless(sources)
        self._feeds = {feed.number: feed for feed in feeds}
        self._markets: dict[MarketKey, Market] = {}
        self._behind: set[MarketKey] = set()
        self.counted: dict[int, int] = {}
        """Feed -> sources that counted when its price was last asked for."""
        for feed in feeds:
            self._markets.setdefault(_key(feed), market_of(feed, self._symbols, self._bookless))
        self._settled = {f.number: _Settled(f, f.question, self._symbols) for f in feeds if f.question is not None}

    def add(self, quotes: Sequence[Quote]) -> None:
        """Take in what is newly known."""
        for key, market in self._markets.items():
            if not market.add(quote for quote in quotes if quote.source in key[1]):
                self._behind.add(key)
        for settled in self._settled.values():
            settled.add(quotes)

    def add_depth(self, depths: Sequence[Depth]) -> None:
        """Take in what it costs to push the sources' markets."""
        for key, market in self._markets.items():
            market.add_depth(depth for depth in depths if depth.source in key[1])

    def spans(self, now: Micros) -> list[tuple[Micros, Micros]]:
        """The times, both ends within and none twice, in which came to be known what still has a part in a price."""
        wanted = [(_since(market, now), now) for market in self._markets.values()]
        wanted += [(settled.since, min(settled.at, now)) for settled in self._settled.values()]
        joined: list[tuple[Micros, Micros]] = []
        for low, high in sorted(span for span in wanted if span[0] <= span[1]):
            if joined and low <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(joined[-1][1], high)
            else:
                joined.append((low, high))
        return joined

    def catch_up(self, now: Micros, known: Callable[[str, Micros, Micros], list[Quote]]) -> None:
        """Begin anew, from the quotes known of a symbol, where a source brought a history that was not known before.

        So a node that saw it late judges as one that restarts and finds it stored. `known`: the quotes of a symbol
        that came to be known by the first and since the second moment. Raises what it raises.
        """
        for key in sorted(self._behind):
            feed = next(feed for feed in self._feeds.values() if _key(feed) == key)
            market = market_of(feed, self._symbols, self._bookless)
            market.add_depth(self._markets[key].depths)
            for symbol in market.monitors:
                market.add(q for q in known(symbol, now, _since(market, now)) if q.source in key[1])
            self._markets[key] = market
        self._behind.clear()

    def price(self, feed: FeedSettings, now: Micros) -> Fused:
        """The feed's price as known at `now`. Raises Abstention."""
        answer = self._markets[_key(feed)].at(now)
        self.counted[feed.number] = len(answer.sources)
        return priced(feed, answer)

    def settled(self, feed: FeedSettings) -> Fused:
        """The price at the time of the feed's question, once that is over. Raises Abstention."""
        return self._settled[feed.number].price()

    def named(self) -> dict[tuple[str, str], str]:
        """Sources named faulty now: (symbol, source) -> `dead`, `frozen` or `drifting`."""
        return {key: kind for market in self._markets.values() for key, kind in market.named.items()}

    def ages(self, now: Micros) -> dict[tuple[str, str], float]:
        """Seconds since the newest quote: (symbol, source) -> age; a source of which nothing came is not in it."""
        newest = (
            (symbol, name, quote)
            for market in self._markets.values()
            for symbol, monitor in market.monitors.items()
            for name, quote in monitor.newest.items()
        )
        return {(symbol, name): (now - quote.ts) / SECOND for symbol, name, quote in newest if quote is not None}


class _Settled:
    """The market that says what an event question's price was at its time."""

    def __init__(self, feed: FeedSettings, question: QuestionSettings, symbols: Mapping[str, tuple[str, ...]]) -> None:
        self._feed, self.at = feed, Micros(question.at_ms * 1000)
        self._market = market_of(feed, symbols)
        self.since = Monitor.since(self._market.rule, self.at)
        self._price: Fused | None = None

    def add(self, quotes: Iterable[Quote]) -> None:
        """Keep what has a part in the price at the question's time."""
        mine = (q for q in quotes if q.source in self._feed.sources)
        self._market.add(q for q in mine if self.since < q.known_at <= self.at)

    def price(self) -> Fused:
        """The fused price as it was known at the question's time. Raises Abstention."""
        if self._price is None:
            self._price = priced(self._feed, self._market.at(self.at))
        return self._price


def _since(market: Market, now: Micros) -> Micros:
    """From when on quotes can have a part in the market's answer at `now`."""
    return Micros(max(0, min(Monitor.since(m.rule, now) for m in market.monitors.values())))


def _key(feed: FeedSettings) -> MarketKey:
    return symbol_of(feed), feed.sources, feed.without, feed.max_age_s, feed.min_sources, feed.min_depth
