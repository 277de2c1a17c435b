"""Drawing primitives of the report: scales, tick values, SVG paths and text.

Only geometry and escaping: what is drawn is chosen in `charts.py`. Colours are CSS classes, so that one page serves
light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear map from values `low..high` to pixels `start..end`; a flat range is widened so that it stays finite."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixel of `value`, clamped to the ends of the axis."""
        span = (self.high - self.low) or 1.0
        share = min(1.0, max(0.0, (value - self.low) / span))
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values inside `low..high`, spaced by 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 1.0, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def runs(values: Sequence[Point | None]) -> list[list[Point]]:
    """Split a series at its gaps: each run is a list of points without None."""
    found: list[list[Point]] = [[]]
    for value in values:
        if value is None:
            found.append([])
        else:
            found[-1].append(value)
    return [run for run in found if run]


def line(points: Sequence[Point | None], css: str) -> str:
    """A poly-line, interrupted at None; a lone point is drawn as a short dash."""
    parts = []
    for run in runs(points):
        if len(run) == 1:
            run = [(run[0][0] - 0.8, run[0][1]), (run[0][0] + 0.8, run[0][1])]
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run))
    return f'<path class="{css}" d="{"".join(parts)}"/>' if parts else ""


def band(spans: Sequence[tuple[float, float, float] | None], css: str, half_width: float = 0.8) -> str:
    """An area between two lines: each span is (x, lower y, upper y); None interrupts it."""
    parts: list[str] = []
    upper = [None if span is None else (span[0], span[2]) for span in spans]
    lower = [None if span is None else (span[0], span[1]) for span in spans]
    for high, low in zip(runs(upper), runs(lower), strict=True):
        if len(high) == 1:
            (x, top), (_, bottom) = high[0], low[0]
            high, low = (
                [(x - half_width, top), (x + half_width, top)],
                [(x - half_width, bottom), (x + half_width, bottom)],
            )
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in [*high, *reversed(low)]) + "Z")
    return f'<path class="{css}" d="{"".join(parts)}"/>' if parts else ""


def text(x: float, y: float, words: str, css: str = "tick", anchor: str = "start") -> str:
    """Escaped text with its baseline at (x, y)."""
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def segment(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """A straight line."""
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def box(x: float, y: float, width: float, height: float, css: str, hint: str = "") -> str:
    """A rectangle with an optional tooltip."""
    head = f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}"'
    return f"{head}><title>{escape(hint)}</title></rect>" if hint else head + "/>"


def dot(x: float, y: float, radius: float, css: str, hint: str = "") -> str:
    """A circle with an optional tooltip."""
    head = f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
    return f"{head}><title>{escape(hint)}</title></circle>" if hint else head + "/>"


def figure(width: float, height: float, title: str, description: str, body: Iterable[str]) -> Markup:
    """A whole SVG image that scales to its column, named for readers who do not see it."""
    return Markup(
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<desc>{escape(description)}</desc>{''.join(part for part in body if part)}</svg>"
    )
