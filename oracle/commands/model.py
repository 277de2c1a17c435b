"""`dodona model`: train bundles, score them on recorded data, look at those on disk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from feeds.types import SECOND, Micros
from models.assess import assess
from models.bundle import BundleExists, save
from models.features import FeatureError
from models.train import TrainingError, train
from models.usage import UsageError, UsageLog, Use
from oracle.dataset_series import is_packed, load_set
from oracle.errors import ConfigError
from oracle.recipes import load_recipe
from oracle.recorded import EMBEDDED, load_closes
from oracle.sources import open_bundle

app = typer.Typer(help="Train, score and look at model bundles.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="A bundle, or a folder of bundles.")]
Data = Annotated[str, typer.Option(help='Recorded bars: a CSV, or "eurusd" (the demo extra).')]


def _bundles(folder: Path) -> list[Path]:
    if (folder / "manifest.json").exists():
        return [folder]
    try:
        found = sorted(path for path in folder.iterdir() if (path / "manifest.json").exists())
    except OSError as error:
        raise ConfigError(f"{folder}: cannot read it ({error.strerror}); name a folder of bundles") from error
    if not found:
        raise ConfigError(f"{folder}: no bundle there; a bundle is a folder with a manifest.json")
    return found


@app.command(name="train")
def train_model(
    recipe: Annotated[str, typer.Argument(help="A recipe in TOML, or the name of one of the demo's.")],
    until: Annotated[str, typer.Option(help="Learn from closes known before this UTC date, e.g. 2017-09-20.")],
    out: Annotated[Path, typer.Option(help="New folder for the bundle.")],
    data: Data = EMBEDDED,
    symbol: Annotated[str, typer.Option(help="What to forecast, BASE/QUOTE.")] = "EUR/USD",
    usage: Annotated[Path | None, typer.Option(help="Book in which the run and what it used are recorded.")] = None,
) -> None:
    """Train one model on recorded bars, or on a packed data set, and write its bundle."""
    chosen, cut = load_recipe(recipe), _moment("until", until)
    if out.exists():
        raise BundleExists(f"{out} already exists; choose another folder or remove it")
    sets: tuple[Use, ...] = ()
    limit = Micros(round(cut.timestamp()) * SECOND)
    if is_packed(Path(data)):
        found = load_set(Path(data), symbol, chosen.features.width, limit)
        (ts, close), sets = found.series, (found.use,)
    else:
        ts, close = load_closes(data, symbol, chosen.features.width)
    past = int(np.searchsorted(ts, limit))
    try:
        book = None if usage is None else UsageLog(usage)
        bundle = train(chosen, ts[:past], close[:past], symbol, sets=sets, usage=book)
    except UsageError as error:
        raise ConfigError(str(error)) from error
    except (TrainingError, FeatureError) as error:
        raise ConfigError(f"{data}: {past} closes of {symbol} before {until}: {error}") from error
    save(bundle, out)
    for name, score in bundle.manifest.scores.items():
        typer.echo(f"  {name} = {score:.6g}")
    typer.echo(f"{out}: {bundle.manifest.name}, {bundle.hash}")


@app.command()
def score(
    folder: Folder,
    data: Data = EMBEDDED,
    start: Annotated[str | None, typer.Option(help="UTC date; by default where training ended.")] = None,
) -> None:
    """Score bundles on recorded bars, without chain and consensus."""
    for path in _bundles(folder):
        bundle = open_bundle(path)
        about, begin = bundle.manifest, None if start is None else _moment("start", start)
        until = about.trained_until
        if begin is not None and until is not None and begin.timestamp() < until:
            typer.echo(f"NOT EVIDENCE: {about.name} was trained until {_date(until)}; choose a later start")
        ts, close = load_closes(data, about.symbol, about.features.width)
        reports = assess(bundle, ts, close, None if begin is None else round(begin.timestamp()) * SECOND)
        if not reports:
            raise ConfigError(f"{path}: no forecast after its start has an outcome in {data}; give longer data")
        typer.echo("\n\n".join(report.table() for report in reports.values()))


def _moment(option: str, text: str) -> datetime:
    """A date, or date and time, read as UTC where it names no zone. Raises ConfigError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--{option}: {text!r} is no date; write it as 2017-09-20", given=text) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _date(seconds: int | None) -> str:
    return "unknown" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%MZ}"


@app.command(name="list")
def list_models(folder: Folder) -> None:
    """List the bundles with family, horizons, end of training, owner and content hash."""
    for path in _bundles(folder):
        bundle = open_bundle(path)
        about = bundle.manifest
        horizons = ",".join(f"{horizon}s" for horizon in about.horizons)
        task = f"{about.family}  {about.symbol} {horizons}  trained until {_date(about.trained_until)}"
        typer.echo(f"{about.name}  {about.version}  {task}  {about.owner}  {bundle.hash}")


@app.command()
def verify(folder: Folder) -> None:
    """Check every byte of the bundles; the first bad one ends with exit code 2."""
    for path in _bundles(folder):
        bundle = open_bundle(path)
        typer.echo(f"{path}: sound, {bundle.hash}")
