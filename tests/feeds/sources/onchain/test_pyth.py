import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.onchain.errors import CallReverted
from feeds.sources.onchain.pyth import PythSettings, PythSource
from feeds.sources.source import BadRule
from tests.feeds.sources.onchain.conftest import FEED_ID, World


def source_of(world: World, **changes) -> PythSource:
    return world.build(PythSource, PythSettings, **({"address": world.pyth.address, "feed_id": FEED_ID} | changes))


def say(world: World, price: int, conf: int, expo: int, ago: int = 5) -> int:
    published = world.bench.head + 12 - ago
    world.bench.do(world.pyth.functions.say(price, conf, expo, published))
    return published


@pytest.mark.parametrize(
    ("price", "expo", "expected"),
    [
        (150_025_000_000, -8, 1500.25),
        (15, 2, 1500.0),
        (7, 0, 7.0),
        (1, -36, 1e-36),
        (2**63 - 1, -18, 9.223372036854775807),
    ],
)
async def test_fetch__any_exponent__price_rounded_once(world, price, expo, expected):
    published = say(world, price, 0, expo)
    (quote,) = await source_of(world).fetch()
    assert (quote.price, quote.ts) == (expected, published * 10**6)


async def test_fetch__inverted__one_over_the_price(world):
    say(world, 8 * 10**5, 0, -5)
    (quote,) = await source_of(world, invert=True).fetch()
    assert quote.price == 0.125


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ((0, 0, -8), "answer"),
        ((-1, 0, -8), "answer"),
        ((10**11, 10**9 + 1, -8), "confidence"),
        ((10**11, 2**64 - 1, -8), "confidence"),
        ((10**11, 0, -37), "decimals"),
        ((10**11, 0, 2**31 - 1), "decimals"),
        ((10**11, 0, -(2**31)), "decimals"),
        ((10**11, 0, -8, 61), "publish_time"),
        ((10**11, 0, -8, -1), "publish_time"),
    ],
)
async def test_fetch__unsound_price__refused_and_counted(world, said, field):
    say(world, *said)
    source = source_of(world)
    assert await source.fetch() == []
    assert source.gate.refused == {field: 1}


async def test_fetch__confidence_at_the_limit__counts(world):
    say(world, 10**11, 10**9, -8)
    assert len(await source_of(world).fetch()) == 1
    assert await source_of(world, max_confidence_bps=99.0).fetch() == []


async def test_fetch__unknown_feed__raises_with_the_custom_errors_name(world):
    with pytest.raises(CallReverted, match="PriceFeedNotFound"):
        await source_of(world, feed_id="0x" + "cd" * 32).fetch()


@given(st.integers(1, 2**63 - 1), st.integers(0, 18))
def test_exact__decimals_0_to_18__round_trip_within_half_a_unit_of_float(price, decimals):
    settings = PythSettings(
        name="it", symbol="A/B", rpc_url="http://127.0.0.1", chain_id=1, address="0x" + "12" * 20, feed_id=FEED_ID
    )
    source = PythSource(settings, None, lambda: 0)
    assert source.exact(price, 1, -decimals) == float(f"{price}e-{decimals}")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"feed_id": "ab"}, "feed_id"),
        ({"feed_id": "0x" + "ab" * 31}, "feed_id"),
        ({"max_age_s": 0}, "max_age_s"),
        ({"max_confidence_bps": 0.0}, "max_confidence_bps"),
        ({"max_confidence_bps": float("nan")}, "max_confidence_bps"),
    ],
)
def test_settings__outside_their_range__raise_naming_the_field(changes, field):
    sound = {
        "name": "it", "symbol": "ETH/USD", "rpc_url": "http://127.0.0.1:8545", "chain_id": 1,
        "address": "0x" + "12" * 20, "feed_id": FEED_ID,
    }  # fmt: skip
    PythSettings(**sound)
    with pytest.raises(BadRule, match=field):
        PythSettings(**(sound | changes))
