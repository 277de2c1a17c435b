"""For the whole suite: Hypothesis is repeatable in `make test` and explores in `make soak`; npm's tools are on PATH."""

import os
from pathlib import Path

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("explore" if os.environ.get("DODONA_EXPLORE") else "repeatable")

# make exports the same PATH; a plain `pytest` should find anvil too.
os.environ["PATH"] = f"{Path(__file__).parent / 'peers' / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"
