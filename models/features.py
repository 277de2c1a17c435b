"""Point-in-time features, the same code for training and serving.

Why this file exists: a forecast is only as honest as its inputs. One stream object turns closes into feature rows, one
bar at a time; a batch is that same stream run over the past, so the row at time t cannot depend on what came after,
and one new bar is one step. Everything is scaled by causal running statistics, never by statistics of a window.
Never in it: labels, models, files.

Column 0 of every row is the scale: the EWMA volatility of one-bar log returns. Models multiply by it and never read it
as an input; all other columns are without unit and bounded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

VERSION = 1
"""Version of the meaning of the feature names below."""

MAX_LAG = 512
MAX_HALF_LIFE = 2_000
MAX_NAMES = 64
MAX_WINDOW = 512
BURN_IN = 96
"""Bars consumed before the first row is given, so that the running statistics mean something."""

_FLOOR = 1e-12
"""Least variance of a one-bar log return (a volatility of 0.01 bps)."""
_DAY = 86_400_000_000
_SECOND = 1_000_000
_SEASON_RATE = 1 / 24
_MEAN_ABS = math.sqrt(2 / math.pi)

ARGUMENTS: dict[str, tuple[int, int]] = {
    "scale": (2, MAX_HALF_LIFE),
    "return": (1, MAX_LAG),
    "absolute": (0, MAX_LAG),
    "volatility": (1, MAX_HALF_LIFE),
    "range": (2, MAX_LAG),
    "hour_sin": (1, 6),
    "hour_cos": (1, 6),
    "week_sin": (1, 6),
    "week_cos": (1, 6),
}
"""Kinds of feature that take a number, `kind.number`, with its bounds: bars for lags and half-lives, else harmonics.

`scale.h`: EWMA volatility with half-life h. `return.l`: return over l bars / (scale * sqrt l). `absolute.l`: size of
the one-bar return l bars ago / scale. `volatility.h`: log (EWMA volatility with half-life h / scale). `range.l`: log
(high - low of the last l + 1 log closes, / (scale * sqrt l)). `hour_*`, `week_*`: harmonics of the UTC clock.
"""

PLAIN = ("level", "season", "gap")
"""Kinds without a number. `level`: log scale, standardised by its own past. `season`: log of the running mean size of
standardised returns in the coming bar's hour of the day. `gap`: log (1 + bars missing before this one) / 4."""


class FeatureError(ValueError):
    """A schema or a series that no features can be built from; one line that names the thing."""


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """Which features, in which order, over how many bars, of which width.

    `names`: as in `ARGUMENTS` and `PLAIN`, distinct; names[0] is `scale.h`, the only scale. `window`: bars in one
    model input. `width`: seconds in one bar. Raises FeatureError for anything else.
    """

    names: tuple[str, ...]
    window: int
    width: int
    version: int = VERSION

    def __post_init__(self) -> None:
        """Refuse what `FeatureStream` could not build."""
        if self.version != VERSION:
            raise FeatureError(f"feature version {self.version} is unknown, this code has {VERSION}")
        if not 1 <= self.window <= MAX_WINDOW:
            raise FeatureError(f"window {self.window} is outside 1..{MAX_WINDOW}")
        if not 1 <= self.width <= 86_400:
            raise FeatureError(f"width {self.width} s is outside 1..86400")
        if not 2 <= len(self.names) <= MAX_NAMES or len(set(self.names)) != len(self.names):
            raise FeatureError(f"a schema has 2..{MAX_NAMES} distinct names, given {len(self.names)}")
        kinds = [parse_name(name)[0] for name in self.names]
        if kinds[0] != "scale" or "scale" in kinds[1:]:
            raise FeatureError("the first feature, and no other, must be scale.HALF_LIFE")

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON of all fields, as 0x and 64 hex digits."""
        fields = [self.version, self.width, self.window, list(self.names)]
        return "0x" + hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()


def parse_name(name: str) -> tuple[str, int]:
    """Split a feature name into kind and number (0 where it has none); FeatureError if it is not one of ours.

    >>> parse_name("return.24")
    ('return', 24)
    """
    if name in PLAIN:
        return name, 0
    kind, dot, digits = name.partition(".")
    if kind in ARGUMENTS and dot and digits.isascii() and digits.isdigit() and len(digits) < 6:
        least, greatest = ARGUMENTS[kind]
        number = int(digits)
        if least <= number <= greatest and str(number) == digits:
            return kind, number
        raise FeatureError(f"feature {name}: the number must be within {least}..{greatest}")
    raise FeatureError(f"feature {name[:40]!r} is unknown; kinds are {', '.join((*ARGUMENTS, *PLAIN))}")


def _bounded(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))


class FeatureStream:
    """Feature rows of one series, one bar at a time. State is a few floats per feature; the future is not in reach."""

    def __init__(self, schema: FeatureSchema) -> None:
        """Start before the first bar."""
        self.schema = schema
        parsed = [parse_name(name) for name in schema.names]
        self._scale_half_life = parsed[0][1]
        self._rates = {n: 1.0 - 0.5 ** (1.0 / n) for kind, n in parsed if kind in ("scale", "volatility")}
        self._variances = dict.fromkeys(self._rates, 0.0)
        lag = max((n for kind, n in parsed if kind in ("return", "absolute", "range")), default=1)
        self._logs: deque[float] = deque(maxlen=lag + 2)
        self._burn_in = max(BURN_IN, lag + 2)
        self._season = [1.0] * 24
        self._bars, self._ts, self._gap, self._scale = 0, 0, 0, math.sqrt(_FLOOR)
        self._level, self._level_mean, self._level_square = 0.0, 0.0, 0.0
        kinds: dict[str, Callable[[int], float]] = {
            "return": self._return_over,
            "absolute": self._absolute_at,
            "volatility": self._volatility_ratio,
            "range": self._range_over,
            "hour_sin": lambda k: math.sin(self._clock(_DAY) * k),
            "hour_cos": lambda k: math.cos(self._clock(_DAY) * k),
            "week_sin": lambda k: math.sin(self._clock(7 * _DAY) * k),
            "week_cos": lambda k: math.cos(self._clock(7 * _DAY) * k),
            "level": lambda _: self._level,
            "season": lambda _: _bounded(math.log(max(self._season[self._bucket(self.schema.width)], 1e-3)), 5.0),
            "gap": lambda _: _bounded(math.log1p(self._gap) / 4.0, 5.0),
        }
        self._columns = [(kinds[kind], n) for kind, n in parsed[1:]]

    def push(self, ts: int, close: float) -> FloatArray | None:
        """Take the bar that closed at `ts` (UTC microseconds) at price `close`; its row (F,), None during burn-in.

        Raises FeatureError if time does not rise or the price is not finite and positive; the state is then unchanged.
        """
        if not (math.isfinite(close) and close > 0):
            raise FeatureError(f"close {close} at {ts} is not a finite positive price")
        if self._bars and ts <= self._ts:
            raise FeatureError(f"bar at {ts} does not come after {self._ts}: sort the series and drop duplicates")
        self._update(int(ts), math.log(close))
        if self._bars <= self._burn_in:
            return None
        return np.array([self._scale, *(column(n) for column, n in self._columns)], dtype=np.float64)

    def _update(self, ts: int, log_close: float) -> None:
        previous_ts, self._ts = self._ts, ts
        self._bars += 1
        returns = self._bars - 1
        if returns:
            change = log_close - self._logs[-1]
            self._gap = max(0, round((ts - previous_ts) / (self.schema.width * _SECOND)) - 1)
            if returns > 8:
                size = min(abs(change) / (self._scale * _MEAN_ABS), 8.0)
                bucket = self._bucket(0)
                self._season[bucket] += _SEASON_RATE * (size - self._season[bucket])
            for half_life, rate in self._rates.items():
                step = max(rate, 1.0 / returns)
                self._variances[half_life] += step * (change * change - self._variances[half_life])
            self._scale = self._volatility(self._scale_half_life)
            self._update_level(returns)
        self._logs.append(log_close)

    def _update_level(self, returns: int) -> None:
        """Running mean and standard deviation of the log scale (Welford), and its standard score."""
        log_scale = math.log(self._scale)
        delta = log_scale - self._level_mean
        self._level_mean += delta / returns
        self._level_square += delta * (log_scale - self._level_mean)
        spread = math.sqrt(self._level_square / returns)
        self._level = _bounded((log_scale - self._level_mean) / max(spread, 1e-3), 5.0)

    def _volatility(self, half_life: int) -> float:
        return math.sqrt(max(self._variances[half_life], _FLOOR))

    def _bucket(self, ahead: int) -> int:
        return (self._ts + ahead * _SECOND) % _DAY // (_DAY // 24)

    def _clock(self, period: int) -> float:
        return 2.0 * math.pi * (self._ts % period) / period

    def _return_over(self, lag: int) -> float:
        return _bounded((self._logs[-1] - self._logs[-1 - lag]) / (self._scale * math.sqrt(lag)), 10.0)

    def _absolute_at(self, lag: int) -> float:
        return min(abs(self._logs[-1 - lag] - self._logs[-2 - lag]) / self._scale, 10.0)

    def _volatility_ratio(self, half_life: int) -> float:
        return _bounded(math.log(self._volatility(half_life) / self._scale), 5.0)

    def _range_over(self, lag: int) -> float:
        recent = list(islice(self._logs, len(self._logs) - lag - 1, None))
        spread = max(recent) - min(recent)
        return _bounded(math.log(max(spread / (self._scale * math.sqrt(lag)), 1e-2)), 5.0)


def rows(ts: IntArray, close: FloatArray, schema: FeatureSchema) -> tuple[IntArray, FloatArray]:
    """Feature rows of a whole series.

    `ts`: int64 (T,), UTC microseconds at which each close was known, rising; `close`: float64 (T,). Returns the
    indices (M,) of the bars that have a row and the rows (M, F). Raises FeatureError as `FeatureStream.push`.
    """
    if len(ts) != len(close):
        raise FeatureError(f"{len(ts)} times but {len(close)} closes")
    stream = FeatureStream(schema)
    index: list[int] = []
    found: list[FloatArray] = []
    for position, (when, price) in enumerate(zip(ts.tolist(), close.tolist(), strict=True)):
        row = stream.push(when, price)
        if row is not None:
            index.append(position)
            found.append(row)
    table = np.array(found, dtype=np.float64).reshape(len(found), len(schema.names))
    return np.array(index, dtype=np.int64), table


def build(ts: IntArray, close: FloatArray, schema: FeatureSchema) -> tuple[IntArray, FloatArray]:
    """Model inputs of a whole series: indices (N,) of the bars and windows (N, window, F), oldest bar first.

    The window of bar i holds the rows of bars i - window + 1 .. i: nothing later. The windows are a read-only view of
    the rows. Raises FeatureError as `rows`.
    """
    index, table = rows(ts, close, schema)
    if len(index) < schema.window:
        return index[:0], np.empty((0, schema.window, len(schema.names)))
    return index[schema.window - 1 :], sliding_window_view(table, schema.window, axis=0).swapaxes(1, 2)


def latest(ts: IntArray, close: FloatArray, schema: FeatureSchema) -> FloatArray:
    """The last window (window, F) of a series; FeatureError if the series is too short for one."""
    _, windows = build(ts, close, schema)
    if not len(windows):
        raise FeatureError(f"{len(ts)} bars are too few for one window of {schema.window} after the burn-in")
    return np.ascontiguousarray(windows[-1])
