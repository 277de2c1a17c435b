"""How hard a host may be asked, and when it is left alone.

Why this file exists: several sources may ask one host, and its patience is one: its rate, its `Retry-After`, its
outages and its clock are therefore kept per host, whoever asks. Never in it: network; times come in as arguments.

All spans are in seconds of a steady clock (`time.monotonic`), so that a jump of the UTC clock neither holds a host shut
nor floods it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median

from feeds.sources.source import BadRule
from feeds.types import SECOND, Micros

SKEW_SAMPLES = 9
"""Answers whose median is a host's clock skew: one odd `Date` header in a cache does not move it."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a stranger's server may cost us. Spans in seconds, sizes in bytes, rates in requests a second and host."""

    connect_s: float = 5.0
    read_s: float = 5.0
    """Longest silence in the middle of an answer."""
    total_s: float = 15.0
    """Longest time from the first byte sent to the last received, however steadily it drips."""
    body_bytes: int = 8 << 20
    """Largest body, before and after decompression."""
    message_bytes: int = 16 << 20
    """Largest websocket message."""
    silence_s: float = 60.0
    """A websocket that says nothing for so long, not even a pong, is lost."""
    connections: int = 64
    connections_per_host: int = 8
    rate: float = 20.0
    burst: int = 20
    """Requests that may go out at once after a rest."""
    failures: int = 5
    """Failures in a row after which a host is left alone: for `rest_s`, doubled each time up to `most_rest_s`."""
    rest_s: float = 5.0
    most_rest_s: float = 300.0
    most_retry_after_s: float = 3600.0
    """A `Retry-After` beyond this counts as this: no host can silence a source for good."""

    def __post_init__(self) -> None:
        """Raise BadRule."""
        limits: tuple[tuple[str, float, float, float], ...] = (
            ("connect_s", self.connect_s, 0.01, 300), ("read_s", self.read_s, 0.01, 300),
            ("total_s", self.total_s, 0.01, 600), ("body_bytes", self.body_bytes, 1, 256 << 20),
            ("message_bytes", self.message_bytes, 1, 64 << 20), ("silence_s", self.silence_s, 0.01, 3600),
            ("connections", self.connections, 1, 4096), ("connections_per_host", self.connections_per_host, 1, 256),
            ("rate", self.rate, 1e-4, 1e5), ("burst", self.burst, 1, 1000), ("failures", self.failures, 1, 1000),
            ("rest_s", self.rest_s, 1e-3, 3600), ("most_rest_s", self.most_rest_s, self.rest_s, 86_400),
            ("most_retry_after_s", self.most_retry_after_s, 0, 86_400),
        )  # fmt: skip
        for field, given, low, high in limits:
            if not low <= given <= high:
                raise BadRule(f"http limits: {field}", given, f"from {low:g} to {high:g}")


DEFAULT_LIMITS = HttpLimits()
"""Limits that suit every public API we know of."""


class HostState:
    """One host as we know it. `now` is always a steady clock's time in seconds."""

    def __init__(self, limits: HttpLimits) -> None:
        """Nothing known, nothing held against it."""
        self._limits = limits
        self._interval = 1.0 / limits.rate
        self._burst = limits.burst
        self._next = -math.inf
        self._held_until = -math.inf
        self._why = ""
        self._failures = 0
        self._rests = 0
        self._skews: deque[float] = deque(maxlen=SKEW_SAMPLES)

    def slow_down(self, rate: float, burst: int) -> None:
        """Ask no oftener than `rate` a second. Of several wishes the slowest holds."""
        if 1.0 / rate > self._interval:
            self._interval, self._burst = 1.0 / rate, burst

    def held(self, now: float) -> tuple[float, str] | None:
        """Until when the host is left alone and why; None if it may be asked."""
        return (self._held_until, self._why) if now < self._held_until else None

    def turn(self, now: float) -> float:
        """Take the next turn: seconds to wait before the request may go out.

        The virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A).
        """
        due = max(self._next, now - (self._burst - 1) * self._interval)
        self._next = due + self._interval
        return max(0.0, due - now)

    def give_back_turn(self) -> None:
        """The turn just taken was not used."""
        self._next -= self._interval

    def hold(self, now: float, seconds: float, why: str) -> float:
        """Leave the host alone for so long (at most `most_retry_after_s`), because it asked; the end of it."""
        until = now + min(max(seconds, 0.0), self._limits.most_retry_after_s)
        if until > self._held_until:
            self._held_until, self._why = until, why
        return self._held_until

    def succeeded(self) -> None:
        """It answered as it should."""
        self._failures = self._rests = 0

    def failed(self, now: float, why: str) -> None:
        """It did not. After too many in a row it rests; then one more failure is enough for a longer rest."""
        self._failures += 1
        if self._failures >= self._limits.failures:
            self._failures = self._limits.failures - 1
            span = min(self._limits.rest_s * 2.0 ** min(self._rests, 32), self._limits.most_rest_s)
            self._rests += 1
            if now + span > self._held_until:
                self._held_until, self._why = now + span, f"it failed {self._limits.failures} times in a row ({why})"

    def saw_date(self, headers: Mapping[str, str], sent: Micros, received: Micros) -> None:
        """Learn the skew from an answer's `Date` header (RFC 9110, 6.6.1), corrected by `Age` (RFC 9111, 5.1)."""
        stated = http_date(headers.get("Date", ""))
        if stated is not None:
            age = headers.get("Age", "0")
            older = int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0
            # a Date is cut to the second, on average half a second early
            self._skews.append((stated + older * SECOND + SECOND // 2 - (sent + received) // 2) / SECOND)

    @property
    def skew(self) -> float | None:
        """Seconds that the host's clock is ahead of ours (below 0: behind), to about half a second; None if unknown."""
        return median(self._skews) if self._skews else None


def http_date(text: str) -> Micros | None:
    """The UTC time of an HTTP date (RFC 9110, 5.6.7), None if it is none."""
    if not 0 < len(text) <= 64 or not text.isascii():
        return None
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return Micros(int(seconds) * SECOND)


def retry_after(headers: Mapping[str, str], now: Micros) -> float | None:
    """Seconds that `Retry-After` asks for (RFC 9110, 10.2.3: seconds or an HTTP date), None if it asks for nothing.

    A date is measured against the answer's own `Date`, so that a skewed clock on either side does not matter.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9]) if len(text) <= 9 else 1e9
    until = http_date(text)
    if until is None:
        return None
    own = http_date(headers.get("Date", ""))
    return max(0.0, (until - (now if own is None else own)) / SECOND)
