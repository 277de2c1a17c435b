"""Fusion under recorded and made-up faults, beside the plain median, the volume-weighted mean and Pyth's three votes.

Shift: the fused price with the faulty source against the same rule without it, in basis points. Replayed are every case
of the public data set's scenarios.json (for the wick the bar's high is the quote) and the multi-venue files with faults
put into calm weeks at random places (seeded): x10, one misdated row, freeze, silence, drift of 2 bps a minute, a step
of 40 bps, ten minutes' delay, noise of 1 %, and half of the sources off together. Where a case leaves no other source,
the reference is other venues of the same base at parity, or the price before the fault. `over_spread` counts slots in
which the shift is above the larger of 5 bps and the spread of the live healthy sources.
`calm.over_bar` counts the slots of calm weeks in which the shift is above 5 bps, how many of them lie before the
fault's onset by its definition, and in how many the prices of the slot allow nothing below it (`fusing/bar.py` has the
argument); `calm.shift_bps.from_onset` is the rest.

    python benchmarks/fusion.py [--seed 4] [--json PATH]      DODONA_SHARED_DATA names the data set's folder
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fusing.bar import CalmBar
from fusing.faults import GROSS, KINDS, NAMED, episodes, onset, spoil
from fusing.replay import CALM, DATA, Run, Slots, frame, run, seconds, shift, slots_of, width_of
from fusing.rules import RIVALS

from feeds.monitor import WARM_UP, Monitor
from feeds.rule import Fused, FusionRule
from feeds.types import SECOND, Micros, Quote

RULES = ("ours", *RIVALS)
ROUND_SLOT, HEARTBEAT = 600, 26 * 3600
"""Seconds of a slot, and of the oldest round still used, where a file holds an oracle's rounds."""
MINUTES = ("prices_1m_BTC-USD_2023-03", "prices_1m_BTC-USDT_2023-03")
"""Files with at least three healthy sources: faults are put into these."""
BOOKS = (*MINUTES, "prices_1m_stablecoins_2023-03")
GENUINE = ("genuine", "rounds", "flight", "interleave")
"""Words by which scenarios.json calls a case of one source a move to be followed."""
Figures = dict[str, float]
Table = list[tuple[str, dict[str, tuple[float, float, int]], str]]


def calm_at(end: int) -> bool:
    return any(seconds(a) * SECOND < end <= seconds(b) * SECOND for a, b in CALM)


def spread_of(run_: Run, rows: Slots, end: Micros, faulty: set[str]) -> float:
    """Spread in bps of the healthy sources that counted or could have."""
    answer = run_.answers[end]
    names = set(answer.sources) - faulty
    prices = [q.price for q, _ in rows.get(end, ()) if q.source in names]
    return (max(prices) / min(prices) - 1) * 1e4 if prices else 0.0


def shifts_of(with_: Run, without: Run, inside: set[Micros]) -> dict[str, dict[Micros, float]]:
    """Shift by rule and slot."""
    found = {}
    for name in RULES:
        pairs = shift(with_.prices[name], without.prices[name])
        found[name] = {end: value for end, value in pairs.items() if end in inside}
    return found


def note(figures: Figures, table: Table, case: str, shifts: dict[str, dict[Micros, float]], more: str = "") -> None:
    row = {}
    for name, by_slot in shifts.items():
        values = list(by_slot.values())
        if values:
            row[name] = (float(np.percentile(values, 99)), max(values), len(values))
            figures[f"{case}.{name}.shift_bps.p99"], figures[f"{case}.{name}.shift_bps.max"] = row[name][:2]
    table.append((case, row, more))


def fault_case(case: dict[str, Any], symbol: str, figures: Figures, table: Table, calm: list[float]) -> None:
    """A case in which one source is at fault."""
    name, faulty, width = case["file"], case["sources"][0], width_of(case["file"])
    slot, rows = width * SECOND, frame(case["file"])
    lead = case["start"] - WARM_UP * width
    high = (faulty, case["start"]) if "wick" in case["id"] else None
    others = set(rows.loc[rows["symbol"] == symbol, "source"]) - {faulty}
    symbols, beside, rename = {symbol}, None, ""
    if not others:
        alike = {s for s in rows["symbol"].unique() if s.split("/")[0] == symbol.split("/")[0] and s != symbol}
        ends = {unit for s in rows["symbol"].unique() if s != symbol for unit in s.split("/")}
        symbols = set(rows["symbol"].unique())
        if set(symbol.split("/")) <= ends:
            beside = {s: tuple(set(rows.loc[rows["symbol"] == s, "source"])) for s in symbols - {symbol}}
        else:
            symbols, rename = {symbol, *alike}, symbol
    slots = slots_of(name, symbols, lead, case["end"], rename, high)
    with_ = run(slots, symbol, slot, beside=beside)
    without = run(slots, symbol, slot, faulty, beside)
    inside = {end for end in with_.answers if (case["start"] + width) * SECOND <= end <= (case["end"] + width) * SECOND}
    if beside:  # nothing else quotes it: what it said before the fault stands for all that follows
        before = Micros(min(inside) - slot)
        without.prices = {rule: dict.fromkeys(inside, with_.prices[rule][before]) for rule in RULES}
    shifts = shifts_of(with_, without, inside)
    ours = shifts["ours"]
    over = sum(v > max(5.0, spread_of(without, slots, e, {faulty})) + 1e-9 for e, v in ours.items())
    figures[f"{case['id']}.ours.over_spread"] = over
    gone = sum(with_.prices["ours"][e] is None and without.prices["ours"][e] is not None for e in inside)
    figures[f"{case['id']}.ours.refused"] = gone
    calm += [v for e, v in ours.items() if calm_at(e)]
    begun = Micros((case["start"] + width) * SECOND)
    own = {end: [row for row in at if row[0].symbol == symbol] for end, at in slots.items()}
    due = onset(own, faulty, begun, max(inside), slot, width >= 3600)
    said = f"over spread {over}, refused {gone}"
    if due is not None:
        named = next((end for end in sorted(inside) if end >= begun and faulty in with_.named[end]), None)
        late = (named - due) / slot if named is not None else float("inf")
        figures[f"{case['id']}.slots_to_name"] = max(0.0, late)
        said += f", named {late:+.0f} slots from onset"
    note(figures, table, case["id"], shifts, said)


def genuine_case(case: dict[str, Any], symbol: str, figures: Figures, table: Table) -> None:
    """A move that one source alone shows: how many slots until the fused price is its newest one."""
    width = width_of(case["file"])
    slot = (width or ROUND_SLOT) * SECOND
    rows = slots_of(case["file"], {symbol}, case["start"] - WARM_UP * slot // SECOND, case["end"])
    rows = {end: [row for row in at if row[0].source in case["sources"]] for end, at in rows.items()}
    done = run(rows, symbol, slot, max_age=0 if width else HEARTBEAT * SECOND)
    behind = worst = 0
    shown, low = None, float("inf")
    for end, price in done.prices["ours"].items():
        shown = max((q for q, _ in rows.get(end, ())), key=lambda q: q.ts, default=shown)
        if end >= (case["start"] + width) * SECOND and shown is not None:
            behind = 0 if price == shown.price else behind + 1
            worst, low = max(worst, behind), min(low, price if price is not None else low)
    key = "depeg" if case["id"] == "usdc_depeg" else f"{case['id']}.{symbol}"
    figures[f"{key}.slots_to_follow"] = float(worst)
    table.append((f"{case['id'][:15]} {symbol}", {}, f"behind its book for {worst} slots at most, low {low:g}"))


def calm_faults(seed: int, figures: Figures, table: Table, calm: list[float]) -> None:
    """Every kind of fault in every source of the minute files, in calm weeks."""
    late: list[float] = []
    missed = due_count = 0
    pooled: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    slot, loo, bar = 60 * SECOND, list[float](), CalmBar()
    for file in MINUTES:
        symbol = str(frame(file)["symbol"].iloc[0])
        for begin, end in CALM:
            slots = slots_of(file, {symbol}, seconds(begin), seconds(end) - 60)
            whole = run(slots, symbol, slot)
            for source in sorted({q.source for rows in slots.values() for q, _ in rows}):
                without, rng = run(slots, symbol, slot, source), random.Random(f"{seed} {file} {begin} {source}")
                loo += shift(whole.prices["median"], without.prices["median"]).values()
                for kind in KINDS:
                    spans = episodes(slots, slot, rng)
                    spoilt = spoil(slots, source, kind, spans, slot, rng)
                    with_ = run(spoilt, symbol, slot)
                    inside = {e for a, b in spans for e in range(a, a + slot if kind == "misdated" else b, slot)}
                    for name, by_slot in shifts_of(with_, without, inside).items():
                        pooled[kind][name] += by_slot.values()
                        if kind in GROSS and name == "ours" and by_slot:
                            key = f"calm.{symbol}.shift_bps.max"
                            figures[key] = max(figures.get(key, 0.0), *by_slot.values())
                    ours = shift(with_.prices["ours"], without.prices["ours"])
                    for a, b in spans if kind in {*NAMED, *GROSS} else ():
                        near = {e: rows for e, rows in spoilt.items() if a - 60 * slot <= e <= b}
                        due = onset(near, source, a, Micros(b - slot), slot, False, slots)
                        if kind in GROSS:
                            bar.note(ours, with_, spoilt, slot, (a, a + slot if kind == "misdated" else b), due)
                        if kind in NAMED and due is not None and due + 10 * slot < b:
                            due_count += 1
                            at = (e for e in range(a, b, slot) if source in with_.named.get(Micros(e), ()))
                            named = next(at, None)
                            missed += named is None
                            late.append(max(0.0, ((named or b) - due) / slot))
                            if late[-1] > 10:
                                print(
                                    f"late: {symbol} {source} {kind} {np.datetime64(due, 'us')}, {late[-1]:.0f} slots"
                                )
    for kind, by_rule in pooled.items():
        shifts = {name: dict(enumerate(values)) for name, values in by_rule.items()}
        note(figures, table, f"calm_{kind}", shifts)  # type: ignore[arg-type]
        if kind in GROSS:
            calm += by_rule["ours"]
    figures |= bar.figures()
    figures["slots_to_name_injected.max"], figures["faults_due"] = max(late), float(due_count)
    figures["faults_never_named"], figures["calm.leave_one_healthy_out.median.shift_bps.max"] = float(missed), max(loo)


def false_alarms(cases: list[dict[str, Any]], figures: Figures) -> None:
    """Alarms in calm weeks of books that trade in 95 % of slots, outside of the listed outages of that venue."""
    alarms, weeks, slot = [], 0.0, 60 * SECOND
    for file in BOOKS:
        for symbol in sorted(frame(file)["symbol"].unique()):
            for begin, end in CALM:
                slots = slots_of(file, {symbol}, seconds(begin), seconds(end) - 60)
                traded = defaultdict(int)
                for rows in slots.values():
                    for quote, _ in rows:
                        traded[quote.source] += quote.size != 0.0
                count = (seconds(end) - seconds(begin)) // 60
                books = {source for source, n in traded.items() if n >= 0.95 * count}
                weeks += len(books) * (seconds(end) - seconds(begin)) / (7 * 86400)
                known = [(c["sources"], c["start"], c["end"]) for c in cases if "outage" in c["id"]]
                for alarm in run(slots, symbol, slot, rivals=False).alarms:
                    listed = any(alarm.source in s and a <= alarm.ts // SECOND <= b for s, a, b in known)
                    if alarm.source in books and not listed:
                        alarms.append(alarm)
    figures["false_alarms_per_source_week"], figures["false_alarms"] = len(alarms) / weeks, float(len(alarms))
    print(f"\n{len(alarms)} false alarms in {weeks:.1f} source-weeks")
    for alarm in alarms:
        print(f"  {np.datetime64(alarm.ts, 'us')} {alarm.symbol} {alarm.source} {alarm.reason}")


def throughput(figures: Figures, symbols: int = 50, sources: int = 8, slots: int = 120, repeats: int = 5) -> None:
    """Quotes a second through fusion on one core: every source quotes every symbol once a slot, in both memories."""
    rng, slot, spent = random.Random(7), 60 * SECOND, []
    begin = Micros((1_678_500_000 * SECOND // (1440 * slot) + 1) * 1440 * slot - 250 * slot)
    names, price = [f"S{i}/USD" for i in range(symbols)], [100.0] * symbols
    polls: list[tuple[Micros, list[list[Quote]]]] = []
    for number in range(slots):
        price = [p * (1 + rng.gauss(0, 5e-4)) for p in price]
        at = Micros(begin + number * slot + slot // 2)
        rows = [
            [Quote(f"v{k}", s, price[i] * (1 + rng.gauss(0, 2e-4)), rng.expovariate(1), at, at) for k in range(sources)]
            for i, s in enumerate(names)
        ]
        polls.append((Micros(begin + (number + 1) * slot), rows))
    for _ in range(repeats):
        monitors = [Monitor(FusionRule(s, max_age=2 * slot, min_sources=3)) for s in names]
        started = time.process_time()
        for now, rows in polls:
            for monitor, quotes in zip(monitors, rows, strict=True):
                monitor.add(quotes)
                assert isinstance(monitor.at(now), Fused)
        spent.append(time.process_time() - started)
    figures["quotes_per_second"] = symbols * sources * slots / statistics.median(spent)


def show(table: Table) -> None:
    print(f"{'shift in bps, p99 / max':<26}" + "".join(f"{name:>20}" for name in RULES))
    for case, row, more in table:
        cells = "".join(f"{row[name][0]:>10.1f}/{row[name][1]:>9.1f}" if name in row else " " * 20 for name in RULES)
        print(f"{case:<26}{cells if row else ''}  {more}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: Figures = {}
    table: Table = []
    calm: list[float] = []
    throughput(figures)
    if (DATA / "scenarios.json").is_file():
        cases = json.loads((DATA / "scenarios.json").read_text(encoding="utf-8"))
        for case in cases:
            for symbol in case["symbols"]:
                if any(word in case["what"] for word in GENUINE):
                    genuine_case(case, symbol, figures, table)
                else:
                    fault_case(case, symbol, figures, table, calm)
        figures["scenarios.calm.shift_bps.max"] = max(calm, default=0.0)
        calm_faults(arguments.seed, figures, table, calm)
        figures["calm.shift_bps.max"] = max(calm)
        named = [value for key, value in figures.items() if key.endswith(".slots_to_name")]
        figures["slots_to_name_fault.max"] = max([*named, figures["slots_to_name_injected.max"]])
        show(table)
        false_alarms(cases, figures)
    else:
        print(f"no public data set in {DATA}: only the throughput is measured; set DODONA_SHARED_DATA to its folder")
    for key in sorted(figures):
        if "shift_bps" not in key or key.startswith(("calm.", "scenarios.")):
            print(f"{key:<52} {figures[key]:>14,.2f}")
    if arguments.json:
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        result = {"name": "fusion", "machine": machine, "figures": figures}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
