"""What one source's prices say that the others' do not: turned labels, slow bias, spikes at label times, lookahead.

Why this file exists: a label is made of prices, so whoever moves one venue's prices moves labels. Each check compares a
source with the median of the other live ones; with two sources it cannot tell which of them is at fault, with one it
says nothing. Never in it: files, events, fusion.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import stats

from feeds.poisoning.chance import drifting, more_often, named_with_decoys, tail_odds
from feeds.poisoning.finding import BUDGET, KEPT, Finding, Flags, Floats, Ints, check_budget, holm
from feeds.poisoning.panel import Panel, bar_width, local_middle, local_scale, median_of_others
from feeds.sources.replay import Frames
from feeds.types import SECOND, Micros

NAMED_FALSE = 0.1
"""Greatest share of false ones among the rows that a check names, in expectation."""
BLOCKS = 128
"""Into how many blocks of bars a series is cut where slow change is looked for."""
DAY = 86_400 * SECOND
NEIGHBOURS = 10
MAX_LEAD = 3


def flipped_labels(panel: Panel, budget: float = BUDGET) -> list[Finding]:
    """Sources whose returns stand against the others' more often than they overshoot them as much.

    A turned label is a return of -m where the others moved m: it is 2 m too low. Where noise has no preference between
    the market's direction and the other, +3 m is as likely, so that -m counted against +3 m (each within m / 2, the
    move at least 2 local spreads of the source's noise) is a fair coin: the sign test, corrected over sources (Holm).
    Bars before which the source was off its usual deviation by more than m / 2 are passed over: a thin book that comes
    back while the market turns is no liar. Rows are named by decoys, at most one in ten of them false. Blind to turned
    labels of moves smaller than the source's noise, and the model learns little from those.
    """
    check_budget(budget)
    returns, deviation = panel.returns(), panel.deviations()
    market = median_of_others(returns)
    odds, suspects = [], []
    for column in range(len(panel.sources)):
        move, said = market[:, column], returns[:, column]
        with np.errstate(divide="ignore", invalid="ignore"):
            against = said / move
            weight = np.abs(move) / local_scale(said - move)
            off = np.abs(deviation[:, column] - local_middle(deviation[:, column]))
            settled = np.concatenate([[False], off[:-1] <= np.abs(move[1:]) / 2.0])
        heavy = np.isfinite(against) & (weight >= 2.0) & settled
        turned, overshot = heavy & (np.abs(against + 1.0) <= 0.5), heavy & (np.abs(against - 3.0) <= 0.5)
        odds.append(more_often(int(turned.sum()), int(overshot.sum())))
        suspects.append(_named(turned, overshot, weight))
    found = []
    for column, chance in enumerate(holm(odds)):
        named = suspects[column]
        if chance <= budget and len(named):
            said_ = (
                f"{len(named)} returns of the opposite sign to the other sources', at most 1 in 10 of them by chance"
            )
            mend = "leave these rows out as labels; if they are many, leave the source out"
            found.append(_finding("flipped labels", panel, column, named, float(chance), said_, mend))
    return found


def _named(turned: Flags, overshot: Flags, weight: Floats) -> Ints:
    rows = np.flatnonzero(turned)
    return rows[named_with_decoys(weight[rows], weight[overshot], NAMED_FALSE)]


def drift(panel: Panel, budget: float = BUDGET) -> list[Finding]:
    """Sources whose deviation from the others goes one way, steadily.

    The series is cut into 128 blocks; the steps of the blocks' median deviation are scanned for a stretch that random
    signs would not give (`drifting`), corrected over sources. A deviation that wanders at random, or returns, is within
    the budget; a market that truly goes its own way, as a book in a de-pegged coin does, is found: that is drift too.
    """
    check_budget(budget)
    deviation = panel.deviations()
    edges = np.unique(np.linspace(0, len(panel.ts), BLOCKS + 1).astype(int))
    stretches, spans = [], []
    for column in range(len(panel.sources)):
        blocks = [deviation[a:b, column] for a, b in pairwise(edges.tolist())]
        full = np.flatnonzero([np.isfinite(block).sum() >= 3 for block in blocks])
        medians = np.array([float(np.nanmedian(blocks[k])) for k in full.tolist()])
        stretches.append(drifting(np.diff(medians)))
        spans.append(full)
    found = []
    for column, chance in enumerate(holm([stretch.p_value for stretch in stretches])):
        stretch, full = stretches[column], spans[column]
        if chance > budget:
            continue
        rows = np.arange(edges[full[stretch.start]], edges[full[stretch.stop] + 1])
        days = (int(panel.ts[rows[-1]]) - int(panel.ts[rows[0]])) / DAY
        said = f"moved {1e4 * stretch.total:+.0f} bps against the other sources in {days:.1f} days"
        mend = "compare with a source outside this set; leave the span out if they side with the others"
        found.append(_finding("drift", panel, column, rows, float(chance), said, mend))
    return found


def _spikes(deviation: Floats) -> Floats:
    """(T,): how far each deviation stands off those of the two bars to each side, in spreads of the rows around."""
    padded = np.pad(deviation, 2, constant_values=np.nan)
    sides = np.stack([padded[:-4], padded[1:-3], padded[3:-1], padded[4:]])
    enough = np.isfinite(sides).sum(axis=0) >= 3
    middle = np.full(len(deviation), np.nan)
    middle[enough] = np.nanmedian(sides[:, enough], axis=0)
    off = deviation - middle
    found: Floats = np.abs(off) / local_scale(off)
    return found


def lone_spikes(panel: Panel, budget: float = BUDGET) -> list[Finding]:
    """Rows in which one source alone leaves the others and is back, farther than its own tail reaches.

    The tail of its deviations is a generalised Pareto's, fitted to the source's own top 2 % and carried on
    (`tail_odds`); a row is named where the chance of any such row in the whole panel is within the budget. What a
    source does often, it may do: this finds few and large ones, `label_time_spikes` many and small ones.
    """
    check_budget(budget)
    deviation, looks = panel.deviations(), 0
    odds = []
    for column in range(len(panel.sources)):
        spikes = _spikes(deviation[:, column])
        odds.append(tail_odds(spikes))
        looks += int(np.isfinite(spikes).sum())
    found = []
    for column, each in enumerate(odds):
        rows = np.flatnonzero(each * max(1, looks) <= budget)
        if len(rows):
            worst = rows[np.argmin(each[rows])]
            off = 1e4 * deviation[worst, column]
            said = f"alone off the other sources by up to {off:+.0f} bps and back within two bars"
            mend = "leave these bars out; ask the venue for its trades if labels or settlements stand on them"
            found.append(_finding("lone spike", panel, column, rows, float(each[worst] * looks), said, mend))
    return found


def label_times(ts: Ints, width: int, every: int = 3_600 * SECOND) -> Flags:
    """Bars whose close stands at a multiple of `every` microseconds (UTC): where labels and settlements are read."""
    flags: Flags = (ts + width) % max(every, width) == 0
    return flags


def label_time_spikes(panel: Panel, at: Flags | None = None, budget: float = BUDGET) -> list[Finding]:
    """Sources that leave the others at the times at which labels are read more than at the bars around.

    `at` (T,): which bars; by default those that close at a full hour, or at a full day where bars are an hour or more.
    Each spike gets the Savage score (Savage 1956: -log of 1 - rank, for a few that are much larger) of its rank among
    the ten bars to each side; a source's mean score at label times, minus that of the other sources there (a busy full
    hour is busy everywhere), is compared with its own scatter: Student's t, one-sided, corrected over sources. At least
    20 label times.
    """
    check_budget(budget)
    hour = 3_600 * SECOND
    flags = label_times(panel.ts, panel.width, hour if panel.width < hour else DAY) if at is None else at
    deviation = panel.deviations()
    ranks = np.stack([_ranks(_spikes(deviation[:, c]), flags) for c in range(len(panel.sources))], axis=1)
    scores = -np.log1p(-ranks)
    more = scores - (median_of_others(scores) if len(panel.sources) > 2 else 1.0)
    odds = []
    for column in range(len(panel.sources)):
        known = more[np.isfinite(more[:, column]), column]
        fair = len(known) >= 20 and float(np.ptp(known)) > 0.0
        odds.append(float(stats.ttest_1samp(known, 0.0, alternative="greater").pvalue) if fair else 1.0)
    found = []
    for column, chance in enumerate(holm(odds)):
        if chance <= budget:
            rows = np.flatnonzero(flags)[np.nan_to_num(ranks[:, column], nan=0.0) > 1.0 - 1.0 / (2 * NEIGHBOURS + 1)]
            said = f"largest of the bars around at {len(rows)} of {int(flags.sum())} label times, the others are not"
            mend = "read labels as a mean over several bars or sources, and leave this source out of them"
            found.append(_finding("spikes at label times", panel, column, rows, float(chance), said, mend))
    return found


def _ranks(spikes: Floats, flags: Flags) -> Floats:
    """(labels,): share of the neighbours that are smaller, ties half; NaN where fewer than half are known."""
    at = np.flatnonzero(flags)
    steps = np.array([k for k in range(-NEIGHBOURS, NEIGHBOURS + 1) if k])
    around = at[:, None] + steps
    beyond = (around < 0) | (around >= len(spikes))
    values = np.where(beyond, np.nan, spikes[np.clip(around, 0, len(spikes) - 1)])
    own = spikes[at][:, None]
    known = np.isfinite(values)
    below = ((values < own) + 0.5 * (values == own)).sum(axis=1)
    enough = np.isfinite(own[:, 0]) & (known.sum(axis=1) >= NEIGHBOURS)
    return np.where(enough, (0.5 + below) / (1.0 + np.maximum(known.sum(axis=1), 1)), np.nan)


def lookahead(panel: Panel, budget: float = BUDGET) -> list[Finding]:
    """Spans in which a source agrees better with what the others said later: its rows are dated too early.

    In each of 128 blocks, the correlation of the source's returns with the others' returns 1 to 3 bars later is held
    against that with theirs at the same bar by Williams' test of two correlations that share a variable (Williams
    1959, Steiger 1980), on ranks, corrected over blocks, leads and sources. Venues that lead by a part of a bar stay
    within it.
    """
    check_budget(budget)
    returns = panel.returns()
    market = median_of_others(returns)
    edges = np.unique(np.linspace(0, len(panel.ts), BLOCKS + 1).astype(int))
    places, odds = [], []
    for column in range(len(panel.sources)):
        for first, stop in pairwise(edges.tolist()):
            for lead in range(1, MAX_LEAD + 1):
                if stop + lead > len(panel.ts):
                    continue
                same, later = market[first:stop, column], market[first + lead : stop + lead, column]
                places.append((column, first, stop, lead))
                odds.append(_williams(returns[first:stop, column], later, same))
    adjusted, found = holm(odds), []
    for column in range(len(panel.sources)):
        hits = [k for k, place in enumerate(places) if place[0] == column and adjusted[k] <= budget]
        if hits:
            rows = np.unique(np.concatenate([np.arange(places[k][1], places[k][2]) for k in hits]))
            leads = sorted({places[k][3] for k in hits})
            said = f"agrees better with what the others said {leads[0]} to {leads[-1]} bars later"
            mend = "ask the provider for the times at which these rows were known, and train on none of them until then"
            chance = float(min(adjusted[k] for k in hits))
            found.append(_finding("backdated rows", panel, column, rows, chance, said, mend))
    return found


def _williams(own: Floats, one: Floats, other: Floats) -> float:
    """Chance, one-sided, that `own` correlates so much better with `one` than with `other`; on ranks."""
    known = np.isfinite(own) & np.isfinite(one) & np.isfinite(other)
    count = int(known.sum())
    if count < 30:
        return 1.0
    ranks = stats.rankdata(np.stack([own[known], one[known], other[known]]), axis=1)
    if (ranks.std(axis=1) == 0.0).any():
        return 1.0
    table = np.corrcoef(ranks)
    a, b, c = table[0, 1], table[0, 2], table[1, 2]
    if a <= b:
        return 1.0
    determinant = max(1.0 - a * a - b * b - c * c + 2.0 * a * b * c, 1e-12)
    spread = 2.0 * (count - 1) / (count - 3) * determinant + ((a + b) / 2.0) ** 2 * (1.0 - c) ** 3
    return float(stats.t.sf((a - b) * np.sqrt((count - 1) * (1.0 + c) / spread), count - 3))


def _finding(check: str, panel: Panel, column: int, rows: Ints, chance: float, said: str, mend: str) -> Finding:
    times = panel.ts[rows]
    either = "" if len(panel.sources) != 2 else ", or the one other source"
    first, last = (Micros(int(times[k])) if len(times) else Micros(0) for k in (0, -1))
    subject = f"{panel.sources[column]} {panel.symbol}{either}"
    return Finding(check, subject, first, last, len(rows), chance, said, mend, tuple(times[:KEPT].tolist()))


def impossible_bars(frames: Frames) -> list[Finding]:
    """Bars of one source and time that stand twice, and bars known before they had closed: no chance about either."""
    found = []
    for source, symbols in sorted(frames.items()):
        for symbol, frame in sorted(symbols.items()):
            ts = np.sort(frame["ts"].to_numpy(np.int64))
            again = np.unique(ts[1:][np.diff(ts) == 0])
            wrong = [("repeated bars", again, "times stand more than once", "keep one bar of each time")]
            if "known_at" in frame:
                early = frame["known_at"].to_numpy(np.int64) < frame["ts"].to_numpy(np.int64) + bar_width(np.unique(ts))
                said, mend = "bars known before they had closed", "state when each bar was known"
                wrong.append(("backdated rows", np.sort(frame["ts"].to_numpy(np.int64)[early]), said, mend))
            for check, times, said, mend in wrong:
                if len(times):
                    span = Micros(int(times[0])), Micros(int(times[-1]))
                    few = tuple(times[:KEPT].tolist())
                    subject = f"{source} {symbol}"
                    found.append(Finding(check, subject, *span, len(times), 0.0, f"{len(times)} {said}", mend, few))
    return found
