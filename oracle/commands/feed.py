"""`dodona feed`: read the published feeds from the chain, as anyone can."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts import constant_int
from oracle.chain.adapter import ChainAdapter, FeedReading
from oracle.config import ChainSettings
from oracle.consensus.network import FeedKind, NetworkConfig
from oracle.errors import ChainFault, ConfigError
from oracle.settings import URL_ALLOWED, is_http_url, read_bounded

app = typer.Typer(help="Read published feeds.", no_args_is_help=True)
DEPLOYMENT = Path("build/demo/deployment.json")
MAX_DEPLOYMENT = 1_000_000
FLAGS = ("INVALID", "TURNOUT", "DISPERSION", "JUMP", "OUT_OF_BOUNDS", "FAMILY", "FINAL", "VECTOR")

Deployment = Annotated[Path, typer.Option(help="Where `dodona demo --serve` wrote its addresses.")]
Rpc = Annotated[str | None, typer.Option(help="HTTP RPC, instead of the deployment file's.")]
ChainId = Annotated[int | None, typer.Option(help="Chain id, instead of the deployment file's.")]
Aggregator = Annotated[str | None, typer.Option(help="Aggregator's address, instead of the deployment file's.")]
Staking = Annotated[str | None, typer.Option(help="Staking's address, instead of the deployment file's.")]


@dataclass(frozen=True, slots=True)
class Shown:
    """One feed as it is printed."""

    symbol: str
    kind: str
    number: int
    value: str
    confidence: str
    turnout: str
    at: str
    flags: str
    round: int
    components: tuple[int, ...]


@app.command(name="list")
def list_feeds(
    deployment: Deployment = DEPLOYMENT,
    rpc: Rpc = None,
    chain_id: ChainId = None,
    aggregator: Aggregator = None,
    staking: Staking = None,
) -> None:
    """List every feed of the network with its latest value."""
    shown = _shown_feeds(deployment, rpc, chain_id, aggregator, staking)
    head = ("SYMBOL", "KIND", "FEED", "ROUND", "VALUE", "+/-", "TURNOUT", "UPDATED", "FLAGS")
    rows = [
        (s.symbol, s.kind, str(s.number), str(s.round), s.value, s.confidence, s.turnout, s.at, s.flags) for s in shown
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def read(
    symbol: Annotated[str, typer.Argument(help="A symbol that `dodona feed list` shows, or a feed number.")],
    deployment: Deployment = DEPLOYMENT,
    rpc: Rpc = None,
    chain_id: ChainId = None,
    aggregator: Aggregator = None,
    staking: Staking = None,
) -> None:
    """Read one feed."""
    shown = _shown_feeds(deployment, rpc, chain_id, aggregator, staking)
    found = [s for s in shown if symbol in (s.symbol, str(s.number))]
    if not found:
        known = ", ".join(s.symbol for s in shown)
        raise ConfigError(f"feed {symbol}: no such feed, known: {known}", given=symbol, limit=known)
    for s in found:
        typer.echo(f"{s.symbol} ({s.kind}, feed {s.number}, round {s.round})")
        typer.echo(f"  value       {s.value} +/- {s.confidence}")
        typer.echo(f"  updated     {s.at}   turnout {s.turnout}   {s.flags or 'no flags'}")
        if s.components:
            typer.echo(f"  components  {' '.join(str(part) for part in s.components)}")


def _shown_feeds(
    deployment: Path, rpc: str | None, chain_id: int | None, aggregator: str | None, staking: str | None
) -> list[Shown]:
    """Every feed of the chain that the options name. Raises ConfigError, or ChainFault that says where [chain] is."""
    settings = _settings(deployment, rpc, chain_id, aggregator, staking)
    try:
        return asyncio.run(_read(settings))
    except ChainFault as fault:
        options = "--rpc, --chain-id, --aggregator, --staking"
        if None in (rpc, chain_id, aggregator, staking):
            options += f", else {deployment}, which `dodona demo --serve` writes"
        raise ChainFault(f"{fault} ([chain] here: {options})", given=fault.given, limit=fault.limit) from fault


def _settings(
    deployment: Path, rpc: str | None, chain_id: int | None, aggregator: str | None, staking: str | None
) -> ChainSettings:
    """The chain to read: options first, the deployment file for the rest. Raises ConfigError."""
    given: dict[str, Any] = {"rpc_url": rpc, "chain_id": chain_id, "aggregator": aggregator, "staking": staking}
    missing = [name for name, value in given.items() if value is None]
    stated = _deployment(deployment) if missing else {}
    for name in missing:
        given[name] = stated.get(name)
    options = {"rpc_url": "--rpc", "chain_id": "--chain-id", "aggregator": "--aggregator", "staking": "--staking"}
    for name, value in given.items():
        kind = int if name == "chain_id" else str
        if type(value) is not kind:
            raise ConfigError(f"{deployment}: {name} is {value!r}; give {options[name]}", given=value)
    if not is_http_url(given["rpc_url"]):
        raise ConfigError(f"--rpc: given {given['rpc_url']!r}, allowed: {URL_ALLOWED}", given=given["rpc_url"])
    for name in ("aggregator", "staking"):
        text = given[name]
        if len(text) != 42 or not text.startswith("0x") or not set(text[2:].lower()) <= set("0123456789abcdef"):
            raise ConfigError(f"{options[name]}: {text!r} is no address of 0x and 40 hex digits", given=text)
    return ChainSettings(given["rpc_url"], given["chain_id"], given["aggregator"].lower(), given["staking"].lower())


def _deployment(path: Path) -> dict[str, Any]:
    mend = "run `dodona demo --serve` in this folder, or give --rpc, --chain-id, --aggregator and --staking"
    try:
        stated = json.loads(read_bounded(path, MAX_DEPLOYMENT))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the deployment ({error.strerror}); {mend}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: damaged; {mend}") from error
    if not isinstance(stated, dict):
        raise ConfigError(f"{path}: holds no addresses; {mend}")
    return stated


async def _read(settings: ChainSettings) -> list[Shown]:
    chain = await ChainAdapter.connect(settings)
    try:
        network = (await chain.network_configs())[-1]
        return [_shown(network, reading) for reading in await chain.readings(network.feeds)]
    finally:
        await chain.close()


def _shown(network: NetworkConfig, reading: FeedReading) -> Shown:
    spec, word = reading.spec, reading.word
    kind = spec.kind.name.lower()
    if word is None:
        return Shown(spec.symbol, kind, spec.number, "none yet", "-", "-", "-", "", 0, ())
    places = 4 if spec.kind is FeedKind.EVENT else spec.decimals
    at = datetime.fromtimestamp(network.slot_start_ms(reading.slot) / 1000, UTC)
    flags = word.flags | (constant_int("FLAG_INVALID") if reading.invalid else 0)
    return Shown(
        symbol=spec.symbol,
        kind=kind,
        number=spec.number,
        value=_decimal(word.value, spec.decimals),
        confidence=_decimal(word.confidence, places),
        turnout=f"{word.turnout / 100:.2f} %",
        at=f"{at:%Y-%m-%d %H:%M:%S} UTC (slot {reading.slot})",
        flags=" ".join(name for bit, name in enumerate(FLAGS) if flags >> bit & 1 and name != "VECTOR"),
        round=reading.round,
        components=reading.components,
    )


def _decimal(value: int, decimals: int) -> str:
    return f"{Decimal(value).scaleb(-decimals):f}"
