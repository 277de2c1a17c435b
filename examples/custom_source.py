"""A source of your own: prices pasted on a board, fused with two recorded ones. `python examples/custom_source.py`."""

import asyncio
from datetime import datetime

from feeds.fuse import Fused, FusionRule, Refusal, fuse
from feeds.sources.replay import HOUR, eurusd_sources
from feeds.sources.source import QuoteGate, Source
from feeds.types import SECOND, Micros, Quote

BOARD = (("2017-10-26T12:00Z", "1.17688"), ("2017-10-26T13:00Z", "oops"), ("2017-10-26T14:00Z", "11.7195"))


class BoardSource:
    """Shows each row once, at its time: rows go through the gate, sound quotes come out, the others are counted."""

    def __init__(self) -> None:
        self.name, self.symbols, self._gate = "board", ("EUR/USD",), QuoteGate("board")
        self.refused = self._gate.refused
        self._rows = [(int(datetime.fromisoformat(time).timestamp()) * SECOND, price) for time, price in BOARD]

    async def poll(self, now: Micros) -> list[Quote]:
        """New quotes known by `now`."""
        due, self._rows = [r for r in self._rows if r[0] <= now], [r for r in self._rows if r[0] > now]
        return [q for ts, price in due if (q := self._gate.admit("EUR/USD", price, None, ts, ts))]

    async def close(self) -> None:
        """Nothing to let go of."""


async def main(sources: tuple[Source, ...]) -> list[Fused | Refusal]:
    rule, answers = FusionRule("EUR/USD", max_age=HOUR // 2, min_sources=2), []
    for now in (Micros(1_509_019_200 * SECOND + hour * HOUR) for hour in range(3)):
        answers.append(fuse([quote for source in sources for quote in await source.poll(now)], rule, now))
        print(answers[-1])
    return answers


if __name__ == "__main__":
    asyncio.run(main((BoardSource(), *eurusd_sources())))
