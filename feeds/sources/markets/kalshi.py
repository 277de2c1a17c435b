"""Kalshi: event contracts of a regulated exchange, by its public market data.

Why this file exists: see `feeds.sources.markets.market`. Never in it: trading, keys, what all venues have in common.

Wire format: docs.kalshi.com, "Get Market" (`GET /markets/{ticker}`), "Get Event" (`GET /events/{event_ticker}` with
`with_nested_markets`) and "Market Lifecycle". What is easily read wrongly:

- prices are texts of dollars (`yes_bid_dollars`), before 2026 whole cents (`yes_bid`); a bid of 0 or an ask of 1 is an
  empty side; the price is that of `middle`;
- `status` is `initialized`, `active`, `inactive` (paused), `closed`, `determined` (the result is known, the settlement
  timer runs), `disputed`, `amended` (determined again after a dispute), `finalized` (older answers: `settled`). Only
  the last is a fact: what is determined can be disputed;
- `result` is `yes`, `no`, `scalar` (then `settlement_value_dollars` is what a yes pays), or of a voided market `void`;
- `close_time` moves forward when a market may close early and does, which is no change of terms;
- a question of several outcomes is an event of several markets with `mutually_exclusive`: `event`; the outcomes are
  the markets' tickers. If none of them came true, no outcome of the question did, and the answer is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from feeds.sources.http import Answer, Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.markets.fields import Fields
from feeds.sources.markets.market import (
    MarketLook,
    MarketSettings,
    MarketState,
    PredictionMarket,
    arranged,
    group,
    middle,
)
from feeds.sources.source import MalformedAnswer, MarketChanged

YES_NO = ("yes", "no")
"""Outcomes of one market."""
STATES = {
    "initialized": MarketState.HALTED,
    "active": MarketState.TRADING,
    "inactive": MarketState.HALTED,
    "closed": MarketState.HALTED,
    "determined": MarketState.HALTED,
    "disputed": MarketState.DISPUTED,
    "amended": MarketState.HALTED,
    "finalized": MarketState.RESOLVED,
    "settled": MarketState.RESOLVED,
}
"""What each word of the lifecycle means here."""
_CENTS = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class KalshiSettings(MarketSettings):
    """A market by its ticker, or an `event` by its own; the outcomes are then the tickers of its markets."""

    outcomes: tuple[str, ...] = YES_NO
    event: bool = False
    default_url: ClassVar[str] = "https://api.elections.kalshi.com/trade-api/v2"


class Kalshi(PredictionMarket):
    """One market, or one event, of Kalshi."""

    settings: KalshiSettings

    def __init__(self, settings: KalshiSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet."""
        super().__init__(settings, http, clock)

    def path(self) -> str:
        """Where the API has it."""
        market = self.settings.market
        return f"/events/{market}?with_nested_markets=true" if self.settings.event else f"/markets/{market}"

    async def look(self) -> tuple[MarketLook, Answer]:
        """Ask for the market or the event."""
        answer = await self.ask(self.path())
        fields = Fields(self.name, answer.json())
        if self.settings.event:
            look = parse_event(self.name, fields.get("event"), self.settings.outcomes)
        else:
            look = parse_market(self.name, fields.get("market"))
        if look.id != self.settings.market:
            raise MarketChanged(self.name, "ticker", self.settings.market, look.id)
        return look, answer


def parse_market(source: str, value: object) -> MarketLook:
    """One market. Raises `MalformedAnswer`."""
    fields = Fields(source, value)
    status = fields.text("status")
    state = STATES.get(status)
    if state is None:
        raise MalformedAnswer(source, f"status {status}"[:80], f"one of {', '.join(STATES)}")
    if state is MarketState.RESOLVED and fields.flag("is_provisional"):
        state = MarketState.HALTED
    yes = middle(_dollars(fields, "yes_bid"), _dollars(fields, "yes_ask"), _dollars(fields, "last_price"))
    volume = fields.number("volume_fp")
    volume = fields.number("volume") if volume is None else volume
    names = ("title", "yes_sub_title", "rules_primary", "rules_secondary")
    return MarketLook(
        id=fields.text("ticker"),
        rules="\n\n".join(text for name in names if (text := fields.maybe_text(name))),
        closes=fields.time("close_time"),
        state=state,
        outcomes=YES_NO,
        prices=(None, None) if yes is None else (yes, 1 - yes),
        traded=(volume, volume),
        payouts=_payouts(fields) if state is MarketState.RESOLVED else (),
        resolved_at=fields.time("settlement_ts"),
        said=f"status {status}, result {fields.maybe_text('result') or 'none'}"[:300],
    )


def parse_event(source: str, value: object, outcomes: tuple[str, ...]) -> MarketLook:
    """One event as one market with an outcome for each of its markets, in the order of `outcomes`.

    Raises `MalformedAnswer`, or `MarketChanged` where it has other markets or several of them can be yes.
    """
    fields = Fields(source, value)
    if not fields.flag("mutually_exclusive"):
        raise MarketChanged(source, "mutually_exclusive", True, False)
    looks = [parse_market(source, child.value) for child in fields.objects("markets")]
    rules = "\n\n".join(text for name in ("title", "sub_title") if (text := fields.maybe_text(name)))
    ordered = arranged(source, [(look.id, look) for look in looks], outcomes)
    return group(source, fields.text("event_ticker"), rules, ordered)


def _dollars(fields: Fields, name: str) -> Decimal | None:
    dollars = fields.number(f"{name}_dollars")
    cents = fields.number(name) if dollars is None else None
    return dollars if cents is None else cents * _CENTS


def _payouts(fields: Fields) -> tuple[Decimal, ...]:
    result, value = fields.maybe_text("result"), _dollars(fields, "settlement_value")
    if result == "void":
        return ()
    yes = {"yes": Decimal(1), "no": Decimal(0)}.get(result, value if result == "scalar" else None)
    if yes is None or not 0 <= yes <= 1 or (value is not None and value != yes):
        raise MalformedAnswer(
            fields.source, f"result {result or 'none'} at {value}"[:80], "yes, no, void, or scalar in [0, 1]"
        )
    return yes, 1 - yes
