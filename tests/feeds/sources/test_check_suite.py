"""The judge is judged: sources that break one rule each must fail the check suite by that rule."""

import asyncio
import json

import aiohttp
import pytest

from feeds.sources.source import QuoteGate, SourceUnavailable
from feeds.types import Quote
from tests.feeds.sources import check_suite
from tests.feeds.sources.check_suite import RULES, Rig
from tests.feeds.sources.rig_json_api import RIGS, build_ticker

SECRET = "a-key-in-a-url"


def rig(build, **more):
    return Rig("broken", build, RIGS[0].prices, RIGS[0].honest, **more)


def broken_rules(build, **more):
    """Names of the rules that a source fails."""

    async def failed(rule):
        try:
            await rule(rig(build, **more))
        except Exception:
            return True
        return False

    async def all_rules():
        return {rule.__name__ for rule in RULES if await failed(rule)}

    return asyncio.run(all_rules())


class Wrapped:
    """The honest source with one bad habit."""

    def __init__(self, stage):
        self.inner, self.time = build_ticker(stage), stage.time
        self.name, self.symbols, self.gate = self.inner.name, self.inner.symbols, self.inner.gate

    async def fetch(self):
        return await self.inner.fetch()

    async def close(self):
        await self.inner.close()


class Believes(Wrapped):
    """Makes a price up where none came."""

    async def fetch(self):
        try:
            return await self.inner.fetch()
        except SourceUnavailable:
            return [Quote(self.name, symbol, 1.0, None, self.time.now, self.time.now) for symbol in self.symbols]


class Crashes(Wrapped):
    """Looks into the answer without looking whether it is there."""

    async def fetch(self):
        return [quote for quote in await self.inner.fetch() if quote.size > 0]

    def __init__(self, stage):
        super().__init__(stage)
        self.inner._paths["BTC/USD"].pop("size")


class Tells(Wrapped):
    """Has the key in its errors."""

    async def fetch(self):
        try:
            return await self.inner.fetch()
        except SourceUnavailable as error:
            raise SourceUnavailable(self.name, f"GET /?key={SECRET}: {error.reason}") from None


class Drags(Wrapped):
    """Has the key in an error that its own error drags along."""

    async def fetch(self):
        try:
            return await self.inner.fetch()
        except SourceUnavailable as error:
            try:
                raise ValueError(SECRET)
            except ValueError:
                raise SourceUnavailable(self.name, error.reason) from None


class Leaks(Wrapped):
    """Leaves a task behind at each round."""

    async def fetch(self):
        self.left = asyncio.ensure_future(asyncio.sleep(60))
        return await self.inner.fetch()


class FromTheFuture(Wrapped):
    """Says it knew before it could."""

    async def fetch(self):
        return [
            Quote(q.source, q.symbol, q.price, q.size, q.ts, q.known_at + 10_000_000) for q in await self.inner.fetch()
        ]


class Naive:
    """What one writes first: a session of one's own, the library's JSON, no limit."""

    def __init__(self, stage):
        self.name, self.symbols, self.gate, self.stage = "naive", ("BTC/USD", "USDT/USD"), QuoteGate("naive"), stage

    async def fetch(self):
        async with aiohttp.ClientSession() as session, session.get(f"{self.stage.url}/?pair=x") as response:
            result = json.loads(await response.text())["result"]
        now = self.stage.time.now
        pairs = zip(self.symbols, ("XXBTZUSD", "USDTZUSD"), strict=True)
        return [self.gate.admit(symbol, result[code]["c"][0], None, now, now) for symbol, code in pairs]

    async def close(self):
        pass


EACH, MID, AFTER, LIVE = (
    "rule_each_fault__sound_quotes_or_feed_error_and_recovers", "rule_faults_in_mid_course__sound_quotes_or_feed_error",
    "rule_retry_after__no_request_until_then", "rule_live__poll_never_waits_and_close_ends_it",
)  # fmt: skip


@pytest.mark.parametrize(
    ("build", "caught_by", "secret"),
    [
        (Believes, {EACH, AFTER}, ""), (Crashes, {EACH, MID}, ""), (Tells, {EACH, MID, AFTER}, SECRET),
        (Drags, {EACH, MID, AFTER}, SECRET), (Leaks, {EACH, MID, LIVE}, ""), (FromTheFuture, {EACH, MID}, ""),
        (Naive, {EACH, MID, AFTER}, ""),
    ],
)  # fmt: skip
def test_rules__source_with_one_bad_habit__caught(build, caught_by, secret):
    assert caught_by <= broken_rules(build, secret=secret)


def test_rules__wrapped_but_honest__kept():
    assert broken_rules(Wrapped) == set()


def test_found_rigs__each_kind__has_a_name_of_its_own_and_prices():
    rigs = check_suite.found_rigs()
    assert {"json-api-all-at-once", "json-api-one-each", "websocket"} <= {rig.name for rig in rigs}
    assert all(rig.prices for rig in rigs)


def test_at_once__work_that_waits__fails():
    with pytest.raises(AssertionError, match="waits"):
        check_suite.at_once(asyncio.sleep(0))
