"""`dodona model`: look at bundles on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.bundle import BundleError, load
from oracle.errors import ConfigError

app = typer.Typer(help="Look at model bundles.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="A bundle, or a folder of bundles.")]


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


@app.command(name="list")
def list_models(folder: Folder) -> None:
    """List the bundles with owner, family, horizons and content hash."""
    for path in _bundles(folder):
        bundle = load(path)
        about = bundle.manifest
        horizons = ",".join(f"{horizon}s" for horizon in about.horizons)
        task = f"{about.family}  {about.symbol} {horizons}"
        typer.echo(f"{about.name}  {about.version}  {task}  {about.owner}  {bundle.hash}")


@app.command()
def verify(folder: Folder) -> None:
    """Check every byte of the bundles; the first bad one ends with exit code 2."""
    for path in _bundles(folder):
        try:
            bundle = load(path)
        except BundleError:
            typer.echo(f"{path}: refused", err=True)
            raise
        typer.echo(f"{path}: sound, {bundle.hash}")
