"""Recorded hours of a week with a weekend, as a CSV of two sources, and bundles that forecast them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, save
from tests.strategies.bundles import forest, random_walk

HOUR = 3_600
SYMBOL = "EUR/USD"
MONDAY = 1_488_758_400
"""2017-03-06 00:00 UTC, a Monday."""
OPEN_HOURS = 117
"""The market shuts on Friday after this many hours of the week, as at 21:00 UTC."""


def opens(bars: int) -> NDArray[np.int64]:
    """Seconds at which the bars open: five days a week."""
    hours = np.arange(bars * 2)
    found: NDArray[np.int64] = (MONDAY + hours[hours % 168 < OPEN_HOURS] * HOUR)[:bars]
    return found


def closes(bars: int, seed: int = 5) -> NDArray[np.float64]:
    """Closes (bars, 2) of the two sources, which differ a little."""
    random = np.random.default_rng(seed)
    shared = 1.1 * np.exp(np.cumsum(random.normal(size=bars) * 8e-4))
    return np.round(shared[:, None] * (1 + random.normal(size=(bars, 2)) * 2e-5), 6)


def write_csv(path: Path, ts: NDArray[np.int64], close: NDArray[np.float64]) -> Path:
    """Bars of sources `a` and `b` as `feeds.sources.replay.load_csv` reads them."""
    lines = ["ts,source,symbol,open,high,low,close,volume"]
    for at, row in zip(ts.tolist(), close.tolist(), strict=True):
        lines += [f"{at},{name},{SYMBOL},{p},{p},{p},{p},1" for name, p in zip("ab", row, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def saved(folder: Path, bundle: Bundle, name: str, until: int | None) -> Path:
    """The bundle on disk under another name and end of training."""
    manifest = replace(bundle.manifest, name=name, trained_until=until)
    save(Bundle(manifest, bundle.tensors), folder / name)
    return folder / name


def two_bundles(folder: Path, until: int | None = MONDAY) -> tuple[Path, Path]:
    """A walk and a forest with horizons of 1 h and 24 h."""
    return saved(folder, random_walk(3), "walk", until), saved(folder, forest(4), "forest", until)
