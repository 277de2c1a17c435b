"""All symbols that bear on one price: its own market, the legs of its crosses, and the companions that show it move.

Why this file exists: a lone source can only be checked against other markets, and those must be known as of the same
moment. Every symbol keeps its own `Monitor`; they close their slots in step, so that the answer hangs on quotes and
moments alone. Never in it: I/O, a clock, a rule about sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from feeds.cross import checked, derived, units
from feeds.judge import median
from feeds.monitor import Monitor
from feeds.rule import Alarm, Fused, FusionRule, Refusal
from feeds.sources.source import BadRule
from feeds.types import Depth, Micros, Quote


class Market:
    """One fused symbol and every symbol beside it that its sources quote."""

    def __init__(self, rule: FusionRule, beside: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`rule`: of the symbol asked for. `beside`: other symbols and the sources expected of each.

        Without a source of its own (`rule.expected` empty and others beside it) the symbol is derived. The depth gate
        is for the symbol's own market: crosses only flag and widen it, and are quoted in other units. Raises
        `UnitMismatch` for a derived symbol that is no pair, `BadRule` for one with `min_depth`.
        """
        self.rule = rule
        self._derived = bool(beside) and not rule.expected
        if self._derived:
            units(rule.symbol)
            if rule.min_depth is not None:
                limit = "None for a symbol without a market of its own"
                raise BadRule(f"fusion of {rule.symbol}: min_depth", rule.min_depth, limit)
        rules = {rule.symbol: rule}
        for name, given in (beside or {}).items():
            rules[name] = replace(rule, symbol=name, expected=given, min_sources=1, min_depth=None)
        self.monitors = {name: Monitor(rules[name]) for name in sorted(rules)}
        self._companions = {name: _companions(name, self.monitors) for name in self.monitors}

    def add(self, quotes: Iterable[Quote]) -> bool:
        """Take in quotes; those of other symbols are passed over. False as `Monitor.add` says."""
        on_time = True
        for quote in quotes:
            monitor = self.monitors.get(quote.symbol)
            if monitor is not None:
                on_time = monitor.add((quote,)) and on_time
        return on_time

    def add_depth(self, depths: Iterable[Depth]) -> None:
        """Take in what it costs to push the markets; those of other symbols are passed over."""
        for depth in depths:
            monitor = self.monitors.get(depth.symbol)
            if monitor is not None:
                monitor.add_depth((depth,))

    @property
    def depths(self) -> list[Depth]:
        """The depths that are kept, for a market that begins anew."""
        return [depth for monitor in self.monitors.values() for depth in monitor.depths]

    def at(self, now: Micros) -> Fused | Refusal:
        """The fused price as known at `now`, with its crosses beside it."""
        answers = self.answers(now)
        if self._derived:
            return derived(self.rule.symbol, answers)
        return checked(self.rule.symbol, answers, self.rule.max_dispersion)

    def answers(self, now: Micros) -> dict[str, Fused | Refusal]:
        """The answer of every symbol at `now`, before crosses are looked at."""
        if len(self.monitors) == 1:
            return {name: monitor.at(now) for name, monitor in self.monitors.items()}
        while True:
            ends = {name: end for name, m in self.monitors.items() if (end := m.next_end(now)) is not None}
            if not ends:
                return {name: monitor.peek(now) for name, monitor in self.monitors.items()}
            end = min(ends.values())
            before = {name: monitor.references for name, monitor in self.monitors.items()}
            for name, due in ends.items():
                if due == end:
                    seen = [before[other] for other in self._companions[name]]
                    self.monitors[name].close(end, (_middle([a for a, _ in seen]), _middle([b for _, b in seen])))

    @property
    def named(self) -> dict[tuple[str, str], str]:
        """Sources named faulty now: (symbol, source) -> as what."""
        return {(name, source): kind for name, m in self.monitors.items() for source, kind in m.named.items()}

    def alarms(self) -> list[Alarm]:
        """Names given since the last call, oldest first."""
        given = sorted([alarm for monitor in self.monitors.values() for alarm in monitor.alarms])
        for monitor in self.monitors.values():
            monitor.alarms.clear()
        return given


def _middle(prices: list[float | None]) -> float | None:
    known = sorted([price for price in prices if price is not None])
    return median(known) if known else None


def _companions(symbol: str, others: Iterable[str]) -> tuple[str, ...]:
    """Symbols with the same base in another unit: they show whether the base moves."""
    base = symbol.partition("/")[0]
    return tuple(other for other in others if other != symbol and other.partition("/")[0] == base)
