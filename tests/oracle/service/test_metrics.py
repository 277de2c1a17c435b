from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.errors import LocalFault
from oracle.service.metrics import MAX_SERIES, Counter, Gauge, Histogram


def test_counter__labels__are_counted_apart() -> None:
    counter = Counter("x_total", "X.", ("rule",))
    counter.add(rule="a")
    counter.add(2, rule="b")
    assert (counter.value(rule="a"), counter.value(rule="b"), counter.value(rule="c"), counter.total()) == (1, 2, 0, 3)
    assert list(counter.expose()) == [
        "# HELP x_total X.",
        "# TYPE x_total counter",
        'x_total{rule="a"} 1',
        'x_total{rule="b"} 2',
    ]


def test_counter__misuse__is_a_local_fault() -> None:
    with pytest.raises(LocalFault):
        Counter("x", "X.").add(-1)
    with pytest.raises(LocalFault):
        Counter("x", "X.", ("rule",)).add(other="a")


def test_counter__endless_labels__end_in_other() -> None:
    counter = Counter("x", "X.", ("peer",))
    for number in range(MAX_SERIES + 50):
        counter.add(peer=str(number))
    assert len(counter.items()) == MAX_SERIES + 1 and counter.value(peer="other") == 50


@given(st.floats())
def test_gauge__any_float__is_written_as_prometheus_reads_it(value: float) -> None:
    gauge = Gauge("x", "X.")
    gauge.set(value)
    text = list(gauge.expose())[-1].removeprefix("x ")
    read = float(text.replace("+Inf", "inf"))
    assert read == value or (math.isnan(read) and math.isnan(value))


@given(st.lists(st.floats(0, 100), max_size=40))
def test_histogram__buckets__are_cumulative_and_inclusive(values: list[float]) -> None:
    histogram = Histogram("x", "X.", (1, 10))
    for value in values:
        histogram.observe(value)
    lines = list(histogram.expose())
    counts = [sum(v <= bound for v in values) for bound in (1, 10, math.inf)]
    assert lines[2:5] == [f'x_bucket{{le="{le}"}} {n}' for le, n in zip(("1", "10", "+Inf"), counts, strict=True)]
    assert histogram.count == len(values) == int(lines[-1].split()[1])
