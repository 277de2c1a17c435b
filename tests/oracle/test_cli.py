from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feeds.sources.http import Http
from models.bundle import save
from oracle import cli
from oracle.commands import node as node_command
from oracle.commands import root
from oracle.config import LocalConfig, load
from oracle.errors import DodonaError
from oracle.keys import load_key
from oracle.peers import listen
from oracle.sources import open_sources
from oracle.startup import Checked
from oracle.watch import Watch
from tests.strategies.bundles import random_walk
from tests.strategies.nodes import network

ROOT = Path(__file__).resolve().parents[2]
CHAIN = [
    "--rpc",
    "http://127.0.0.1:9",
    "--chain-id",
    "5",
    "--aggregator",
    "0x" + "a" * 40,
    "--staking",
    "0x" + "b" * 40,
]


def dodona(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["dodona", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    return lambda *words: dodona(monkeypatch, capsys, *map(str, words))


def one_line(text: str) -> bool:
    return text.startswith("dodona: ") and text.count("\n") == 1 and "Traceback" not in text


def test_node_run__no_such_config__is_one_line_and_2(run, tmp_path: Path) -> None:
    code, _, err = run("node", "run", "--config", tmp_path / "none.toml")
    assert code == 2 and one_line(err) and "none.toml" in err


def test_node_init__writes_a_config_that_loads_and_a_key_that_opens(run, tmp_path: Path) -> None:
    home = tmp_path / "alder"
    code, out, err = run("node", "init", home, *CHAIN, "--name", "alder", "--port", "9444")
    assert (code, err) == (0, "")
    config = load(home / "node.toml")
    assert (config.node.name, config.http.port, config.chain.chain_id) == ("alder", 9444, 5)
    assert load_key(config.key).checksum_address in out
    assert all(path.stat().st_mode & 0o077 == 0 for path in home.iterdir())
    before = {path: path.read_bytes() for path in home.iterdir()}
    code, _, err = run("node", "init", home, *CHAIN)
    assert code == 2 and one_line(err) and {path: path.read_bytes() for path in home.iterdir()} == before


def test_node_init__bad_option__leaves_nothing_half_written(run, tmp_path: Path) -> None:
    words = [*CHAIN[:2], "--chain-id", "0", *CHAIN[4:]]
    code, _, err = run("node", "init", tmp_path / "x", *words)
    assert code == 2 and one_line(err) and "chain_id" in err
    assert list(tmp_path.iterdir()) == []


def test_node_check__rpc_out_of_reach__is_one_line_and_writes_nothing(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{free.getsockname()[1]}"
    free.close()
    run("node", "init", tmp_path / "x", "--rpc", url, *CHAIN[2:])
    files = sorted((tmp_path / "x").iterdir())
    for command in ("check", "run"):
        code, _, err = run("node", command, "--config", tmp_path / "x" / "node.toml")
        assert code == 2 and one_line(err) and url in err, err
    assert sorted((tmp_path / "x").iterdir()) == files


def test_node_check__sources__each_has_its_line_and_a_silent_one_fails_it(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, asked = tmp_path / "x", []

    async def checked(config: LocalConfig) -> Checked:
        asked.append(config)
        sources = tuple(open_sources(config.sources, http := Http()))
        key = load_key(config.key)
        return Checked(key, Watch((), sources, {}), (network(),), None, sources, http)

    monkeypatch.setattr("oracle.commands.node.check", checked)
    run("node", "init", home, *CHAIN)
    with (home / "node.toml").open("a") as file:
        file.write("""
            [[sources]]
            name = "mid"
            kind = "replay"
            data = "eurusd:mid"
            symbol = "EUR/USD"
            [[sources]]
            name = "far"
            kind = "adapter"
            url = "http://127.0.0.1:9/"
            symbols = ["EUR/USD"]
        """)
    code, out, err = run("node", "check", "--config", home / "node.toml")
    assert out.splitlines()[0] == "source mid: ok, recorded" and "source far: is unavailable" in out.splitlines()[1]
    assert code == 2 and one_line(err) and "nothing came from far" in err
    (home / "node.toml").write_text((home / "node.toml").read_text().rpartition("[[sources]]")[0])
    code, out, err = run("node", "check", "--config", home / "node.toml")
    assert code == 0 and "source mid: ok, recorded" in out and "in order" in out and len(asked) == 2


def test_feed_list__no_deployment__says_how_to_get_one(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("feed", "list")
    assert code == 2 and one_line(err) and "build/demo/deployment.json" in err and "dodona demo --serve" in err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "damaged"),
        ("[]", "no addresses"),
        ("{}", "--rpc"),
        ('{"rpc_url": "http://x", "chain_id": "5"}', "--chain-id"),
    ],
)
def test_feed_read__bad_deployment__is_one_line(run, tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "d.json").write_text(content)
    code, _, err = run("feed", "read", "EUR/USD", "--deployment", tmp_path / "d.json")
    assert code == 2 and one_line(err) and words in err


def test_feed_read__no_address__is_one_line(run) -> None:
    code, _, err = run("feed", "read", "EUR/USD", *CHAIN[:5], "0xzz", *CHAIN[6:])
    assert code == 2 and one_line(err) and "--aggregator" in err


def test_model_list_and_verify__sound_and_damaged_bundles(run, tmp_path: Path) -> None:
    bundle = random_walk(3)
    save(bundle, tmp_path / "a")
    code, out, _ = run("model", "list", tmp_path)
    assert code == 0 and bundle.hash in out and "random_walk" in out
    code, out, _ = run("model", "verify", tmp_path / "a")
    assert code == 0 and f"sound, {bundle.hash}" in out
    weights = tmp_path / "a" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    code, _, err = run("model", "verify", tmp_path)
    assert code == 2 and one_line(err) and str(tmp_path / "a") in err
    code, _, err = run("model", "list", tmp_path / "nowhere")
    assert code == 2 and one_line(err)


def test_usage__unknown_command_or_missing_option__is_2(run) -> None:
    for words in (("nonsense",), ("node", "run"), ("node", "run", "--confg", "x"), ("version", "x")):
        code, out, err = run(*words)
        assert (code, out) == (2, "") and one_line(err) and "--help`" in err, err
    code, out, _ = run("node")
    assert code == 2 and "check" in out


def test_main__interrupted__is_130(run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(node_command, "load", interrupt)
    assert run("node", "run", "--config", tmp_path)[0] == 130


def test_main__foreseen_error_of_many_lines__is_one_line(run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_path: Path) -> None:
        raise DodonaError("first\n  second")

    monkeypatch.setattr(node_command, "load", fail)
    assert run("node", "run", "--config", tmp_path) == (2, "", "dodona: first second\n")


def test_help__names_every_group() -> None:
    text = CliRunner().invoke(root.app, ["--help"]).output
    assert all(word in text for word in ("node", "feed", "model", "demo"))


def test_python_m__runs_and_exits_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "oracle.cli", "feed", "list", "--deployment", str(tmp_path / "d.json")]
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert ended.returncode == 2 and one_line(ended.stderr)
    assert json.dumps(ended.stdout) == '""' and signal.SIGINT == 2
