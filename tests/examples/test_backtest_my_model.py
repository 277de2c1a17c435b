"""The modeller's example, run as its first line says: under pytest and under `ape test`, side by side."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "backtest_my_model.py"
BIN = Path(sys.executable).parent


def test_backtest_my_model__as_its_first_line_says__passes() -> None:
    path = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    words = [str(EXAMPLE), "-q", "-p", "no:cacheprovider"]
    runs = [
        subprocess.Popen(
            [*runner, *words], cwd=ROOT, env=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for runner in ([str(BIN / "pytest")], [str(BIN / "ape"), "test"])
    ]
    for run in runs:
        shown, _ = run.communicate(timeout=300)
        assert run.returncode == 0 and "1 passed" in shown, shown[-4_000:]


def test_backtest_my_model__length__at_most_forty_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40
