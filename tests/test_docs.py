"""What the pages for operators, modellers and contract developers name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from web3 import Web3

from contracts import constant_int
from contracts.artifacts import artifact
from oracle.chain.localnet import LocalNet, price_spec
from oracle.commands.root import app
from oracle.consensus.words import FeedWord, pack_word
from oracle.recipes import load_recipe
from oracle.service.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("operate", "models", "contracts")] + [
    ROOT / "examples" / "README.md"
]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, flags=re.M | re.S)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


def test_alerts__metrics_named__all_exist() -> None:
    text = (ROOT / "docs" / "alerts.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"\bdodona_\w+", text))
    kept = {metric.name for metric in vars(Metrics()).values()}
    assert len(named) > 8 and named <= kept, sorted(named - kept)
    assert len(re.findall(r"- alert: ", text)) == len(set(re.findall(r"- alert: (\w+)", text)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page__links__lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page__commands__exist(page: Path) -> None:
    known = {"dodona demo", "dodona demo --serve"}
    for group in app.registered_groups:
        commands = group.typer_instance.registered_commands
        known |= {f"dodona {group.name} {command.name or command.callback.__name__}" for command in commands}
    named = set(re.findall(r"\bdodona (?:node|feed|model) \w+|\bdodona demo(?: --serve)?", page.read_text("utf-8")))
    assert named <= known


def test_models_page__recipe__is_one(tmp_path: Path) -> None:
    (recipe,) = blocks("models.md", "toml")
    (tmp_path / "my.toml").write_text(recipe)
    assert load_recipe(str(tmp_path / "my.toml")).name == "my-forest"


def test_contracts_page__flags__are_those_of_the_chain() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", (ROOT / "docs" / "contracts.md").read_text("utf-8"), flags=re.M)
    assert {name: int(bit) for name, bit in rows} == {name: constant_int(f"FLAG_{name}") for name, _ in rows}
    assert len(rows) == 8


def test_contracts_page__python__reads_a_feed(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    net = LocalNet.start((100,) * 4, [price_spec(0)])
    net.transmit(net.blob(net.draft({0: pack_word(FeedWord(0, 117_500_000, 1, 10_000, 0))})))
    read, own = blocks("contracts.md", "python")
    monkeypatch.setattr(Web3, "HTTPProvider", lambda url: net.chain.w3.provider)
    scope: dict[str, object] = {}
    exec(read.replace("0x...", net.face(0).address), scope)
    assert capsys.readouterr().out.startswith("S0 / USD 1.175 ")
    scope |= {"chain": net.chain.w3, "sender": net.chain.accounts[0], "aggregator": net.core.aggregator}
    exec(own, scope)
    assert scope["face"].functions.number().call() == 0  # type: ignore[attr-defined]
    assert artifact("Feed").bytecode
