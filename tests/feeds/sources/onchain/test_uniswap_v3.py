import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.onchain.errors import WindowTooLong, WrongContract
from feeds.sources.onchain.pool import PoolSettings
from feeds.sources.onchain.tick_math import MAX_TICK, sqrt_ratio
from feeds.sources.onchain.uniswap_v3 import UniswapV3Settings, UniswapV3Source
from feeds.sources.source import BadRule, MalformedQuote
from tests.feeds.sources.onchain.conftest import LIQUIDITY, TICK, World


def source_of(world: World, **changes) -> UniswapV3Source:
    # One block deep, so that the pool reads the block's own time: the embedded chain's newest one has the next one's.
    given = {"pool": world.pool.address, "confirmations": 1, **world.tokens}
    return world.build(UniswapV3Source, UniswapV3Settings, **(given | changes))


def move(world: World, tick: int, seconds: int, liquidity: int = LIQUIDITY) -> None:
    world.bench.do(world.pool.functions.move(sqrt_ratio(tick), tick, liquidity), seconds)


async def test_fetch__moving_pool__price_at_the_mean_tick_rounded_down(world):
    move(world, TICK, 900)
    move(world, TICK + 302, 300)
    move(world, TICK - 500, 200)
    world.bench.mine(100)
    world.bench.mine(12)
    (quote,) = await source_of(world).fetch()
    mean = (TICK * 300 + (TICK + 302) * 200 + (TICK - 500) * 100) // 600
    assert mean * 600 < TICK * 300 + (TICK + 302) * 200 + (TICK - 500) * 100  # the rounding shows
    assert quote.price == sqrt_ratio(mean) ** 2 * 10**12 / 2**192
    assert quote.ts == (world.bench.head - 12) * 10**6


async def test_fetch__window_begins_between_two_observations__interpolated_as_the_pool_does(world):
    move(world, TICK + 100, 950)
    move(world, TICK - 100, 400)
    world.bench.mine(350)
    world.bench.mine(12)
    (quote,) = await source_of(world).fetch()
    mean = ((TICK + 100) * 250 + (TICK - 100) * 350) // 600
    assert quote.price == sqrt_ratio(mean) ** 2 * 10**12 / 2**192


async def test_fetch__tokens_the_other_way_round__one_over_the_price(world):
    world.bench.mine(600)
    world.bench.mine(12)
    base, quote = world.quote.address, world.base.address
    (upside,) = await source_of(world, symbol="USD/ETH", base=base, quote=quote, min_liquidity=1.0).fetch()
    assert upside.price == 2**192 / (sqrt_ratio(TICK) ** 2 * 10**12)


async def test_fetch__pool_younger_than_the_window__raises_with_the_mend(world):
    for _ in range(20):
        move(world, TICK, 5)
    world.bench.mine(12)
    with pytest.raises(WindowTooLong, match=r"keeps 16 observations, too few for 600 s.*CardinalityNext"):
        await source_of(world).fetch()
    assert len(await source_of(world, window_s=60).fetch()) == 1


@pytest.mark.parametrize("then", [True, False])
async def test_fetch__drained_then_or_now__refused(world, then):
    poor = 10**10
    world.bench.mine(900)
    if then:
        move(world, TICK, 12, poor)
        world.bench.mine(590)
        move(world, TICK, 12, LIQUIDITY)
    else:
        move(world, TICK, 12, poor)
    world.bench.mine(12)
    source = source_of(world)
    assert await source.fetch() == []
    assert source.gate.refused == {"liquidity": 1}
    assert source.depths(world.bench.clock()) == []


async def test_fetch__other_tokens_in_the_pool__raises(world):
    world.bench.mine(600)
    with pytest.raises(WrongContract, match="pair of tokens"):
        await source_of(world, base=world.quote.address, quote=world.feed.address).fetch()


async def test_depths__after_a_fetch__what_a_push_costs_within_the_range(world):
    world.bench.mine(600)
    world.bench.mine(12)
    source = source_of(world)
    (quote,) = await source.fetch()
    one, _ = source.depths(world.bench.clock())
    # Uniswap v3 whitepaper 6.16: the change of token 1 is L times the change of the price's root.
    root = quote.price**0.5 / 10**6
    assert one.up == pytest.approx(LIQUIDITY * root * (1.01**0.5 - 1) / 10**6, rel=1e-6)
    assert one.down == pytest.approx(LIQUIDITY * root * (1 - 0.99**0.5) / 10**6, rel=1e-6)


def lonely() -> UniswapV3Source:
    settings = UniswapV3Settings(
        name="it", symbol="ETH/USD", rpc_url="http://127.0.0.1", chain_id=1, pool="0x" + "12" * 20,
        base="0x" + "34" * 20, quote="0x" + "56" * 20, min_liquidity=1.0, window_s=60,
    )  # fmt: skip
    return UniswapV3Source(settings, None, lambda: 0)


INT56, UINT160 = st.integers(-(2**55), 2**55 - 1), st.integers(0, 2**160 - 1)


@given(st.lists(INT56, max_size=3), st.lists(UINT160, max_size=3))
def test_means__any_words__a_tick_and_a_liquidity_or_refused(ticks, seconds):
    try:
        tick, liquidity = lonely()._means((tuple(ticks), tuple(seconds)))
    except MalformedQuote as refusal:
        assert refusal.field == "observations"
    else:
        assert len(ticks) == len(seconds) == 2
        assert abs(tick) <= MAX_TICK and liquidity >= 0


@given(st.integers(-MAX_TICK, MAX_TICK), st.integers(0, 18), st.integers(0, 18))
def test_exact__any_tick_and_decimals__both_ways_multiply_to_one(tick, base, quote):
    source, squared = lonely(), sqrt_ratio(tick) ** 2
    there, back = source.exact(squared, 2**192, base - quote), source.exact(2**192, squared, quote - base)
    assert there * back == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pool": "0x"}, "pool"),
        ({"quote": "0x" + "34" * 20}, "quote"),
        ({"window_s": 59}, "window_s"),
        ({"window_s": 700_000}, "window_s"),
        ({"min_liquidity": 0.0}, "min_liquidity"),
        ({"min_liquidity": float("inf")}, "min_liquidity"),
        ({"depth_bps": (0.0,)}, "depth_bps"),
        ({"depth_bps": (10_000.0,)}, "depth_bps"),
    ],
)
def test_settings__outside_their_range__raise_naming_the_field(changes, field):
    sound = {
        "name": "it", "symbol": "ETH/USD", "rpc_url": "http://127.0.0.1", "chain_id": 1, "pool": "0x" + "12" * 20,
        "base": "0x" + "34" * 20, "quote": "0x" + "56" * 20, "min_liquidity": 1.0,
    }  # fmt: skip
    PoolSettings(**sound)
    with pytest.raises(BadRule, match=field):
        PoolSettings(**(sound | changes))
