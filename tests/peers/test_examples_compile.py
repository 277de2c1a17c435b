"""All Solidity that we show compiles without a warning, and the example reader reads a real feed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oracle.chain.faces import Face
from tests.peers.conftest import Place, ask
from tests.peers.solidity import SolidityError, compile_file, compile_text

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "examples").rglob("*.sol"))
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")])
BLOCK = r"^```solidity\n(.*?)^```$"
HEAD = "// SPDX-License-Identifier: AGPL-3.0-only\npragma solidity 0.8.30;\n"
MAX_AGE = 3_700


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_example__solidity__compiles_without_a_warning(path):
    assert any(built.bytecode != "0x" for built in compile_file(path).values())


def test_pages__solidity_blocks__compile_without_a_warning():
    found = [
        (f"{page.name}-{number}.sol", body)
        for page in PAGES
        for number, body in enumerate(re.findall(BLOCK, page.read_text(encoding="utf-8"), re.M | re.S), 1)
    ]
    assert found
    for unit, body in found:
        assert compile_text(unit, body if "pragma solidity" in body else HEAD + body)


@pytest.mark.parametrize("mistake", ["contract A { function f() external { g(); } }", "contract A { uint256 x = y; }"])
def test_block__that_is_wrong__is_found(mistake):
    with pytest.raises(SolidityError, match="Undeclared identifier"):
        compile_text("Wrong.sol", HEAD + mistake)


def test_block__with_a_warning__is_found():
    with pytest.raises(SolidityError, match="Unused local variable"):
        compile_text("Odd.sol", HEAD + "contract A { function f() external pure { uint256 x; } }")


def test_price_reader__in_solidity__reads_our_feeds(place: Place, refused):
    place.tell(118_000_000)
    price, forecast = place.face(Face.FEED), place.face(Face.FEED, 2)
    built = compile_file(ROOT / "examples" / "consumer" / "PriceReader.sol")["PriceReader"]
    reader = place.deploy(built, price.address, forecast.address, MAX_AGE)
    answer, confidence = ask(reader, "price")
    assert (answer, confidence) == (118_000_000, ask(price, "confidence"))
    quantiles = ask(forecast, "latestVector")[1]
    assert ask(reader, "range90") == [quantiles[1], quantiles[7]]
