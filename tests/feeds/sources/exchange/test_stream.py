"""Exchanges over websockets: no trade lost or told twice, gaps seen, subscriptions renewed, nothing left behind."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from random import Random

import pytest

from feeds.sources.exchange.client import end
from feeds.sources.exchange.gaps import PROOF, GapWatch, kraken_checksum
from feeds.sources.exchange.socket import Socket, unpacked
from feeds.sources.exchange.stream import ExchangeStreamer
from feeds.sources.http import Http
from feeds.sources.live import Backoff, Live
from feeds.sources.source import FeedError, MalformedAnswer, SourceUnavailable
from feeds.types import SECOND
from tests.feeds.sources.check_suite import LIMITS, Stage, StageTime
from tests.feeds.sources.exchange.rig_exchange import DIALECTS, settings
from tests.feeds.sources.exchange.venues import Floor
from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.mutations import mutate_json

VENUES = sorted(DIALECTS)
PATIENT = replace(LIMITS, read_s=5.0, total_s=10.0, silence_s=10.0)


@asynccontextmanager
async def at(venue, beating=True, **changes):
    """A local venue, and a streamer of its first market; no task is left afterwards."""
    before = asyncio.all_tasks()
    dialect, prices = DIALECTS[venue]
    time, symbol = StageTime(), next(iter(prices))
    api = dialect(Floor(time, **{name.replace("/", "_"): price for name, price in prices.items()}))
    api.beating = beating
    async with HostileServer(api.handle) as server:
        http = Http(clock=time.clock, limits=PATIENT, steady=time.steady, pause=time.pause)
        wish = settings(
            venue, Stage(server.url, http, time), streaming=True, **{"symbols": (symbol,), "silence": 10.0, **changes}
        )
        streamer = ExchangeStreamer(wish, http, time.clock)
        try:
            yield api, server, streamer, symbol
        finally:
            await streamer.close()
            await http.close()
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert not left, f"tasks left behind: {left}"


async def until(batches, wanted, patience=400):
    """Quotes of a stream up to the one that is `wanted`."""
    seen = []
    async with asyncio.timeout(10):
        for _ in range(patience):
            seen += await anext(batches)
            if any(wanted(quote) for quote in seen):
                return seen
    raise AssertionError(f"never said: {seen[-3:]}")


@pytest.mark.parametrize("venue", VENUES)
async def test_stream__trades_of_any_number__each_once_however_fast(venue):
    """3000 trades in one go: three times what ccxt's cache holds."""
    async with at(venue, beating=False, book_every=0.0) as (api, _, streamer, symbol):
        async with aclosing(streamer.stream()) as batches:
            while not api.subscriptions:
                await anext(batches)
            tell = api.trade if venue != "coinbase" else api.trades
            api.time.advance(40)
            for n in range(3000):
                api.floor.trade(symbol, 20_000.0 + n, 1.0)
                api.outbox.append(tell(api.floor.markets[symbol]))
                if n % 100 == 0:
                    api.outbox.append(api.outbox[-1])  # told twice
            seen = await until(batches, lambda quote: quote.price == 22_999.0)
        told = sum(quote.size for quote in seen if quote.price > 20_000.0 or venue == "binance")
        assert told == pytest.approx(3000.0, abs=1.0)
        assert streamer.gate.refused.total() == 0


@pytest.mark.parametrize("venue", VENUES)
async def test_stream__no_trade__size_zero_while_the_venue_speaks(venue):
    async with at(venue) as (api, _, streamer, symbol), aclosing(streamer.stream()) as batches:
        await until(batches, lambda quote: quote.size)
        api.beat = lambda state: [api.depth_update(m)] if venue == "binance" else [{"channel": "heartbeat"}]
        m = api.floor.markets[symbol]
        await until(batches, lambda quote: quote.size == 0.0)
        api.beating = False
        await asyncio.sleep(0.05)
        await anext(batches)
        api.time.advance(11)
        assert await anext(batches) == [], "nobody knows whether the market or the venue is silent"


@pytest.mark.parametrize("venue", VENUES)
async def test_stream__book__depths_like_over_rest(venue):
    async with at(venue, fold=0.01) as (api, _, streamer, symbol):
        async with aclosing(streamer.stream()) as batches:
            while not streamer.depths(api.time.now):
                await anext(batches)
            depth, market = streamer.depths(api.time.now)[0], api.floor.markets[symbol]
            assert depth.up == pytest.approx(sum(p * q for p, q in market.asks.items() if p < market.price * 1.01))
            assert not depth.lower_bound
        assert streamer.depths(api.time.now) == [], "without a connection no book is known"


async def test_stream__update_of_the_book_lost__counted_and_subscribed_anew():
    """Binance: an update id that jumps (ccxt's ChecksumError); the same connection subscribes again."""
    async with at("binance", price="mid") as (api, server, streamer, symbol):
        batches = streamer.stream()
        async with aclosing(batches):
            await until(batches, lambda quote: True)
            asked, sockets = api.subscriptions, sum("/ws" in path for path in server.seen)
            api.outbox.append(api.depth_update(api.floor.markets[symbol], lost=3))
            async with asyncio.timeout(5):
                while not streamer.gate.refused["book_gap"] or api.subscriptions == asked:
                    await anext(batches)
            api.time.advance(1)
            await until(batches, lambda quote: quote.known_at >= api.time.now)
            assert sum("/ws" in path for path in server.seen) == sockets


def lose_a_message(api, market):
    """The second bid changes, and no socket is told; the messages' numbers say that there was one."""
    market.bids[sorted(market.bids)[-2]] += 77.0
    stamp, left = api.stamp, [1]

    def skipping(message, state):
        state["said"] += left.pop() if left else 0
        return stamp(message, state)

    api.stamp = skipping


@pytest.mark.parametrize("venue", ["kraken", "coinbase"])
async def test_stream__message_lost__gap_seen_and_connected_anew(venue):
    """Kraken by its checksum, Coinbase by its numbers: the connection is given up, the next one is sound."""
    async with at(venue, price="mid") as (api, _, streamer, symbol):
        async with aclosing(streamer.stream()) as batches:
            with pytest.raises(MalformedAnswer, match=r"checksum|came after"):
                for n in range(1000):
                    await anext(batches)
                    if n == 10:
                        lose_a_message(api, api.floor.markets[symbol])
        assert streamer.gate.refused["book_gap"] == 1
        async with aclosing(streamer.stream()) as batches:
            await until(batches, lambda quote: True)


@pytest.mark.parametrize("fault", ["ws_cut", "ws_goodbye", "ws_silence"])
async def test_live__connection_lost__connects_and_subscribes_again(fault):
    async with at("kraken", silence=0.3) as (api, server, streamer, _symbol):
        live = Live(streamer, 0.001, clock=api.time.clock, backoff=Backoff(first=0.001, most=0.01))
        server.script = ["honest", fault]  # the list of markets, then a socket
        quotes = []
        async with asyncio.timeout(10):
            while api.subscriptions < 4 or not quotes:
                await asyncio.sleep(0.005)
                api.time.advance(0.1)
                try:
                    quotes += await live.poll(api.time.now)
                except SourceUnavailable:
                    quotes = []
        await live.close()


async def test_stream__trades_told_again_after_a_reconnect__not_counted_twice():
    async with at("kraken", beating=False) as (api, _, streamer, _symbol):
        for life in range(3):
            async with aclosing(streamer.stream()) as batches:
                seen = await until(batches, lambda quote: True)
            api.time.advance(1)
            expected = 0.0 if life else 0.5
            assert seen[0].size == expected, "the snapshot of the last trades is not news"


async def test_stream__subscription_refused__says_so():
    """Kraken answers to the request's number, which nobody waits for in ccxt."""
    async with at("kraken") as (api, _, streamer, _symbol):
        listed = api.floor.markets.copy()
        api.subscribe_sound = api.subscribe

        def refuse(wish, state):
            api.floor.markets.clear()
            try:
                return api.subscribe_sound(wish, state)
            finally:
                api.floor.markets.update(listed)

        api.subscribe = refuse
        async with aclosing(streamer.stream()) as batches:
            with pytest.raises(FeedError, match="not supported"):
                for _ in range(100):
                    await anext(batches)


@pytest.mark.parametrize("venue", VENUES)
async def test_stream__mutated_messages__sound_quotes_or_feed_errors(venue):
    """Fuzz: every message of the websocket, with mutations that are still JSON."""
    rng, errors = Random(venue), 0
    async with at(venue, price="trade", fold=0.01, book_every=0.001) as (api, _, streamer, symbol):
        stamp = api.stamp

        def mutated(message, state):
            sound = stamp(message, state)
            if state["said"] % 4:
                return sound
            return json.loads(mutate_json(json.dumps(sound).encode(), rng))

        for round_ in range(40):
            api.stamp = mutated if round_ < 39 else stamp
            try:
                async with aclosing(streamer.stream()) as batches:
                    for _ in range(6):
                        for quote in await anext(batches):
                            assert quote.price > 0 and quote.known_at <= api.time.now
            except FeedError:
                errors += 1
            api.time.advance(5)
        async with aclosing(streamer.stream()) as batches:
            await until(batches, lambda quote: quote.price == DIALECTS[venue][1][symbol])
        assert errors


def test_unpacked__bomb_and_rubbish__refused():
    assert unpacked("v", gzip.compress(b"{}"), 31, 10) == b"{}"
    with pytest.raises(MalformedAnswer, match="too much"):
        unpacked("v", gzip.compress(b"0" * 1_000_000), 31, 1000)
    with pytest.raises(MalformedAnswer, match="unpack"):
        unpacked("v", b"rubbish", 31, 1000)


def test_kraken_checksum__example_of_the_guide__by_its_steps():
    """Price 0.05005 is 5005, size 0.00000500 is 500; asks first, each side ten levels at most."""
    asks = [[0.05005, 0.00000500], [0.05010, 0.00000500]]
    bids = [[0.05000, 0.00000500]]
    assert kraken_checksum(asks, bids, 5, 8) == zlib.crc32(b"5005500" + b"5010500" + b"5000500")
    many = [[1.0 + n, 1.0] for n in range(12)]
    assert kraken_checksum(many, [], 0, 0) == kraken_checksum(many[:10], [], 0, 0)


def test_gap_watch__numbers_that_never_counted_up__no_gap_claimed():
    watch = GapWatch("coinbase")
    assert all(watch.gap(None, {"sequence_num": n * 3}) is None for n in range(50))
    for n in range(PROOF + 1):
        assert watch.gap(None, {"sequence_num": 1000 + n}) is None
    assert "came after" in str(watch.gap(None, {"sequence_num": 2000}))


async def test_socket__error_that_nobody_waits_for__kept_and_the_connection_given_up():
    class Owner:
        source, work, lost = "v", set(), None

        def ended(self, error, url):
            self.lost = error

    import ccxt.pro  # noqa: F401

    owner = Owner()
    socket = Socket(owner, "ws://127.0.0.1:9", {})
    waiting = socket.future("trades")
    socket.reject(SourceUnavailable("v", "refused"), "17")
    assert isinstance(owner.lost, SourceUnavailable) and isinstance(waiting.exception(), SourceUnavailable)
    known = socket.future("book")
    socket.reject(SourceUnavailable("v", "gap"), "book")
    assert known.exception() is not None
    socket.reject(SourceUnavailable("v", "gap again"), "book")
    assert str(socket.future("book").exception()).count("gap again") == 1
    await socket.close()
    await end(owner.work)


async def test_stream__clock_of_the_venue_ahead__refused_beyond_a_minute():
    async with at("kraken", beating=False) as (api, _, streamer, symbol), aclosing(streamer.stream()) as batches:
        await until(batches, lambda quote: True)
        api.floor.trade(symbol, 1.0, 1.0, ago=-3600 * SECOND)
        api.outbox.append(api.trade(api.floor.markets[symbol]))
        async with asyncio.timeout(5):
            while not streamer.gate.refused["ts"]:
                assert all(quote.price > 1.0 for quote in await anext(batches))


async def test_stream__messages_nobody_asked_for__leave_nothing_in_memory():
    """ccxt keeps whatever a venue says, of any market, for as long as the connection stands."""
    async with at("kraken") as (api, _, streamer, symbol), aclosing(streamer.stream()) as batches:
        await until(batches, lambda quote: quote.size)
        for n in range(50):
            row = {"symbol": f"X{n}/USD", "bid": 1.0, "ask": 2.0, "last": 1.5, "volume": 1.0, "vwap": 1.5}
            candle = {"symbol": f"X{n}/USD", "interval_begin": "2023-03-11T00:00:00.000000000Z", "interval": 1}
            levels = [{"price": 1.0, "qty": 1.0}]
            book = {"symbol": f"X{n}/USD", "bids": levels, "asks": levels, "checksum": 0}
            api.outbox += [
                {"channel": "ticker", "type": "update", "data": [row]},
                {"channel": "ohlc", "type": "update", "data": [{**row, **candle, "open": 1, "high": 1, "low": 1}]},
                {"channel": "book", "type": "snapshot", "data": [book]},
            ]
        api.floor.trade(symbol, 12_345.0, 1.0)
        api.outbox.append(api.trade(api.floor.markets[symbol]))
        await until(batches, lambda quote: quote.price == 12_345.0)
        exchange = streamer._venue._exchange
        assert set(exchange.orderbooks) <= {symbol} and not exchange.tickers and not exchange.ohlcvs


async def test_stream__book_that_grows_without_end__the_connection_is_given_up(monkeypatch):
    monkeypatch.setattr("feeds.sources.exchange.stream.MAX_BOOK", 3)
    async with at("coinbase") as (_, _, streamer, _), aclosing(streamer.stream()) as batches:
        with pytest.raises(MalformedAnswer, match="levels of"):
            await until(batches, lambda quote: False)


async def test_socket__long_messages_that_wait__others_run_in_between():
    """A flood of long messages is already here: reading them all in one go would hold up the node."""
    others, read = [], 0

    class Flood:
        async def receive(self):
            nonlocal read
            read += 1
            if read > 20:
                raise SourceUnavailable("s", "the end")
            return b"[" + b" " * (100 << 10) + b"]"

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            pass

    class Owner:
        source, heartbeat_s, heard, heard_at, clocked = "s", 20.0, 0, 0, 0
        clock = staticmethod(lambda: 0)
        handle_message = on_heard = staticmethod(lambda *_: others.append(len(ran)))
        ended = staticmethod(lambda *_: None)

        class http:
            @staticmethod
            async def websocket(*_, **__):
                return Flood()

    ran: list[int] = []

    async def other():
        while True:
            ran.append(1)
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    socket = Socket(Owner(), "ws://x", {})
    socket.connect()
    while socket.error is None:
        await asyncio.sleep(0)
    beside.cancel()
    assert others[-1] - others[0] >= 5
    await socket.close()
