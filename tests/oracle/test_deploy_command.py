"""`dodona deploy` as a process of its own, through ape's networks and accounts, over HTTP: dry run, SIGKILL, verify."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import ape
import pytest
import pytest_asyncio
from eth_account import Account

from oracle import cli
from oracle.chain.deployment.ape_network import ApeSigner, connected
from oracle.devchain import Serving, dev_address, dev_alloc, dev_key, serve
from oracle.errors import ConfigError
from oracle.ledger import Ledger
from tests.strategies.deployments import CORE, GENESIS, PRICE

ROOT = Path(__file__).resolve().parents[2]
ALIAS, PASSPHRASE = "deployer", "correct horse"
STEPS = 19


@dataclass
class Desk:
    """A served chain, a folder with a plan and a keystore of ape's, and the command on them."""

    serving: Serving
    folder: Path

    @property
    def sent(self) -> int:
        return self.serving.chain.ledger.nonce(dev_address(0))

    @property
    def network(self) -> str:
        return f"ethereum:local:{self.serving.url}"

    async def start(self, *words: str, passphrase: str = PASSPHRASE) -> asyncio.subprocess.Process:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT), "APE_DATA_FOLDER": str(self.folder / "ape"),
            f"APE_ACCOUNTS_{ALIAS}_PASSPHRASE": passphrase,
        }  # fmt: skip
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "oracle.cli", "deploy", "--network", self.network, *words, cwd=self.folder,
            env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *words: str, passphrase: str = PASSPHRASE) -> tuple[int, str, str]:
        process = await self.start(*words, passphrase=passphrase)
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def killed_at(self, nonce: int) -> int:
        """Run it and SIGKILL it once the chain holds `nonce` of its transactions; returns how many it then holds."""
        process = await self.start("--account", ALIAS, "--plan", "plan.toml")
        while self.sent < nonce and process.returncode is None:
            await asyncio.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        assert process.returncode == -signal.SIGKILL
        return self.sent


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    (tmp_path / "plan.toml").write_text(CORE + PRICE, encoding="utf-8")
    accounts = tmp_path / "ape" / "accounts"
    accounts.mkdir(parents=True)
    keystore = Account.encrypt(dev_key(0), PASSPHRASE, kdf="pbkdf2", iterations=1_000)
    (accounts / f"{ALIAS}.json").write_text(json.dumps(keystore), encoding="utf-8")
    serving = await serve(Ledger(31337, GENESIS, dev_alloc(), GENESIS))
    try:
        yield Desk(serving, tmp_path)
    finally:
        await serving.stop()


async def test_deploy__killed_in_the_middle__next_run_finishes_and_verify_agrees(desk: Desk) -> None:
    code, out, err = await desk.run("--account", ALIAS, "--plan", "plan.toml", "--dry-run", passphrase="")
    assert (code, err) == (0, "") and f"{STEPS} steps to send" in out and "nothing was sent" in out
    assert "OracleToken.constructor(1000000000000000000000000)" in out and "note: the owner" in out
    assert desk.sent == 0 and not (desk.folder / "deployments").exists()
    assert 5 <= await desk.killed_at(5) < STEPS
    code, out, err = await desk.run("--account", ALIAS, "--plan", "plan.toml")
    assert code == 0 and desk.sent == STEPS, err
    written = json.loads((desk.folder / "deployments" / "31337.json").read_text(encoding="utf-8"))
    assert written["complete"] is True and len(written["steps"]) == STEPS and "all hold" in out
    assert all(f"{address}  {name}" in out for name, address in written["addresses"].items())
    code, out, _ = await desk.run("--verify")
    assert code == 0 and "FAIL" not in out and out.count("ok   ") > 40
    assert desk.sent == STEPS


async def test_deploy__wrong_passphrase__is_one_line_and_sends_nothing(desk: Desk) -> None:
    code, _, err = await desk.run("--account", ALIAS, "--plan", "plan.toml", passphrase="wrong")
    assert code == 2 and err.startswith("dodona: ") and err.count("\n") == 1 and f"--account {ALIAS}" in err, err
    assert desk.sent == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--account", "me"), "--plan: name the TOML file"),
        (("--plan", "plan.toml"), "--account: name the ape account"),
        (("--verify", "--plan", "plan.toml"), "--verify takes the plan from the deployment file"),
        (("--verify", "--dry-run"), "--verify takes the plan from the deployment file"),
    ],
)
def test_deploy__options_that_do_not_go_together__are_one_line(
    words: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dodona", "deploy", "--network", "ethereum:local:test", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "") and named in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("choice", "words"), [("ethereum:nowhere:node", "No network in"), ("none", "No ecosystem named")]
)
def test_network__unknown__is_a_config_error(choice: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"--network {choice}: {words}.*ape networks list"), connected(choice):
        pass


def test_network__out_of_reach__is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def __enter__(self) -> None:
            raise ConnectionError("No node found.\nThings you can do: ...")

    monkeypatch.setattr(type(ape.networks), "parse_network_choice", lambda self, choice: Gone())
    with pytest.raises(ConfigError, match=r"--network x: No node found; `ape networks list`"), connected("x"):
        pass


@pytest.mark.parametrize(
    ("alias", "local", "words"),
    [
        ("nobody-has-this-name", True, "ape accounts list"),
        ("TEST::99", True, "allowed: TEST::0 to TEST::9"),
        ("TEST::x", True, "allowed: TEST::0 to TEST::9"),
        ("TEST::0", False, "local networks only"),
    ],
)
def test_account__unknown_or_known_to_everybody__is_a_config_error(alias: str, local: bool, words: str) -> None:
    provider = SimpleNamespace(network=SimpleNamespace(is_local=local))
    with pytest.raises(ConfigError, match=rf"--account {alias}: .*{words}"):
        ApeSigner(alias, provider)


def test_account__test_account_on_a_local_network__is_ape_s() -> None:
    provider = SimpleNamespace(network=SimpleNamespace(is_local=True))
    assert ApeSigner("TEST::0", provider).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
