import runpy
from pathlib import Path

from feeds.fuse import Fused

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "custom_source.py"


async def test_custom_source__run__bad_rows_refused_and_the_outlier_named(capsys):
    example = runpy.run_path(str(EXAMPLE))
    board = example["BoardSource"]()
    assert isinstance(board, example["Source"])
    answers = await example["main"]((board, *example["eurusd_sources"]()))
    assert all(isinstance(answer, Fused) for answer in answers)
    assert [len(answer.sources) for answer in answers] == [3, 2, 2]
    assert board.refused == {"price": 1}
    assert answers[2].set_aside[0].reason.startswith("outlier")
    assert capsys.readouterr().out.count("Fused(") == 3


def test_custom_source__length__at_most_forty_lines():
    assert len(EXAMPLE.read_text().splitlines()) <= 40
