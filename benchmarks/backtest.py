"""How fast a bundle is judged: offline over years at once, and replayed round by round on an embedded chain.

Offline: features, forecasts and scores of a pre-fitted bundle, from closes to report; one forecast is nine quantiles at
one bar and one horizon. Its peer goes bar by bar, as an operator does. On chain: 4 validators, every signature made and
checked; its floor is py-evm alone, given the same transactions at the same times.

    python benchmarks/backtest.py [--bars 25000] [--slots 96] [--repeats 5] [--json PATH]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch: two threads beside a busy neighbour cost tail latency

import argparse
import asyncio
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models.assess import assess
from models.bundle import Bundle, save
from models.panel import Panel, track
from models.recipes import DEMO_RECIPES
from models.train import train
from oracle.backtest import BacktestResult, Plan, replay
from oracle.backtest.plan import prepare

HOUR, SYMBOL = 3_600, "EUR/USD"
MONDAY = 1_388_966_400
"""2014-01-06 00:00 UTC."""
TRAINED_ON = 3_000
BY_BAR = 400
FAMILIES = {"forest": "aletheia-forest", "tcn": "boreas-tcn"}


def series(bars: int) -> tuple[np.ndarray, np.ndarray]:
    """Hourly closes without weekends, larger by day: speed does not hang on what they are."""
    hours = np.arange(bars * 3 // 2)
    hours = hours[(hours // 24) % 7 < 5][:bars]
    size = np.where((hours % 24 >= 7) & (hours % 24 < 17), 1.2e-3, 5e-4)
    close = 1.1 * np.exp(np.cumsum(np.random.default_rng(0).normal(size=len(hours)) * size))
    return (MONDAY + hours * HOUR) * 1_000_000, np.round(close, 6)


def median_seconds(job: Callable[[], object], repeats: int) -> float:
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        job()
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent)


def measure_offline(bundle: Bundle, ts: np.ndarray, close: np.ndarray, repeats: int) -> tuple[float, float]:
    """Forecasts a second, all bars at once and bar by bar; every run starts from the bundle."""
    count = sum(report.forecasts for report in assess(bundle, ts, close, start=0).values())
    ours = count / median_seconds(lambda: assess(bundle, ts, close, start=0), repeats)
    horizons, begin = bundle.manifest.horizons, int(ts[-BY_BAR])

    def bar_by_bar() -> None:
        panel = Panel([bundle], horizons, HOUR, learn_from=begin)
        panel.warm_up(begin - 1, ts[-2 * BY_BAR :], close[-2 * BY_BAR :])
        track(panel, ts[-2 * BY_BAR :], close[-2 * BY_BAR :], begin)

    return ours, BY_BAR * len(horizons) / median_seconds(bar_by_bar, repeats)


def floor_rounds_per_second(plan: Plan, result: BacktestResult) -> float:
    """py-evm alone: the transmissions of a replay, sent again to a fresh chain at the same times."""
    setup = asyncio.run(prepare(plan))
    eth, aggregator = result.web3.eth, result.aggregator
    sent = []
    for number in range(setup.net.chain.w3.eth.block_number + 1, eth.block_number + 1):
        block = eth.get_block(number, full_transactions=True)
        for transaction in block["transactions"]:
            _, given = aggregator.decode_function_input(transaction["data"])
            sent.append((block["timestamp"], given["report"]))
    begun = time.perf_counter()
    for timestamp, blob in sent:
        setup.net.chain.move_to(timestamp)
        setup.net.transmit(blob)
    return len(result.rounds) / (time.perf_counter() - begun)


def measure_onchain(bundle: Bundle, ts: np.ndarray, close: np.ndarray, slots: int) -> tuple[float, float]:
    """Rounds a second of a replay, deployment and scores included, and the floor."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(bundle, folder / "bundle")
        lines = ["ts,source,symbol,open,high,low,close,volume"]
        for at, price in zip((ts // 1_000_000 - HOUR).tolist(), close.tolist(), strict=True):
            lines += [f"{at},{source},{SYMBOL},{price},{price},{price},{price},1" for source in "ab"]
        (folder / "bars.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        plan = Plan((folder / "bundle",), folder / "bars.csv", slots=slots)
        replay(replace(plan, slots=2))  # compiles the contracts where nobody has yet
        found, results = [], []
        for _ in range(5):
            begun = time.perf_counter()
            results = [replay(plan)]
            found.append(slots / (time.perf_counter() - begun))
        if results[0].accepted != slots:
            raise SystemExit(f"only {results[0].accepted} of {slots} slots were accepted: nothing to measure")
        floors = [floor_rounds_per_second(plan, results[0]) for _ in range(5)]
    return statistics.median(found), statistics.median(floors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, default=25_000)
    parser.add_argument("--slots", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side, at least 5")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.repeats < 5 or options.bars < 2 * TRAINED_ON or options.slots < 1:
        parser.error(f"at least 5 repeats, {2 * TRAINED_ON} bars and 1 slot")
    torch.set_num_threads(1)
    ts, close = series(options.bars)
    recipes = {recipe.name: recipe for recipe in DEMO_RECIPES}
    figures: dict[str, float] = {}
    print(f"{'':34}{'ours /s':>12}{'peer /s':>12}{'ratio':>8}")
    for family, name in FAMILIES.items():
        bundle = train(recipes[name], ts[:TRAINED_ON], close[:TRAINED_ON], SYMBOL, progress=False)
        ours, peer = measure_offline(bundle, ts, close, options.repeats)
        figures[f"offline.{family}.forecasts_per_second"] = ours
        print(f"{f'offline {family}, peer bar by bar':34}{ours:>12,.0f}{peer:>12,.0f}{ours / peer:>7.1f}x")
    figures["offline.forecasts_per_second"] = min(figures.values())
    short = slice(0, TRAINED_ON)
    ours, floor = measure_onchain(bundle, ts[short], close[short], options.slots)
    figures |= {"onchain.rounds_per_second": ours, "onchain.rounds_per_second_floor": floor}
    print(f"{'on chain, floor py-evm alone':34}{ours:>12.1f}{floor:>12.1f}{ours / floor:>7.2f}x")
    if options.json:
        machine = f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}"
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"name": "backtest", "machine": machine, "figures": figures}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
