"""From the settings' `[[sources]]` and `[models]` to running sources and panels.

Why this file exists: the observer works with what these functions open; here every missing file or package becomes one
clear error at start. Never in it: polling, fusing, forecasting.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from feeds.sources.replay import EURUSD, ReplaySource, load_csv, load_embedded_eurusd
from feeds.sources.source import Source
from feeds.types import SECOND
from models.bundle import Bundle, BundleError, BundleMissing, load
from models.panel import Panel, PanelError
from oracle.config import ModelSettings, SourceSettings
from oracle.errors import ConfigError

EMBEDDED = {"eurusd:ask": "gym_anytrading_ask", "eurusd:mid": "backtestingpy"}
"""Names in settings files of the recorded series that the `demo` extra brings."""


def open_sources(settings: Sequence[SourceSettings]) -> list[Source]:
    """Open every source. Raises FeedError (missing or malformed data) or ConfigError (a name that is not there)."""
    embedded = load_embedded_eurusd() if any(item.data in EMBEDDED for item in settings) else {}
    return [_open(item, embedded) for item in settings]


def _open(item: SourceSettings, embedded: dict[str, pd.DataFrame]) -> Source:
    if item.data.startswith("eurusd:"):
        if item.data not in EMBEDDED:
            raise ConfigError(f"source {item.name}: data {item.data!r} is unknown, allowed: {', '.join(EMBEDDED)}")
        if item.symbol != EURUSD:
            raise ConfigError(f"source {item.name}: {item.data} is {EURUSD}, not {item.symbol}; mend its symbol")
        frame = embedded[EMBEDDED[item.data]]
    else:
        path, _, recorded = item.data.partition("#")
        frames = load_csv(path)
        name = recorded or (next(iter(frames)) if len(frames) == 1 else item.name)
        if name not in frames or item.symbol not in frames[name]:
            known = ", ".join(f"{source} {symbol}" for source, symbols in frames.items() for symbol in symbols)
            raise ConfigError(f"source {item.name}: {path} has no {item.symbol} of {name}; it holds {known[:500]}")
        frame = frames[name][item.symbol]
    return ReplaySource(item.name, {item.symbol: frame}, item.width_s * SECOND)


def load_bundles(settings: ModelSettings) -> list[Bundle]:
    """Every bundle of the folder that may run, by hash. Raises BundleError, or ConfigError for a pin without bundle."""
    folder = settings.bundles_dir
    try:
        paths = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        message = f"{folder}: cannot read the bundles ({error.strerror}); mend [models] bundles_dir"
        raise BundleMissing(message) from error
    found = [open_bundle(path) for path in paths]
    pinned = {"0x" + pin.removeprefix("0x") for pin in settings.pinned}
    bundles = {bundle.hash: bundle for bundle in found if not pinned or bundle.hash in pinned}
    if missing := sorted(pinned - set(bundles)):
        raise ConfigError(f"{folder}: no bundle hashes to the pinned {missing[0]}; fetch it or mend [models] pinned")
    if not bundles:
        raise BundleMissing(f"{folder}: no bundle there; train some, or mend [models] bundles_dir")
    return [bundles[key] for key in sorted(bundles)]


def open_bundle(folder: Path) -> Bundle:
    """One bundle. Raises BundleError that names the folder and the mend."""
    try:
        return load(folder)
    except BundleError as error:
        why = str(error).removeprefix(f"{folder}: ")
        raise BundleError(f"{folder}: {why}; fetch the bundle again, or remove it") from error


def open_panel(settings: ModelSettings, bundles: Sequence[Bundle], symbol: str, max_family_share: float) -> Panel:
    """The panel of all bundles for one symbol, over every horizon that any of them answers. Raises ConfigError."""
    fit = [b for b in bundles if b.manifest.symbol == symbol and b.manifest.features.width == settings.width_s]
    horizons = tuple(sorted({horizon for bundle in fit for horizon in bundle.manifest.horizons}))
    learn_from = 0 if settings.warm_from_ms is None else settings.warm_from_ms * 1000
    if not fit:
        where = Path(settings.bundles_dir)
        raise ConfigError(f"{where}: no bundle for {symbol} in bars of {settings.width_s} s; mend [models] or the feed")
    try:
        return Panel(fit, horizons, settings.width_s, learn_from=learn_from, max_family_share=max_family_share)
    except PanelError as error:
        raise ConfigError(f"{settings.bundles_dir}: {error}") from error
