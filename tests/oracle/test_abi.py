"""`dodona abi`: the ABI of every contract and interface as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from contracts.abis import abi, abi_text, interface_names
from contracts.artifacts import UnknownContract, artifact, contract_names
from oracle import cli


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dodona", "abi", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.mark.parametrize("name", contract_names())
def test_abi__each_contract__is_what_is_compiled(run, name: str) -> None:
    code, out, err = run(name)
    assert (code, err) == (0, "") and json.loads(out) == artifact(name).abi


@pytest.mark.parametrize("name", interface_names())
def test_abi__each_interface__has_functions(run, name: str) -> None:
    code, out, _ = run(name)
    entries = json.loads(out)
    assert code == 0 and any(entry["type"] == "function" for entry in entries)
    assert all(entry["type"] in ("function", "event") for entry in entries)


@pytest.mark.parametrize(
    ("interface", "contract"),
    [("IAggregator", "Aggregator"), ("IConfigurator", "Configurator"), ("IStaking", "Staking"),
     ("ISlashing", "Slashing"), ("IAggregatorV2V3", "Feed"), ("IFeed", "StrictFeed"), ("IFeedFactory", "FeedFactory"),
     ("IFeedProxy", "FeedProxy")],
)  # fmt: skip
def test_abi__interface__is_part_of_its_contract(interface: str, contract: str) -> None:
    offered = {(e["name"], tuple(i["type"] for i in e["inputs"])) for e in abi(contract) if e["type"] == "function"}
    asked = {(e["name"], tuple(i["type"] for i in e["inputs"])) for e in abi(interface) if e["type"] == "function"}
    assert asked and asked <= offered


def test_abi_list__shows_every_name(run) -> None:
    code, out, _ = run("--list")
    assert code == 0 and out.split() == [*contract_names(), *interface_names()]


def test_abi_out__writes_the_same_text(run, tmp_path: Path) -> None:
    code, out, _ = run("Feed", "--out", tmp_path / "Feed.json")
    assert code == 0 and "ABI of Feed" in out
    assert (tmp_path / "Feed.json").read_text(encoding="utf-8") == abi_text("Feed")


def test_abi__unknown_name_no_name_or_both__is_one_line_and_2(run, tmp_path: Path) -> None:
    for words in (("Fed",), (), ("Feed", "--list"), ("Feed", "--out", tmp_path / "none" / "x.json")):
        code, out, err = run(*words)
        assert (code, out) == (2, "") and err.startswith("dodona: ") and err.count("\n") == 1, err
    with pytest.raises(UnknownContract, match="Aggregator"):
        abi("../constants")
