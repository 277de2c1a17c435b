"""One source's standing over time: what it said last, how it usually speaks, and whether it is named faulty.

Why this file exists: one slot cannot tell a quiet source from a stuck one, nor a crash from a lie; the source's own
past can. Everything learnt here comes from slots in which the source was sound, so that a fault cannot teach the
standing that it is normal. Never in it: other sources (`judge.py` compares), I/O, a clock.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping

from feeds.rule import FusionRule
from feeds.types import Micros, Quote

MAD_TO_SIGMA = 1.4826
"""1 / the 0.75 quantile of the standard normal: the median absolute deviation times this is a standard deviation."""
MEMORY = 512
"""Slots of volume, and of deviation, that a source is known by."""
LEAST = 10
"""With fewer of them nothing is known about what is usual."""
LARGE = 0.90
"""A volume is large from this quantile of the source's own non-zero volumes on."""
LONG = 0.99
"""A silence is long beyond three times this quantile of the source's own silences."""


class Standing:
    """What is known of one source of one symbol.

    `quote`: its newest; `traded`: time of its newest evidence (a trade, a book, a changed price), None before any;
    `flat_since`: since when it repeats one price at zero volume; `base`: its price when it last counted as plausible;
    `named`: `dead`, `frozen`, `drifting` or empty; `reason`: why.
    """

    __slots__ = (
        "_deviations", "_far", "_gaps", "_middle", "_order", "_ranges", "_sizes", "_waited", "ahead", "base", "base_ts",
        "confirmed", "flat_since", "heard", "median", "name", "named", "quote", "reason", "rule", "strayed", "traded",
        "unsound", "volume",
    )  # fmt: skip

    def __init__(self, name: str, rule: FusionRule) -> None:
        """A source of which nothing is known."""
        self.name, self.rule = name, rule
        self.quote: Quote | None = None
        self.ahead: Quote | None = None
        self.unsound = False
        self.heard: Micros | None = None
        self.traded: Micros | None = None
        self.flat_since: Micros | None = None
        self.base: float | None = None
        self.base_ts = Micros(0)
        self.confirmed = False
        self.volume: float | None = 0.0
        self.median: float | None = None
        self.strayed = 0.0
        self.named, self.reason = "", ""
        self._far: float | None = None
        self._waited = 0
        self._middle: float | None = None
        self._gaps: dict[int, int] = {}
        self._ranges: dict[str, tuple[float, float]] = {}
        self._sizes: list[float] = []
        self._order: deque[float] = deque()
        self._deviations: deque[tuple[int, float]] = deque()

    def take(self, quote: Quote) -> None:
        """Take in one quote; quotes come in the order in which they came to be known."""
        newest = self.quote
        if quote.ts > quote.known_at + self.rule.max_ahead:
            self.ahead = quote
            return
        if newest is not None and quote.ts <= newest.ts and (quote.ts < newest.ts or _same(quote, newest)):
            return
        self._hear(quote.known_at)
        if not 0.0 < quote.price < math.inf:
            self.unsound = True
            return
        self.unsound = False
        size = quote.size if quote.size is not None and 0.0 <= quote.size < math.inf else None
        if size == 0.0 and (newest is None or quote.price == newest.price):
            if self.flat_since is None:
                self.flat_since = quote.ts if newest is None else newest.ts
        else:
            self.flat_since, self.traded = None, quote.ts
            self.volume = None if size is None or self.volume is None else self.volume + size
        self.quote = quote
        if self.base is not None and size != 0.0:
            self._follow_jump(quote.price, self.base)

    def _hear(self, now: Micros) -> None:
        """Learn how long it was silent, unless it had died of it."""
        if self.quote is not None and self.heard is not None and self.named != "dead":
            gap = -(-(now - self.heard) // self.rule.slot)
            if gap > 0:
                self._gaps[gap] = self._gaps.get(gap, 0) + 1
        self.heard = now

    def _follow_jump(self, price: float, base: float) -> None:
        """A second trade beside the first confirms a jump: as near as two sources must be to agree."""
        if abs(price - base) <= self.rule.max_jump * base:
            self._far, self.confirmed = None, False
            return
        far = self._far
        self.confirmed = self.confirmed or (far is not None and abs(price - far) <= self.rule.outlier_floor * far)
        self._far = price

    @property
    def thin(self) -> bool:
        """Whether its jump rests on less than its own 90th percentile of non-zero volume and on nothing else.

        A volume that is not stated is a book, not a trade: never thin.
        """
        if self.confirmed or self.volume is None:
            return False
        sizes = self._sizes
        return len(sizes) < LEAST or self.volume < sizes[int(LARGE * len(sizes))]

    @property
    def patience(self) -> int:
        """Microseconds of silence after which it is dead: 10 slots, or three times its own 99th-percentile gap."""
        needed, total = LONG * sum(self._gaps.values()), 0
        for gap in sorted(self._gaps):
            total += self._gaps[gap]
            if total >= needed:
                return max(self.rule.patience, 3 * gap) * self.rule.slot
        return self.rule.patience * self.rule.slot

    @property
    def flat(self) -> int:
        """Microseconds over which it has repeated one price at zero volume."""
        return 0 if self.flat_since is None or self.quote is None else self.quote.ts - self.flat_since

    def watch(self, others: Mapping[str, float], before: Mapping[str, float], middle: float | None) -> None:
        """While it stands still keep how far the others moved, each by itself and their `middle`.

        `others`: prices in this slot, its own may be among them; `before`: those of the slot before, so that the slot
        in which it last traded is included.
        """
        if self.flat_since is None:
            self._ranges.clear()
        else:
            if not self._ranges:
                self._widen(before, self._middle)
            self._widen(others, middle)
        self._middle = middle

    def _widen(self, others: Mapping[str, float], middle: float | None) -> None:
        shown = others if middle is None else {**others, "": middle}
        for name, price in shown.items():
            if name != self.name:
                low, high = self._ranges.get(name, (price, price))
                self._ranges[name] = min(low, price), max(high, price)

    @property
    def moved(self) -> float:
        """How far the others moved since it last traded, relative: their middle did, or half of them or more did.

        The middle of few hides some of a move, and jumps where another comes to be the middle one. 0 without others.
        """
        moves = {name: high / low - 1.0 for name, (low, high) in self._ranges.items()}
        middle = moves.pop("", 0.0)
        return max(middle, sorted(moves.values())[len(moves) // 2] if moves else 0.0)

    def deviate(self, number: int, deviation: float | None) -> None:
        """Note its distance from the others in slot `number`, if there is one, and take the median of 10 slots.

        `median` is None with fewer than half of them known.
        """
        kept = self._deviations
        if deviation is not None:
            kept.append((number, deviation))
        oldest = number - self.rule.patience
        while kept and kept[0][0] <= oldest:
            kept.popleft()
        count = len(kept)
        if 2 * count < self.rule.patience:
            self.median = None
            return
        ordered = sorted([value for _, value in kept])
        half = count // 2
        self.median = self.strayed = ordered[half] if count % 2 else (ordered[half - 1] + ordered[half]) / 2

    @property
    def strays(self) -> bool:
        """Whether it is named drifting, and its 10-slot median is beyond one standard deviation of its slots.

        The median of 10 strays by 0.4 of that (1.2533 / sqrt(10)), so what is beyond is no chance.
        """
        if self.named != "drifting":
            return False
        middle = self.median
        if middle is None:
            return True
        ordered = sorted([abs(value - middle) for _, value in self._deviations])
        return abs(middle) > MAD_TO_SIGMA * ordered[len(ordered) // 2]

    def close(self, held: bool, sound: bool) -> None:
        """End of a slot. `held`: its jump waits for a confirmation; else its price is where the next jump starts.

        `sound`: it counted, so its volume says what is usual.
        """
        quote = self.quote
        if quote is None:
            return
        if held:
            self._waited += 1
            if self._waited >= self.rule.patience:
                self.base, self._waited = quote.price, 0
        else:
            self.base, self.base_ts, self._far, self.confirmed, self._waited = quote.price, quote.ts, None, False, 0
            if sound and self.volume:
                self._learn(self.volume)
        self.volume = 0.0

    def _learn(self, volume: float) -> None:
        self._order.append(volume)
        insort(self._sizes, volume)
        if len(self._order) > MEMORY:
            del self._sizes[bisect_left(self._sizes, self._order.popleft())]


def _same(a: Quote, b: Quote) -> bool:
    return a.price == b.price and a.size == b.size
