"""`dodona feeds question`: what is known of a question about the world, and on what it rests.

Why this file exists: in a dispute a reader needs every answer with its evidence, what was revised and which market
changed its terms, for now and for any moment before. Never in it: a rule of standing, a wire format.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from feeds.events.book import EventBook, FactSource
from feeds.events.price import PriceFacts
from feeds.events.question import MAX_FILE, Above, Happened, Question, outcome_name, parse_question, question_id, title
from feeds.events.standing import Agreed, Annulled, Open, Split, Standing, StandingRule
from feeds.sources.http import Http
from feeds.sources.live import system_clock
from feeds.sources.markets.market import PredictionMarket
from feeds.sources.source import EvidenceDamaged, FeedError
from feeds.store import Store
from feeds.types import SECOND, Fact, Micros
from oracle.commands.feeds import moment_of
from oracle.config import LocalConfig, load
from oracle.errors import ConfigError
from oracle.intake import QUOTES_DIR
from oracle.prices import market_of, symbol_of
from oracle.settings import read_bounded
from oracle.source_settings import KINDS, LiveSettings

EVENTS_DIR = "events"
"""Folder of the book of events inside a node's `data_dir`."""
OWN_QUOTES = "own-quotes"
"""Source name of the facts that a node's own quotes make."""


def question(
    which: Annotated[str, typer.Argument(metavar="[FILE|ID]", help="A TOML file, or an id's beginning.")] = "",
    folder: Annotated[Path | None, typer.Option("--folder", "-f", help="Where the events are.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A node's settings: `events` there.")] = None,
    at: Annotated[str | None, typer.Option(help="As known at this time (UTC) instead of now.")] = None,
    min_sources: Annotated[int, typer.Option(min=1, help="So many independent sources must agree.")] = 2,
    ask: Annotated[bool, typer.Option("--ask", help="Put the FILE's question into the log.")] = False,
    collect: Annotated[bool, typer.Option("--collect", help="Ask the settings' sources for facts once.")] = False,
    accept: Annotated[str, typer.Option(metavar="SOURCE", help="Accept the changed terms of SOURCE's market.")] = "",
) -> None:
    """Show the standing of a question with its facts and their evidence; without one, list all questions."""
    if (folder is None) == (config is None) or (collect and config is None):
        raise ConfigError("say where the events are: --folder FOLDER, or --config FILE (--collect needs the latter)")
    if (ask or accept) and not which:
        missing = "a FILE before --ask" if ask else "a FILE or an id before --accept"
        raise ConfigError(f"say which question: {missing}")
    settings = None if config is None else load(config)
    place = settings.node.data_dir / EVENTS_DIR if settings is not None else folder
    assert place is not None
    if not place.is_dir() and not ask:
        raise ConfigError(f"no folder {place}: name the folder of the events, or put a question there with --ask")
    rule = StandingRule(min_sources)
    book = EventBook(place, writing=ask or collect or bool(accept))
    try:
        number = _number(book, which, ask) if which else ""
        if collect and settings is not None:
            for line in asyncio.run(_collect(book, settings, number)):
                typer.echo(line)
        if accept:
            book.accept_terms(accept, number, _now())
        moment = max(_now(), book.log.newest) if at is None else moment_of(at)
        for line in told(book, number, moment, rule) if number else _listed(book, moment, rule):
            typer.echo(line)
    finally:
        book.close()


async def _collect(book: EventBook, settings: LocalConfig, number: str) -> list[str]:
    """Ask every market of the settings that answers `number` (all if empty) once; what could not be had."""
    http, lines = Http(), []
    sources: list[FactSource] = []
    wanted = [number] if number else list(book.log.questions)
    try:
        for item in settings.sources:
            if isinstance(item, LiveSettings) and getattr(item.origin, "question", "") in wanted:
                origin = KINDS[item.kind].build(item.origin, http, system_clock)
                if isinstance(origin, PredictionMarket):
                    sources.append(origin)
                    try:
                        await origin.fetch()
                    except FeedError as error:
                        lines.append(str(error))
        with _own_quotes(book, settings, wanted) as own:
            new = book.collect([*sources, *own], _now())
    finally:
        for source in sources:
            if isinstance(source, PredictionMarket):
                await source.close()
        await http.close()
    lines += [f"refused {count} x {what}: {book.last_refusal}" for what, count in book.refused.items()]
    return [*lines, f"{len(new)} new from {len(sources)} markets"]


@contextmanager
def _own_quotes(book: EventBook, settings: LocalConfig, wanted: list[str]) -> Iterator[list[PriceFacts]]:
    """A source for each question about a price that a feed of the settings has, over the node's own quotes."""
    path = settings.node.data_dir / QUOTES_DIR
    asked = [book.log.questions[number] for number in wanted]
    feeds = {symbol_of(feed): feed for feed in settings.feeds}
    prices = [item for item in asked if isinstance(item, Above) and item.symbol in feeds]
    if not prices or not path.is_dir():
        yield []
        return
    store = Store(path)
    symbols = {source.name: source.symbols for source in settings.sources}
    try:
        chosen = [(asked, feeds[asked.symbol]) for asked in prices]
        yield [PriceFacts(OWN_QUOTES, q, store, market_of(f, symbols).rule, f.sources) for q, f in chosen]
    finally:
        store.close()


def told(book: EventBook, number: str, now: Micros, rule: StandingRule) -> Iterator[str]:
    """The lines that say what was known of a question at `now` and why."""
    asked, standing = book.log.questions[number], book.standing(number, now, rule)
    yield f"question {number}"
    yield f"  {title(asked)}"
    until = f", but yes none before {_utc(asked.by)}" if isinstance(asked, Happened) else ""
    yield f"  outcomes: {', '.join(asked.outcomes)}; no answer counts before {_utc(asked.earliest)}{until}"
    yield f"  at {_utc(now)}: {said(asked, standing)}"
    yield from (f"  flag: {flag}" for flag in standing.told.flags)
    told_ = standing.told
    parts = (("facts", told_.facts), ("undecided", told_.undecided), ("revised", told_.revised))
    for name, facts in parts:
        if facts:
            yield name
        for fact in facts:
            yield from _fact(book, asked, fact)
    if told_.set_aside:
        yield "set aside"
    for fact, why in told_.set_aside:
        yield f"  {why}"
        yield from _fact(book, asked, fact)
    terms = [seen for seen in book.log.rules(number) if seen.known_at <= now]
    if terms:
        yield "terms of its markets"
    for seen in terms:
        end = "no end" if seen.closes is None else f"ends {_utc(seen.closes)}"
        yield f"  {seen.source}: {'accepted' if seen.accepted else 'seen'} {_utc(seen.known_at)}, {end}"
        yield f"    rules sha256 {seen.sha256} ({_kept(book, seen.sha256)})"


def said(asked: Question, standing: Standing) -> str:
    """A standing in one line."""
    if isinstance(standing, Open):
        return f"open: {standing.reason}"
    if isinstance(standing, Agreed):
        return f"agreed: {asked.outcomes[standing.outcome]}"
    if isinstance(standing, Annulled):
        return "annulled"
    if isinstance(standing, Split):
        parts = zip(asked.outcomes, standing.payouts, strict=True)
        return "split: " + ", ".join(f"{name} {part}" for name, part in parts)
    sides = [f"{outcome_name(facts[0], asked)} ({', '.join(f.source for f in facts)})" for _, facts in standing.by]
    return "disputed: " + " against ".join(sides)


def _fact(book: EventBook, asked: Question, fact: Fact) -> Iterator[str]:
    answer = outcome_name(fact, asked)
    yield f"  {fact.source}: {answer}, since {_utc(fact.ts)}, known {_utc(fact.known_at)}"
    for piece in fact.evidence:
        yield f"    {piece.url} fetched {_utc(piece.fetched_at)}"
        yield f"    sha256 {piece.sha256} ({_kept(book, piece.sha256)})"
        yield f"    {piece.excerpt}"


def _kept(book: EventBook, sha256: str) -> str:
    try:
        return f"{len(book.evidence.read(sha256))} bytes kept, intact"
    except EvidenceDamaged as error:
        return f"NOT KEPT: {error.reason}"


def _listed(book: EventBook, moment: Micros, rule: StandingRule) -> Iterator[str]:
    for number, asked in book.log.questions.items():
        yield f"{number}  {said(asked, book.standing(number, moment, rule))}  {title(asked)}"


def _number(book: EventBook, which: str, ask: bool) -> str:
    """The id of the question that is meant, and put into the log if it is to be. Raises ConfigError, FeedError."""
    path = Path(which)
    if not which.startswith("0x") or path.is_file():
        try:
            asked = parse_question(read_bounded(path, MAX_FILE), path.name)
        except OSError as error:
            raise ConfigError(f"{which}: no file ({error.strerror}) and no id; ids begin with 0x") from error
        number = book.ask(asked, _now()) if ask else question_id(asked)
        if number not in book.log.questions:
            raise ConfigError(f"{which}: its question {number} is not in the log; add --ask to put it there")
        return number
    found = [number for number in book.log.questions if number.startswith(which)]
    if len(found) != 1 or ask:
        known = ", ".join(found[:5]) or ", ".join(list(book.log.questions)[:5]) or "none"
        raise ConfigError(f"{which}: {'an id cannot be asked' if ask else 'not one question'}; the log has {known}")
    return found[0]


def _now() -> Micros:
    return Micros(time.time_ns() // 1000)


def _utc(at: Micros) -> str:
    return f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"
