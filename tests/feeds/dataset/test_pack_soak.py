"""Ten million rows: packed and verified while they stream, in memory that does not grow with them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = 10_000_000
MEMORY_MB = 700
"""Twice the batches, chunks and leaves, and what Python, numpy and Arrow take to be there."""
SCRIPT = """
import json, resource, sys, time
from pathlib import Path
from feeds.dataset.pack import About, pack
from feeds.dataset.verify import verify
source, out = Path(sys.argv[1]), Path(sys.argv[2])
start = time.perf_counter()
manifest = pack([source], out, About("many", "1", "MIT"))
packed = time.perf_counter()
sound = verify(out).sound
done = time.perf_counter()
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([manifest.rows, sound, rss, packed - start, done - packed]))
"""


@pytest.mark.soak
def test_pack__ten_million_rows__memory_stays_bounded(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "many.parquet"
    names = [pa.array(["binance", "kraken", "coinbase"]), pa.array(["BTC/USD", "ETH/USD"])]
    with pq.ParquetWriter(path, _table(rng, names, 0, 1).schema, compression="zstd") as writer:
        for start in range(0, ROWS, 1_000_000):
            writer.write_table(_table(rng, names, start, 1_000_000))
    command = [sys.executable, "-c", SCRIPT, str(path), str(tmp_path / "set")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, sound, rss, packing, verifying = json.loads(done.stdout)
    print(f"pack {rows / packing:,.0f} rows/s, verify {rows / verifying:,.0f} rows/s, peak {rss:.0f} MB")
    assert rows == ROWS and sound and rss < MEMORY_MB


def _table(rng, names, start, count):
    texts = [pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, len(n), count), pa.int32()), n) for n in names]
    ts = 1_600_000_000_000_000 + np.arange(start, start + count) * 1000
    numbers = [
        pa.array(rng.normal(100, 1, count)),
        pa.array(rng.exponential(1, count)),
        pa.array(ts),
        pa.array(ts + 50),
    ]
    return pa.table([*texts, *numbers], ["source", "symbol", "price", "size", "ts", "known_at"])
