"""The storage page says where everything lies, for every contract, as compiled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contracts.artifacts import artifact, contract_names
from tests.contracts.storage_table import page, variables

PAGE = Path(__file__).parents[2] / "docs" / "storage.md"
ROW = re.compile(r"^\| (\d+) \| (\d+) \| `([\w.]+)` \| `[^`]+` \| .*\|$", re.MULTILINE)


def listed() -> dict[str, dict[str, int]]:
    """Contract -> variable -> first slot, as the page says."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        section.split("\n", 1)[0]: {name: int(slot) for slot, _, name in ROW.findall(section)} for section in sections
    }


def test_storage_page__every_contract__lists_the_compiled_layout():
    assert listed() == {name: artifact(name).layout for name in contract_names()}


def test_storage_page__as_written__is_what_the_sources_give():
    wrong = "docs/storage.md is old: python tests/contracts/storage_table.py > docs/storage.md"
    assert PAGE.read_text(encoding="utf-8") == page(), wrong


@pytest.mark.parametrize("name", contract_names())
def test_layout__every_contract__no_two_variables_share_a_slot(name):
    free = 0
    for variable in variables(name):
        assert variable.slot == free, f"{variable.name} begins at {variable.slot}, the one before ends at {free}"
        free += variable.slots
