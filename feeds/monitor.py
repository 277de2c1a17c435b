"""Fusion of one symbol over time: standings kept slot by slot, faults named, every answer explained.

Why this file exists: a node, a back-test, `explain` and a restart must come to the same answer from the same quotes,
so the memory of fusion is one explicit object that is fed with quotes and moments and with nothing else. Never in it:
I/O, a clock.

Names, given at the end of a slot:

- `dead`: silent for longer than 10 slots and than three times its own 99th-percentile silence;
- `frozen`: one price at zero volume for 10 slots, while the others moved more than `frozen_move`: their median, or half
  of them, or a companion where there are none;
- `drifting`: its 10-slot median distance from the others' median is over `max_drift`, with two others that count. The
  name goes when the median is back within half of that.

A name is an alarm when it is given; a slot or two set aside for another reason is none.

What is remembered is bounded and does not hang on when a node was started: memory begins anew every `PERIOD` slots of
the calendar, warmed up on the `WARM_UP` slots before. So the answer at a moment is a function of the quotes that came
to be known since `Monitor.since(rule, moment)`, and a node that restarts from its store is the one that ran through.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping

from feeds.depth import Depths
from feeds.health import Standing
from feeds.judge import Sifted, Vote, judge, median, spare, without_outliers
from feeds.rule import BPS, Alarm, Fused, FusionRule, Refusal
from feeds.sources.source import MixedSymbols
from feeds.types import SECOND, Depth, Micros, Quote

PERIOD = 1440
"""Slots for which one memory answers: a day of minutes."""
WARM_UP = 240
"""Slots before that on which it learns what is usual."""
COMPANY = 2
"""Other sources that must count for a drift to be told from the market."""


class _Memory:
    """The standings of all sources, from one slot on."""

    def __init__(self, rule: FusionRule) -> None:
        self.rule = rule
        self.standings = {name: Standing(name, rule) for name in sorted(rule.expected)}
        self.named: dict[str, str] = {}
        self.reference: float | None = None
        self._begun: Micros | None = None
        self._shown: dict[str, float] = {}

    def take(self, quote: Quote) -> None:
        """Take in one quote. A source of which nothing comes is silent since the first word of any."""
        if self._begun is None:
            self._begun = quote.known_at
            for standing in self.standings.values():
                standing.heard = quote.known_at
        found = self.standings.get(quote.source)
        if found is None:
            self.standings[quote.source] = found = Standing(quote.source, self.rule)
            self.standings = dict(sorted(self.standings.items()))
            found.heard = quote.known_at
        found.take(quote)

    def judge(self, now: Micros, depths: Depths | None = None) -> tuple[Fused | Refusal, Sifted]:
        """What the standings come to at `now`, and how; remembers nothing."""
        return judge(self.standings.values(), self.rule, now, depths)

    def close(self, end: Micros, outside: float | None, depths: Depths | None = None) -> Fused | Refusal:
        """End the slot at `end`. `outside`: a price of a companion symbol, to see a market move by.

        `depths` gate the answer that is given, and nothing that is remembered.
        """
        answer, sifted = self.judge(end)
        given = answer if depths is None else self.judge(end, depths)[0]
        number, begun, held = end // self.rule.slot, end - self.rule.slot, {vote.standing for vote in sifted.held}
        counted, live = _prices(sifted.counted), _prices(without_outliers(sifted.live, self.rule, []))
        changed, before = False, self._shown
        self._shown = {name: price for price, name in live}
        for name, standing in self.standings.items():
            quote, others, all_others = standing.quote, _others(counted, name), _others(live, name)
            standing.watch(self._shown, before, median(all_others) if all_others else outside)
            peers = others if len(others) >= COMPANY else all_others
            spoke = quote is not None and quote.known_at > begun and standing.flat_since is None
            known = quote is not None and spoke and len(peers) >= COMPANY
            standing.deviate(number, quote.price / median(peers) - 1.0 if quote is not None and known else None)
        size = len(sifted.live)
        doubted = self._furthest(spare(size, self.rule))
        for name, standing in self.standings.items():
            kind = self._name(standing, end, name in doubted, size > COMPANY)
            if kind != standing.named:
                changed, standing.named = True, kind
            standing.close(standing in held, not kind)
        if changed:
            self.named = {name: kind for name, s in self.standings.items() if (kind := s.named)}
            answer, _ = self.judge(end)
            given = answer if depths is None else self.judge(end, depths)[0]
        self.reference = answer.price if isinstance(answer, Fused) else None
        return given

    def _furthest(self, room: int) -> set[str]:
        """The sources whose 10-slot median is furthest from the others, at most `room` of them and over the limit."""
        least = self.rule.max_drift / 2
        far = [(-abs(s.median), name) for name, s in self.standings.items() if s.median is not None]
        return {name for off, name in sorted(far)[:room] if -off > least}

    def _name(self, standing: Standing, end: Micros, doubted: bool, company: bool) -> str:
        rule, slot = self.rule, self.rule.slot
        silent = 0 if standing.heard is None else end - standing.heard
        if silent > rule.patience * slot and silent > (limit := standing.patience):
            standing.reason = f"dead: silent for {silent / SECOND:.1f} s, limit {limit / SECOND:.1f}"
            return "dead"
        if standing.flat_since is not None and standing.flat >= rule.patience * slot:
            moved = standing.moved
            if moved > rule.frozen_move:
                flat = standing.flat / SECOND
                standing.reason = f"frozen: flat for {flat:.1f} s while the others moved {moved / BPS:.1f} bps"
                return "frozen"
        off = standing.median
        if standing.named == "drifting" and (off is None or not company):
            return "drifting"  # nobody is there to say that it is over
        if off is not None and doubted:
            limit_ = rule.max_drift if standing.named != "drifting" else rule.max_drift / 2
            if abs(off) > limit_:
                standing.reason = f"drifting: {off / BPS:+.1f} bps from the others (10-slot median), limit "
                standing.reason += f"{limit_ / BPS:.1f}"
                return "drifting"
        return ""


def _prices(votes: list[Vote]) -> list[tuple[float, str]]:
    return sorted([(vote.price, vote.standing.name) for vote in votes])


def _others(ordered: list[tuple[float, str]], name: str) -> list[float]:
    """The prices of all but one, ascending."""
    return [price for price, other in ordered if other != name]


class Monitor:
    """One symbol's fusion, fed with quotes and asked for prices. Not safe to share between threads."""

    def __init__(self, rule: FusionRule) -> None:
        """Nothing known yet."""
        self.rule = rule
        self._memory = _Memory(rule)
        self._next: _Memory | None = None
        self._waiting: list[Quote] = []
        self._closed: Micros | None = None
        self._asked = Micros(0)
        self._answer: tuple[Micros, Fused | Refusal] | None = None
        self._depths = None if rule.min_depth is None else Depths(rule)
        self.named: Mapping[str, str] = {}
        """Sources named faulty now, and as what."""
        self.alarms: list[Alarm] = []
        """Names given since this was last emptied."""

    @staticmethod
    def since(rule: FusionRule, moment: Micros) -> Micros:
        """What came to be known up to here has no part in the answer at `moment`."""
        period = PERIOD * rule.slot
        return Micros(moment // period * period - WARM_UP * rule.slot)

    @property
    def references(self) -> tuple[float | None, float | None]:
        """The price at the end of the last closed slot, as this memory and the coming one know it, None if refused."""
        return self._memory.reference, None if self._next is None else self._next.reference

    @property
    def newest(self) -> dict[str, Quote | None]:
        """The newest quote of every source that is known or expected, by its name."""
        return {name: standing.quote for name, standing in self._memory.standings.items()}

    def add(self, quotes: Iterable[Quote]) -> bool:
        """Take in quotes, in any order; False if one was known before a moment that was already asked about.

        Such a quote counts from now on and the past is not judged again: to be the same as after a restart, begin anew
        with all quotes. Raises `MixedSymbols`.
        """
        on_time = True
        for quote in quotes:
            if quote.symbol != self.rule.symbol:
                raise MixedSymbols(self.rule.symbol, quote.symbol)
            on_time = on_time and quote.known_at > self._asked
            self._waiting.append(quote)
            self._answer = None
        return on_time

    def add_depth(self, depths: Iterable[Depth]) -> None:
        """Take in what it costs to push the markets; it has a part in answers that were not given yet.

        Without `min_depth` nobody asks. Raises `MixedSymbols`.
        """
        if self._depths is not None:
            self._depths.add(depths)

    @property
    def depths(self) -> list[Depth]:
        """The depths that are kept, for a monitor that begins anew."""
        return [] if self._depths is None else self._depths.known

    def at(self, now: Micros) -> Fused | Refusal:
        """The fused price as known at `now`. A moment before the last one asked about is taken for that one."""
        while (end := self.next_end(now)) is not None:
            self.close(end)
        return self.peek(now)

    def next_end(self, now: Micros) -> Micros | None:
        """End of the next slot to close by `now`, None if all are."""
        slot, since = self.rule.slot, self.since(self.rule, now)
        if self._closed is None or self._closed < since:
            self._sort()
            first = bisect_right(self._waiting, since, key=_known_at)
            if self._closed is not None:
                self._memory, self._next = _Memory(self.rule), None
            if first == len(self._waiting) or self._waiting[first].known_at > now:
                return None
            del self._waiting[:first]
            self._closed = Micros((self._waiting[0].known_at - 1) // slot * slot)
        end = Micros(self._closed + slot)
        return end if end <= now else None

    def close(self, end: Micros, outside: tuple[float | None, float | None] = (None, None)) -> None:
        """Close the slot that `next_end` gave.

        `outside`: `references` of a companion (the same base in another unit) before this slot was closed, by which a
        lone source is seen to stand still.
        """
        self._take(end)
        answer = self._memory.close(end, outside[0], self._depths)
        slot = self.rule.slot
        if self._next is not None:
            ahead = self._next.close(end, outside[1], self._depths)
            if end % (PERIOD * slot) == 0:
                self._memory, self._next, answer = self._next, None, ahead
        if (end + WARM_UP * slot) % (PERIOD * slot) == 0:
            self._next = _Memory(self.rule)
        self._closed = self._asked = end
        self._answer = end, answer
        if self._memory.named != self.named:
            for name, kind in self._memory.named.items():
                if self.named.get(name) != kind:
                    reason = self._memory.standings[name].reason
                    self.alarms.append(Alarm(end, self.rule.symbol, name, kind, reason))
            self.named = self._memory.named

    def peek(self, now: Micros) -> Fused | Refusal:
        """The price at `now`, within the slot that is open."""
        now = max(now, self._asked)
        if self._answer is not None and self._answer[0] == now:
            return self._answer[1]
        self._take(now)
        self._asked = now
        self._answer = now, self._memory.judge(now, self._depths)[0]
        return self._answer[1]

    def _sort(self) -> None:
        self._waiting.sort(key=_order)

    def _take(self, until: Micros) -> None:
        """Take in what was known by `until`."""
        waiting = self._waiting
        if not waiting:
            return
        self._sort()
        taken = bisect_right(waiting, until, key=_known_at)
        for quote in waiting[:taken]:
            self._memory.take(quote)
            if self._next is not None:
                self._next.take(quote)
        del waiting[:taken]


def _known_at(quote: Quote) -> Micros:
    return quote.known_at


def _order(quote: Quote) -> tuple[int, int, str, float, float]:
    """Order in which quotes are taken in; total, so that no order of arrival can matter."""
    price = quote.price if quote.price == quote.price else -1.0
    size = -1.0 if quote.size is None or quote.size != quote.size else quote.size
    return quote.known_at, quote.ts, quote.source, price, size
