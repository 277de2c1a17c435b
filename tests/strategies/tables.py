"""Tables of rows as data sets hold them, and the same rows as files of every kind."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from hypothesis import strategies as st

from feeds.dataset.encoding import Schema, schema_of

SCHEMA = schema_of([("ts", "integer"), ("source", "text"), ("symbol", "text"), ("price", "real"), ("size", "real")])
START = 1_600_000_000
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=6)
REALS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def rows(draw: Any, least: int = 1, most: int = 40) -> pa.RecordBatch:
    """Quotes with any names and numbers; cells may be absent but for the time."""
    count = draw(st.integers(least, most))
    column = lambda cells: draw(st.lists(cells, min_size=count, max_size=count))  # noqa: E731
    ts = pa.array(sorted(column(st.integers(START, START + 10**6))), pa.int64())
    texts = [pa.array(column(st.none() | NAMES), pa.string()) for _ in range(2)]
    reals = [pa.array(column(st.none() | REALS), pa.float64()) for _ in range(2)]
    return pa.RecordBatch.from_arrays([ts, *texts, *reals], schema=SCHEMA.arrow)


def quotes(count: int, sources: Sequence[str] = ("a", "b"), step: int = 60) -> pa.RecordBatch:
    """Plain quotes, one a step, the sources in turn."""
    number = range(count)
    columns = [
        pa.array([START + i * step for i in number], pa.int64()),
        pa.array([sources[i % len(sources)] for i in number]),
        pa.array(["X/Y"] * count),
        pa.array([100.5 + i % 7 for i in number]),
        pa.array([0.25 + i % 3 for i in number]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA.arrow)


def csv_bytes(batch: pa.RecordBatch) -> bytes:
    """As CSV with a header; texts are quoted."""
    out = io.BytesIO()
    head = ",".join(batch.schema.names).encode() + b"\n"
    pacsv.write_csv(pa.table(batch), out, pacsv.WriteOptions(include_header=False))
    return head + out.getvalue()


def write(batch: pa.RecordBatch, path: Path, kind: str, schema: Schema = SCHEMA, **options: Any) -> Path:
    """The rows as a file: csv, gzip or parquet."""
    if kind == "csv":
        path.write_bytes(csv_bytes(batch))
    elif kind == "gzip":
        path.write_bytes(gzip.compress(csv_bytes(batch), mtime=0))
    else:
        pq.write_table(pa.table(batch), path, **options)
    return path
