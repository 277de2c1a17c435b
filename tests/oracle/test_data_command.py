"""`dodona data`: pack, sign, verify, prove and report, from the command line."""

from __future__ import annotations

import json
import sys

import pytest

from feeds.dataset.pack import part_name
from feeds.dataset.read import DataSet
from oracle import cli
from oracle.keys import create_keystore
from tests.strategies.markets import bars
from tests.strategies.tables import quotes, write


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run `dodona data ...` in a folder with quotes.csv, key.json and its password; exit code and all that it said."""
    write(quotes(600), tmp_path / "quotes.csv", "csv")
    create_keystore(tmp_path / "key.json", "secret", light=True)
    (tmp_path / "password").write_text("secret\n")
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["dodona", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    return command


PACK = ("pack", "quotes.csv", "--out", "set", "--name", "quotes", "--licence", "MIT", "--chunk-rows", "8")
SIGNED = ("--keystore", "key.json", "--password-file", "password")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("verify", "set", "--root", "0x12"), "0x and 64 hex digits"),
        (("verify", "--proof", "p.json", "--data", "quotes.csv"), "go with a data set's folder"),
        (("verify", "--proof", "p.json", "--resume"), "go with a data set's folder"),
    ],
)  # fmt: skip
def test_verify__wrongly_asked__told(run, words, says):
    run(*PACK)
    code, said = run(*words)
    assert code == 2 and says in said


def test_data__from_file_to_proof__every_step_says_who_vouches(run, tmp_path):
    code, said = run(*PACK, "--known", "ts+60", *SIGNED)
    dataset = DataSet(tmp_path / "set")
    assert code == 0 and "600 rows, 75 chunks" in said and f"signed by its provider {dataset.manifest.provider}" in said
    code, said = run("verify", "set", "--root", "0x" + dataset.root[2:].upper())
    assert code == 0 and "75 of 75 chunks sound" in said and "signed by" in said
    assert run("verify", "set", "--data", "quotes.csv")[0] == 0
    code, said = run("prove", "set", "--rows", "100:110", "--out", "proof.json")
    assert code == 0 and "chunks 12 to 13" in said and "rows 96 to 111" in said
    code, said = run("verify", "--proof", "proof.json", "--root", dataset.root)
    assert code == 0 and "proven: rows 96 to 111 of 600" in said and "signed by" in said
    assert "give --root" in run("verify", "--proof", "proof.json")[1]
    assert run("verify", "--proof", "proof.json", "--root", "0x" + "00" * 32)[0] == 2
    assert run("prove", "set", "--chunk", "0", "--out", "proof.json") == (
        2, "dodona: proof.json exists already; choose another file\n"
    )  # fmt: skip


def test_verify__damaged_part__named_and_the_rest_counted(run, tmp_path):
    assert "NOT SIGNED: nobody" in run(*PACK)[1]
    (tmp_path / "set" / part_name(1)).write_bytes(b"PAR1")
    (tmp_path / "set" / "../set/stray.txt").write_text("x")
    code, said = run("verify", "set", "--resume")
    assert code == 2 and "64 of 75 chunks sound" in said and "bad: chunks 64-74" in said
    assert f"fetch again: {part_name(1)}" in said and "stray.txt" in said
    assert "64 of them by an earlier check" in run("verify", "set", "--resume")[1]


def test_verify__signature_over_another_manifest__exit_code_2(run, tmp_path):
    run(*PACK, *SIGNED)
    path = tmp_path / "set" / "manifest.json"
    path.write_text(path.read_text().replace('"licence":"MIT"', '"licence":"CC0"'))
    code, said = run("verify", "set")
    assert code == 2 and "WRONG SIGNATURE" in said


def test_sign__later_and_by_the_provider_only(run, tmp_path):
    run(*PACK, "--provider", "0x" + "11" * 20)
    code, said = run("sign", "set", *SIGNED)
    assert code == 2 and "its provider is 0x1111" in said
    run(*("mine" if part == "set" else part for part in PACK), *SIGNED)
    provider = DataSet(tmp_path / "mine").manifest.provider
    run(*("later" if part == "set" else part for part in PACK), "--provider", provider)
    assert run("sign", "later", *SIGNED)[0] == 0 and "signed by" in run("verify", "later")[1]


def test_pack__parent_and_transformation__shown_by_verify(run, tmp_path):
    run(*PACK)
    write(quotes(300, step=120), tmp_path / "half.csv", "csv")
    made = ("pack", "half.csv", "--out", "half", "--name", "half", "--licence", "MIT", "--parent", "set")
    assert run(*made)[0] == 2
    assert run(*made, "--transformation", "every second row", "--in-place")[0] == 0
    code, said = run("verify", "half", "--data", "half.csv")
    assert code == 0 and f"made from {DataSet(tmp_path / 'set').root} (quotes) by every second row" in said
    assert run("verify", "half")[0] == 2, "there are no parts"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("verify",), "either a data set's folder or --proof"), (("verify", "nowhere"), "manifest.json not found"),
        (("verify", "--proof", "quotes.csv"), "proof: file"),
        (("prove", "set", "--out", "x"), "--chunk NUMBER or --rows"),
        (("prove", "set", "--out", "x", "--rows", "5"), "--chunk NUMBER or --rows"),
        (("prove", "set", "--out", "x", "--rows", "9:5"), "rows is '9:5'"),
        (("prove", "set", "--out", "x", "--chunk", "75"), "chunks to prove"),
        ((*PACK[:3], "set", *PACK[4:]), "a new one"),
        ((*PACK, "--password-file", "x"), "a password without a keystore"),
        ((*PACK, "--keystore", "key.json"), "either --password-file or --password-env"),
        ((*PACK[:3], "new", *PACK[4:], "--known", "+60"), "--known '+60'"),
        ((*PACK[:3], "new", *PACK[4:], "--provider", "0x12"), "manifest: provider"),
        (("quality", "nowhere.csv"), "nowhere.csv not found"), (("quality", "key.json"), "JSON"),
    ],
)  # fmt: skip
def test_data__wrong_use__one_line_and_exit_code_2(run, arguments, reason):
    run(*PACK)
    code, said = run(*arguments)
    assert code == 2 and reason in said and said.count("\n") == 1, said


def test_quality__every_form__written_and_strict_says_no(run, tmp_path):
    frame = bars(400)
    frame.loc[7, "close"] = 0.0
    frame.to_csv(tmp_path / "bars.csv", index=False)
    code, said = run("quality", "bars.csv", "--known", "ts+60", "--json", "q.json", "--html", "q.html")
    assert code == 0 and "error zero price | X/USD a" in said
    report = json.loads((tmp_path / "q.json").read_text())
    assert report["counts"]["error"] == 1 and report["findings"][0]["check"] == "zero price"
    assert "zero price" in (tmp_path / "q.html").read_text()
    assert run("quality", "bars.csv", "--strict")[0] == 2
    run("pack", "bars.csv", "--out", "set", "--name", "bars", "--licence", "MIT", "--known", "ts+60")
    code, said = run("quality", "set")
    assert code == 0 and "as_of: asked at 8 moments" in said
