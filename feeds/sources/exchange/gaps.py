"""Gaps in a venue's websocket that ccxt does not look for: numbers that jump, checksums that do not fit.

Why this file exists: an order book built from updates is wrong from the first update lost, and looks sound until it
crosses. ccxt itself follows Binance's update ids (and raises ChecksumError); for Coinbase and Kraken it is done here.
Never in it: network, what follows from a gap (`stream.py` connects anew).

- Coinbase Advanced Trade numbers its messages (`sequence_num`; WebSocket Overview, "Sequence Numbers").
- Kraken v2 sends a CRC32 over the ten best levels of each side (guide "Book checksum (WebSocket v2)").

A check counts only after it has held `PROOF` times in a row: a venue that changes its numbering or its rounding must
not make a node connect without end.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

PROOF = 5
"""Times in a row that a check must have held before its failure is a gap."""
TOP = 10
"""Levels of a side under Kraken's checksum."""


class GapWatch:
    """The checks of one connection of one venue."""

    def __init__(self, venue: str) -> None:
        """`venue`: ccxt's name of it; one that needs no check here has none."""
        self._venue = venue
        self._number: int | None = None
        self._held: dict[str, int] = {}

    def gap(self, exchange: Any, message: object) -> str | None:
        """What was lost before `message`, which `exchange` (of ccxt) has taken in already; None if nothing."""
        if not isinstance(message, Mapping):
            return None
        if self._venue == "coinbase":
            return self._numbered(message.get("sequence_num"))
        if self._venue == "kraken" and message.get("channel") == "book":
            return self._summed(exchange, message.get("data"))
        return None

    def _numbered(self, number: object) -> str | None:
        if type(number) is not int:
            return None
        last, self._number = self._number, number
        if last is None or self._holds("", number == last + 1):
            return None
        return f"message {number} came after {last}"

    def _summed(self, exchange: Any, data: object) -> str | None:
        first = data[0] if isinstance(data, list) and data else None
        if not isinstance(first, Mapping) or type(first.get("checksum")) is not int:
            return None
        symbol = str(first.get("symbol"))
        book, market = exchange.orderbooks.get(symbol), exchange.markets.get(symbol)
        if book is None or market is None:
            return None
        steps = market["precision"]["price"], market["precision"]["amount"]
        sum_here = kraken_checksum(book["asks"], book["bids"], *(_decimals(step) for step in steps))
        if self._holds(symbol, sum_here == first["checksum"]):
            return None
        return f"the book of {symbol} does not fit its checksum"

    def _holds(self, name: str, true: bool) -> bool:
        """Whether a check that came out `true` or not is nothing to worry about."""
        proven = self._held.get(name, 0) >= PROOF
        self._held[name] = self._held.get(name, 0) + 1 if true else 0
        return true or not proven


def _decimals(step: object) -> int:
    return max(0, round(-math.log10(step))) if isinstance(step, float | int) and step > 0 else 0


def kraken_checksum(
    asks: Sequence[Sequence[float]], bids: Sequence[Sequence[float]], price_decimals: int, size_decimals: int
) -> int:
    """CRC32 over the ten best asks and bids, digits only, without leading zeros.

    >>> kraken_checksum([[0.05, 0.00000304]], [], 5, 8) == zlib.crc32(b"5000304")
    True
    """
    text = "".join(
        f"{level[index]:.{digits}f}".replace(".", "").lstrip("0")
        for side in (asks, bids)
        for level in side[:TOP]
        for index, digits in ((0, price_decimals), (1, size_decimals))
    )
    return zlib.crc32(text.encode())
