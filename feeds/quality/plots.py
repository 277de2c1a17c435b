"""Pictures of a table, as SVG text that fetches nothing.

Why this file exists: a gap or a frozen feed is seen before it is read. Never in it: what counts as a finding. The same
rows give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from feeds.quality.cross import panel_of
from feeds.quality.findings import Floats, Ints
from feeds.quality.motion import BASIS, returns
from feeds.quality.table import Series, Table

MAX_PLOTS = 12
POINTS = 800
"""About so many points of a line are drawn: the first, lowest, highest and last of each piece."""


def plots_of(table: Table, series: Sequence[Series]) -> Iterator[tuple[str, str]]:
    """Titles and SVG texts, at most 12."""
    made = _events(table) if table.shape == "events" else _prices(series) if series else _columns(table)
    for number, (title, figure) in enumerate(made):
        if number == MAX_PLOTS:
            return
        yield title, svg(figure)


def svg(figure: Figure) -> str:
    """A figure as SVG, without date and with fixed ids."""
    out = io.StringIO()
    with rc_context({"svg.hashsalt": "dodona", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def thinned(ts: Ints, values: Floats) -> tuple[Ints, Floats]:
    """Few points that draw the same line: of each piece the first, the lowest, the highest and the last."""
    keep = np.isfinite(values)
    ts, values = ts[keep], values[keep]
    if len(values) <= POINTS:
        return ts, values
    chosen = [
        np.array([part[0], part[np.argmin(values[part])], part[np.argmax(values[part])], part[-1]])
        for part in np.array_split(np.arange(len(values)), POINTS // 4)
    ]
    order = np.unique(np.concatenate(chosen))
    return ts[order], values[order]


def _figure(rows: int = 1, height: float = 2.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(rows, 1, sharex=True)))


def _dated(axes: Axes) -> None:
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _plain(text: str) -> str:
    """A label that matplotlib does not read as mathematics and that XML can hold."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:40]).replace("$", r"\$")


def _prices(series: Sequence[Series]) -> Iterator[tuple[str, Figure]]:
    for symbol, group in groupby(series, key=lambda one: one.symbol):
        sources = list(group)[:12]
        yield f"{symbol}: prices and presence", _price_figure(sources)
        if len(sources) > 1:
            yield f"{symbol}: basis points from the median", _deviations(sources)
        yield f"{symbol}: returns, first half and second", _halves(sources)


def _price_figure(sources: Sequence[Series]) -> Figure:
    figure, (above, below) = _figure(2, 4.0)
    for place, one in enumerate(sources):
        ts, price = thinned(one.ts, np.where(one.sound, one.price, np.nan))
        above.plot(ts.astype("datetime64[us]"), price, lw=0.8, label=_plain(one.source))
        step = 2 * max(one.step, 1)
        breaks = np.flatnonzero(np.diff(one.ts) > step)
        starts = one.ts[np.concatenate([[0], breaks + 1])]
        ends = one.ts[np.concatenate([breaks, [len(one.ts) - 1]])]
        if len(starts) > POINTS:  # too many holes to draw one by one
            starts, ends = one.ts[:1], one.ts[-1:]
        below.hlines(np.full(len(starts), place), starts.astype("datetime64[us]"), ends.astype("datetime64[us]"), lw=5)
    above.legend(fontsize=7, loc="best")
    above.set_ylabel("price")
    below.set_yticks(range(len(sources)), [_plain(one.source) for one in sources], fontsize=7)
    _dated(below)
    return figure


def _deviations(sources: Sequence[Series]) -> Figure:
    panel = panel_of(sources)
    figure, (axes,) = _figure()
    for place, source in enumerate(panel.sources):
        ts, values = thinned(panel.ts, panel.deviation(place)[0])
        axes.plot(ts.astype("datetime64[us]"), values, lw=0.7, label=_plain(source))
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylabel("bps")
    axes.legend(fontsize=7, loc="best")
    _dated(axes)
    return figure


def _halves(sources: Sequence[Series]) -> Figure:
    figure, (axes,) = _figure()
    moves = [returns(one)[0] * BASIS for one in sources]
    halves = [np.concatenate([m[: len(m) // 2] for m in moves]), np.concatenate([m[len(m) // 2 :] for m in moves])]
    every = np.concatenate(halves)
    if len(every):
        edge = max(float(np.quantile(np.abs(every), 0.99)), 0.01)
        for half, label in zip(halves, ("first half", "second half"), strict=True):
            if not len(half):
                continue
            axes.hist(np.clip(half, -edge, edge), bins=60, histtype="step", density=True, label=label)
        axes.legend(fontsize=7)
    axes.set_xlabel("return, bps (the outer hundredth at the ends)")
    return figure


def _events(table: Table) -> Iterator[tuple[str, Figure]]:
    p, outcome = table.numbers["probability"], table.numbers["outcome"]
    fine = np.isfinite(p) & np.isin(outcome, (0, 1)) & (p >= 0) & (p <= 1)
    figure, (axes,) = _figure()
    place = np.minimum((p[fine] * 10).astype(int), 9)
    counts = np.bincount(place, minlength=10)
    with np.errstate(invalid="ignore"):
        share = np.bincount(place, weights=outcome[fine], minlength=10) / counts
        said = np.bincount(place, weights=p[fine], minlength=10) / counts
    axes.plot([0, 1], [0, 1], color="0.7", lw=0.8)
    axes.scatter(said, share, s=10 + 200 * counts / max(counts.max(), 1), alpha=0.7)
    axes.set_xlabel("probability said")
    axes.set_ylabel("share that came true")
    yield "what was said, and how often it came true (all rows, area by number)", figure
    if table.time is not None:
        figure, (axes,) = _figure()
        axes.hist(table.time.astype("datetime64[us]"), bins=80)
        axes.set_ylabel("forecasts")
        _dated(axes)
        yield "when forecasts were made", figure


def _columns(table: Table) -> Iterator[tuple[str, Figure]]:
    for name, values in list(table.numbers.items())[:MAX_PLOTS]:
        figure, (axes,) = _figure(height=1.8)
        time = np.arange(table.rows) if table.time is None else table.time
        ts, line = thinned(time.astype(np.int64), values)
        axes.plot(ts if table.time is None else ts.astype("datetime64[us]"), line, lw=0.8)
        if table.time is not None:
            _dated(axes)
        yield name, figure
