"""`dodona model train` and `score`, and the recipes that they read."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.bundle import load
from models.recipes import DEMO_RECIPES
from oracle import cli
from oracle.errors import ConfigError
from oracle.recipes import load_recipe
from oracle.recorded import DataUnfit, load_closes, recorded_sources
from tests.strategies.recorded import HOUR, MONDAY, closes, opens, write_csv

RECIPE = """
name = "mine"
owner = "0x0101010101010101010101010101010101010101"
family = "forest"
horizons = [3600]
seed = 7
licence = "CC-BY-4.0"
folds = 2
valid_share = 0.2

[features]
names = ["scale.48", "volatility.6", "absolute.0", "hour_sin.1"]

[settings]
symmetric = 1
learning_rate = 0.1
leaves = 4
rounds = 10
least = 20
share = 1
patience = 5
"""
CUT = "2017-04-03"
CUT_S = int(datetime(2017, 4, 3, tzinfo=UTC).timestamp())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(RECIPE)
    write_csv(tmp_path / "bars.csv", opens(800), closes(800))
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def _run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dodona", "model", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return _run


def train(run, place: Path, *more: object) -> tuple[int, str, str]:
    words = ("train", place / "mine.toml", "--data", place / "bars.csv", "--until", CUT, "--out", place / "mine")
    return run(*words, *more)


def test_model_train__recipe_and_cut__bundle_that_says_until_when(run, place: Path) -> None:
    code, out, err = train(run, place)
    assert code == 0, err
    bundle = load(place / "mine")
    assert bundle.hash in out and "crps_vs_random_walk.3600" in out and "train mine" in err
    known = [int(at) + HOUR for at in opens(800) if at + HOUR < CUT_S]
    assert bundle.manifest.trained_until == known[-1]
    assert (bundle.manifest.name, bundle.manifest.licence, bundle.manifest.seed) == ("mine", "CC-BY-4.0", 7)
    code, out, _ = run("list", place / "mine")
    assert code == 0 and "trained until 2017-03-31T21:00Z" in out
    first = bundle.hash
    assert train(run, place, "--out", place / "again")[0] == 0
    assert load(place / "again").hash == first


def test_model_train__folder_exists__refused_before_any_work(run, place: Path) -> None:
    (place / "mine").mkdir()
    code, _, err = train(run, place)
    assert code == 2 and "already exists" in err and "train mine" not in err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--until", "gestern"), "--until: 'gestern' is no date"),
        (("--until", "2017-03-08"), "closes of EUR/USD before 2017-03-08"),
        (("--symbol", "ETH/USD"), "0 sources have ETH/USD"),
        (("--data", "nowhere.csv"), "nowhere.csv not found"),
    ],
)
def test_model_train__unfit__one_line_and_nothing_written(run, place: Path, more, words: str) -> None:
    code, _, err = train(run, place, *more)
    line = err.splitlines()[-1]
    assert code == 2 and line.startswith("dodona: ") and words in line
    assert not (place / "mine").exists()


def test_model_score__after_training__table_and_before_it__said(run, place: Path) -> None:
    assert train(run, place)[0] == 0
    code, out, _ = run("score", place / "mine", "--data", place / "bars.csv")
    assert code == 0 and out.startswith("mine, 1 h ahead:") and "random walk" in out
    code, out, _ = run("score", place / "mine", "--data", place / "bars.csv", "--start", "2017-03-20")
    assert code == 0 and out.startswith("NOT EVIDENCE: mine was trained until 2017-03-31T21:00Z")
    code, _, err = run("score", place / "mine", "--data", place / "bars.csv", "--start", "2030-01-01")
    assert code == 2 and "give longer data" in err


def test_load_recipe__name_of_the_demo__is_that_recipe() -> None:
    assert load_recipe("aletheia-forest") is next(r for r in DEMO_RECIPES if r.name == "aletheia-forest")
    with pytest.raises(ConfigError, match="one of aletheia-walk-fast"):
        load_recipe("aletheia-forst")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("leaves = 4", "leaves = 1", "settings.leaves: given 1, allowed: a whole number from 2 to 255"),
        ("leaves = 4", "leafs = 4", "settings.leaves: given nothing"),
        ("patience = 5", "patience = 5\npatient = 1", "settings.patient"),
        ("learning_rate = 0.1", "learning_rate = nan", "settings.learning_rate: given nan, allowed: a number from"),
        ("share = 1", 'share = "1"', "settings.share: given '1'"),
        ("horizons = [3600]", "horizons = [7200, 3600]", "one or more rising numbers of seconds"),
        ("horizons = [3600]", "horizons = [0]", "horizons: given [0], allowed: a list of at most 8 whole numbers"),
        ('"scale.48", ', "", "features.names"),
        ('"forest"', '"gru"', 'family: given \'gru\', allowed: one of "random_walk", "forest", "tcn"'),
        ("seed = 7", "seed = 7\nsede = 7", "Did you mean `seed`?"),
    ],
)
def test_load_recipe__wrong_setting__file_key_and_bounds_named(place: Path, old: str, new: str, words: str) -> None:
    path = place / "bad.toml"
    path.write_text(RECIPE.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(path))
    assert words in str(caught.value) and "bad.toml" in str(caught.value)


def test_recorded_sources__narrower_bars__read_at_their_own_width(tmp_path: Path) -> None:
    close = closes(800)
    quarters = write_csv(tmp_path / "quarters.csv", MONDAY + 900 * (opens(800) - MONDAY) // HOUR, close)
    assert [(item.name, item.width_s) for item in recorded_sources(quarters, "EUR/USD", HOUR)] == [
        ("a", 900),
        ("b", 900),
    ]
    series = load_closes(quarters, "EUR/USD", HOUR)
    assert series.ts[0] == (MONDAY + HOUR) * 1_000_000
    assert series.close[0] == pytest.approx(sum(close[3]) / 2), (
        "the close of the fourth quarter, known at the full hour"
    )
    with pytest.raises(DataUnfit, match="900 s apart, which does not divide 1200 s"):
        recorded_sources(quarters, "EUR/USD", 1200)
    with pytest.raises(DataUnfit, match="3600 s apart, which does not divide 900 s"):
        recorded_sources("eurusd", "EUR/USD", 900)
    with pytest.raises(DataUnfit, match="holds EUR/USD, not ETH/USD"):
        recorded_sources("eurusd", "ETH/USD", HOUR)
