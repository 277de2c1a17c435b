"""A price of a Pyth contract, with the confidence that Pyth states.

Why this file exists: Pyth's numbers come with an exponent and an interval of their own, which must be read together; in
2021 two publishers with different decimals made it print BTC at 5,402. Never in it: network, pushing of updates.

Format: `IPyth.getPriceUnsafe(bytes32)` answers the struct `PythStructs.Price` {int64 price, uint64 conf, int32 expo,
uint publishTime}, price and conf x 10^expo (https://docs.pyth.network/price-feeds/api-reference/evm/get-price-unsafe).
"Unsafe" is that it may be old: the age is checked here, against our clock and not only the block's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from feeds.sources.http import Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.onchain.abi import Block, Call, Function
from feeds.sources.onchain.chain_source import MAX_DECIMALS, ChainSource
from feeds.sources.onchain.reader import ChainSettings, check_address, check_number, check_range
from feeds.sources.source import BadRule
from feeds.types import SECOND, Micros, Quote

PRICE = Function("getPriceUnsafe", ("bytes32",), ("int64", "uint64", "int32", "uint256"))
_FEED_ID = re.compile(r"0x[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythSettings(ChainSettings):
    """One price feed of a Pyth contract.

    `address`: the contract. `feed_id`: 32 bytes of hex, from Pyth's list of feeds. `max_age_s`: an older price is
    refused. `max_confidence_bps`: so is one whose confidence interval is wider than this part of the price, in basis
    points. `invert`: the feed is of quote per base the other way round.
    """

    address: str
    feed_id: str
    max_age_s: int = 60
    max_confidence_bps: float = 100.0
    invert: bool = False

    def __post_init__(self) -> None:
        """Raise BadRule."""
        ChainSettings.__post_init__(self)
        check_address(self.name, "address", self.address)
        check_range(self.name, "max_age_s", self.max_age_s, 1, 7 * 86_400)
        if not (isinstance(self.feed_id, str) and _FEED_ID.fullmatch(self.feed_id)):
            raise BadRule(f"source {self.name}: feed_id", self.feed_id, "0x and 64 hex digits")
        check_number(self.name, "max_confidence_bps", self.max_confidence_bps, 1e-6, 10_000.0)


class PythSource(ChainSource):
    """A `Fetcher` over one price feed."""

    def __init__(self, settings: PythSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet. Raises BadRule."""
        super().__init__(settings, http, clock)
        self._settings = settings
        self._call = Call(settings.address, PRICE, (bytes.fromhex(settings.feed_id[2:]),))

    async def quote(self, block: Block) -> Quote | None:
        """The stored price at `block`, as of its publish time."""
        outputs, _ = await self.reader.read(block, [self._call])
        price, confidence, exponent, published = cast(tuple[int, ...], self.reader.need(self._call, outputs[0]))
        if price <= 0:
            raise self.refuse("answer", price, "above 0")
        if abs(exponent) > MAX_DECIMALS:
            raise self.refuse("decimals", exponent, f"an exponent from -{MAX_DECIMALS} to {MAX_DECIMALS}")
        width = 10_000 * confidence / price
        if width > self._settings.max_confidence_bps:
            limit = f"at most {self._settings.max_confidence_bps:g} bps of the price"
            raise self.refuse("confidence", f"{width:.1f} bps", limit)
        self.check_age("publish_time", published, block, self._settings.max_age_s)
        stated = self.exact(1, price, -exponent) if self._settings.invert else self.exact(price, 1, exponent)
        return self.admit(stated, Micros(published * SECOND))
