import re
from pathlib import Path

from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.rig_example import EXAMPLE, desk

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "examples" / "add_a_source.py"
RIG = ROOT / "tests" / "feeds" / "sources" / "rig_example.py"


async def test_add_a_source__run__says_the_fault_then_shows_quotes(capsys):
    async with HostileServer(desk(None), ["half_json"]) as server:
        quotes = await EXAMPLE["main"](server.url)
    assert {quote.symbol: quote.price for quote in quotes} == {"EUR/USD": 1.0702, "GBP/USD": 1.255}
    shown = capsys.readouterr().out
    assert "source desk is unavailable (it answered" in shown
    assert shown.count("Quote(") == len(quotes)


def test_feeds_page__code_of_the_ten_minutes__is_that_of_the_files():
    page = (ROOT / "docs" / "feeds.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Add a source in ten minutes\n(.*?)^## ", page, flags=re.M | re.S)
    shown = re.findall(r"^```python\n(.*?)^```$", section, flags=re.M | re.S)
    for part in shown:
        assert part in FILE.read_text("utf-8") or part in RIG.read_text("utf-8"), part
    assert len(shown) == 2
    assert shown[0].startswith("class Desk:") and "async def fetch" in shown[0]
    assert shown[1].startswith("def desk(time):") and "Rig(" in shown[1]


def test_add_a_source__length__under_eighty_lines():
    assert len(FILE.read_text("utf-8").splitlines()) < 80
