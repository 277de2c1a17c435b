"""Fusion over time: names, holds, and a memory that does not hang on when it was begun."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.monitor import PERIOD, WARM_UP, Monitor
from feeds.rule import Fused, FusionRule, Refusal
from feeds.sources.source import MixedSymbols
from feeds.types import SECOND, Micros, Quote

MINUTE = 60 * SECOND
PERIOD_START = Micros(1_678_500_000 * SECOND // (PERIOD * MINUTE) * PERIOD * MINUTE)
START = Micros(PERIOD_START + 300 * MINUTE)
RULE = FusionRule("BTC/USD", max_age=10 * MINUTE, slot=MINUTE)


def quote(source, price, slot, size=1.0, start=START):
    at = Micros(start + slot * MINUTE)
    return Quote(source, "BTC/USD", float(price), size, at, at)


def told(monitor, slots, **by_source):
    """Feed slots 1 to `slots`; each source is a function from slot to (price, size), a price, or None. The answers."""
    answers = []
    for slot in range(1, slots + 1):
        for source, say in by_source.items():
            said = say(slot)
            if said is not None:
                price, size = said if isinstance(said, tuple) else (said, 1.0)
                monitor.add([quote(source, price, slot, size)])
        answers.append(monitor.at(Micros(START + slot * MINUTE)))
    return answers


def steady(price=100.0, wiggle=0.01):
    return lambda slot: price + wiggle * (slot % 3)


def kinds(monitor):
    return [(alarm.source, alarm.kind) for alarm in monitor.alarms]


@pytest.mark.parametrize(
    ("fault", "kind", "slots"),
    [
        (lambda slot: None if slot > 20 else 100.0, "dead", 11),
        (lambda slot: (100.0, 0.0) if slot > 20 else 100.0, "frozen", 10),
        (lambda slot: 100.0 * (1.003 if slot > 20 else 1.0), "drifting", 10),
        (lambda slot: 1000.0 if slot > 20 else 100.0, "drifting", 10),
    ],
)
def test_monitor__fault_from_slot_21__named_once_and_within_ten_slots_of_onset(fault, kind, slots):
    monitor = Monitor(RULE)
    walk = lambda slot: 100.0 + max(0, slot - 20) * 0.02  # noqa: E731
    given_fault = fault if kind != "drifting" else (lambda slot: fault(slot) * walk(slot) / 100.0)
    answers = told(monitor, 20 + slots, a=walk, b=walk, c=walk, x=given_fault)
    assert kinds(monitor) == [("x", kind)]
    assert all(99.9 < answer.price < 101 for answer in answers)
    assert dict(answers[-1].set_aside)["x"].startswith(kind)


def test_monitor__drift_back_at_the_others__name_is_withdrawn():
    monitor = Monitor(RULE)
    told(monitor, 60, a=steady(), b=steady(), c=steady(), x=lambda slot: 100.4 if 20 < slot < 40 else 100.0)
    assert kinds(monitor) == [("x", "drifting")] and not monitor.named


def test_monitor__two_sources_apart__neither_is_named():
    monitor = Monitor(RULE)
    told(monitor, 40, a=steady(), x=lambda slot: 100.0 * (1.003 if slot > 20 else 1.0))
    assert not monitor.alarms


def test_monitor__drifter_left_with_one_other__stays_aside_until_company_is_back():
    monitor = Monitor(RULE)
    gone = lambda slot: 100.0 if slot <= 35 or slot > 60 else None  # noqa: E731
    answers = told(monitor, 55, a=steady(), b=gone, x=lambda slot: 100.4 if slot > 20 else 100.0)
    assert answers[-1].sources == ("a",) and dict(answers[-1].set_aside)["x"].startswith("drifting")


def test_monitor__slow_but_regular_source__is_not_dead_within_three_of_its_own_gaps():
    monitor = Monitor(RULE)
    slow = lambda slot: 100.0 if slot % 8 == 0 and slot <= 80 else None  # noqa: E731
    told(monitor, 80 + 24, a=steady(), slow=slow)
    assert not monitor.alarms
    monitor.at(Micros(START + 105 * MINUTE))
    assert kinds(monitor)[0] == ("slow", "dead")


def test_monitor__one_slot_aside__is_no_alarm():
    monitor = Monitor(RULE)
    answers = told(monitor, 40, a=steady(), b=steady(), c=steady(), x=lambda slot: 640.0 if slot == 30 else 100.0)
    assert dict(answers[29].set_aside)["x"].startswith("jump") and not monitor.alarms
    assert answers[30].sources == ("a", "b", "c", "x")


def lone(after, size=1.0, before=1.0):
    """A lone source at 100 for 30 slots, then `after`."""
    monitor = Monitor(RULE)
    said = lambda slot: (100.0, before) if slot <= 30 else (after[min(slot - 31, len(after) - 1)], size)  # noqa: E731
    return told(monitor, 30 + len(after), a=said)[30:]


def test_monitor__lone_source_jumps_on_little_volume__held_until_a_second_trade_beside_it():
    held, followed = lone([90.0, 90.1], size=0.1)
    assert held.price == 100.0 and held.flags[0].startswith("held")
    assert followed.price == 90.1 and not followed.flags


def test_monitor__lone_source_jumps_and_comes_half_back__is_not_confirmed():
    assert [answer.price for answer in lone([90.0, 93.0, 99.9], size=0.1)] == [100.0, 100.0, 99.9]


@pytest.mark.parametrize("size", [None, 1.0, 7.0])
def test_monitor__lone_source_jumps_on_usual_volume_or_by_its_book__followed_in_the_same_slot(size):
    assert lone([90.0], size=size)[0].price == 90.0


def test_monitor__lone_source_crashes_two_per_cent_a_slot__followed_in_every_slot():
    path = [100.0 * 0.98**step for step in range(1, 40)]
    assert [answer.price for answer in lone(path, size=0.01)] == path


@pytest.mark.parametrize("size", [0.1, 50.0, None])
def test_monitor__one_of_two_jumps__held_whatever_its_volume(size):
    monitor = Monitor(RULE)
    answers = told(monitor, 31, a=steady(), x=lambda slot: (119.0, size) if slot > 30 else (100.0, 1.0))
    assert answers[-1].sources == ("a",)


def test_monitor__most_sources_jump_at_once__followed_at_once():
    monitor = Monitor(RULE)
    crash = lambda slot: (80.0, 0.01) if slot > 30 else (100.0, 1.0)  # noqa: E731
    answers = told(monitor, 31, a=steady(), x=crash, y=crash)
    assert answers[-1].price == 80.0


def test_monitor__price_of_an_earlier_slot_beside_three_of_this__is_quiet():
    answers = told(Monitor(RULE), 21, a=steady(), b=steady(), c=steady(), x=lambda slot: 100.1 if slot < 21 else None)
    assert "x" in answers[19].sources
    assert answers[20].sources == ("a", "b", "c") and dict(answers[20].set_aside)["x"].startswith("quiet: last trade")


def test_monitor__flat_at_zero_volume_beside_three_that_trade__is_quiet_from_its_first_slot():
    frozen = lambda slot: (100.0, 1.0 if slot < 21 else 0.0)  # noqa: E731
    answers = told(Monitor(RULE), 21, a=steady(), b=steady(), c=steady(), x=frozen)
    assert answers[20].sources == ("a", "b", "c") and dict(answers[20].set_aside)["x"].startswith("quiet")


@pytest.mark.parametrize("wrong", [None, 1000.0, 101.0])
def test_monitor__two_of_this_slot_and_one_that_is_wrong__earlier_prices_count_as_without_it(wrong):
    old = lambda slot: 100.1 if slot < 21 else None  # noqa: E731
    beside = {"a": steady(), "b": steady(), "c": old}
    answers = told(Monitor(RULE), 21, **beside, x=lambda slot: 100.0 if slot < 21 else wrong)
    without = told(Monitor(RULE), 21, **beside)
    assert "c" in answers[20].sources
    if wrong is not None:
        assert (answers[20].price, answers[20].sources) == (without[20].price, without[20].sources)


def test_monitor__two_against_two__neither_camp_is_set_aside():
    off = lambda slot: 100.4 if slot > 20 else 100.0  # noqa: E731
    answers = told(Monitor(RULE), 60, a=lambda slot: 100.0, b=lambda slot: 100.0, x=off, y=off)
    assert all(answer.price == pytest.approx(100.2) for answer in answers[30:])
    assert all(answer.confidence > 0.2 for answer in answers[30:])


def test_monitor__others_move_apart__flat_source_is_frozen_though_their_middle_stands():
    monitor = Monitor(RULE)
    away = lambda slot: max(0, slot - 20) * 0.02  # noqa: E731
    flat = lambda slot: (100.0, 1.0 if slot <= 20 else 0.0)  # noqa: E731
    told(monitor, 32, a=lambda slot: 100.0 + away(slot), b=lambda slot: 100.0 - away(slot), x=flat)
    assert ("x", "frozen") in kinds(monitor)


def test_monitor__nobody_live__refuses():
    monitor = Monitor(RULE)
    told(monitor, 5, a=steady())
    assert isinstance(monitor.at(Micros(START + 60 * MINUTE)), Refusal)


def test_monitor__other_symbol__raises():
    with pytest.raises(MixedSymbols):
        Monitor(RULE).add([replace(quote("a", 1, 1), symbol="ETH/USD")])


@st.composite
def stories(draw):
    """Seeded quotes of four sources over some slots around a change of memory, with faults of every kind."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    first = draw(st.sampled_from([-WARM_UP - 30, -WARM_UP, -WARM_UP + 1, -100, -20, 0, 20]))
    quotes, price = [], 100.0
    shape = {name: rng.choice(["sound", "flat", "drift", "gone", "thin", "jumpy"]) for name in "abcd"}
    for slot in range(first, first + draw(st.sampled_from([40, 400]))):
        price *= 1 + rng.gauss(0, 1e-3)
        for name, kind in shape.items():
            late = slot > first + 25
            at = Micros(PERIOD_START + slot * MINUTE + rng.randrange(1, MINUTE))
            said, size = price * (1 + rng.gauss(0, 5e-4)), rng.choice([None, 1.0, rng.expovariate(1)])
            if kind == "flat" and late:
                said, size = 100.0, 0.0
            elif kind == "drift" and late:
                said *= 1.004
            elif kind == "jumpy" and rng.random() < 0.1:
                said *= 1.2
            if not ((kind == "gone" and late) or (kind == "thin" and rng.random() < 0.8)):
                quotes.append(Quote(name, "BTC/USD", said, size, at, at))
    return quotes


@given(stories(), st.randoms(use_true_random=False))
def test_monitor__begun_at_any_time_and_asked_at_any_moments__answers_the_same(quotes, rng):
    rule = replace(RULE, expected=("a", "b", "e"))
    end = Micros(quotes[-1].known_at + rng.randrange(20 * MINUTE))
    through, waiting, now = Monitor(rule), list(quotes), quotes[0].known_at
    while now < end:
        now = min(end, Micros(now + rng.choice([MINUTE // 7, MINUTE, 5 * MINUTE, 90 * MINUTE])))
        through.add(q for q in waiting if q.known_at <= now)
        waiting = [q for q in waiting if q.known_at > now]
        seen = through.at(now)
    shuffled = [q for q in quotes if q.known_at > Monitor.since(rule, end)]
    rng.shuffle(shuffled)
    again = Monitor(rule)
    again.add(shuffled)
    assert again.at(end) == seen and again.named == through.named
    if isinstance(seen, Fused):
        assert set(seen.sources).isdisjoint(source for source, _ in seen.set_aside)


@given(stories())
def test_monitor__quotes_known_later__change_nothing(quotes):
    middle = quotes[len(quotes) // 2].known_at
    one, other = Monitor(RULE), Monitor(RULE)
    one.add(quotes)
    other.add(q for q in quotes if q.known_at <= middle)
    assert one.at(middle) == other.at(middle)


def test_monitor__quote_known_before_a_moment_asked_about__is_said_to_be_late():
    monitor = Monitor(RULE)
    assert monitor.add([quote("a", 100, 5)])
    monitor.at(Micros(START + 6 * MINUTE))
    assert not monitor.add([quote("b", 100, 4)])
    assert monitor.add([quote("b", 100, 7)])


def test_monitor__idle_for_many_periods__forgets_and_goes_on():
    monitor = Monitor(RULE)
    told(monitor, 5, a=steady())
    far = 20 * PERIOD
    assert isinstance(monitor.at(Micros(START + far * MINUTE)), Refusal)
    monitor.add([quote("a", 50, far + 1)])
    assert monitor.at(Micros(START + (far + 1) * MINUTE)).price == 50.0
