"""How the sources of a node are: which are down, named faulty or old, and whether a feed is about to lose its price.

Why this file exists: /health, the metrics and the alert rules tell one story of the sources. One source that is dead is
what many sources are for: a warning. It makes the node unhealthy only where the next one to fail would take a feed's
price with it. Never in it: judging a source (`feeds.monitor` names it), polling, HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from feeds.sources.source import Source
from oracle.config import FeedSettings
from oracle.prices import symbol_of

MENDS = {
    "dead": "see whether it still quotes, and its settings",
    "frozen": "its venue stands still: wait, or list it in `without`",
    "drifting": "its price left the others: wait, or list it in `without`",
}
"""What an operator can do about a name."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """The sources as one observation found them.

    `down`: source -> why it does not answer; `named`: (symbol, source) -> `dead`, `frozen` or `drifting`; `ages`:
    (symbol, source) -> seconds since its newest quote's time; `refused`: (source, field) -> rows refused since the
    start; `skews`: host -> seconds its clock is ahead of ours. `warnings` are to be looked at some day; `risks` make
    the node unhealthy.
    """

    down: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[tuple[str, str], str] = field(default_factory=dict)
    ages: Mapping[tuple[str, str], float] = field(default_factory=dict)
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    skews: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()


def refusals(sources: Iterable[Source]) -> dict[tuple[str, str], int]:
    """Rows that each source refused so far, by the field at fault; a source that does not count has none."""
    return {(s.name, name): count for s in sources for name, count in getattr(s, "refused", {}).items()}


def complaints(
    feeds: Sequence[FeedSettings],
    counted: Mapping[int, int],
    down: Mapping[str, str],
    named: Mapping[tuple[str, str], str],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Warnings and risks, a line each. `counted`: feed -> sources behind its newest answer, where there was one.

    A feed is at risk if one of its sources is down or named and those that count are no more than `min_sources`: the
    next one to fail takes its price away, if it is not gone already.
    """
    warnings = [f"source {why}" if not why.startswith("source ") else why for _, why in sorted(down.items())]
    warnings += [
        f"source {name} is {kind} in {symbol}: {MENDS[kind]}" for (symbol, name), kind in sorted(named.items())
    ]
    risks = []
    for feed in feeds:
        carried = [name for name in feed.sources if name not in feed.without]
        lost = [name for name in carried if name in down or (symbol_of(feed), name) in named]
        left = min(counted.get(feed.number, len(carried)), len(carried) - len(lost))
        if lost and left <= feed.min_sources:
            needs = f"{left} of {len(carried)} sources count, at least {feed.min_sources} are needed"
            risks.append(f"feed {feed.number}: {needs}; mend {', '.join(lost)} or add a source")
    return tuple(warnings), tuple(risks)
