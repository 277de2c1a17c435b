"""The manifest: one text for one meaning, every field within bounds, any bytes a manifest or an error."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.dataset.canonical import canonical
from feeds.dataset.encoding import schema_of
from feeds.dataset.errors import MalformedManifest
from feeds.dataset.manifest import MAX_MANIFEST, Count, Manifest, Parent, TimeColumn, parse_manifest, read_manifest
from feeds.sources.source import MissingData

ROOT = "0x" + "ab" * 32
MANIFEST = Manifest(
    name="btc-usd", version="1.0", licence="CC-BY-4.0", provider="0x" + "11" * 20, root=ROOT, content="0x" + "cd" * 32,
    rows=5, chunks=2, chunk_rows=4, schema=schema_of([("ts", "integer"), ("source", "text"), ("price", "real")]),
    time=TimeColumn("ts", "s"), known=TimeColumn("ts", "s", 60_000_000), span=(10**15, 2 * 10**15),
    known_span=(10**15 + 1, 3 * 10**15), counts=(Count("A", "a", 2), Count("A", "b", 3)),
    parents=(Parent("0x" + "00" * 32, "raw"),), transformation="resample to 1 min",
)  # fmt: skip
OTHERS = {
    "name": "x", "version": "2", "licence": "MIT", "provider": "0x" + "22" * 20, "root": "0x" + "ef" * 32,
    "content": "0x" + "00" * 32, "rows": 6, "span": (1, 2), "known_span": (1, 2), "counts": (), "transformation": "y",
    "schema": schema_of([("ts", "integer"), ("source", "text"), ("price", "text")]), "parents": (),
    "time": TimeColumn("ts", "ms"), "known": TimeColumn("ts", "s", 0),
}  # fmt: skip


def test_manifest__written__comes_back_and_is_canonical():
    for manifest in (MANIFEST, MANIFEST.signed("0x" + "77" * 64)):
        data = manifest.to_bytes()
        assert parse_manifest(data) == manifest and data == canonical(json.loads(data)) + b"\n"


@pytest.mark.parametrize("field", OTHERS)
def test_digest__any_field_changed__differs(field):
    changed = {field: OTHERS[field]} | ({"counts": ()} if field == "rows" else {})
    assert dataclasses.replace(MANIFEST, **changed).digest != MANIFEST.digest


def test_digest__signature__is_no_part_of_it():
    assert MANIFEST.signed("0x" + "77" * 64).digest == MANIFEST.digest


@pytest.mark.parametrize(
    ("field", "given_"),
    [
        ("name", "../x"), ("name", ""), ("name", "a/b"), ("version", "v 1"), ("licence", ""), ("licence", "x" * 4097),
        ("licence", "a\x1b[2J"), ("provider", "0x" + "AA" * 20), ("root", "ab" * 32), ("content", None), ("rows", 0),
        ("rows", True), ("chunks", 3), ("chunk_rows", 0), ("chunk_rows", 1 << 17), ("span", None), ("span", (2, 1)),
        ("known_span", (0, 2**62)), ("counts", (Count("A", "a", 2),)), ("counts", MANIFEST.counts[::-1]),
        ("parents", (Parent(ROOT, "itself"),)), ("parents", (Parent("0x", "raw"),)), ("transformation", ""),
        ("time", TimeColumn("price", "s")), ("time", TimeColumn("nowhere", "s")), ("time", TimeColumn("ts", "min")),
        ("known", TimeColumn("ts", "s", -1)), ("known", None), ("signature", "0x12"),
    ],
)  # fmt: skip
def test_manifest__field_out_of_bounds__refused_by_name(field, given_):
    with pytest.raises(MalformedManifest):
        dataclasses.replace(MANIFEST, **{field: given_})


def test_parse__another_form_of_the_same__refused():
    fields = MANIFEST.as_json()
    texts = [
        json.dumps(fields, indent=1), json.dumps(fields, separators=(",", ":")), MANIFEST.to_bytes().decode() + "\n",
        MANIFEST.to_bytes().decode().replace('"rows":5', '"rows":5,"rows":5'),
        MANIFEST.to_bytes().decode().replace('"rows":5', '"rows":5.0'),
        MANIFEST.to_bytes().decode().replace('"rows":5', '"rows":NaN'),
        MANIFEST.to_bytes().decode().replace('"rows":5', '"rows":' + "9" * 5000),
        "[" * 100_000, '{"a":' * 50_000, "{}", "null", "", '"\\ud800"', "[1]",
        canonical(fields | {"extra": 1}).decode(), "[" + "[]," * 20_000 + "[]]", "]" * 9 + "[" * 100_000,
        canonical({k: v for k, v in fields.items() if k != "licence"}).decode(), " " * (MAX_MANIFEST + 3),
    ]  # fmt: skip
    for text in texts:
        with pytest.raises(MalformedManifest):
            parse_manifest(text.encode())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6,
)  # fmt: skip


@given(st.sampled_from(sorted(MANIFEST.as_json())), VALUES)
def test_parse__any_value_in_any_field__a_manifest_or_refused(field, value):
    data = canonical(MANIFEST.as_json() | {field: value})
    try:
        assert parse_manifest(data).as_json()[field] == value
    except MalformedManifest as error:
        assert "mend" not in f"{error}" and len(f"{error}") < 700


@given(st.binary(max_size=60), st.integers(0, 900), st.integers(0, 900))
def test_parse__bytes_put_anywhere__a_manifest_or_refused(noise, start, length):
    data = MANIFEST.to_bytes()
    for mutated in (noise, data[:start] + noise + data[start + length :]):
        with contextlib.suppress(MalformedManifest):
            assert parse_manifest(mutated).to_bytes().rstrip(b"\n") == mutated.removesuffix(b"\n")


def test_read__no_file__says_so(tmp_path):
    with pytest.raises(MissingData, match=r"manifest\.json"):
        read_manifest(tmp_path / "manifest.json")
