"""The `backtest` fixture that every `ape test` and plain pytest run gets once Dodona is installed.

    @pytest.mark.backtest(bundle="my_bundle", data="eurusd", slots=48, validators=4)
    def test_my_model(backtest):
        result = backtest()
        assert result.skill() > 0

`backtest(**changes)` replays recorded prices through sources, models, signed observations, consensus and the contracts
on an embedded chain and returns the result: `history`, `skill()`, `coverage()`, `gas_mean`, `face(number)`, `table()`.
The mark's settings are the defaults of the call. Settings: `bundle` (folder) or `bundles` (folders), `data`, `slots`,
`validators`, `start`. A failing test prints the score table of every replay that it ran.

Why this file exists: models may not import the node, so the engine is found by its entry point. Never in it: replaying.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import pytest

ENGINES = "dodona.backtest"
SETTINGS = ("bundle", "bundles", "data", "slots", "validators", "start")
RESULTS = pytest.StashKey[list["Replayed"]]()


class Replayed(Protocol):
    """What a replay returns, as far as this plugin knows it; the rest is `oracle.backtest.BacktestResult`."""

    def table(self) -> str:
        """Scores as plain text."""
        ...


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, so that `--strict-markers` accepts it."""
    config.addinivalue_line("markers", f"backtest({', '.join(SETTINGS)}): settings of the `backtest` fixture")


def _engine() -> Callable[[Any], Replayed]:
    found = tuple(entry_points(group=ENGINES, name="engine"))
    if not found:
        raise pytest.UsageError("the backtest fixture has no engine: reinstall dodona")
    engine: Callable[[Any], Replayed] = found[0].load()
    return engine


def _plan(settings: Mapping[str, Any]) -> Any:
    """The engine's plan from the fixture's settings. Raises pytest.UsageError for a setting that does not exist."""
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise pytest.UsageError(f"backtest: {unknown[0]!r} is no setting, allowed: {', '.join(SETTINGS)}")
    given = dict(settings)
    folders = [*([given.pop("bundle")] if "bundle" in given else []), *given.pop("bundles", ())]
    plan = entry_points(group=ENGINES, name="plan")
    return next(iter(plan)).load()(bundles=tuple(Path(folder) for folder in folders), **given)


@pytest.fixture
def backtest(request: pytest.FixtureRequest) -> Callable[..., Replayed]:
    """Callable that replays a bundle through the whole system; see the head of this module."""
    mark = request.node.get_closest_marker("backtest")
    defaults = dict(mark.kwargs) if mark is not None else {}
    results = request.node.stash.setdefault(RESULTS, [])

    def run(**changes: Any) -> Replayed:
        result = _engine()(_plan(defaults | changes))
        results.append(result)
        return result

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print the score tables under a failing test."""
    report = yield
    if report.failed:
        report.sections += [("backtest", result.table()) for result in item.stash.get(RESULTS, [])]
    return report
