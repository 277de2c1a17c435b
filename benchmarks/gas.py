"""Gas of the chain core, from real transactions on the embedded chain, beside the bars and the peers.

    python benchmarks/gas.py [--json PATH] [--record]

Steady state: every storage word that a push writes was written before (the ring has gone round). Equal stakes, the
fewest signers above 2/3, whole transactions. Reads are cold calls from another contract. The peers' columns were
measured on one EVM (anvil, steady state; docs/adr/0002-ecdsa-bitmap.md tells how). `--record` rewrites
benchmarks/gas_recorded.json, from which no figure may grow by more than 2 % (tests/contracts/test_gas.py).
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from contracts.artifacts import EVM_VERSION
from oracle.chain.gas import BARS, READ_BARS, Pushed, figures, measure_pushes, measure_reads

VALIDATORS = (4, 7, 13, 16, 31)
FEEDS = (1, 8, 10, 32)
RECORDED = Path(__file__).parent / "gas_recorded.json"
PEERS = {
    "Chainlink OCR1": ("f+1, n observations", (129_209, 141_083, 164_818, 176_668, 238_816)),
    "Chainlink OCR2": ("f+1, n observations", (94_893, 104_068, 122_432, 131_637, 177_576)),
    "Chronicle Scribe": ("2f+1, Schnorr", (70_674, 81_275, 102_015, 113_100, 166_347)),
    "Pyth": ("2n/3+1", (110_565, 127_170, 160_388, 176_976, 260_201)),
    "RedStone + 1 slot": ("2f+1", (54_321, 71_512, 108_289, 127_163, 232_404)),
}
"""One feed, whole transaction: signatures, gas for each of VALIDATORS. Scribe and RedStone keep no history."""
PEERS_TEN = {"Pyth": ("2n/3+1", (336_734, 353_254, 386_698, 403_185, 486_456))}
"""Ten feeds in one transaction, whole."""
READ_PEERS = {"Chainlink proxy": 18_233, "Pyth": 10_638, "Chronicle Scribe": 7_872}
Peers = Mapping[str, tuple[str, Sequence[int]]]


def recorded(pushes: Sequence[Pushed], reads: Mapping[str, int]) -> dict[str, float]:
    """What the test holds: the totals of the pushes that have a bar, and all reads."""
    barred = [pushed for pushed in pushes if (pushed.validators, pushed.feeds) in BARS]
    return {name: value for name, value in figures(barred, reads).items() if not name.endswith("per_feed")}


def print_bars(pushes: Sequence[Pushed]) -> None:
    """Ours beside the bars."""
    print(f"\ntransmit, gas per feed, whole transaction, steady state, {EVM_VERSION}\n")
    print(f"{'validators (signatures)':<26}{'feeds':>6}{'ours':>10}{'bar':>9}{'ours/bar':>10}{'total':>10}")
    for pushed in pushes:
        if (bar := BARS.get((pushed.validators, pushed.feeds))) is not None:
            label = f"{pushed.validators} ({pushed.signatures})"
            ratio = pushed.per_feed / bar
            print(f"{label:<26}{pushed.feeds:>6}{pushed.per_feed:>10,.0f}{bar:>9,}{ratio:>10.3f}{pushed.total:>10,}")


def print_peers(pushes: Sequence[Pushed], feeds: int, peers: Peers) -> None:
    """Ours beside the peers', `feeds` feeds in one transaction."""
    ours = {pushed.validators: pushed.total for pushed in pushes if pushed.feeds == feeds}
    print(f"\n{feeds} feed{'s' * (feeds > 1)}, whole transaction (ours / theirs)\n")
    print(f"{'':<20}{'signatures':<21}" + "".join(f"{f'n={n}':>16}" for n in VALIDATORS))
    print(f"{'Dodona':<20}{'> 2/3 of stake':<21}" + "".join(f"{ours[n]:>16,}" for n in VALIDATORS))
    for peer, (signatures, gas) in peers.items():
        cells = (f"{theirs:,} ({ours[n] / theirs:.2f})" for n, theirs in zip(VALIDATORS, gas, strict=True))
        print(f"{peer:<20}{signatures:<21}" + "".join(f"{cell:>16}" for cell in cells))


def print_blocks(pushes: Sequence[Pushed]) -> None:
    """What one more signature and one more feed add."""
    by = {(pushed.validators, pushed.feeds): pushed for pushed in pushes}
    few, many, wide = by[4, 1], by[31, 1], by[4, 32]
    signature = (many.total - few.total) / (many.signatures - few.signatures)
    print(f"\none more signature: {signature:,.0f} (the ecrecover precompile 3,000, its calldata up to 1,024)")
    print(f"one more feed: {(wide.total - few.total) / 31:,.0f} (its ring word 5,000, its calldata up to 512)")


def print_reads(reads: Mapping[str, int]) -> None:
    """Cold reads beside bars and peers."""
    print(f"\n{'cold latestRoundData':<24}{'gas':>8}{'bar':>9}" + "".join(f"{f'/ {peer}':>20}" for peer in READ_PEERS))
    for name, gas in reads.items():
        bar = f"{READ_BARS[name]:,}" if name in READ_BARS else "-"
        print(f"{name:<24}{gas:>8,}{bar:>9}" + "".join(f"{gas / theirs:>20.2f}" for theirs in READ_PEERS.values()))
    print(f"{'peers':<41}" + "".join(f"{gas:>20,}" for gas in READ_PEERS.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Gas of the chain core beside its bars and its peers.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--record", action="store_true", help="make these figures what the test holds")
    options = parser.parse_args()
    pushes = [pushed for validators in VALIDATORS for pushed in measure_pushes(validators, FEEDS)]
    reads = measure_reads()
    print_bars(pushes)
    print_peers(pushes, 1, PEERS)
    print_peers(pushes, 10, PEERS_TEN)
    print_blocks(pushes)
    print_reads(reads)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        machine = f"{platform.machine()} {platform.system()}, py-evm {EVM_VERSION}"
        content = {"name": "gas", "machine": machine, "figures": figures(pushes, reads)}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if options.record:
        RECORDED.write_text(json.dumps(recorded(pushes, reads), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
