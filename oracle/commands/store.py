"""`dodona store`: look after a node's quotes on disk, beside the running node or without it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feeds.types import SECOND, Micros
from oracle.errors import ConfigError

if TYPE_CHECKING:
    from feeds.store import Store

app = typer.Typer(help="Look after the quotes that a node keeps.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The folder of the quotes: `quotes` in a node's data_dir.")]

DAY = 86_400 * SECOND


@app.command()
def compact(folder: Folder) -> None:
    """Make few files of many. A running node does so by itself, as far as it helps; this does all that can be done."""
    with _opened(folder) as store:
        done = store.compact(everything=True)
    typer.echo(f"merged {done.files} files into {done.into}")
    if done.waiting:
        typer.echo(
            f"{done.waiting} files that nothing reads any more stay until their readers end; the next run tidies up"
        )


@app.command()
def retain(
    folder: Folder,
    older_than: Annotated[int, typer.Option(min=1, max=36_500, help="Days since the last quote of a file was known.")],
    archive: Annotated[
        Path | None, typer.Option(help="A folder, a store of its own, that gets the files first.")
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Remove them without a copy.")] = False,
) -> None:
    """Remove the files all of whose quotes are older than an age. Nothing younger goes, and there is no way back."""
    if drop == (archive is not None):
        raise ConfigError("say what becomes of the old quotes: either --archive FOLDER or --drop")
    if archive is not None and archive.resolve() == folder.resolve():
        raise ConfigError(f"--archive {archive}: that is the store itself; name another folder")
    before = Micros(time.time_ns() // 1000 - older_than * DAY)
    with _opened(folder) as store:
        done = store.retain(before, archive)
    typer.echo(f"removed {done.files} files with {done.rows} quotes" + (f", copies in {archive}" if archive else ""))
    if done.waiting:
        typer.echo(f"{done.waiting} files are to go, but somebody reads them: run it again")


@app.command()
def verify(folder: Folder) -> None:
    """Check every file against the hash in its name."""
    with _opened(folder) as store:
        typer.echo(f"{store.verify()} files, each as it was written")


@contextmanager
def _opened(folder: Path) -> Iterator[Store]:
    """The store in a folder that must be there: a wrong path must not make an empty one."""
    from feeds.store import Store

    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}: name the folder of the quotes, `quotes` in a node's data_dir")
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()
