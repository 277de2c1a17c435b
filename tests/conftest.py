"""How Hypothesis behaves in the whole suite: repeatable in `make test`, exploring in `make soak`."""

import os

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("explore" if os.environ.get("DODONA_EXPLORE") else "repeatable")
