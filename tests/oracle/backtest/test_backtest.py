"""A replay is the real system: what is on chain is what the panel said, and nothing of it hangs on the future."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feeds.types import SECOND
from models.bundle import BundleError, load
from models.panel import Panel, track
from oracle.backtest import BacktestError, BacktestResult, Plan, replay
from oracle.backtest import plan as planning
from oracle.recorded import DataUnfit
from tests.strategies.bundles import random_walk
from tests.strategies.recorded import HOUR, MONDAY, closes, opens, saved, two_bundles, write_csv

BARS, FIRST, SLOTS = 800, 581, 8
"""The window begins four hours before a weekend."""
ON_CHAIN = ["at", "price", "confidence", "gas", *(f"q{q}@{h}" for h in (3600, 86400) for q in ("01", "50", "99"))]


def start(bar: int = FIRST) -> datetime:
    return datetime.fromtimestamp(int(opens(BARS)[bar]) + HOUR, UTC)


@dataclass(frozen=True)
class Case:
    plan: Plan
    result: BacktestResult


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("backtest")
    data = write_csv(folder / "bars.csv", opens(BARS), closes(BARS))
    plan = Plan(two_bundles(folder), data, slots=SLOTS, start=start())
    return Case(plan, replay(plan))


def same_on_chain(ours: BacktestResult, theirs: BacktestResult) -> bool:
    return ours.rounds == theirs.rounds and ours.history[ON_CHAIN].equals(theirs.history[ON_CHAIN])


def test_replay__history__is_what_the_panel_said_within_rounding(case: Case) -> None:
    ts, close = (opens(BARS) + HOUR) * SECOND, np.median(closes(BARS), axis=1)
    begins = int(start().timestamp())
    panel = Panel(
        [load(path) for path in case.plan.bundles],
        (3_600, 86_400),
        HOUR,
        learn_from=(begins - planning.WARM_UP_S) * SECOND,
    )
    said = track(panel, ts, close, begins * SECOND, int(ts[FIRST + SLOTS - 1]))
    history = case.result.history
    for row, horizon in enumerate((3_600, 86_400)):
        table = history[[f"q{q:02d}@{horizon}" for q in (1, 5, 10, 25, 50, 75, 90, 95, 99)]].to_numpy()
        assert np.abs(table - said.quantiles[:, row]).max() <= 0.5000001e-6
        np.testing.assert_array_equal(history[f"realised@{horizon}"], said.outcomes[:, row])
    window = slice(FIRST, FIRST + SLOTS)
    assert np.abs(history["price"].to_numpy() - close[window]).max() <= 0.5000001e-8
    np.testing.assert_array_equal(history["at"], pd.to_datetime(ts[window], unit="us", utc=True))


def test_replay__weekend__jumped_over_and_every_slot_accepted(case: Case) -> None:
    result = case.result
    gaps = np.diff(result.history.index.to_numpy())
    assert sorted(set(gaps.tolist())) == [1, 168 - 117 + 1]
    assert result.accepted == len(result.rounds) == SLOTS
    assert all(item.gas > 0 for item in result.rounds)
    assert result.gas_mean == np.mean([item.gas for item in result.rounds])
    assert 100_000 < result.gas_mean < 400_000


def test_face__each_round__agrees_with_history(case: Case) -> None:
    result = case.result
    price = result.face(0)
    assert price.functions.description().call() == "EUR / USD"
    number, answer, observed, _, _ = price.functions.latestRoundData().call()
    last = result.history.iloc[-1]
    assert (number, answer) == (SLOTS, round(last["price"] * 10**8))
    assert last["at"].timestamp() <= observed < last["at"].timestamp() + HOUR
    for place, (slot, row) in enumerate(result.history.iterrows(), start=1):
        assert price.functions.getAnswer(place).call() == round(row["price"] * 10**8)
        assert price.functions.slotOf(place).call() == slot
    forecasts = [spec for spec in result.feeds if spec.is_vector]
    assert [spec.horizon for spec in forecasts] == list(result.horizons) == [3_600, 86_400]
    for spec in forecasts:
        _, components = result.face(spec.number).functions.latestVector().call()
        assert components[0] == round(last[f"q01@{spec.horizon}"] * 10**6)
        assert components[8] == round(last[f"q99@{spec.horizon}"] * 10**6)
    with pytest.raises(BacktestError, match="no feed 3;"):
        result.face(3)


def test_replay__again__equal(case: Case) -> None:
    again = replay(case.plan)
    assert same_on_chain(case.result, again)
    pd.testing.assert_frame_equal(case.result.history, again.history, check_exact=True)
    assert case.result.table() == again.table()


def test_replay__future_changed__history_on_chain_stays(case: Case, tmp_path: Path) -> None:
    close = closes(BARS)
    close[FIRST + SLOTS :] = np.round(close[FIRST + SLOTS :] * 1.5, 6)
    changed = replay(replace(case.plan, data=write_csv(tmp_path / "bars.csv", opens(BARS), close)))
    assert same_on_chain(case.result, changed)
    assert not changed.history["realised@86400"].equals(case.result.history["realised@86400"])


def test_result__scores__are_those_of_the_history(case: Case) -> None:
    result = case.result
    history = result.history.dropna(subset=["realised@3600"])
    inside = history["realised@3600"].between(history["q05@3600"], history["q95@3600"])
    assert result.coverage() == inside.mean() and result.report(3_600).forecasts == len(history)
    assert [row.name for row in result.report().baselines] == ["random walk", "walk", "forest"]
    assert result.skill() == 1 - result.report(3_600).ratio("random walk").ratio
    with pytest.raises(BacktestError, match="nothing 7200 s ahead was scored"):
        result.report(7_200)


def test_result__repr_and_table__short_and_without_caution(case: Case) -> None:
    assert len(repr(case.result)) < 100 and "8 of 8 slots accepted" in repr(case.result)
    assert case.result.cautions == () and "not evidence" in case.result.table()


def test_replay__trained_on_the_window__table_says_so(case: Case, tmp_path: Path) -> None:
    late = int(start(FIRST + 2).timestamp())
    paths = saved(tmp_path, random_walk(3), "walk", late), saved(tmp_path, random_walk(4), "riddle", None)
    result = replay(replace(case.plan, bundles=paths, slots=2, validators=5))
    assert len(result.cautions) == 2
    assert result.cautions[0].startswith("NOT EVIDENCE: walk was trained until 2017-04-")
    assert result.cautions[1].startswith("CAUTION: riddle does not say")
    assert all(line in result.table().splitlines() for line in result.cautions)


def test_replay__no_outcome_in_the_data__not_scored_and_says_so(case: Case) -> None:
    result = replay(replace(case.plan, start=start(BARS - 2), slots=2))
    assert result.accepted == 2 and list(result.reports) == [3_600]
    assert "24 h ahead: not scored" in result.table()


def test_replay__no_start__all_outcomes_are_in_the_data(case: Case) -> None:
    result = replay(replace(case.plan, start=None, slots=2, bundles=case.plan.bundles[:1]))
    last = result.history["at"].iloc[-1].timestamp()
    assert last + 86_400 <= opens(BARS)[-1] + HOUR < last + 86_400 + 2 * HOUR


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bundles": ()}, "no bundle is named"),
        ({"slots": 0}, "slots must be a whole number from 1 to 100000, given 0"),
        ({"slots": "24"}, "slots must be a whole number from 1 to 100000, given '24'"),
        ({"validators": 3}, "validators must be a whole number from 4 to 32, given 3"),
        ({"validators": True}, "validators must be"),
        ({"start": datetime(2017, 4, 1)}, "start must be a datetime with a zone"),
        ({"start": "2017-04-01"}, "start must be a datetime with a zone"),
        ({"start": start(10)}, "500 closes must come before"),
        ({"slots": 5_000}, "give fewer slots or an earlier start"),
        ({"start": None, "slots": 5_000}, "give fewer slots or a later start"),
    ],
)
def test_replay__bad_setting__one_line_without_frames(case: Case, change: dict[str, object], words: str) -> None:
    with pytest.raises(BacktestError) as caught:
        replay(replace(case.plan, **change))  # type: ignore[arg-type]
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert [entry.name for entry in caught.traceback][1:] == ["replay"]


def test_replay__bundle_or_data_unfit__one_line_naming_it(case: Case, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere") as caught:
        replay(replace(case.plan, bundles=(tmp_path / "nowhere",)))
    assert caught.value.__cause__ is None
    minutes = write_csv(tmp_path / "odd.csv", opens(BARS) // HOUR * 7 + MONDAY, closes(BARS))
    with pytest.raises(DataUnfit, match="7 s apart, which does not divide 3600 s"):
        replay(replace(case.plan, data=minutes))
    short = write_csv(tmp_path / "short.csv", opens(300), closes(300))
    with pytest.raises(BacktestError, match="gives 300 closes, 500 must come before"):
        replay(replace(case.plan, data=short))
    text = (tmp_path / "short.csv").read_text().replace("EUR/USD", "ETH/USD")
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(DataUnfit, match=r"0 sources have EUR/USD.*it holds ETH/USD"):
        replay(replace(case.plan, data=tmp_path / "other.csv"))
