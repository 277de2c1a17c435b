"""`dodona node`: run a validator, write its settings, check them."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from eth_utils.address import is_address, to_canonical_address

from oracle.chain.adapter import ChainAdapter
from oracle.config import (
    ChainSettings,
    ClockSettings,
    HttpSettings,
    KeySettings,
    LocalConfig,
    NodeSettings,
    load,
    read,
    to_toml,
)
from oracle.errors import ConfigError
from oracle.keys import create_keystore, load_key, possession_digest
from oracle.settings import parse_toml
from oracle.sources import Trial, try_sources
from oracle.startup import check, run_node, set_up_logging

app = typer.Typer(help="Run and set up a validator.", no_args_is_help=True)
Config = Annotated[Path, typer.Option("--config", "-c", help="The node's settings file (TOML).")]
INTERRUPTED = 130

EXAMPLE = """
# Sources and feeds: what this node observes. A feed of the network that is not listed here abstains.
# Every kind of source, with its keys: docs/feeds.md.
# [[sources]]
# name = "mid"
# kind = "replay"
# data = "eurusd:mid"
# symbol = "EUR/USD"
#
# [[feeds]]
# number = 0
# symbol = "EUR/USD"
# sources = ["mid"]
# max_age_s = 7200
#
# [models]
# bundles_dir = "bundles"
"""


@app.command()
def run(config: Config) -> None:
    """Run one validator until it is asked to stop."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    settings = load(config)
    set_up_logging(settings.node.log_level)
    if asyncio.run(run_node(settings)) == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


@app.command(name="check")
def check_command(config: Config) -> None:
    """Check settings, key, data, bundles, chain and clock, and change nothing."""
    settings = load(config)
    found, trials = asyncio.run(_check(settings))
    for trial in trials:
        typer.echo(_told(trial))
    if silent := [trial.name for trial in trials if trial.fault is not None]:
        raise ConfigError(f"{config}: {found} But nothing came from {', '.join(silent)}: mend or remove them")
    typer.echo(f"{config}: in order. {found}")


def _told(trial: Trial) -> str:
    """One line on one source."""
    if trial.fault is not None:
        return f"source {trial.name}: {trial.fault.removeprefix(f'source {trial.name} ')}"
    newest = {quote.symbol: quote.price for quote in trial.quotes}
    said = ", ".join(f"{symbol} {price:.10g}" for symbol, price in sorted(newest.items()))
    return f"source {trial.name}: ok, {said or 'no quote yet'}" if trial.live else f"source {trial.name}: ok, recorded"


async def _check(settings: LocalConfig) -> tuple[str, list[Trial]]:
    checked = await check(settings)
    try:
        trials = await try_sources(checked.sources)
    finally:
        await checked.close()
    newest = checked.configs[-1]
    row = newest.index_of(checked.key.address)
    place = f"validator {row} of {len(newest.rows)}" if row is not None else "no validator of this network yet"
    listed, ours = {int(spec.number) for spec in newest.feeds}, {feed.number for feed in settings.feeds}
    odd = {"Not on chain": ours - listed, "Not observed here": listed - ours}
    notes = [f" {what}: feed {', '.join(map(str, sorted(numbers)))}." for what, numbers in odd.items() if numbers]
    found = f"Key {checked.key.checksum_address} is {place}, config {newest.count} with {len(newest.feeds)} feeds."
    return found + "".join(notes), trials


@app.command()
def prove(
    config: Config,
    owner: Annotated[str, typer.Option(help="Cold account that owns the stake, 0x and 40 hex digits.")],
) -> None:
    """Print what the cold account passes to `Staking.register` (or `replaceKey`): hot key and proof of possession.

    The digest is computed here from the settings: the key signs nothing that an RPC makes up.
    """
    if not is_address(owner):
        raise ConfigError(f"--owner: {owner!r} is no address of 0x and 40 hex digits (or its checksum is wrong)")
    settings = load(config)
    key, account = load_key(settings.key), to_canonical_address(owner)
    nonce = asyncio.run(_registration_nonce(settings.chain, account))
    staking = to_canonical_address(settings.chain.staking)
    proof = key.sign(possession_digest(settings.chain.chain_id, staking, account, key.address, nonce))
    typer.echo(f"key        {key.checksum_address}")
    typer.echo(f"signature  0x{proof.hex()}")


async def _registration_nonce(settings: ChainSettings, owner: bytes) -> int:
    chain = await ChainAdapter.connect(settings)
    try:
        return await chain.registration_nonce(owner)
    finally:
        await chain.close()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="New folder for settings, keystore and password.")],
    rpc: Annotated[str, typer.Option(help="HTTP RPC of the chain.")],
    chain_id: Annotated[int, typer.Option(help="The chain's id.")],
    aggregator: Annotated[str, typer.Option(help="Aggregator's address.")],
    staking: Annotated[str, typer.Option(help="Staking's address.")],
    name: Annotated[str, typer.Option(help="A name for this node.")] = "node",
    port: Annotated[int, typer.Option(help="HTTP port.")] = 9300,
) -> None:
    """Make a new hot key and write a settings file around it."""
    path = folder / "node.toml"
    keystore, password_file = folder / "keystore.json", folder / "password"
    config = LocalConfig(
        path=path,
        node=NodeSettings(name, Path("data")),
        chain=ChainSettings(rpc, chain_id, aggregator, staking),
        key=KeySettings(Path(keystore.name), password_file=Path(password_file.name)),
        http=HttpSettings(port=port),
        clock=ClockSettings(),
        sources=(),
        feeds=(),
    )
    text, password = to_toml(config) + EXAMPLE, secrets.token_urlsafe(32)
    read(path, parse_toml(path, text))
    for each in (path, keystore, password_file):
        if os.path.lexists(each):
            raise ConfigError(f"{each}: exists already; choose another folder")
    with ExitStack() as undo:
        _new_folder(folder, undo)
        undo.callback(keystore.unlink, missing_ok=True)
        key = create_keystore(keystore, password)
        _write_new(password_file, password, undo)
        _write_new(path, text, undo)
        undo.pop_all()
    typer.echo(f"{path}: written. Register the hot key {key.checksum_address} in Staking, fund it, then add feeds.")


def _new_folder(folder: Path, undo: ExitStack) -> None:
    """The folder with its parents; `undo` removes those that were not there. Raises ConfigError."""
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        for each in reversed(absent):
            each.mkdir()
            undo.callback(each.rmdir)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot make this folder ({error.strerror}); choose another folder") from error


def _write_new(path: Path, text: str, undo: ExitStack) -> None:
    """A new file that only its owner reads; `undo` removes it. Raises ConfigError where it cannot be written."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        undo.callback(path.unlink)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"{path}: cannot write it ({error.strerror}); choose another folder") from error
