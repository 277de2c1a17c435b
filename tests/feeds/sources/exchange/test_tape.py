"""The tape: each trade once, whatever the venue repeats, shuffles, loses or invents; one quote a look."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.sources.exchange.tape import MAX_AHEAD, PROOF, REMEMBERED, Tape
from feeds.sources.source import QuoteGate
from feeds.types import SECOND, Micros

NOW = Micros(1_678_500_000 * SECOND)
BTC = "BTC/USD"


def trade(number, price=20_000.0, size=1.0, ms=None, **changes):
    ms = NOW // 1000 - 10_000 + number if ms is None else ms
    return {"id": str(number), "symbol": BTC, "timestamp": ms, "price": price, "amount": size} | changes


def tape() -> tuple[Tape, QuoteGate]:
    gate = QuoteGate("venue")
    return Tape(BTC, gate), gate


def missed(gate) -> int:
    return gate.refused["missed"]


def test_look__first__states_the_newest_trade_alone():
    book, _ = tape()
    book.add([trade(1, size=5.0), trade(2, price=20_100.0, size=0.5)], NOW)
    quote = book.look(NOW)
    assert (quote.price, quote.size, quote.ts, quote.known_at) == (20_100.0, 0.5, (NOW // 1000 - 9_998) * 1000, NOW)


def test_look__later__sums_what_is_new_since_the_last():
    book, _ = tape()
    book.add([trade(1)], NOW)
    book.look(NOW)
    assert book.add([trade(1), trade(2, size=2.0), trade(3, price=19_900.0, size=0.25)], NOW) == 2
    quote = book.look(NOW)
    assert (quote.price, quote.size) == (19_900.0, 2.25)


def test_look__nothing_traded__last_price_with_size_zero_now():
    book, _ = tape()
    assert book.look(NOW) is None
    book.add([trade(1)], NOW)
    book.look(NOW)
    later = Micros(NOW + SECOND)
    quote = book.look(later)
    assert (quote.price, quote.size, quote.ts, quote.known_at) == (20_000.0, 0.0, later, later)
    assert book.look(later, alive=False) is None


def test_look__trade_published_late__time_never_goes_back():
    book, _ = tape()
    book.add([trade(1)], NOW)
    book.look(NOW)
    silent = book.look(NOW)
    book.add([trade(2, price=19_000.0)], NOW)
    quote = book.look(NOW)
    assert quote.ts == silent.ts + 1 and quote.price == 19_000.0 and quote.size == 1.0


def test_add__late_trade__adds_volume_but_not_its_price():
    book, _ = tape()
    book.add([trade(5, price=20_500.0)], NOW)
    book.look(NOW)
    book.add([trade(4, price=100.0, size=3.0)], NOW)
    quote = book.look(NOW)
    assert (quote.price, quote.size) == (20_500.0, 3.0)


def test_add__without_ids__known_by_time_price_and_size():
    book, _ = tape()
    same = trade(1, id=None)
    assert book.add([same, same], NOW) == 1
    assert book.add([same, trade(1, size=2.0, id=None)], NOW) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"price": 0.0}, "price"),
        ({"price": math.nan}, "price"),
        ({"price": None}, "price"),
        ({"price": "twenty"}, "price"),
        ({"amount": -1.0}, "size"),
        ({"amount": 0.0}, "size"),
        ({"amount": None}, "size"),
        ({"timestamp": None}, "ts"),
        ({"timestamp": "now"}, "ts"),
        ({"timestamp": math.nan}, "ts"),
        ({"timestamp": NOW // SECOND}, "ts"),
        ({"timestamp": (NOW + MAX_AHEAD) // 1000 + 1}, "ts"),
        ({"symbol": "ETH/USD"}, "symbol"),
    ],
)
def test_add__unsound_trade__refused_and_counted(changes, field):
    book, gate = tape()
    assert book.add([trade(1, **changes)], NOW) == 0
    assert book.look(NOW) is None
    assert gate.refused == {field: 1} and gate.last_refusal.field == field


def test_missed__gap_in_ids_that_count_up__counted():
    book, gate = tape()
    book.add([trade(n) for n in range(1, PROOF + 2)], NOW)
    book.add([trade(n) for n in range(PROOF + 5, PROOF + 9)], NOW)
    assert missed(gate) == 3


def test_missed__told_after_all__taken_back():
    book, gate = tape()
    book.add([trade(n) for n in range(2 * PROOF + 2)], NOW)
    book.add([trade(2 * PROOF + 3)], NOW)
    assert missed(gate) == 1
    book.add([trade(2 * PROOF + 2)], NOW)
    assert missed(gate) == 0


def test_missed__ids_that_do_not_count_up__no_claim():
    book, gate = tape()
    for n in range(0, 300, 3):
        book.add([trade(n)], NOW)
    assert missed(gate) == 0


def test_missed__full_answer_without_a_known_trade__at_least_one():
    book, gate = tape()
    book.add([trade(7, id="a")], NOW, full=True)
    book.add([trade(8, id="b"), trade(7, id="a")], NOW, full=True)
    assert missed(gate) == 0
    book.add([trade(9, id="c"), trade(10, id="d")], NOW, full=True)
    assert missed(gate) == 1


def test_add__replayed_after_a_long_time__still_known():
    book, _ = tape()
    for n in range(3 * REMEMBERED):
        book.add([trade(n, ms=NOW // 1000 - 20_000 + n)], NOW)
    assert len(book._known) == len(book._order) == REMEMBERED
    assert book.add([trade(n, ms=NOW // 1000 - 20_000 + n) for n in range(50)], NOW) == 0
    assert (
        book.add([trade(n, ms=NOW // 1000 - 20_000 + n) for n in range(3 * REMEMBERED - 50, 3 * REMEMBERED)], NOW) == 0
    )


SIZES = st.lists(st.integers(1, 1000), min_size=1, max_size=60)


@given(SIZES, st.randoms(use_true_random=False))
def test_tape__shuffled_repeated_batches__volume_and_price_as_if_told_once(sizes, rnd):
    trades = [trade(n, price=100.0 + n, size=float(size)) for n, size in enumerate(sizes, start=1)]
    book, gate = tape()
    book.add([trade(0, price=100.0)], NOW)
    book.look(NOW)
    told = trades + rnd.choices(trades, k=len(trades))
    rnd.shuffle(told)
    quotes = []
    while told:
        cut = rnd.randint(1, len(told))
        book.add(told[:cut], NOW)
        told = told[cut:]
        quotes.append(book.look(NOW))
    assert sum(quote.size for quote in quotes) == sum(sizes)
    assert quotes[-1].price == 100.0 + len(sizes)
    assert [quote.ts for quote in quotes] == sorted({quote.ts for quote in quotes})
    assert set(gate.refused) <= {"missed"}


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.none(), max_size=1)
TRADES = st.fixed_dictionaries(
    {},
    optional={
        "id": JUNK | st.integers(0, 10**20).map(str),
        "symbol": JUNK | st.just(BTC),
        "timestamp": JUNK | st.integers(NOW // 1000 - 10**6, NOW // 1000 + 10**5),
        "price": JUNK | st.floats(1e-9, 1e9),
        "amount": JUNK | st.floats(1e-9, 1e9),
    },
)


@settings(max_examples=300)
@given(st.lists(st.lists(TRADES | JUNK, max_size=5), max_size=5))
def test_tape__anything__sound_quotes_in_order_or_refusals(batches):
    book, gate = tape()
    before = 0
    for batch in batches:
        new = book.add(batch, NOW)
        assert new <= len(batch)
        quote = book.look(NOW)
        if quote is not None:
            assert quote.ts > before and quote.price > 0 and quote.size >= 0
            before = quote.ts
    assert all(count >= 0 for count in gate.refused.values())
