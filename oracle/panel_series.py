"""One panel beside the quotes that its next closes need.

Why this file exists: a panel learns from every close since its first, so a node that starts again reads all that it
stored, and that must fit into memory however much it is. Never in it: polling, storing, fusion.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from feeds.series import close_series
from feeds.store import to_quotes
from feeds.types import SECOND, Micros, Quote
from models.panel import Panel, PanelError, PanelStep

SeriesKey = tuple[str, tuple[str, ...]]
"""Symbol and source names: feeds that agree in both share one series and one panel."""


class PanelSeries:
    """One panel with the quotes that its next closes need.

    A close hangs on nothing but the quotes that came to be known in its interval (`feeds.series`), and no quote comes
    to be known in an interval that is over (`oracle.intake`). So with all quotes since the last close's interval began,
    that close is formed again to the bit, and the panel joins the next one on to it.
    """

    def __init__(self, key: SeriesKey, panel: Panel) -> None:
        self.symbol, self.sources = key
        self.panel = panel
        self.step: PanelStep | None = None
        self._fresh: list[Quote] = []
        self._rest_until = Micros(0)

    def add(self, quotes: Iterable[Quote]) -> None:
        """Keep what belongs to this series."""
        self._fresh += [q for q in quotes if q.symbol == self.symbol and q.source in self.sources]

    def recall(self, parts: Iterable[pd.DataFrame]) -> None:
        """Warm the panel up on a long past, of which one part is in memory at a time.

        `parts`: rows of the store, the parts and the rows in each in order of `known_at`. Raises PanelError.
        """
        width, rest = self.panel.width * SECOND, None
        for part in parts:
            if part.empty:
                continue
            mine = part[(part["symbol"] == self.symbol) & part["source"].isin(self.sources)]
            rest = mine if rest is None else pd.concat([rest, mine], ignore_index=True)
            over = Micros(int(part["known_at"].iloc[-1]) - 1)  # the next part may begin at the same moment
            closes = close_series(rest, self.symbol, width, over)
            if len(closes.ts):
                self.panel.warm_up(over, closes.ts, closes.close)
                rest = rest[rest["known_at"] > int(closes.ts[-1]) - width]
        if rest is not None:
            self._fresh = to_quotes(rest)

    def advance(self, now: Micros) -> None:
        """Give the panel the closes known by `now`. Raises PanelError if it refuses them."""
        width = self.panel.width * SECOND
        done = self.step.ts if self.step is not None else None
        if now < self._rest_until or (done is not None and now < done + width):
            return
        closes = close_series(self._fresh, self.symbol, width, now)
        if len(closes.ts) == 0 or closes.ts[-1] == done:
            return
        self.step = self.panel.step(now, closes.ts, closes.close)
        last = int(closes.ts[-1])
        self._fresh = [q for q in self._fresh if q.known_at > last - width]

    def rebuild(self, parts: Iterable[pd.DataFrame], now: Micros) -> None:
        """Begin again from all quotes known. Where that fails too it rests for one bar. Raises PanelError."""
        self.panel, self.step, self._fresh = self.panel.fresh(), None, []
        self._rest_until = Micros(0)
        try:
            self.recall(parts)
            self.advance(now)
        except PanelError:
            self._rest_until = Micros(now + self.panel.width * SECOND)
            raise
