"""`dodona data poison` and `dodona data usage`, and the book that `dodona model train` keeps."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from feeds.dataset.manifest import MANIFEST, read_manifest
from models.bundle import load
from models.usage import NOBODY, UsageLog
from oracle import cli
from oracle.keys import HotKey, create_keystore
from tests.oracle.test_model_commands import CUT, CUT_S, RECIPE
from tests.strategies.recorded import HOUR, closes, opens, write_csv

SECRET = (7).to_bytes(32)
PROVIDER = "0x" + HotKey(SECRET).address.hex()
SIGNED = ("--keystore", "key.json", "--password-file", "password")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def _run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dodona", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return _run


@pytest.fixture
def place(tmp_path: Path, run, monkeypatch) -> Path:
    (tmp_path / "mine.toml").write_text(RECIPE)
    write_csv(tmp_path / "bars.csv", opens(800), closes(800))
    create_keystore(tmp_path / "key.json", "secret", secret=SECRET, light=True)
    (tmp_path / "password").write_text("secret\n")
    monkeypatch.chdir(tmp_path)
    pack(run, tmp_path, "set", *SIGNED)
    return tmp_path


def pack(run, place: Path, out: str, *words: str) -> None:
    words = ("--name", "bars", "--licence", "CC0-1.0", "--chunk-rows", "64", *words)
    code, _, err = run("data", "pack", place / "bars.csv", "--out", place / out, *words)
    assert code == 0, err


def train(run, place: Path, data: str, out: str) -> None:
    words = ("--data", place / data, "--until", CUT, "--out", place / out, "--usage", place / "book")
    code, _, err = run("model", "train", place / "mine.toml", *words)
    assert code == 0, err


def written(place: Path) -> list[int]:
    """Times of the rows in the order of the file."""
    lines = (place / "bars.csv").read_text().splitlines()
    column = lines[0].split(",").index("ts")
    return [int(line.split(",")[column]) for line in lines[1:]]


def test_train__on_a_packed_set__same_weights_root_named_and_rows_counted_once(run, place: Path) -> None:
    train(run, place, "set", "mine")
    train(run, place, "set", "again")
    train(run, place, "bars.csv", "plain")
    mine, plain = load(place / "mine"), load(place / "plain")
    root = read_manifest(place / "set" / MANIFEST).root
    assert mine.manifest.data_roots == (*plain.manifest.data_roots, root) and mine.weights_hash == plain.weights_hash
    (count,) = UsageLog(place / "book").counts(root=root)
    used = [row for row, at in enumerate(written(place)) if at + HOUR < CUT_S]
    assert (count.provider, count.runs, count.rows) == (PROVIDER, 1, len(used))
    assert count.chunks == used[-1] // 64 - used[0] // 64 + 1


def test_usage__after_training__counts_and_a_bundle_held_to_them(run, place: Path) -> None:
    train(run, place, "set", "mine")
    code, out, err = run("data", "usage", place / "book", "--bundle", place / "mine", "--json", place / "counts.json")
    assert code == 0, err
    assert PROVIDER in out and "2 uses of 2 data sets" in out and "its roots are those that its runs used" in out
    told = json.loads((place / "counts.json").read_text())
    assert told["head"] == UsageLog(place / "book").head and len(told["counts"]) == 2
    code, out, _ = run("data", "usage", place / "book", "--provider", PROVIDER.upper().replace("X", "x"))
    assert code == 0 and "1 use of 1 data set;" in out
    (place / "book").write_bytes((place / "book").read_bytes().replace(b"rows", b"hows"))
    code, _, err = run("data", "usage", place / "book")
    assert code == 2 and "restore the book" in err


def test_train__provider_only_claimed__booked_under_nobody(run, place: Path) -> None:
    pack(run, place, "claimed", "--provider", PROVIDER)
    train(run, place, "claimed", "mine")
    root = read_manifest(place / "claimed" / MANIFEST).root
    assert [count.provider for count in UsageLog(place / "book").counts(root=root)] == [NOBODY]


def test_train__signature_of_another_manifest__refused(run, place: Path) -> None:
    manifest = read_manifest(place / "set" / MANIFEST)
    (place / "set" / MANIFEST).write_bytes(replace(manifest, licence="mine now").to_bytes())
    words = ("--data", place / "set", "--until", CUT, "--out", place / "mine", "--usage", place / "book")
    code, _, err = run("model", "train", place / "mine.toml", *words)
    assert code == 2 and "WRONG SIGNATURE" in err and not (place / "book").exists()


def test_usage__part_of_a_root__told(run, place: Path) -> None:
    train(run, place, "set", "mine")
    code, _, err = run("data", "usage", place / "book", "--root", "0x12")
    assert code == 2 and "64 hex digits" in err


def test_usage__no_book_or_unknown_bundle__told(run, place: Path) -> None:
    code, _, err = run("data", "usage", place / "book")
    assert code == 2 and "no book of usage there" in err
    train(run, place, "set", "mine")
    code, _, err = run("model", "train", place / "mine.toml", "--until", CUT, "--data", place / "bars.csv", "--out",
                       place / "other")  # fmt: skip
    assert code == 0, err
    code, _, err = run("data", "usage", place / "book", "--bundle", place / "other")
    assert code == 2 and "that no run used" in err


def test_poison__sound_and_spoiled__report_and_exit_code(run, place: Path) -> None:
    code, out, err = run("data", "poison", place / "set", "--strict")
    assert code == 0 and "nothing found, which does not prove it sound" in out, err
    assert "not looked at: EUR/USD: which of its two sources is at fault" in out
    lines = (place / "bars.csv").read_text().splitlines()
    (place / "twice.csv").write_text("\n".join([*lines, *lines[-3:]]) + "\n")
    code, out, err = run("data", "poison", place / "twice.csv", "--strict", "--json", place / "report.json")
    assert code == 2 and "repeated bars" in out and "2 findings" in err
    assert sum(f["rows"] for f in json.loads((place / "report.json").read_text())["findings"]) == 3
    assert run("data", "poison", place / "twice.csv")[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere.csv",), "not found"), (("mine.toml",), "mine.toml"), (("bars.csv", "--budget", "2"), "budget"),
    ],
)  # fmt: skip
def test_poison__nothing_to_look_at__one_line(run, place: Path, words: tuple[str, ...], says: str) -> None:
    code, _, err = run("data", "poison", place / words[0], *words[1:])
    assert code == 2 and says in err.splitlines()[-1]


def test_train__set_without_the_symbol_or_too_narrow_a_width__told(run, place: Path) -> None:
    words = ("--data", place / "set", "--until", CUT, "--out", place / "mine")
    code, _, err = run("model", "train", place / "mine.toml", *words, "--symbol", "ETH/USD")
    assert code == 2 and "ETH/USD" in err
