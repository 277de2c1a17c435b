"""Crosses: units that chain, flags that never veto, and stablecoins that move nothing once they have lost their peg."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.cross import UnitMismatch, chain, checked, crosses, derived, units
from feeds.market import Market
from feeds.rule import Fused, FusionRule, Refusal, SetAside
from feeds.sources.source import FeedError
from feeds.types import SECOND, Micros, Quote

MINUTE = 60 * SECOND
START = Micros(1_678_500_000 * SECOND // MINUTE * MINUTE)


def fused(symbol, price, confidence=1e-6):
    return Fused(symbol, price, confidence * price, START, (f"venue {symbol}",), ())


def known(**prices):
    return {name.replace("_", "/"): fused(name.replace("_", "/"), price) for name, price in prices.items()}


def test_chain__legs_as_they_stand_and_inverted__multiply_and_divide():
    answers = known(BTC_USDT=20_000.0, USD_USDT=1.25)
    cross = chain("BTC/USD", ("BTC/USDT", "USD/USDT"), answers)
    assert cross.price == 16_000 and cross.sources == ("venue BTC/USDT", "venue USD/USDT")
    assert chain("USD/BTC", ("USD/USDT", "BTC/USDT"), answers).price == pytest.approx(1 / 16_000)


@pytest.mark.parametrize("legs", [("USDT/USD", "BTC/USDT"), ("BTC/USDT",), ("BTC/USDT", "ETH/USD")])
def test_chain__units_that_do_not_meet__raises(legs):
    with pytest.raises(UnitMismatch):
        chain("BTC/USD", legs, known(BTC_USDT=1.0, USDT_USD=1.0, ETH_USD=1.0))


@given(st.text(max_size=9))
def test_units__any_text__a_pair_or_a_feed_error(text):
    try:
        base, quote = units(text)
    except FeedError:
        return
    assert f"{base}/{quote}" == text and base and quote and base != quote


def test_derived__no_market_of_its_own__over_the_cross():
    answer = derived("BTC/USD", known(BTC_USDT=20_000.0, USDT_USD=1.01))
    assert isinstance(answer, Fused)
    assert answer.price == pytest.approx(20_200) and answer.flags[0].startswith("derived: BTC/USDT x USDT/USD")
    assert answer.sources == ("venue BTC/USDT", "venue USDT/USD")


def test_derived__no_way__refuses_and_keeps_the_reasons():
    answers = {"BTC/USDT": Refusal("BTC/USDT", "min_sources", "no", (), (SetAside("a", "stale: old"),))}
    answer = derived("BTC/USD", answers)
    assert isinstance(answer, Refusal) and answer.set_aside == (("a", "stale: old"),)


@given(st.floats(0.5, 1.5))
def test_derived__stablecoin_whose_ways_disagree__does_not_move_the_price(usdc):
    answers = known(BTC_USDT=20_000.0, USDT_USD=1.0, BTC_USDC=20_000.0, USDC_USD=usdc, USDC_USDT=1.0)
    answer = derived("BTC/USD", answers)
    assert isinstance(answer, Fused)
    if abs(usdc - 1) > 0.0051:
        assert answer.price == 20_000 and "USDC dropped" in " ".join(answer.flags)
    assert answer.price == pytest.approx(20_000, rel=0.0051)


@given(st.floats(1.0, 1e6), st.floats(1.0, 1e6))
def test_checked__cross_disagrees__flags_and_widens_and_never_moves_or_vetoes(direct, cross):
    answers = known(BTC_USD=direct, BTC_USDT=cross, USDT_USD=1.0)
    answer = checked("BTC/USD", answers)
    assert isinstance(answer, Fused) and answer.price == direct
    gap = abs(direct - cross)
    if gap > 0.0051 * direct:
        assert answer.confidence >= 0.999 * gap and answer.flags[0].startswith("cross: BTC/USDT x USDT/USD gives")
    elif gap < 0.0049 * direct:
        assert not answer.flags


@given(st.floats(1.1, 1e6), st.integers(1, 4), st.integers(1, 4))
def test_checked__cross_of_fewer_sources__widens_to_the_limit_and_no_further(times, direct, cross):
    answers = known(BTC_USD=20_000.0, BTC_USDT=20_000.0 * times, USDT_USD=1.0)
    for name, count in (("BTC/USD", direct), ("BTC/USDT", cross), ("USDT/USD", 9)):
        answers[name] = replace(answers[name], sources=tuple(f"{name} {n}" for n in range(count)))
    answer = checked("BTC/USD", answers, 0.05)
    gap = 20_000.0 * (times - 1)
    assert answer.price == 20_000 and answer.flags
    assert answer.confidence == pytest.approx(gap if cross >= direct else min(gap, 1000.0))


def test_checked__symbol_that_is_no_pair_or_refused__stays():
    answers = {"event": fused("event", 1.0), "A/B": Refusal("A/B", "min_sources", "no", (), ())}
    assert checked("event", answers) == answers["event"] and checked("A/B", answers) == answers["A/B"]


def test_crosses__many_symbols__visit_no_unit_twice():
    names = [f"{a}/{b}" for a in "ABCDE" for b in "ABCDE" if a < b]
    found, _ = crosses("A/B", {name: fused(name, 1.0) for name in names})
    assert all(len(cross.legs) <= 3 and "A/B" not in cross.legs for cross in found)
    assert len(found) == 3 + 6


def quote(source, symbol, price, slot, size=1.0):
    at = Micros(START + slot * MINUTE)
    return Quote(source, symbol, price, size, at, at)


def test_market__lone_source_stands_still_while_its_companion_moves__is_frozen():
    rule = FusionRule("ETH/USDT", max_age=10 * MINUTE, slot=MINUTE, expected=("b",))
    market = Market(rule, {"ETH/USD": ("a",)})
    for slot in range(1, 40):
        market.add([quote("a", "ETH/USD", 100.0 + 0.05 * slot, slot)])
        market.add([quote("b", "ETH/USDT", 100.0, slot, 1.0 if slot < 10 else 0.0)])
        answer = market.at(Micros(START + slot * MINUTE))
    assert market.named == {("ETH/USDT", "b"): "frozen"} and isinstance(answer, Refusal)
    assert [alarm.kind for alarm in market.alarms()] == ["frozen"] and not market.alarms()


def test_market__depeg_with_one_direct_source__followed_in_the_slot_with_crosses_flagged():
    rule = FusionRule("USDC/USD", max_age=10 * MINUTE, slot=MINUTE, expected=("k",))
    market = Market(rule, {"USDC/USDT": ("b",), "USDT/USD": ("k",)})
    for slot in range(1, 60):
        book = 1.0 if slot < 30 else max(0.874, 1.0 - 0.01 * (slot - 29))
        market.add([quote("k", "USDC/USD", book, slot, 0.01 if slot >= 30 else 1.0)])
        market.add([quote("b", "USDC/USDT", 1.0, slot), quote("k", "USDT/USD", 1.0, slot)])
        answer = market.at(Micros(START + slot * MINUTE))
        assert isinstance(answer, Fused) and answer.price == book
    assert answer.flags and answer.confidence > 0.12


def test_market__derived_symbol_that_is_no_pair__raises():
    with pytest.raises(UnitMismatch):
        Market(FusionRule("event", max_age=MINUTE), {"BTC/USD": ("a",)})
