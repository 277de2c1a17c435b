"""Spans of rows that were copied from elsewhere in the same series, as they are or lightly changed.

Why this file exists: copied blocks teach a model the same thing twice and hide that data was made up. Never in it:
files, cross-source checks (venues of one market agree without any copying).

Method: each row becomes a symbol, exactly (return and volume as they are) or coarsely (which eighth of all returns and
of all changes of volume it is in). Two alignments of the series are scored row by row by the likelihood ratio of
"copied, one row in four changed" (exact: one in fifty) against "the second place followed its own habits", the habits
being a first-order Markov chain counted from the series and smoothed. Under the second, each alignment's running ratio
is a martingale of mean 1, so that the chance that any of the n^2 / 2 alignments ever reaches R is at most n^2 / (2 R)
(Ville 1939; the use for local alignments: Karlin and Altschul 1990). Flat stretches score nothing: they are their own
habit. Alignments worth scoring are found by hashing short runs of symbols (seeds, Altschul et al. 1990): cost n log n,
and at most `MAX_SEEDS` are scored, the least likely to match by chance first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feeds.poisoning.finding import BUDGET, KEPT, Finding, Floats, Ints, check_budget
from feeds.poisoning.panel import Panel
from feeds.types import Micros

MAX_SEEDS = 20_000
REACH = 64
"""Rows to each side of a seed that are scored at first; where the ratio is still high at the end, all are."""
TRUSTED = 64
"""A context is trusted by half once it was seen so many times."""
NEAR = 128
EIGHTHS = 8


@dataclass(frozen=True, slots=True)
class Repeat:
    """Rows [start, stop) stand again at [start + lag, stop + lag); `bits`: log2 of the likelihood ratio."""

    start: int
    stop: int
    lag: int
    bits: float


def copied_blocks(panel: Panel, budget: float = BUDGET) -> list[Finding]:
    """Blocks of each source that stand twice; which of the two is the copy is not said.

    Budget: half for exact copies, half for changed ones, over all sources.

    Assumes that an honest series has no memory of its own shapes beyond one bar. A block shorter than about 45 bits
    of surprise (8 rows of a busy book, hundreds of a quiet one) is not told from chance.
    """
    check_budget(budget)
    share = budget / (2 * max(1, len(panel.sources)))
    found = []
    for column, source in enumerate(panel.sources):
        rows = _eventful(panel.log[:, column], panel.volume[:, column])
        if len(rows) < 16:
            continue
        log, volume = panel.log[rows, column], panel.volume[rows, column]
        exact = repeats(_exact(log, volume), 3, 0.02, share)
        coarse = repeats(_coarse(log, volume), 4, 0.25, share)
        for kind, blocks in (("copied", exact), ("copied with changes", _beyond(coarse, exact))):
            found += [_finding(panel, source, panel.ts[rows], kind, block, len(rows), budget) for block in blocks]
    return found


def _finding(panel: Panel, source: str, ts: Ints, kind: str, block: Repeat, rows: int, budget: float) -> Finding:
    again = ts[block.start + block.lag : block.stop + block.lag]
    odds = 2.0 * len(panel.sources) * rows * rows / 2.0 * 2.0 ** -min(block.bits, 1000.0)
    size = block.stop - block.start
    return Finding(
        "copied block",
        f"{source} {panel.symbol}",
        Micros(int(ts[block.start])),
        Micros(int(again[-1])),
        size,
        min(odds, budget),
        f"{size} rows stand again {block.lag} rows later, {kind}: {block.bits:.0f} bits",
        "keep one of the two and ask the provider which is the recording",
        (*ts[block.start : block.stop][: KEPT // 2].tolist(), *again[: KEPT // 2].tolist()),
    )


def _eventful(log: Floats, volume: Floats) -> Ints:
    """Rows in which something happened: a bar without a trade is no evidence, however many stand in a row."""
    known = np.flatnonzero(np.isfinite(log))
    moved = np.diff(log[known], prepend=np.nan) != 0.0
    happened = np.where(np.isfinite(volume[known]), volume[known] > 0.0, moved)
    found: Ints = known[happened]
    return found


def _exact(log: Floats, volume: Floats) -> Ints:
    """A number per row, equal where return and volume are equal (returns to 1e-9, so that a rescaled copy is one)."""
    steps = np.rint(np.diff(log, prepend=log[0]) * 1e9).astype(np.int64)
    _, amount = np.unique(np.nan_to_num(volume, nan=-1.0), return_inverse=True)
    _, codes = np.unique(np.stack([steps, amount], axis=1), axis=0, return_inverse=True)
    found: Ints = codes.reshape(-1)
    return found


def _coarse(log: Floats, volume: Floats) -> Ints:
    """Which eighth of returns and of changes of log volume a row is in; no change is a class of its own."""
    with np.errstate(divide="ignore", invalid="ignore"):
        amount = np.where(volume > 0.0, np.log(volume), np.nan)
    found = np.zeros(len(log), np.int64)
    for values in (np.diff(log, prepend=log[0]), np.diff(amount, prepend=np.nan)):
        moved = np.isfinite(values) & (np.abs(values) > 1e-12)
        classes = np.zeros(len(log), np.int64)
        if moved.any():
            cuts = np.quantile(values[moved], np.linspace(0.0, 1.0, EIGHTHS + 1)[1:-1])
            classes[moved] = 1 + np.searchsorted(cuts, values[moved])
        found = found * (EIGHTHS + 1) + classes
    _, codes = np.unique(found, return_inverse=True)
    return codes.reshape(-1)


def surprise(codes: Ints) -> Floats:
    """(T,): the chance of each symbol after the one before it, from all other rows' counts, smoothed by its frequency;
    or its share of the 256 rows around it if that is more: in a quiet hour small returns are no surprise.
    """
    kinds = int(codes.max()) + 1
    often = np.bincount(codes, minlength=kinds).astype(np.float64)
    alone = np.maximum(often - 1.0, 0.5) / max(1, len(codes) - 1)
    before = np.concatenate([codes[:1], codes[:-1]])
    _, pair, pairs = np.unique(before * kinds + codes, return_inverse=True, return_counts=True)
    seen = np.maximum(pairs[pair.reshape(-1)] - 1.0, 0.0)
    chance: Floats = (seen + TRUSTED * alone[codes]) / (np.maximum(often[before] - 1.0, 0.0) + TRUSTED)
    nearby = (_near(codes) - 1.0 + 16.0 * alone[codes]) / (2 * NEAR + 16.0)
    return np.clip(np.maximum(chance, nearby), 1e-9, 1.0 - 1e-9)


def _near(codes: Ints) -> Ints:
    """(T,): how often each row's symbol stands in the `NEAR` rows to each side, itself counted."""
    span = len(codes) + 2 * NEAR
    keys = codes * span + np.arange(len(codes)) + NEAR
    ordered = np.sort(keys)
    found: Ints = np.searchsorted(ordered, keys + NEAR, side="right") - np.searchsorted(ordered, keys - NEAR)
    return found


def repeats(codes: Ints, seed: int, changed: float, budget: float) -> list[Repeat]:
    """Alignments whose likelihood ratio of copying passes n^2 / (2 budget); of overlapping ones the best.

    `seed`: rows that must agree for an alignment to be scored; `changed`: share of rows changed in a copy.
    """
    rows = len(codes)
    if rows < 2 * seed:
        return []
    needed = float(np.log2(rows * rows / (2.0 * budget)))
    chance = surprise(codes)
    starts, lags = _seeds(codes, -np.log2(chance), seed)
    if not len(starts):
        return []
    same = np.log2((1.0 - changed) / chance)
    other = np.log2(changed / (1.0 - chance))
    short = _extend(codes, same, other, starts, lags, seed)
    found: list[Repeat] = []
    for place in np.argsort(-short, kind="stable"):
        if short[place] < min(needed, 24.0):
            break
        start, lag = int(starts[place]), int(lags[place])
        if any(r.lag == lag and r.start <= start < r.stop for r in found):
            continue
        block = _whole(codes, same, other, start, lag, seed)
        if block.bits >= needed:
            found.append(block)
    return sorted(_apart(found), key=lambda block: block.start)


def _seeds(codes: Ints, bits: Floats, seed: int) -> tuple[Ints, Ints]:
    """Places whose `seed` symbols stand again, and how much later next; only where chance alone would hardly do it."""
    mixed = np.zeros(len(codes) - seed + 1, np.uint64)
    surprise_of = np.zeros(len(mixed))
    for step in range(seed):
        part = codes[step : step + len(mixed)].astype(np.uint64)
        mixed = (mixed ^ part) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        surprise_of += bits[step : step + len(mixed)]
    order = np.argsort(mixed, kind="stable")
    again = mixed[order[1:]] == mixed[order[:-1]]
    starts, nexts = order[:-1][again], order[1:][again]
    worth = (surprise_of[nexts] >= np.log2(len(codes))) & (nexts - starts >= seed)
    starts, nexts = starts[worth], nexts[worth]
    best = np.argsort(-surprise_of[nexts], kind="stable")[:MAX_SEEDS]
    return starts[best].astype(np.int64), (nexts - starts)[best].astype(np.int64)


def _extend(codes: Ints, same: Floats, other: Floats, starts: Ints, lags: Ints, seed: int) -> Floats:
    """Best bits of each seed with up to REACH rows to each side."""
    found = np.zeros(len(starts))
    for direction in (1, -1):
        steps = np.arange(REACH) * direction + (seed if direction > 0 else -1)
        here = starts[:, None] + steps
        there = here + lags[:, None]
        inside = (here >= 0) & (there < len(codes))
        here, there = np.clip(here, 0, len(codes) - 1), np.clip(there, 0, len(codes) - 1)
        score = np.where(codes[here] == codes[there], same[there], other[there])
        found += np.maximum(np.cumsum(np.where(inside, score, -50.0), axis=1).max(axis=1), 0.0)
    for step in range(seed):
        found += same[starts + step + lags]
    return found


def _whole(codes: Ints, same: Floats, other: Floats, start: int, lag: int, seed: int) -> Repeat:
    """The best block around a seed, over the whole series."""
    agree = codes[:-lag] == codes[lag:]
    score = np.where(agree, same[lag:], other[lag:])
    right = np.cumsum(score[start + seed :])
    left = np.cumsum(score[:start][::-1])
    ahead = int(np.argmax(right)) + 1 if len(right) and right.max() > 0 else 0
    behind = int(np.argmax(left)) + 1 if len(left) and left.max() > 0 else 0
    begin, end = start - behind, start + seed + ahead
    return Repeat(begin, end, lag, float(score[begin:end].sum()))


def _apart(found: list[Repeat]) -> list[Repeat]:
    """Of blocks whose copies overlap, the one with most bits."""
    kept: list[Repeat] = []
    for block in sorted(found, key=lambda block: -block.bits):
        first, last = block.start + block.lag, block.stop + block.lag
        if all(last <= k.start + k.lag or first >= k.stop + k.lag for k in kept):
            kept.append(block)
    return kept


def _beyond(coarse: list[Repeat], exact: list[Repeat]) -> list[Repeat]:
    """The changed copies that no exact copy explains."""
    return [
        block
        for block in coarse
        if not any(e.start + e.lag < block.stop + block.lag and block.start + block.lag < e.stop + e.lag for e in exact)
    ]
