"""A whole network of real processes: rounds on chain, a crash and a restart, and nothing left behind."""

import asyncio
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from oracle.chain.adapter import ChainAdapter
from oracle.chain.deploy import Timing
from oracle.config import FeedSettings
from oracle.consensus.network import FeedId, FeedKind, FeedSpec
from oracle.consensus.schedule import leader
from oracle.consensus.words import unpack_word
from oracle.devnet import Devnet, NodePlan
from oracle.errors import ConfigError
from oracle.processes import ROOT, Child, ProcessDied, free_ports
from oracle.source_settings import ReplaySettings

START = 1_508_119_200
SLOT = 60
TIMING = Timing(SLOT, 2 * SLOT + 30, 1000, 2000, 0, 1)
SPEC = FeedSpec(
    FeedId(0), FeedKind.PRICE, 6, 0, b"EUR".ljust(32, b"\0"), b"USD".ljust(32, b"\0"), 0, SLOT, 5_000, 1, 10**12,
    20_000, 100_000, 40_000, 1, 1, 10_000, bytes(32), bytes(32),
)  # fmt: skip


def price(source: str, slot_end: int) -> float:
    """Close of the bar that ends at a second; the two sources are 20 parts per million apart."""
    return round(1.2 + 0.0001 * (slot_end // SLOT % 50) + (0.000024 if source == "b" else 0.0), 6)


def plan(folder: Path, start: int = START) -> NodePlan:
    path = folder / "bars.csv"
    if not path.exists():
        opens = range(start - 30 * SLOT, start + 60 * SLOT, SLOT)
        rows = [
            f"{ts},{name},EUR/USD,{price(name, ts + SLOT)},{price(name, ts + SLOT)},{price(name, ts + SLOT)},"
            f"{price(name, ts + SLOT)},1" for ts in opens for name in "ab"
        ]  # fmt: skip
        path.write_text("\n".join(["ts,source,symbol,open,high,low,close,volume", *rows]) + "\n", encoding="utf-8")
    sources = tuple(ReplaySettings(name, str(path), "EUR/USD", SLOT) for name in "ab")
    return NodePlan(sources, (FeedSettings(0, "EUR/USD", ("a", "b"), max_age_s=2 * SLOT),))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def reservations(folder: Path) -> list[tuple[str, int, bytes]]:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        return connection.execute("select kind, slot, digest from reservations").fetchall()


async def test_devnet__crash_of_the_largest_and_restart__every_slot_with_a_live_leader_lands(tmp_path: Path) -> None:
    net = Devnet(tmp_path / "net", [SPEC], [plan(tmp_path)] * 4, TIMING, first_slot_at=START)
    async with net:
        pids = [node.child.pid for node in net.nodes if node.child is not None]
        adapter = await ChainAdapter.connect(net.nodes[0].config.chain)
        config = await adapter.network_config()
        down, back = net.first_slot + 3, net.first_slot + 7
        for slot in range(net.first_slot, net.first_slot + 11):
            if slot == down:
                await net.kill(0)
            if slot == back:
                await net.restart(0)
                restarted = net.nodes[0].child
                assert restarted is not None and restarted.pid not in pids
                pids.append(restarted.pid)
            result = await net.run_slot(slot)
            led = config.rows[leader(config, slot)].address
            gone = down <= slot < back and led == net.nodes[0].key.address
            assert len(result.transmissions) == (0 if gone else 1), f"slot {slot}"
            for landed in result.transmissions:
                word = unpack_word(landed.words[0])
                begun = START + (slot - net.first_slot) * SLOT
                assert landed.slot == slot and 1e6 * price("a", begun) <= word.value <= 1e6 * price("b", begun)
                assert word.turnout == (7000 if down <= slot < back else 10_000)
        readings = await adapter.readings(config.feeds)
        stored = readings[0].word
        assert readings[0].slot == net.first_slot + 10 and readings[0].round >= 8 and stored is not None
        assert stored.updated_at - stored.delay == START + 10 * SLOT
        assert net.deployment.faces.keys() == {0}
        await adapter.close()
    assert not any(alive(pid) for pid in pids)
    signed = [row for node in net.nodes for row in reservations(node.config.node.data_dir)]
    reports = {(slot, digest) for kind, slot, digest in signed if kind.lower().startswith("report")}
    assert len(reports) == len({slot for slot, _ in reports}) >= 8


async def test_devnet__system_clock__rounds_land_by_themselves(tmp_path: Path) -> None:
    now = int(time.time()) // SLOT * SLOT
    timing = Timing(2, 30, 300, 300, 0, 1)
    plans = [plan(tmp_path, now)]
    async with Devnet(tmp_path / "net", [SPEC], plans, timing, clock="system", stakes=(1,), faces=False) as net:
        slot = net.first_slot + (time.time_ns() // 10**6 - net.slot_start_ms(net.first_slot)) // 2000
        landed = await net.run_slot(slot)
        while not landed.transmissions and landed.slot < slot + 12:
            landed = await net.run_slot(landed.slot + 1)
    (only,) = landed.transmissions
    assert slot <= only.slot <= landed.slot
    assert 1.2 <= unpack_word(only.words[0]).value / 1e6 <= 1.206


async def test_devnet__node_cannot_start__its_last_words_and_nothing_left(tmp_path: Path) -> None:
    broken = NodePlan((), (FeedSettings(0, "EUR/USD", ("nowhere",)),))
    net = Devnet(tmp_path / "net", [SPEC], [broken], TIMING, first_slot_at=START, stakes=(40,), faces=False)
    with pytest.raises(ProcessDied, match="nowhere"):
        await net.__aenter__()
    assert net._chain is not None and not net._chain.running


SCRIPT = """
import asyncio, importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("devnet_parts", sys.argv[2])
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)
class Sleeping(t.Devnet):
    async def _launch(self, node):
        node.child = await t.Child.start("node", ["-c", "import time; time.sleep(60)"], self.folder / "node.log")
async def main():
    folder = Path(sys.argv[1])
    small = dict(first_slot_at=t.START, stakes=(1,), faces=False)
    async with Sleeping(folder / "net", [t.SPEC], [t.plan(folder)], t.TIMING, **small) as net:
        print(net._chain.pid, net.nodes[0].child.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_devnet__conductor_gets_a_signal__no_process_left(tmp_path: Path, number: signal.Signals) -> None:
    child = await Child.start("conductor", ["-c", SCRIPT, str(tmp_path), __file__], tmp_path / "log", {}, piped=True)
    pids = [int(word) for word in (await child.line(60)).split()]
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    os.kill(child.pid, number)
    async with asyncio.timeout(10):
        await child._process.wait()
        while any(alive(pid) for pid in pids):
            await asyncio.sleep(0.02)


def test_devnet__contradicting_arguments__config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one plan a validator"):
        Devnet(tmp_path, [SPEC], [], TIMING, first_slot_at=START)
    with pytest.raises(ConfigError, match="stepped clock"):
        Devnet(tmp_path, [SPEC], [NodePlan((), ())], TIMING, stakes=(1,))
    with pytest.raises(ConfigError, match="multiple"):
        Devnet(tmp_path, [SPEC], [NodePlan((), ())], TIMING, first_slot_at=START + 1, stakes=(1,))


# Processes


async def test_child__ends_early__error_shows_code_and_log(tmp_path: Path) -> None:
    code = "import sys; print('half way', file=sys.stderr); sys.exit(3)"
    child = await Child.start("thing", ["-c", code], tmp_path / "log", piped=True)
    with pytest.raises(ProcessDied, match=r"(?s)thing ended with code 3.*half way"):
        await child.line(20)


async def test_child__ignores_sigterm__killed_in_time(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = await Child.start("thing", ["-c", code], tmp_path / "log", piped=True)
    assert await child.line(20) == b"up\n"
    await child.stop(timeout_s=0.1)
    assert not child.running and not alive(child.pid)


def test_free_ports__several__distinct() -> None:
    assert len(set(free_ports(20))) == 20 and (ROOT / "oracle").is_dir()
