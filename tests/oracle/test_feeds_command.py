"""`dodona feeds`: shows who counts and why, live and from the store."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from feeds.sources.replay import ReplaySource, load_csv
from feeds.store import Store
from feeds.types import SECOND, Micros
from oracle import cli
from oracle.intake import QUOTES_DIR
from tests.feeds.sources.hostile import HostileServer

MINUTE = 60
START = 1_678_500_000 // 86_400 * 86_400
END = START + 40 * MINUTE
CONFIG = """
[node]
name = "n"
data_dir = "data"
[chain]
rpc_url = "http://127.0.0.1:9"
chain_id = 5
aggregator = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
staking = "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
[key]
keystore = "k"
password_env = "PASSWORD"
[http]
port = 9300
"""


def iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rows = ["ts,source,symbol,open,high,low,close,volume"]
    for minute in range(40):
        ts, price = START + minute * MINUTE, 100 + 0.01 * minute
        rows += [f"{ts},{name},BTC/USD,1,1,1,{price},1" for name in ("a", "b")]
        if minute < 15:
            rows.append(f"{ts},c,BTC/USD,1,1,1,{price},1")
        rows.append(f"{ts},d,USDT/USD,1,1,1,1.0,1")
        rows.append(f"{ts},d,BTC/USDT,1,1,1,{price},1")
    (tmp_path / "bars.csv").write_text("\n".join(rows) + "\n")
    text = CONFIG
    for name, symbol in (("a", "BTC/USD"), ("b", "BTC/USD"), ("c", "BTC/USD"), ("d", "BTC/USDT")):
        text += f'[[sources]]\nname = "{name}"\nkind = "replay"\ndata = "bars.csv#{name}"\nsymbol = "{symbol}"\n'
        text += "width_s = 60\n"
    text += '[[feeds]]\nnumber = 0\nsymbol = "BTC/USD"\nsources = ["a", "b", "c", "d"]\n'
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def words(*given: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dodona", "feeds", *map(str, given)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return words


def test_watch__replayed_slots__show_who_counts_and_who_is_aside(run, config: Path) -> None:
    code, out, _ = run("watch", "BTC/USD", "-c", config, "--from", iso(START + 10 * MINUTE), "--slots", 20)
    assert code == 0 and out.count("BTC/USD at ") == 20
    assert "price 100.09 +/-" in out and "counts" in out and "beside it" in out
    assert "alarm at" in out and "c dead: silent for 660.0 s" in out


def test_explain__past_moment__knows_nothing_later(run, config: Path) -> None:
    folder = config.parent / "data" / QUOTES_DIR
    frames = load_csv(config.parent / "bars.csv")
    store = Store(folder)
    for name in ("a", "b", "c"):
        source = ReplaySource(name, {"BTC/USD": frames[name]["BTC/USD"]}, MINUTE * SECOND)
        store.append(asyncio.run(source.poll(Micros(END * SECOND))))
    store.close()
    code, out, _ = run("explain", "0", iso(START + 10 * MINUTE), "-c", config)
    assert code == 0 and "price 100.09 +/-" in out and out.count("counts") == 3
    code, out, _ = run("explain", "BTC/USD", iso(END), "-c", config)
    assert code == 0 and "c       BTC/USD" in out and "dead: silent for 1500.0 s" in out
    text = config.read_text()
    config.write_text(text.replace("[[feeds]]\n", "[[feeds]]\nmin_depth = 5000\n", 1))
    code, out, _ = run("explain", "BTC/USD", iso(END), "-c", config)
    assert code == 0 and "thin" not in out and "min_depth 5000 is left out" in out


@pytest.fixture
def adapter() -> Iterator[str]:
    """The URL of an external adapter that runs beside the command, in a thread of its own."""
    loop, ready, stop = asyncio.new_event_loop(), queue.Queue[str](), asyncio.Event()

    async def honest(_request: web.Request) -> web.Response:
        return web.json_response({"result": 20_123.5})

    async def serve() -> None:
        async with HostileServer(honest) as server:
            ready.put(server.url)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield ready.get(timeout=10)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_watch__live_source__shows_its_price_as_it_comes_and_has_no_past(run, tmp_path: Path, adapter: str) -> None:
    path = tmp_path / "node.toml"
    source = f'[[sources]]\nname = "far"\nkind = "adapter"\nurl = "{adapter}"\nsymbols = ["BTC/USD"]\nevery_s = 0.05\n'
    feed = '[[feeds]]\nnumber = 0\nsymbol = "BTC/USD"\nsources = ["far"]\nmax_age_s = 1\n'
    path.write_text(CONFIG + source + feed)
    code, out, _ = run("watch", "BTC/USD", "-c", path, "--slots", 4)
    assert code == 0 and out.count("BTC/USD at ") == 4
    assert "refused, min_sources" in out and "price 20123.5 +/-" in out and "counts" in out
    code, out, err = run("watch", "BTC/USD", "-c", path, "--from", iso(START))
    assert code == 2 and "source far is live and has no past" in err and not out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", "ETH/USD", "2023-03-11T00:00Z"), "known: BTC/USD"),
        (("explain", "BTC/USD", "yesterday"), "allowed: a date and time"),
        (("explain", "BTC/USD", "2023-03-11T00:00Z"), "no quotes are stored"),
        (("watch", "BTC/USD", "--from", "0001-01-01T00:00Z"), "allowed: a date and time"),
    ],
)
def test_feeds__wrong_words__are_one_line_and_2(run, config: Path, words: tuple[str, ...], said: str) -> None:
    code, out, err = run(*words, "-c", config)
    assert code == 2 and said in err and err.count("\n") == 1 and not out
