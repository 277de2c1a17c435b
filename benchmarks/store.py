"""The quote store: appends, questions as of a moment, merging, streaming, beside plain Parquet as the floor.

The quotes are of 50 symbols from 8 sources each, every pair once a second, each known 50 to 900 ms after its time.
The floors do without what the store is for: one file at a known place written and synced, no check, no order, no name
to find it by; one file read of which is known beforehand that it alone has the answer. Floors and ours alternate.

Asked, warm (each file's index was read once, the files are in the system's cache), at random times and symbols:
- newest: of each source the newest quote of one symbol as of t, 8 rows;
- window: what came to be known of one symbol in the 10 minutes before t, each statement once, 4,800 rows.

    python benchmarks/store.py [--rows 100000000] [--folder DIR] [--json PATH]

10^8 quotes are 2 GB on disk for as long as it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from feeds.partitions import Root
from feeds.store import Store
from feeds.types import SECOND, Micros, Quote

SYMBOLS = [f"S{number:02d}/USD" for number in range(50)]
SOURCES = [f"venue_{number}" for number in range(8)]
PAIRS = len(SYMBOLS) * len(SOURCES)
T0 = 1_678_500_000 * SECOND
BLOCK = 500_000
WINDOW = 600 * SECOND
ASKED = 60
SMALL_FILES = 2_000
FLOOR_RUNS = 7

Figures = dict[str, float]


def block(number: int, rows: int = BLOCK) -> pa.Table:
    """So many quotes in the order in which they came to be known."""
    random = np.random.default_rng(number)
    place = np.arange(number * rows, (number + 1) * rows)
    pair, known = place % PAIRS, T0 + place // PAIRS * SECOND + place % PAIRS * 1000
    names = [
        pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), values)
        for codes, values in ((pair % len(SOURCES), SOURCES), (pair // len(SOURCES), SYMBOLS))
    ]
    price, size = 100.0 * np.exp(random.normal(0.0, 0.01, rows)), random.exponential(1.0, rows)
    ts = known - random.integers(50_000, 900_000, rows)
    return pa.table([*names, price, size, ts, known], ["source", "symbol", "price", "size", "ts", "known_at"])


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def plain_write(table: pa.Table, path: Path) -> None:
    with path.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())


def appends(store: Store, rows: int, floor: Path) -> Figures:
    ours, plain = [], []
    for number in range(rows // BLOCK):
        table = block(number)
        ours.append(seconds(lambda table=table: store.append_table(table)))
        if number < FLOOR_RUNS:
            plain.append(seconds(lambda table=table: plain_write(table, floor / "floor.parquet")))
    size = sum(file.stat().st_size for file in store.path.rglob("*.parquet"))
    return {
        "append.quotes_per_second": BLOCK / statistics.median(ours),
        "append.plain_write_quotes_per_second": BLOCK / statistics.median(plain),
        "append.vs_plain_write": statistics.median(ours[: len(plain)]) / statistics.median(plain),
        "bytes_per_quote": size / rows,
    }


def objects(folder: Path) -> Figures:
    """One quote after the other as an object: the path of a node."""
    known = range(T0, T0 + 100_000)
    quotes = [Quote(SOURCES[k % 8], SYMBOLS[k % 50], 1.0 + k % 7, 1.0, Micros(k), Micros(k)) for k in known]
    store = Store(folder)
    some = [quotes[first::5] for first in range(5)]
    taken = [seconds(lambda part=part: store.append(part)) for part in some]
    store.close()
    return {"append.objects_per_second": len(some[0]) / statistics.median(taken)}


def questions(store: Store, rows: int) -> Figures:
    random = np.random.default_rng(1)
    root = Root(store.path)
    with root.shared():
        partitions = root.view().partitions
    end = T0 + rows // PAIRS * SECOND
    asked = [
        (Micros(int(t)), SYMBOLS[int(s)])
        for t, s in zip(
            random.integers(T0 + WINDOW + SECOND, end, ASKED), random.integers(0, len(SYMBOLS), ASKED), strict=True
        )
    ]
    first = 1e3 * seconds(lambda: store.newest(*asked[0]))
    newest, window, floor = [], [], []
    for t, symbol in asked:
        newest.append(1e3 * seconds(lambda t=t, symbol=symbol: store.newest(t, symbol)))
        since = Micros(t - WINDOW + 1)
        window.append(1e3 * seconds(lambda t=t, symbol=symbol, since=since: store.as_of(t, symbol, since)))
        path = next(p.path for p in partitions if p.last >= t or p is partitions[-1])
        filters = [("symbol", "=", symbol), ("known_at", ">=", since), ("known_at", "<=", t)]
        read = lambda path=path, filters=filters: pq.read_table(path, filters=filters, use_threads=False)  # noqa: E731
        floor.append(1e3 * seconds(read))
    found = {"newest.ms.cold": first, "files": float(len(partitions)), "plain_read.ms.p50": statistics.median(floor)}
    for name, times in (("newest", newest), ("window", window)):
        found |= {f"{name}.ms.p50": statistics.median(times), f"{name}.ms.p99": float(np.quantile(times, 0.99))}
        found[f"{name}.vs_plain_read"] = statistics.median(times) / statistics.median(floor)
    return found


def merging(folder: Path) -> Figures:
    """As many small files as polls make, read before and after they are merged."""
    store = Store(folder)
    for number in range(SMALL_FILES):
        store.append_table(block(number, PAIRS))
    last = Micros(T0 + SMALL_FILES * SECOND)

    def start() -> None:
        store = Store(folder)
        store.verify()
        store.newest(last, SYMBOLS[0])
        store.close()

    before = statistics.median(seconds(start) for _ in range(5))
    taken = seconds(lambda: store.compact())
    after = statistics.median(seconds(start) for _ in range(5))
    store.close()
    return {
        "compact.files_per_second": SMALL_FILES / taken,
        "compact.start_ms.before": 1e3 * before,
        "compact.start_ms.after": 1e3 * after,
    }


def bulk_reads(store: Store, rows: int) -> Figures:
    """All quotes as a stream; bars of one symbol; every file checked."""
    end = Micros(T0 + rows // PAIRS * SECOND)
    since = Micros(end - min(rows, 10_000_000) // PAIRS * SECOND)
    count = 0

    def stream() -> None:
        nonlocal count
        count = sum(len(batch) for batch in store.batches(end, since=since))

    taken = seconds(stream)
    of_bars = seconds(lambda: store.bars(end, SYMBOLS[7], 60 * SECOND, since))
    return {
        "stream.quotes_per_second": count / taken,
        "bars.quotes_per_second": count / len(SYMBOLS) / of_bars,
        "verify.quotes_per_second": rows / seconds(store.verify),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, help="a disk with room, instead of the temporary folder")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: int = options.rows
    if rows < 5 * BLOCK or rows % BLOCK:
        parser.error(f"--rows must be a multiple of {BLOCK}, at least {5 * BLOCK}")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        store = Store(folder / "store")
        figures: Figures = {"rows": float(rows)} | appends(store, rows, folder)
        gc.collect()
        figures |= questions(store, rows) | bulk_reads(store, rows)
        figures["rss_mb.max"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        store.close()
        figures |= objects(folder / "objects") | merging(folder / "small")
    print(f"{rows:,} quotes, {len(SYMBOLS)} symbols x {len(SOURCES)} sources")
    for name in figures:
        print(f"{name:40s}{figures[name]:16,.1f}")
    if options.json:
        machine = f"{platform.machine()} {os.cpu_count()} cores, pyarrow {pa.__version__}"
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"name": "store", "machine": machine, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
