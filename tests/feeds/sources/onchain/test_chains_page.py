"""What `docs/feeds.md` shows of chains can be put into a settings file as it stands."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from feeds.sources.onchain.aggregator_v3 import AggregatorV3Settings
from feeds.sources.onchain.pyth import PythSettings
from feeds.sources.onchain.uniswap_v2 import UniswapV2Settings
from feeds.sources.onchain.uniswap_v3 import UniswapV3Settings
from oracle.settings import Table
from oracle.source_settings import read_source

PAGE = Path(__file__).resolve().parents[4] / "docs" / "feeds.md"


def section() -> str:
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index("## Chains") :].split("\n## ")[0]


def test_chains__tables_shown__are_read() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", section(), flags=re.S)
    tables = tomllib.loads(block)["sources"]
    kinds = [type(read_source(Table(PAGE, "sources", table)).origin) for table in tables]
    assert kinds == [AggregatorV3Settings, UniswapV3Settings]


def test_chains__keys__all_described() -> None:
    every = {f.name for kind in (AggregatorV3Settings, PythSettings, UniswapV2Settings, UniswapV3Settings)
             for f in fields(kind)}  # fmt: skip
    assert [name for name in every if f"`{name}`" not in section() and f"{name} = " not in section()] == []
