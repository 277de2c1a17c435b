"""Constants, compilation, cache, sizes."""

from __future__ import annotations

import json
import os

import pytest

import contracts
from contracts import artifacts
from contracts.artifacts import CodeTooLarge, UnknownContract, artifact, contract_names


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache folder and no artifact in memory."""
    monkeypatch.setenv("DODONA_CACHE", str(tmp_path))
    artifact.cache_clear()
    yield tmp_path
    artifact.cache_clear()


@pytest.mark.parametrize("name", contract_names())
def test_artifact__every_contract__fits_eip_170_and_is_documented(name):
    built = artifact(name)
    assert 0 < built.runtime_size <= artifacts.EIP170_LIMIT
    assert any(entry["type"] == "function" for entry in built.abi)


def test_contract_names__core__are_found():
    assert {"OracleToken", "Staking", "Aggregator", "Feed"} <= set(contract_names())


def test_artifact__second_time__comes_from_disk(fresh, monkeypatch):
    built = artifact("OracleToken")
    artifact.cache_clear()
    monkeypatch.setattr(artifacts, "_compile", lambda *_: pytest.fail("compiled again"))
    assert artifact("OracleToken") == built
    assert len(list(fresh.iterdir())) == 1


@pytest.mark.parametrize("text", ["{", "{}"])
def test_artifact__broken_cache_file__is_compiled_again(fresh, text):
    built = artifact("OracleToken")
    artifact.cache_clear()
    (stored,) = fresh.iterdir()
    stored.write_text(text)
    assert artifact("OracleToken") == built
    assert json.loads(stored.read_text())["runtime_size"] == built.runtime_size


def test_layout__aggregator__ring_follows_heads():
    layout = artifact("Aggregator").layout
    assert layout["rounds.ring"] == layout["rounds.heads"] + (contracts.constant_int("MAX_FEED_NUMBER") + 1) // 4


def test_artifact__unknown_name__names_the_known():
    with pytest.raises(UnknownContract, match="Aggregator"):
        artifact("Aggregatr")


def test_artifact__above_the_limit__raises(fresh, monkeypatch):
    monkeypatch.setattr(artifacts, "EIP170_LIMIT", 10)
    with pytest.raises(CodeTooLarge, match="OracleToken"):
        artifact("OracleToken")


def test_artifact__compiled_from_another_folder__is_the_same(fresh, monkeypatch, tmp_path_factory):
    """In-process compilation depends on the sources only, so an installed wheel gives the same code."""
    built = artifact("Feed")
    artifact.cache_clear()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    for stored in fresh.iterdir():
        os.unlink(stored)
    assert artifact("Feed") == built


def test_blueprint__erc_5202__is_the_creation_code_after_its_preamble(net, ask):
    built = artifact("Feed")
    transaction = {"from": net.core.owner, "data": built.blueprint, "gas": 8_000_000}
    receipt = net.chain.w3.eth.wait_for_transaction_receipt(net.chain.w3.eth.send_transaction(transaction))
    assert bytes(net.chain.w3.eth.get_code(receipt["contractAddress"])) == b"\xfe\x71\x00" + built.bytecode


def test_constants__types__are_checked():
    assert contracts.constant_int("RING") == 1024
    assert contracts.constant_str("DOMAIN_NAME") == "Dodona"
    with pytest.raises(TypeError):
        contracts.constant_int("DOMAIN_NAME")
    with pytest.raises(TypeError):
        contracts.constant_str("RING")


@pytest.mark.parametrize("line", ["A: constant(uint256) = 1 + 1", "import os", "A = 1", "A: constant(bool) = True"])
def test_constants__anything_but_a_literal__is_refused(tmp_path, line):
    path = tmp_path / "constants.vy"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"constants\.vy:1"):
        contracts.read_constants(path)


def test_token__supply__is_minted_once_for_ever(net, ask):
    token = net.core.token
    assert ask(token, "totalSupply") == 10**27
    assert (ask(token, "CLOCK_MODE"), ask(token, "clock")) == ("mode=timestamp", net.chain.now)
    names = {entry.get("name") for entry in token.abi if entry["type"] == "function"}
    assert not names & {"mint", "set_minter", "owner", "transfer_ownership"}
    built = artifact("OracleToken")
    call = net.chain.w3.eth.contract(abi=built.abi, bytecode=built.bytecode).constructor(2**96)
    with pytest.raises(Exception, match=r"token: supply above 2\*\*96 - 1"):
        net.chain.w3.eth.call(call.build_transaction({"gas": 10**7, "from": net.core.owner}), "pending")
