"""One set of rules for every source, whatever its wire format.

Why this file exists: a node trusts a source because it keeps these rules, not because somebody looked at it. A kind of
source plugs in with a file `rig_<kind>.py` beside its tests that lists `RIGS`; `test_every_source.py` runs every rule
over every rig, and the soak runs them all at once. How to write a rig: see `Rig`.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from feeds.sources.http import Http, HttpLimits
from feeds.sources.live import Backoff, Fetcher, Live, Origin, Streamer
from feeds.sources.source import FeedError, Source, SourceClosed, SourceDefect, check_quote
from feeds.types import SECOND, Micros, Quote
from tests.feeds.sources.hostile import Honest, HostileServer
from tests.feeds.sources.http_faults import FAULTS, HARMLESS, MAY_PASS
from tests.feeds.sources.socket_faults import SOCKET_FAULTS

Result = TypeVar("Result")
BEGIN = Micros(1_678_536_000 * SECOND)
"""2023-03-11 12:00 UTC: the time on a stage at first."""
LIMITS = HttpLimits(
    connect_s=1.0, read_s=0.1, total_s=0.25, body_bytes=1 << 20, message_bytes=1 << 18, silence_s=0.15,
    rate=1e4, burst=1000, failures=1000, most_retry_after_s=10.0,
)  # fmt: skip
"""Patience for a server in the same process: short, so that what hangs does not hold up the suite."""


class StageTime:
    """A UTC clock and a steady clock that move when told and when something pauses."""

    def __init__(self, now: Micros = BEGIN) -> None:
        self.now = now

    def clock(self) -> Micros:
        """UTC microseconds."""
        return self.now

    def steady(self) -> float:
        """Seconds."""
        return self.now / SECOND

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now = Micros(self.now + int(seconds * SECOND))

    async def pause(self, seconds: float) -> None:
        """Let time pass at once."""
        self.advance(seconds)
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a rig builds its source: addresses of the hostile server, the shared `Http`, the time."""

    url: str
    http: Http
    time: StageTime

    @property
    def ws_url(self) -> str:
        """The server's address for websockets."""
        return self.url.replace("http", "ws", 1)


@dataclass(frozen=True)
class Rig:
    """How one kind of source is built and what it should say.

    `build`: the source over a stage: a `Fetcher`, a `Streamer`, or (without `honest`) a whole `Source`.
    `honest`: the server's honest part, in the real wire format; it may read the stage's time.
    `prices`: what an honest round says of each symbol (a recording: its last word, within a year of `BEGIN`).
    `secret`: a text that no error may show.
    `sound_through`: faults of `FAULTS` through which this source rightly still gives quotes (say why beside it).
    """

    name: str
    build: Callable[[Stage], Any]
    prices: Mapping[str, float]
    honest: Callable[[StageTime], Honest] | None = None
    secret: str = ""
    sound_through: frozenset[str] = field(default=frozenset())

    def __str__(self) -> str:
        return self.name


def found_rigs() -> list[Rig]:
    """Every rig of every `rig_*.py` under this folder, sorted by name."""
    here, rigs = Path(__file__).parent, []
    for path in sorted(here.rglob("rig_*.py")):
        place = ".".join(("tests.feeds.sources", *path.relative_to(here).with_suffix("").parts))
        rigs += importlib.import_module(place).RIGS
    names = [rig.name for rig in rigs]
    assert len(set(names)) == len(names), f"two rigs have one name: {names}"
    return sorted(rigs, key=lambda rig: rig.name)


@asynccontextmanager
async def staged(rig: Rig) -> AsyncIterator[tuple[HostileServer, Stage, Any]]:
    """The rig's server, a stage and its source, all closed afterwards, with no task left behind."""
    before, time = asyncio.all_tasks(), StageTime()
    assert rig.honest is not None
    async with HostileServer(rig.honest(time), seed=7, share=0.0) as server:
        http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
        origin = rig.build(Stage(server.url, http, time))
        try:
            yield server, Stage(server.url, http, time), origin
        finally:
            await origin.close()
            await origin.close()
            await http.close()
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert not left, f"tasks left behind: {left}"


async def taken(origin: Fetcher | Streamer, symbols: int) -> list[Quote]:
    """Quotes of one fetch, or of a stream until each of so many symbols was quoted or it ends; at most 5 seconds."""
    async with asyncio.timeout(5.0):
        if not hasattr(origin, "stream"):
            return await origin.fetch()
        quotes: list[Quote] = []
        batches = origin.stream()
        try:
            async for batch in batches:
                quotes += batch
                if len({quote.symbol for quote in quotes}) >= symbols or len(quotes) > 1000:
                    break
        finally:
            await batches.aclose()  # type: ignore[attr-defined]
        return quotes


def judge_quotes(origin: Origin | Source, quotes: list[Quote], time: StageTime) -> None:
    """Every quote is sound, of this source, of a symbol it has, and not from the future."""
    for quote in quotes:
        check_quote(quote)
        assert quote.source == origin.name, quote
        assert quote.symbol in origin.symbols, quote
        assert quote.known_at <= time.now, quote


def judge_error(rig: Rig, error: BaseException) -> None:
    """The error shows no secret, nor does anything that it drags along."""
    link: BaseException | None = error
    while link is not None:
        assert not rig.secret or rig.secret not in f"{link} {link!r} {link.args!r}", f"secret shown by {type(link)}"
        link = link.__cause__ or link.__context__


async def under_fault(rig: Rig, origin: Any, time: StageTime) -> list[Quote] | FeedError:
    """What comes of one round against a server at fault: sound quotes or a FeedError."""
    try:
        quotes = await taken(origin, len(rig.prices))
    except FeedError as error:
        assert not isinstance(error, SourceDefect), error
        judge_error(rig, error)
        return error
    judge_quotes(origin, quotes, time)
    return quotes


async def rule_honest_server__says_what_it_should(rig: Rig) -> None:
    """An honest round gives each symbol's price, known since the answer was here."""
    async with staged(rig) as (_, stage, origin):
        assert rig.prices and set(rig.prices) <= set(origin.symbols)
        before = stage.time.now
        quotes = await taken(origin, len(rig.prices))
        judge_quotes(origin, quotes, stage.time)
        assert {quote.symbol: quote.price for quote in quotes} == dict(rig.prices)
        assert all(quote.known_at >= before for quote in quotes)


async def rule_each_fault__sound_quotes_or_feed_error_and_recovers(rig: Rig) -> None:
    """Each fault of the server, on every request of a round; then the server is honest, and so is the round."""
    for fault in FAULTS:
        async with staged(rig) as (server, stage, origin):
            server.always = fault
            outcome = await under_fault(rig, origin, stage.time)
            if fault in HARMLESS:
                said = {q.symbol: q.price for q in outcome} if isinstance(outcome, list) else outcome
                assert said == dict(rig.prices), f"{fault}: {said}"
            elif fault not in MAY_PASS | rig.sound_through:
                assert isinstance(outcome, FeedError) or not outcome, f"{fault} was believed: {outcome}"
            server.always = None
            stage.time.advance(60)
            quotes = await taken(origin, len(rig.prices))
            assert {q.symbol: q.price for q in quotes} == dict(rig.prices), f"not recovered from {fault}: {quotes}"


async def rule_faults_in_mid_course__sound_quotes_or_feed_error(rig: Rig) -> None:
    """After an honest round, random faults on random requests; every outcome is judged."""
    async with staged(rig) as (server, stage, origin):
        await taken(origin, len(rig.prices))
        server.random, server.share = True, 0.5
        server.only = ("mutated", "mutated", "mutated", "mutated_bytes", "half_json", "429_seconds", "500", "reset")
        for _ in range(40):
            await under_fault(rig, origin, stage.time)
            stage.time.advance(15)


async def rule_socket_faults__sound_quotes_or_feed_error_and_recovers(rig: Rig) -> None:
    """For streams: each fault in the middle of a connection, then an honest one."""
    async with staged(rig) as (server, stage, origin):
        if not hasattr(origin, "stream"):
            return
        for fault in SOCKET_FAULTS:
            server.always = fault
            await _streamed(rig, origin, stage.time)
            server.always = None
            stage.time.advance(60)
            quotes = await taken(origin, len(rig.prices))
            assert {q.symbol: q.price for q in quotes} == dict(rig.prices), f"not recovered from {fault}: {quotes}"


async def _streamed(rig: Rig, origin: Streamer, time: StageTime) -> None:
    """Up to 30 batches, or half a second, of one connection."""
    batches = origin.stream()
    try:
        async with asyncio.timeout(0.5):
            for _ in range(30):
                judge_quotes(origin, await anext(batches), time)
    except (StopAsyncIteration, TimeoutError):
        pass  # it ended, or says nothing any more: both are allowed, `Live` cuts off silence
    except FeedError as error:
        judge_error(rig, error)
    finally:
        await batches.aclose()  # type: ignore[attr-defined]


async def rule_retry_after__no_request_until_then(rig: Rig) -> None:
    """While the host's `Retry-After` lasts, rounds fail at once and nothing is sent."""
    async with staged(rig) as (server, stage, origin):
        server.always = "429_seconds"
        outcome = await under_fault(rig, origin, stage.time)
        assert isinstance(outcome, FeedError) or not outcome
        server.always, asked = None, server.requests
        stage.time.advance(1)
        outcome = await under_fault(rig, origin, stage.time)
        assert isinstance(outcome, FeedError) or not outcome
        assert server.requests == asked, "it asked again before the time"


async def rule_cancelled_in_mid_request__leaves_nothing_and_works_on(rig: Rig) -> None:
    """A round that is cancelled while the server hangs leaves no task; the next one works."""
    async with staged(rig) as (server, stage, origin):
        server.always = "hang"
        task = asyncio.ensure_future(taken(origin, len(rig.prices)))
        while not server.requests and not task.done():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or isinstance(task.exception(), FeedError)
        server.always = None
        stage.time.advance(60)
        quotes = await taken(origin, len(rig.prices))
        assert {q.symbol: q.price for q in quotes} == dict(rig.prices)


async def rule_live__poll_never_waits_and_close_ends_it(rig: Rig) -> None:
    """As a `Live` source: polls end without waiting even while the server hangs; quotes come once; close is final."""
    async with staged(rig) as (server, stage, origin):
        server.always = "hang"
        live = Live(origin, 0.005, clock=stage.time.clock, backoff=Backoff(first=0.001, most=0.01), cutoff=2.0)
        assert isinstance(live, Source)
        assert at_once(live.poll(stage.time.now)) == []
        while not server.requests:
            await asyncio.sleep(0.001)
        with suppress(FeedError):  # on a busy machine it may have given up already
            at_once(live.poll(stage.time.now))
        server.always = None
        quotes = await _polled(live, stage.time, set(rig.prices))
        judge_quotes(origin, quotes, stage.time)
        assert [q.known_at for q in quotes] == sorted(q.known_at for q in quotes)
        await live.close()
        await live.close()
        try:
            at_once(live.poll(stage.time.now))
        except SourceClosed:
            return
        raise AssertionError("polled after close")


async def _polled(live: Live, time: StageTime, symbols: set[str]) -> list[Quote]:
    async with asyncio.timeout(10.0):
        while True:
            time.advance(1)
            try:
                quotes = at_once(live.poll(time.now))
            except SourceDefect:
                raise
            except FeedError:
                quotes = []
            if symbols <= {quote.symbol for quote in quotes}:
                return quotes
            await asyncio.sleep(0.005)


async def rule_recorded_source__each_row_once_in_order_when_it_is_known(rig: Rig) -> None:
    """Polled at uneven steps, a clock that goes back among them: rows in order, once, never early."""
    source, time, seen = staged_recording(rig), StageTime(), []
    assert isinstance(source, Source)
    assert source.name and set(source.symbols) == set(rig.prices)
    for seconds in (0, 1, 0, 59, -30, 30, 61, 3600, 0, 86_400, 366 * 86_400):
        time.advance(seconds)
        quotes = at_once(source.poll(time.now))
        judge_quotes(source, quotes, time)
        seen += quotes
    assert [quote.known_at for quote in seen] == sorted(quote.known_at for quote in seen)
    assert len({(quote.symbol, quote.ts) for quote in seen}) == len(seen) > 0, "a row was shown twice"
    assert {quote.symbol: quote.price for quote in seen} == dict(rig.prices)
    await source.close()


async def rule_recorded_source__closed__says_so(rig: Rig) -> None:
    """A second close does nothing; a poll after it raises SourceClosed."""
    source = staged_recording(rig)
    await source.close()
    await source.close()
    try:
        at_once(source.poll(BEGIN))
    except SourceClosed:
        return
    raise AssertionError("polled after close")


def staged_recording(rig: Rig) -> Source:
    """The source of a rig without a server."""
    time = StageTime()
    http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
    source: Source = rig.build(Stage("", http, time))
    return source


def at_once(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that does not wait for anything; one that waits fails the test."""
    try:
        work.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    work.close()
    raise AssertionError("it waits")


_ALL = {name: value for name, value in sorted(globals().items()) if name.startswith("rule_")}
RECORDED_RULES = tuple(rule for name, rule in _ALL.items() if name.startswith("rule_recorded"))
"""Rules for rigs without a server."""
RULES = tuple(rule for name, rule in _ALL.items() if not name.startswith("rule_recorded"))
"""Rules for rigs with one."""
