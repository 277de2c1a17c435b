"""From the settings' `[[sources]]` and `[models]` to running sources and panels.

Why this file exists: the observer works with what these functions open; here every missing file or package becomes one
clear error at start. Live sources share one `Http`: whoever opens them closes it after them. Never in it: polling
(but for one trial of each source before a start), fusing, forecasting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from feeds.sources.http import Http
from feeds.sources.live import Clock, Live, system_clock
from feeds.sources.playback import Playback, PlayedSource
from feeds.sources.replay import EURUSD, ReplaySource, load_csv, load_embedded_eurusd
from feeds.sources.source import FeedError, Source
from feeds.types import SECOND, Micros, Quote
from models.bundle import Bundle, BundleError, BundleMissing, load
from models.panel import Panel, PanelError
from oracle.config import ModelSettings
from oracle.errors import ConfigError, LocalFault
from oracle.source_settings import KINDS, LiveSettings, ReplaySettings, SourceSettings

EMBEDDED = {"eurusd:ask": "gym_anytrading_ask", "eurusd:mid": "backtestingpy"}
"""Names in settings files of the recorded series that the `demo` extra brings."""


CUTOFF_S = 60.0
"""A fetch, or a stream's silence, may last so long; a stream's own setting may allow it more."""
TRIAL_S = 20.0
"""Patience with the first answer of a source on trial."""


def open_sources(
    settings: Sequence[SourceSettings], http: Http | None = None, clock: Clock = system_clock
) -> list[Source]:
    """Open every source; a live one asks nothing before its first poll.

    `http`: what live sources send through, to be closed after them. Raises FeedError (missing or malformed data) or
    ConfigError (a name that is not there).
    """
    recorded = [item for item in settings if isinstance(item, ReplaySettings)]
    embedded = load_embedded_eurusd() if any(item.data in EMBEDDED for item in recorded) else {}
    played: dict[tuple[int, float], Playback] = {}
    return [
        _recorded(item, embedded, played) if isinstance(item, ReplaySettings) else _live(item, http, clock)
        for item in settings
    ]


def _recorded(
    item: ReplaySettings, embedded: dict[str, pd.DataFrame], played: dict[tuple[int, float], Playback]
) -> Source:
    """A recording, at its own times or played; those that are played alike stay in step with each other."""
    source = _replayed(item, embedded)
    if item.play_from_ms is None:
        return source
    key = item.play_from_ms, item.speed
    if key not in played:
        played[key] = Playback(Micros(item.play_from_ms * 1000), item.speed)
    return PlayedSource(source, played[key])


def _live(item: LiveSettings, http: Http | None, clock: Clock) -> Source:
    if http is None:
        raise LocalFault(f"source {item.name} is live: open it with the process's Http")
    origin = KINDS[item.kind].build(item.origin, http, clock)
    return Live(origin, item.every_s, clock=clock, cutoff=max(CUTOFF_S, getattr(item.origin, "silence", 0.0)))


@dataclass(frozen=True, slots=True)
class Trial:
    """What one source said when it was asked once. `fault`: why it said nothing; None where it answered.

    `live`: it was asked over a network; a recorded one was read to its end when it was opened.
    """

    name: str
    live: bool
    quotes: tuple[Quote, ...] = ()
    fault: str | None = None


async def try_sources(sources: Sequence[Source], patience_s: float = TRIAL_S) -> list[Trial]:
    """Ask every live source once, all at the same time; recorded ones were read when they were opened."""
    return list(await asyncio.gather(*(_try(source, patience_s) for source in sources)))


async def _try(source: Source, patience_s: float) -> Trial:
    if not isinstance(source, Live):
        return Trial(source.name, live=False)
    asked = asyncio.create_task(_first(source.origin), name=f"trial of {source.name}")
    try:
        await asyncio.wait([asked], timeout=patience_s)
        if not asked.done():
            return Trial(source.name, live=True, fault=f"no answer within {patience_s:g} s")
    finally:
        asked.cancel()
        await asyncio.wait([asked])
    error = None if asked.cancelled() else asked.exception()
    if asked.cancelled() or error is not None:
        fault = error if isinstance(error, FeedError) else source.defect(asked)
        return Trial(source.name, live=True, fault=str(fault))
    quotes, refusal = asked.result(), source.origin.gate.last_refusal
    if not quotes and refusal is not None:
        return Trial(source.name, live=True, fault=str(refusal))
    return Trial(source.name, live=True, quotes=tuple(quotes))


async def _first(origin: Any) -> list[Quote]:
    """One fetch, or a stream's first quotes."""
    if not hasattr(origin, "stream"):
        fetched: list[Quote] = await origin.fetch()
        return fetched
    async with aclosing(origin.stream()) as batches:
        async for quotes in batches:
            if quotes:
                return list(quotes)
    return []


def _replayed(item: ReplaySettings, embedded: dict[str, pd.DataFrame]) -> ReplaySource:
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
