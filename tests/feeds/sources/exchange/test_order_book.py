"""Order books: what is unsound is refused, and the cost to move is what eating the book level by level costs."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.sources.exchange.order_book import MAX_LEVELS, OrderBook, check_book, cost_to_move
from feeds.sources.source import MalformedQuote

STEPS = st.lists(st.tuples(st.integers(1, 500), st.floats(1e-6, 1e4)), min_size=1, max_size=40)


@st.composite
def books(draw) -> tuple[list[list[float]], list[list[float]]]:
    """Both sides of a sound book around a mid price, in ticks of 0.01."""
    middle = draw(st.integers(10_000, 10_000_000))
    sides = []
    for sign in (-1, 1):
        ticks, side = 0, []
        for step, size in draw(STEPS):
            ticks += step
            price = middle + sign * ticks
            if price > 0:
                side.append([price / 100, size])
        sides.append(side)
    return sides[0] or [[(middle - 1) / 100, 1.0]], sides[1]


def eat(levels, reached) -> tuple[float, bool]:
    """Brute force: trade away one order after the other until the best that is left is far enough."""
    left, paid = list(levels), 0.0
    while left and not reached(left[0][0]):
        price, size = left.pop(0)
        paid += price * size
    return paid, not left


@given(books(), st.floats(0.0, 5_000.0))
def test_cost_to_move__any_sound_book__is_what_eating_it_costs(sides, bps):
    bids, asks = sides
    book = check_book("venue", bids, asks)
    up, down = cost_to_move(book, bps)
    paid_up, short_up = eat(asks, lambda price: price >= book.mid * (1 + bps / 10_000))
    paid_down, short_down = eat(bids, lambda price: price <= book.mid * (1 - bps / 10_000))
    assert up.amount == pytest.approx(paid_up, rel=1e-12) and up.lower_bound is short_up
    assert down.amount == pytest.approx(paid_down, rel=1e-12) and down.lower_bound is short_down


@given(books(), st.floats(0.0, 2_000.0), st.floats(0.0, 2_000.0))
def test_cost_to_move__further__never_costs_less(sides, a, b):
    book = check_book("venue", *sides)
    near, far = (cost_to_move(book, bps) for bps in sorted((a, b)))
    assert all(n.amount <= f.amount and n.lower_bound <= f.lower_bound for n, f in zip(near, far, strict=True))


@given(books())
def test_cost_to_move__more_levels_known__only_raises_a_lower_bound(sides):
    bids, asks = sides
    whole, part = check_book("v", bids, asks), check_book("v", bids[:1], asks[:1])
    for known, more in zip(cost_to_move(part, 100), cost_to_move(whole, 100), strict=True):
        assert more.amount >= known.amount
        assert known.lower_bound or more.amount == known.amount


@given(books())
def test_mid__sound_book__between_the_best(sides):
    book = check_book("venue", *sides)
    assert book.bids[0][0] <= book.mid <= book.asks[0][0]
    assert book.size == book.bids[0][1] + book.asks[0][1]


GOOD = [[99.0, 1.0]], [[101.0, 1.0]]


@pytest.mark.parametrize(
    ("bids", "asks", "what"),
    [
        ([], GOOD[1], "both sides"),
        (GOOD[0], [], "both sides"),
        ([[99.0, 0.0]], GOOD[1], "both sides"),
        ([[101.0, 1.0]], GOOD[1], "uncrossed"),
        ([[102.0, 1.0]], GOOD[1], "uncrossed"),
        ([[98.0, 1.0], [99.0, 1.0]], GOOD[1], "sorted"),
        (GOOD[0], [[101.0, 1.0], [101.0, 2.0]], "sorted"),
        (GOOD[0], [[102.0, 1.0], [101.0, 2.0]], "sorted"),
        ([[math.nan, 1.0]], GOOD[1], "finite"),
        ([[math.inf, 1.0]], GOOD[1], "finite"),
        ([[99.0, math.nan]], GOOD[1], "finite"),
        ([[99.0, -1.0]], GOOD[1], "finite"),
        ([[0.0, 1.0]], GOOD[1], "finite"),
        ([[True, 1.0]], GOOD[1], "finite"),
        ([[10**400, 1.0]], GOOD[1], "finite"),
        ([["99", 1.0]], GOOD[1], "finite"),
        ([[99.0]], GOOD[1], "a price and a size"),
        ([99.0], GOOD[1], "a price and a size"),
        (None, GOOD[1], "a list"),
        ({"99": 1}, GOOD[1], "a list"),
        ([[99.0, 1.0]] * (MAX_LEVELS + 1), GOOD[1], "at most"),
    ],
)
def test_check_book__unsound__refused(bids, asks, what):
    with pytest.raises(MalformedQuote, match=what) as refusal:
        check_book("venue", bids, asks)
    assert refusal.value.field == "book"


def test_check_book__levels_gone_and_extra_columns__left_out():
    book = check_book("venue", [[99, 1, 1678500000], [98.5, 0], [98, 2]], [(101, 3)])
    assert book == OrderBook(bids=((99.0, 1.0), (98.0, 2.0)), asks=((101.0, 3.0),))


def test_cost_to_move__sums_beyond_float__is_infinite_not_an_error():
    book = check_book("venue", [[1e200, 1e200]], [[2e200, 1.0]])
    assert cost_to_move(book, 10_000)[1].amount == math.inf


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=12,
)
LEVELS = st.lists(st.lists(st.floats() | st.integers() | ANYTHING, max_size=3), max_size=4)


@settings(max_examples=300)
@given(ANYTHING | LEVELS, ANYTHING | LEVELS)
def test_check_book__anything__a_book_or_a_feed_error(bids, asks):
    try:
        book = check_book("venue", bids, asks)
    except MalformedQuote:
        return
    assert book.bids[0][0] < book.asks[0][0]
    assert all(cost.amount >= 0.0 for cost in cost_to_move(book, 100))
