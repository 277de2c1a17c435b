"""What a user or a stranger can do wrong, tried on the real commands: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bundle import save
from oracle import cli
from oracle.config import KeySettings
from oracle.demo.workspace import LOCK, BadWorkspace, workspace, write_whole
from oracle.errors import ConfigError
from oracle.journal import Identity, open_journal
from oracle.keys import create_keystore, load_key
from oracle.recursion import restore_limit
from tests.strategies.bundles import random_walk

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
DEEP = b"[" * 100_000
ADDRESSES = {"aggregator": "0x" + "a" * 40, "staking": "0x" + "b" * 40}
CHAIN = ["--chain-id", "5", "--aggregator", ADDRESSES["aggregator"], "--staking", ADDRESSES["staking"]]


@pytest.fixture(autouse=True)
def _sane_recursion_limit() -> None:
    restore_limit()  # ape's pytest plugin brings py-evm into this process


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def command(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dodona", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return command


def one_line(text: str) -> bool:
    return text.startswith("dodona: ") and text.count("\n") == 1 and text.rstrip("\n").isprintable()


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def python(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """A real process in its own group that hears Ctrl-C, whatever the shell above made of it."""
    return subprocess.Popen(
        [sys.executable, *words], cwd=cwd, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        process_group=0, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


# `dodona node init`: all of it or nothing


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rpc", "nonsense"], "chain.rpc_url"),
        (["--rpc", "http://[::1"], "chain.rpc_url"),
        (["--rpc", "http://127.0.0.1:99999"], "chain.rpc_url"),
        (["--rpc", "http://x/\x1b[31m"], "chain.rpc_url"),
        (["--rpc", "http://x", "--name", "a b"], "node.name"),
        (["--rpc", "http://x", "--name", "\udcff"], "node.name"),
        (["--rpc", "http://x", "--port", "0"], "http.port"),
    ],
)
def test_node_init__bad_option__leaves_no_folder(run, tmp_path: Path, words: list[str], said: str) -> None:
    code, err = run("node", "init", tmp_path / "a" / "b", *CHAIN, *words)
    assert code == 2 and one_line(err) and said in err, err
    assert tree(tmp_path) == []


@pytest.mark.parametrize("there", ["password", "keystore.json"])
def test_node_init__a_file_is_there__is_kept_and_nothing_is_added(run, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    code, err = run("node", "init", tmp_path, *CHAIN, "--rpc", "http://x")
    assert code == 2 and one_line(err) and there in err
    assert tree(tmp_path) == [there] and (tmp_path / there).read_text() == "mine"


def test_node_init__folder_below_a_file__is_one_line(run, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    code, err = run("node", "init", tmp_path / "f" / "x", *CHAIN, "--rpc", "http://x")
    assert code == 2 and one_line(err) and tree(tmp_path) == ["f"]


# Keys and passwords


def keystore(folder: Path) -> KeySettings:
    (folder / "password").write_text("p")
    create_keystore(folder / "key.json", "p", light=True)
    return KeySettings(folder / "key.json", password_file=folder / "password")


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        (("kdfparams", "c"), 2**70, "damaged"),
        (("kdfparams", "dklen"), 2**40, "damaged"),
        (("cipherparams", "iv"), "00" * 16, "states the address"),
    ],
)
def test_load_key__damaged_keystore__is_refused(
    tmp_path: Path, part: tuple[str, str], value: object, said: str
) -> None:
    settings = keystore(tmp_path)
    content = json.loads(settings.keystore.read_text())
    content["crypto"][part[0]][part[1]] = value
    settings.keystore.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"key\.json: .*{said}"):
        load_key(settings)


@pytest.mark.parametrize("odd", ["fifo", "device", "huge"])
def test_load_key__password_is_no_small_file__is_refused_at_once(tmp_path: Path, odd: str) -> None:
    settings = keystore(tmp_path)
    path = tmp_path / "password"
    path.unlink()
    if odd == "fifo":
        os.mkfifo(path)
    elif odd == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"x" * 5000)
    with pytest.raises(ConfigError, match="password: cannot read the password file"):
        load_key(settings)


# Chains


@pytest.fixture
def lying_rpc() -> Iterator[dict[str, bytes]]:
    """An RPC that gives whatever `answer` holds to every request."""
    said = {"answer": b""}
    server = socket.create_server(("127.0.0.1", 0))
    said["url"] = f"http://127.0.0.1:{server.getsockname()[1]}".encode()

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(said["answer"])
                connection.sendall(head + said["answer"])

    thread = threading.Thread(target=serve)
    thread.start()
    yield said
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


@pytest.mark.parametrize(
    "answer",
    [
        DEEP, b'{"a":' * 100_000, b"null", b"[]", b'{"jsonrpc":"2.0","id":0,"result":"0x"}',
        b'{"jsonrpc":"2.0","id":0,"error":{"code":3,"message":"execution reverted: \\u001b[31mred\\nline"}}',
    ],
    ids=["deep list", "deep object", "null", "list", "no quantity", "terminal colours"],
)  # fmt: skip
def test_feed_list__rpc_answers_rubbish__is_one_printable_line(run, lying_rpc, answer: bytes, monkeypatch) -> None:
    monkeypatch.setattr("oracle.chain.rpc.BACKOFF_S", 0.01)
    lying_rpc["answer"] = answer
    code, err = run("feed", "list", *CHAIN, "--rpc", lying_rpc["url"].decode())
    assert code == 2 and one_line(err) and lying_rpc["url"].decode() in err and "--rpc" in err, err


def test_feed_list__deployment_of_a_demo_that_is_gone__names_the_mend(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("oracle.chain.rpc.BACKOFF_S", 0.01)
    path = tmp_path / "d.json"
    path.write_text(json.dumps({"rpc_url": "http://127.0.0.1:9", "chain_id": 5, **ADDRESSES}))
    code, err = run("feed", "list", "--deployment", path)
    assert code == 2 and one_line(err) and str(path) in err and "dodona demo --serve" in err


@pytest.mark.parametrize(
    "content", [DEEP, b"\xff", b'{"rpc_url": "http://[::1", "chain_id": 5}'], ids=["deep", "no text", "no url"]
)
def test_feed_list__damaged_deployment__is_one_line(run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.json").write_bytes(content)
    code, err = run("feed", "list", *CHAIN[2:], "--deployment", tmp_path / "d.json")
    assert code == 2 and one_line(err), err


# Journals


def test_open_journal__file_cut_short__is_refused(tmp_path: Path) -> None:
    mine = Identity(5, "0x" + "0" * 40, "0xaa")
    journal = open_journal(tmp_path, mine)
    for slot in range(600):
        journal.reserve("report", slot, bytes([slot % 256]) * 32)
    journal.close()
    path = tmp_path / "journal.sqlite"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ConfigError, match=r"the journal is damaged.*move it away and start again"):
        open_journal(tmp_path, mine)


FULL_DISK = """
import resource, sys
from pathlib import Path
from oracle.errors import JournalFault
from oracle.journal import Identity, open_journal
folder = Path(sys.argv[1])
journal = open_journal(folder, Identity(5, "0x0", "0xaa"))
claimed = [slot for slot in range(20) if journal.reserve("report", slot, bytes(32)) is None]
room = sum(path.stat().st_size for path in folder.glob("*-wal"))
resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
refused = []
for slot in range(20, 60):
    try:
        journal.reserve("report", slot, bytes(32))
        claimed.append(slot)
    except JournalFault:
        refused.append(slot)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.reserve("report", 60, bytes(32))
assert refused, "the disk was never full"
assert all(journal.reserved("report", slot) is not None for slot in claimed)
assert all(journal.reserved("report", slot) is None for slot in refused)
print(len(refused))
"""


def test_journal__disk_full__refuses_each_claim_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0 and int(ended.stdout) >= 1, ended.stderr


# Bundles


def test_model_verify__deeply_nested_manifest_and_header__name_the_folder_and_the_mend(run, tmp_path: Path) -> None:
    for name, size in (("manifest.json", 60_000), ("weights.safetensors", 0)):
        folder = tmp_path / name.partition(".")[0]
        save(random_walk(3), folder)
        head = b"" if size else (60_000).to_bytes(8, "little")
        (folder / name).write_bytes(head + DEEP[:60_000])
        code, err = run("model", "verify", folder)
        assert code == 2 and one_line(err) and str(folder) in err and "fetch the bundle again" in err, err


# The demo's folder


@pytest.mark.parametrize("part", ["cache", "bundles", "net"])
def test_workspace__a_file_where_a_folder_should_be__is_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / part).write_text("")
    with pytest.raises(BadWorkspace, match=rf"{part}: is in the way.*another folder"), workspace(tmp_path):
        pytest.fail("entered")


@pytest.mark.parametrize("part", ["summary.json", "report.html", "deployment.json"])
def test_workspace__a_folder_where_a_file_should_be__is_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / part).mkdir()
    with pytest.raises(BadWorkspace, match=rf"{part}: is in the way.*another folder"), workspace(tmp_path):
        pytest.fail("entered")


def test_workspace__second_demo__is_refused_until_the_first_ends(tmp_path: Path) -> None:
    with (
        workspace(tmp_path),
        pytest.raises(BadWorkspace, match=rf"another demo \(process {os.getpid()}\)"),
        workspace(tmp_path),
    ):
        pytest.fail("entered")
    with workspace(tmp_path):
        assert tree(tmp_path) == [LOCK]


def test_write_whole__cannot_be_placed__leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "a", b"x")
    assert tree(tmp_path) == ["a"]


def test_demo__build_is_a_file__is_one_line_before_any_training(run, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "build").write_text("mine")
    monkeypatch.chdir(tmp_path)
    code, err = run("demo")
    assert code == 2 and one_line(err) and "build" in err and "another folder" in err, err
    assert tree(tmp_path) == ["build"]


def test_main__system_error__is_one_line(run, tmp_path: Path, monkeypatch) -> None:
    def full(*_args: object, **_named: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setattr("oracle.demo.main.run_demo", full)
    code, err = run("demo")
    assert code == 2 and one_line(err) and "No space left" in err and str(tmp_path / "x") in err


# Interrupts, on real processes


def test_main__ctrl_c_while_modules_load__is_130_without_a_traceback(tmp_path: Path) -> None:
    process = python("-X", "importtime", "-m", "oracle.cli", "feed", "list", cwd=tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if "ssl" in line:  # well inside the imports, and before the command
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err


# py-evm and the recursion limit

NESTED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import oracle.devchain, oracle.chain.localnet
from models.bundle import BadManifest, _manifest
from models.weights import BadWeights, from_bytes
from oracle.chain.rpc import MALFORMED
from oracle.commands.feed import _deployment
from oracle.config import load
from oracle.errors import ConfigError
from pathlib import Path
deep = b"[" * 100_000
path = Path(sys.argv[2]) / "deep"
path.write_bytes(deep)
for parse, error in (
    (lambda: json.loads(deep), RecursionError),
    (lambda: json.loads(b'{"a":' * 100_000), RecursionError),
    (lambda: _manifest(deep), BadManifest),
    (lambda: from_bytes((60_000).to_bytes(8, "little") + deep), BadWeights),
    (lambda: _deployment(path), ConfigError),
    (lambda: load(path), ConfigError),
):
    try:
        parse()
    except error:
        continue
    raise SystemExit(f"{error.__name__} was not raised")
assert RecursionError in MALFORMED
print(sys.getrecursionlimit())
"""


def test_recursion_limit__after_py_evm__deep_json_is_an_error_and_no_crash(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NESTED, str(ROOT), str(tmp_path)], env=ENVIRONMENT, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0 and int(ended.stdout) <= 12_288, ended.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--genesis-time", "-5"], "--genesis-time"),
        (["--genesis-time", "1", "--chain-id", "0"], "--chain-id"),
        (["--genesis-time", "1", "--port", "70000"], "--port"),
        ([], "--genesis-time"),
    ],
)
def test_devchain__bad_option__is_one_line_and_2(words: list[str], said: str, capsys) -> None:
    from oracle.devchain import main

    with pytest.raises(SystemExit) as ended:
        main(words)
    err = capsys.readouterr().err
    assert ended.value.code == 2 and err.startswith("devchain: ") and err.count("\n") == 1 and said in err


def test_devchain__ctrl_c__is_130_and_quiet(tmp_path: Path) -> None:
    process = python("-m", "oracle.devchain", "--genesis-time", "1700000000", cwd=tmp_path)
    assert process.stdout is not None and "url" in process.stdout.readline()
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "") and time.monotonic() - begun < 10
