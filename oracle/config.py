"""LocalConfig: what one operator decides about one node, from one TOML file.

Why this file exists: every setting of a node that is not agreed on chain has one home, one range and one clear error.
Never in it: anything that other validators must agree on (that is `NetworkConfig`, read from the chain), or a secret
(the file names where a secret is, it never holds one). Paths in the file are relative to the file's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, cast

from contracts import constant_int
from feeds.sources.secret import Secret
from oracle.errors import ConfigError
from oracle.settings import Table, moment, read_toml, write_table
from oracle.source_settings import (
    NAME,
    NAME_ALLOWED,
    SYMBOL,
    SYMBOL_ALLOWED,
    LiveSettings,
    SourceSettings,
    parse_secret,
    read_source,
    write_source,
)

LogLevel = Literal["debug", "info", "warning", "error"]
ClockMode = Literal["system", "stepped"]
MINUTE, HOUR, DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """`[node]`: the operator's name for it, the folder of its journal and store, how much it logs."""

    name: str
    data_dir: Path
    log_level: LogLevel = "info"


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """`[chain]`: how to reach the chain and which contracts to believe. The chain id is the operator's own word."""

    rpc_url: str
    chain_id: int
    aggregator: str
    staking: str
    max_fee_gwei: int = 100
    confirmations: int = 0
    timeout_s: int = 10


@dataclass(frozen=True, slots=True)
class KeySettings:
    """`[key]`: the hot key's keystore (version 3) and where its password is: a file, or an environment variable."""

    keystore: Path
    password_file: Path | None = None
    password_env: str | None = None


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """`[http]`: where this node listens for peers, operators, Prometheus and Chainlink bridges.

    `adapter_token`: what a bridge has to bring to be answered at `/adapter`; None: whoever reaches the port may ask.
    """

    host: str = "127.0.0.1"
    port: int = 9300
    adapter_token: Secret | None = None


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """`[clock]`: the machine's time, or (for replays on one machine) a clock stepped over HTTP from `start_ms`."""

    mode: ClockMode = "system"
    start_ms: int = 0


@dataclass(frozen=True, slots=True)
class QuestionSettings:
    """What an event feed asks: is the price of `symbol` at or above `strike` at `at` (UTC)?

    `strike`: a decimal number as text, exactly as the question states it.
    """

    symbol: str
    strike: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """One `[[feeds]]` table: how this node observes feed `number`. A feed of the network that is not listed abstains.

    `sources`: the network's source list of the feed, in its order, as names of `[[sources]]`; forecasts and events
    read the median closes of these sources. `without`: names of that list which this operator does not carry, so that
    a typing error stays an error. `max_age_s`: an older quote is stale. `min_sources`: fewer fresh ones and the feed
    abstains. `min_depth`: quote units that it must take to move a source's price by 1 % (`feeds.depth`), None: no gate;
    a source that can have no order book passes.
    """

    number: int
    symbol: str
    sources: tuple[str, ...]
    max_age_s: int = 2 * MINUTE
    min_sources: int = 1
    without: tuple[str, ...] = ()
    question: QuestionSettings | None = None
    min_depth: float | None = None


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """`[models]`: where the bundles are, which content hashes may run, from when the combiner learns.

    `pinned` empty: every valid bundle of the folder runs. `warm_from_ms`: UTC, None: from the first known bar.
    """

    bundles_dir: Path
    pinned: tuple[str, ...] = ()
    warm_from_ms: int | None = None
    width_s: int = HOUR


@dataclass(frozen=True, slots=True)
class FaultSettings:
    """`[faults]`: a rehearsed fault: price observations times `price_multiplier` in slots `[from_slot, to_slot)`."""

    price_multiplier: int
    from_slot: int
    to_slot: int


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """Everything that one node's TOML file says, checked."""

    path: Path
    node: NodeSettings
    chain: ChainSettings
    key: KeySettings
    http: HttpSettings
    clock: ClockSettings
    sources: tuple[SourceSettings, ...]
    feeds: tuple[FeedSettings, ...]
    models: ModelSettings | None = None
    faults: FaultSettings | None = None


_ADDRESS = r"0x[0-9a-fA-F]{40}"
_MAX_FEED = constant_int("MAX_FEED_NUMBER")


def load(path: Path) -> LocalConfig:
    """Read and check one settings file. Raises ConfigError (SettingError names file, key, given, allowed, mend)."""
    path = path.resolve()
    return read(path, read_toml(path))


def read(path: Path, values: Mapping[str, object]) -> LocalConfig:
    """The settings in the parsed TOML of `path`, checked. Raises ConfigError as `load` does."""
    top = Table(path, "", values)
    config = LocalConfig(
        path=path,
        node=_node(top.table("node")),
        chain=_chain(top.table("chain")),
        key=_key(top.table("key")),
        http=_http(top.table("http")),
        clock=_clock(top.table("clock")),
        sources=tuple(read_source(table) for table in top.tables("sources", 64)),
        feeds=tuple(_feed(table) for table in top.tables("feeds", 128)),
        models=_models(top.table("models")) if top.has("models") else None,
        faults=_faults(top.table("faults")) if top.has("faults") else None,
    )
    top.finish()
    for problem in _contradictions(config):
        raise ConfigError(f"{path}: {problem}")
    return config


def _node(table: Table) -> NodeSettings:
    settings = NodeSettings(
        name=table.text("name", NAME, NAME_ALLOWED),
        data_dir=table.path("data_dir"),
        log_level=cast(LogLevel, table.choice("log_level", ("debug", "info", "warning", "error"), "info")),
    )
    table.finish()
    return settings


def _chain(table: Table) -> ChainSettings:
    settings = ChainSettings(
        rpc_url=table.url("rpc_url"),
        chain_id=table.integer("chain_id", 1, 2**63 - 1),
        aggregator=table.text("aggregator", _ADDRESS, "a contract address, 0x and 40 hex digits").lower(),
        staking=table.text("staking", _ADDRESS, "a contract address, 0x and 40 hex digits").lower(),
        max_fee_gwei=table.integer("max_fee_gwei", 1, 1_000_000, 100),
        confirmations=table.integer("confirmations", 0, 1000, 0),
        timeout_s=table.integer("timeout_s", 1, 300, 10),
    )
    table.finish()
    return settings


def _key(table: Table) -> KeySettings:
    for word in ("password", "private_key", "secret", "mnemonic"):
        if table.has(word):
            raise table.fail(word, "(hidden)", "a reference", "Give password_file or password_env instead.")
    file = table.path("password_file") if table.has("password_file") else None
    allowed = "an environment variable's name"
    env = table.text("password_env", r"[A-Za-z_][A-Za-z0-9_]{0,127}", allowed) if table.has("password_env") else None
    settings = KeySettings(keystore=table.path("keystore"), password_file=file, password_env=env)
    if (file is None) == (env is None):
        given = None if file is None else "both"
        raise table.fail("password_file", given, "exactly one of password_file, password_env")
    table.finish()
    return settings


def _http(table: Table) -> HttpSettings:
    host = table.text("host", r"[0-9a-fA-F.:]{2,45}", "an IP address of this machine", "127.0.0.1")
    try:
        ip_address(host)
    except ValueError as error:
        raise table.fail("host", host, "an IP address of this machine") from error
    token = parse_secret(table, "adapter_token", table.raw("adapter_token")) if table.has("adapter_token") else None
    if token is not None and token.scheme:
        raise table.fail("adapter_token", str(token), "a reference without a scheme", "The scheme is always Bearer.")
    settings = HttpSettings(host=host, port=table.integer("port", 1, 65_535), adapter_token=token)
    table.finish()
    return settings


def _clock(table: Table) -> ClockSettings:
    mode = cast(ClockMode, table.choice("mode", ("system", "stepped"), "system"))
    if mode == "system" and table.has("start"):
        raise table.fail("start", "a time", 'only with mode = "stepped"', "Remove it.")
    start = table.moment_ms("start", None if mode == "stepped" else 0)
    table.finish()
    return ClockSettings(mode=mode, start_ms=start)


def _feed(table: Table) -> FeedSettings:
    settings = FeedSettings(
        number=table.integer("number", 0, _MAX_FEED),
        symbol=table.text("symbol", SYMBOL, SYMBOL_ALLOWED),
        sources=table.names("sources", NAME, NAME_ALLOWED, 64),
        max_age_s=table.integer("max_age_s", 1, 30 * DAY, 2 * MINUTE),
        min_sources=table.integer("min_sources", 1, 64, 1),
        without=table.names("without", NAME, NAME_ALLOWED, 64, ()),
        question=_question(table.table("question")) if table.has("question") else None,
        min_depth=table.number("min_depth", 1e-6, 1e15) if table.has("min_depth") else None,
    )
    if not settings.sources:
        raise table.fail("sources", [], "at least one source")
    table.finish()
    return settings


def _question(table: Table) -> QuestionSettings:
    strike = table.text("strike", r"[0-9]{1,30}(\.[0-9]{1,18})?", 'a decimal number as text, e.g. "1.1750"')
    if Decimal(strike) <= 0:
        raise table.fail("strike", strike, "a number above zero")
    settings = QuestionSettings(table.text("symbol", SYMBOL, SYMBOL_ALLOWED), strike, table.moment_ms("at"))
    table.finish()
    return settings


def _models(table: Table) -> ModelSettings:
    settings = ModelSettings(
        bundles_dir=table.path("bundles_dir"),
        pinned=table.names("pinned", r"(0x)?[0-9a-f]{64}", "a content hash of 64 hex digits", 4096, ()),
        warm_from_ms=table.moment_ms("warm_from") if table.has("warm_from") else None,
        width_s=table.integer("width_s", 1, 7 * DAY, HOUR),
    )
    table.finish()
    return settings


def _faults(table: Table) -> FaultSettings:
    settings = FaultSettings(
        price_multiplier=table.integer("price_multiplier", 2, 1_000_000),
        from_slot=table.integer("from_slot", 0, 2**32 - 1),
        to_slot=table.integer("to_slot", 0, 2**32 - 1),
    )
    if settings.to_slot <= settings.from_slot:
        raise table.fail("to_slot", settings.to_slot, f"a slot after from_slot {settings.from_slot}")
    table.finish()
    return settings


def _contradictions(config: LocalConfig) -> Iterator[str]:
    """What no single key can show: each as one line with its mend."""
    if config.clock.mode == "stepped" and not ip_address(config.http.host).is_loopback:
        yield (
            f"clock.mode: a stepped clock can be moved over HTTP, so http.host must be a loopback address, "
            f'given {config.http.host}. Use 127.0.0.1 or mode = "system".'
        )
    if config.faults is not None and config.clock.mode != "stepped":
        yield 'faults: a rehearsed fault needs clock.mode = "stepped". Remove [faults] from a real node\'s file.'
    live = [source.name for source in config.sources if isinstance(source, LiveSettings)]
    if live and config.clock.mode == "stepped":
        yield f'sources: {live[0]!r} is live, a stepped clock is not. Use mode = "system" or replay sources alone.'
    names = [source.name for source in config.sources]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"sources: the name {name!r} is given twice. Rename one."
    numbers = [feed.number for feed in config.feeds]
    for number in sorted({number for number in numbers if numbers.count(number) > 1}):
        yield f"feeds: feed {number} is given twice. Remove one."
    for feed in config.feeds:
        for name in feed.without:
            if name not in feed.sources:
                yield f"feeds: feed {feed.number} goes without {name!r}, which its sources do not list. Mend without."
        for name in feed.sources:
            if name not in names and name not in feed.without:
                yield f"feeds: feed {feed.number} names source {name!r}, allowed: {', '.join(names)}. Add [[sources]]."
        if feed.question is not None and config.models is None:
            yield f"feeds: event feed {feed.number} asks the models. Add [models] with bundles_dir."
        if feed.question is not None and feed.min_depth is not None:
            yield f"feeds: event feed {feed.number} has min_depth; books of the past are not kept. Remove it."


def to_toml(config: LocalConfig) -> str:
    """The settings file that `load` reads back into an equal config (paths absolute)."""
    node, chain, key, http, clock = config.node, config.chain, config.key, config.http, config.clock
    start = moment(clock.start_ms) if clock.mode == "stepped" else None
    parts = [
        write_table("[node]", {"name": node.name, "data_dir": node.data_dir, "log_level": node.log_level}),
        write_table("[chain]", {name: getattr(chain, name) for name in ChainSettings.__slots__}),
        write_table("[key]", {name: getattr(key, name) for name in KeySettings.__slots__}),
        write_table("[http]", {name: getattr(http, name) for name in HttpSettings.__slots__}),
        write_table("[clock]", {"mode": clock.mode, "start": start}),
    ]
    if config.models is not None:
        m = config.models
        warm = None if m.warm_from_ms is None else moment(m.warm_from_ms)
        values = {"bundles_dir": m.bundles_dir, "pinned": m.pinned, "warm_from": warm, "width_s": m.width_s}
        parts.append(write_table("[models]", values))
    if config.faults is not None:
        parts.append(write_table("[faults]", {name: getattr(config.faults, name) for name in FaultSettings.__slots__}))
    parts += [write_source(source) for source in config.sources]
    for feed in config.feeds:
        plain = {name: getattr(feed, name) for name in FeedSettings.__slots__ if name != "question"}
        parts.append(write_table("[[feeds]]", plain))
        if (asked := feed.question) is not None:
            values = {"symbol": asked.symbol, "strike": asked.strike, "at": moment(asked.at_ms)}
            parts.append(write_table("[feeds.question]", values))
    return "\n".join(parts)
