"""From a settings file to a running node, every check before the first byte is written.

Why this file exists: a node that starts must be able to work, and one that cannot must say why in one line and leave
nothing behind. Never in it: what a running node does.

Order: key, data and bundles, chain and configs, clock, port; only then the journal is opened (it binds itself to this
chain, contract and key), and the node joins.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp
import structlog
from aiohttp import web

from feeds.sources.http import Http
from feeds.sources.source import Source
from feeds.store import Store
from feeds.types import Micros
from oracle.chain.adapter import ChainAdapter
from oracle.clock import Clock, SteppedClock, SystemClock
from oracle.config import ChainSettings, LocalConfig
from oracle.consensus.network import NetworkConfig
from oracle.errors import ConfigError
from oracle.intake import QUOTES_DIR
from oracle.journal import Identity, open_journal
from oracle.keys import HotKey, load_key
from oracle.node import Node
from oracle.panel_series import SeriesKey
from oracle.peers import MAX_BODY, GuardedServer, Inbox, listen, usable
from oracle.service.api import add_routes
from oracle.service.external_adapter import ExternalAdapter
from oracle.sources import load_bundles, open_panel, open_sources
from oracle.watch import Watch, series_of

MAX_OFFSET_MS = 500
PEER_TIMEOUT_S = 2.0
MIN_TOKEN = 16


class ClockOff(ConfigError):
    """The clocks of this machine and of the network differ by more than validators tolerate."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found out: all that a node needs to start, with nothing written yet."""

    key: HotKey
    watch: Watch
    configs: tuple[NetworkConfig, ...]
    offset_ms: int | None
    sources: tuple[Source, ...]
    http: Http

    async def close(self) -> None:
        """Let go of the sources, then of what they sent through."""
        await self.watch.close()
        await self.http.close()


def open_watch(config: LocalConfig, configs: Sequence[NetworkConfig], sources: Sequence[Source]) -> Watch:
    """A watch over these sources with the bundles and panels that the settings ask for.

    Raises ConfigError, FeedError, BundleError.
    """
    specs = {int(spec.number): spec for network in configs for spec in network.feeds}
    panels = {}
    if config.models is not None:
        bundles = load_bundles(config.models)
        wanted: dict[SeriesKey, float] = {}
        for feed in config.feeds:
            spec = specs.get(feed.number)
            if spec is not None and spec.is_vector:
                share = spec.max_family_share / 10_000 or 1.0
                wanted[series_of(feed)] = min(share, wanted.get(series_of(feed), 1.0))
        panels = {key: open_panel(config.models, bundles, key[0], share) for key, share in wanted.items()}
    watch = Watch(config.feeds, sources, panels, config.faults)
    for network in configs:
        watch.check(network)
    return watch


async def check(config: LocalConfig) -> Checked:
    """Everything that can be known to be wrong before starting. Raises DodonaError, FeedError or BundleError."""
    key = load_key(config.key)
    adapter_token(config)
    check_quotes(config.node.data_dir)
    chain = await ChainAdapter.connect(config.chain)
    http = Http()
    try:
        configs = await chain.network_configs()
        sources = tuple(open_sources(config.sources, http))
        watch = open_watch(config, configs, sources)
        watch.skews = lambda: http.skew
        offset = None
        if config.clock.mode == "system":
            endpoints = await chain.endpoints(configs[-1])
            endpoints.pop(key.address, None)
            offset = await clock_offset_ms(endpoints)
            check_offset(offset, await chain.chain_time(), time.time_ns() // 1_000_000, config.chain)
    finally:
        await chain.close()
    return Checked(key, watch, configs, offset, sources, http)


def adapter_token(config: LocalConfig) -> str | None:
    """What a bridge has to bring, read now. Raises ConfigError for one that is too short to be a secret."""
    reference = config.http.adapter_token
    if reference is None:
        return None
    token = reference.reveal()
    if len(token) < MIN_TOKEN:
        allowed = f"at least {MIN_TOKEN} characters"
        raise ConfigError(f"{config.path}: http.adapter_token: {reference} holds {len(token)}, allowed: {allowed}")
    return token


def check_quotes(data_dir: Path) -> None:
    """Raise StoreDamaged, naming the file, if the quotes of an earlier life are not what was stored."""
    folder = data_dir / QUOTES_DIR
    if folder.is_dir():
        store = Store(folder)
        try:
            store.verify()
        finally:
            store.close()


async def clock_offset_ms(endpoints: Mapping[bytes, str]) -> int | None:
    """Own clock minus the peers', median over those that answer `/v1/time`; None if nobody does.

    Half the round trip is taken as the way back (Cristian 1989).
    """
    timeout = aiohttp.ClientTimeout(total=PEER_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        urls = [url.rstrip("/") + "/v1/time" for url in endpoints.values() if usable(url)]
        answers = await asyncio.gather(*(_offset(session, url) for url in urls))
    known = [answer for answer in answers if answer is not None]
    return round(median(known)) if known else None


async def _offset(session: aiohttp.ClientSession, url: str) -> float | None:
    before = time.time_ns()
    try:
        async with session.get(url, allow_redirects=False) as answer:
            theirs = json.loads(await answer.content.read(256))["now_ms"]
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
        return None
    after = time.time_ns()
    if type(theirs) is not int or not 0 <= theirs < 2**53 or after - before > MAX_OFFSET_MS * 10**6:
        return None  # of so slow an answer half the way back is a guess beyond what can be judged
    return (before + after) / 2e6 - theirs


def check_offset(offset_ms: int | None, chain_time: int, now_ms: int, chain: ChainSettings) -> None:
    """Raise ClockOff beyond 500 ms of the peers' median, or behind the chain's newest block by more than that."""
    mend = "set this machine's clock by NTP"
    if offset_ms is not None and abs(offset_ms) > MAX_OFFSET_MS:
        message = f"this clock is {offset_ms} ms off the peers', allowed: {MAX_OFFSET_MS} ms; {mend}"
        raise ClockOff(message, given=offset_ms, limit=MAX_OFFSET_MS)
    behind = chain_time * 1000 - now_ms
    if behind > MAX_OFFSET_MS:
        message = f"this clock is {behind} ms behind the newest block of chain {chain.chain_id}; {mend}"
        raise ClockOff(message, given=-behind, limit=MAX_OFFSET_MS)


def set_up_logging(level: str) -> None:
    """Structured lines on standard error: time, level, event, then key=value."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


async def run_node(config: LocalConfig) -> int:
    """Run one validator until SIGTERM, SIGINT or cancellation; returns the signal that ended it.

    Raises DodonaError, FeedError or BundleError at the start.
    """
    clock: Clock = SteppedClock(config.clock.start_ms) if config.clock.mode == "stepped" else SystemClock()
    begun = time.perf_counter()
    async with AsyncExitStack() as stack:
        checked = await check(config)
        stack.push_async_callback(checked.close)
        listening = listen(config.http.host, config.http.port)
        stack.callback(listening.close)
        chain = config.chain
        identity = Identity(chain.chain_id, chain.aggregator, checked.key.checksum_address)
        journal = open_journal(config.node.data_dir, identity)
        stack.callback(journal.close)
        store = Store(config.node.data_dir / QUOTES_DIR)
        stack.callback(store.close)
        recalled = checked.watch.recall(store, Micros(clock.now_ms() * 1000))
        adapter = await ChainAdapter.connect(chain, checked.key, journal)
        stack.push_async_callback(adapter.close)
        node = Node(config, checked.key, journal, adapter, checked.watch, clock)
        stack.push_async_callback(node.close)
        if checked.offset_ms is not None:
            node.metrics.clock_offset.set(checked.offset_ms)
        await node.warm_up()
        await node.join()
        app = web.Application(client_max_size=MAX_BODY)
        Inbox(node.accept, node.activity, node.metrics).add_route(app)
        add_routes(app, node, clock, node.activity)
        ExternalAdapter(node.book, config.feeds, clock, adapter_token(config)).add_route(app)
        server = GuardedServer(app, listening)
        await server.start()
        stack.push_async_callback(server.close)
        seconds = round(time.perf_counter() - begun, 2)
        where = {"node": config.node.name, "key": identity.key, "port": config.http.port}
        structlog.get_logger().info("ready", **where, recalled_quotes=recalled, start_seconds=seconds)
        return await _until_stopped(node)


async def _until_stopped(node: Node) -> int:
    """Work until a signal asks to stop; returns its number."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def _stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    work = asyncio.create_task(node.run(), name="node")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, int(number))
    try:
        return await stopped
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
