import pytest

from feeds.sources.onchain.aggregator_v3 import AggregatorV3Settings, AggregatorV3Source
from feeds.sources.onchain.errors import CallReverted, NoContract, WrongContract
from feeds.sources.onchain.pyth import PythSettings, PythSource
from feeds.sources.source import BadRule, MalformedAnswer
from oracle.chain.localnet import LocalNet, name32, price_spec, sample_words
from tests.feeds.sources.onchain.bench import Bench
from tests.feeds.sources.onchain.conftest import World


def source_of(world: World, **changes) -> AggregatorV3Source:
    given = {"address": world.feed.address, "heartbeat_s": 3600}
    return world.build(AggregatorV3Source, AggregatorV3Settings, **(given | changes))


def say(world: World, answer: int = 150_025_000_000, *, round=7, started=None, ago: int = 100, answered=None) -> int:
    """Let the feed say so in a new block; returns the second of its update, `ago` before that block."""
    updated = world.bench.head + 12 - ago
    begun = updated if started is None else started
    world.bench.do(world.feed.functions.say(round, answer, begun, updated, round if answered is None else answered))
    return updated


async def test_fetch__sound_round__quote_with_the_answers_time(world):
    updated = say(world)
    (quote,) = await source_of(world).fetch()
    assert (quote.price, quote.size, quote.symbol) == (1500.25, None, "ETH/USD")
    assert (quote.ts, quote.known_at) == (updated * 10**6, world.bench.clock())


async def test_fetch__stamped_by_block__quote_with_the_blocks_time(world):
    say(world)
    (quote,) = await source_of(world, stamp="block").fetch()
    assert quote.ts == world.bench.head * 10**6


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"answer": 0}, "answer"),
        ({"answer": -5}, "answer"),
        ({"round": 0}, "round_id"),
        ({"started": 0}, "started_at"),
        ({"answered": 6}, "answered_in_round"),
        ({"ago": 3601}, "updated_at"),
        ({"ago": -50}, "updated_at"),
    ],
)
async def test_fetch__unsound_round__refused_and_counted(world, said, field):
    say(world, **said)
    source = source_of(world)
    assert await source.fetch() == []
    assert source.gate.refused == {field: 1}
    assert source.gate.last_refusal.field == field
    say(world)
    assert len(await source.fetch()) == 1


async def test_fetch__round_never_answered__refused(world):
    world.bench.do(world.feed.functions.say(7, 5, world.bench.head, 0, 7))
    source = source_of(world)
    assert await source.fetch() == []
    assert source.gate.refused == {"updated_at": 1}


async def test_fetch__our_clock_says_stale_though_the_block_does_not__refused(world):
    say(world, ago=3500)
    world.bench.lag = 150
    source = source_of(world)
    assert await source.fetch() == []
    assert source.gate.refused == {"updated_at": 1}


async def test_fetch__inverted__one_over_the_answer(world):
    say(world, 8 * 10**8)
    (quote,) = await source_of(world, symbol="USD/ETH", invert=True).fetch()
    assert quote.price == 0.125


@pytest.mark.parametrize("changes", [{"symbol": "BTC/USD"}, {"invert": True}, {"description": "ETH / BTC"}])
async def test_fetch__describes_itself_as_another_pair__raises(world, changes):
    say(world)
    with pytest.raises(WrongContract, match="description is 'ETH / USD'"):
        await source_of(world, **changes).fetch()


async def test_fetch__described_as_the_settings_say__quote_whatever_the_symbol(world):
    say(world)
    assert len(await source_of(world, symbol="WETH/USDC", description="ETH / USD").fetch()) == 1


@pytest.mark.parametrize("bounds", [{"min_price": 1500.25}, {"max_price": 1500.25}, {"max_price": 1000.0}])
async def test_fetch__at_or_beyond_the_operators_bounds__refused(world, bounds):
    say(world)
    source = source_of(world, **bounds)
    assert await source.fetch() == []
    assert source.gate.refused == {"price": 1}


async def test_fetch__contract_reverts__raises_with_its_reason(world):
    say(world, round=2**80 - 1)
    with pytest.raises(CallReverted, match=r"latestRoundData\(\) of 0x\w+ reverted: No data present"):
        await source_of(world).fetch()


async def test_fetch__no_contract_there__raises(world):
    with pytest.raises(NoContract, match="does not answer latestRoundData"):
        await source_of(world, address="0x" + "12" * 20).fetch()


async def test_fetch__contract_of_another_kind__raises(world):
    with pytest.raises(CallReverted, match="check that the address"):
        await source_of(world, address=world.pool.address).fetch()
    with pytest.raises((CallReverted, MalformedAnswer)):
        other = {"address": world.feed.address, "feed_id": "0x" + "ab" * 32}
        await world.build(PythSource, PythSettings, **other).fetch()


async def test_fetch__our_own_feed__reads_what_the_network_reported(world):
    net = LocalNet.start([40, 30, 20], [price_spec(0, base=name32("ETH"))], chain=world.bench)
    face = net.face(0)
    source = source_of(world, address=face.address)
    with pytest.raises(CallReverted, match="No data present"):
        await source.fetch()
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 150_025_000_000))))
    (quote,) = await source.fetch()
    assert quote.price == 1500.25
    assert quote.ts == face.functions.latestRoundData().call()[3] * 10**6


def test_bench__is_a_chain_for_our_network():
    assert {"w3", "accounts"} <= set(vars(Bench(1_700_000_000)))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"address": "0x12"}, "address"),
        ({"address": "0x" + "aB" * 20}, "address"),
        ({"heartbeat_s": 0}, "heartbeat_s"),
        ({"heartbeat_s": 3600.0}, "heartbeat_s"),
        ({"stamp": "now"}, "stamp"),
        ({"chain_id": 0}, "chain_id"),
        ({"chain_id": True}, "chain_id"),
        ({"confirmations": -1}, "confirmations"),
        ({"max_head_age_s": 0}, "max_head_age_s"),
        ({"sequencer": "none"}, "sequencer"),
        ({"sequencer_grace_s": -1}, "sequencer_grace_s"),
        ({"min_price": -1.0}, "min_price"),
        ({"min_price": 2.0, "max_price": 2.0}, "min_price"),
        ({"min_price": float("nan")}, "min_price"),
        ({"min_price": "1"}, "min_price"),
        ({"max_price": True}, "max_price"),
        ({"name": ""}, "name"),
        ({"symbol": "a\nb"}, "symbol"),
    ],
)
def test_settings__outside_their_range__raise_naming_the_field(changes, field):
    sound = {
        "name": "it", "symbol": "ETH/USD", "rpc_url": "https://rpc.example/v3/key", "chain_id": 1,
        "address": "0x" + "12" * 20, "heartbeat_s": 3600,
    }  # fmt: skip
    AggregatorV3Settings(**sound)
    with pytest.raises(BadRule, match=field):
        AggregatorV3Settings(**(sound | changes))
