"""The bundles at one operator, forecasting one series through time.

Why this file exists: a forecast is published now and judged later. The panel steps one series bar by bar, asks every
bundle, pools the answers with the weights learnt so far, and learns from an outcome only once its time has come.
Never in it: clocks, files, network, the maths of weighting (`combine.py`) or of features and labels.

The panel is a pure fold over bars: its state depends on the bars up to now and on nothing else, not on when or how
often it was called. A panel rebuilt from the stored series after a restart is the one that ran through, to the last
bit; so no state is saved. (Bundles are asked one bar at a time even in a warm-up: a batched matrix product rounds
differently from a single one.)
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.bundle import Bundle
from models.combine import BoolArray, Mixture, MixtureRule
from models.features import FeatureSchema, FeatureStream, IntArray
from models.forecast import LEVELS, FloatArray, Forecast
from models.labels import labels
from models.runtime import Runtime, RuntimeStream
from models.scoreboard import Scoreboard, Skill, no_quantiles

SECOND = 1_000_000
_SHARE_ONE = 10_000


class PanelError(ValueError):
    """Bundles or bars that one panel cannot work with; one line that names the thing and the mend."""


@dataclass(frozen=True, slots=True)
class PanelStep:
    """What the panel says at one time.

    `ts`: when the last bar's close was known (microseconds); `spot`: that close, which the log returns start from.
    `quantiles` (H, 9): pooled, NaN rows where no bundle was fit to speak. `members` (K, H, 9): each bundle's own, NaN
    where it has none. `awake` (K, H): who counted. `weights` (K, H): how much, mean over levels. `family_share_bps`:
    per horizon, the largest share of one model family. `reference` (H, 9): the random walk's, None without one.
    `skill`: how the panel's earlier forecasts turned out against the reference.
    """

    now: int
    ts: int
    spot: float
    horizons: tuple[int, ...]
    quantiles: FloatArray
    members: FloatArray
    awake: BoolArray
    weights: FloatArray
    family_share_bps: tuple[int, ...]
    reference: FloatArray | None
    skill: Skill | None = None

    @property
    def forecast(self) -> Forecast:
        """The pooled forecast of the horizons that were answered (possibly none)."""
        answered = np.isfinite(self.quantiles).all(axis=-1)
        kept = tuple(h for h, yes in zip(self.horizons, answered.tolist(), strict=True) if yes)
        return Forecast(kept, self.quantiles[answered])


@dataclass(frozen=True, slots=True)
class PanelTrack:
    """A panel's steps over N bars: `ts` (N,), `quantiles` (N, H, 9), `members` (N, K, H, 9), `weights` (N, K, H).

    `reference` (N, H, 9), all NaN without one; `outcomes` (N, H): hindsight, NaN where the price was not seen.
    """

    ts: IntArray
    quantiles: FloatArray
    members: FloatArray
    weights: FloatArray
    reference: FloatArray
    outcomes: FloatArray


@dataclass(frozen=True, slots=True)
class _Open:
    """A forecast at one horizon whose outcome is not known yet: bar number, goal time, quantiles.

    `members` (K, 9); `pooled` and `reference` (9,), NaN where there was none.
    """

    bar: int
    goal: int
    members: FloatArray
    pooled: FloatArray
    reference: FloatArray


class Panel:
    """K bundles, H horizons (seconds, ascending), one series with bars of `width` seconds.

    Bars before `learn_from` (microseconds) only feed the features; from there on the bundles are asked and weights
    are learnt: set it to where the bundles' training data end. The first bar ever given matters too (features have
    running statistics): rebuild from the same stored series. `stakes`: one per bundle for the cold start (None =
    unknown). `reference`: the bundle that skill is measured against; it is asked but has no weight unless it is also
    one of `bundles`. Default: the first random walk among them. Raises PanelError for bundles that do not fit.
    """

    def __init__(
        self,
        bundles: Sequence[Bundle],
        horizons: tuple[int, ...],
        width: int,
        *,
        learn_from: int = 0,
        stakes: tuple[float | None, ...] | None = None,
        max_family_share: float = 1.0,
        reference: Bundle | None = None,
    ):
        _check_bundles(bundles, horizons, width)
        self.bundles = tuple(bundles)
        self.horizons = horizons
        self.width = width
        self.learn_from = learn_from
        self._made_of = (stakes, max_family_share, reference)
        asked, self._reference = _with_reference(self.bundles, reference)
        self._groups = [_Group(asked, own, horizons) for own in dict.fromkeys(b.manifest.horizons for b in asked)]
        families = tuple(b.manifest.family for b in self.bundles)
        self.mixture = Mixture(MixtureRule(families, stakes, max_family_share), len(horizons))
        schemas = {b.manifest.features.hash: b.manifest.features for b in asked}
        self._streams = {key: _Window(schema) for key, schema in schemas.items()}
        self._ts: list[int] = []
        self._close: list[float] = []
        self._open: tuple[deque[_Open], ...] = tuple(deque() for _ in horizons)
        self._asked = np.full((len(asked), len(horizons), len(LEVELS)), np.nan)
        self._pooled = self.mixture.pool(self._asked[: len(self.bundles)])
        self._scores = Scoreboard(len(self.bundles) + 1, len(horizons))

    def fresh(self) -> Panel:
        """A panel made of the same that has taken in no bar: to rebuild it from the stored series."""
        stakes, share, reference = self._made_of
        return Panel(
            self.bundles,
            self.horizons,
            self.width,
            learn_from=self.learn_from,
            stakes=stakes,
            max_family_share=share,
            reference=reference,
        )

    def step(self, now: int, ts: IntArray, close: FloatArray) -> PanelStep:
        """Takes in the bars known by `now` (microseconds) and forecasts from the last of them.

        `ts` int64 (T,): when each close was known; `close` (T,). Bars after `now` are not looked at; those taken in
        before may be left out except the last. PanelError if there is no bar yet or the past was changed.
        """
        self.warm_up(now, ts, close)
        if not self._ts:
            raise PanelError(f"no bar is known at {now}: start the panel when the series has begun")
        members = self._asked[: len(self.bundles)].copy()
        pooled = self._pooled
        shares = self.mixture.family_shares(pooled.weights)
        return PanelStep(
            now=now,
            ts=self._ts[-1],
            spot=self._close[-1],
            horizons=self.horizons,
            quantiles=pooled.quantiles.copy(),
            members=members,
            awake=pooled.awake.copy(),
            weights=self.mixture.mean_weights(pooled.weights),
            family_share_bps=tuple(round(share * _SHARE_ONE) for share in shares.tolist()),
            reference=None if self._reference is None else self._asked[self._reference].copy(),
            skill=self._scores.read(),
        )

    def warm_up(self, now: int, ts: IntArray, close: FloatArray) -> None:
        """Takes in the bars known by `now` without a forecast at the end. Arguments and errors as `step`."""
        known = int(np.searchsorted(ts, now, side="right"))
        first = self._first_new(ts[:known], close[:known])
        for when, price in zip(ts[first:known].tolist(), close[first:known].tolist(), strict=True):
            self._take(when, price)

    def weights(self) -> FloatArray:
        """What each bundle would count in a forecast made now: (K, H), mean over levels."""
        return self.mixture.mean_weights(self._pooled.weights)

    def fingerprint(self) -> str:
        """SHA-256 over everything that can change what the panel says later: equal panels go on equally."""
        digest = hashlib.sha256(repr((self.horizons, self.width, self.learn_from)).encode())
        digest.update("".join(b.hash for b in self.bundles).encode())
        digest.update(np.array(self._ts, dtype=np.int64).tobytes())
        parts: list[FloatArray] = [*self.mixture.state().values(), np.array(self._close), self._asked]
        parts += [self._scores.state(), self._pooled.quantiles, self._pooled.weights]
        parts += [row for window in self._streams.values() for row in window.rows]
        for column in self._open:
            for item in column:
                parts += [np.array([item.bar, item.goal], dtype=np.float64), item.members]
                parts += [item.pooled, item.reference]
        for part in parts:
            digest.update(repr(part.shape).encode() + part.tobytes())
        return "0x" + digest.hexdigest()

    def _first_new(self, ts: IntArray, close: FloatArray) -> int:
        """Index of the first bar not taken in yet; PanelError unless the bars join on to those that were."""
        if len(ts) != len(close):
            raise PanelError(f"{len(ts)} times but {len(close)} closes")
        if np.any(np.diff(ts) <= 0) or not np.isfinite(close).all() or np.any(close <= 0.0):
            raise PanelError("bars must rise in time and have finite positive closes: clean the series first")
        if not self._ts:
            return 0
        last = int(np.searchsorted(ts, self._ts[-1]))
        if last == len(ts) or int(ts[last]) != self._ts[-1]:
            raise PanelError(f"the bars given do not hold the one at {self._ts[-1]} taken in last: rebuild the panel")
        mine = slice(bisect_left(self._ts, int(ts[0])), None)
        if self._ts[mine] != ts[: last + 1].tolist() or self._close[mine] != close[: last + 1].tolist():
            raise PanelError("bars that were taken in have changed: rebuild the panel from the stored series")
        return last + 1

    def _take(self, when: int, price: float) -> None:
        """One bar: features, then what it brings to light, then the bundles' answers."""
        self._ts.append(when)
        self._close.append(price)
        ready = [window.push(when, price) for window in self._streams.values()]
        if when < self.learn_from:
            return
        self._mature(when)
        if not all(ready):
            return
        self._asked = self._ask()
        self._pooled = self.mixture.pool(self._asked[: len(self.bundles)])
        for h, horizon in enumerate(self.horizons):
            members, pooled = self._asked[: len(self.bundles), h].copy(), self._pooled.quantiles[h]
            reference = no_quantiles() if self._reference is None else self._asked[self._reference, h].copy()
            goal = when + horizon * SECOND
            self._open[h].append(_Open(len(self._ts) - 1, goal, members, pooled, reference))

    def _ask(self) -> FloatArray:
        """All bundles at the last bar: (K', H, 9), NaN where a bundle has no such horizon or abstains."""
        said = np.full(self._asked.shape, np.nan)
        for group in self._groups:
            group.ask(self._streams, said)
        return said

    def _mature(self, now: int) -> None:
        """Learns from every open forecast whose goal time has come, oldest first; those without a price are dropped."""
        due = [self._due(column, now) for column in self._open]
        for rank in range(max(len(items) for items in due)):
            members = np.full((len(self.bundles), len(self.horizons), len(LEVELS)), np.nan)
            outcome = np.full(len(self.horizons), np.nan)
            for h, items in enumerate(due):
                if rank < len(items):
                    members[:, h] = items[rank].members
                    outcome[h] = self._outcome(items[rank].bar, self.horizons[h])
                    said = np.vstack([items[rank].pooled, items[rank].members])
                    self._scores.add(h, float(outcome[h]), said, items[rank].reference)
            if np.isfinite(outcome).any():
                self.mixture.learn(members, outcome)

    def _due(self, column: deque[_Open], now: int) -> list[_Open]:
        items: list[_Open] = []
        while column and column[0].goal <= now:
            items.append(column.popleft())
        return items

    def _outcome(self, bar: int, horizon: int) -> float:
        ts, close = np.array(self._ts[bar:], dtype=np.int64), np.array(self._close[bar:])
        return float(labels(ts, close, (horizon,), self.width)[0, 0])


class _Window:
    """The feature stream of one schema and its last `window` rows."""

    def __init__(self, schema: FeatureSchema) -> None:
        self.stream = FeatureStream(schema)
        self.rows: deque[FloatArray] = deque(maxlen=schema.window)

    def push(self, ts: int, close: float) -> bool:
        """Takes one bar; True once a whole window stands."""
        row = self.stream.push(ts, close)
        if row is not None:
            self.rows.append(row)
        return len(self.rows) == self.rows.maxlen

    def input(self) -> FloatArray:
        """The window as a model input of one series: (1, window, F)."""
        return np.stack(list(self.rows))[None]


class _Group:
    """The bundles with the same horizons and what they remember between bars."""

    def __init__(self, asked: Sequence[Bundle], own: tuple[int, ...], horizons: tuple[int, ...]) -> None:
        """`asked`: all bundles of the panel; `own`: this group's horizons; `horizons`: the panel's."""
        self._members = [k for k, bundle in enumerate(asked) if bundle.manifest.horizons == own]
        self._shared = [(own.index(h), i) for i, h in enumerate(horizons) if h in own]
        self._runtime = Runtime([asked[k] for k in self._members])
        self._stream: RuntimeStream | None = None

    def ask(self, windows: Mapping[str, _Window], said: FloatArray) -> None:
        """Fills this group's rows of `said` (K', H, 9); the first time from whole windows, then bar by bar."""
        if self._stream is None:
            full = {key: windows[key].input() for key in self._runtime.schemas}
            answers = self._runtime.predict(full)[:, 0]
            self._stream = self._runtime.stream(full)
        else:
            answers = self._stream.step({key: windows[key].rows[-1][None] for key in self._runtime.schemas})[:, 0]
        for theirs, ours in self._shared:
            said[self._members, ours] = answers[:, theirs]


def _check_bundles(bundles: Sequence[Bundle], horizons: tuple[int, ...], width: int) -> None:
    if not bundles:
        raise PanelError("a panel needs at least one bundle")
    if not horizons or list(horizons) != sorted(set(horizons)) or horizons[0] <= 0:
        raise PanelError(f"horizons must be rising numbers of seconds, got {horizons}")
    if len({b.hash for b in bundles}) != len(bundles):
        raise PanelError("the same bundle is given twice: every model counts once")
    if len({b.manifest.symbol for b in bundles}) != 1:
        raise PanelError(f"bundles of several symbols: {sorted({b.manifest.symbol for b in bundles})}")
    for bundle in bundles:
        name, features = bundle.manifest.name, bundle.manifest.features
        if features.width != width:
            raise PanelError(f"bundle {name} reads bars of {features.width} s, the series has {width} s")
        if not set(horizons) & set(bundle.manifest.horizons):
            raise PanelError(f"bundle {name} forecasts {bundle.manifest.horizons} s, the panel {horizons} s")


def _with_reference(bundles: tuple[Bundle, ...], reference: Bundle | None) -> tuple[tuple[Bundle, ...], int | None]:
    """The bundles to ask (the reference added at the end if it is not among them) and the reference's index."""
    if reference is None:
        walks = [k for k, b in enumerate(bundles) if b.manifest.family == "random_walk"]
        return bundles, walks[0] if walks else None
    hashes = [b.hash for b in bundles]
    if reference.hash in hashes:
        return bundles, hashes.index(reference.hash)
    return (*bundles, reference), len(bundles)


def track(panel: Panel, ts: IntArray, close: FloatArray, start: int, stop: int | None = None) -> PanelTrack:
    """Steps `panel` at every bar in [start, stop] (microseconds) and puts what it said beside what came true."""
    index = np.flatnonzero((ts >= start) & (ts <= (ts[-1] if stop is None else stop)))
    steps = [panel.step(int(ts[i]), ts[: i + 1], close[: i + 1]) for i in index.tolist()]
    shape = (len(steps), len(panel.horizons), len(LEVELS))
    blank = np.full(shape[1:], np.nan)
    count = len(panel.bundles)
    return PanelTrack(
        ts=ts[index],
        quantiles=np.array([s.quantiles for s in steps]).reshape(shape),
        members=np.array([s.members for s in steps]).reshape(shape[0], count, *shape[1:]),
        weights=np.array([s.weights for s in steps]).reshape(shape[0], count, shape[1]),
        reference=np.array([blank if s.reference is None else s.reference for s in steps]).reshape(shape),
        outcomes=labels(ts, close, panel.horizons, panel.width)[index],
    )
