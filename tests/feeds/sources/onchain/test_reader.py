"""Which block is read, and that nothing is: another chain, one that stands still, a block that is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from feeds.sources.http import Http
from feeds.sources.onchain.abi import Call
from feeds.sources.onchain.aggregator_v3 import AggregatorV3Settings, AggregatorV3Source
from feeds.sources.onchain.errors import BlockGone, CallReverted, ChainStill, RpcRefused, SequencerDown, WrongChain
from feeds.sources.onchain.reader import ROUND, ChainReader, ChainSettings
from feeds.sources.secret import Secret
from feeds.sources.source import FeedError, MalformedAnswer, SecretMissing
from feeds.types import SECOND
from tests.feeds.sources.check_suite import StageTime
from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.onchain.conftest import PATIENT
from tests.feeds.sources.onchain.rig_onchain import FEED, KEY, write_feed
from tests.feeds.sources.onchain.scripted import BLOCK_S, Revert, ScriptedChain

UPTIME = "0x" + "9" * 40


class Place:
    """A scripted node, the time, and sources over it."""

    def __init__(self, server: HostileServer, http: Http, time: StageTime, chain: ScriptedChain) -> None:
        self.server, self.http, self.time, self.chain = server, http, time, chain

    @property
    def second(self) -> int:
        """The newest block's second."""
        return self.time.now // SECOND // BLOCK_S * BLOCK_S

    def source(self, **changes: Any) -> AggregatorV3Source:
        fields = {
            "name": "it", "symbol": "ETH/USD", "rpc_url": f"{self.server.url}/v3/{KEY}", "chain_id": 1,
            "address": FEED, "heartbeat_s": 3600, "stamp": "block",
        }  # fmt: skip
        return AggregatorV3Source(AggregatorV3Settings(**(fields | changes)), self.http, self.time.clock)

    def answer(self, change: Any) -> None:
        """Let every single answer pass through `change(request, answer)`."""
        honest = self.chain.answer
        self.chain.answer = lambda request: change(request, honest(request))  # type: ignore[method-assign]


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    time = StageTime()
    chain = ScriptedChain(lambda: time.now // SECOND)
    write_feed(chain)
    chain.say(UPTIME, ROUND, lambda ts: (1, 0, ts - 7200, ts - 7200, 1))
    async with HostileServer(chain.node, seed=1, share=0.0) as server:
        http = Http(clock=time.clock, limits=PATIENT, steady=time.steady, pause=time.pause)
        yield Place(server, http, time, chain)
        await http.close()


async def test_fetch__honest_node__two_batches_and_every_call_at_one_hash(place):
    seen = []
    place.answer(lambda request, answer: seen.append(request) or answer)
    (quote,) = await place.source().fetch()
    assert quote.ts == place.second * SECOND
    assert place.chain.batches == 2
    assert {request["params"][1]["blockHash"] for request in seen if request["method"] == "eth_call"} == {
        place.chain.block(place.second // BLOCK_S)["hash"]
    }


@pytest.mark.parametrize("depth", [1, 5])
async def test_fetch__confirmations__reads_so_many_blocks_below(place, depth):
    (quote,) = await place.source(confirmations=depth).fetch()
    assert quote.ts == (place.second - depth * BLOCK_S) * SECOND


async def test_fetch__another_chain__raises_at_start_and_after_it_changes(place):
    with pytest.raises(WrongChain, match="serves chain 1, the settings say 10"):
        await place.source(chain_id=10).fetch()
    source = place.source()
    assert len(await source.fetch()) == 1
    place.chain.chain_id = 10
    with pytest.raises(WrongChain, match="serves chain 10"):
        await source.fetch()


@pytest.mark.parametrize(("late", "raises"), [(180, False), (200, True), (-60, False), (-80, True)])
async def test_fetch__head_too_old_or_ahead__raises(place, late, raises):
    place.chain.now = lambda: place.time.now // SECOND - late
    source = place.source()
    if raises:
        with pytest.raises(ChainStill, match="s old" if late > 0 else "ahead of this clock"):
            await source.fetch()
    else:
        assert len(await source.fetch()) == 1


async def test_fetch__reorganised_between_pin_and_read__raises_and_next_round_works(place):
    def reorganise(request, answer):
        if request["method"] == "eth_getBlockByNumber":
            place.chain.fork = b"other"
        return answer

    place.answer(reorganise)
    source = place.source()
    with pytest.raises(RpcRefused, match="not currently canonical"):
        await source.fetch()
    assert len(await source.fetch()) == 1


async def test_fetch__by_number__every_call_at_it_and_a_reorganisation_seen(place):
    seen = []
    place.answer(lambda request, answer: seen.append(request) or answer)
    source = place.source(by_hash=False)
    assert len(await source.fetch()) == 1
    number = hex(place.second // BLOCK_S)
    assert {request["params"][1] for request in seen if request["method"] == "eth_call"} == {number}

    def reorganise(request, answer):
        if request["method"] == "eth_call":
            place.chain.fork = b"other"
        return answer

    place.answer(reorganise)
    with pytest.raises(BlockGone, match="reorganised away"):
        await source.fetch()
    assert len(await source.fetch()) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda a: {**a, "id": a["id"] + 1000},
        lambda a: {**a, "id": str(a["id"])},
        lambda a: {**a, "id": True},
        lambda a: {**a, "id": a["id"] + 1},
        lambda a: {k: v for k, v in a.items() if k != "id"},
        lambda a: {k: v for k, v in a.items() if k != "result"},
        lambda a: {**a, "result": None},
        lambda a: {**a, "result": 7},
        lambda a: {**a, "result": "0x"},
        lambda a: {**a, "result": "1"},
        lambda a: {**a, "result": "0xzz"},
        lambda a: {**a, "result": "0x" + "f" * 65},
        lambda a: {**a, "result": "0x" + "f" * 200_000},
        lambda a: {**a, "result": []},
        lambda a: [a],
        lambda a: None,
        lambda a: {**a, "error": {"code": -32005, "message": "limit"}},
        lambda a: {**a, "error": "no"},
    ],
)
@pytest.mark.parametrize("method", ["eth_chainId", "eth_getBlockByNumber", "eth_call"])
async def test_fetch__garbled_answer__feed_error_naming_no_key(place, damage, method):
    source = place.source()
    place.answer(lambda request, answer: damage(answer) if request["method"] == method else answer)
    with pytest.raises(FeedError) as caught:
        await source.fetch()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("field", ["number", "hash", "timestamp"])
@pytest.mark.parametrize("value", [None, 7, "0x", "0x" + "f" * 64, "ff", [], "0x" + "f" * 62])
async def test_pin__garbled_block__feed_error(place, field, value):
    def damage(request, answer):
        if request["method"] == "eth_getBlockByNumber" and answer["result"]:
            answer["result"][field] = value
        return answer

    place.answer(damage)
    with pytest.raises(FeedError):
        await place.source().fetch()


async def test_pin__another_block_than_asked_for__raises(place):
    number = place.second // BLOCK_S - 1
    place.answer(lambda r, a: {**a, "result": place.chain.block(9)} if r["params"] == [hex(number), False] else a)
    with pytest.raises(MalformedAnswer, match="block 9"):
        await place.source(confirmations=1).fetch()


async def test_fetch__one_error_for_the_batch__raises_without_the_key_that_it_repeats(place):
    async def limited(request):
        said = f"project id {KEY} is over its rate limit\n{KEY.upper()}"
        return web.json_response({"jsonrpc": "2.0", "id": None, "error": {"code": -32005, "message": said}})

    place.server.honest = limited
    with pytest.raises(RpcRefused, match=r"-32005: project id \*\*\* is over its rate limit \*\*\*\)") as caught:
        await place.source().fetch()
    assert KEY not in repr(caught.value.__dict__)


async def test_fetch__url_by_secret__read_when_used_and_shown_nowhere(place, monkeypatch):
    source = place.source(rpc_url=Secret.parse("env:TEST_RPC_URL"))
    with pytest.raises(SecretMissing, match="TEST_RPC_URL"):
        await source.fetch()
    monkeypatch.setenv("TEST_RPC_URL", f"{place.server.url}/v3/{KEY}")
    assert len(await source.fetch()) == 1
    assert KEY in place.server.seen[-1]
    assert KEY not in repr(source._settings)
    monkeypatch.setenv("TEST_RPC_URL", f"http://rpc.example/{KEY}")
    with pytest.raises(FeedError, match="https where the URL is a secret") as caught:
        await source.fetch()
    assert KEY not in str(caught.value)


async def test_settings__plain_url__not_in_their_repr(place):
    assert KEY not in repr(place.source()._settings)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("08c379a0" + f"{32:064x}{5:064x}" + b"stale".hex().ljust(64, "0"), "stale"),
        ("4e487b71" + f"{0x12:064x}", "panic 0x12"),
        ("14aebe68", "PriceFeedNotFound"),
        ("deadbeef", "custom error 0xdeadbeef"),
        ("08c379a0" + "ff" * 64, "unreadable reason"),
        ("", "no reason given|execution reverted"),
    ],
)
async def test_fetch__reverts__raises_with_the_reason_decoded(place, data, why):
    def refuse(ts):
        raise Revert(bytes.fromhex(data))

    place.chain.say(FEED, ROUND, refuse)
    with pytest.raises(CallReverted, match=why):
        await place.source().fetch()


async def test_fetch__reason_full_of_control_characters__one_printable_line(place):
    text = ("\x1b[2J\n" * 3000).encode()
    data = bytes.fromhex("08c379a0") + (32).to_bytes(32, "big") + len(text).to_bytes(32, "big") + text

    def refuse(ts):
        raise Revert(data[:8000])

    place.chain.say(FEED, ROUND, refuse)
    with pytest.raises(FeedError) as caught:
        await place.source().fetch()
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


# A rollup's sequencer


@pytest.mark.parametrize(
    ("answer", "since", "match"),
    [
        (0, 7200, None),
        (1, 7200, "is down"),
        (2, 7200, "is down"),
        (-1, 7200, "is down"),
        (0, None, "is down"),
        (0, 3600, "3600 s only, grace 3600"),
        (0, 3601, None),
    ],
)
async def test_sequencer__down_or_up_too_shortly__raises(place, answer, since, match):
    place.chain.say(UPTIME, ROUND, lambda ts: (1, answer, 0 if since is None else ts - since, ts, 1))
    source = place.source(sequencer=UPTIME)
    if match is None:
        assert len(await source.fetch()) == 1
    else:
        with pytest.raises(SequencerDown, match=match):
            await source.fetch()


async def test_sequencer__its_feed_reverts__raises(place):
    def silent(ts):
        raise Revert(b"")

    place.chain.say(UPTIME, ROUND, silent)
    with pytest.raises(CallReverted):
        await place.source(sequencer=UPTIME).fetch()


async def test_sequencer__real_contract__asked_at_the_same_block(world):
    settings = {"address": world.feed.address, "heartbeat_s": 3600, "sequencer": world.uptime.address}
    source = world.build(AggregatorV3Source, AggregatorV3Settings, **settings)
    now = world.bench.head
    world.bench.do(world.feed.functions.say(1, 10**8, now, now, 1))
    world.bench.do(world.uptime.functions.say(1, 1, now, now, 1))
    with pytest.raises(SequencerDown):
        await source.fetch()
    world.bench.do(world.uptime.functions.say(1, 0, now, now, 1))
    with pytest.raises(SequencerDown, match="grace"):
        await source.fetch()
    world.bench.do(world.uptime.functions.say(1, 0, now - 4000, now, 1))
    assert len(await source.fetch()) == 1


async def test_read__real_chain_at_an_older_block__that_blocks_state(world):
    rpc_url = f"{world.server.url}/{KEY}"
    settings = ChainSettings(name="it", symbol="A/B", rpc_url=rpc_url, chain_id=31337, confirmations=2)
    reader, call = ChainReader(settings, world.http, world.bench.clock), Call(world.feed.address, ROUND)
    for answer in (1, 2, 3):
        world.bench.do(world.feed.functions.say(1, answer, 1, 1, 1))
    block = await reader.pin()
    (output,), _ = await reader.read(block, [call])
    assert output[1] == 1
    assert block.timestamp == world.bench.head - 24
