"""What every test of the node's room starts from."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A command that ran in this process leaves no logger behind that writes to its captured, closed stream."""
    yield
    structlog.reset_defaults()
