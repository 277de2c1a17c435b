"""Gas of the chain core, from real transactions on the embedded chain, beside the bars and the peers.

    python benchmarks/gas.py [--json PATH]

Steady state: every storage word that a push writes was written before (the ring has gone round). Equal stakes, the
fewest signers above 2/3, whole transactions. Reads are cold calls from another contract. The peers' columns were
measured on one EVM (anvil, steady state; docs/adr/0002-ecdsa-bitmap.md tells how).
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

from contracts.artifacts import EVM_VERSION
from oracle.chain.gas import BARS, FEED_READ_BAR, Pushed, measure_feed_read, measure_push

VALIDATORS, FEEDS = (4, 13, 31), (1, 8, 32)
PEERS = {
    "Chainlink OCR1": {4: 129_209, 13: 164_818, 31: 238_816},
    "Chainlink OCR2": {4: 94_893, 13: 122_432, 31: 177_576},
    "Chronicle Scribe": {4: 70_674, 13: 102_015, 31: 166_347},
    "Pyth": {4: 110_565, 13: 160_388, 31: 260_201},
    "RedStone + 1 slot": {4: 54_321, 13: 108_289, 31: 232_404},
}
"""One feed, whole transaction."""
PYTH_TEN = {4: 33_673, 13: 38_670, 31: 48_646}
"""Pyth, ten feeds in one transaction, per feed."""
READ_PEERS = {"Chainlink proxy": 18_233, "Pyth": 10_638, "Chronicle Scribe": 7_872}


def figures(pushes: list[Pushed], feed_read: int) -> dict[str, float]:
    """The figures under the names of the house."""
    named: dict[str, float] = {"read.feed.cold": feed_read}
    for pushed in pushes:
        name = f"gas.n{pushed.validators}.f{pushed.feeds}"
        named |= {f"{name}.total": pushed.total, f"{name}.per_feed": round(pushed.per_feed, 1)}
    return named


def print_tables(pushes: list[Pushed], feed_read: int) -> None:
    """Ours beside the bars and the peers."""
    print(f"\ntransmit, gas per feed, whole transaction, steady state, {EVM_VERSION}\n")
    print(f"{'validators (signatures)':<26}{'feeds':>6}{'ours':>10}{'bar':>9}{'ours/bar':>10}{'total':>10}")
    for pushed in pushes:
        bar = BARS[pushed.validators, pushed.feeds]
        label = f"{pushed.validators} ({pushed.signatures})"
        ratio = pushed.per_feed / bar
        print(f"{label:<26}{pushed.feeds:>6}{pushed.per_feed:>10,.0f}{bar:>9,}{ratio:>10.3f}{pushed.total:>10,}")
    ours = {pushed.validators: pushed for pushed in pushes if pushed.feeds == 1}
    print("\none feed, whole transaction (ours / theirs)\n")
    print(f"{'':<20}" + "".join(f"{f'n={n}':>22}" for n in VALIDATORS))
    print(f"{'Dodona':<20}" + "".join(f"{ours[n].total:>22,}" for n in VALIDATORS))
    for peer, gas in PEERS.items():
        cells = (f"{gas[n]:,} ({ours[n].total / gas[n]:.2f})" for n in VALIDATORS)
        print(f"{peer:<20}" + "".join(f"{cell:>22}" for cell in cells))
    eight = {pushed.validators: pushed for pushed in pushes if pushed.feeds == 8}
    cells = (f"{PYTH_TEN[n]:,} ({eight[n].per_feed / PYTH_TEN[n]:.2f})" for n in VALIDATORS)
    print(f"\n{'Pyth, 10 feeds, per feed':<24}" + "".join(f"{cell:>20}" for cell in cells) + "  (our 8 / their 10)")
    print(f"\nread, cold: Feed.latestRoundData {feed_read:,} (bar {FEED_READ_BAR:,}, {feed_read / FEED_READ_BAR:.3f})")
    print("  " + "   ".join(f"{peer} {gas:,} ({feed_read / gas:.2f})" for peer, gas in READ_PEERS.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Gas of the chain core beside its bars and its peers.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    path: Path | None = parser.parse_args().json
    pushes = [measure_push(validators, feeds) for validators in VALIDATORS for feeds in FEEDS]
    feed_read = measure_feed_read()
    print_tables(pushes, feed_read)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        machine = f"{platform.machine()} {platform.system()}, py-evm {EVM_VERSION}"
        content = {"name": "gas", "machine": machine, "figures": figures(pushes, feed_read)}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
