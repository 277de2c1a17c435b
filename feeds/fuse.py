"""Many sources' quotes of one symbol -> one price with a confidence, or a refusal with its reason, in one call.

Why this file exists: a script or a test that holds some quotes wants a price and no memory. What runs on keeps a
`feeds.monitor.Monitor`, which is what this call begins anew each time. Never in it: a rule (`feeds.judge` has them).
"""

from __future__ import annotations

from collections.abc import Iterable

from feeds.monitor import Monitor
from feeds.rule import Alarm, Fused, FusionRule, Refusal, SetAside
from feeds.types import Micros, Quote

__all__ = ["Alarm", "Fused", "FusionRule", "Refusal", "SetAside", "fuse"]


def fuse(quotes: Iterable[Quote], rule: FusionRule, now: Micros) -> Fused | Refusal:
    """One price of `rule.symbol` from what was known by `now`.

    `quotes`: any number a source, in any order; the newest of each counts, the earlier ones show what is usual of it.
    Quotes with `known_at > now` do not exist yet. The price is the median of the counted sources, of two the mid, and
    the gap is in the confidence. One faulty source of three or more moves the price by no more than the spread of the
    others. Raises `MixedSymbols`.
    """
    monitor = Monitor(rule)
    monitor.add(quotes)
    return monitor.at(now)
