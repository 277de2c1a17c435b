"""Forecasts of events: probabilities that can be, outcomes that are one, and nobody who knew.

Why this file exists: a file of answered questions holds its own answers, and the ways in which they seep into the
forecasts are few and known. Never in it: scores, who is a good forecaster.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from feeds.dataset.manifest import PER_UNIT
from feeds.quality.findings import Bools, Finding, Floats, Ints, duration, places
from feeds.quality.table import Table

PLAIN = {"probability", "outcome", "ts", "resolved_at", "closes_at", "ts_ms", "prob_before", "slot", "known_at"}
ALIKE = 0.98
MOST_FORECASTERS = 60


def check_events(table: Table) -> Iterator[Finding]:
    """All checks of a table with event_id, forecaster, ts, probability, outcome and (mostly) resolved_at."""
    rows = frame_of(table)
    yield from check_ranges(table, rows)
    yield from check_outcomes(table, rows)
    yield from check_resolution(table, rows)
    yield from check_hindsight(table, rows)
    yield from check_forecasters(table, rows)


def frame_of(table: Table) -> pd.DataFrame:
    """The columns that the checks use, times in microseconds; a column that is not there is all NaN."""
    empty = np.full(table.rows, np.nan)
    columns = {name: table.numbers.get(name, empty) for name in ("probability", "outcome")}
    for name in ("resolved_at", "closes_at"):
        columns[name] = _micros(table, name)
    columns["ts"] = empty if table.time is None else table.time.astype(float)
    for name in ("event_id", "forecaster"):
        columns[name] = table.codes.get(name, np.zeros(table.rows, np.int64))
    return pd.DataFrame(columns)


def _micros(table: Table, name: str) -> Floats:
    values = table.numbers.get(name)
    if values is None:
        return np.full(table.rows, np.nan)
    size = float(np.nanmedian(np.abs(values))) if np.isfinite(values).any() else 0.0
    unit = next((unit for unit, least in (("us", 1e15), ("ms", 1e12), ("s", 0.0)) if size >= least), "s")
    scaled: Floats = values * PER_UNIT[unit]
    return scaled


def _where(table: Table, rows: pd.DataFrame, mask: pd.Series) -> str:
    """The first few events that a mask concerns."""
    codes = rows.loc[mask, "event_id"].unique()
    names = [table.names["event_id"][int(code)] if code >= 0 else "?" for code in codes[:3]]
    return ", ".join(names) + (f" and {len(codes) - 3} more events" if len(codes) > 3 else "")


def check_ranges(table: Table, rows: pd.DataFrame) -> Iterator[Finding]:
    """Probabilities outside 0 to 1, certain ones, and outcomes that are neither 0 nor 1."""
    p = rows["probability"]
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        what = f"{outside.sum()} probabilities are not in 0 to 1, from {p[outside].min():g} to {p[outside].max():g}"
        mend = "per cent are divided by 100; what is empty is left out"
        yield Finding("probability", "error", _where(table, rows, outside), what, mend, int(outside.sum()))
    certain = (p == 0) | (p == 1)
    if certain.any():
        wrong = certain & (rows["outcome"] != p)
        what = f"{certain.sum()} probabilities are exactly 0 or 1, {wrong.sum()} of them wrong: an infinite log score"
        mend = "clip them before any log score, or take them as votes"
        yield Finding("certainty", "warning", _where(table, rows, certain), what, mend, int(certain.sum()))
    odd = ~rows["outcome"].isin([0.0, 1.0])
    if odd.any():
        mend = "leave out what is not resolved yes or no"
        what = f"{odd.sum()} outcomes are neither 0 nor 1"
        yield Finding("outcome", "error", _where(table, rows, odd), what, mend, int(odd.sum()))


def check_outcomes(table: Table, rows: pd.DataFrame) -> Iterator[Finding]:
    """Events with two outcomes or two times of resolution."""
    for name, check in (("outcome", "two outcomes"), ("resolved_at", "two resolutions")):
        kinds = rows.groupby("event_id")[name].nunique()
        bad = rows["event_id"].isin(kinds[kinds > 1].index)
        if bad.any():
            what = f"{(kinds > 1).sum()} events have more than one {name}"
            severity = "error" if name == "outcome" else "warning"
            mend = "an event is resolved once: see which row is right"
            where = _where(table, rows, bad)
            yield Finding(check, severity, where, what, mend, int(bad.sum()))  # type: ignore[arg-type]


def check_resolution(table: Table, rows: pd.DataFrame) -> Iterator[Finding]:
    """Forecasts made after the resolution, and resolutions that were not observed but set by a rule."""
    for name, check, severity in (
        ("resolved_at", "after resolution", "error"),
        ("closes_at", "after close", "warning"),
    ):
        late = rows["ts"] >= rows[name]
        if late.any():
            times = rows.loc[late, "ts"].to_numpy(np.int64)
            what = f"{late.sum()} forecasts were made at or after {name}: {places(times)}"
            mend = "leave them out: whoever made them could know"
            where = _where(table, rows, late)
            yield Finding(check, severity, where, what, mend, int(late.sum()))  # type: ignore[arg-type]
    last = rows.groupby("event_id").agg(ts=("ts", "max"), resolved=("resolved_at", "max"))
    lag = (last["resolved"] - last["ts"]).dropna()
    if len(lag) < 10:
        return
    size, share = float(lag.mode().iloc[0]), float((lag == lag.mode().iloc[0]).mean())
    if share > 0.5:
        what = f"{share:.0%} of the events resolve exactly {duration(size)} after their last forecast"
        mend = "resolved_at was set by a rule, not observed: an embargo by it is a guess"
        yield Finding("derived resolution", "warning", table.name, what, mend, int(share * len(lag)))


def check_hindsight(table: Table, rows: pd.DataFrame) -> Iterator[Finding]:
    """Columns that nobody had before the resolution: by name, and by what they tell of the outcome."""
    held = [name for name in ("outcome", "resolved_at", "payout") if name in table.numbers]
    what = f"{', '.join(held)}: known from the resolution on only"
    yield Finding("hindsight", "info", table.name, what, "never give them to a forecaster before resolved_at")
    outcome = rows["outcome"].to_numpy()
    right = (rows["probability"] > 0.5).to_numpy() == (outcome == 1)
    for name, values in table.numbers.items():
        finite = np.isfinite(values) & np.isin(outcome, (0, 1))
        if name in PLAIN or finite.sum() < 100:
            continue
        for meaning, truth in (("the outcome", outcome == 1), ("who was right", right)):
            auc = _auc(values[finite], truth[finite])
            if max(auc, 1 - auc) > 0.95:
                what = f"tells {meaning} (area under the curve {auc:.3f})"
                mend = "it was made after the resolution: never a feature"
                yield Finding("leak", "error", name, what, mend, int(finite.sum()))
    yield from _known_early(table, rows)


def _known_early(table: Table, rows: pd.DataFrame) -> Iterator[Finding]:
    """Events whose last forecast before the end is all but certain, and right: the answer was out already."""
    last = rows.sort_values("ts", kind="stable").groupby("event_id").tail(1)
    span = rows.groupby("event_id")["ts"].agg(["min", "size"])
    left = last["resolved_at"] - last["ts"]
    sure = ((last["probability"] - last["outcome"]).abs() < 0.005) & (left > 86_400e6)
    sure &= last["event_id"].map(span["size"]) >= 3
    if sure.any():
        what = f"{sure.sum()} events stood within half a per cent of their outcome a day or more before resolved_at"
        mend = "the answer was out before resolved_at: end these events at the news, not at the settlement"
        mask = pd.Series(rows.index.isin(last.index[sure]), index=rows.index)
        yield Finding("outcome known early", "info", _where(table, rows, mask), what, mend, int(sure.sum()))


def _auc(values: Floats, truth: Bools) -> float:
    """Chance that a value of the true is above one of the false (Mann and Whitney); a half if one kind is absent."""
    yes = int(truth.sum())
    no = len(truth) - yes
    if not yes or not no:
        return 0.5
    ranks = pd.Series(values).rank().to_numpy()
    return float((ranks[truth].sum() - yes * (yes + 1) / 2) / (yes * no))


def check_forecasters(table: Table, rows: pd.DataFrame) -> Iterator[Finding]:
    """One forecaster twice at a time, on both sides of one event, or two that say the same."""
    if "forecaster" not in table.codes:
        return
    twice = rows.duplicated(["event_id", "forecaster", "ts"], keep=False)
    if twice.any():
        what = f"{twice.sum()} rows share event, forecaster and time with another"
        mend = "order them by a finer time if there is one; the last of them stands"
        yield Finding("time twice", "warning", _where(table, rows, twice), what, mend, int(twice.sum()))
    sides = rows.groupby(["event_id", "forecaster"])["probability"].agg(["min", "max"])
    both = sides[(sides["min"] == 0) & (sides["max"] == 1)]
    if len(both):
        who = both.index.get_level_values("forecaster").nunique()
        what = f"{len(both)} times one of {who} forecasters is certain of both sides of one event"
        yield Finding("both sides", "warning", table.name, what, "their net view is nothing: net them out", len(both))
    yield from _alike(table, rows)


def _alike(table: Table, rows: pd.DataFrame) -> Iterator[Finding]:
    counts = rows["forecaster"].value_counts()
    busiest: Ints = counts.index[counts >= 30][:MOST_FORECASTERS].to_numpy(np.int64)
    some = rows[rows["forecaster"].isin(busiest)].drop_duplicates(["event_id", "forecaster", "ts"])
    wide = some.pivot(index=["event_id", "ts"], columns="forecaster", values="probability")
    for one, other in combinations(sorted(busiest.tolist()), 2):
        pair = wide[[one, other]].dropna()
        if len(pair) < 30 or not (pair.std() > 0).all():
            continue
        alike = float(np.corrcoef(pair[one], pair[other])[0, 1])
        if alike > ALIKE:
            names = [table.names["forecaster"][code] for code in (one, other)]
            what = f"{names[0]} and {names[1]} agree with a correlation of {alike:.3f} over {len(pair)} forecasts"
            mend = "two opinions that share their inputs count as little more than one"
            yield Finding("alike", "info", " and ".join(names), what, mend, len(pair))
