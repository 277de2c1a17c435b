"""Any price that is JSON at a URL, by settings alone.

Why this file exists: most sources need no code of their own: an address with the symbol in it, the place of the price
in the answer, and in what unit it is given. Never in it: a particular API, the network (`http.py`), judgement of a
price (`feeds.fuse`): stale and future times are passed on as they are stated.

Placeholders in the URL, the query and the JSONPaths: `{symbol}` (BTC/USD), `{base}` (BTC), `{quote}` (USD), `{code}`
(what the API calls the symbol, by `codes`), `{codes}` (all of them with commas). A URL and query with a placeholder of
one symbol is asked once a symbol; else one request is for all symbols, and the JSONPaths tell them apart.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from urllib.parse import quote as percent_encoded

from feeds.sources.http import JSON_TYPES, Answer, Http
from feeds.sources.json_path import MISSING, PICKS, JsonPath
from feeds.sources.live import Clock, system_clock
from feeds.sources.secret import Secret
from feeds.sources.source import MAX_NAME, BadRule, FeedError, MalformedAnswer, QuoteGate, RateLimited
from feeds.sources.url import checked_url
from feeds.types import SECOND, Micros, Quote

TIME_UNITS = {"s": Decimal(SECOND), "ms": Decimal(1000), "us": Decimal(1), "ns": Decimal("0.001"), "iso8601": None}
"""Microseconds in a unit of time; ISO 8601 is text, in UTC where it names no offset."""
MAX_SYMBOLS = 200
"""Most symbols of one source."""
MAX_WORK_S = 2.0
"""Seconds of processor time that reading the answers of one round may take; honest ones take a hundredth of it."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ONE_EACH = frozenset({"symbol", "base", "quote", "code"})
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/ +=~-]{0,63}")
_PLAIN = re.compile(r"[+-]?[0-9]{1,80}(\.[0-9]{0,80})?([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class JsonApiSettings:
    """One JSON API as a source; see the module for placeholders. Raises BadRule naming field, value and limit.

    `price`, `size`, `time`: JSONPaths (RFC 9535, as `json_path` limits them) of the price, the size in base units and
    the price's time; `pick`: which of several values counts. `decimals`: the price is stated in units of
    10^-decimals; `size_decimals` likewise. `invert`: the API states 1/price (and sizes in our quote units).
    `every_s`: seconds between rounds. `rate`: most requests a second to this host. `content_types`: media types taken
    beside JSON's own. `codes`: symbol -> the API's own name of it; without an entry, base and quote joined.
    """

    name: str
    url: str
    symbols: tuple[str, ...]
    price: str
    size: str | None = None
    time: str | None = None
    time_unit: str = "s"
    pick: str = "one"
    decimals: int = 0
    size_decimals: int = 0
    invert: bool = False
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    query: Mapping[str, str | Secret] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)
    content_types: tuple[str, ...] = ()
    every_s: float = 5.0
    rate: float = 5.0

    def __post_init__(self) -> None:
        """Check every field, and the URL and JSONPaths that come of it for each symbol."""
        if not (isinstance(self.name, str) and 0 < len(self.name) <= MAX_NAME and self.name.isprintable()):
            raise BadRule("name", self.name, f"1 to {MAX_NAME} printable characters")
        if not 0 < len(set(self.symbols)) == len(self.symbols) <= MAX_SYMBOLS:
            raise self._bad("symbols", self.symbols, f"1 to {MAX_SYMBOLS} different symbols")
        if self.pick not in PICKS:
            raise self._bad("pick", self.pick, " or ".join(PICKS))
        if self.time_unit not in TIME_UNITS:
            raise self._bad("time_unit", self.time_unit, f"one of {', '.join(TIME_UNITS)}")
        for name, given, low, high in (
            ("decimals", self.decimals, -30, 77), ("size_decimals", self.size_decimals, -30, 77),
            ("every_s", self.every_s, 0.1, 86_400), ("rate", self.rate, 1e-4, 1000),
        ):  # fmt: skip
            if not low <= given <= high:
                raise self._bad(name, given, f"from {low:g} to {high:g}")
        if unknown := sorted(set(self.codes) - set(self.symbols)):
            raise self._bad("codes", unknown[0], "a code of one of the symbols")
        self._check_templates()

    def _check_templates(self) -> None:
        head = re.match(r"[^:/?#{}]+://[^/?#{}\\]+(?=[/?]|$)", self.url)
        if head is None:
            raise self._bad(
                "url", self.url.partition("?")[0], "scheme://host/... with no placeholder in scheme or host"
            )
        for name, text in (("url", self.url), ("query", "".join(v for v in self.query.values() if isinstance(v, str)))):
            for placeholder in _PLACEHOLDER.findall(text):
                if placeholder not in _ONE_EACH | {"codes"}:
                    raise self._bad(name, placeholder, f"a placeholder of {', '.join(sorted(_ONE_EACH))}, codes")
        for symbol in self.symbols:
            for name, value in self.names(symbol).items():
                if name != "codes" and _CODE.fullmatch(value) is None:
                    raise self._bad(name, value, "letters, digits and ._:/ +=~- after a first letter or digit")
            checked_url(self.url_of(symbol))
            self.paths(symbol)

    def _bad(self, name: str, given: object, limit: str) -> BadRule:
        return BadRule(f"source {self.name}: {name}", given, limit)

    @property
    def one_each(self) -> bool:
        """Each symbol takes a request of its own."""
        texts = (self.url, *(value for value in self.query.values() if isinstance(value, str)))
        return any(name in _ONE_EACH for text in texts for name in _PLACEHOLDER.findall(text))

    def names(self, symbol: str) -> dict[str, str]:
        """What stands for each placeholder."""
        base, _, counter = symbol.partition("/")
        every = ",".join(self.codes.get(each, each.replace("/", "")) for each in self.symbols)
        code = self.codes.get(symbol, symbol.replace("/", ""))
        known = {"symbol": symbol, "base": base, "code": code, "codes": every}
        return {**known, "quote": counter} if counter else known

    def url_of(self, symbol: str) -> str:
        """The URL to ask for `symbol`: values percent-encoded whole, so that they stay inside their place."""
        return self._filled("url", self.url, {k: percent_encoded(v, safe="") for k, v in self.names(symbol).items()})

    def query_of(self, symbol: str) -> dict[str, str | Secret]:
        """Query values to ask for `symbol` (encoded when sent)."""
        names = self.names(symbol)
        return {k: v if isinstance(v, Secret) else self._filled("query", v, names) for k, v in self.query.items()}

    def paths(self, symbol: str) -> dict[str, JsonPath]:
        """The compiled JSONPaths of price, size and time for `symbol`."""
        given = {"price": self.price, "size": self.size, "time": self.time}
        names = self.names(symbol)
        return {
            name: JsonPath(self._filled(name, path, names), f"source {self.name}: {name}", self.pick)
            for name, path in given.items()
            if path is not None
        }

    def _filled(self, field_name: str, template: str, values: Mapping[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise self._bad(field_name, match[0], f"a placeholder of {', '.join(sorted(values))} for this symbol")
            return values[match[1]]

        return _PLACEHOLDER.sub(value, template)


class JsonApi:
    """A `Fetcher` (`feeds.sources.live`) of one JSON API."""

    def __init__(self, settings: JsonApiSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet. `clock` is not read: `known_at` is when `http` had the answer."""
        self.settings, self._http = settings, http
        self.gate = QuoteGate(settings.name)
        self._paths = {symbol: settings.paths(symbol) for symbol in settings.symbols}
        types = "|".join([JSON_TYPES.pattern, *map(re.escape, settings.content_types)])
        self._types = re.compile(types, re.IGNORECASE)
        self._reading, self._work = asyncio.Lock(), 0.0
        http.slow_down(settings.url_of(settings.symbols[0]), settings.rate)

    @property
    def name(self) -> str:
        """The source's name."""
        return self.settings.name

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols asked for."""
        return self.settings.symbols

    async def close(self) -> None:
        """Nothing is its own."""

    async def fetch(self) -> list[Quote]:
        """One request for all symbols, or one each, at once.

        A symbol that fails leaves the others alone and is counted in `gate.refused`; where nothing sound comes of the
        round, the first error is raised, or MalformedAnswer with the last refusal; so it is, and nothing counts, where
        the answers take more than `MAX_WORK_S` to read.
        """
        self._work = 0.0
        quotes: list[Quote] = []
        errors: list[FeedError] = []
        if self.settings.one_each:
            async with asyncio.TaskGroup() as group:
                for symbol in self.symbols:
                    group.create_task(self._ask((symbol,), quotes, errors))
        else:
            await self._ask(self.symbols, quotes, errors)
        if errors:
            self.gate.refused["request"] += len(errors)
        limited = [error for error in errors if isinstance(error, RateLimited)]
        if self._work > MAX_WORK_S:
            raise MalformedAnswer(self.name, f"what took {self._work:.1f} s to read", f"at most {MAX_WORK_S:g} s")
        if not quotes and errors:
            raise (limited or errors)[0]
        if not quotes:
            raise MalformedAnswer(self.name, "nothing usable", f"a price ({self.gate.last_refusal})")
        return quotes

    async def _ask(self, symbols: tuple[str, ...], quotes: list[Quote], errors: list[FeedError]) -> None:
        settings, first = self.settings, symbols[0]
        try:
            answer = await self._http.request(
                self.name, "GET", settings.url_of(first), params=settings.query_of(first), headers=settings.headers
            )
            async with self._reading:  # one thread a source, however many answers arrive
                quotes += await asyncio.to_thread(self._read_all, symbols, answer, errors)
        except FeedError as error:
            errors.append(error)

    def _read_all(self, symbols: tuple[str, ...], answer: Answer, errors: list[FeedError]) -> list[Quote]:
        """The quotes of `symbols`; in a thread, for a large answer takes seconds to search. Raises MalformedAnswer."""
        began, before, quotes = time.thread_time(), self._work, list[Quote]()
        if before > MAX_WORK_S:
            return []
        try:
            document = answer.json(content_types=self._types)
            for symbol in symbols:
                try:
                    quote = self._read(symbol, document, answer.received_at)
                except FeedError as error:
                    errors.append(error)
                else:
                    quotes += [] if quote is None else [quote]
                if before + time.thread_time() - began > MAX_WORK_S:
                    break
        finally:
            self._work = before + time.thread_time() - began
        return quotes

    def _read(self, symbol: str, document: object, known_at: Micros) -> Quote | None:
        """The quote of `symbol` in `document`; None (counted by the gate) where it is not sound."""
        settings, paths = self.settings, self._paths[symbol]
        found = {name: path.find(self.name, document) for name, path in paths.items()}
        price, size = scaled(found["price"], settings.decimals), None
        if "size" in found:
            size = scaled(found["size"], settings.size_decimals)
        if settings.invert and isinstance(price, float):
            size = size * price if isinstance(size, float) else size
            price = 1.0 / price if price else price
        ts: object = known_at if "time" not in found else micros(found["time"], settings.time_unit)
        return self.gate.admit(symbol, price, size, ts, known_at)  # type: ignore[arg-type]


def scaled(given: object, decimals: int) -> object:
    """`given` x 10^-decimals as the nearest float; anything that is no number, or text of one, comes back as it is.

    >>> scaled("12345678901234567890", 18), scaled(2.5, 0), scaled([], 8)
    (12.345678901234567, 2.5, [])
    """
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return "nothing" if given is MISSING else given
    text = given if isinstance(given, str) else repr(given)
    if _PLAIN.fullmatch(text) is None:
        return given
    return float(Decimal(text).scaleb(-decimals))


def micros(given: object, unit: str) -> object:
    """The time `given` in `unit` (of `TIME_UNITS`) as UTC microseconds; what is no time comes back as it is.

    >>> micros("2023-03-11T07:15:00Z", "iso8601"), micros(1678518900.25, "s"), micros("soon", "ms")
    (1678518900000000, 1678518900250000, 'soon')
    """
    factor = TIME_UNITS[unit]
    if factor is None:
        return _iso8601(given)
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return "nothing" if given is MISSING else given
    text = given if isinstance(given, str) else repr(given)
    if _PLAIN.fullmatch(text) is None:
        return given
    try:
        value = Decimal(text) * factor
        return int(value) if abs(value) < 10**18 else given
    except InvalidOperation:
        return given


def _iso8601(given: object) -> object:
    if not isinstance(given, str) or len(given) > 40:
        return "nothing" if given is MISSING else given
    try:
        moment = datetime.fromisoformat(given)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        span = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return given
    return (span.days * 86_400 + span.seconds) * SECOND + span.microseconds
