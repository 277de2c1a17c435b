"""Many models at once against one model at a time: stacked networks, cached state, merged forests.

Every peer is the ordinary way: a Python loop over torch modules, and LightGBM's own `predict` on each booster. Ours and
the peer's runs alternate in blocks, in one process with one thread; figures are medians.

    python benchmarks/inference.py [--models 64] [--series 8] [--repeats 15] [--json PATH]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch: two threads beside a busy neighbour cost tail latency

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models.architectures import Tensors
from models.bundle import Bundle, Manifest
from models.features import FeatureSchema, FloatArray
from models.kernels import BitScorer
from models.runtime_forest import merge
from models.runtime_tcn import StackedTcn
from models.zoo import boosted, neural

HORIZONS = (3_600,)
CHANNELS, LEVELS = 52, 6
INPUTS = 8
TREES, LEAVES = 200, 31
NAMES = ("scale.48", "return.1", "absolute.0", "absolute.23", "volatility.6", "range.24", "level", "season", "gap")

Job = Callable[[], object]
Row = tuple[str, float, float]


def bundle(name: str, architecture: str, window: int, parameters: dict[str, int], tensors: Tensors) -> Bundle:
    manifest = Manifest(
        name=name,
        version="1.0.0",
        owner="0x" + "00" * 20,
        architecture=architecture,
        parameters=parameters,
        features=FeatureSchema(NAMES, window, 3_600),
        horizons=HORIZONS,
        symbol="EUR/USD",
        data_roots=(),
        seed=0,
        libraries={},
        licence="AGPL-3.0-only",
    )
    return Bundle(manifest, tensors)


def side_by_side(ours: Job, peer: Job, repeats: int) -> tuple[float, float]:
    """Median milliseconds of two jobs, in alternating blocks of five runs, the first run of a block not counted.

    So both sides have warm caches: a batch of work, not the first call after something else.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(-(-repeats // 4)):
        for job, found in zip((ours, peer), times, strict=True):
            for run in range(5):
                start = time.perf_counter()
                job()
                if run:
                    found.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def networks(models: int, series: int, repeats: int) -> tuple[list[Row], float]:
    """Stacked and cached TCNs against a loop; rows and the greatest difference of the quantiles."""
    torch.manual_seed(0)
    parameters = {"channels": CHANNELS, "levels": LEVELS, "symmetric": 0}
    loop = [neural.CausalTcn(INPUTS, parameters, 1).eval() for _ in range(models)]
    bundles = [
        bundle(f"tcn-{k}", "tcn.v1", 1 << LEVELS, parameters, neural.to_tensors(model)) for k, model in enumerate(loop)
    ]
    stacked = StackedTcn(bundles)
    bars = torch.randn(series, (1 << LEVELS) + 2 * repeats + 40, INPUTS)
    window = bars[:, : 1 << LEVELS].contiguous()
    stream = stacked.stream({stacked.schemas[0]: np.pad(window.numpy().astype(np.float64), ((0, 0), (0, 0), (1, 0)))})
    position = 1 << LEVELS

    @torch.inference_mode()
    def one_by_one() -> torch.Tensor:
        return torch.stack([model(window) for model in loop])

    @torch.inference_mode()
    def full() -> torch.Tensor:
        return stacked.full(window[None])

    @torch.inference_mode()
    def cached() -> torch.Tensor:
        nonlocal position
        position += 1
        return stream.advance(bars[None, :, position - 1])

    error = float((full() - one_by_one()).abs().max())
    rows = [("tcn.stacked_vs_loop", *side_by_side(full, one_by_one, repeats))]
    rows.append(("tcn.cached_vs_loop", *side_by_side(cached, one_by_one, repeats)))
    last, window = cached(), bars[:, position - (1 << LEVELS) : position].contiguous()
    return rows, max(error, float((last - one_by_one()).abs().max()))


def forests(models: int, series: int, repeats: int) -> tuple[list[Row], float]:
    """Merged boosters against LightGBM one by one; rows and the greatest difference of the sums."""
    random = np.random.default_rng(0)
    boosters = []
    for k in range(models):
        x = random.normal(size=(3_000, INPUTS)).astype(np.float32)
        y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + random.normal(size=3_000)
        settings = {
            "objective": "quantile",
            "alpha": 0.9,
            "num_leaves": LEAVES,
            "num_threads": 1,
            "verbose": -1,
            "seed": k,
        }
        boosters.append(lightgbm.train(settings, lightgbm.Dataset(x, y), TREES))
    schema = FeatureSchema(NAMES, 1, 3_600)
    packed = [boosted.pack([booster.model_to_string()]) for booster in boosters]
    scorer = BitScorer(merge([boosted.Forest(HORIZONS, schema, trees, False, 1) for trees in packed]), INPUTS, models)
    x = random.normal(size=(series, INPUTS)).astype(np.float32)

    def one_by_one() -> FloatArray:
        return np.stack([booster.predict(x, num_threads=1) for booster in boosters], axis=1)

    error = float(np.abs(scorer.sums(x) - one_by_one()).max())
    return [("forest.stacked_vs_loop", *side_by_side(lambda: scorer.sums(x), one_by_one, repeats))], error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--series", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15, help="timed runs of each side, at least 5")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.repeats < 5:
        parser.error("--repeats must be at least 5")
    torch.set_num_threads(1)
    found = [job(options.models, options.series, options.repeats) for job in (networks, forests)]
    rows, error = [row for part, _ in found for row in part], max(error for _, error in found)
    print(f"K = {options.models} models, F = {options.series} series, medians of {options.repeats}, one CPU thread")
    print(f"{'':24s}{'ours ms':>10s}{'peer ms':>10s}{'ratio':>8s}")
    for name, ours, peer in rows:
        print(f"{name:24s}{ours:10.2f}{peer:10.2f}{peer / ours:7.1f}x")
    print(f"{'max_abs_error':24s}{error:10.1e}")
    if options.json:
        figures = {name: peer / ours for name, ours, peer in rows} | {"max_abs_error": error}
        machine = f"{platform.machine()} {platform.processor()} {os.cpu_count()} cores, torch {torch.__version__}"
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps({"name": "inference", "machine": machine, "figures": figures}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
