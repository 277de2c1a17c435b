"""From what sources say to what this node knows: each quote once, never in the past, and safe on disk.

Why this file exists: a node that is restarted must become the node that ran through, to the last bit, even where its
sources show no history a second time. So everything that it takes in is stored, and whatever is taken in later leaves
untouched what was made of the earlier. Never in it: polling, fusing, a clock: `now` is an argument.

Three rules make that so:

- shown again: of a source and symbol that the store knew at the start, a quote known no later than the newest stored
  one is the past told twice and is dropped; so is a statement (source, symbol, price, size, ts) that is held already;
- late: a quote that says it was known before an earlier look was not: it is known from now on (`feeds.types`), so no
  close that was already formed can change;
- the first look at a source and symbol of which nothing is stored may bring history, known since it says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from feeds.sources.source import StoreDamaged
from feeds.store import MAX_ROWS, Store, to_quotes
from feeds.types import SECOND, Micros, Quote

QUOTES_DIR = "quotes"
"""Folder of the store inside a node's `data_dir`."""

_Statement = tuple[str, str, float, float | None, Micros]


def _statement(quote: Quote) -> _Statement:
    return quote.source, quote.symbol, quote.price, quote.size, quote.ts


class Intake:
    """The quotes of one node on their way from the sources to its windows and panels.

    `span`: microseconds after which a statement is too old to matter to anything that reads it (see `Watch`); for so
    long it is remembered, and so long is the memory bounded by what the sources say.
    """

    def __init__(self, span: int) -> None:
        """Nothing known yet, nothing kept on disk until `store` is set."""
        self._span = span
        self._said: dict[_Statement, None] = {}
        self._until: dict[tuple[str, str], Micros] = {}
        self._stored = Micros(0)
        self._looked = Micros(0)
        self._unsaved: list[Quote] = []
        self._room = 1024
        self.store: Store | None = None
        self.fault: str | None = None
        """Why quotes are not on disk yet, or not as they should be, and the mend; None while all is well."""

    def recall(self, now: Micros) -> list[Quote]:
        """What was stored by `now`, oldest first: what a restarted node begins with. Raises StoreDamaged."""
        quotes = [] if self.store is None else to_quotes(self.store.as_of(now))
        for quote in quotes:
            self._until[quote.source, quote.symbol] = quote.known_at
        self._stored = quotes[-1].known_at if quotes else Micros(0)
        self._said = {_statement(quote): None for quote in quotes if quote.ts > now - self._span}
        return quotes

    def admit(self, quotes: Iterable[Quote], now: Micros) -> list[Quote]:
        """Of what one source said when asked at `now`: what is new, each with the time since which it is known here."""
        taken = []
        for quote in quotes:
            until = self._until.get((quote.source, quote.symbol))
            if until is not None and quote.known_at <= until:
                continue
            statement = _statement(quote)
            if statement not in self._said:
                self._said[statement] = None
                past = max(self._looked, 0 if until is None else self._stored)
                late = quote.known_at <= past
                taken.append(replace(quote, known_at=Micros(max(now, past + 1))) if late else quote)
        self._unsaved += taken if self.store is not None else ()
        return taken

    def looked(self, now: Micros) -> None:
        """All sources were asked at `now`: from here on nothing becomes known at it or before."""
        self._looked = max(self._looked, now)
        if len(self._said) > self._room:
            oldest = self._looked - self._span
            self._said = {said: None for said in self._said if said[-1] > oldest}
            self._room = max(1024, 2 * len(self._said))

    def save(self) -> None:
        """Put what is not on disk there, in one file. If the disk refuses, `fault` says so and the next call retries.

        Now and then the files of many calls are merged into one. To be called off the event loop, never at the same
        time as another method.
        """
        if self.store is None or not self._unsaved:
            return
        try:
            while self._unsaved:
                self.store.append(self._unsaved[:MAX_ROWS])
                self._unsaved = self._unsaved[MAX_ROWS:]
        except StoreDamaged as error:
            self.fault = f"{len(self._unsaved)} quotes are not stored, a restart would forget them: {error}"
            return
        self.fault = None
        try:
            self.store.compact()
        except StoreDamaged as error:
            self.fault = f"all quotes are stored, but in ever more files, which makes each start slower: {error}"

    def known(self, symbol: str, now: Micros) -> list[Quote]:
        """Everything known of `symbol` by `now`, stored or about to be. Raises StoreDamaged."""
        stored = [] if self.store is None else to_quotes(self.store.as_of(now, symbol))
        return stored + [quote for quote in self._unsaved if quote.symbol == symbol]


SEEN_WIDTHS = 3
"""Widths of a panel's bars within which a statement may still matter to a close (`feeds.series` asks for two)."""


def memory_span(histories: Iterable[int], widths: Iterable[int]) -> int:
    """`span` of an `Intake` for fusion histories in microseconds and bar widths in seconds."""
    return max([SECOND, *histories, *(SEEN_WIDTHS * width * SECOND for width in widths)])
