"""The pure round under fire and under load.

Fire: seeded simulations (oracle/consensus/simulate.py), every Byzantine kind at 4 and 7 validators, counting broken
promises. Load: rounds of 4, 16 and 64 cores with real keys, real wire bytes and 8 feeds on a perfect network, in one
thread; `rounds_per_second` is what one validator can do (whole network's time over n), beside the floor: that
validator's signature checks alone (every observation of the proposal and every attestation, by coincurve).

    python benchmarks/consensus.py [--seeds 3] [--slots 150] [--rounds 7] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oracle.consensus.events import (
    Attested,
    Broadcast,
    Effect,
    Event,
    JournalState,
    Observe,
    Observed,
    Received,
    Send,
    Sign,
    Signed,
    SlotStarted,
)
from oracle.consensus.messages import Message, Values
from oracle.consensus.network import Slot, ValidatorRow
from oracle.consensus.protocol import Core
from oracle.consensus.simulate import simulate
from oracle.consensus.simulate_node import Behaviour, Settings
from oracle.consensus.simulate_world import World, small_config
from oracle.consensus.wire import decode, encode
from oracle.keys import HotKey, recover

STAKES = ((40, 30, 20, 10), (25, 20, 15, 12, 10, 10, 8))
FEEDS = 8


class PerfectNetwork:
    """Cores that hear everything at once; every receiver decodes its own bytes."""

    def __init__(self, validators: int) -> None:
        self.keys = [HotKey((row + 1).to_bytes(32)) for row in range(validators)]
        config = small_config([10] * validators, feeds=FEEDS)
        rows = tuple(ValidatorRow(key.address, row.stake) for key, row in zip(self.keys, config.rows, strict=True))
        self.config = replace(config, rows=rows)
        self.cores = [Core(self.config, row, recover) for row in range(validators)]
        self.world = World(self.config, 1)
        self.values: Values = ()
        self.slot, self.bytes, self.attested = self.config.first_slot, 0, 0
        self.queue: deque[tuple[int, Event | bytes]] = deque()
        self.tell_all(JournalState(empty=False))

    @property
    def now_ms(self) -> int:
        """One second into the slot, on every clock."""
        return self.config.slot_start_ms(self.slot) + 1_000

    def tell_all(self, event: Event) -> None:
        """Give every core an event and run until nothing is left to do."""
        self.queue.extend((row, event) for row in range(len(self.cores)))
        self._drain()

    def _drain(self) -> None:
        while self.queue:
            row, item = self.queue.popleft()
            event = Received(decode(item, self.config)) if isinstance(item, bytes) else item
            for effect in self.cores[row].receive(event, self.now_ms):
                self._perform(row, effect)

    def _perform(self, row: int, effect: Effect) -> None:
        match effect:
            case Observe(slot):
                self.queue.append((row, Observed(slot, self.now_ms // 1000, self.values)))
            case Sign(kind, slot, digest):
                self.queue.append((row, Signed(kind, slot, digest, self.keys[row].sign(digest))))
            case Broadcast(message):
                self._send(message, [to for to in range(len(self.cores)) if to != row])
            case Send(to, message):
                known = self.config.index_of(to)
                assert known is not None
                self._send(message, [known])
            case Attested():
                self.attested += 1

    def _send(self, message: Message, rows: list[int]) -> None:
        data = encode(message, self.config)
        self.bytes += len(data) * len(rows)
        self.queue.extend((row, data) for row in rows)

    def round(self) -> float:
        """Seconds that one whole round of all cores takes."""
        self.slot = Slot(self.slot + 1)
        self.values = self.world.observe(self.slot, random.Random(self.slot))
        started = time.process_time()
        self.tell_all(SlotStarted(self.slot))
        return time.process_time() - started


def floor_seconds(network: PerfectNetwork, repeats: int) -> float:
    """Seconds that one validator's signature checks of a round take, and nothing else."""
    digest = bytes(range(32))
    signature, checks, spent = network.keys[0].sign(digest), 2 * len(network.cores) - 1, []
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(checks):
            recover(digest, signature)
        spent.append(time.process_time() - started)
    return statistics.median(spent)


def measure_rounds(rounds: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    print(f"\n{'n':>3} {'rounds/s ours':>14} {'floor':>10} {'ratio':>6} {'whole net/s':>12} {'bytes/round':>12}")
    for validators in (4, 16, 64):
        network = PerfectNetwork(validators)
        network.round()
        network.bytes = network.attested = 0
        seconds = statistics.median(network.round() for _ in range(rounds))
        if network.attested != rounds * validators:
            raise SystemExit(f"only {network.attested} of {rounds * validators} cores saw their report")
        ours, floor = validators / seconds, 1 / floor_seconds(network, rounds)
        sent = network.bytes / rounds
        print(f"{validators:>3} {ours:>14.1f} {floor:>10.1f} {ours / floor:>6.2f} {1 / seconds:>12.2f} {sent:>12,.0f}")
        figures[f"rounds_per_second.n{validators}"] = ours
        figures[f"rounds_per_second_floor.n{validators}"] = floor
        figures[f"network_rounds_per_second.n{validators}"] = 1 / seconds
        figures[f"bytes_per_round.n{validators}"] = sent
    return figures


def measure_promises(seeds: int, slots: int) -> dict[str, float]:
    totals = {"runs": 0, "safety_violations": 0, "liveness_violations": 0, "slots": 0, "slots_due": 0, "reports": 0}
    print(f"{'Byzantine validator':<22} {'slots':>6} {'due':>6} {'reports':>8} {'safety':>7} {'liveness':>9}")
    for kind in Behaviour:
        row = dict.fromkeys(totals, 0)
        for seed in range(seeds):
            for stakes in STAKES:
                byzantine = () if kind is Behaviour.HONEST else ((seed % len(stakes), kind),)
                verdict = simulate(Settings(stakes=stakes, slots=slots, seed=1_000 + seed, byzantine=byzantine))
                found = (1, len(verdict.safety), len(verdict.liveness), verdict.slots, verdict.due, verdict.reports)
                row = {name: row[name] + part for name, part in zip(row, found, strict=True)}
                for sentence in verdict.safety + verdict.liveness:
                    print(f"  {kind}, n={len(stakes)}, seed {1_000 + seed}: {sentence}")
        print(
            f"{kind:<22} {row['slots']:>6} {row['slots_due']:>6} {row['reports']:>8} "
            f"{row['safety_violations']:>7} {row['liveness_violations']:>9}"
        )
        totals = {name: totals[name] + row[name] for name in totals}
    return {name: float(part) for name, part in totals.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--slots", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measure_promises(arguments.seeds, arguments.slots) | measure_rounds(arguments.rounds)
    if arguments.json:
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        result = {"name": "consensus", "machine": machine, "figures": figures}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
