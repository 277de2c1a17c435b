"""What a node says over HTTP: health, metrics, status, rounds; and, in a replay, its clock.

Why this file exists: the one list of a node's read-only routes. Never in it: protocol logic, or a route that can make
a node sign, spend or forget. The clock routes exist only on a stepped clock, which only starts on loopback.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from aiohttp import web

from oracle.clock import Activity, Clock, SteppedClock
from oracle.service.metrics import CONTENT_TYPE, Metrics

Json = Mapping[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the node does its work; each reason is one line naming the thing and the mend.

    `warnings`: what is wrong and does not keep it from its work.
    """

    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if there is no reason to look."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class ClockState:
    """What a conductor reads: the clock, when something is due next, and what is under way (see `oracle.clock`)."""

    now_ms: int
    next_timer_ms: int | None
    sent: int
    handled: int
    busy: int
    begun: int


class NodeView(Protocol):
    """What the routes may ask a node."""

    metrics: Metrics

    def health(self) -> Health:
        """Its health now."""
        ...

    def status(self) -> Json:
        """Who it is, where it is, what it runs; JSON types only."""
        ...

    def round(self, slot: int) -> Json | None:
        """What it knows of one slot; None if nothing."""
        ...


def clock_state(clock: Clock, activity: Activity) -> ClockState:
    """One reading, taken without awaiting anything in between."""
    return ClockState(
        now_ms=clock.now_ms(),
        next_timer_ms=clock.next_timer_ms(),
        sent=activity.sent,
        handled=activity.handled,
        busy=activity.busy,
        begun=activity.begun,
    )


def add_routes(app: web.Application, view: NodeView, clock: Clock, activity: Activity) -> None:
    """Mount the node's routes on `app`."""
    app.router.add_get("/health", _health(view))
    app.router.add_get("/metrics", _metrics(view))
    app.router.add_get("/v1/status", _status(view))
    app.router.add_get(r"/v1/rounds/{slot:\d{1,10}}", _round(view))
    app.router.add_get("/v1/time", _time(clock))
    if isinstance(clock, SteppedClock):
        app.router.add_get("/v1/clock", _read_clock(clock, activity))
        app.router.add_post("/v1/clock", _move_clock(clock, activity))


def _health(view: NodeView) -> Handler:
    async def _answer(_request: web.Request) -> web.StreamResponse:
        health = view.health()
        body = {"healthy": health.ok, "reasons": list(health.reasons), "warnings": list(health.warnings)}
        return web.json_response(body, status=200 if health.ok else 503)

    return _answer


def _metrics(view: NodeView) -> Handler:
    async def _answer(_request: web.Request) -> web.StreamResponse:
        view.metrics.healthy.set(int(view.health().ok))
        return web.Response(body=view.metrics.expose().encode(), headers={"Content-Type": CONTENT_TYPE})

    return _answer


def _status(view: NodeView) -> Handler:
    async def _answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(dict(view.status()))

    return _answer


def _round(view: NodeView) -> Handler:
    async def _answer(request: web.Request) -> web.StreamResponse:
        slot = int(request.match_info["slot"])
        found = view.round(slot)
        if found is None:
            return web.json_response({"error": f"this node knows nothing of slot {slot}"}, status=404)
        return web.json_response(dict(found))

    return _answer


def _time(clock: Clock) -> Handler:
    async def _answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"now_ms": clock.now_ms()})

    return _answer


def _read_clock(clock: SteppedClock, activity: Activity) -> Handler:
    async def _answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(asdict(clock_state(clock, activity)))

    return _answer


def _move_clock(clock: SteppedClock, activity: Activity) -> Handler:
    async def _answer(request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
            now_ms, hold = body["now_ms"], body.get("hold", False)
            good = type(now_ms) is int and 0 <= now_ms < 2**53 and type(hold) is bool
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            good = False
        if not good:
            wanted = 'expected {"now_ms": whole milliseconds, "hold": true or false (may be left out)}'
            return web.json_response({"error": wanted}, status=400)
        if now_ms < clock.now_ms():
            return web.json_response({"error": f"the clock shows {clock.now_ms()} and cannot go back"}, status=409)
        clock.advance(now_ms, hold=hold)
        return web.json_response(asdict(clock_state(clock, activity)))

    return _answer
