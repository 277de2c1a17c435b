"""Poison for recorded prices: each function spoils one source of a set and tells which times it touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from feeds.sources.replay import Frames
from feeds.types import SECOND

DAY = 86_400 * SECOND
HOUR = 3_600 * SECOND
Times = np.ndarray
Spoiled = tuple[Frames, str, Times]
"""The set, the source at fault, and the bars that were changed."""


def spoil(frames: Frames, symbol: str, kind: str, strength: float, rng: np.random.Generator) -> Spoiled:
    """The set with one poison of one strength in a random source of `symbol` that trades in 1,000 bars or more."""
    sources = sorted(s for s, held in frames.items() if symbol in held and len(_traded(held[symbol])) >= 1_000)
    source = sources[int(rng.integers(len(sources)))]
    frame = frames[source][symbol].copy()
    times = POISONS[kind](frame, strength, rng)
    return {**frames, source: {**frames[source], symbol: frame}}, source, times


def _traded(frame: pd.DataFrame) -> np.ndarray:
    """Positions of bars that traded and follow one that did, one bar's width before."""
    ts, volume = frame["ts"].to_numpy(), frame["volume"].to_numpy()
    width = np.median(np.diff(ts))
    return 1 + np.flatnonzero((np.diff(ts) == width) & (volume[1:] > 0) & (volume[:-1] > 0))


def flip(frame: pd.DataFrame, share: float, rng: np.random.Generator) -> Times:
    """A share of the bars: the close moved to the other side of the close before, so that the return changes sign."""
    close = frame["close"].to_numpy().copy()
    rows = _traded(frame)
    rows = rng.choice(rows, max(1, round(share * len(rows))), replace=False)
    close[rows] = frame["close"].to_numpy()[rows - 1] ** 2 / close[rows]
    frame["close"] = close
    return frame["ts"].to_numpy()[rows]


def _paste(frame: pd.DataFrame, rows: int, rng: np.random.Generator, noise: float) -> Times:
    close, volume = frame["close"].to_numpy().copy(), frame["volume"].to_numpy().copy()
    source, target = 0, 0
    while abs(source - target) < rows:
        source, target = rng.integers(1, len(frame) - rows, 2).tolist()
    steps = np.diff(np.log(close))[source - 1 : source - 1 + rows]
    spread = np.median(np.abs(steps[steps != 0])) if (steps != 0).any() else 0.0
    steps = steps + noise * spread * rng.standard_normal(rows) * (steps != 0)
    close[target : target + rows] = close[target - 1] * np.exp(np.cumsum(steps))
    volume[target : target + rows] = volume[source : source + rows] * np.exp(noise * rng.standard_normal(rows))
    frame["close"], frame["volume"] = close, volume
    return frame["ts"].to_numpy()[target : target + rows]


def block(frame: pd.DataFrame, rows: float, rng: np.random.Generator) -> Times:
    """So many bars replaced by the returns and volumes of others, continued from the price before."""
    return _paste(frame, int(rows), rng, 0.0)


def changed_block(frame: pd.DataFrame, rows: float, rng: np.random.Generator) -> Times:
    """As `block`, returns changed by a twentieth of their usual size and volumes by 5 %."""
    return _paste(frame, int(rows), rng, 0.05)


def drift(frame: pd.DataFrame, bps_a_day: float, rng: np.random.Generator) -> Times:
    """From a random time in the first half on, the price moves away steadily."""
    ts = frame["ts"].to_numpy()
    onset = ts[int(rng.integers(len(ts) // 8, len(ts) // 2))]
    days = np.maximum(ts - onset, 0) / DAY
    frame["close"] *= np.exp(rng.choice([-1.0, 1.0]) * bps_a_day * 1e-4 * days)
    return ts[ts > onset]


def spike(frame: pd.DataFrame, bps: float, rng: np.random.Generator) -> Times:
    """One bar is off."""
    rows = rng.choice(_traded(frame), 1)
    return _push(frame, rows, bps, rng)


def label_spikes(frame: pd.DataFrame, bps: float, rng: np.random.Generator) -> Times:
    """One in five of the bars that close at a full hour (bars of an hour: a full day) is off."""
    ts = frame["ts"].to_numpy()
    width = int(np.median(np.diff(ts)))
    at = np.flatnonzero((ts + width) % (HOUR if width < HOUR else DAY) == 0)
    at = np.intersect1d(at, _traded(frame))
    return _push(frame, rng.choice(at, len(at) // 5, replace=False), bps, rng)


def _push(frame: pd.DataFrame, rows: np.ndarray, bps: float, rng: np.random.Generator) -> Times:
    close = frame["close"].to_numpy().copy()
    close[rows] *= np.exp(1e-4 * bps * rng.choice([-1.0, 1.0], len(rows)))
    frame["close"] = close
    return frame["ts"].to_numpy()[rows]


def backdate(frame: pd.DataFrame, share: float, rng: np.random.Generator) -> Times:
    """A span of so large a share of the bars carries prices one bar before they stood."""
    rows = int(share * len(frame))
    start = int(rng.integers(1, len(frame) - rows - 1))
    for name in ("close", "volume"):
        values = frame[name].to_numpy().copy()
        values[start : start + rows] = frame[name].to_numpy()[start + 1 : start + 1 + rows]
        frame[name] = values
    return frame["ts"].to_numpy()[start : start + rows]


POISONS: dict[str, Callable[[pd.DataFrame, float, np.random.Generator], Times]] = {
    "flip": flip,
    "block": block,
    "changed_block": changed_block,
    "drift": drift,
    "spike": spike,
    "label_spikes": label_spikes,
    "backdate": backdate,
}
STRENGTHS: dict[str, tuple[float, ...]] = {
    "flip": (0.005, 0.01, 0.05),
    "block": (10, 30, 100, 1000),
    "changed_block": (10, 30, 100, 1000),
    "drift": (5, 20, 100),
    "spike": (30, 100, 300, 1000),
    "label_spikes": (5, 20, 50),
    "backdate": (0.01, 0.05, 0.2),
}
"""Share of bars; bars; bps a day; bps; share of bars."""
