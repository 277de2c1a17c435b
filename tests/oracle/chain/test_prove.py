"""`dodona node prove`: what it prints is what Staking takes, and nothing else is ever signed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from eth_utils.address import to_checksum_address

from oracle.chain.deploy import send
from oracle.config import ChainSettings
from oracle.devchain import dev_address

TOKEN = 10**18


async def dodona(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oracle.cli", *words]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)


async def test_prove__new_node__staking_registers_its_key(network, chain_settings: ChainSettings, tmp_path: Path):
    home, cold = tmp_path / "alder", to_checksum_address(dev_address(5))
    chain = ["--rpc", chain_settings.rpc_url, "--chain-id", "31337"]
    contracts = ["--aggregator", chain_settings.aggregator, "--staking", chain_settings.staking]
    assert (await dodona("node", "init", str(home), *chain, *contracts)).returncode == 0
    answer = await dodona("node", "prove", "--config", str(home / "node.toml"), "--owner", cold)
    assert answer.returncode == 0, answer.stderr
    said = dict(line.split() for line in answer.stdout.splitlines())
    core, w3 = network.core, network.w3
    send(w3, core.token.functions.transfer(cold, TOKEN), core.owner)
    send(w3, core.token.functions.approve(core.staking.address, TOKEN), cold)
    proof = bytes.fromhex(said["signature"][2:])
    send(w3, core.staking.functions.register(said["key"], "http://127.0.0.1:9300", TOKEN, proof), cold)
    assert core.staking.functions.ownerOf(said["key"]).call() == cold


async def test_prove__no_address__is_one_line_and_2(tmp_path: Path):
    answer = await dodona("node", "prove", "--config", str(tmp_path / "none.toml"), "--owner", "0x12")
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1 and "--owner" in answer.stderr
