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


def _loaded(name: str) -> Callable[..., Any]:
    """A part of the engine by its entry point."""
    found = tuple(entry_points(group=ENGINES, name=name))
    if not found:
        raise pytest.UsageError(f"backtest: the fixture's {name} is missing; reinstall dodona")
    part: Callable[..., Any] = found[0].load()
    return part


def _plan(settings: Mapping[str, Any]) -> Any:
    """The engine's plan from the fixture's settings. Raises pytest.UsageError for a setting that does not exist."""
    __tracebackhide__ = True
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise pytest.UsageError(f"backtest: {unknown[0]!r} is no setting, allowed: {', '.join(SETTINGS)}")
    given = dict(settings)
    several = given.pop("bundles", ())
    if not isinstance(several, list | tuple):
        raise pytest.UsageError(f"backtest: bundles must be a list of folders, given {several!r}; for one say bundle")
    folders = [*([given.pop("bundle")] if "bundle" in given else []), *several]
    for folder in folders:
        if not isinstance(folder, str | Path):
            raise pytest.UsageError(f"backtest: a bundle is named by its folder, given {folder!r}")
    return _loaded("plan")(bundles=tuple(Path(folder) for folder in folders), **given)


def _defaults(item: Any) -> dict[str, Any]:
    """The settings of the test's nearest mark. Raises pytest.UsageError for a setting without its name."""
    __tracebackhide__ = True
    mark = item.get_closest_marker("backtest")
    if mark is not None and mark.args:
        raise pytest.UsageError(f"backtest: name each setting, e.g. bundle={mark.args[0]!r}")
    return dict(mark.kwargs) if mark is not None else {}


@pytest.fixture
def backtest(request: pytest.FixtureRequest) -> Callable[..., Replayed]:
    """Callable that replays a bundle through the whole system; see the head of this module."""
    results = request.node.stash.setdefault(RESULTS, [])

    def run(**changes: Any) -> Replayed:
        __tracebackhide__ = True
        result: Replayed = _loaded("engine")(_plan(_defaults(request.node) | changes))
        results.append(result)
        return result

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print the score tables under a failing test; a test that is over keeps no chain in memory."""
    report = yield
    results = item.stash.get(RESULTS, [])
    if report.failed:
        report.sections += [("backtest", result.table()) for result in results]
    if call.when == "teardown" or report.failed:
        results.clear()
    return report
