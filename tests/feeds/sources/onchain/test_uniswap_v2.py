from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.onchain.abi import Block
from feeds.sources.onchain.errors import RpcRefused, WrongContract
from feeds.sources.onchain.uniswap_v2 import (
    Q112,
    Accumulator,
    UniswapV2Settings,
    UniswapV2Source,
    accrued,
    mean_price,
)
from feeds.sources.source import MalformedQuote
from tests.feeds.sources.onchain.bench import Bench
from tests.feeds.sources.onchain.conftest import World

ETH, USD = 10**18, 10**6


def source_of(world: World, **changes) -> UniswapV2Source:
    given = {"pool": world.pair.address, **world.tokens}
    return world.build(UniswapV2Source, UniswapV2Settings, **(given | changes))


def trade(world: World, eth: int, usd: int, seconds: int = 12) -> None:
    world.bench.do(world.pair.functions.set_reserves(eth * ETH, usd * USD), seconds)


async def test_fetch__history__exact_mean_over_the_window(world):
    trade(world, 1000, 1_500_000)
    for price in (1_500_000, 1_600_000, 1_400_000, 1_550_000):
        trade(world, 1000, price, 150)
    world.bench.mine(300)
    (quote,) = await source_of(world).fetch()
    # Blocks back by powers of two: 5 are 150+150+150+300 = 750 s ago, so 4 steps: 1,500 for 150 s, then the rest.
    told = {150 * k: price for k, price in enumerate((1_500_000, 1_600_000, 1_400_000))}
    expected = (sum(Q112 * p * USD // (1000 * ETH) * 150 for p in told.values()) + 300 * (
        Q112 * 1_550_000 * USD // (1000 * ETH))) // 750  # fmt: skip
    assert quote.price == expected * 10**12 / Q112
    assert quote.price == pytest.approx((1500 * 150 + 1600 * 150 + 1400 * 150 + 1550 * 300) / 750, rel=1e-12)
    assert (quote.ts, quote.size) == (world.bench.head * 10**6, None)


async def test_fetch__history__looks_back_once_then_remembers_the_block(world):
    trade(world, 1000, 1_500_000)
    world.bench.mine(700)
    source = source_of(world)
    requests = []
    for _ in range(4):
        before = world.server.requests
        assert len(await source.fetch()) == 1
        requests.append(world.server.requests - before)
        world.bench.mine(30)
    assert requests == [3, 2, 2, 2]


async def test_fetch__no_history__silent_for_a_window_then_the_same_mean(world):
    source = source_of(world, history=False)
    trade(world, 1000, 1_500_000)
    assert await source.fetch() == []
    for price in (1_600_000, 1_400_000):
        trade(world, 1000, price, 290)
        assert await source.fetch() == []
    world.bench.mine(20)
    (quote,) = await source.fetch()
    mean = (Q112 * 1_500_000 * USD // (1000 * ETH) * 290 + Q112 * 1_600_000 * USD // (1000 * ETH) * 290
            + Q112 * 1_400_000 * USD // (1000 * ETH) * 20) // 600  # fmt: skip
    assert quote.price == mean * 10**12 / Q112


async def test_fetch__tokens_the_other_way_round__one_over_the_price(world):
    trade(world, 1000, 2_000_000)
    for _ in range(4):
        world.bench.mine(300)
    base, quote = world.quote.address, world.base.address
    (upside,) = await source_of(world, symbol="USD/ETH", base=base, quote=quote, min_liquidity=1.0).fetch()
    assert upside.price == pytest.approx(1 / 2000, rel=1e-12)


async def test_fetch__sums_overflow_within_the_window__mean_as_if_they_had_not(world):
    trade(world, 1000, 1_500_000)
    price = Q112 * 1_500_000 * USD // (1000 * ETH)
    world.bench.do(world.pair.functions.start(2**256 - 300 * price, 2**256 - 1))
    world.bench.mine(1)
    trade(world, 1000, 1_500_000, 600)
    assert world.pair.functions.price0CumulativeLast().call() < 400 * price
    world.bench.mine(30)
    (quote,) = await source_of(world).fetch()
    assert quote.price == price * 10**12 / Q112


async def test_fetch__drained_pool__refused_and_the_window_begins_anew(world):
    source = source_of(world, history=False)
    trade(world, 1000, 1_500_000)
    await source.fetch()
    world.bench.mine(600)
    assert len(await source.fetch()) == 1
    trade(world, 1, 999)
    assert await source.fetch() == []
    assert source.gate.refused == {"liquidity": 1}
    assert source.depths(world.bench.clock()) == []
    trade(world, 1000, 1_500_000)
    world.bench.mine(300)
    assert await source.fetch() == []
    world.bench.mine(600)
    assert len(await source.fetch()) == 1


async def test_fetch__pool_without_base__refused(world):
    trade(world, 0, 1_500_000)
    source = source_of(world)
    assert await source.fetch() == []
    assert source.gate.refused == {"liquidity": 1}


async def test_fetch__other_tokens_in_the_pool__raises(world):
    trade(world, 1000, 1_500_000)
    with pytest.raises(WrongContract, match="pair of tokens"):
        await source_of(world, base=world.feed.address).fetch()


async def test_fetch__reorganised_away__the_window_begins_anew(world):
    source = source_of(world, history=False)
    trade(world, 1000, 1_500_000)
    taken = world.bench.snapshot()
    world.bench.mine(12)
    await source.fetch()
    world.bench.revert(taken)
    trade(world, 1000, 1_600_000, 13)
    world.bench.mine(600)
    assert await source.fetch() == []
    assert source.gate.refused == {"block": 1}
    world.bench.mine(12)
    assert await source.fetch() == []
    world.bench.mine(600)
    assert len(await source.fetch()) == 1


async def test_fetch__two_windows_without_a_poll__silent_for_a_window(world):
    source = source_of(world, history=False)
    trade(world, 1000, 1_500_000)
    await source.fetch()
    world.bench.mine(1201)
    assert await source.fetch() == []
    world.bench.mine(600)
    assert len(await source.fetch()) == 1


def test_remembered__a_day_of_polls__shortest_window_and_bounded_memory():
    source, begun = lonely(), 1_700_000_000
    for second in range(0, 86_400, 12):
        block = Block(second // 12, b"", begun + second)
        found = source._remembered(block)
        source._remember(Accumulator(block, 0))
        assert (found is None) == (second < 600)
        if found is not None:
            assert 600 <= block.timestamp - found.block.timestamp < 600 + 600 / 16 + 12
        assert len(source._seen) <= 18


async def test_fetch__rpc_without_old_state__raises_with_the_mend(world):
    trade(world, 1000, 1_500_000)
    world.bench.mine(600)
    handle = world.bench.chain.handle
    newest = "0x" + bytes(world.bench.chain.ledger.head.header.hash).hex()

    def pruned(body):
        answers = handle(body)
        for request, answer in zip(body, answers, strict=True):
            if request["method"] == "eth_call" and request["params"][1]["blockHash"] != newest:
                del answer["result"]
                answer["error"] = {
                    "code": -32000,
                    "message": "missing trie node deadbeef (path ) state is not available",
                }
        return answers

    world.bench.chain.handle = pruned
    try:
        with pytest.raises(RpcRefused, match=r"missing trie node.*set history = false"):
            await source_of(world).fetch()
    finally:
        del world.bench.chain.handle


async def test_depths__after_a_fetch__what_a_push_costs_on_x_times_y(world):
    trade(world, 1000, 1_500_000)
    world.bench.mine(600)
    source = source_of(world)
    assert source.depths(world.bench.clock()) == []
    await source.fetch()
    one, two = source.depths(world.bench.clock())
    assert (one.bps, two.bps, one.symbol, one.ts) == (100.0, 200.0, "ETH/USD", world.bench.head * 10**6)
    x, y = 1000.0, 1_500_000.0
    assert (y + one.up) / (x * y / (y + one.up)) == pytest.approx(1500 * 1.01)
    assert (y - two.down) / (x * y / (y - two.down)) == pytest.approx(1500 * 0.98)
    assert source.depths(world.bench.clock() - 1) == []


def test_accrued__clock_of_the_pair_wraps_in_2106__as_the_contract_itself():
    bench = Bench(2**32 - 1000)
    token0, token1 = bench.deploy("TokenMock", 18), bench.deploy("TokenMock", 6)
    pair = bench.deploy("PairMock", token0.address, token1.address)
    bench.do(pair.functions.set_reserves(7 * ETH, 3 * USD))
    _, _, last = pair.functions.getReserves().call()
    bench.do(pair.functions.set_reserves(1, 1), 2000)
    assert bench.head > 2**32 > last
    first = accrued(0, 3 * USD, 7 * ETH, last, bench.head)
    assert pair.functions.price0CumulativeLast().call() == first
    assert pair.functions.price1CumulativeLast().call() == accrued(0, 7 * ETH, 3 * USD, last, bench.head)
    _, _, last = pair.functions.getReserves().call()
    assert last < 2000  # the pair's clock has begun anew, ours has not
    bench.do(pair.functions.set_reserves(2, 2), 50)
    assert pair.functions.price0CumulativeLast().call() == accrued(first, 1, 1, last, bench.head) == first + 50 * Q112


RESERVE = st.integers(1, 2**112 - 1)


TRADES = st.lists(st.tuples(RESERVE, RESERVE, st.integers(1, 10**6)), min_size=1, max_size=5)


# Spread evenly by hand: of wide ranges the library draws mostly small numbers, far from where the sums and clocks wrap.
START = st.integers(0, 2**240).flatmap(lambda n: st.sampled_from([n, 2**256 - 1 - n]))
BEGUN = st.integers(1, 10**6).flatmap(lambda n: st.sampled_from([n, 2**32 - n, 2**32 + n, 2**33 - n]))


@given(START, BEGUN, TRADES)
def test_mean_price__any_trades_and_any_wrap__within_a_unit_of_the_true_mean(start, begun, trades):
    cumulative, now, area = start, begun, Fraction(0)
    for base, quote, seconds in trades:
        # The contract's clock is modulo 2^32 when it is touched; ours is not.
        cumulative = accrued(cumulative, quote, base, now % 2**32, now + seconds)
        area, now = area + Fraction(quote, base) * seconds, now + seconds
    before, after = Accumulator(Block(1, b"", begun), start), Accumulator(Block(2, b"", now), cumulative)
    true = area / (now - begun) * Q112
    assert true - 2 < mean_price(before, after) <= true


def lonely() -> UniswapV2Source:
    settings = UniswapV2Settings(
        name="it", symbol="ETH/USD", rpc_url="http://127.0.0.1", chain_id=1, pool="0x" + "12" * 20,
        base="0x" + "34" * 20, quote="0x" + "56" * 20, min_liquidity=1.0, window_s=600,
    )  # fmt: skip
    return UniswapV2Source(settings, None, lambda: 0)


def test_accumulator__touched_after_its_block__refused():
    source, block = lonely(), Block(9, b"", 1_700_000_000)
    reserves = (5 * ETH, 7_000 * USD)
    assert source._accumulator(block, [(*reserves, 1_600_000_000), (0,), (0,)], True, 6).cumulative > 0
    with pytest.raises(MalformedQuote, match="block_timestamp_last"):
        source._accumulator(block, [(*reserves, 1_700_000_001), (0,), (0,)], True, 6)
