import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["aggregate", "messages", "network", "words"])
def test_docstrings__examples__are_true(name):
    tried = doctest.testmod(importlib.import_module(f"oracle.consensus.{name}"))
    assert tried.attempted > 0 and tried.failed == 0
