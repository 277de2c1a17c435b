"""How venues are opened side by side."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from types import SimpleNamespace

import pytest

from feeds.sources.exchange import client


def test_bounded__rest_and_stream_opened_at_once__ccxt_is_imported_by_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python refuses one of two imports that wait for each other, and ccxt's two packages import each other."""
    meeting, met = Barrier(2), []

    def slow_import(name: str) -> object:
        try:
            meeting.wait(0.2)
        except BrokenBarrierError:
            return SimpleNamespace(kraken=object)
        met.append(name)
        return SimpleNamespace(kraken=object)

    monkeypatch.setattr(client, "_CLASSES", {})
    monkeypatch.setattr(importlib, "import_module", slow_import)
    with ThreadPoolExecutor(2) as threads:
        opened = [threads.submit(client._bounded, "kraken", streaming, client.Bounded) for streaming in (False, True)]
    assert not met and all(issubclass(found.result(), client.Bounded) for found in opened)
