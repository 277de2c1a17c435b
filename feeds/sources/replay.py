"""Recorded data as a source: the past, at the pace of `now`.

Why this file exists: the demo, back-tests and scenario tests run real history through the same `Source` interface
that live venues use. Never in it: network, fusion, a row shown before its bar had closed.

A recorded `ts` is the OPEN of its bar, so a bar becomes a quote (price = close, ts = close time) at `ts + width`.
For the embedded EUR/USD files this was checked, not assumed: in both, the last bar of a summer week is labelled
Friday 20:00 UTC and the first Sunday 21:00 UTC, while the market shuts and opens at 17:00 New York = 21:00 UTC; the
ECB's statement of 2017-10-26 11:45 UTC moves the bar labelled 11:00; and the two agree at lag 0 (correlation of
hourly returns .999; -.02 one hour off).
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from feeds.sources.source import BadRule, MalformedFile, MissingData, QuoteGate, SourceClosed
from feeds.types import SECOND, Micros, Quote

HOUR = 3600 * SECOND
"""Microseconds in one hour: the bar width of the embedded data."""
COLUMNS = ("ts", "open", "high", "low", "close", "volume")
"""Columns of a frame of bars: `ts` int64 microseconds of the bar's open, the others float64."""
EURUSD = "EUR/USD"
"""The one symbol of the embedded data."""
MAX_FILE_BYTES = 256 << 20
"""A recorded file larger than this once unpacked is refused."""

Frames = dict[str, dict[str, pd.DataFrame]]
"""Recorded bars by source name, then by symbol."""

_EMBEDDED = {
    # source name: (distribution, version, file, time column, time format, SHA-256 of the file)
    "gym_anytrading_ask": (
        "gym-anytrading", "2.0.0", "gym_anytrading/datasets/data/FOREX_EURUSD_1H_ASK.csv", "Time",
        "%d.%m.%Y %H:%M:%S.%f", "28398b7edff9f74860d35a6f3c263f08e15c55264316dc07737d459d8688d7aa",
    ),
    "backtestingpy": (
        "backtesting", "0.6.6", "backtesting/test/EURUSD.csv", "",
        "%Y-%m-%d %H:%M:%S", "81e977905a006cc8fbc034ebdb83c999a8ed6ba00191dc7ea5ef5b386fb74a82",
    ),
}  # fmt: skip


class ReplaySource:
    """Recorded bars of one source, each shown once, when it is known.

    `frames`: symbol -> frame with at least the columns `ts`, `volume` and the one named by `price`; in any order.
    `width`: microseconds from `ts` to the moment that the row's price stood (0 for oracle rounds, which have none).
    `delay`: microseconds from then until the quote is known here. `start`: rows known before it are never shown.
    A row with an unsound price, size or time is refused and counted when its time comes, the others go on.
    """

    def __init__(
        self,
        name: str,
        frames: Mapping[str, pd.DataFrame],
        width: int,
        *,
        delay: int = 0,
        start: Micros | None = None,
        price: str = "close",
    ) -> None:
        """Order the rows by the time they become known. Raises `BadRule` or `MissingData` (a column)."""
        for field, given in (("width", width), ("delay", delay)):
            if given < 0:
                raise BadRule(f"replay {name}: {field}", given, "at least 0 microseconds")
        self._name, self._symbols = name, tuple(sorted(frames))
        self._gate, self._closed, self._next = QuoteGate(name), False, 0
        self._rows = _ordered(name, frames, width, delay, price)
        if start is not None:
            self._next = int(np.searchsorted(self._rows["known_at"].to_numpy(), start))

    @property
    def name(self) -> str:
        """The source's name, as in its quotes."""
        return self._name

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols recorded, sorted."""
        return self._symbols

    @property
    def refused(self) -> Counter[str]:
        """Rows refused so far, by the field at fault."""
        return self._gate.refused

    async def poll(self, now: Micros) -> list[Quote]:
        """Rows that became known since the last poll and by `now`. A clock that goes back shows nothing twice."""
        if self._closed:
            raise SourceClosed(self._name)
        end = max(self._next, int(np.searchsorted(self._rows["known_at"].to_numpy(), now, side="right")))
        rows = self._rows.iloc[self._next : end]
        self._next = end
        admit = self._gate.admit
        admitted = (
            admit(symbol, price, None if size != size else size, ts, known_at)
            for symbol, price, size, ts, known_at in zip(*(rows[c].tolist() for c in rows.columns), strict=True)
        )
        return [quote for quote in admitted if quote is not None]

    async def close(self) -> None:
        """Refuse further polls."""
        self._closed = True

    def next_known_at(self) -> Micros | None:
        """When the next row becomes known, None at the end: lets a conductor step from one to the next."""
        if self._next >= len(self._rows):
            return None
        return Micros(int(self._rows["known_at"].iloc[self._next]))


def _ordered(name: str, frames: Mapping[str, pd.DataFrame], width: int, delay: int, price: str) -> pd.DataFrame:
    parts = []
    for symbol in sorted(frames):
        frame = frames[symbol]
        for column in ("ts", price, "volume"):
            if column not in frame.columns:
                raise MissingData(f"column {column}", f"replay {name} {symbol}", f"columns are {list(frame.columns)}")
        ts = frame["ts"].to_numpy(np.int64) + width
        parts.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "price": frame[price].to_numpy(np.float64),
                    "size": frame["volume"].to_numpy(np.float64),
                    "ts": ts,
                    "known_at": ts + delay,
                }
            )
        )
    if not parts:
        raise MissingData("any symbol", f"replay {name}", "pass at least one frame of bars")
    return pd.concat(parts, ignore_index=True).sort_values("known_at", kind="stable", ignore_index=True)


def load_embedded_eurusd() -> dict[str, pd.DataFrame]:
    """The two recorded hourly EUR/USD series of 2017, by source name, from the wheels of the `demo` extra.

    `gym_anytrading_ask` (6,225 bars, the ask side) and `backtestingpy` (5,000 bars); `COLUMNS`, `ts` = bar open, and
    4,356 hours in common. The packages are not imported. Raises `MissingData` or `MalformedFile`.
    """
    frames = {}
    for source, (distribution, version, file, column, form, digest) in _EMBEDDED.items():
        data = _file_of(distribution, version, file)
        if hashlib.sha256(data).hexdigest() != digest:
            mend = f"pip install --force-reinstall {distribution}=={version}"
            raise MalformedFile(f"{distribution}/{file}", "its content is not that of the release", mend)
        frames[source] = parse_hourly(data, file, column, form)
    return frames


def eurusd_sources(start: Micros | None = None) -> tuple[ReplaySource, ...]:
    """The embedded EUR/USD series as two sources, in the order of `load_embedded_eurusd`."""
    frames = load_embedded_eurusd()
    return tuple(ReplaySource(name, {EURUSD: frame}, HOUR, start=start) for name, frame in frames.items())


def common_hours(frames: Mapping[str, pd.DataFrame]) -> NDArray[np.int64]:
    """Bar opens (microseconds, ascending) that all `frames` hold."""
    series = [frame["ts"].to_numpy(np.int64) for frame in frames.values()]
    common = series[0]
    for other in series[1:]:
        common = np.intersect1d(common, other, assume_unique=True)
    return common


def _file_of(distribution: str, version: str, file: str) -> bytes:
    mend = "run: pip install 'dodona[demo]'"
    try:
        installed = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        raise MissingData(f"package {distribution}=={version}", "this Python environment", mend) from None
    if installed.version != version:
        raise MissingData(f"package {distribution}=={version}", f"this environment ({installed.version} is)", mend)
    for entry in installed.files or ():
        if entry.as_posix() == file:
            try:
                return Path(str(entry.locate())).read_bytes()
            except OSError as error:
                raise MissingData(file, f"{distribution} ({error.strerror})", mend) from error
    raise MissingData(file, f"package {distribution}=={version}", mend)


def parse_hourly(data: bytes, name: str, time_column: str, time_format: str) -> pd.DataFrame:
    """Hourly bars from CSV bytes with columns time, Open, High, Low, Close, Volume; strict.

    `time_format` is strptime's, read as UTC. Raises `MalformedFile` for anything but strictly ascending full hours
    with sound prices, the high and low of each bar around its open and close.
    """
    prices = ("Open", "High", "Low", "Close", "Volume")
    table = _read_csv(data, name, {time_column: pa.string(), **dict.fromkeys(prices, pa.float64())})
    try:
        times = pd.to_datetime(table[time_column], format=time_format, exact=True, utc=True)
    except (ValueError, OverflowError) as error:
        raise MalformedFile(name, f"time {error}"[:200]) from error
    frame = pd.DataFrame({"ts": _micros(times), **{p.lower(): table[p] for p in prices}})
    ts, ohlc = frame["ts"].to_numpy(), frame[["open", "high", "low", "close"]].to_numpy()
    volume = frame["volume"].to_numpy()
    sound = np.isfinite(ohlc).all(axis=1) & (ohlc > 0).all(axis=1) & np.isfinite(volume) & (volume >= 0)
    sound &= (ohlc[:, 1] >= ohlc.max(axis=1)) & (ohlc[:, 2] <= ohlc.min(axis=1)) & (ts % HOUR == 0)
    sound[1:] &= ts[1:] > ts[:-1]
    if not sound.all():
        raise MalformedFile(name, f"line {int(np.argmin(sound)) + 2} is not a sound bar after the one before it")
    return frame


def _micros(times: pd.Series) -> NDArray[np.int64]:
    micros: NDArray[np.int64] = times.astype("datetime64[us, UTC]").to_numpy("datetime64[us]").astype(np.int64)
    return micros


def load_csv(path: str | Path) -> Frames:
    """Recorded bars from a CSV file (gzip if its content says so).

    Columns `ts, source, symbol, open, high, low, close, volume`, others are ignored; `ts` is the bar's open in UTC
    seconds; rows may come in any order. Empty or unsound prices stay, for the source's gate to refuse and count.
    Raises `MissingData` (no file) or `MalformedFile`.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingData(str(path), f"the file system ({error.strerror})", "check the path") from error
    return parse_csv(data, path.name)


def parse_csv(data: bytes, name: str) -> Frames:
    """As `load_csv`, from bytes. `name` is for messages."""
    texts, numbers = dict.fromkeys(("source", "symbol"), pa.string()), dict.fromkeys(COLUMNS[1:], pa.float64())
    frame = _read_csv(_unpacked(data, name), name, {"ts": pa.int64(), **texts, **numbers})
    seconds = frame["ts"].to_numpy()
    if not ((seconds >= 1_230_768_000) & (seconds < 4_102_444_800)).all():
        raise MalformedFile(name, "a ts is not in UTC seconds from 2009 to 2099")
    if (frame[["source", "symbol"]] == "").to_numpy().any():
        raise MalformedFile(name, "a row has no source or no symbol")
    frame["ts"] = seconds * SECOND
    frames: Frames = {}
    for (source, symbol), rows in frame.groupby(["source", "symbol"], sort=True):
        bars = rows[list(COLUMNS)].sort_values("ts", kind="stable", ignore_index=True)
        frames.setdefault(str(source), {})[str(symbol)] = bars
    return frames


def _unpacked(data: bytes, name: str) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(data, MAX_FILE_BYTES + 1)
    except zlib.error as error:
        raise MalformedFile(name, f"gzip: {error}") from error
    if len(plain) > MAX_FILE_BYTES:
        raise MalformedFile(name, f"unpacks to more than {MAX_FILE_BYTES} bytes", "split it")
    if not inflater.eof or inflater.unused_data:
        raise MalformedFile(name, "gzip data ends early" if not inflater.eof else "bytes follow the gzip data")
    return plain


def _read_csv(data: bytes, name: str, columns: Mapping[str, pa.DataType]) -> pd.DataFrame:
    if len(data) > MAX_FILE_BYTES:
        raise MalformedFile(name, f"{len(data)} bytes, limit {MAX_FILE_BYTES}", "split it")
    convert = pacsv.ConvertOptions(
        column_types=columns, include_columns=list(columns), null_values=[""], strings_can_be_null=False
    )
    try:
        table = pacsv.read_csv(io.BytesIO(data), pacsv.ReadOptions(use_threads=False), convert_options=convert)
        frame: pd.DataFrame = table.to_pandas()
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise MalformedFile(name, f"{error}"[:200]) from error
    if frame.empty:
        raise MalformedFile(name, "holds no rows")
    if any(frame[c].isna().any() for c, kind in columns.items() if kind == pa.int64()):
        raise MalformedFile(name, "a whole-number column has an empty cell")
    return frame
