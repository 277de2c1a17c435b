from dataclasses import replace

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from oracle.consensus.network import FeedKind, ValidatorRow, domain_separator, effective_stakes, has_quorum
from oracle.consensus.simulate_world import small_config, small_feed
from oracle.errors import BadFeedSpec, BadNetworkConfig, ConfigError, ValueOutOfRange
from tests.strategies.consensus import stake_lists

CONFIG = small_config((40, 30, 20, 10))


def test_effective_stakes__page_two_example__caps_two_largest():
    assert effective_stakes([40_000, 30_000, 20_000, 10_000]) == [22_500, 22_500, 20_000, 10_000]


@given(stake_lists)
def test_effective_stakes__any_four_or_more__is_the_fixed_point(stakes):
    weights = effective_stakes(stakes)
    total = sum(weights)
    assert all(weight <= stake for weight, stake in zip(weights, stakes, strict=True))
    if len(stakes) < 4:
        assert weights == [min(stakes)] * len(stakes)
        return

    def allowed(cap):
        return 10_000 * cap <= 3_000 * sum(min(stake, cap) for stake in stakes)

    cap = max(weights)
    if weights == list(stakes):
        assert 10_000 * cap <= 3_000 * total
    else:
        assert weights == [min(stake, cap) for stake in stakes]
        assert allowed(cap) and not allowed(cap + 1)
    assert 3 * cap < total or total == 0, "one row would be a veto"


@given(stake_lists, st.randoms())
def test_effective_stakes__other_order__same_weight_per_stake(stakes, shuffler):
    shuffled = list(stakes)
    shuffler.shuffle(shuffled)
    assert sorted(effective_stakes(shuffled)) == sorted(effective_stakes(stakes))


def test_effective_stakes__stake_above_uint96__raises():
    with pytest.raises(ValueOutOfRange):
        effective_stakes([1, 2**96])


def test_effective_stakes__nobody__is_empty():
    assert effective_stakes([]) == []


@pytest.mark.parametrize(("stake", "holds"), [(66, False), (67, True), (0, False), (100, True)])
def test_quorum__of_a_hundred__is_more_than_two_thirds(stake, holds):
    assert has_quorum(stake, 100) is holds
    assert not has_quorum(2, 3)


@given(st.integers(0, 10**6))
def test_slot__any_time__lies_between_its_start_and_the_next(offset):
    now = CONFIG.anchor_time * 1000 + offset
    slot = CONFIG.slot_at(now)
    assert CONFIG.slot_start_ms(slot) <= now < CONFIG.slot_start_ms(slot + 1)


def test_digest__written_out_by_hand__is_the_same():
    def word(value):
        return value.to_bytes(32, "big", signed=value < 0)

    c = CONFIG
    feeds = b""
    for f in c.feeds:
        parts = [word(f.number), word(f.kind), word(f.decimals), word(f.outcomes), f.base, f.quote, word(f.horizon)]
        parts += [word(f.heartbeat), word(f.deviation), word(f.min_value), word(f.max_value), word(f.max_dispersion)]
        parts += [word(f.jump), word(f.veto_band), word(f.min_sources), word(f.min_observers), word(f.max_family_share)]
        feeds += keccak(b"".join([*parts, f.methodology, f.sources]))
    table = b"".join(row.address + row.stake.to_bytes(12, "big") for row in c.rows)
    head = [word(c.chain_id), bytes(12) + c.aggregator, word(c.count), c.randomness, word(c.anchor_slot)]
    head += [word(c.anchor_time), word(c.slot_seconds), word(c.first_slot), word(c.max_report_age), word(c.grace_ms)]
    head += [word(c.stage_ms), word(c.min_validators), keccak(table), keccak(feeds)]
    assert c.digest == keccak(b"".join(head))


CHANGES = {
    "chain_id": 5, "aggregator": b"\xbb" * 20, "count": 2, "randomness": b"\x08" * 32, "anchor_slot": 1,
    "anchor_time": 5, "slot_seconds": 21, "first_slot": 11, "max_report_age": 5, "grace_ms": 7, "stage_ms": 8,
    "min_validators": 2, "rows": CONFIG.rows[:3], "feeds": CONFIG.feeds[:2],
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_digest__any_field_changed__differs(name):
    assert replace(CONFIG, **{name: CHANGES[name]}).digest != CONFIG.digest


def test_domain__eip712_of_another_chain_or_contract__differs():
    base = domain_separator("Dodona", 1, b"\x01" * 20)
    assert len({base, domain_separator("Dodona", 2, b"\x01" * 20), domain_separator("Dodona", 1, b"\x02" * 20)}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"rows": ()},
        {"rows": (CONFIG.rows[0], CONFIG.rows[0])},
        {"rows": (ValidatorRow(b"\x01" * 19, 5),)},
        {"rows": (ValidatorRow(b"\x01" * 20, 2**96),)},
        {"rows": (ValidatorRow(b"\x01" * 20, 0),)},
        {"feeds": ()},
        {"feeds": CONFIG.feeds[::-1]},
        {"feeds": (small_feed(4, FeedKind.FORECAST, 5), small_feed(5, FeedKind.PRICE, 5))},
        {"feeds": tuple(small_feed(number, FeedKind.PRICE, 5) for number in range(0, 33 * 4, 4))},
        {"aggregator": b""},
        {"slot_seconds": 0},
        {"min_validators": 65},
    ],
)
def test_config__contradicts_itself__raises_bad_network_config(change):
    with pytest.raises(BadNetworkConfig):
        replace(CONFIG, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"number": 65_536}, {"number": -1}, {"decimals": 256}, {"base": b"x"}, {"min_value": 5, "max_value": 4},
        {"max_value": 2**127}, {"outcomes": 2}, {"heartbeat": 2**32}, {"max_family_share": 10_001},
        {"min_observers": 65},
        {"number": 7, "kind": FeedKind.FORECAST}, {"kind": FeedKind.EVENT, "outcomes": 17}, {"kind": FeedKind.EVENT},
    ],
)  # fmt: skip
def test_feed_spec__field_out_of_range__raises_bad_feed_spec(change):
    with pytest.raises(BadFeedSpec) as caught:
        replace(CONFIG.feeds[0], **change)
    assert isinstance(caught.value, ConfigError) and caught.value.rule == "BadFeedSpec"


def test_feed_spec__names__read_well():
    price, _, forecast, event = CONFIG.feeds
    assert (price.symbol, forecast.symbol, event.symbol) == ("BASE0/USD", "BASE4/USD+3600s", "BASE8")
    assert CONFIG.feed(4) is forecast and CONFIG.feed(5) is None
    assert CONFIG.index_of(CONFIG.rows[2].address) == 2 and CONFIG.index_of(bytes(20)) is None
