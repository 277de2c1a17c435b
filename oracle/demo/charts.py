"""The charts of the report, each an inline SVG drawn from the record of a run.

The horizontal axis counts recorded hours, so a closed market takes no room; days are marked where they begin.
Every chart says in words what it shows (`desc`), and nothing is told by colour alone. Never here: measuring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from markupsafe import Markup

from models.forecast import LEVELS
from oracle.demo import scale
from oracle.demo.record import DemoRecord, SlotRecord
from oracle.demo.scale import Axis

WIDTH = 940.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 16.0, 12.0, 26.0
BANDS = ((0, 8, "fan fan-98"), (1, 7, "fan fan-90"), (3, 5, "fan fan-50"))
DAY = 86_400
HOUR = 3_600
BPS = 10_000.0


@dataclass(frozen=True, slots=True)
class Frame:
    """The plot area of a chart over slots: the two axes and the total height."""

    x: Axis
    y: Axis
    height: float


def price_with_fan(record: DemoRecord) -> Markup:
    """Price on chain over the band that the 24 h forecast of the day before gave for this hour, with the loans."""
    slots = record.slots
    known = {slot.at: slot for slot in slots}
    fans = [_fan_from(known.get(slot.at - DAY)) for slot in slots]
    values = [slot.price for slot in slots if slot.price is not None] + [v for f in fans if f for v in (f[0], f[8])]
    frame = _frame(record, values, 330.0, right=RIGHT)
    body = [*_grid(record, frame, 4)]
    for low, high, css in BANDS:
        body.append(scale.band(_spans(frame, fans, low, high), css))
    points = [_point(frame, i, slot.price) for i, slot in enumerate(slots)]
    body.append(scale.line(points, "ink"))
    body += _loans(record, frame)
    if record.event_threshold is not None and frame.y.low <= record.event_threshold <= frame.y.high:
        y = frame.y.at(record.event_threshold)
        body.append(scale.segment(frame.x.start, y, frame.x.end, y, "threshold"))
        body.append(scale.text(frame.x.start + 4, y - 5, f"event threshold {record.event_threshold:.4f}", "note"))
    return scale.figure(
        WIDTH,
        frame.height,
        f"{record.symbol} on chain with the forecast fan",
        "Line: price stored on chain. Bands: the 24 hour forecast made one day earlier, as read from the chain, at "
        "1 to 99, 5 to 95 and 25 to 75 per cent. Triangles: loans opened. Crosses: loans liquidated.",
        body,
    )


def hourly_returns(record: DemoRecord) -> Markup:
    """Each hour's forecast band around zero, and the return that followed, in basis points."""
    slots = record.slots
    fans = [slot.forecast_1h for slot in slots]
    scaled = [None if fan is None else tuple(BPS * q for q in fan) for fan in fans]
    realised = [None if slot.realised_1h is None else BPS * slot.realised_1h for slot in slots]
    values = [v for v in realised if v is not None] + [v for f in scaled if f for v in (f[0], f[8])]
    frame = _frame(record, values or [-1.0, 1.0], 230.0, right=RIGHT)
    body = [*_grid(record, frame, 0)]
    for low, high, css in BANDS:
        body.append(scale.band(_spans(frame, scaled, low, high), css))
    for i, (value, fan) in enumerate(zip(realised, scaled, strict=True)):
        if value is not None and fan is not None:
            inside = fan[1] <= value <= fan[7]
            hint = f"{_label(slots[i].at)}: {value:+.1f} bps, 90 % band {fan[1]:+.1f} to {fan[7]:+.1f}"
            body.append(
                scale.dot(frame.x.at(i), frame.y.at(value), 1.7 if inside else 3.0, "hit" if inside else "miss", hint)
            )
    return scale.figure(
        WIDTH,
        frame.height,
        "One hour forecasts and what followed",
        "Bands: the one hour return forecast on chain in basis points. Small dots: returns within the 90 per cent "
        "band. Large rings: returns outside.",
        body,
    )


def model_weights(record: DemoRecord, bundles: Sequence[tuple[str, str]]) -> Markup:
    """Weights of the bundles over time, stacked to one; the last weight stands beside each name."""
    frame = _frame(record, [0.0, 1.0], 280.0, right=190.0, pad=0.0)
    families = sorted({family for _, family in bundles})
    body = [*_grid(record, frame, 1)]
    below = [0.0] * len(record.slots)
    labels: list[tuple[float, str, str]] = []
    for k, (name, family) in enumerate(bundles):
        spans: list[tuple[float, float, float] | None] = []
        for i, slot in enumerate(record.slots):
            if not slot.weights:
                spans.append(None)
                continue
            top = below[i] + slot.weights[k]
            spans.append((frame.x.at(i), frame.y.at(below[i]), frame.y.at(top)))
            below[i] = top
        shade = sum(1 for _, other in bundles[:k] if other == family) % 3
        css = f"family-{families.index(family) % 4} shade-{shade}"
        body.append(scale.band(spans, f"stack {css}"))
        last = next((span for span in reversed(spans) if span is not None), None)
        weight = next((slot.weights[k] for slot in reversed(record.slots) if slot.weights), None)
        if last is not None and weight is not None:
            labels.append(((last[1] + last[2]) / 2, f"{name} {weight:.2f}", css))
    body += _side_labels(labels, frame)
    return scale.figure(
        WIDTH,
        frame.height,
        "Weights of the models over time",
        "Stacked areas, one per bundle, that sum to one: how much each bundle counts in the published forecast.",
        body,
    )


def round_strip(record: DemoRecord, names: Sequence[str]) -> Markup:
    """One row per leader and one mark per slot: accepted, invalid or failed; the demo's faults are shaded."""
    row = 30.0
    height = TOP + 22.0 + row * len(names) + BOTTOM
    x = Axis(0, max(1, len(record.slots) - 1), LEFT + 44, WIDTH - RIGHT)
    frame = Frame(x, Axis(0, 1, height - BOTTOM, TOP), height)
    step = (x.end - x.start) / max(1, len(record.slots) - 1)
    body = [*_days(record, frame)]
    top = TOP + 22.0
    for fault in record.faults:
        first, last = _position(record, fault.first_slot), _position(record, fault.last_slot)
        body.append(
            scale.box(
                x.at(first) - step / 2,
                TOP + 4,
                x.at(last) - x.at(first) + step,
                height - BOTTOM - TOP - 4,
                "fault",
                f"{fault.name}: {fault.what}",
            )
        )
        body.append(scale.text(x.at(first) + 3, TOP + 15, fault.name, "note"))
    for index, name in enumerate(names):
        body.append(scale.text(x.start - 10, top + row * index + row / 2 + 4, name, "label", "end"))
        body.append(scale.segment(x.start, top + row * (index + 0.5), x.end, top + row * (index + 0.5), "rule"))
    for i, slot in enumerate(record.slots):
        body.append(_round_mark(slot, x.at(i), top + row * (slot.leader + 0.5), max(1.4, step * 0.72)))
    counts = {
        kind: sum(1 for slot in record.slots if slot.outcome == kind) for kind in ("accepted", "invalid", "failed")
    }
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return scale.figure(
        WIDTH, height, "Rounds by leader", f"One row per leading validator, one mark per slot: {told}.", body
    )


def gas_per_round(record: DemoRecord) -> Markup:
    """Gas of each transmit transaction, as bars from zero."""
    gas = [slot.gas for slot in record.slots]
    known = [value for value in gas if value is not None]
    frame = _frame(record, [0.0, float(max(known, default=1))], 170.0, right=RIGHT, pad=0.0)
    step = (frame.x.end - frame.x.start) / max(1, len(gas) - 1)
    body = [*_grid(record, frame, -1)]
    for i, value in enumerate(gas):
        if value is not None:
            top = frame.y.at(value)
            hint = f"{_label(record.slots[i].at)}: {value} gas, {record.slots[i].signers} signatures"
            body.append(
                scale.box(frame.x.at(i) - step * 0.36, top, max(1.0, step * 0.72), frame.y.start - top, "bar", hint)
            )
    return scale.figure(
        WIDTH, frame.height, "Gas per round", "Bars: gas used by the transmit transaction of each slot.", body
    )


def calibration(record: DemoRecord) -> Markup:
    """Observed against nominal coverage of the 1 h quantiles, with the band that chance alone would allow."""
    pairs = [(slot.forecast_1h, slot.realised_1h) for slot in record.slots]
    scored = [(fan, value) for fan, value in pairs if fan is not None and value is not None]
    size = 330.0
    x, y = Axis(0, 1, LEFT, WIDTH / 2 - 40), Axis(0, 1, size - 34, TOP)
    body = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        body += [
            scale.segment(x.start, y.at(value), x.end, y.at(value), "grid"),
            scale.text(x.start - 8, y.at(value) + 4, f"{100 * value:.0f}", "tick", "end"),
            scale.text(x.at(value), size - 14, f"{100 * value:.0f}", "tick", "middle"),
        ]
    if scored:
        chance = [(p, 1.96 * math.sqrt(p * (1 - p) / len(scored))) for p in (i / 40 for i in range(41))]
        body.append(scale.band([(x.at(p), y.at(p - w), y.at(p + w)) for p, w in chance], "fan fan-98"))
        body.append(scale.line([(x.at(0), y.at(0)), (x.at(1), y.at(1))], "threshold"))
        observed = [sum(value <= fan[j] for fan, value in scored) / len(scored) for j in range(len(LEVELS))]
        body.append(scale.line([(x.at(p), y.at(o)) for p, o in zip(LEVELS, observed, strict=True)], "ink thin"))
        body += [
            scale.dot(x.at(p), y.at(o), 4, "mark", f"nominal {100 * p:.0f} %, observed {100 * o:.1f} %")
            for p, o in zip(LEVELS, observed, strict=True)
        ]
        body += _pit(scored, size)
    else:
        body.append(scale.text(x.at(0.5), y.at(0.5), "no forecast could be scored", "note", "middle"))
    return scale.figure(
        WIDTH,
        size,
        "Calibration of the one hour forecasts",
        f"Left: share of {len(scored)} returns at or below each forecast quantile, in per cent, against its nominal "
        "level; the band is what chance allows. Right: density of returns between the quantiles; one is perfect.",
        body,
    )


def event_probability(record: DemoRecord) -> Markup:
    """Probability of "yes" on chain over time, with the expiry of the question."""
    frame = _frame(record, [0.0, 1.0], 170.0, right=RIGHT, pad=0.0)
    body = [*_grid(record, frame, 2)]
    body.append(scale.line([_point(frame, i, slot.event_yes) for i, slot in enumerate(record.slots)], "ink"))
    if record.event_expiry is not None:
        at = frame.x.at(_index_at(record, record.event_expiry))
        body.append(scale.segment(at, frame.y.start, at, frame.y.end, "threshold"))
        body.append(scale.text(at - 5, frame.y.end + 12, "expiry", "note", "end"))
    return scale.figure(
        WIDTH,
        frame.height,
        "Event probability on chain",
        "Line: the published probability of yes, from zero to one, until the question expires.",
        body,
    )


def _fan_from(origin: SlotRecord | None) -> tuple[float, ...] | None:
    if origin is None or origin.price is None or origin.forecast_24h is None:
        return None
    return tuple(origin.price * math.exp(q) for q in origin.forecast_24h)


def _spans(
    frame: Frame, fans: Sequence[tuple[float, ...] | None], low: int, high: int
) -> list[tuple[float, float, float] | None]:
    return [
        None if fan is None else (frame.x.at(i), frame.y.at(fan[low]), frame.y.at(fan[high]))
        for i, fan in enumerate(fans)
    ]


def _frame(record: DemoRecord, values: Sequence[float], height: float, right: float, pad: float = 0.04) -> Frame:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = pad * ((high - low) or abs(high) or 1.0)
    x = Axis(0, max(1, len(record.slots) - 1), LEFT, WIDTH - right)
    return Frame(x, Axis(low - room, high + room, height - BOTTOM, TOP), height)


def _grid(record: DemoRecord, frame: Frame, digits: int) -> list[str]:
    body = []
    for value in scale.ticks(frame.y.low, frame.y.high):
        y = frame.y.at(value)
        words = f"{value / 1000:.0f}k" if digits < 0 else f"{value:.{digits}f}"
        body += [
            scale.segment(frame.x.start, y, frame.x.end, y, "grid"),
            scale.text(frame.x.start - 8, y + 4, words, "tick", "end"),
        ]
    return body + _days(record, frame)


def _days(record: DemoRecord, frame: Frame) -> list[str]:
    body, seen, edge = [], "", -100.0
    for i, slot in enumerate(record.slots):
        day = datetime.fromtimestamp(slot.at, UTC).strftime("%d %b")
        if day == seen:
            continue
        seen = day
        x = frame.x.at(i)
        body.append(scale.segment(x, frame.y.start, x, frame.y.end, "day"))
        if x - edge >= 52 and x <= frame.x.end - 20:
            body.append(scale.text(x + 3, frame.height - 8, day))
            edge = x
    return body


def _loans(record: DemoRecord, frame: Frame) -> list[str]:
    body = []
    for loan in record.lender.loans:
        x, y = frame.x.at(_index_at(record, loan.opened_at)), frame.y.at(loan.price)
        hint = f"{loan.borrower}: loan at {100 * loan.loan_to_value:.2f} % opened {_label(loan.opened_at)}"
        body.append(_path(f"M{x - 4.5:.1f} {y - 6:.1f}h9l-4.5 -8z", "opened", hint))
        if loan.liquidated_at is not None and loan.liquidation_price is not None:
            x, y = frame.x.at(_index_at(record, loan.liquidated_at)), frame.y.at(loan.liquidation_price)
            hint = f"{loan.borrower}: liquidated {_label(loan.liquidated_at)} at {loan.liquidation_price:.5f}"
            body.append(_path(f"M{x - 4:.1f} {y + 5:.1f}l8 8m0 -8l-8 8", "closed", hint))
    return body


def _path(shape: str, css: str, hint: str) -> str:
    return f'<path class="{css}" d="{shape}"><title>{escape(hint)}</title></path>'


def _round_mark(slot: SlotRecord, x: float, y: float, width: float) -> str:
    hint = f"slot {slot.slot}, {_label(slot.at)}: {slot.outcome}, {slot.signers} signatures"
    tall = {"accepted": 8.0, "invalid": 14.0, "failed": 20.0}[slot.outcome]
    return scale.box(x - width / 2, y - tall / 2, width, tall, f"round-{slot.outcome}", hint)


def _side_labels(labels: Sequence[tuple[float, str, str]], frame: Frame) -> list[str]:
    gap, x = 17.0, frame.x.end + 10
    placed: list[float] = []
    for y, _, _ in sorted(labels):
        placed.append(max(y, placed[-1] + gap) if placed else max(y, TOP + 8))
    over = (placed[-1] - (frame.height - BOTTOM)) if placed else 0.0
    if over > 0:
        placed = [max(TOP + 8 + gap * i, y - over) for i, y in enumerate(placed)]
    body = []
    for y, (_, words, css) in zip(placed, sorted(labels), strict=True):
        body += [scale.box(x, y - 5, 10, 10, f"stack {css}"), scale.text(x + 16, y + 4, words, "label")]
    return body


def _pit(scored: Sequence[tuple[tuple[float, ...], float]], size: float) -> list[str]:
    edges = (0.0, *LEVELS, 1.0)
    counts = [0] * (len(edges) - 1)
    for fan, value in scored:
        counts[sum(value > q for q in fan)] += 1
    density = [c / len(scored) / (b - a) for c, a, b in zip(counts, edges, edges[1:], strict=False)]
    x = Axis(0, 1, WIDTH / 2 + 50, WIDTH - RIGHT)
    y = Axis(0, max(2.0, *density), size - 34, TOP)
    body = []
    for value in scale.ticks(0, y.high, 4):
        body += [
            scale.segment(x.start, y.at(value), x.end, y.at(value), "grid"),
            scale.text(x.start - 8, y.at(value) + 4, f"{value:g}", "tick", "end"),
        ]
    for share, a, b in zip(density, edges, edges[1:], strict=False):
        hint = f"{100 * a:.0f} to {100 * b:.0f} %: {share:.2f} of the expected share"
        body.append(scale.box(x.at(a) + 0.75, y.at(share), x.at(b) - x.at(a) - 1.5, y.start - y.at(share), "bar", hint))
    body.append(scale.segment(x.start, y.at(1), x.end, y.at(1), "threshold"))
    body += [scale.text(x.at(v), size - 14, f"{100 * v:.0f}", "tick", "middle") for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return body


def _point(frame: Frame, index: int, value: float | None) -> scale.Point | None:
    return None if value is None else (frame.x.at(index), frame.y.at(value))


def _position(record: DemoRecord, slot: int) -> int:
    return min(range(len(record.slots)), key=lambda i: abs(record.slots[i].slot - slot))


def _index_at(record: DemoRecord, seconds: int) -> int:
    return min(range(len(record.slots)), key=lambda i: abs(record.slots[i].at - seconds))


def _label(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %H:%M UTC")
