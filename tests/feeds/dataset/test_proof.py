"""Proofs: some rows and what it takes to check them; anything changed is refused."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.dataset.canonical import canonical
from feeds.dataset.errors import MalformedManifest, MalformedProof, WrongProof, WrongRows
from feeds.dataset.pack import About, pack, part_name
from feeds.dataset.proof import MAX_PROVEN, check_proof, parse_proof, prove
from feeds.dataset.read import DataSet
from feeds.sources.source import BadRule
from tests.strategies.tables import quotes, write

SOME = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
REFUSED = (MalformedProof, MalformedManifest, WrongProof)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """323 rows in 41 chunks, the last of 3 rows."""
    folder = tmp_path_factory.mktemp("proofs")
    source = write(quotes(323), folder / "q.csv", "csv")
    pack([source], folder / "set", About("quotes", "1", "MIT", known="ts", delay=0, chunk_rows=8))
    return DataSet(folder / "set")


@SOME
@given(st.integers(0, 322), st.integers(1, 100))
def test_prove__any_rows__checked_without_the_rest(dataset, start, count):
    end = min(start + count, 323)
    proof = parse_proof(prove(dataset, dataset.chunks_of_rows(start, end)).to_bytes())
    proven = check_proof(proof, dataset.root)
    assert proven.first_row <= start and end <= proven.first_row + proven.rows.num_rows
    wanted = quotes(323).slice(proven.first_row, proven.rows.num_rows)
    assert proven.rows.to_pylist() == wanted.to_pylist()


@SOME
@given(st.integers(0, 40), st.data())
def test_check__anything_changed__refused(dataset, number, data):
    proof = prove(dataset, range(number, min(number + 2, 41)))
    how = data.draw(st.sampled_from(["first", "leaf", "chunk", "sibling", "root", "rows", "fewer", "none"]))
    if how == "first":
        changed = dataclasses.replace(proof, first=(proof.first + 1) % 41)
    elif how in ("leaf", "chunk", "sibling"):
        field = {"leaf": "leaves", "chunk": "chunks", "sibling": "siblings"}[how]
        parts = list(getattr(proof, field))
        place = data.draw(st.integers(0, len(parts) - 1))
        at = data.draw(st.integers(0, len(parts[place]) - 1))
        flipped = parts[place][at] ^ data.draw(st.integers(1, 255))
        parts[place] = parts[place][:at] + bytes([flipped]) + parts[place][at + 1 :]
        changed = dataclasses.replace(proof, **{field: tuple(parts)})
    elif how == "root":
        changed = dataclasses.replace(proof, manifest=dataclasses.replace(proof.manifest, root="0x" + "12" * 32))
    elif how == "rows":
        changed = dataclasses.replace(proof, manifest=dataclasses.replace(proof.manifest, rows=324, counts=()))
        if number < 39:  # the last chunk alone knows how many rows there are
            return
    else:
        keep = 0 if how == "none" else len(proof.chunks) - 1
        changed = dataclasses.replace(proof, leaves=proof.leaves[:keep], chunks=proof.chunks[:keep])
    with pytest.raises(REFUSED):
        check_proof(changed)


def test_check__of_another_data_set__refused(dataset):
    with pytest.raises(WrongProof, match="root of the proof"):
        check_proof(prove(dataset, range(1)), "0x" + "00" * 32)


def test_prove__no_rows_too_many_or_damaged__refused(dataset, tmp_path):
    for numbers in (range(0), range(41, 42), range(-1, 2), range(MAX_PROVEN + 1)):
        with pytest.raises(BadRule):
            prove(dataset, numbers)
    for start, end in ((0, 0), (5, 4), (0, 324), (-1, 4)):
        with pytest.raises(BadRule):
            dataset.chunks_of_rows(start, end)
    source = write(quotes(9), tmp_path / "q.csv", "csv")
    pack([source], tmp_path / "set", About("quotes", "1", "MIT"))
    (tmp_path / "set" / part_name(0)).write_bytes(b"PAR1")
    with pytest.raises(WrongRows):
        prove(DataSet(tmp_path / "set"), range(1))


@settings(SOME, max_examples=50)
@given(st.binary(max_size=40), st.integers(0, 3000), st.integers(0, 60))
def test_parse__bytes_put_anywhere__a_proof_or_refused(dataset, noise, start, length):
    whole = prove(dataset, range(2)).to_bytes()
    for data in (noise, whole[:start] + noise + whole[start + length :]):
        try:
            check_proof(parse_proof(data))
        except REFUSED:
            continue


@SOME
@given(
    st.sampled_from(["format", "manifest", "first", "leaves", "chunks", "siblings"]),
    st.none()
    | st.integers(-5, 2**64)
    | st.text(max_size=4)
    | st.lists(st.text(max_size=3) | st.integers(), max_size=3),
)
def test_parse__any_value_in_any_field__refused(dataset, field, value):
    proof = prove(dataset, range(2))
    fields = {
        "format": "dodona.proof.v1", "manifest": proof.manifest.as_json(), "first": 0, "leaves": [], "chunks": [],
        "siblings": [],
    }  # fmt: skip
    with pytest.raises(REFUSED):
        check_proof(parse_proof(canonical(fields | {field: value})))
