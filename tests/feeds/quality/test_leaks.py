"""What knows the future is named, what only follows the past is not, and `as_of` is held to its word."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from feeds.dataset.pack import About, pack
from feeds.dataset.read import DataSet
from feeds.quality.report import report
from feeds.quality.table import load
from feeds.store import Store
from feeds.types import Micros, Quote
from tests.strategies.markets import START, bars, found, of, reported
from tests.strategies.tables import quotes, write


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


def quoted(count=3000, seed=1):
    frame = bars(count, ("b",), seed, bps=20)
    return frame.rename(columns={"close": "price", "volume": "size"})[["ts", "source", "symbol", "price", "size"]]


@pytest.mark.parametrize(
    ("known", "check", "severity"),
    [
        (lambda ts: np.full(len(ts), START + 10**6), "constant known_at", "error"),
        (lambda ts: ts, "known_at copies ts", "warning"), (lambda ts: ts - 5, "known before its time", "error"),
        (lambda ts: ts + 40 * 86_400, "known late", "warning"),
    ],
)  # fmt: skip
def test_known__time_that_cannot_be__named(tmp_path, known, check, severity):
    frame = quoted()
    frame["known_at"] = known(frame["ts"].to_numpy())
    hits = found(reported(frame, tmp_path, None, 0), check)
    assert [hit.severity for hit in hits] == [severity]


def test_known__bar_at_its_open__foretells_its_close(tmp_path):
    frame = bars()
    hits = found(reported(frame, tmp_path, "ts", 0), "known before the close")
    assert len(hits) == 3 and all(hit.severity == "error" and hit.count > 2900 for hit in hits)
    assert not found(reported(frame, tmp_path, "ts", 60_000_000), "known before the close")
    assert found(reported(frame, tmp_path, None), "no known_at")


def features(price, rng):
    """Columns, and whether they know the future."""
    moves = np.diff(np.log(price), append=np.log(price[-1]))  # the return of the step to come
    past = np.concatenate([[0.0], moves[:-1]])
    noise = rng.normal(0, moves.std(), len(price))
    return {
        "next_price": (np.append(price[1:], price[-1]), True), "next_return": (moves, True),
        "noisy_future": (moves + noise, True), "later_price": (np.append(price[3:], [price[-1]] * 3), True),
        "centred_mean": (np.convolve(price, np.ones(5) / 5, "same"), True), "past_return": (past, False),
        "mean": (np.convolve(price, np.ones(5) / 5)[: len(price)], False), "noise": (noise, False),
        "constant": (np.ones(len(price)), False), "count": (np.arange(len(price)) * 1.0, False),
        "weak_signal": (moves + 30 * noise, False),
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_features__those_that_know_the_future__and_only_those(tmp_path, seed):
    frame = quoted(seed=seed)
    made = features(frame["price"].to_numpy(), np.random.default_rng(seed))
    for name, (values, _) in made.items():
        frame[name] = values
    named = {hit.where.split()[-1] for hit in found(reported(frame, tmp_path), "leak")}
    assert named == {name for name, (_, leaks) in made.items() if leaks}


def test_features__price_that_bounces__its_own_past_is_no_leak(tmp_path):
    frame = quoted()
    rng = np.random.default_rng(4)
    frame["price"] = 100 + rng.choice([-0.05, 0.05], len(frame))  # only a spread: each return undoes the last
    frame["phase"] = 1.0
    frame["mean"] = 100.0 + rng.normal(0, 1e-4, len(frame))
    assert not found(reported(frame, tmp_path), "leak") and not found(reported(frame, tmp_path), "leak suspected")


def test_as_of__packed_set_and_store__asked_and_held(tmp_path):
    source = write(quotes(300), tmp_path / "q.csv", "csv")
    pack([source], tmp_path / "set", About("q", "1", "MIT", known="ts", delay=10**6, chunk_rows=16))
    made = report(load([tmp_path / "set"]))
    assert made.asked == 8 and not found(made, "as_of") and made.root == DataSet(tmp_path / "set").root
    store = Store(tmp_path / "store")
    times = [Micros((START + i) * 10**6) for i in range(50)]
    store.append([Quote("a", "X", 1.0 + i % 3, None, t, Micros(t + 5)) for i, t in enumerate(times)])
    store.close()
    made = report(load([tmp_path / "store"]))
    assert made.asked == 8 and not found(made, "as_of")


def test_as_of__reader_that_shows_later_rows__named(tmp_path, monkeypatch):
    source = write(quotes(300), tmp_path / "q.csv", "csv")
    pack([source], tmp_path / "set", About("q", "1", "MIT", known="ts", delay=10**6, chunk_rows=16))
    monkeypatch.setattr(DataSet, "as_of", lambda self, t: self.chunks(range(len(self.leaves))))
    hits = found(report(load([tmp_path / "set"])), "as_of")
    assert len(hits) == 7 and "299 later" in hits[0].what  # at the last of the 8 moments all is known


def test_stale_rounds__answer_of_an_earlier_round__named(tmp_path):
    frame = bars(200, ("b",))
    ids = [str(18446744073709551617 + i) for i in range(200)]
    frame["round_id"], frame["answered_in_round"] = ids, [*ids[:100], ids[3], *ids[101:]]
    hit = found(reported(frame, tmp_path), "stale answer")[0]
    assert hit.count == 1 and hit.span[0] == (START + 6000) * 10**6
    assert not found(reported(bars(), tmp_path), "stale answer") and of(frame, "b").all()


@pytest.mark.parametrize("label", ["y", "nowhere"])
def test_columns__label_under_another_name__named(tmp_path, label):
    rng = np.random.default_rng(1)
    y = rng.normal(size=200)
    columns = {"y": y, "copy": 3 * y + 1, "close": y + rng.normal(size=200) / 10, "one": np.ones(200)}
    pa.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    made = report(load([tmp_path / "t.parquet"]), label)
    leaks = [hit.where for hit in found(made, "leak")]
    assert leaks == (["copy"] if label == "y" else []) and bool(found(made, "label")) == (label == "nowhere")
    assert "one" in found(made, "constant")[0].what
