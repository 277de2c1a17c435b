"""The poisons of `benchmarks/poison.py` serve the tests too: what is measured there is what is proven here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
