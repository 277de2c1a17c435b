"""Forecasts of events: each way in which the answer seeps in is named; honest forecasts pass."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feeds.quality.report import report
from feeds.quality.table import load
from tests.strategies.markets import START, found


def forecasts(events=60, people=5, seed=1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for event in range(events):
        chance = rng.uniform(0.15, 0.85)
        outcome = int(rng.random() < chance)
        end = START + 86_400 * (event + 20) + int(rng.integers(86_400))
        for person in range(people):
            said = float(np.clip(chance + rng.normal(0, 0.1), 0.02, 0.98))
            ts = end - 86_400 * (person + 2) - int(rng.integers(9_000))
            rows.append((f"e{event}", f"Will it, {event}?", f"p{person}", ts, said, outcome, end))
    names = ["event_id", "question", "forecaster", "ts", "probability", "outcome", "resolved_at"]
    return pd.DataFrame(rows, columns=names)


def reported(frame, folder):
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "events.parquet")
    return report(load([folder / "events.parquet"]))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_events__honest_forecasts__only_the_note_on_hindsight(tmp_path, seed):
    made = reported(forecasts(seed=seed), tmp_path)
    assert [(hit.check, hit.severity) for hit in made.findings] == [("hindsight", "info")]


def spoil(column, value):
    def change(frame):
        frame[column] = frame[column].astype(float) if isinstance(value, float) else frame[column]
        frame.loc[17, column] = value(frame.loc[17]) if callable(value) else value
        return frame

    return change


def known_early(frame):
    last = frame.groupby("event_id")["ts"].transform("max") == frame["ts"]
    some = last & frame["event_id"].isin(["e3", "e4"])
    frame.loc[some, "probability"] = frame.loc[some, "outcome"] * 0.998 + 0.001
    return frame


CASES = {
    "probability above 1": (spoil("probability", 42.0), "probability", "error"),
    "probability absent": (spoil("probability", np.nan), "probability", "error"),
    "certain": (spoil("probability", 1.0), "certainty", "warning"),
    "outcome of a third kind": (spoil("outcome", 2), "outcome", "error"),
    "two outcomes": (spoil("outcome", lambda row: 1 - row["outcome"]), "two outcomes", "error"),
    "two resolutions": (spoil("resolved_at", lambda row: row["resolved_at"] + 9), "two resolutions", "warning"),
    "after resolution": (spoil("ts", lambda row: row["resolved_at"]), "after resolution", "error"),
    "after close": (lambda f: f.assign(closes_at=f["ts"] + np.where(f.index == 17, -1, 1)), "after close", "warning"),
    "derived": (lambda f: f.assign(resolved_at=f.groupby("event_id")["ts"].transform("max") + 1),
                "derived resolution", "warning"),
    "payout": (lambda f: f.assign(payout=1.0 * ((f["probability"] > 0.5) == f["outcome"])), "leak", "error"),
    "score": (lambda f: f.assign(score=f["outcome"] + f["ts"] % 7 / 10), "leak", "error"),
    "known early": (known_early, "outcome known early", "info"),
    "twice": (lambda f: pd.concat([f, f.loc[[17]].assign(probability=0.5)]), "time twice", "warning"),
    "both sides": (lambda f: pd.concat([f, f.loc[[17, 17]].assign(probability=[0.0, 1.0], ts=[START, START + 1])]),
                   "both sides", "warning"),
    "alike": (lambda f: pd.concat([f, f[f["forecaster"] == "p1"].assign(forecaster="p9")]), "alike", "info"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_events__each_fault__named(tmp_path, name):
    change, check, severity = CASES[name]
    hits = found(reported(change(forecasts()), tmp_path), check)
    assert [hit.severity for hit in hits] == [severity], reported(change(forecasts()), tmp_path).text()
    assert all(hit.mend and hit.where for hit in hits)


def test_events__columns_that_say_nothing_of_the_outcome__are_no_leak(tmp_path):
    frame = forecasts()
    rng = np.random.default_rng(2)
    frame["stake"], frame["age"] = rng.exponential(1, len(frame)), frame["resolved_at"] - frame["ts"]
    frame["opinion"] = frame["probability"] * 100
    assert not found(reported(frame, tmp_path), "leak")
