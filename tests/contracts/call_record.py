"""What the suite really called: every message that reaches a contract on the embedded chain, with how it ended.

py-evm runs each message, from outside or from another contract, through one class method; the record stands there. A
contract is known by the creation code that made it, whichever chain of the suite it lives on. `conftest.py` imports the
fixture and the hooks of this file; `test_coverage.py`, which they move behind all other contract tests, judges.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from eth.exceptions import Revert
from eth.vm.forks.frontier.computation import FrontierComputation
from eth.vm.forks.spurious_dragon.computation import SpuriousDragonComputation

FOLDER = Path(__file__).parent
JUDGE = FOLDER / "test_coverage.py"
BARE = ""
"""Stands for a revert without a reason."""
ERROR = bytes.fromhex("08c379a0")
DISTINCT = 6_000
"""So many first bytes of creation code tell one contract from another; constructor arguments come at its end."""
LEFT_OUT = pytest.StashKey[list[str]]()


class CallRecord:
    """For each creation code (its first bytes) and selector the tests in which a call returned, and in which reverted.

    `reverted[code, selector]` maps the reason to the first test that saw it; the selector of a constructor is b"".
    """

    def __init__(self) -> None:
        self.returned: dict[tuple[bytes, bytes], str] = {}
        self.reverted: dict[tuple[bytes, bytes], dict[str, str]] = defaultdict(dict)
        self._makers: dict[bytes, bytes] = {}

    @property
    def makers(self) -> set[bytes]:
        """First bytes of every creation code that ran."""
        return {maker for maker, _ in (*self.returned, *self.reverted)}

    @property
    def reasons(self) -> dict[str, str]:
        """Every reason seen, from a contract of the product or of the tests, with the test that saw it first."""
        return {reason: test for ends in self.reverted.values() for reason, test in ends.items()}

    @contextmanager
    def running(self) -> Iterator[CallRecord]:
        """Record until the end of the block."""
        call = FrontierComputation.__dict__["apply_message"]
        create = SpuriousDragonComputation.__dict__["apply_create_message"]
        record = self

        def apply_message(cls: Any, state: Any, message: Any, *rest: Any, **named: Any) -> Any:
            done = call.__func__(cls, state, message, *rest, **named)
            maker = None if message.is_create else record._makers.get(message.code)
            if maker is not None:
                record._note(maker, bytes(message.data[:4]), done)
            return done

        def apply_create_message(cls: Any, state: Any, message: Any, *rest: Any, **named: Any) -> Any:
            done = create.__func__(cls, state, message, *rest, **named)
            maker = bytes(message.code[:DISTINCT])
            if not done.is_error:
                record._makers[bytes(done.output)] = maker
            record._note(maker, b"", done)
            return done

        FrontierComputation.apply_message = classmethod(apply_message)
        SpuriousDragonComputation.apply_create_message = classmethod(apply_create_message)
        try:
            yield self
        finally:
            FrontierComputation.apply_message = call
            SpuriousDragonComputation.apply_create_message = create

    def _note(self, maker: bytes, selector: bytes, done: Any) -> None:
        """Only reverts are failures: what ran out of gas tells about the gas that it was given."""
        if not done.is_error:
            if (maker, selector) not in self.returned:
                self.returned[maker, selector] = current_test()
        elif isinstance(done.error, Revert):
            ends = self.reverted[maker, selector]
            reason = reason_of(done.output)
            if reason not in ends:
                ends[reason] = current_test()


def reason_of(output: bytes) -> str:
    """The text of `Error(string)`, else BARE."""
    if output[:4] != ERROR:
        return BARE
    size = int.from_bytes(output[36:68])
    return output[68 : 68 + size].decode()


def current_test() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "no test").split(" ")[0]


def incomplete(session: pytest.Session) -> str:
    """Why this run is not the whole folder; empty if it is. Tests of the soak target are not missed."""
    collected = {item.path for item in session.items} | {Path(name) for name in session.config.stash.get(LEFT_OUT, [])}
    files = {path for path in FOLDER.rglob("test_*.py") if "node_modules" not in path.parts}
    missing = sorted(path.relative_to(FOLDER).as_posix() for path in files - collected)
    if missing:
        return f"not in this run: {', '.join(missing)}"
    chosen = [name for name in session.config.args if "::" in name]
    if chosen:
        return f"single tests were chosen: {', '.join(chosen)}"
    picked = [name for name in session.config.stash.get(LEFT_OUT, []) if name.startswith("::")]
    return f"left out of this run: {', '.join(picked)}" if picked else ""


@pytest.fixture(scope="session", autouse=True)
def call_record() -> Iterator[CallRecord]:
    """The record of this run, from its first contract test on."""
    with CallRecord().running() as record:
        yield record


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The judge comes after the last contract test, wherever that stands."""
    judges = [item for item in items if item.path == JUDGE]
    if not judges:
        return
    others = [item for item in items if item.path != JUDGE]
    last = max((place for place, item in enumerate(others) if FOLDER in item.path.parents), default=-1)
    items[:] = [*others[: last + 1], *judges, *others[last + 1 :]]


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Remember which contract tests were left out, but for those that only `make soak` runs."""
    for item in items:
        if FOLDER in item.path.parents and item.path != JUDGE:
            known = item.config.stash.setdefault(LEFT_OUT, [])
            known.append(str(item.path) if item.get_closest_marker("soak") else f"::{item.name}")
