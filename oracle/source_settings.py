"""One `[[sources]]` table of a node's file: every kind of source, its keys read by name and type, and written back.

Why this file exists: each kind's settings and their ranges live beside the source itself (`feeds/sources/`); here the
operator's TOML becomes those records, each mistake one line with file, key and mend. Never in it: a range, a secret
(only where one is), opening a source (`sources.py`).

A key of the table is a field of the kind's settings, beside `kind` and `every_s`. A field that may be a `Secret` takes
`env:NAME` or `file:PATH` (relative paths start at the file's folder).
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from feeds.sources.adapter import AdapterSettings, AdapterSource
from feeds.sources.exchange.fetcher import ExchangeFetcher, ExchangeSettings
from feeds.sources.exchange.stream import ExchangeStreamer
from feeds.sources.http import Http
from feeds.sources.json_api import JsonApi, JsonApiSettings
from feeds.sources.live import Clock, Fetcher, Streamer
from feeds.sources.markets.kalshi import Kalshi, KalshiSettings
from feeds.sources.markets.manifold import Manifold, ManifoldSettings
from feeds.sources.markets.polymarket import Polymarket, PolymarketSettings
from feeds.sources.onchain.aggregator_v3 import AggregatorV3Settings, AggregatorV3Source
from feeds.sources.onchain.pyth import PythSettings, PythSource
from feeds.sources.onchain.uniswap_v2 import UniswapV2Settings, UniswapV2Source
from feeds.sources.onchain.uniswap_v3 import UniswapV3Settings, UniswapV3Source
from feeds.sources.playback import MAX_SPEED
from feeds.sources.secret import Secret
from feeds.sources.source import BadRule
from oracle.errors import LocalFault
from oracle.settings import Table, moment, quoted, write_table

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
NAME_ALLOWED = "a name of letters, digits, `_`, `.`, `-` (at most 64)"
SYMBOL = r"[A-Za-z0-9][A-Za-z0-9/_.:-]{0,31}"
SYMBOL_ALLOWED = "a symbol such as EUR/USD"
MAX_WIDTH_S = 7 * 86_400
MAX_EVERY_S = 86_400
_SECRET_NAME = re.compile(
    r"(.*[-_])?(key|auth|sig|pwd|pass)|.*(token|secret|password|cookie2?|signature|authorization|credentials?|apikey)",
    re.IGNORECASE,
)
_SECRET_WORDS = re.compile(r"(bearer|basic|token|digest)\s", re.IGNORECASE)
_QUERY = re.compile(r"[?&;]([^=&;]+)=([^&;{}]{8,})")
"""A name in a URL's query and what was written there, if that is as long as a key."""
_REFERENCE = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,31} )?(env|file):")
_WORDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Secret: "env:NAME or file:PATH",
}
_REFER_URL = "Write the whole URL as env:NAME or file:PATH; of a json source the key alone, under [sources.query]."
_REFER = "Put it into the environment or a file of its own and write env:NAME or file:PATH here."


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of live source is read and built. `every_s`: its usual pace, where the table gives none."""

    settings: type
    build: Callable[[Any, Http, Clock], Fetcher | Streamer]
    every_s: float


def _exchange(settings: ExchangeSettings, http: Http, clock: Clock) -> Fetcher | Streamer:
    build = ExchangeStreamer if settings.streaming else ExchangeFetcher
    return build(settings, http, clock)


KINDS: dict[str, Kind] = {
    "exchange": Kind(ExchangeSettings, _exchange, 5.0),
    "json": Kind(JsonApiSettings, JsonApi, 5.0),
    "adapter": Kind(AdapterSettings, AdapterSource, 10.0),
    "aggregator_v3": Kind(AggregatorV3Settings, AggregatorV3Source, 12.0),
    "pyth": Kind(PythSettings, PythSource, 12.0),
    "uniswap_v2": Kind(UniswapV2Settings, UniswapV2Source, 12.0),
    "uniswap_v3": Kind(UniswapV3Settings, UniswapV3Source, 12.0),
    "polymarket": Kind(PolymarketSettings, Polymarket, 30.0),
    "manifold": Kind(ManifoldSettings, Manifold, 30.0),
    "kalshi": Kind(KalshiSettings, Kalshi, 30.0),
}
"""Kinds of live sources by their name in settings files; `replay` stands beside them."""


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """`kind = "replay"`: recorded bars. `data` is `eurusd:ask`, `eurusd:mid` or a path, `#NAME` behind it at need.

    `play_from_ms`: play them as if they happened now, from this UTC time on, `speed` recorded seconds a second (see
    `feeds.sources.playback`); None: each row at its own time, for a stepped clock.
    """

    name: str
    data: str
    symbol: str
    width_s: int = 3600
    play_from_ms: int | None = None
    speed: float = 1.0

    @property
    def symbols(self) -> tuple[str, ...]:
        """The one symbol."""
        return (self.symbol,)


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """A source that is asked over a network, every `every_s` seconds. `origin`: the settings of its kind."""

    kind: str
    origin: Any
    every_s: float

    @property
    def name(self) -> str:
        """The source's name."""
        return str(self.origin.name)

    @property
    def symbols(self) -> tuple[str, ...]:
        """What it quotes."""
        one = getattr(self.origin, "symbol", None)
        return (one,) if isinstance(one, str) else tuple(self.origin.symbols)


SourceSettings = ReplaySettings | LiveSettings


def read_source(table: Table) -> SourceSettings:
    """One table, checked. Raises SettingError."""
    name = table.text("name", NAME, NAME_ALLOWED)
    kind = table.choice("kind", ("replay", *KINDS))
    if kind == "replay":
        return _replay(table, name)
    known = KINDS[kind]
    origin = _record(table, known.settings, also=("kind", "every_s"))
    every_s = getattr(origin, "every_s", None) or table.number("every_s", 0.05, MAX_EVERY_S, known.every_s)
    return LiveSettings(kind, origin, every_s)


def _replay(table: Table, name: str) -> ReplaySettings:
    data = table.text("data", r"[^\0]{1,4096}", "eurusd:ask, eurusd:mid or a path of recorded bars")
    if not data.startswith("eurusd:"):
        data = str(table.path("data"))
    symbol = table.text("symbol", SYMBOL, SYMBOL_ALLOWED)
    play_from = table.moment_ms("play_from") if table.has("play_from") else None
    if play_from is None and table.has("speed"):
        raise table.fail("speed", table.raw("speed"), "only with play_from", "Remove it, or add play_from.")
    settings = ReplaySettings(
        name=name,
        data=data,
        symbol=symbol,
        width_s=table.integer("width_s", 1, MAX_WIDTH_S, 3600),
        play_from_ms=play_from,
        speed=table.number("speed", 1e-3, MAX_SPEED, 1.0),
    )
    table.finish()
    return settings


# From a table to a record


def _record(table: Table, record: type, also: tuple[str, ...] = ()) -> Any:
    """The settings dataclass `record` from its table. `also`: keys that are known beside its fields."""
    for key in also:
        table.has(key)
    hints, values = get_type_hints(record), {}
    for field in dataclasses.fields(record):
        if table.has(field.name):
            values[field.name] = _value(table, field.name, hints[field.name], table.raw(field.name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise table.fail(field.name, None, _wanted(hints[field.name]), f"Add `{field.name}` to [[{table.name}]].")
    table.finish()
    try:
        return record(**values)
    except BadRule as error:
        key = error.field.rpartition(": ")[2].split()[-1]
        key = key if key in hints else next((name for name in hints if name in error.field.split()), key)
        raise table.fail(key, _hidden(key, error.given), error.limit) from None


def _value(table: Table, key: str, hint: Any, given: object) -> Any:
    """`given` as the type `hint` says. Raises SettingError."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _choice(table, key, hint, given)
    if origin is tuple:
        if not isinstance(given, list):
            raise table.fail(key, _hidden(key, given), f"a list, each {_wanted(inner[0])}")
        return tuple(_value(table, key, inner[0], item) for item in given)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(table, key, inner[1], given)
    if origin is Literal:
        if given not in inner:
            raise table.fail(key, given, _wanted(hint))
        return given
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint is not Secret:
        return _record(Table(table.file, table.key(key), given), hint)
    if hint is Secret:
        return parse_secret(table, key, given)
    if hint is float and type(given) is int:
        return float(given)
    if hint not in (str, int, float, bool):
        raise LocalFault(f"{table.key(key)}: a setting of type {hint} cannot be read from TOML")
    if type(given) is not hint:
        raise table.fail(key, _hidden(key, given), _wanted(hint))
    if (
        isinstance(given, str)
        and key.endswith("url")
        and any(_SECRET_NAME.fullmatch(n) for n, _ in _QUERY.findall(given))
    ):
        raise table.fail(key, "(hidden)", "a URL without the secret itself", _REFER_URL)
    return given


def _choice(table: Table, key: str, hint: Any, given: object) -> Any:
    """A union: a reference is a Secret where one may be, else the first member of the given value's own type."""
    members = get_args(hint)
    hidden = "(hidden)" if Secret in members and not isinstance(given, str) else _hidden(key, given)
    if Secret in members and isinstance(given, str) and (_REFERENCE.match(given) or str not in members):
        return parse_secret(table, key, given)
    plain = [member for member in members if member not in (Secret, type(None))]
    fit = [member for member in plain if member is type(given)]
    if not fit and float in plain and type(given) is int:
        return float(given)
    if not fit and (len(plain) != 1 or plain[0] in _WORDS):
        raise table.fail(key, hidden, _wanted(hint))
    return _value(table, key, (fit or plain)[0], given)


def _mapping(table: Table, key: str, hint: Any, given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise table.fail(key, "(hidden)", f"a table, each value {_wanted(hint)}")
    inner = Table(table.file, table.key(key), given)
    found, sent = {}, Secret in get_args(hint) or key == "data"
    for name, item in given.items():
        if sent and type(item) not in (str, int, float, bool):
            raise inner.fail(name, "(hidden)", _wanted(hint))
        value = _value(inner, name, hint, item)
        if sent and isinstance(value, str) and (_SECRET_NAME.fullmatch(name) or _SECRET_WORDS.match(value)):
            raise inner.fail(name, "(hidden)", "a reference, never the secret itself", _REFER)
        found[name] = value
    return found


def parse_secret(table: Table, key: str, given: object) -> Secret:
    """A reference to a secret; a file's path is taken from the settings file's folder. Raises SettingError."""
    try:
        secret = Secret.parse(given if isinstance(given, str) else "")
    except BadRule as error:
        raise table.fail(key, "(hidden)", "env:NAME or file:PATH", _REFER) from error
    if secret.kind == "file":
        path = (table.file.parent / Path(secret.place).expanduser()).resolve()
        return dataclasses.replace(secret, place=str(path))
    return secret


def _hidden(key: str, given: object) -> object:
    """What an error may show of the value: of a URL its host, for a key can be in all the rest."""
    url = key.endswith("url")
    if _SECRET_NAME.fullmatch(key) or (url and not isinstance(given, str)):
        return "(hidden)"
    return re.sub(r"(://[^/?#]*[/?#]).+", r"\1...", given, flags=re.DOTALL) if url and isinstance(given, str) else given


def _wanted(hint: Any) -> str:
    """A type in an operator's words."""
    if hint in _WORDS:
        return _WORDS[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_wanted(member) for member in inner if member is not type(None))
    if origin is tuple:
        return f"a list, each {_wanted(inner[0])}"
    if origin is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in inner)
    return "a table"


# And back


def write_source(settings: SourceSettings) -> str:
    """The `[[sources]]` table that `read_source` reads back into equal settings."""
    if isinstance(settings, ReplaySettings):
        values = {"name": settings.name, "kind": "replay", "data": settings.data, "symbol": settings.symbol}
        begin = settings.play_from_ms
        played = {} if begin is None else {"play_from": moment(begin), "speed": settings.speed}
        return write_table("[[sources]]", {**values, "width_s": settings.width_s, **played})
    first = {"name": settings.name, "kind": settings.kind, "every_s": settings.every_s}
    return _write_record("[[sources]]", "sources", settings.origin, first)


def _write_record(heading: str, path: str, record: Any, first: Mapping[str, object]) -> str:
    plain, parts = dict(first), []
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Mapping):
            if value:
                items = {quoted(key): item for key, item in value.items()}
                parts.append(write_table(f"[{path}.{field.name}]", items))
        elif dataclasses.is_dataclass(value) and not isinstance(value, Secret):
            parts.append(_write_record(f"[{path}.{field.name}]", f"{path}.{field.name}", value, {}))
        elif field.name not in plain:
            plain[field.name] = value
    return "".join([write_table(heading, plain), *parts])
