"""`dodona data poison` and `dodona data usage`: what may have been put into a data set, and what was trained on it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from feeds.quality.findings import counted
from oracle.cli import one_line
from oracle.errors import ConfigError

DataPath = Annotated[Path, typer.Argument(help="A packed data set, CSV, gzip CSV, Parquet file, or a store of quotes.")]
JsonPath = Annotated[Path | None, typer.Option("--json", help="Write the result for machines there.")]


class Suspect(ConfigError):
    """A data set in which something was found; the report has been printed."""


def poison(
    data: DataPath,
    budget: Annotated[float, typer.Option(help="Greatest chance that one check is wrong about sound data.")] = 0.01,
    json_path: JsonPath = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 2 if anything is found.")] = False,
) -> None:
    """Look for turned labels, copied blocks, drift, spikes, backdated rows and one voice under many names."""
    from feeds.poisoning.inspect import inspect

    report = inspect(data, budget)
    if json_path is not None:
        json_path.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    for line in report.text().splitlines():
        typer.echo(one_line(line))
    if strict and report.findings:
        raise Suspect(f"{data}: {counted(len(report.findings), 'finding')}; ask the provider, or leave the rows out")


def usage(
    book: Annotated[Path, typer.Argument(help="The book that `dodona model train --usage` writes.")],
    root: Annotated[str | None, typer.Option(help="Of one data set only.")] = None,
    provider: Annotated[str | None, typer.Option(help="Of one provider only.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Hold this bundle's claimed roots to the book.")] = None,
    json_path: JsonPath = None,
) -> None:
    """Count the training runs on each data set, by provider."""
    from models.usage import UsageError, UsageLog
    from oracle.commands.data import whole_root
    from oracle.sources import open_bundle

    if not book.is_file():
        raise ConfigError(f"{book}: no book of usage there; `dodona model train --usage {book}` starts one")
    log = UsageLog(book)
    try:
        counts = log.counts(None if root is None else whole_root(root), None if provider is None else provider.lower())
        head = log.head
        if bundle is not None:
            log.check(open_bundle(bundle))
    except UsageError as error:
        raise ConfigError(str(error)) from error
    for count in counts:
        typer.echo(f"{count.provider}  {count.root}")
        parts = ((count.runs, "run"), (count.bundles, "bundle"), (count.chunks, "chunk"), (count.rows, "row"))
        told = ", ".join(counted(number, noun) for number, noun in parts)
        typer.echo(f"  {told}, {count.row_epochs} rows times epochs")
    uses = counted(sum(count.runs for count in counts), "use")
    typer.echo(f"{uses} of {counted(len(counts), 'data set')}; head {head}")
    if bundle is not None:
        typer.echo(f"{bundle}: its roots are those that its runs used")
    if json_path is not None:
        fields = {"head": head, "counts": [asdict(count) for count in counts]}
        json_path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
