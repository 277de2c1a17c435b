"""The depth gate: a source counts only while its newest book shows that moving it would cost enough."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.depth import KEPT, Depths
from feeds.market import Market
from feeds.monitor import Monitor
from feeds.rule import Fused, FusionRule, Refusal
from feeds.sources.source import BadRule, MixedSymbols
from feeds.types import SECOND, Depth, Micros, Quote

MINUTE = 60 * SECOND
NOW = Micros(1_678_500_000 * SECOND)
OPEN = FusionRule("BTC/USD", max_age=2 * MINUTE)
RULE = replace(OPEN, min_depth=1000.0)


def quote(source, price, age=0, size=1.0):
    at = Micros(NOW - age)
    return Quote(source, "BTC/USD", float(price), size, at, at)


def book(source, cost, age=0, *, bps=100.0, down=None, **changes):
    at = Micros(NOW - age)
    return replace(Depth(source, "BTC/USD", bps, cost, cost if down is None else down, at, at), **changes)


def fused(rule, quotes, depths=()):
    monitor = Monitor(rule)
    monitor.add(quotes)
    monitor.add_depth(depths)
    return monitor.at(NOW)


def why(answer, source):
    return dict(answer.set_aside).get(source, "")


QUOTES = [quote("a", 100.0), quote("b", 100.1), quote("thin", 119.0)]


def test_gate__pushed_thin_market__set_aside_with_both_numbers_and_the_price_is_that_of_the_others():
    answer = fused(RULE, QUOTES, [book("a", 5e6), book("b", 2e3), book("thin", 212.0)])
    assert why(answer, "thin") == "thin: 212 would move it by 1 %, limit 1000"
    assert (answer.price, answer.sources) == (fused(OPEN, QUOTES[:2]).price, ("a", "b"))


@pytest.mark.parametrize(
    ("depths", "counts"),
    [
        ([book("x", 1000.0)], True),
        ([book("x", 999.9)], False),
        ([book("x", 1e9, down=999.9)], False),
        ([book("x", 1e9, bps=200.0)], False),
        ([book("x", 1000.0, bps=50.0)], True),
        ([book("x", 10.0, bps=50.0), book("x", 1000.0)], True),
        ([book("x", 1e9, 3 * MINUTE)], False),
        ([book("x", 1e9, MINUTE), book("x", 10.0)], False),
        ([book("x", 1e9, MINUTE, bps=50.0), book("x", 10.0)], False),
        ([book("x", 10.0, MINUTE), book("x", 1e9)], True),
        ([book("x", 1e9, MINUTE), book("x", math.nan)], False),
        ([book("x", math.inf)], False),
        ([book("x", -1.0, down=1e9)], False),
        ([book("x", 1e9, ts=Micros(NOW + MINUTE))], False),
        ([book("x", 1e9, known_at=Micros(NOW + 1))], False),
        ([book("x", 1e9, MINUTE), book("x", 10.0, known_at=Micros(NOW + 1))], True),
        ([book("x", 2000.0, lower_bound=True)], True),
        ([book("x", 999.0, lower_bound=True)], False),
        ([], False),
    ],
)
def test_gate__book_of_a_source__counts_only_if_the_newest_fresh_one_shows_enough(depths, counts):
    answer = fused(RULE, [quote("x", 100.0)], depths)
    assert isinstance(answer, Fused if counts else Refusal)
    assert why(answer, "x").startswith("thin" if not counts else "")


def test_gate__book_hidden_after_it_was_thin__stays_closed():
    monitor = Monitor(RULE)
    for minute in range(5):
        at = Micros(NOW + minute * MINUTE)
        monitor.add([Quote(s, "BTC/USD", p, 1.0, at, at) for s, p in (("a", 100.0), ("x", 100.2))])
        monitor.add_depth([Depth("a", "BTC/USD", 100.0, 1e6, 1e6, at, at)])
        if minute == 0:
            monitor.add_depth([Depth("x", "BTC/USD", 100.0, 10.0, 10.0, at, at)])
        answer = monitor.at(at)
        assert answer.sources == ("a",) and why(answer, "x").startswith("thin")
    assert why(answer, "x") == "thin: no book of the last 120 s, limit 1000 to move it by 1 %"


def test_gate__source_that_can_have_no_book__passes_only_if_the_rule_says_so():
    assert isinstance(fused(RULE, [quote("oracle", 100.0)]), Refusal)
    assert fused(replace(RULE, bookless=("oracle",)), [quote("oracle", 100.0)]).price == 100.0


def test_gate__source_without_a_fresh_quote__keeps_its_own_reason():
    answer = fused(RULE, [quote("a", 100.0), quote("old", 100.0, 5 * MINUTE)], [book("a", 1e6)])
    assert why(answer, "old").startswith("stale")


def test_gate__thin_majority__cannot_outvote_a_deep_source():
    thin = [quote(f"t{i}", 130.0) for i in range(5)]
    answer = fused(RULE, [quote("a", 100.0), *thin], [book("a", 1e6), *(book(f"t{i}", 50.0) for i in range(5))])
    assert (answer.price, answer.sources) == (100.0, ("a",))


@st.composite
def stories(draw):
    """Quotes and depths of five sources over some minutes, by time."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    found, price = [], 100.0
    for slot in range(draw(st.integers(1, 15))):
        price *= 1 + rng.gauss(0, 2e-3)
        for name in "abcde":
            at = Micros(NOW + slot * MINUTE + rng.randrange(MINUTE))
            if rng.random() < 0.9:
                said = price * (1 + rng.gauss(0, 1e-3)) * rng.choice([1, 1, 1, 1, 1.3])
                found.append(Quote(name, "BTC/USD", said, rng.choice([None, 0.0, 1.0]), at, at))
            if rng.random() < 0.7:
                up, down = (rng.choice([0.0, 999.0, 1000.0, 1e6, math.nan]) for _ in "ud")
                found.append(Depth(name, "BTC/USD", rng.choice([50.0, 100.0, 300.0]), up, down, at, at))
    return sorted(found, key=lambda item: item.known_at), rng


def told(rule, items, end):
    """Answers at the end of every minute, and the names in the end."""
    monitor, answers = Monitor(rule), []
    for now in range(NOW + MINUTE, end + 1, MINUTE):
        part = [item for item in items if now - MINUTE < item.known_at <= now]
        monitor.add(item for item in part if isinstance(item, Quote))
        monitor.add_depth(item for item in part if isinstance(item, Depth))
        answers.append(monitor.at(Micros(now)))
    return answers, dict(monitor.named)


@given(stories())
def test_gate__off__answers_are_the_same_with_and_without_depths(story):
    items, _ = story
    end = NOW + 16 * MINUTE
    bare = [item for item in items if isinstance(item, Quote)]
    assert told(OPEN, items, end) == told(OPEN, bare, end)


@given(stories())
def test_gate__on__never_lets_a_thin_source_count_and_changes_nothing_that_is_remembered(story):
    items, _ = story
    end = NOW + 16 * MINUTE
    (gated, names), (_, open_names) = told(RULE, items, end), told(OPEN, items, end)
    assert names == open_names
    depths = Depths(RULE)
    depths.add(item for item in items if isinstance(item, Depth))
    for answer, now in zip(gated, range(NOW + MINUTE, end + 1, MINUTE), strict=True):
        thin = {source for source, reason in answer.set_aside if reason.startswith("thin")}
        assert thin.isdisjoint(answer.sources)
        if now == end:
            assert all(not depths.thin(source, Micros(now)) for source in answer.sources)


@given(stories())
def test_gate__all_books_deep_enough__answers_are_those_of_the_open_gate(story):
    items, _ = story
    end = NOW + 16 * MINUTE
    deep = [book(name, 1e9, ts=Micros(now - 1), known_at=Micros(now - 1)) for name in "abcde"
            for now in range(NOW + MINUTE, end + 1, MINUTE)]  # fmt: skip
    quotes = [item for item in items if isinstance(item, Quote)]
    assert told(RULE, [*quotes, *deep], end) == told(OPEN, quotes, end)


@given(stories())
def test_depths__any_order_of_arrival__cost_is_the_same(story):
    items, rng = story
    given_ = [item for item in items if isinstance(item, Depth)][-KEPT:]
    one, other = Depths(RULE), Depths(RULE)
    one.add(given_)
    rng.shuffle(given_)
    other.add(given_ * 2)
    at = Micros(NOW + 15 * MINUTE)
    assert [one.cost(name, at) for name in "abcde"] == [other.cost(name, at) for name in "abcde"]


def test_depths__fed_for_ever__stay_bounded():
    depths = Depths(RULE)
    for step in range(10 * KEPT):
        depths.add([book("x", 1e6, known_at=Micros(NOW + step), ts=Micros(NOW + step))])
    assert len(depths.known) == KEPT


def test_depths__other_symbol__raises():
    with pytest.raises(MixedSymbols, match="ETH/USD"):
        Depths(RULE).add([book("x", 1.0, symbol="ETH/USD")])


@pytest.mark.parametrize("given_", [0.0, -1.0, math.nan, math.inf])
def test_rule__min_depth_out_of_range__raises_and_names_it(given_):
    with pytest.raises(BadRule, match="min_depth"):
        replace(OPEN, min_depth=given_)


def test_market__gate_is_for_its_own_market__legs_are_not_gated():
    rule = replace(RULE, expected=("a",), bookless=())
    market = Market(rule, {"BTC/USDT": ("t",), "USDT/USD": ("t",)})
    market.add([quote("a", 100.0), replace(quote("t", 130.0), symbol="BTC/USDT")])
    market.add([replace(quote("t", 1.0), symbol="USDT/USD")])
    market.add_depth([book("a", 1e6), book("z", 1.0, symbol="ETH/USD")])
    answer = market.at(NOW)
    assert answer.price == 100.0 and any(flag.startswith("cross") for flag in answer.flags)


def test_market__derived_symbol_with_min_depth__raises_and_names_it():
    with pytest.raises(BadRule, match="min_depth"):
        Market(RULE, {"BTC/USDT": ("t",), "USDT/USD": ("t",)})
