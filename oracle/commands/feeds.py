"""`dodona feeds`: what comes in: how a symbol is fused, live and after the fact.

Why this file exists: an operator must see which source counted, which was set aside and why, now and for any moment
that the node's store holds. `dodona feed` reads what the network published; this reads what it is made from. Never in
it: a rule of fusion.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from feeds.fuse import Fused, Refusal
from feeds.market import Market
from feeds.monitor import Monitor
from feeds.sources.http import Http
from feeds.sources.source import DepthSource, FeedError
from feeds.store import Store, to_quotes
from feeds.types import SECOND, Micros, Quote
from oracle.config import FeedSettings, LocalConfig, load
from oracle.errors import ConfigError
from oracle.intake import QUOTES_DIR
from oracle.prices import bookless, market_of, symbol_of
from oracle.source_settings import LiveSettings, SourceSettings
from oracle.sources import open_sources

app = typer.Typer(help="See what comes in: which sources count for a symbol, and why.", no_args_is_help=True)
BPS = 10_000
Config = Annotated[Path, typer.Option("--config", "-c", help="The node's settings file (TOML).")]
Symbol = Annotated[str, typer.Argument(help="A symbol of the settings' [[feeds]], or a feed's number.")]


@app.command()
def watch(
    symbol: Symbol,
    config: Config,
    begin: Annotated[str | None, typer.Option("--from", help="Replay from this time (UTC) instead of now.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Stop after so many slots.")] = None,
) -> None:
    """Poll the sources of SYMBOL every slot and show how they are fused, until interrupted."""
    settings = load(config)
    feed = _feed(settings, symbol)
    chosen = [item for item in settings.sources if item.name in feed.sources]
    live = [item.name for item in chosen if isinstance(item, LiveSettings)]
    if begin is not None and live:
        raise ConfigError(f"--from: source {live[0]} is live and has no past; see `dodona feeds explain`")
    asyncio.run(_watch(feed, chosen, None if begin is None else moment_of(begin), slots))


@app.command()
def explain(
    symbol: Symbol,
    moment: Annotated[str, typer.Argument(help="A time (UTC), such as 2023-03-11T07:15:00Z.")],
    config: Config,
) -> None:
    """Say how SYMBOL was fused at a past time: a replay of what the node's store knew then, and nothing later."""
    settings, at = load(config), moment_of(moment)
    feed = _feed(settings, symbol)
    market = market_of(replace(feed, min_depth=None), _symbols(settings))
    folder = settings.node.data_dir / QUOTES_DIR
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no quotes are stored there; run the node first, or mend [node] data_dir")
    store = Store(folder)
    try:
        known = to_quotes(store.as_of(at, None, Micros(Monitor.since(market.rule, at) + 1)))
    finally:
        store.close()
    market.add(quote for quote in known if quote.source in feed.sources)
    for line in told(market, at):
        typer.echo(line)
    if feed.min_depth is not None:
        typer.echo(f"  min_depth {feed.min_depth:g} is left out: the store keeps quotes, no order books")


async def _watch(feed: FeedSettings, chosen: Sequence[SourceSettings], begin: Micros | None, slots: int | None) -> None:
    """One table a slot. With `begin` time is stepped, else it is the machine's."""
    http = Http()
    sources = open_sources(chosen, http)
    market = market_of(feed, {source.name: source.symbols for source in sources}, bookless(sources))
    slot, shown = market.rule.slot, 0
    now = Micros((begin if begin is not None else time.time_ns() // 1000) // slot * slot)
    try:
        while slots is None or shown < slots:
            if begin is None:
                await asyncio.sleep(max(0.0, (now - time.time_ns() // 1000) / SECOND))
            for source in sources:
                try:
                    market.add(await source.poll(now))
                    if isinstance(source, DepthSource):
                        market.add_depth(source.depths(now))
                except FeedError as error:
                    typer.echo(str(error))
            for line in told(market, now):
                typer.echo(line)
            now, shown = Micros(now + slot), shown + 1
    finally:
        for source in sources:
            await source.close()
        await http.close()


def told(market: Market, now: Micros) -> Iterable[str]:
    """The lines that say what a market's price is at `now` and why."""
    answer = market.at(now)
    yield f"{market.rule.symbol} at {_utc(now)}"
    if isinstance(answer, Fused):
        share = answer.confidence / answer.price * BPS
        yield f"  price {answer.price:.10g} +/- {answer.confidence:.4g} ({share:.1f} bps), oldest {_utc(answer.ts)}"
        for flag in answer.flags:
            yield f"  {flag}"
    else:
        yield f"  refused, {answer.rule}: {answer.reason}"
    yield from _table(market, answer, now)
    for alarm in market.alarms():
        yield f"  alarm at {_utc(alarm.ts)}: {alarm.symbol} {alarm.source} {alarm.reason}"


def _table(market: Market, answer: Fused | Refusal, now: Micros) -> Iterable[str]:
    aside = dict(answer.set_aside)
    head = ("SOURCE", "SYMBOL", "PRICE", "SIZE", "AGE", "OFF", "WHY")
    rows = [head]
    for symbol, monitor in market.monitors.items():
        for name, quote in monitor.newest.items():
            own = symbol == market.rule.symbol
            if own:
                why = aside.get(name, "counts" if name in answer.sources else "")
            else:
                why = f"beside it, {monitor.named[name]}" if name in monitor.named else "beside it"
            rows.append((name, symbol, *_said(quote, answer if own else None, now), why))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _said(quote: Quote | None, answer: Fused | Refusal | None, now: Micros) -> tuple[str, str, str, str]:
    """Price, size, age and distance from the fused price."""
    if quote is None:
        return "-", "-", "-", "-"
    off = f"{(quote.price / answer.price - 1) * BPS:+.1f} bps" if isinstance(answer, Fused) else "-"
    size = "-" if quote.size is None else f"{quote.size:g}"
    return f"{quote.price:.10g}", size, f"{(now - quote.ts) / SECOND:.0f} s", off


def _feed(settings: LocalConfig, symbol: str) -> FeedSettings:
    found = [feed for feed in settings.feeds if symbol in (symbol_of(feed), str(feed.number))]
    if not found:
        known = ", ".join(sorted({symbol_of(feed) for feed in settings.feeds})) or "none"
        raise ConfigError(f"{symbol}: no such feed in {settings.path}, known: {known}", given=symbol, limit=known)
    return found[0]


def _symbols(settings: LocalConfig) -> dict[str, tuple[str, ...]]:
    return {source.name: source.symbols for source in settings.sources}


def moment_of(text: str) -> Micros:
    """A time on the command line, UTC where it says no offset. Raises ConfigError."""
    allowed = "a date and time, e.g. 2023-03-11T07:15:00Z"
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        micros = int(moment.timestamp()) * SECOND + moment.microsecond
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{text}: given {text!r}, allowed: {allowed}", given=text, limit=allowed) from error
    if not 0 <= micros < 4_102_444_800 * SECOND:
        raise ConfigError(f"{text}: given {text!r}, allowed: {allowed}, from 1970 to 2099", given=text, limit=allowed)
    return Micros(micros)


def _utc(at: Micros) -> str:
    return f"{datetime.fromtimestamp(at / SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"
