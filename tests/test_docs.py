"""What the pages for operators, modellers and contract developers name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oracle.commands.root import app
from oracle.recipes import load_recipe
from oracle.service.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("operate", "models", "consume", "deploy", "data")] + [
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
    known = {"dodona demo", "dodona demo --serve", "dodona abi", "dodona deploy"}
    for group in app.registered_groups:
        commands = group.typer_instance.registered_commands
        known |= {f"dodona {group.name} {command.name or command.callback.__name__}" for command in commands}
    named = set(
        re.findall(
            r"\bdodona (?:node|feed|model|data) \w+|\bdodona (?:demo(?: --serve)?|abi|deploy)\b",
            page.read_text("utf-8"),
        )
    )
    assert named <= known


def test_models_page__recipe__is_one(tmp_path: Path) -> None:
    (recipe,) = blocks("models.md", "toml")
    (tmp_path / "my.toml").write_text(recipe)
    assert load_recipe(str(tmp_path / "my.toml")).name == "my-forest"
