"""`dodona abi`: the interface of a contract as JSON, for wallets, libraries and compilers of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.abis import abi_text, interface_names
from contracts.artifacts import UnknownContract, contract_names
from oracle.errors import ConfigError


def abi(
    name: Annotated[str | None, typer.Argument(help="A contract or interface, e.g. Feed or IAggregator.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead of printing it.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Print the known names, contracts first.")] = False,
) -> None:
    """Print the ABI of a contract as JSON."""
    if listed == (name is not None):
        raise ConfigError("give one name, or --list alone; `dodona abi --list` shows the names", given=name)
    if name is None:
        for known in (*contract_names(), *interface_names()):
            typer.echo(known)
        return
    try:
        text = abi_text(name)
    except UnknownContract as error:
        raise ConfigError(f"{error}; `dodona abi --list` prints them", given=name) from error
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot write it ({error.strerror}); name a file in a folder that exists") from error
    typer.echo(f"{out}: ABI of {name}")
