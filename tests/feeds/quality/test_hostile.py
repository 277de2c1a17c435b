"""Tables that nobody would write by intent: a report or one error, never a crash, and no row taken for another's."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from base64 import b64decode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feeds.quality.page import render
from feeds.quality.report import report
from feeds.quality.table import load
from feeds.sources.source import FeedError, MalformedFile

QUOTES = "ts,source,symbol,price\n"
EVENTS = "event_id,forecaster,ts,probability,outcome,resolved_at\n"


def looked_at(path, text):
    path.write_text(text)
    table = load([path])
    found = report(table)
    return found, render(found, table)


def test_report__names_that_are_numbers__still_names(tmp_path):
    found, _ = looked_at(tmp_path / "q.csv", QUOTES + "1600000000,7,1,2.0\n1600000060,8,1,2.5\n")
    assert found.series == (("1", "7", 1), ("1", "8", 1))
    table = load([tmp_path / "q.csv"])
    assert "symbol" not in table.numbers
    rows = [f"{event},{who},1600000000,0.5,{event % 2},1600009999" for event in (1, 2) for who in (3, 4)]
    found, _ = looked_at(tmp_path / "e.csv", EVENTS + "\n".join(rows) + "\n")
    assert not [f for f in found.findings if f.check in ("two outcomes", "forecast twice", "duplicate rows")]
    assert not found.count("error")


@pytest.mark.parametrize(
    ("head", "row", "column"),
    [
        (QUOTES, "1600000000,a,X,dear", "price"), (EVENTS, "e,f,1600000000,likely,1,1600009999", "probability"),
        (EVENTS, "e,f,1600000000,0.5,yes,1600009999", "outcome"),
        ("ts,source,symbol,open,high,low,close\n", "1600000000,a,X,1,2,1,x", "close"),
    ],
)  # fmt: skip
def test_load__texts_where_numbers_must_be__column_named(tmp_path, head, row, column):
    with pytest.raises(MalformedFile, match=f"column {column} holds"):
        looked_at(tmp_path / "x.csv", f"{head}{row}\n")


def test_load__parquet_without_rows__refused(tmp_path):
    pq.write_table(pa.table({"ts": pa.array([], pa.int64())}), tmp_path / "x.parquet")
    with pytest.raises(MalformedFile, match="holds no rows"):
        load([tmp_path / "x.parquet"])


@pytest.mark.parametrize("names", [["a", "a"], [" a"], [f"c{n}" for n in range(1025)]])
def test_load__columns_out_of_bounds__the_file_is_blamed_and_no_manifest(tmp_path, names):
    pq.write_table(pa.table([[1]] * len(names), names), tmp_path / "x.parquet")
    with pytest.raises(FeedError, match=r"^x\.parquet: .*rename"):
        load([tmp_path / "x.parquet"])


@pytest.mark.parametrize("name", ["a\0b", "\x1b[31mred", "<script>", "$\\frac{x$", "]]>"])
def test_render__hostile_names__no_warning_and_pictures_that_are_xml(tmp_path, name):
    rows = "".join(f"{1600000000 + 60 * n},{who},X/Y,{1 + n % 3}\n" for n in range(30) for who in (name, "b"))
    _, page = looked_at(tmp_path / "q.csv", QUOTES + rows)
    pictures = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    assert pictures and "<script>" not in page
    for picture in pictures:
        ElementTree.fromstring(b64decode(picture))


def test_render__prices_at_both_ends_of_floats__no_warning(tmp_path):
    looked_at(tmp_path / "q.csv", QUOTES + "1600000000,a,X/Y,1e300\n1600000060,a,X/Y,1e-300\n")
