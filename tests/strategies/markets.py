"""Made-up markets for checks of quality: several honest sources of one price, to be spoilt on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feeds.quality.findings import Finding
from feeds.quality.report import Report, report
from feeds.quality.table import load

START = 1_600_000_200


def bars(
    count: int = 3000, sources: tuple[str, ...] = ("a", "b", "c"), seed: int = 1, bps: float = 5.0
) -> pd.DataFrame:
    """Minute bars of one symbol: a random walk with t(4) returns, each source a basis point off it at random."""
    rng = np.random.default_rng(seed)
    walk = 100 * np.exp(np.cumsum(rng.standard_t(4, count) * bps * 1e-4))
    frames = []
    for source in sources:
        close = walk * np.exp(rng.normal(0, 1e-4, count))
        opened = np.concatenate([close[:1], close[:-1]])
        reach = np.abs(rng.normal(0, 2e-4, (2, count)))
        frames.append(
            pd.DataFrame(
                {
                    "ts": START + 60 * np.arange(count),
                    "source": source,
                    "symbol": "X/USD",
                    "open": opened,
                    "high": np.maximum(opened, close) * (1 + reach[0]),
                    "low": np.minimum(opened, close) * (1 - reach[1]),
                    "close": close,
                    "volume": rng.exponential(10, count),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def of(frame: pd.DataFrame, source: str) -> pd.Series:
    """Which rows are a source's."""
    return frame["source"] == source


def reported(frame: pd.DataFrame, folder: Path, known: str | None = "ts", delay: int = 60_000_000) -> Report:
    """The quality report of a frame, by way of a file."""
    path = folder / "frame.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    return report(load([path], known, delay))


def found(report: Report, check: str, where: str = "") -> list[Finding]:
    """The findings of one check at places whose name holds `where`."""
    return [finding for finding in report.findings if finding.check == check and where in finding.where]
