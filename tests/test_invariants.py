"""Every test that the pages on invariants and threats name is there, in the file that they name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs" / name for name in ("invariants.md", "threats.md")]


def known_tests() -> dict[str, set[str]]:
    """Names of test functions by the file's name."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = {
            node.name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        found.setdefault(path.name, set()).update(names)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page__tests_named__all_exist_where_it_says(page: Path) -> None:
    known = known_tests()
    missing, named, file = [], 0, ""
    for line in page.read_text("utf-8").splitlines():
        for name, test in re.findall(r"`(?:[\w/]*?(test_\w+\.py))?(?:::(test_\w+))?`", line):
            file = name or file
            if name and name not in known:
                missing.append(name)
            if test:
                named += 1
                if test not in known.get(file, set()):
                    missing.append(f"{file}::{test}")
    assert missing == []
    assert named > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page__every_row__names_a_test_or_says_why_not(page: Path) -> None:
    rows = [line for line in page.read_text("utf-8").splitlines() if re.match(r"\| [^-|]", line)]
    bare = [
        row
        for row in rows
        if not re.search(r"test_\w+|[Mm]achine|[Ss]imulator|^\| (invariant|what happened)|later", row)
    ]
    assert bare == []
