"""`dodona store`, and the files that a node's polls leave behind."""

import errno
import os
import sys
import time

import pytest

from feeds.store import Store
from feeds.types import SECOND, Micros, Quote
from oracle import cli
from oracle.intake import Intake

DAY = 86_400 * SECOND
NOW = Micros(time.time_ns() // 1000)
LATER = Micros(NOW + DAY)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


def quote(days_ago):
    known = Micros(NOW - days_ago * DAY)
    return Quote("a", "X", 1.0, None, known, known)


@pytest.fixture
def folder(tmp_path):
    """Five files: quotes of 5, 4, 3, 2 and 1 days ago."""
    store = Store(tmp_path / "quotes")
    for days_ago in (5, 4, 3, 2, 1):
        store.append([quote(days_ago)])
    store.close()
    return tmp_path / "quotes"


def dodona(capsys, monkeypatch, *arguments):
    """Exit code and everything printed."""
    monkeypatch.setattr(sys, "argv", ["dodona", "store", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out + said.err


def test_compact__store_of_many_files__few_and_the_same_quotes(folder, capsys, monkeypatch):
    before = Store(folder).as_of(LATER)
    code, said = dodona(capsys, monkeypatch, "compact", folder)
    assert code == 0 and said.startswith("merged ")
    assert len(list(folder.rglob("*.parquet"))) == len(list(folder.glob("*-*/")))
    assert Store(folder).as_of(LATER).equals(before)
    files = len(list(folder.rglob("*.parquet")))
    assert dodona(capsys, monkeypatch, "verify", folder) == (0, f"{files} files, each as it was written\n")


def test_retain__archive__old_files_move_there(folder, tmp_path, capsys, monkeypatch):
    code, said = dodona(capsys, monkeypatch, "retain", folder, "--older-than", 3, "--archive", tmp_path / "old")
    assert (code, said) == (0, f"removed 3 files with 3 quotes, copies in {tmp_path / 'old'}\n")
    assert len(Store(folder).as_of(LATER)) == 2 and len(Store(tmp_path / "old").as_of(LATER)) == 3


def test_retain__drop__old_files_go(folder, capsys, monkeypatch):
    assert dodona(capsys, monkeypatch, "retain", folder, "--older-than", 3, "--drop")[0] == 0
    assert len(Store(folder).as_of(LATER)) == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("retain", "{folder}", "--older-than", "1"), "either --archive FOLDER or --drop"),
        (("retain", "{folder}", "--older-than", "1", "--drop", "--archive", "x"), "either --archive FOLDER or --drop"),
        (("retain", "{folder}", "--older-than", "1", "--archive", "{folder}/."), "the store itself"),
        (("retain", "{folder}", "--older-than", "0", "--drop"), "older-than"),
        (("retain", "{folder}", "--drop"), "older-than"),
        (("compact", "{folder}/nowhere"), "no folder"),
        (("verify", "{folder}/nowhere"), "no folder"),
    ],
)
def test_store__wrong_use__one_line_and_nothing_changed(folder, capsys, monkeypatch, arguments, reason):
    before = sorted(folder.rglob("*"))
    code, said = dodona(capsys, monkeypatch, *(a.format(folder=folder) for a in arguments))
    assert code == 2 and reason in said and said.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_store__damaged_file__named_in_one_line(folder, capsys, monkeypatch):
    file = next(folder.rglob("*.parquet"))
    file.write_bytes(b"")
    code, said = dodona(capsys, monkeypatch, "verify", folder)
    assert code == 2 and file.name in said and said.count("\n") == 1


def taken_in(intake, number):
    known = Micros(NOW + number * SECOND)
    intake.admit([Quote("a", "X", 1.0 + number, None, known, known)], known)
    intake.looked(known)
    intake.save()


def test_save__a_node_polls_on_and_on__few_files(tmp_path):
    intake = Intake(DAY)
    intake.store = Store(tmp_path)
    for number in range(200):
        taken_in(intake, number)
    assert intake.fault is None
    assert len(list(tmp_path.rglob("*.parquet"))) <= 64 and len(intake.store.as_of(LATER)) == 200


def test_save__merging_fails__said_and_every_quote_stored(tmp_path, monkeypatch):
    intake = Intake(DAY)
    intake.store = Store(tmp_path)
    refused = []

    def refuse(path, *rest):
        refused.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    for number in range(31):
        taken_in(intake, number)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        taken_in(intake, 31)
    assert refused and "all quotes are stored" in intake.fault
    assert len(intake.store.as_of(LATER)) == 32
    taken_in(intake, 32)
    assert intake.fault is None and len(intake.store.as_of(LATER)) == 33
