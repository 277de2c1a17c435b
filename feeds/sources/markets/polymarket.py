"""Polymarket: markets from its Gamma API, order books from its CLOB.

Why this file exists: see `feeds.sources.markets.market`. Never in it: trading, keys, what all venues have in common.

Wire format: docs.polymarket.com, "Gamma Markets API" (`GET /markets/{id}`, `/markets/slug/{slug}`,
`/events/slug/{slug}`), "Orderbook" (`GET /book`, `/midpoint` of the CLOB) and "Resolution". What is easily misread:

- `outcomes`, `outcomePrices` and `clobTokenIds` are texts that hold JSON lists, their items in the same order;
- `umaResolutionStatus` is absent, `proposed`, `disputed` or `resolved`; the trail `umaResolutionStatuses` may end
  before its last step. Only a market that is `closed` and `resolved` (or `automaticallyResolved`) is final: a proposal
  pins the price to its outcome hours before, and a dispute may still turn it;
- once final, `outcomePrices` are what each outcome pays: 1 and 0, or 0.5 each for "unknown / 50-50". Markets of the
  early years carry numbers like 0.9999996, rounded here to 6 places, and some `["0", "0"]`, which says nothing;
- the pages on the order book disagree on the order of its levels, so the best bid is the highest, the best ask the
  lowest, wherever they stand;
- an event of several markets of which one will be yes is one question: `event` (the label is `groupItemTitle`; those
  that are neither active nor closed are places kept free).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import ClassVar

from feeds.sources.http import Answer, Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.markets.fields import Fields, decimal_of
from feeds.sources.markets.market import (
    MarketLook,
    MarketSettings,
    MarketState,
    PredictionMarket,
    arranged,
    group,
    middle,
)
from feeds.sources.source import BadRule, MalformedAnswer, MarketChanged
from feeds.sources.url import checked_url

PRICES = ("gamma", "midpoint", "book")
"""Where prices come from: Gamma's own, or the CLOB's mid, or the CLOB's book (`middle`)."""
_PLACES = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class PolymarketSettings(MarketSettings):
    """A market by its slug or number, or an `event` by its slug. `id`: its condition id (an event: its number)."""

    outcomes: tuple[str, ...] = ("Yes", "No")
    event: bool = False
    price: str = "gamma"
    clob_url: str = "https://clob.polymarket.com"
    default_url: ClassVar[str] = "https://gamma-api.polymarket.com"

    def __post_init__(self) -> None:
        """Check every field."""
        MarketSettings.__post_init__(self)
        if self.price not in PRICES:
            raise BadRule(f"source {self.name}: price", self.price, f"one of {', '.join(PRICES)}")
        if self.event and self.price != "gamma":
            raise BadRule(f"source {self.name}: price", self.price, "gamma for an event")
        object.__setattr__(self, "clob_url", self.clob_url.rstrip("/"))
        checked_url(self.clob_url)


class Polymarket(PredictionMarket):
    """One market, or one event, of Polymarket."""

    settings: PolymarketSettings

    def __init__(self, settings: PolymarketSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet."""
        super().__init__(settings, http, clock)

    def path(self) -> str:
        """Where Gamma has it."""
        kind = "events" if self.settings.event else "markets"
        market = self.settings.market
        return f"/{kind}/{market}" if market.isdecimal() else f"/{kind}/slug/{market}"

    async def look(self) -> tuple[MarketLook, Answer]:
        """Ask Gamma, and the CLOB if prices come from there."""
        answer = await self.ask(self.path())
        value = answer.json()
        fields, market = Fields(self.name, value), self.settings.market
        given = fields.text("id" if market.isdecimal() else "slug")
        if given != market:
            raise MarketChanged(self.name, "slug", market, given)
        if self.settings.event:
            return parse_event(self.name, value, self.settings.outcomes), answer
        look = parse_market(self.name, value)
        if self.settings.price != "gamma" and look.state is MarketState.TRADING:
            look = await self._with_book(look, fields.coded_list("clobTokenIds"))
        return look, answer

    async def _with_book(self, look: MarketLook, tokens: list[str]) -> MarketLook:
        if len(tokens) != len(look.outcomes):
            raise MalformedAnswer(self.name, f"{len(tokens)} clobTokenIds", f"{len(look.outcomes)}, one an outcome")
        prices: list[Decimal | None] = []
        for token, price in zip(tokens, look.prices, strict=True):
            path = "/book" if self.settings.price == "book" else "/midpoint"
            value = (await self.ask(path, {"token_id": token}, self.settings.clob_url)).json()
            if path == "/book":
                prices.append(middle(*parse_book(self.name, value, token), price))
            else:
                prices.append(Fields(self.name, value).number("mid"))
        return replace(look, prices=tuple(prices))


def parse_market(source: str, value: object) -> MarketLook:
    """One of Gamma's markets. Raises `MalformedAnswer`."""
    fields = Fields(source, value)
    outcomes = tuple(fields.coded_list("outcomes"))
    prices = tuple(decimal_of(source, "outcomePrices", price) for price in fields.coded_list("outcomePrices"))
    if len(outcomes) < 2 or (prices and len(prices) != len(outcomes)):
        raise MalformedAnswer(
            source, f"{len(prices)} prices of {len(outcomes)} outcomes", "a price for each of 2 or more"
        )
    status = fields.maybe_text("umaResolutionStatus")
    state = _state(fields, status)
    payouts: tuple[Decimal, ...] = ()
    if state is MarketState.RESOLVED:
        payouts = tuple(price.quantize(_PLACES) for price in prices if 0 <= price <= 1)
        if len(payouts) != len(outcomes) or abs(sum(payouts, Decimal(-1))) > len(outcomes) * _PLACES:
            raise MalformedAnswer(source, f"resolved to {[str(price) for price in prices]}"[:80], "payouts that make 1")
    volume = fields.number("volumeNum")
    volume = fields.number("volume") if volume is None else volume
    rules = [fields.text("question"), fields.maybe_text("description"), fields.maybe_text("resolutionSource")]
    return MarketLook(
        id=fields.text("conditionId"),
        rules="\n\n".join(text for text in rules if text),
        closes=fields.time("endDate"),
        state=state,
        outcomes=outcomes,
        prices=prices or (None,) * len(outcomes),
        traded=(volume if len(outcomes) == 2 else None,) * len(outcomes),
        payouts=payouts,
        resolved_at=fields.time("closedTime"),
        said=_said(fields, status),
    )


def parse_event(source: str, value: object, outcomes: tuple[str, ...]) -> MarketLook:
    """One of Gamma's events as one market with an outcome for each of its markets, in the order of `outcomes`.

    Raises `MalformedAnswer`, or `MarketChanged` where it has other outcomes.
    """
    fields = Fields(source, value)
    looks = []
    for child in fields.objects("markets"):
        if child.flag("active") or child.flag("closed"):
            look = parse_market(source, child.value)
            if look.outcomes != ("Yes", "No"):
                raise MarketChanged(source, "markets", ("Yes", "No"), look.outcomes)
            looks.append((child.text("groupItemTitle"), look))
    rules = "\n\n".join(text for text in (fields.text("title"), fields.maybe_text("description")) if text)
    return group(source, fields.text("id"), rules, arranged(source, looks, outcomes))


def parse_book(source: str, value: object, token: str) -> tuple[Decimal | None, Decimal | None]:
    """Best bid and best ask of one outcome's book, None for an empty side.

    Raises `MalformedAnswer`, `MarketChanged`.
    """
    fields = Fields(source, value)
    if fields.text("asset_id") != token:
        raise MarketChanged(source, "asset_id", token, fields.text("asset_id"))
    bids = [price for level in fields.objects("bids") if (price := _price(source, level)) is not None]
    asks = [price for level in fields.objects("asks") if (price := _price(source, level)) is not None]
    return max(bids, default=None), min(asks, default=None)


def _price(source: str, level: Fields) -> Decimal | None:
    """The price of a level that something stands at."""
    price, size = level.number("price"), level.number("size")
    if price is None or size is None or not 0 < price < 1 or size < 0:
        raise MalformedAnswer(source, f"a level of {price} x {size}", "a price between 0 and 1 and a size")
    return price if size > 0 else None


def _state(fields: Fields, status: str) -> MarketState:
    if fields.flag("closed") and (status == "resolved" or (not status and fields.flag("automaticallyResolved"))):
        return MarketState.RESOLVED
    open_ = not fields.flag("closed") and fields.get("active") is not False
    if open_ and fields.get("acceptingOrders") is not False:
        return MarketState.TRADING
    return MarketState.DISPUTED if status == "disputed" else MarketState.HALTED


def _said(fields: Fields, status: str) -> str:
    closed = "closed" if fields.flag("closed") else "open"
    prices = ", ".join(fields.coded_list("outcomePrices"))
    return f"{closed}, umaResolutionStatus {status or 'none'}, outcomePrices {prices}"[:300]
