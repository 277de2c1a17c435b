"""A panel that reads a long past in parts is the panel that read it at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.store import Store, to_frame
from feeds.types import SECOND, Micros, Quote
from models.panel import Panel
from oracle.intake import Intake
from oracle.panel_series import PanelSeries
from tests.strategies.bundles import random_walk
from tests.strategies.networks import HOUR, NAMES, at

KEY = ("EUR/USD", NAMES)
BUNDLES = [random_walk(1)]
HOURS = 40


def series() -> PanelSeries:
    return PanelSeries(KEY, Panel(BUNDLES, (HOUR,), HOUR))


@st.composite
def pasts(draw: st.DrawFn) -> list[Quote]:
    """Quotes in the order in which they came to be known; many at one moment, most of them at the end of an hour."""
    moments = draw(st.lists(st.tuples(st.integers(1, HOURS), st.sampled_from([0, 0, 0, 1, 1800])), max_size=60))
    known = sorted(at(hour) + seconds * SECOND for hour, seconds in moments)
    said = st.tuples(st.sampled_from([*NAMES, "stranger"]), st.sampled_from(["EUR/USD", "X/Y"]), st.integers(1, 9))
    return [
        Quote(source, symbol, 1.0 + step / 100, 1.0, Micros(moment - step), Micros(moment))
        for moment in known
        for source, symbol, step in [draw(said)]
    ]


def cut(frame: pd.DataFrame, cuts: list[int]) -> Iterator[pd.DataFrame]:
    ends = [*sorted(min(c, len(frame)) for c in cuts), len(frame)]
    for low, high in zip([0, *ends], ends, strict=False):
        yield frame.iloc[low:high]


@settings(max_examples=60)
@given(pasts(), st.lists(st.integers(0, 60), max_size=6))
def test_recall__any_cuts__is_the_panel_that_read_all_at_once(quotes: list[Quote], cuts: list[int]) -> None:
    whole, parts, now = series(), series(), at(HOURS + 1)
    whole.add(quotes)
    parts.recall(cut(to_frame(quotes), cuts))
    whole.advance(now)
    parts.advance(now)
    assert parts.panel.fingerprint() == whole.panel.fingerprint()
    assert (parts.step is None) == (whole.step is None)
    later = [Quote(NAMES[0], "EUR/USD", 1.5, 1.0, Micros(now + 1), Micros(now + 1))]
    for one in (whole, parts):
        one.add(later)
        one.advance(at(HOURS + 2))
    assert parts.panel.fingerprint() == whole.panel.fingerprint()


def test_recall__long_past__never_holds_more_than_a_part_and_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    once = pd.concat
    monkeypatch.setattr("pandas.concat", lambda parts, **how: held.append(sum(map(len, parts))) or once(parts, **how))
    hours = [(hour, name) for hour in range(1, 3000) for name in NAMES]
    quotes = [Quote(name, "EUR/USD", 1.0 + hour % 7 / 100, 1.0, at(hour), at(hour)) for hour, name in hours]
    frame = to_frame(quotes)
    one = series()
    one.recall(cut(frame, list(range(0, len(frame), 100))))
    one.advance(at(3001))
    assert one.step is not None and one.step.ts == at(2999)
    assert len(held) > 50 and max(held) <= 100 + 3 * len(NAMES)


def test_history__quotes_not_on_disk_yet__come_in_their_place(tmp_path: Path) -> None:
    intake = Intake(span=HOUR * SECOND)
    intake.store = Store(tmp_path)
    early = Quote("late", "EUR/USD", 1.1, 1.0, at(2), at(2))
    stored = [Quote("a", "EUR/USD", 1.0, 1.0, at(hour), at(hour)) for hour in (1, 3)]
    intake.store.append(stored)
    assert intake.recall(at(4)) == 2 and intake.newest == at(3)
    assert intake.admit([early], at(4)) == [early]
    last = Quote("a", "EUR/USD", 1.2, 1.0, at(5), at(5))
    assert intake.admit([last, Quote("a", "X/Y", 1.0, 1.0, at(5), at(5))], at(5)) != []
    told = pd.concat(list(intake.history("EUR/USD", at(5))))
    assert told["known_at"].tolist() == [at(1), at(2), at(3), at(5)]
    assert told["price"].tolist() == [1.0, 1.1, 1.0, 1.2]
    assert [q.known_at for q in intake.known("EUR/USD", at(4), at(2))] == [at(3), at(2)]
