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

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pandas as pd

from feeds.sources.source import StoreDamaged
from feeds.store import MAX_ROWS, Store, to_frame, to_quotes
from feeds.types import SECOND, Micros, Quote

QUOTES_DIR = "quotes"
"""Folder of the store inside a node's `data_dir`."""

_Statement = tuple[str, str, float, float | None, Micros]


def _statement(quote: Quote) -> _Statement:
    return quote.source, quote.symbol, quote.price, quote.size, quote.ts


class Intake:
    """The quotes of one node on their way from the sources to its windows and panels.

    `span`: microseconds after which a statement is too old to matter to anything that reads it (see `Watch`); for so
    long it is remembered, and so long is the memory bounded by what the sources say. One that is dated further ahead
    than that is not remembered at all: it would be for ever, and told twice it says nothing new.
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

    def recall(self, now: Micros) -> int:
        """Begin with what was stored by `now`; how many quotes that are. Raises StoreDamaged."""
        if self.store is None:
            return 0
        stored = self.store.summary(now)
        known = stored["last_known"].tolist()
        self._until = dict(zip(zip(stored["source"], stored["symbol"], strict=True), map(Micros, known), strict=True))
        self._stored = max(self._until.values(), default=Micros(0))
        recent = to_quotes(self.store.dated_after(now, Micros(max(0, now - self._span))))
        self._said = {_statement(quote): None for quote in recent if quote.ts - quote.known_at <= self._span}
        return int(stored["quotes"].sum())

    @property
    def newest(self) -> Micros | None:
        """When the last stored quote came to be known, None if nothing is stored."""
        return self._stored or None

    def admit(self, quotes: Iterable[Quote], now: Micros) -> list[Quote]:
        """Of what one source said when asked at `now`: what is new, each with the time since which it is known here."""
        taken = []
        for quote in quotes:
            until = self._until.get((quote.source, quote.symbol))
            if until is not None and quote.known_at <= until:
                continue
            statement = _statement(quote)
            if statement not in self._said:
                if quote.ts - quote.known_at <= self._span:
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

    def known(self, symbol: str | None, now: Micros, since: Micros) -> list[Quote]:
        """What came to be known from `since` to `now`, of one symbol or of all, stored or about to be.

        Raises StoreDamaged.
        """
        stored = [] if self.store is None else to_quotes(self.store.as_of(now, symbol, since))
        return stored + [q for q in self._unsaved if since <= q.known_at <= now and symbol in (None, q.symbol)]

    def history(self, symbol: str, now: Micros) -> Iterator[pd.DataFrame]:
        """Everything known of `symbol` by `now`, in parts, all in order of `known_at`. Raises StoreDamaged."""
        unsaved = sorted((q for q in self._unsaved if q.symbol == symbol), key=lambda quote: quote.known_at)
        for batch in () if self.store is None else self.store.batches(now, symbol):
            part = batch.to_pandas()
            due = bisect_right(unsaved, part["known_at"].iloc[-1], key=lambda quote: quote.known_at)
            if due:
                part = pd.concat([part, to_frame(unsaved[:due])]).sort_values("known_at", kind="stable")
                unsaved = unsaved[due:]
            yield part
        if unsaved:
            yield to_frame(unsaved)


SEEN_WIDTHS = 3
"""Widths of a panel's bars within which a statement may still matter to a close (`feeds.series` asks for two)."""


def memory_span(histories: Iterable[int], widths: Iterable[int]) -> int:
    """`span` of an `Intake` for fusion histories in microseconds and bar widths in seconds."""
    return max([SECOND, *histories, *(SEEN_WIDTHS * width * SECOND for width in widths)])
