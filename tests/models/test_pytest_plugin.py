"""The fixture as a modeller meets it: test files of his own, run by pytest with the plugin that dodona installs.

One process runs them all (a start costs seconds); each test here looks at one outcome.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.strategies.bundles import random_walk
from tests.strategies.recorded import MONDAY, closes, opens, saved, write_csv

MINE = """
import pytest

pytestmark = pytest.mark.backtest(bundle="walk", data="bars.csv", slots=2)

def test_replayed(backtest):
    result = backtest(slots=3)
    assert result.accepted == len(result.history) == 3
    answer = result.face(0).functions.latestRoundData().call()[1]
    assert answer == round(result.history.price.iloc[-1] * 10**8)

def test_disappointed(backtest):
    backtest()
    result = backtest(slots=1)
    assert result.skill() > 7

def test_setting_unknown(backtest):
    backtest(slotz=2)

def test_bundles_no_list(backtest):
    backtest(bundles="walk")

def test_bundle_no_folder(backtest):
    backtest(bundle=7)

def test_slots_none(backtest):
    backtest(slots=0)

def test_data_missing(backtest):
    backtest(data="none.csv")

def test_bundle_missing(backtest):
    backtest(bundle="none")

@pytest.mark.backtest("walk")
def test_mark_unnamed(backtest):
    backtest()
"""
CONFTEST = """
from models.pytest_plugin import RESULTS

def pytest_sessionfinish(session):
    print("CHAINS KEPT:", sum(len(item.stash.get(RESULTS, [])) for item in session.items))
"""


@dataclass(frozen=True)
class Session:
    """What one run of pytest printed, and the part under each failed test."""

    text: str
    failures: dict[str, str]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:

    folder: Path = tmp_path_factory.mktemp("modeller")
    saved(folder, random_walk(3), "walk", MONDAY)
    write_csv(folder / "bars.csv", opens(800), closes(800))
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_mine.py").write_text(MINE)
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers\nasyncio_default_fixture_loop_scope = function\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    parts = re.split(r"^_{3,} (?:ERROR at setup of )?(test_\w+) _{3,}$", done.stdout, flags=re.M)
    return Session(done.stdout, dict(zip(parts[1::2], parts[2::2], strict=True)))


def test_backtest__mark_and_call__replays_and_call_wins(session: Session) -> None:
    assert "8 failed, 1 passed in" in session.text
    assert "test_replayed" not in session.failures


def test_backtest__assert_fails__score_table_of_each_replay_is_shown(session: Session) -> None:
    text = session.failures["test_disappointed"]
    assert "2 of 2 slots accepted" in text and text.count("1 of 1 slots accepted") >= 1
    assert text.count("on chain, 1 h ahead") == 2 and text.count("ours/theirs") == 4
    assert max(map(len, text.splitlines())) < 250, "no page-long representations"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_setting_unknown", "UsageError: backtest: 'slotz' is no setting, allowed: bundle, bundles, data, slots"),
        ("test_bundles_no_list", "UsageError: backtest: bundles must be a list of folders, given 'walk'; for one say"),
        ("test_bundle_no_folder", "UsageError: backtest: a bundle is named by its folder, given 7"),
        ("test_slots_none", "BacktestError: backtest: slots must be a whole number from 1 to 100000, given 0"),
        ("test_data_missing", "MissingData: none.csv not found in the file system"),
        ("test_bundle_missing", "BundleMissing: cannot read the bundle none: No such file or directory"),
        ("test_mark_unnamed", "UsageError: backtest: name each setting, e.g. bundle='walk'"),
    ],
)
def test_backtest__wrong_setting__one_clear_line(session: Session, name: str, words: str) -> None:
    text = session.failures[name]
    lines = [line for line in text.splitlines() if line.startswith("E ")]
    assert len(lines) == 1 and words in lines[0]
    assert "asyncio" not in text and "prepare" not in text, "frames that a modeller cannot mend"


def test_backtest__session_over__no_chain_is_kept(session: Session) -> None:
    assert "CHAINS KEPT: 0" in session.text


def test_plugin__installed__mark_is_known(pytestconfig: pytest.Config) -> None:
    marks = [str(line) for line in pytestconfig.getini("markers")]
    assert any(line.startswith("backtest(bundle, bundles, data, slots, validators, start):") for line in marks)
