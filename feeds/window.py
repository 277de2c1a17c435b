"""The recent quotes of each source, as fusion wants them.

Why this file exists: fusion is pure and has no memory, yet it needs a little history to tell a stuck source from a
quiet one, and the last word of a source that fell silent to name it as stale. Never in it: I/O, a clock, judgement.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable

from feeds.sources.source import BadRule
from feeds.types import Micros, Quote


def _known(quote: Quote) -> tuple[int, int]:
    return quote.known_at, quote.ts


class QuoteWindow:
    """Quotes of the last `span` microseconds by symbol and source, and always each source's newest.

    Not safe to share between threads. Memory is bounded by what the sources send within `span`.
    """

    def __init__(self, span: int) -> None:
        """`span`: microseconds to keep, at least the rules' `history`. Raises `BadRule`."""
        if span < 1:
            raise BadRule("window: span", span, "at least 1 microsecond")
        self._span = span
        self._kept: dict[str, dict[str, list[Quote]]] = {}

    def add(self, quotes: Iterable[Quote]) -> None:
        """Take in quotes, in any order; the same quote again changes nothing."""
        for quote in quotes:
            kept = self._kept.setdefault(quote.symbol, {}).setdefault(quote.source, [])
            if not kept or _known(kept[-1]) < _known(quote):
                kept.append(quote)
            elif quote not in kept:
                insort(kept, quote, key=_known)
            excess = bisect_right(kept, kept[-1].known_at - self._span, key=lambda q: q.known_at)
            if excess > 1 + len(kept) // 2:
                del kept[: excess - 1]

    def quotes(self, symbol: str, now: Micros) -> list[Quote]:
        """What was known of `symbol` by `now`: of each source the quotes since `now - span` and the one before them."""
        found: list[Quote] = []
        for kept in self._kept.get(symbol, {}).values():
            end = bisect_right(kept, now, key=lambda q: q.known_at)
            first = bisect_right(kept, now - self._span, 0, end, key=lambda q: q.known_at)
            found.extend(kept[max(0, first - 1) : end])
        return found

    def forget(self, source: str) -> None:
        """Drop all quotes of `source`: it was taken off the list."""
        for by_source in self._kept.values():
            by_source.pop(source, None)
