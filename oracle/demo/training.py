"""The demo's models: trained on the hours before the cut, frozen, and asked again by the report.

Why this file exists: the devnet's nodes and the report must use the same bundles and the same series. Never in it: how
a model is fitted (`models/train.py`).
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np

from feeds.series import CloseSeries, close_series
from feeds.sources.replay import HOUR, ReplaySource
from feeds.types import SECOND, Micros
from models import bundle as bundles
from models.bundle import Bundle
from models.panel import Panel, PanelTrack, track
from models.recipes import DEMO_HORIZONS, DEMO_RECIPES
from models.train import train_all
from oracle.demo.scenario import HOUR_S, SYMBOL, TRAIN_UNTIL

END_OF_DATA = Micros(2**62)
REFERENCE = "chronos-walk-normal"
"""The reference of every skill figure: a Gaussian random walk with EWMA volatility, named before the replay."""


def recorded_series(sources: tuple[ReplaySource, ...]) -> CloseSeries:
    """Hourly closes of the recorded sources, by the nodes' own rule."""
    quotes = [quote for source in sources for quote in asyncio.run(source.poll(END_OF_DATA))]
    return close_series(quotes, SYMBOL, HOUR)


def train_bundles(series: CloseSeries, cache: Path, folder: Path) -> tuple[Bundle, ...]:
    """Train (or fetch from `cache`) every recipe on the closes known before the cut, and lay them into `folder`."""
    cut = int(np.searchsorted(series.ts, int(TRAIN_UNTIL.timestamp()) * SECOND))
    trained = train_all(DEMO_RECIPES, series.ts[:cut], series.close[:cut], SYMBOL, cache)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for bundle in trained:
        bundles.save(bundle, folder / bundle.manifest.name)
    return trained


def hindsight(trained: tuple[Bundle, ...], series: CloseSeries, start: int, stop: int) -> PanelTrack:
    """What every bundle said at each close in [start, stop] (UTC seconds), and what came true: for the scores only."""
    reference = next(bundle for bundle in trained if bundle.manifest.name == REFERENCE)
    panel = Panel(trained, DEMO_HORIZONS, HOUR_S, learn_from=int(TRAIN_UNTIL.timestamp()) * SECOND, reference=reference)
    return track(panel, series.ts, series.close, start * SECOND, stop * SECOND)
