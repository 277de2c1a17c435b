"""What a node takes in: once, never in the past, and so that a restarted node is the one that ran through."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.sources.replay import ReplaySource
from feeds.sources.source import SourceUnavailable
from feeds.store import Store
from feeds.types import SECOND, Micros, Quote
from models.panel import Panel, PanelError
from oracle.config import FeedSettings, QuestionSettings
from oracle.consensus.network import FeedKind
from oracle.errors import LocalFault
from oracle.intake import Intake
from oracle.watch import Sighting, Watch
from tests.strategies.bundles import random_walk
from tests.strategies.networks import HOUR, NAMES, START, at, bars, network, spec

HISTORY = 118
"""Hours before the first look, so that the panel is soon warm."""
KEY = ("EUR/USD", NAMES)
FEEDS = (
    FeedSettings(0, "EUR/USD", NAMES, 2 * HOUR),
    FeedSettings(1, "EUR/USD", NAMES, 2 * HOUR),
    FeedSettings(4, "event", NAMES, 2 * HOUR, question=QuestionSettings("EUR/USD", "1.2", at(125) // 1000)),
)
NETWORK = network(spec(0, FeedKind.PRICE), spec(1, FeedKind.FORECAST), spec(4, FeedKind.EVENT))
BUNDLES = [random_walk(1), random_walk(2, scale=24)]


def panel() -> Panel:
    return Panel(BUNDLES, (HOUR, 24 * HOUR), HOUR)


@dataclass
class Told:
    """A source whose every answer is written down: moment -> quotes (or None: down). It shows no history again."""

    name: str
    answers: dict[Micros, list[Quote] | None]
    symbols = ("EUR/USD",)

    def __repr__(self) -> str:
        later = {now: said for now, said in self.answers.items() if now > at(HISTORY)}
        return f"{self.name}: {later}"

    @property
    def refused(self) -> dict[str, int]:
        return {}

    async def poll(self, now: Micros) -> list[Quote]:
        said = self.answers.get(now, [])
        if said is None:
            raise SourceUnavailable(self.name, "timeout")
        return said

    async def close(self) -> None:
        pass


def watch(sources: list[Told] | list[ReplaySource], folder: Path, now: Micros) -> Watch:
    """As a node starts: what the store knew comes first."""
    node = Watch(FEEDS, sources, {KEY: panel()})
    node.recall(Store(folder), now)
    return node


async def look(node: Watch, now: Micros) -> Sighting:
    await node.poll(now)
    node.save()
    return node.see(NETWORK, 0, now, ({}, {}))


def prints(node: Watch) -> list[str]:
    return [series.panel.fingerprint() for series in node._series.values()]


def replays() -> list[ReplaySource]:
    return [ReplaySource(name, {"EUR/USD": bars(1e-4 * i)}, HOUR * SECOND) for i, name in enumerate(NAMES)]


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Micros], list[Told], set[int]]:
    """Looks, what each source says at them (on time, late, of old times, twice, nothing, down), and the restarts.

    At the first look of a life nothing is late: what is not stored and was known before cannot be told from history.
    """
    steps = draw(st.lists(st.sampled_from([600, 1800, 3600, 3700, 9 * HOUR]), min_size=3, max_size=14))
    looks = [at(HISTORY)]
    for step in steps:
        looks.append(Micros(looks[-1] + step * SECOND))
    restarts = set(draw(st.lists(st.integers(1, len(looks) - 1), max_size=3)))
    told: list[Told] = []
    price, size, lag = (
        st.floats(1.1, 1.3),
        st.sampled_from([0.0, 1.0]),
        st.sampled_from([0, 0, 5, 600, 2 * HOUR, 30 * HOUR]),
    )
    for name in NAMES:
        history = [
            Quote(name, "EUR/USD", 1.2 + 1e-4 * (hour % 7), 1.0, at(hour), at(hour)) for hour in range(1, HISTORY + 1)
        ]
        answers: dict[Micros, list[Quote] | None] = {looks[0]: history}
        before = history[-2:]
        for number, (last, now) in enumerate(itertools.pairwise(looks), 1):
            if name != NAMES[0] and draw(st.integers(0, 4)) == 0:
                answers[now] = None
                continue
            times = [now] if number in restarts else [now, last, Micros(last - 1800 * SECOND)]
            known = [now, *draw(st.lists(st.sampled_from(times), max_size=2))]
            said = [Quote(name, "EUR/USD", draw(price), draw(size), Micros(k - draw(lag) * SECOND), k) for k in known]
            if draw(st.booleans()):
                said += [replace(quote, known_at=now) for quote in before]
            answers[now], before = said, said[-2:]
        told.append(Told(name, answers))
    return looks, told, restarts


@settings(max_examples=15, deadline=None)
@given(story=stories())
async def test_watch__any_story_with_restarts__is_the_one_that_ran_through(
    story: tuple[list[Micros], list[Told], set[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    looks, told, restarts = story
    folder = tmp_path_factory.mktemp("quotes")
    through = watch(told, folder / "through", looks[0])
    stopped = watch(told, folder / "stopped", looks[0])
    for number, now in enumerate(looks):
        if number in restarts:
            again = [Told(t.name, dict(t.answers)) for t in told]
            for source in again:  # a restarted venue client shows its last words once more
                last = next(said for past in reversed(looks[:number]) if (said := source.answers.get(past)))
                if (said := source.answers.get(now)) is not None:
                    source.answers[now] = [replace(quote, known_at=now) for quote in last[-3:]] + said
            stopped = watch(again, folder / "stopped", now)
        seen = await look(through, now)
        after = await look(stopped, now)
        assert not seen.troubles and not after.troubles
        assert after.values == seen.values and prints(stopped) == prints(through)
    rebuilt = watch([], folder / "through", looks[-1])
    assert (await look(rebuilt, looks[-1])).values == seen.values and prints(rebuilt) == prints(through)


async def test_watch__restarted_in_a_replay_even_after_hours_away__says_the_same(tmp_path: Path) -> None:
    through, stopped = watch(replays(), tmp_path / "a", at(118)), watch(replays(), tmp_path / "b", at(118))
    for hour in range(118, 140):
        seen = await look(through, at(hour))
        if hour in (121, 122, 130):
            stopped = watch(replays(), tmp_path / "b", at(hour))
        if hour in (126, 127, 128, 129):
            continue
        after = await look(stopped, at(hour))
        assert after.values == seen.values and prints(stopped) == prints(through)
        if hour == 120:
            assert all(value is not None for value in seen.values)
    assert Store(tmp_path / "b").as_of(at(139)).equals(Store(tmp_path / "a").as_of(at(139)))
    assert len(Store(tmp_path / "b").as_of(at(139))) == 2 * 139


async def test_watch__nothing_new_or_shown_again__writes_nothing(tmp_path: Path) -> None:
    node = watch(replays(), tmp_path, at(120))
    for hour in (120, 120, 121, 121):
        await look(node, at(hour))
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    await look(watch(replays(), tmp_path, at(121)), at(121))
    assert len(list(tmp_path.rglob("*.parquet"))) == 2


async def test_watch__source_of_which_nothing_is_stored__may_bring_its_history(tmp_path: Path) -> None:
    first, second = replays()
    await look(watch([first], tmp_path, at(120)), at(120))
    both = watch([ReplaySource("ask", {"EUR/USD": bars(0.0)}, HOUR * SECOND), second], tmp_path, at(121))
    await look(both, at(121))
    assert len(Store(tmp_path).as_of(at(121))) == 2 * 121


def test_admit__late_quote__is_known_from_the_look_that_brought_it() -> None:
    intake, one = Intake(HOUR * SECOND), Quote("a", "X", 1.0, None, at(1), at(1))
    assert intake.admit([one], at(2)) == [one]
    intake.looked(at(2))
    late = replace(one, price=2.0)
    assert intake.admit([one, late, replace(late, known_at=at(3))], at(3)) == [replace(late, known_at=at(3))]
    intake.looked(at(3))
    back = replace(one, price=3.0, known_at=at(2))
    assert intake.admit([back], at(2)) == [replace(back, known_at=Micros(at(3) + 1))]  # the clock was set back


def test_looked__old_statements__are_forgotten() -> None:
    intake = Intake(HOUR * SECOND)
    for minute in range(5000):
        now = Micros(START * SECOND + minute * 60 * SECOND)
        intake.admit([Quote("a", "X", 1.0, None, now, now)], now)
        intake.looked(now)
    assert len(intake._said) <= 1025


async def test_save__disk_refuses__says_so_and_stores_it_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    node = watch(replays(), tmp_path, at(120))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        sighting = await look(node, at(120))
    assert sighting.values[0] is not None and node.unsaved is not None
    assert "240 quotes are not stored" in node.unsaved and "No space left on device" in node.unsaved
    await look(node, at(121))
    assert node.unsaved is None and len(Store(tmp_path).as_of(at(121))) == 242


async def test_advance__panel_refuses_its_series__is_rebuilt_from_the_store_and_said(tmp_path: Path) -> None:
    through, node = watch(replays(), tmp_path / "a", at(120)), watch(replays(), tmp_path / "b", at(120))
    for hour in range(120, 124):
        seen, other = await look(through, at(hour)), await look(node, at(hour))
        if hour == 121:
            (series,) = node._series.values()
            series._fresh = [replace(quote, price=quote.price * (1 + 2**-50)) for quote in series._fresh]
        if hour == 122:
            assert "rebuilt from the stored quotes" in other.troubles["panel of EUR/USD"]
        else:
            assert not other.troubles
        assert other.values == seen.values and prints(node) == prints(through)


async def test_advance__store_is_damaged_too__abstains_once_a_bar_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = watch(replays(), tmp_path, at(120))
    await look(node, at(120))

    def refuse(*_given: object) -> None:
        raise PanelError("no")

    monkeypatch.setattr(Panel, "step", refuse)
    said = await look(node, at(121))
    assert said.values[1] is None and said.abstained[1][0] == "no_series" and said.values[0] is not None
    assert "cannot be rebuilt" in said.troubles["panel of EUR/USD"]
    monkeypatch.undo()
    resting = await look(node, Micros(at(122) - 1))
    assert resting.values[1] is None and not resting.troubles
    healed = await look(node, at(122))
    assert healed.values[1] is not None and not healed.troubles


async def test_advance__panel_refuses_and_nothing_is_stored__is_a_local_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Watch(FEEDS, replays(), {KEY: panel()})
    await node.poll(at(120))
    node.advance(at(120))
    (series,) = node._series.values()
    series._fresh = [replace(quote, price=2.0) for quote in series._fresh]
    await node.poll(at(121))
    with pytest.raises(LocalFault, match="no quotes are stored"):
        node.advance(at(121))


async def test_watch__eleven_thousand_quotes__recalled_without_writing_one_again(tmp_path: Path) -> None:
    long = [ReplaySource(name, {"EUR/USD": bars(0.0, 5600)}, HOUR * SECOND) for name in NAMES]
    store = Store(tmp_path)
    for source in long:
        store.append(await source.poll(at(5300)))
    for hour in range(5301, 5501):
        store.append([quote for source in long for quote in await source.poll(at(hour))])
    again = [ReplaySource(name, {"EUR/USD": bars(0.0, 5600)}, HOUR * SECOND) for name in NAMES]
    store.verify()
    node = Watch(FEEDS[:1], again, {})
    assert node.recall(store, at(5500)) == 11_000
    await node.poll(at(5500))
    node.save()
    assert len(list(tmp_path.rglob("*.parquet"))) == 202


def test_admit__source_that_dates_its_quotes_far_ahead__memory_stays_bounded() -> None:
    """A lie about the time, another one at each look: a statement is forgotten by its age, and these never get old."""
    intake, now = Intake(span=60 * SECOND), START
    for number in range(5000):
        now = Micros(now + SECOND)
        ahead = Quote("ask", "EUR/USD", 1.25, None, Micros(now + 10**9 * SECOND + number), now)
        assert intake.admit([ahead], now) == [ahead]
        intake.looked(now)
    assert len(intake._said) <= 1024
