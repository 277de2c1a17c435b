"""Another oracle's price feed in the shape of Chainlink's AggregatorV3Interface.

Why this file exists: most oracles answer `latestRoundData`, and most losses from it came of what its callers did not
check: age, unit, an unfinished round, a price of zero. Never in it: network, fusion.

Fields: https://docs.chain.link/data-feeds/api-reference. What is checked: https://docs.chain.link/data-feeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from feeds.sources.http import Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.onchain.abi import Block, Call, Function, printable
from feeds.sources.onchain.chain_source import MAX_DECIMALS, ChainSource
from feeds.sources.onchain.errors import WrongContract
from feeds.sources.onchain.reader import ROUND, ChainSettings, check_address, check_range
from feeds.sources.source import BadRule
from feeds.types import SECOND, Micros, Quote

DECIMALS = Function("decimals", (), ("uint8",))
DESCRIPTION = Function("description", (), ("bytes",))


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatorV3Settings(ChainSettings):
    """One feed. `address`: its proxy (or aggregator).

    `heartbeat_s`: the longest time between two of its answers, with a margin: an older answer is refused. `invert`: the
    feed is of the pair the other way round (USD/EUR where we mean EUR/USD). `description`: what the contract must say
    it is; empty: its pair must be the symbol (turned round with `invert`), spaces and case aside. `stamp`: a quote's
    `ts` is the time of the `answer`, so that it ages between updates; or of the `block`, which takes the feed at its
    word that it answers anew when the price moves.
    """

    address: str
    heartbeat_s: int
    invert: bool = False
    description: str = ""
    stamp: Literal["answer", "block"] = "answer"

    def __post_init__(self) -> None:
        """Raise BadRule."""
        ChainSettings.__post_init__(self)
        check_address(self.name, "address", self.address)
        check_range(self.name, "heartbeat_s", self.heartbeat_s, 1, 7 * 86_400)
        if self.stamp not in ("answer", "block"):
            raise BadRule(f"source {self.name}: stamp", self.stamp, "answer or block")


class AggregatorV3Source(ChainSource):
    """A `Fetcher` over one feed."""

    def __init__(self, settings: AggregatorV3Settings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet. Raises BadRule."""
        super().__init__(settings, http, clock)
        self._settings = settings
        self._calls = [Call(settings.address, function) for function in (ROUND, DECIMALS, DESCRIPTION)]

    async def quote(self, block: Block) -> Quote | None:
        """The newest round at `block`. Raises WrongContract where it describes itself as another pair."""
        outputs, _ = await self.reader.read(block, self._calls)
        answered, scale, said = (self.reader.need(*pair) for pair in zip(self._calls, outputs, strict=True))
        self._check_description(cast(bytes, said[0]))
        decimals = cast(int, scale[0])
        if decimals > MAX_DECIMALS:
            raise self.refuse("decimals", decimals, f"at most {MAX_DECIMALS}")
        round_id, answer, started, updated, answered_in = cast(tuple[int, ...], answered)
        for field, given, sound, limit in (
            ("round_id", round_id, round_id > 0, "above 0: no round yet"),
            ("started_at", started, started > 0, "above 0: the round has not begun"),
            ("updated_at", updated, updated > 0, "above 0: the round is not answered"),
            ("answered_in_round", answered_in, answered_in >= round_id, f"at least its round {round_id}: carried over"),
            ("answer", answer, answer > 0, "above 0"),
        ):
            if not sound:
                raise self.refuse(field, given, limit)
        self.check_age("updated_at", updated, block, self._settings.heartbeat_s)
        ts = block.ts if self._settings.stamp == "block" else Micros(updated * SECOND)
        price = self.exact(1, answer, decimals) if self._settings.invert else self.exact(answer, 1, -decimals)
        return self.admit(price, ts)

    def _check_description(self, raw: bytes) -> None:
        said, settings = printable(raw.decode("utf-8", "replace")), self._settings
        if settings.description:
            if said != settings.description:
                raise WrongContract(self.name, "its description", repr(said), repr(settings.description))
            return
        wanted = "/".join(reversed(settings.symbol.split("/"))) if settings.invert else settings.symbol
        if said.replace(" ", "").upper() != wanted.replace(" ", "").upper():
            raise WrongContract(self.name, "its description", repr(said), f"{wanted!r} (or set description)")
