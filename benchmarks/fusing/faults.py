"""Faults put into calm weeks, and an onset told from the recorded bars alone, by the definitions, not by our code."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pandas as pd
from fusing.replay import Slots

from feeds.types import Micros, Quote

KINDS = ("x10", "misdated", "freeze", "silent", "drift", "jump_drift", "delay", "noise", "half")
GROSS = ("x10", "misdated", "freeze", "silent", "drift")
"""What no market does: the bar in calm weeks is for these. The others stay within what healthy sources differ by."""
NAMED = ("x10", "freeze", "silent", "drift", "jump_drift")
HOURS = 2
"""Length of one fault, in hours of a minute's slots."""


def episodes(slots: Slots, slot: int, rng: random.Random) -> list[tuple[Micros, Micros]]:
    """Spans of `HOURS`, one in every 12 hours at a random place, none in the first 12."""
    first, last, hour = min(slots), max(slots), 60 * slot
    found = []
    for begin in range(first + 12 * hour, last - 12 * hour, 12 * hour):
        start = Micros(begin + rng.randrange(0, 8 * 60) * slot)
        found.append((start, Micros(start + HOURS * hour)))
    return found


def spoil(
    slots: Slots, source: str, kind: str, spans: list[tuple[Micros, Micros]], slot: int, rng: random.Random
) -> Slots:
    """The same slots with `source` (for `half` also the one after it by name) at fault in `spans`."""
    names = sorted({q.source for rows in slots.values() for q, _ in rows})
    at_fault = {source, names[(names.index(source) + 1) % len(names)]} if kind == "half" else {source}
    found: Slots = {}
    past: dict[str, list[Quote]] = {name: [] for name in names}
    frozen: dict[str, float] = {}
    for end, rows in slots.items():
        span = next((span for span in spans if span[0] <= end < span[1]), None)
        found[end] = []
        for quote, doubt in rows:
            spoilt: Quote | None = quote
            if span is not None and quote.source in at_fault:
                frozen.setdefault(quote.source, past[quote.source][-1].price if past[quote.source] else quote.price)
                spoilt = _spoilt(quote, kind, (end - span[0]) // slot, past[quote.source], frozen[quote.source], rng)
            elif span is None:
                frozen.pop(quote.source, None)
            past[quote.source].append(quote)
            if spoilt is not None:
                found[end].append((spoilt, doubt))
    return found


def _spoilt(quote: Quote, kind: str, age: int, past: list[Quote], frozen: float, rng: random.Random) -> Quote | None:
    match kind:
        case "x10":
            return replace(quote, price=quote.price * 10)
        case "misdated":
            return replace(quote, price=quote.price * 2.46) if age == 0 else quote
        case "freeze":
            return replace(quote, price=frozen, size=0.0)
        case "silent":
            return None
        case "drift":
            return replace(quote, price=quote.price * (1 + 2e-4 * age))
        case "jump_drift":
            return replace(quote, price=quote.price * (1 + 40e-4))
        case "delay":
            return replace(quote, price=past[-11].price) if len(past) > 10 else quote
        case "noise":
            return replace(quote, price=quote.price * math.exp(rng.gauss(0.0, 0.01)))
        case _:
            return replace(quote, price=quote.price * (1 + 30e-4))


def onset(
    slots: Slots, source: str, start: Micros, end: Micros, slot: int, hourly: bool, sound: Slots | None = None
) -> Micros | None:
    """The first slot in `[start, end]` at which the source is dead, frozen or drifting by definition; None: never.

    `sound`: the slots without any fault, from which the source's own gaps are taken, all of them up to `start`: a
    99th percentile of few gaps is mostly chance.
    """
    grid = range(min(slots), max(slots) + 1, slot)
    price, size = (
        pd.DataFrame({e: {q.source: v(q) for q, _ in rows} for e, rows in slots.items()}).T.reindex(grid)
        for v in (lambda q: q.price, lambda q: q.size)
    )
    if source not in price:
        return None
    own, volume, others = price[source], size[source], price.drop(columns=source)
    middle = others.median(axis=1)
    off = (own / middle - 1).where(others.notna().sum(axis=1) >= 2)
    drifting = off.rolling(10, min_periods=10).median().abs() > 25e-4
    flat = ((volume == 0.0) & (own == own.shift())).rolling(10).sum() == 10
    moved = middle.rolling(11, min_periods=2).max() / middle.rolling(11, min_periods=2).min() - 1
    frozen = flat & (moved > (60e-4 if hourly else 15e-4))
    spoke = [
        e // slot for e, rows in (sound or slots).items() if e < start and any(q.source == source for q, _ in rows)
    ]
    gap = np.quantile(np.diff(spoke), 0.99) if len(spoke) > 1 else 1.0
    last = pd.Series(np.where(own.notna(), np.arange(len(own)), np.nan), index=own.index).ffill()
    dead = (np.arange(len(own)) - last) > max(10.0, 3 * gap)
    named = (drifting | frozen | dead) & (own.index >= start) & (own.index <= end)
    return Micros(int(named.idxmax())) if named.any() else None
