"""What the feeds tests share: a fixed moment, and the public data set where it is at hand."""

import os
from pathlib import Path

import pytest

from feeds.types import SECOND, Micros


@pytest.fixture
def now() -> Micros:
    return Micros(1_678_500_000 * SECOND)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public data set: `DODONA_SHARED_DATA`, or ../shared/data beside the repository."""
    given = os.environ.get("DODONA_SHARED_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not (folder / "scenarios.json").is_file():
        pytest.skip(f"no public data set in {folder}: set DODONA_SHARED_DATA to its folder")
    return folder
