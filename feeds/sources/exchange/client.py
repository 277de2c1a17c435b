"""ccxt on a short lead: public market data of one venue, through our one way out, ending in values or FeedErrors.

Why this file exists: ccxt (https://docs.ccxt.com, "Public API") speaks a hundred venues' dialects, but trusts them: it
follows redirects, reads answers of any size, keeps all it ever loaded and raises whatever its parsers stumble over.
Here its transport is replaced by `Http` (size, time, rate, strict JSON), its market list is cut down to the markets
asked for, and whatever it raises becomes a FeedError. Never in it: keys, orders, what a quote is (`exchange.py`).

ccxt takes most of a second to import, so it is imported when a venue is first opened, never with this module.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

from feeds.sources.http import Answer, Http
from feeds.sources.live import Clock
from feeds.sources.pacing import retry_after
from feeds.sources.source import (
    FeedError,
    MalformedAnswer,
    RateLimited,
    SourceUnavailable,
    UnknownSymbol,
)
from feeds.types import SECOND, Micros

PARSER_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError, ValueError)
"""What ccxt's parsers raise on answers that are not what they expect: a field that is missing (LookupError) or of
another kind (TypeError, AttributeError), text that is no number (ValueError; decimal's errors are ArithmeticErrors),
and a branch that no one foresaw (NameError: a variable read before it was set; AssertionError)."""
MAX_MARKETS = 50_000
"""A venue that lists more is refused."""
MARKETS_AGE = 6 * 3600 * SECOND
"""Microseconds after which a venue's list of markets is read again."""
RETRY_FIRST, RETRY_MOST = 30 * SECOND, 600 * SECOND
"""The same while a symbol is missing from it, or does not answer to its name: doubled each time, up to the most."""
MAX_WAIT = 60.0
"""Seconds that a request waits at most for its turn."""
REST = 10 * SECOND
"""How long a venue that limits us is left alone where it does not say for how long."""

_LISTING: Mapping[str, Mapping[str, str]] = {
    # The whole list of Binance is several times `HttpLimits.body_bytes`: what does not trade and the permission sets
    # are left out (Binance spot API, "Exchange information").
    venue: {"symbolStatus": "TRADING", "showPermissionSets": "false"}
    for venue in ("binance", "binanceus")
}
_ORIGIN = re.compile(r"^(https?|wss?)://[^/]+")


def venues(streaming: bool = False) -> frozenset[str]:
    """Names of the venues in the installed ccxt; `streaming`: over websockets. Does not import ccxt."""
    spec = importlib.util.find_spec("ccxt")
    folder = Path((spec.origin if spec else None) or ".").parent / ("pro" if streaming else "async_support")
    return frozenset(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


class Bounded:
    """What replaces ccxt's own in the class of every venue: its way to the network, and what it starts by itself.

    Mixed in before a ccxt exchange class, whose transport is `fetch(url, method, headers, body)` and whose background
    work is `spawn(method, *args)`.
    """

    http: Http
    source: str
    clock: Clock
    work: set[asyncio.Task[Any]]
    next_turn = 0.0

    async def fetch(self: Any, url: str, method: str = "GET", headers: object = None, body: object = None) -> object:
        """One request, the answer as JSON. Raises FeedErrors, and ccxt's errors for a venue's own error messages."""
        if method != "GET" or body is not None:
            reason = f"its public data needs a {method} request with a body, and only plain GET is allowed"
            raise SourceUnavailable(self.source, reason)
        sent = {key: value for key, value in headers.items() if value} if isinstance(headers, dict) else None
        answer = await self.http.request(self.source, "GET", url, headers=sent, any_status=True)
        if answer.status < 300:
            value = answer.json()
            self._complain(url, answer, value)
            return value
        rest = retry_after(answer.headers, answer.received_at)
        if rest is not None:
            why = f"HTTP status {answer.status}, it asked for {rest:g} s of rest"
            raise RateLimited(self.source, Micros(answer.received_at + int(min(rest, 3600.0) * SECOND)), why)
        try:
            value = answer.json()
        except MalformedAnswer:
            value = None
        self._complain(url, answer, value)
        raise SourceUnavailable(self.source, f"HTTP status {answer.status}")

    def _complain(self: Any, url: str, answer: Answer, value: object) -> None:
        """Let ccxt recognise the venue's own error messages (its `handle_errors`), and plain HTTP errors."""
        text, headers = answer.body[:4096].decode("utf-8", "replace"), dict(answer.headers)
        self.handle_errors(answer.status, "", url, "GET", headers, text, value, None, None)
        self.handle_http_status_code(answer.status, "", url, "GET", text[:200])

    async def throttle(self: Any, cost: object = None) -> None:
        """Wait for a request's turn: `rateLimit` milliseconds for each unit of cost, as ccxt states the venue's limit.

        ccxt's own wakes up every millisecond, in a task that nobody ends.
        """
        task = asyncio.current_task()
        if task is not None and getattr(task.get_coro(), "cr_code", None) is self.request.__func__.__code__:
            keep(self.work, task)  # ccxt's own, one of several requests at a time: if another fails, nobody ends it
        now, units = asyncio.get_running_loop().time(), float(cost) if isinstance(cost, int | float) else 1.0
        due = max(now, self.next_turn)
        self.next_turn = due + min(units * self.rateLimit / 1000.0, MAX_WAIT)
        if due - now > MAX_WAIT:
            raise SourceUnavailable(self.source, f"more requests wait than the venue lets through in {MAX_WAIT:.0f} s")
        if due > now:
            await asyncio.sleep(due - now)

    async def load_markets(self: Any, reload: bool = False, params: object = None) -> object:
        """The markets that `Venue` loaded: ccxt asks for them before every call."""
        return self.markets

    def spawn(self: Any, method: Callable[..., Awaitable[object]], *args: object) -> asyncio.Task[Any]:
        """Background work of ccxt (fetching a book's snapshot): kept, so that `close` can end it."""

        async def run() -> None:
            try:
                await method(*args)
            except (ccxt_error(), FeedError, *PARSER_ERRORS) as error:
                self.break_off(error)

        return keep(self.work, asyncio.get_running_loop().create_task(run()))

    async def load_order_book(
        self: Any, client: Any, message_hash: str, symbol: str, limit: int | None = None, params: object = None
    ) -> None:
        """A book's snapshot, then the updates that came meanwhile; ccxt's own repeats a failure without end or pause.

        Same steps and arguments as ccxt's; three tries to get a snapshot younger than the first update.
        """
        stored = self.orderbooks[symbol]
        for _ in range(3):
            snapshot = await self.fetch_order_book(symbol, limit, params or {})
            index = self.get_cache_index(snapshot, stored.cache)
            if index >= 0:
                stored.reset(snapshot)
                self.handle_deltas(stored, stored.cache[index:])
                stored.cache.clear()
                client.resolve(stored, message_hash)
                return
        raise SourceUnavailable(self.source, f"the book of {symbol} is behind its updates")

    def break_off(self: Any, error: BaseException) -> None:
        """Background work failed, and nobody waits for it: every connection of this venue is given up."""
        for connection in list(self.clients.values()):
            connection.on_error(error)


def ccxt_error() -> type[Exception]:
    """The root of ccxt's errors, `BaseError`. To be called where ccxt is imported already."""
    found: type[Exception] = importlib.import_module("ccxt").BaseError
    return found


def keep(work: set[asyncio.Task[Any]], task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """The same task, held in `work` until it is done."""
    work.add(task)
    task.add_done_callback(work.discard)
    return task


class Venue:
    """One venue as one source sees it. `symbols` are ccxt's unified spot symbols like `BTC/USD`.

    `options` are set on ccxt's exchange; `url`: scheme and host that replace those of the venue's own addresses, for a
    mirror or a test (`http` stands for `ws` where a websocket is opened).
    """

    def __init__(
        self,
        venue: str,
        source: str,
        symbols: Iterable[str],
        http: Http,
        clock: Clock,
        *,
        streaming: bool = False,
        url: str = "",
        request_gap: float | None = None,
        mixin: type[Bounded] = Bounded,
    ) -> None:
        """Nothing is imported or asked yet."""
        self.source, self.symbols = source, tuple(symbols)
        self._venue, self._http, self._clock, self._streaming = venue, http, clock, streaming
        self._url, self._gap, self._mixin = url, request_gap, mixin
        self._exchange: Any = None
        self._listed: dict[str, bool] = {}
        self._wanted: list[Any] = []
        self._read_at, self._retry, self._doubted = Micros(0), RETRY_FIRST, False
        self._reading = asyncio.Lock()
        self._work: set[asyncio.Task[Any]] = set()

    async def open(self) -> Any:
        """The exchange of ccxt, markets loaded. Raises a FeedError: UnknownSymbol if it trades none of the symbols.

        The list of markets is read again when `due`; if that fails, the old one stays.
        """
        async with self._reading:
            if self._exchange is None:
                self._exchange = await asyncio.to_thread(self._build)
                self._exchange.set_markets(self._wanted)
            if self.due():
                await self._renew()
        if len(self.missing()) == len(self.symbols):
            raise next(iter(self.missing().values()))
        return self._exchange

    def due(self) -> bool:
        """Whether the list of markets should be read again."""
        doubted = self._doubted or (self._listed and self.missing())
        age = self._retry if doubted else MARKETS_AGE
        return not self._listed or not 0 <= self._clock() - self._read_at < age

    async def _renew(self) -> None:
        now = self._clock()
        soon = now - self._read_at < 2 * self._retry
        try:
            await self._read_markets()
        except FeedError:
            if not self._listed:
                raise
            self._doubted = True
        else:
            self._doubted = False
        self._retry = min(2 * self._retry, RETRY_MOST) if soon else RETRY_FIRST
        self._read_at = now

    def missing(self) -> dict[str, UnknownSymbol]:
        """Symbols asked for that the venue does not trade, with the error that says so."""
        return {symbol: self._unknown(symbol) for symbol in self.symbols if not self._listed.get(symbol, False)}

    def _unknown(self, symbol: str) -> UnknownSymbol:
        traded = [name for name, active in self._listed.items() if active]
        base = symbol.partition("/")[0]
        near = get_close_matches(symbol, traded, n=3, cutoff=0.6)
        near += [name for name in traded if name.startswith(f"{base}/") and name not in near][: 5 - len(near)]
        return UnknownSymbol(self.source, symbol, tuple(near), delisted=symbol in self._listed)

    async def ask(self, call: Callable[[], Awaitable[Any]], symbol: str = "") -> Any:
        """The result of one call of ccxt, about `symbol` if named. Raises FeedErrors, nothing else.

        A symbol that the venue no longer knows is missing from then on, until the list of markets has it again.
        """
        try:
            return await call()
        except (ccxt_error(), FeedError, *PARSER_ERRORS) as error:
            ccxt = importlib.import_module("ccxt")
            if symbol and isinstance(error, ccxt.BadSymbol):
                self._listed[symbol] = False
                raise self._unknown(symbol) from error
            # whatever is no outage may come of a market that was renamed
            self._doubted |= bool(symbol) and not isinstance(error, ccxt.NetworkError | FeedError)
            self.fail(error)

    def fail(self, error: BaseException) -> NoReturn:
        """Raise the FeedError that `error`, which came out of ccxt, stands for."""
        raise_feed_error(self.source, error, self._clock())

    async def close(self) -> None:
        """End what ccxt started, and let go of all that it kept; a later `open` begins anew with the same markets."""
        exchange, self._exchange = self._exchange, None
        await end(self._work)
        if exchange is not None:
            exchange.timeout_on_exit = 0
            await exchange.close()
            await end(self._work)

    def _build(self) -> Any:
        bounded = _bounded(self._venue, self._streaming, self._mixin)
        if bounded is None:
            raise SourceUnavailable(self.source, f"ccxt has no venue {self._venue}")
        exchange = bounded({"session": None, "newUpdates": True})
        listing = exchange.options.get("fetchMarkets")
        if isinstance(listing, dict) and isinstance(listing.get("types"), list):
            listing["types"] = ["spot"]
        exchange.sockets = []
        exchange.http, exchange.source, exchange.clock, exchange.work = self._http, self.source, self._clock, self._work
        if self._gap is not None:
            exchange.rateLimit = max(self._gap * 1000.0, 1e-3)
        if self._url:
            exchange.urls["api"] = moved(exchange.urls["api"], self._url)
        return exchange

    async def _read_markets(self) -> None:
        exchange = self._exchange
        found = await self.ask(lambda: exchange.fetch_markets(dict(_LISTING.get(self._venue, {}))))
        if not isinstance(found, list) or not 0 < len(found) <= MAX_MARKETS:
            raise MalformedAnswer(self.source, "no list of markets", f"1 to {MAX_MARKETS} markets")
        spot = [m for m in found if isinstance(m, dict) and m.get("spot") and isinstance(m.get("symbol"), str)]
        if not spot:
            raise MalformedAnswer(self.source, f"{len(found)} markets, none of them spot", "a list with spot markets")
        wanted = {m["symbol"]: m for m in spot if m["symbol"] in self.symbols}
        try:
            exchange.set_markets(list(wanted.values()))
        except (ccxt_error(), *PARSER_ERRORS) as error:
            self.fail(error)
        self._wanted = list(wanted.values())
        self._listed = {m["symbol"]: m.get("active") is not False for m in spot}


_CLASSES: dict[tuple[str, bool, type[Bounded]], Any] = {}
_IMPORTING = Lock()
"""Held while ccxt is imported: its packages import each other, and of two threads that do so Python fails one."""


def _bounded(venue: str, streaming: bool, mixin: type[Bounded]) -> Any:
    """The class of one venue with our transport, None if ccxt has none. Made once: a stream builds many instances."""
    key = venue, streaming, mixin
    with _IMPORTING:
        if key not in _CLASSES:
            base = getattr(importlib.import_module("ccxt.pro" if streaming else "ccxt.async_support"), venue, None)
            _CLASSES[key] = None if base is None else type("Bounded" + venue, (mixin, base), {})
        return _CLASSES[key]


def moved(urls: Any, base: str) -> Any:
    """The table of addresses of an exchange with scheme and host of each replaced by those of `base`; paths stay.

    >>> moved({"public": "https://api.kraken.com", "ws": {"v2": "wss://ws.kraken.com/v2"}}, "http://127.0.0.1:80")
    {'public': 'http://127.0.0.1:80', 'ws': {'v2': 'ws://127.0.0.1:80/v2'}}
    """
    if isinstance(urls, dict):
        return {key: moved(value, base) for key, value in urls.items()}
    if not isinstance(urls, str):
        return urls
    scheme = urls.partition(":")[0]
    target = "ws" + base.removeprefix("http") if scheme.startswith("ws") else base
    return _ORIGIN.sub(lambda _: target, urls)


async def end(work: set[asyncio.Task[Any]]) -> None:
    """Cancel all tasks of `work` and wait for their end."""
    tasks = [task for task in work if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    work.difference_update(tasks)


def raise_feed_error(source: str, error: BaseException, now: Micros) -> NoReturn:
    """Raise the `feed_error` of what came out of ccxt; its cause is `error`, where that is another one."""
    found = feed_error(source, error, now)
    if found is error:
        raise found
    raise found from (None if found in error.args else error)


def feed_error(source: str, error: BaseException, now: Micros) -> FeedError:
    """The FeedError for what came out of ccxt: https://docs.ccxt.com/#/?id=error-handling.

    RateLimitExceeded and DDoSProtection are RateLimited; BadResponse and everything that its parsers stumble over
    (`PARSER_ERRORS`) is MalformedAnswer; all others are SourceUnavailable.
    """
    if isinstance(error, FeedError):
        return error
    ccxt: Any = importlib.import_module("ccxt")
    inner = error.args[0] if error.args else None
    if isinstance(inner, FeedError):
        return inner
    text = "".join(c if c.isprintable() else " " for c in str(error)[:120])
    if isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
        return RateLimited(source, Micros(now + REST), f"the venue limits us: {text}")
    if isinstance(error, ccxt.BadResponse) or not isinstance(error, ccxt.BaseError):
        return MalformedAnswer(source, f"{type(error).__name__} {text}", "what the venue's API promises")
    return SourceUnavailable(source, f"{type(error).__name__}: {text}")
