"""Canonical bytes: one form for the same rows, back to the same rows, and nothing else."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.dataset.encoding import MAX_CELL, Column, Schema, decode_chunk, encode_chunk, schema_of
from feeds.dataset.errors import MalformedManifest, MalformedProof, UnsupportedData
from tests.strategies.tables import SCHEMA, rows

KINDS = schema_of([("n", "integer"), ("t", "time"), ("x", "real"), ("f", "flag"), ("s", "text")])


def batch_of(columns, schema=KINDS):
    arrays = [pa.array(cells, kind) for cells, kind in zip(columns, schema.arrow.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow)


CELLS = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | st.integers(0, 2**50), st.none() | st.floats(),
    st.none() | st.booleans(), st.none() | st.text(st.characters(codec="utf-8"), max_size=8),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(CELLS, min_size=1, max_size=20), st.integers(0, 2**60))
def test_chunk__any_rows__back_to_the_same_rows(cells, first_row):
    batch = batch_of(list(zip(*cells, strict=True)))
    data = encode_chunk(KINDS, first_row, batch)
    number, back = decode_chunk(KINDS, data)
    assert number == first_row and encode_chunk(KINDS, first_row, back) == data
    for name in ("n", "t", "f"):
        assert back.column(name).equals(batch.column(name))
    for ours, given_ in zip(back.column("x").to_pylist(), batch.column("x").to_pylist(), strict=True):
        assert ours == given_ or (ours is None and (given_ is None or math.isnan(given_)))
    assert back.column("s").to_pylist() == [text or None for text in batch.column("s").to_pylist()]


def test_chunk__values_that_mean_the_same__same_bytes():
    absent = batch_of([[1], [None], [None], [None], [None]])
    other = batch_of([[1], [None], [math.nan], [None], [""]])
    assert encode_chunk(KINDS, 0, absent) == encode_chunk(KINDS, 0, other)
    zero, minus = (batch_of([[1], [1], [x], [True], ["a"]]) for x in (0.0, -0.0))
    assert encode_chunk(KINDS, 0, zero) == encode_chunk(KINDS, 0, minus)


def test_chunk__layout__is_the_one_documented():
    batch = batch_of([[1, None], [2, 3], [1.5, None], [None, True], ["é", None]])
    body = encode_chunk(KINDS, 7, batch)[16 + 32 :]
    head, rest = body[:12], body[12:]
    assert head == (7).to_bytes(8) + (2).to_bytes(4)
    parts = [
        b"\x80" + (1).to_bytes(8) + bytes(8), b"\xc0" + (2).to_bytes(8) + (3).to_bytes(8),
        b"\x80" + bytes.fromhex("3ff8000000000000") + bytes(8), b"\x40" + b"\x00\x01",
        b"\x80" + (2).to_bytes(4) + bytes(4) + "é".encode(),
    ]  # fmt: skip
    assert rest == b"".join(parts)


@settings(max_examples=40)
@given(rows(), st.data())
def test_decode__one_byte_changed__refused_or_other_rows_that_encode_to_those_bytes(batch, data):
    whole = bytearray(encode_chunk(SCHEMA, 0, batch))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        number, back = decode_chunk(SCHEMA, bytes(whole))
        assert encode_chunk(SCHEMA, number, back) == bytes(whole)
    except MalformedProof:
        pass


@settings(max_examples=40)
@given(rows(), st.binary(max_size=200), st.integers(0, 400))
def test_decode__cut_or_other_bytes__refused(batch, noise, length):
    whole = encode_chunk(SCHEMA, 0, batch)
    for data in (noise, whole[: min(length, len(whole) - 1)], whole + noise + b"x", whole[:60] + noise):
        with pytest.raises(MalformedProof):
            decode_chunk(SCHEMA, data)


def test_encode__few_bytes_that_name_much_text__refused_before_it_is_made():
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 4096, pa.int32()), ["x" * MAX_CELL])
    batch = pa.RecordBatch.from_arrays([long], names=["s"])
    before = pa.total_allocated_bytes()
    with pytest.raises(UnsupportedData, match="too much text"):
        encode_chunk(schema_of([("s", "text")]), 0, batch)
    assert pa.total_allocated_bytes() - before < 1 << 20
    with pytest.raises(UnsupportedData, match="column s"):
        encode_chunk(schema_of([("s", "text")]), 0, pa.record_batch({"s": ["x" * (MAX_CELL + 1)]}))


@pytest.mark.parametrize(
    "columns", [[], [("a", "real"), ("a", "text")], [("", "real")], [("a\n", "real")], [("a", "x")]]
)
def test_schema__no_columns_twice_or_odd__refused(columns):
    with pytest.raises(MalformedManifest):
        schema_of(columns)
    assert Schema((Column("a", "real"),)).kind_of("b") is None
