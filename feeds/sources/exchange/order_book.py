"""What an order book says: the middle of the market, and what it costs to move it.

Why this file exists: a price says nothing about how much money stands behind it; the book does. Pure: a checked book
in, numbers out. Never in it: network, a venue's format, a decision what depth is enough (`feeds.judge`).

Cost to move: whoever wants to move a market by x basis points must trade away every order that stands in between: all
asks below mid x (1 + x / 10,000), or all bids above mid x (1 - x / 10,000). What rests behind the push costs nothing,
so this is the least money that does it: what the trade calls the market depth at x %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from feeds.sources.source import MalformedQuote, brief

Level = tuple[float, float]
"""One price of one side: price in quote units per base unit, size in base units."""
MAX_LEVELS = 20_000
"""Most levels of one side that are read; a venue's full book has fewer."""


@dataclass(frozen=True, slots=True)
class OrderBook:
    """One sound order book: both sides there, each strictly from its best price outwards, best bid below best ask."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    @property
    def mid(self) -> float:
        """The middle between best bid and best ask."""
        return self.bids[0][0] + (self.asks[0][0] - self.bids[0][0]) / 2

    @property
    def size(self) -> float:
        """Base units at the best bid and the best ask together."""
        return self.bids[0][1] + self.asks[0][1]


@dataclass(frozen=True, slots=True)
class Cost:
    """Quote units that one push takes; `lower_bound`: the book ended before it got there, it takes at least so much."""

    amount: float
    lower_bound: bool


def check_book(source: str, bids: object, asks: object) -> OrderBook:
    """The sound book of two lists of `[price, size, ...]`, as ccxt's unified order book has them.

    Levels of size 0 are left out (they are gone). Raises MalformedQuote (field `book`) for a side that is empty, not
    strictly sorted from its best price outwards, longer than `MAX_LEVELS` or holds anything but finite positive
    prices and finite sizes of at least 0, and for a book whose best bid is not below its best ask.
    """
    book = OrderBook(_side(source, "bids", bids), _side(source, "asks", asks))
    best_bid, best_ask = book.bids[0][0], book.asks[0][0]
    if best_bid >= best_ask:
        raise MalformedQuote(source, "book", f"bid {best_bid} and ask {best_ask}", "uncrossed: best bid below best ask")
    return book


def _side(source: str, name: str, given: object) -> tuple[Level, ...]:
    if not isinstance(given, list | tuple):
        raise MalformedQuote(source, "book", f"{name} {brief(given)!r}", "a list of levels")
    if len(given) > MAX_LEVELS:
        raise MalformedQuote(source, "book", f"{len(given)} {name}", f"at most {MAX_LEVELS} levels a side")
    levels = tuple(level for level in (_level(source, name, item) for item in given) if level[1] > 0.0)
    if not levels:
        raise MalformedQuote(source, "book", f"{name} without an order", "a book with both sides")
    falling = name == "bids"
    for (before, _), (price, _) in pairwise(levels):
        if price == before or (price < before) is not falling:
            raise MalformedQuote(source, "book", f"{name} {price} after {before}", "sorted, best price first")
    return levels


def _level(source: str, name: str, item: object) -> Level:
    if not isinstance(item, list | tuple) or len(item) < 2:
        raise MalformedQuote(source, "book", f"{name} with {brief(item)!r}", "levels of a price and a size")
    price, size = item[0], item[1]
    sound = all(isinstance(n, float | int) and not isinstance(n, bool) and abs(n) < 1e300 for n in (price, size))
    if not (sound and price > 0 and size >= 0):
        raise MalformedQuote(
            source, "book", f"{name} with {brief(item)!r}", "finite prices above 0 and sizes of at least 0"
        )
    return float(price), float(size)


def cost_to_move(book: OrderBook, bps: float) -> tuple[Cost, Cost]:
    """What it takes to move the mid by `bps` basis points up, and down.

    >>> up, down = cost_to_move(OrderBook(bids=((99.0, 1.0),), asks=((101.0, 2.0), (102.0, 5.0))), 150)
    >>> up, down
    (Cost(amount=202.0, lower_bound=False), Cost(amount=99.0, lower_bound=True))
    """
    move = bps / 10_000
    ceiling, floor = book.mid * (1.0 + move), book.mid * (1.0 - move)
    return (
        _cost(book.asks, [price for price, _ in book.asks if price < ceiling]),
        _cost(book.bids, [price for price, _ in book.bids if price > floor]),
    )


def _cost(side: Sequence[Level], taken: Sequence[float]) -> Cost:
    amount = sum((price * size for price, size in side[: len(taken)]), 0.0)
    return Cost(amount, lower_bound=len(taken) == len(side))
