"""A Chainlink external adapter as a source: hundreds of price services answer this one small protocol.

Why this file exists: whoever runs a price behind a Chainlink external adapter can feed Dodona as it stands. Never in
it: network (`http.py`), pace (`live.py`), the protocol's other side (a node serves that itself).

Asked by `POST` of `{"id": ..., "data": {"base": ..., "quote": ...}}`. The answer is that of ea-framework-js
(src/util/types.ts): the price in `result` and in `data.result`, as a number or as decimal text, `timestamps` in
milliseconds; and of older adapters, which lack some of it. What counts as a failure is what Chainlink's own bridge
task takes for one (core/services/pipeline/eautils): a `statusCode` or `providerStatusCode` other than 200, or an
`error`, whatever the HTTP status.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from feeds.sources.http import Answer, Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.secret import Secret
from feeds.sources.source import (
    MAX_NAME,
    BadRule,
    FeedError,
    MalformedAnswer,
    QuoteGate,
    RateLimited,
    SourceUnavailable,
)
from feeds.sources.url import checked_url, without_keys
from feeds.types import Quote

MAX_SYMBOLS = 64
MAX_DATA = 32
"""Most parameters that a request may carry beside the pair."""
AT_ONCE = 4
"""Requests that one source has under way."""
RETRIED = 2
"""Symbols without a value that are asked again in one round."""
MAX_SAID = 200
"""Most characters of an adapter's own error that are shown."""
_PAIR = re.compile(r"[A-Za-z0-9._-]{1,31}/[A-Za-z0-9._-]{1,31}")
_STAMPS = ("providerIndicatedTimeUnixMs", "providerDataReceivedUnixMs")
_RESERVED = ("base", "quote", "from", "to", "coin", "market")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """One adapter. `symbols`: pairs such as `BTC/USD`; each is one request with `base` and `quote`.

    `data`: further parameters of every request, such as `endpoint`. `headers`: such as `Authorization` by Secret.
    """

    name: str
    url: str | Secret = field(repr=False)
    symbols: tuple[str, ...]
    data: Mapping[str, str | int | bool] = field(default_factory=dict)
    headers: Mapping[str, str | Secret] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise BadRule."""
        where = f"source {self.name}"
        if not (isinstance(self.name, str) and 0 < len(self.name) <= MAX_NAME and self.name.isprintable()):
            raise BadRule("source name", self.name, f"1 to {MAX_NAME} printable characters")
        if isinstance(self.url, str):
            try:
                checked_url(self.url)
            except BadRule as error:
                raise BadRule(f"{where}: url", error.given, error.limit) from None
        if not 1 <= len(self.symbols) <= MAX_SYMBOLS or len(set(self.symbols)) != len(self.symbols):
            raise BadRule(f"{where}: symbols", self.symbols, f"1 to {MAX_SYMBOLS} different pairs")
        for symbol in self.symbols:
            if not (isinstance(symbol, str) and _PAIR.fullmatch(symbol)):
                raise BadRule(f"{where}: symbols", symbol, "pairs such as BTC/USD")
        if len(self.data) > MAX_DATA or any(key in _RESERVED for key in self.data):
            raise BadRule(f"{where}: data", sorted(self.data), f"at most {MAX_DATA} parameters, none that is the pair")


@dataclass(frozen=True, slots=True)
class Said:
    """What an adapter answered: its price as the wire gave it, and its own time in milliseconds, None if it has none.

    Neither is checked yet: the source's gate does that.
    """

    price: object
    stamp_ms: object


def parse_answer(source: str, status: int, body: object) -> Said:
    """What a parsed answer with HTTP `status` says.

    Raises SourceUnavailable with the adapter's own words where it reports a failure, MalformedAnswer for what is no
    answer of the protocol, and where `result` and `data.result` are two different numbers.
    """
    if not isinstance(body, dict):
        raise MalformedAnswer(source, body, "an object of the external-adapter protocol")
    reason = _failure(status, body)
    if reason is not None:
        raise SourceUnavailable(source, reason)
    if body.get("pending") is True:
        raise SourceUnavailable(source, "the adapter answers later (pending), which is not supported")
    data = body.get("data")
    inner = data.get("result") if isinstance(data, dict) else None
    outer = body.get("result")
    if inner is None and outer is None:
        raise MalformedAnswer(source, "neither result nor data.result", "an answer with one of them")
    if inner is not None and outer is not None and not _equal(inner, outer):
        raise MalformedAnswer(source, f"result {_shown(outer)} and data.result {_shown(inner)}", "one number")
    stamps = body.get("timestamps")
    stamp = None
    if isinstance(stamps, dict):
        stamp = next((stamps[name] for name in _STAMPS if stamps.get(name) is not None), None)
    return Said(outer if inner is None else inner, stamp)


def _failure(status: int, body: Mapping[str, object]) -> str | None:
    """Why the answer is a failure, in one bounded line; None if it is none."""
    codes = [body.get("statusCode"), body.get("providerStatusCode")]
    code = next((c for c in codes if type(c) is int and c != 200), None)
    error = body.get("error")
    failed = error is not None or body.get("status") == "errored" or code is not None
    if not failed and status < 400:
        return None
    shown = f"status {code if code is not None else status}"
    words = error
    if isinstance(error, dict):
        name, message = error.get("name"), error.get("message")
        words = f"{name}: {message}" if name and message else message or name
    if not isinstance(words, str):
        words = body.get("errorMessage")
    return f"{shown}, {_shown(words)}" if isinstance(words, str) and words else f"{shown}, without a reason"


def _equal(one: object, other: object) -> bool:
    first, second = _decimal(one), _decimal(other)
    return first is not None and first == second


def _decimal(value: object) -> Decimal | None:
    """The number that JSON shows; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 80:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _shown(value: object) -> str:
    """At most `MAX_SAID` printable characters on one line."""
    text = value if isinstance(value, str) else repr(value)
    words = " ".join(text[: 4 * MAX_SAID].split())
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in words)[:MAX_SAID]


class AdapterSource:
    """A `Fetcher` (`feeds.sources.live`) over one adapter. A quote's `ts` is the adapter's time, or else ours.

    A symbol that fails is left out and counted in `refused["answer"]` as long as another one answers.
    """

    def __init__(self, settings: AdapterSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet."""
        self._settings, self._http, self._clock = settings, http, clock
        self.name, self.symbols, self.gate = settings.name, settings.symbols, QuoteGate(settings.name)
        self._asked = 0
        self._silent: dict[str, FeedError] = {}

    async def fetch(self) -> list[Quote]:
        """One request for each symbol. Raises SourceUnavailable or another FeedError if none is answered.

        A symbol without a value is answered with 5xx, and enough of these in a row let the whole host rest
        (`feeds.sources.pacing`). So symbols go out few at once, and of those that failed the last time only
        `RETRIED` a round, after the others.
        """
        fresh = [symbol for symbol in self.symbols if symbol not in self._silent]
        order = [*fresh, *list(self._silent)[:RETRIED]]
        quotes: list[Quote] = []
        faults: list[FeedError] = []
        for first in range(0, len(order), AT_ONCE):
            batch = order[first : first + AT_ONCE]
            answers = await asyncio.gather(*(self._ask(symbol) for symbol in batch), return_exceptions=True)
            for symbol, answer in zip(batch, answers, strict=True):
                if isinstance(answer, BaseException):
                    faults.append(self._failed(symbol, answer))
                    continue
                self._silent.pop(symbol, None)
                quotes += [] if answer is None else [answer]
            if any(isinstance(fault, RateLimited) for fault in faults):
                break
        if faults and not quotes:
            raise faults[0]
        if not fresh:
            self._silent.clear()  # none had a value, now one has: it was the adapter, not the pairs
        if faults:
            self.gate.refused["answer"] += len(faults)
        return quotes

    def _failed(self, symbol: str, error: BaseException) -> FeedError:
        """Keep in mind that a symbol has no value; that we may not ask says nothing about it. Raises a mistake."""
        if not isinstance(error, FeedError):
            raise error
        self._silent.pop(symbol, None)
        if not isinstance(error, RateLimited):
            self._silent[symbol] = error
        return error

    async def close(self) -> None:
        """Nothing of its own to let go of."""

    async def _ask(self, symbol: str) -> Quote | None:
        """The symbol's quote, None if its row was refused."""
        settings = self._settings
        base, _, quote = symbol.partition("/")
        self._asked += 1
        asked = {"id": str(self._asked), "data": {**settings.data, "base": base, "quote": quote}}
        answer = await self._http.request(
            self.name, "POST", settings.url, headers=settings.headers, json=asked, any_status=True
        )
        try:
            said = parse_answer(self.name, answer.status, self._body(answer))
        except SourceUnavailable as error:
            error.args = (self._without_secrets(str(error)),)
            error.reason = self._without_secrets(error.reason)
            raise
        known_at = answer.received_at
        ts = known_at if said.stamp_ms is None else micros_of(said.stamp_ms)
        return self.gate.admit(symbol, said.price, None, ts, known_at)

    def _without_secrets(self, text: str) -> str:
        """`text` without our own keys: adapters like to repeat the one that they refuse."""
        url, headers = self._settings.url, self._settings.headers.values()
        if isinstance(url, Secret):
            text = without_keys(text, url.reveal())
        for word in {word for value in headers if isinstance(value, Secret) for word in value.reveal().split()}:
            text = text.replace(word, "***") if len(word) > 5 else text
        return text

    def _body(self, answer: Answer) -> object:
        """The answer's JSON. Where a failure has none (a proxy's page of HTML), its HTTP status says enough."""
        try:
            return answer.json()
        except MalformedAnswer:
            if answer.status < 400:
                raise
            raise SourceUnavailable(self.name, f"HTTP status {answer.status}") from None


def micros_of(stamp_ms: object) -> int:
    """Milliseconds as microseconds; 0, which no gate lets pass, for what is no time at all."""
    if isinstance(stamp_ms, bool) or not isinstance(stamp_ms, int | float) or not 0 < stamp_ms < 1e15:
        return 0
    return int(stamp_ms * 1000)
