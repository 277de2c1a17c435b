"""What a source is, how it fails, and the one gate by which a price enters.

Why this file exists: whatever the wire format, a source ends in `Quote`s or in one of the errors below, and no quote
gets behind it with a price that is not a positive finite number. Never in it: network, files, fusion.

The tree, each error naming the thing and the mend:

    FeedError
    ├── SourceUnavailable   the other side does not answer
    │   ├── RateLimited     it asked to be left alone until a time, or we hold back ourselves
    │   ├── MalformedAnswer it answered, but not what its protocol promises
    │   └── UnknownSymbol   the venue does not list this symbol, or no longer trades it
    ├── SourceDefect        a mistake in a source's own code: an error that is no FeedError
    ├── SecretMissing       a secret that a setting refers to is not there or is unusable
    ├── SourceClosed        polled after `close()`
    ├── MarketChanged       a prediction market is not the one that the settings describe
    ├── MissingData         a file or package that should be there is not
    ├── MalformedFile       a recorded file is not what its name promises
    ├── MalformedQuote      one row or message that must not become a quote
    ├── BadRule             a setting of fusion, window, series or replay outside its range
    ├── MixedSymbols        quotes of two symbols where one is meant
    ├── UnitMismatch        a symbol that is no pair, or legs that do not chain (`feeds.cross`)
    ├── StoreDamaged        a partition of the store cannot be read or written
    ├── NotKept             the store is asked about a time whose quotes were removed
    ├── MalformedQuestion   a question that has no canonical form (`feeds.events`)
    ├── MalformedFact       an answer that does not fit its question
    │   └── PrematureFact   an answer before the question can have one
    ├── EvidenceDamaged     what a fact rests on is missing or is not what was fetched
    ├── LogDamaged          the log of facts cannot be read or written
    └── those of data sets: manifests, proofs, packing (`feeds.dataset.errors`)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Protocol, cast, runtime_checkable

from feeds.types import SECOND, Depth, Micros, Quote


class FeedError(Exception):
    """Anything that goes wrong between the outside world and a fused price."""


class SourceUnavailable(FeedError):
    """The source `source` did not answer; `reason` says how it failed."""

    def __init__(self, source: str, reason: str) -> None:
        """Keep the source and the reason."""
        self.source, self.reason = source, reason
        super().__init__(f"source {source} is unavailable ({reason}): check its address and try again later")


class RateLimited(SourceUnavailable):
    """The host of `source` is to be asked again no earlier than `retry_at` (UTC microseconds)."""

    def __init__(self, source: str, retry_at: Micros, reason: str) -> None:
        """Keep the source, the time and the reason."""
        self.retry_at = retry_at
        super().__init__(source, reason)


class MalformedAnswer(SourceUnavailable):
    """The source `source` answered with `given` where its protocol promises `limit`."""

    def __init__(self, source: str, given: object, limit: str) -> None:
        """Keep the source, what was given (shortened) and what was promised."""
        self.given, self.limit = brief(given), limit
        text = self.given if isinstance(self.given, str) and self.given.isprintable() else repr(self.given)
        super().__init__(source, f"it answered {text if len(text) <= 80 else text[:77] + '...'}, must be {limit}")


class UnknownSymbol(SourceUnavailable):
    """The venue behind `source` does not trade `symbol`; `near` are the symbols most like it that it does trade."""

    def __init__(self, source: str, symbol: str, near: tuple[str, ...], delisted: bool = False) -> None:
        """Keep the symbol and its near matches. `delisted`: the venue lists it, but not as traded."""
        self.symbol, self.near, self.delisted = symbol, near, delisted
        what = "lists it as not traded now" if delisted else "has no such market"
        offer = f"near it are {', '.join(near)}" if near else "nothing near it is traded there"
        reason = f"symbol {symbol}: the venue {what}; {offer}; mend `symbols` in the source's settings"
        super().__init__(source, reason)


class SourceDefect(FeedError):
    """The code of `source` itself failed with `fault`, which is no FeedError: report it as a defect.

    The original error is its `__cause__`. A node goes on without the source and says so (`feeds.sources.live`).
    """

    def __init__(self, source: str, fault: str) -> None:
        """Keep the source, and the type and place of the original error."""
        self.source, self.fault = source, fault
        super().__init__(f"source {source} has a defect ({fault}): report it; the source is started again after a rest")


class SecretMissing(FeedError):
    """The secret that `reference` names cannot be used; the secret itself is in no message."""

    def __init__(self, reference: str, reason: str, mend: str) -> None:
        """Keep the reference and the reason."""
        self.reference, self.reason = reference, reason
        super().__init__(f"secret {reference}: {reason}; {mend}")


class SourceClosed(FeedError):
    """`poll` was called after `close`."""

    def __init__(self, source: str) -> None:
        """Keep the source."""
        self.source = source
        super().__init__(f"source {source} is closed: build a new one to poll again")


class MissingData(FeedError):
    """`what` is not at `where`; `mend` says how to get it."""

    def __init__(self, what: str, where: str, mend: str) -> None:
        """Keep what is missing, where it was looked for, and the mend."""
        self.what, self.where, self.mend = what, where, mend
        super().__init__(f"{what} not found in {where}: {mend}")


class MalformedFile(FeedError):
    """The recorded file `name` cannot be read as what it should be."""

    def __init__(self, name: str, reason: str, mend: str = "replace the file by a sound copy") -> None:
        """Keep the file's name and the reason."""
        self.name, self.reason = name, reason
        super().__init__(f"{name}: {reason}; {mend}")


class MalformedQuote(FeedError):
    """`field` of a quote of `source` is `given`, which breaks `limit`."""

    def __init__(self, source: str, field: str, given: object, limit: str) -> None:
        """Keep the source, the field, the value given and the limit broken."""
        self.source, self.field, self.given, self.limit = source, field, brief(given), limit
        super().__init__(f"source {source}: {field} is {_short(given)}, must be {limit}; the quote was refused")


class BadRule(FeedError):
    """A setting is outside its range."""

    def __init__(self, field: str, given: object, limit: str) -> None:
        """Keep the setting's name, the value given and the limit."""
        self.field, self.given, self.limit = field, given, limit
        super().__init__(f"{field} is {_short(given)}, must be {limit}: mend the setting")


class MixedSymbols(FeedError):
    """A quote of `given` was handed over where `wanted` is meant."""

    def __init__(self, wanted: str, given: str) -> None:
        """Keep both symbols."""
        self.wanted, self.given = wanted, given
        super().__init__(f"quote of {given} among those of {wanted}: pass the quotes of one symbol only")


class StoreDamaged(FeedError):
    """The store at `path` cannot be read or written."""

    def __init__(self, path: str, reason: str) -> None:
        """Keep the path and the reason."""
        self.path, self.reason = path, reason
        mend = "restore the named file from a copy, or move it away to go on without its quotes"
        super().__init__(f"store {path}: {reason}; {mend}")


class NotKept(FeedError):
    """The store at `path` is asked about `moment`, before `kept_since` (UTC microseconds): that was removed."""

    def __init__(self, path: str, moment: int, kept_since: int) -> None:
        """Keep the path and both times."""
        self.path, self.moment, self.kept_since = path, moment, kept_since
        mend = "ask about a later time, or read the archive"
        super().__init__(f"store {path}: asked about {moment}, but keeps quotes since {kept_since} only; {mend}")


class MarketChanged(FeedError):
    """The prediction market behind `source` has another `field` than `wanted`: merged, renamed or removed."""

    def __init__(self, source: str, field: str, wanted: object, given: object) -> None:
        """Keep the source, the field, what the settings say and what the venue says."""
        self.source, self.field, self.wanted, self.given = source, field, wanted, brief(given)
        mend = "look at the market on its venue, then mend the source's settings or remove it"
        super().__init__(f"source {source}: the market's {field} is {_short(given)}, not {_short(wanted)}; {mend}")


class MalformedQuestion(FeedError):
    """`field` of a question is `given`, which breaks `limit`."""

    def __init__(self, field: str, given: object, limit: str) -> None:
        """Keep the field, the value given and the limit."""
        self.field, self.given, self.limit = field, given, limit
        super().__init__(f"question: {field} is {_short(given)}, must be {limit}: mend the question")


class MalformedFact(FeedError):
    """`field` of a fact of `source` is `given`, which breaks `limit`."""

    def __init__(self, source: str, field: str, given: object, limit: str) -> None:
        """Keep the source, the field, the value given and the limit."""
        self.source, self.field, self.given, self.limit = source, field, brief(given), limit
        super().__init__(f"source {source}: {field} of its fact is {_short(given)}, must be {limit}; it was refused")


class PrematureFact(MalformedFact):
    """A fact of `source` from a time (`given`, UTC microseconds) at which the question could have no answer yet."""


class EvidenceDamaged(FeedError):
    """The evidence `sha256` under `where` is missing or is not what was fetched."""

    def __init__(self, sha256: str, where: str, reason: str) -> None:
        """Keep the hash, the folder and the reason."""
        self.sha256, self.where, self.reason = sha256, where, reason
        super().__init__(f"evidence {sha256} in {where}: {reason}; restore it from a copy of another node")


class LogDamaged(FeedError):
    """The log of facts at `path` cannot be read or written."""

    def __init__(self, path: str, reason: str, mend: str = "restore the log from a copy") -> None:
        """Keep the path and the reason."""
        self.path, self.reason = path, reason
        super().__init__(f"log {path}: {reason}; {mend}")


def brief(value: object, depth: int = 2) -> object:
    """The same value where it is small, else as much of it as a message shows: errors are kept, and what they hold.

    >>> brief([1, "x"]), brief({"a": [[[1]]]}), len(brief("x" * 10**6)), len(brief([0] * 10**6))
    ([1, 'x'], {'a': ['...']}, 200, 16)
    """
    if type(value) is str or type(value) is bytes:
        return value[:200]
    if type(value) not in (dict, list, tuple):
        return value
    if depth == 0:
        return "..."
    if isinstance(value, dict):
        return {brief(key): brief(item, depth - 1) for key, item in islice(value.items(), 16)}
    items = [brief(item, depth - 1) for item in islice(cast(Sequence[object], value), 16)]
    return items if type(value) is list else tuple(items)


def _short(value: object) -> str:
    text = repr(brief(value))
    return text if len(text) <= 60 else text[:57] + "..."


MAX_NAME = 64
"""Most characters of a source's or a symbol's name."""
EARLIEST = Micros(1_230_768_000 * SECOND)
"""2009-01-01 UTC: a time before it is a unit error (seconds read as milliseconds) or a lie."""
LATEST = Micros(4_102_444_800 * SECOND)
"""2100-01-01 UTC: a time at or after it is a unit error (milliseconds read as seconds) or a lie."""


_DECIMAL = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?")


@runtime_checkable
class Source(Protocol):
    """One place that prices come from, polled at the pace of `now`.

    A poll raises `SourceUnavailable` when the other side fails; a single unsound row never fails the poll: it is
    left out and counted in `refused`.
    """

    @property
    def name(self) -> str:
        """The name that quotes, reasons and the network's source list carry."""
        ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that this source can quote, like `EUR/USD`."""
        ...

    @property
    def refused(self) -> Mapping[str, int]:
        """How many rows were refused so far, by the field at fault."""
        ...

    async def poll(self, now: Micros) -> list[Quote]:
        """Quotes with `known_at <= now` that are new since the last poll, in order of `known_at`.

        A live source states when it had the answer, never an earlier time: a node drops what claims to be as old as
        what it has stored of this source and symbol (`oracle.intake`). A recorded one may show its past at once.
        Raises `SourceUnavailable` or `SourceClosed`.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; a second call does nothing."""
        ...


@runtime_checkable
class DepthSource(Protocol):
    """A source that knows order books: beside its quotes it says what it costs to move each market."""

    @property
    def name(self) -> str:
        """The same name as that of its quotes."""
        ...

    def depths(self, now: Micros) -> list[Depth]:
        """Each symbol's newest `Depth` with `known_at <= now`, one for every `bps` asked for; no network, no waiting.

        A symbol whose book is not known, or was refused as unsound, is left out. The same record may come again: its
        `known_at` says how old it is.
        """
        ...


def _number(source: str, field: str, given: object) -> float:
    if type(given) is float:
        return given
    if isinstance(given, float | int) and not isinstance(given, bool) and -1e300 < given < 1e300:
        return float(given)
    if isinstance(given, str) and _DECIMAL.fullmatch(given):
        return float(given)
    raise MalformedQuote(source, field, given, "a number or the text of one")


def check_quote(quote: Quote) -> Quote:
    """The same quote if it is sound, else `MalformedQuote`.

    Sound: price finite and above 0, size None or finite and at least 0, both times integers between `EARLIEST` and
    `LATEST`, names 1 to 64 printable characters.
    """
    source = quote.source if isinstance(quote.source, str) else "?"
    for field, name in (("source", quote.source), ("symbol", quote.symbol)):
        if not (isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()):
            raise MalformedQuote(source, field, name, f"1 to {MAX_NAME} printable characters")
    if not (isinstance(quote.price, float) and 0.0 < quote.price < math.inf):
        raise MalformedQuote(source, "price", quote.price, "a finite number above 0")
    if quote.size is not None and not (isinstance(quote.size, float) and 0.0 <= quote.size < math.inf):
        raise MalformedQuote(source, "size", quote.size, "None or a finite number of at least 0")
    for field, time in (("ts", quote.ts), ("known_at", quote.known_at)):
        if not (type(time) is int and EARLIEST <= time < LATEST):
            raise MalformedQuote(source, field, time, "microseconds of a UTC time from 2009 to 2099")
    return quote


class QuoteGate:
    """The door of one source: sound rows become quotes, unsound ones are refused, counted and left behind."""

    def __init__(self, source: str) -> None:
        """A gate for the quotes of `source`."""
        self.source = source
        self.refused: Counter[str] = Counter()
        self.last_refusal: MalformedQuote | None = None

    def admit(self, symbol: str, price: object, size: object, ts: int, known_at: int) -> Quote | None:
        """The quote, or None (counted in `refused`, kept in `last_refusal`) if the row is unsound.

        `price` and `size` as the wire gave them: a float, an int, or the text of a decimal number; a size may be None.
        """
        try:
            number = _number(self.source, "price", price)
            amount = None if size is None else _number(self.source, "size", size)
            return check_quote(Quote(self.source, symbol, number, amount, Micros(ts), Micros(known_at)))
        except MalformedQuote as refusal:
            self.refused[refusal.field] += 1
            self.last_refusal = refusal
            return None
