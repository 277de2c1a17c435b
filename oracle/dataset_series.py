"""A packed data set as what a model learns from: closes, and how much of the set they were made of.

Why this file exists: rewards count the rows that a run really used, so the rows are counted where they are read, each
chunk held to the root. Never in it: training, the book of usage itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feeds.dataset.manifest import MANIFEST, Manifest
from feeds.dataset.pack import times_of
from feeds.dataset.read import DataSet
from feeds.poisoning.finding import Ints
from feeds.poisoning.panel import bar_width
from feeds.series import CloseSeries, close_series
from feeds.sources.source import QuoteGate
from feeds.types import SECOND, Micros, Quote
from models.usage import NOBODY, Use
from oracle.data_signature import standing
from oracle.recorded import DataUnfit


@dataclass(frozen=True, slots=True)
class SetSeries:
    """Closes from a data set, and the part of it that they were made of."""

    series: CloseSeries
    use: Use


def is_packed(path: Path) -> bool:
    """Whether a packed data set is there."""
    return (path / MANIFEST).is_file()


def load_set(folder: Path, symbol: str, width: int, until: Micros) -> SetSeries:
    """Closes of `symbol` every `width` seconds from the rows of a data set that were known before `until`.

    A row is known when the set's point-in-time column says; without one, when its bar had closed. Its use is the
    provider's only if the provider signed: a name in a manifest is anybody's word. Raises DataUnfit (also for a wrong
    signature), FeedError (also for a chunk that is not the one under the root).
    """
    packed = DataSet(folder)
    about = packed.manifest
    verdict, told = standing(about)
    if verdict == "forged":
        raise DataUnfit(f"{folder}: {told}; take its manifest from the provider again")
    provider = about.provider if verdict == "signed" else NOBODY
    price, bar = _shape(packed, folder, symbol, width)
    quotes, chunks = list[Quote](), list[int]()
    for number in range(about.chunks):
        rows = _of_symbol(packed.chunk(number), symbol)
        made = list(_quotes(rows, about, symbol, price, bar, until))
        quotes += made
        chunks += [number] if made else []
    if not quotes:
        raise DataUnfit(f"{folder}: holds no row of {symbol} known by then; name another symbol or a later time")
    span = min(quote.ts for quote in quotes) - bar, max(quote.ts for quote in quotes) - bar
    use = Use(about.root, provider, (chunks[0], chunks[-1] + 1), len(quotes), 1, span)
    return SetSeries(close_series(quotes, symbol, width * SECOND), use)


def _shape(packed: DataSet, folder: Path, symbol: str, width: int) -> tuple[str, int]:
    """The column of prices, and the microseconds from a row's time to the moment at which its price stood."""
    schema = packed.manifest.schema
    price = next((c for c in ("close", "price") if schema.kind_of(c) in ("real", "integer")), None)
    if packed.manifest.time is None or price is None or any(schema.kind_of(c) != "text" for c in ("source", "symbol")):
        raise DataUnfit(f"{folder}: its rows have no time, price, source or symbol; name a data set of bars or quotes")
    if price == "price":
        return price, 0
    for batch in packed.chunks(range(packed.manifest.chunks)):
        own: Ints = times_of(_of_symbol(batch, symbol), packed.manifest.time)
        if len(own) > 1:
            bar = bar_width(np.unique(own))
            if width * SECOND % bar:
                raise DataUnfit(
                    f"{folder}: its bars of {symbol} are {bar // SECOND} s apart, which does not divide {width} s",
                    given=bar // SECOND, limit=width,
                )  # fmt: skip
            return price, bar
    raise DataUnfit(f"{folder}: no chunk has two rows of {symbol}; name another symbol")


def _of_symbol(rows: pa.RecordBatch, symbol: str) -> pa.RecordBatch:
    return rows.filter(pc.fill_null(pc.equal(rows.column("symbol"), symbol), False))


def _quotes(rows: pa.RecordBatch, about: Manifest, symbol: str, price: str, bar: int, until: Micros) -> Iterator[Quote]:
    """The sound rows known before `until` as quotes."""
    if about.time is None or not rows.num_rows:
        return
    own = times_of(rows, about.time) + bar
    known = own if about.known is None else np.maximum(times_of(rows, about.known), own)
    gates: dict[str, QuoteGate] = {}
    columns = rows.column("source").to_pylist(), rows.column(price).to_pylist(), own.tolist(), known.tolist()
    for source, value, ts, known_at in zip(*columns, strict=True):
        if known_at < until and source is not None:
            gate = gates.setdefault(source, QuoteGate(source))
            quote = gate.admit(symbol, value, None, ts, known_at)
            if quote is not None:
                yield quote
