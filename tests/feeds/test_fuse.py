import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feeds.fuse import Fused, FusionRule, Refusal, fuse
from feeds.sources.source import BadRule, MixedSymbols
from feeds.types import SECOND, Micros, Quote

NOW = Micros(1_678_500_000 * SECOND)
MINUTE = 60 * SECOND
RULE = FusionRule("BTC/USD", max_age=2 * MINUTE)
LOOSE = FusionRule("BTC/USD", max_age=2 * MINUTE, max_dispersion=0.99)

unsound = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0])
sizes = st.one_of(st.none(), st.floats(1e-6, 1e6))


def quote(source, price, age=0, size=None, symbol="BTC/USD", known_age=None):
    ts = Micros(NOW - age)
    return Quote(source, symbol, float(price), size, ts, ts if known_age is None else Micros(NOW - known_age))


def reasons(answer):
    return {source: reason.split(":")[0] for source, reason in answer.set_aside}


@st.composite
def histories(draw):
    """Any quotes of up to 6 sources: near and far, fresh and stale, ahead, flat, repeated, known later."""
    prices = st.one_of(st.sampled_from([100.0, 100.1, 640.0]), st.floats(1e-300, 1e300), unsound)
    ages = st.just(0) | st.integers(-15, 15)
    any_size = sizes | st.sampled_from([math.nan, math.inf, -1.0])
    entry = st.tuples(st.sampled_from("abcdef"), prices, ages, any_size, st.just(0) | st.integers(-2, 20))
    rows = draw(st.lists(entry, max_size=25))
    return [quote(s, p, age * MINUTE, size, known_age=known * MINUTE) for s, p, age, size, known in rows]


@st.composite
def honest(draw, least):
    """One fresh quote each of `least` to 7 sources within a few per cent."""
    spread = draw(st.sampled_from([0.0, 1e-4, 1e-2, 3e-2]))
    prices = draw(st.lists(st.floats(1 - spread, 1 + spread), min_size=least, max_size=7))
    return [quote(f"h{i}", 26_000 * price, i * SECOND, draw(sizes)) for i, price in enumerate(prices)]


@given(histories(), st.randoms(use_true_random=False))
@example([quote("a", math.nan), quote("a", 100.0)], random.Random(0))
def test_fuse__order_of_quotes__does_not_matter(quotes, rng):
    shuffled = quotes.copy()
    rng.shuffle(shuffled)
    assert fuse(quotes, RULE, NOW) == fuse(shuffled, RULE, NOW)


@given(histories())
def test_fuse__any_quotes__price_within_counted_and_every_source_named_once(quotes):
    answer = fuse(quotes, LOOSE, NOW)
    named = [*answer.sources, *(source for source, _ in answer.set_aside)]
    assert sorted(named) == sorted({q.source for q in quotes if q.known_at <= NOW})
    if isinstance(answer, Fused):
        counted = [q.price for q in quotes if q.source in answer.sources and 0 < q.price < math.inf]
        assert min(counted) <= answer.price <= max(counted)
        assert 0 < answer.confidence < math.inf
        assert NOW - LOOSE.max_age <= answer.ts <= NOW + LOOSE.max_ahead
        assert answer.price < math.inf


@given(histories(), histories())
def test_fuse__quotes_known_later__change_nothing(quotes, later):
    unknown = [Quote(q.source, q.symbol, q.price, q.size, q.ts, Micros(NOW + 1)) for q in later]
    assert fuse(quotes + unknown, RULE, NOW) == fuse([q for q in quotes if q.known_at <= NOW], RULE, NOW)


@given(honest(least=2), st.one_of(st.floats(1e-9, 1e15), st.floats(24_000, 28_000)), sizes)
def test_fuse__one_faulty_of_three_or_more__moves_no_more_than_the_honest_spread(quotes, price, size):
    without, faulty = fuse(quotes, LOOSE, NOW), fuse([*quotes, quote("x", price, size=size)], LOOSE, NOW)
    assert isinstance(without, Fused)
    assert isinstance(faulty, Fused)
    spread = max(q.price for q in quotes) - min(q.price for q in quotes)
    assert abs(faulty.price - without.price) <= spread + 1e-9


@given(honest(least=2), st.floats(0.2, 0.9))
def test_fuse__all_sources_crash__followed_at_once(quotes, left):
    after = [Quote(q.source, q.symbol, q.price * left, q.size, q.ts, q.known_at) for q in quotes]
    earlier = Micros(NOW - 3 * MINUTE)
    before = [Quote(q.source, q.symbol, q.price, 1.0, earlier, earlier) for q in quotes]
    answer = fuse([*before, *after], LOOSE, NOW)
    assert isinstance(answer, Fused)
    assert min(q.price for q in after) <= answer.price <= max(q.price for q in after)


@given(honest(least=1), st.integers(1, 9))
def test_fuse__fewer_than_min_sources__refuses_and_names_them(quotes, wanted):
    answer = fuse(quotes, FusionRule("BTC/USD", max_age=MINUTE, min_sources=wanted, max_dispersion=0.99), NOW)
    if len(answer.sources) < wanted:
        assert isinstance(answer, Refusal)
        assert answer.rule == "min_sources"
        assert f"{len(answer.sources)} sources count, at least {wanted}" in answer.reason
    else:
        assert isinstance(answer, Fused)


def test_fuse__no_quotes__refuses_and_names_expected_sources_as_silent():
    answer = fuse([], FusionRule("BTC/USD", max_age=MINUTE, expected=("kraken",)), NOW)
    assert isinstance(answer, Refusal)
    assert answer.set_aside == (("kraken", "silent: nothing known of it"),)


def test_fuse__each_kind_of_fault__set_aside_with_its_reason():
    quotes = [
        *(quote(name, price, size=1.0) for name, price in (("a", 100.0), ("b", 100.01), ("c", 99.99))),
        quote("old", 100, 3 * MINUTE),
        quote("ahead", 100, -5 * MINUTE, known_age=0),
        quote("nan", math.nan),
        quote("far", 101),
        quote("flat", 100, 12 * MINUTE, 1.0),
        *(quote("flat", 100, age * MINUTE, 0.0) for age in range(1, 12)),
        quote("untraded", 100, 0, 0.0),
    ]
    rule = FusionRule("BTC/USD", max_age=2 * MINUTE, expected=("a", "gone"))
    answer = fuse(quotes, rule, NOW)
    assert isinstance(answer, Fused)
    assert (answer.price, answer.sources) == (100.0, ("a", "b", "c"))
    assert reasons(answer) == {
        "old": "stale", "ahead": "future", "nan": "unsound", "far": "outlier", "flat": "stuck", "gone": "dead",
        "untraded": "unproven",
    }  # fmt: skip
    assert "stale: 180.0 s old, limit 120 s" in dict(answer.set_aside).values()


@pytest.mark.parametrize(
    ("last", "stuck"),
    [
        ({"size": 0.0}, True),
        ({"size": None}, False),
        ({"size": 0.1}, False),
        ({"size": 0.0, "price": 100.01}, False),
    ],
)
def test_fuse__flat_for_ten_minutes__stuck_only_at_known_zero_volume_and_one_price(last, stuck):
    flat = [quote("a", 100, age * MINUTE, 0.0 if age < 11 else 1.0) for age in range(1, 12)]
    answer = fuse([*flat, quote("a", last.get("price", 100), 0, last["size"])], RULE, NOW)
    assert (reasons(answer) == {"a": "stuck"}) is stuck


def test_fuse__quiet_for_less_than_stuck_after__still_counts():
    quotes = [quote("a", 100, 9 * MINUTE, 1.0), *(quote("a", 100, age * MINUTE, 0.0) for age in range(9))]
    assert fuse(quotes, RULE, NOW).sources == ("a",)


def test_fuse__one_quote_ahead_of_time__earlier_sound_quote_counts():
    answer = fuse([quote("a", 640, -MINUTE, known_age=0), quote("a", 260, MINUTE)], RULE, NOW)
    assert isinstance(answer, Fused)
    assert answer.price == 260


def test_fuse__one_source__its_price_at_the_lone_floor():
    answer = fuse([quote("a", 0.874)], RULE, NOW)
    assert isinstance(answer, Fused)
    assert (answer.price, answer.confidence) == (0.874, 0.874 * RULE.lone_floor)


def test_fuse__two_sources__mid_with_the_gap_as_confidence():
    answer = fuse([quote("a", 100), quote("b", 102)], RULE, NOW)
    assert isinstance(answer, Fused)
    assert (answer.price, answer.confidence) == (101, 2)


def test_fuse__two_sources_that_disagree_wildly__refuses_for_want_of_a_majority():
    answer = fuse([quote("a", 100), quote("b", 1000)], RULE, NOW)
    assert isinstance(answer, Refusal)
    assert answer.rule == "max_dispersion"
    assert answer.sources == ("a", "b")


def test_fuse__agreeing_sources__confidence_at_its_floor():
    answer = fuse([quote(name, 100) for name in "abc"], RULE, NOW)
    assert isinstance(answer, Fused)
    assert answer.confidence == 100 * RULE.confidence_floor


def test_fuse__three_apart__confidence_is_scaled_mad():
    answer = fuse([quote("a", 100), quote("b", 100.1), quote("c", 100.3)], RULE, NOW)
    assert isinstance(answer, Fused)
    assert answer.confidence == pytest.approx(1.4826 * 0.1)


def test_fuse__half_moves__both_halves_kept_and_confidence_wide():
    answer = fuse([quote("a", 100), quote("b", 100), quote("c", 98), quote("d", 98)], RULE, NOW)
    assert isinstance(answer, Fused)
    assert (answer.price, answer.set_aside) == (99, ())
    assert answer.confidence == pytest.approx(1.4826)


@pytest.mark.parametrize(
    ("weights", "price", "weighted"),
    [
        ((3.9, 3.2, 2.9), 101, True),
        ((4.0, 4.0, 1.0, 1.0), 101.75, False),
        ((4.0, 3.0, 3.0), 101, False),
        ((3.0, 3.0, 3.0, 3.0), 101.75, True),
        ((0.0, 0.0, 0.0), 101, False),
        ((1.0, None, 1.0), 101, False),
        ((0.0, 3.0, 3.5, 3.5), 102.5, True),
        ((3.9, 3.9, 1.1, 1.1), 101, True),
    ],
)
def test_fuse__sizes__weigh_only_below_forty_per_cent_each(weights, price, weighted):
    prices = (100.5, 101, 102.5, 102.6)
    rule = FusionRule("BTC/USD", max_age=MINUTE, outlier_floor=0.1, weigh_by_size=True)
    now = [quote(f"s{i}", p, size=w) for i, (p, w) in enumerate(zip(prices, weights, strict=False))]
    before = [quote(q.source, q.price - 0.01, age=10 * SECOND, size=1.0) for q in now]
    answer = fuse(before + now, rule, NOW)
    assert isinstance(answer, Fused)
    assert (answer.price, answer.weighted) == (price, weighted)


def test_fuse__two_symbols__raises():
    with pytest.raises(MixedSymbols, match="ETH/USD among those of BTC/USD"):
        fuse([quote("a", 1), quote("a", 1, symbol="ETH/USD")], RULE, NOW)


@pytest.mark.parametrize(
    "setting",
    [
        {"max_age": 0}, {"min_sources": 0}, {"patience": 1}, {"slot": -1}, {"max_ahead": -1}, {"outlier_mads": 0.5},
        {"outlier_mads": math.nan}, {"outlier_floor": 0.0}, {"confidence_floor": 1.0}, {"lone_floor": -1.0},
        {"max_dispersion": math.inf}, {"max_jump": 0.0}, {"max_drift": 1.0}, {"frozen_move": -0.1},
    ],
)  # fmt: skip
def test_fusion_rule__setting_out_of_range__raises_and_names_it(setting):
    with pytest.raises(BadRule, match=next(iter(setting))):
        FusionRule("BTC/USD", **{"max_age": MINUTE, **setting})
