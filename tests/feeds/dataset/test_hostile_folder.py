"""A folder from a stranger: what lies under our names there is neither followed, waited for, nor parsed for hours."""

from __future__ import annotations

import os
import sys

import pytest

from feeds.dataset.canonical import MAX_VALUES, canonical, parse_canonical
from feeds.dataset.errors import MalformedManifest, UnsupportedData
from feeds.dataset.manifest import MANIFEST, read_manifest
from feeds.dataset.pack import About, pack
from feeds.dataset.verify import verify
from feeds.sources import strict_json
from tests.strategies.tables import quotes, write

NOTE = ".verified.json"


@pytest.fixture
def folder(tmp_path):
    source = write(quotes(40), tmp_path / "q.csv", "csv")
    pack([source], tmp_path / "set", About("quotes", "1", "MIT", chunk_rows=8))
    return tmp_path / "set"


def test_verify__note_is_a_link__what_it_points_to_stays(folder, tmp_path):
    other = tmp_path / "diary"
    other.write_text("mine")
    (folder / NOTE).symlink_to(other)
    assert verify(folder, note=folder / NOTE).sound
    assert other.read_text() == "mine"
    assert verify(folder, note=folder / NOTE).remembered == 5


def test_verify__note_is_a_pipe__not_waited_for(folder):
    os.mkfifo(folder / NOTE)
    assert verify(folder, note=folder / NOTE).sound


def test_read_manifest__link_or_pipe__refused_at_once(folder, tmp_path):
    (folder / MANIFEST).rename(tmp_path / "elsewhere")
    (folder / MANIFEST).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsupportedData, match="symbolic link"):
        read_manifest(folder / MANIFEST)
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)
    with pytest.raises(UnsupportedData, match="no plain file"):
        read_manifest(folder / MANIFEST)


def test_parse_canonical__strings_that_never_end__looked_at_once(monkeypatch):
    seen = []

    class Counted:
        def sub(self, to, data):
            seen.append(len(data))
            return strings.sub(to, data)

    strings = strict_json._STRING
    monkeypatch.setattr(strict_json, "_STRING", Counted())
    data = b'"' + b'\\"[' * 300_000  # a rescan from every quote would take hours
    with pytest.raises(ValueError, match="break off"):
        parse_canonical(data, 1 << 20)
    assert seen and max(seen) == len(data) and len(seen) <= 4


@pytest.mark.parametrize(
    "data", [b"[" + b"0," * MAX_VALUES + b"0]", b"[" * 100_000, b'{"a":' * 50_000, b"[1.0]", b"[1e2]", b"[-0]",
             b"[9223372036854775808]", b'{"a":1,"a":1}', b'{"b":1,"a":1}', b"[1 ]", b'["\\u0041"]', b'"\\ud800"',
             b"NaN"],
)  # fmt: skip
def test_parse_canonical__another_form_or_too_much__refused(data):
    with pytest.raises(ValueError, match=r"^.{3,200}$"):
        parse_canonical(data, 1 << 20)


def test_parse_canonical__brackets_and_commas_in_texts__no_values():
    value = {"licence": "[," * MAX_VALUES}
    assert parse_canonical(canonical(value), 1 << 20) == value


def test_read_manifest__deep_nesting_and_a_high_limit_of_recursion__refused(folder):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        (folder / MANIFEST).write_bytes(b"[" * 500_000)
        with pytest.raises(MalformedManifest, match="nested"):
            read_manifest(folder / MANIFEST)
    finally:
        sys.setrecursionlimit(before)
