"""What all prediction markets have in common: settings, one look at a market, and what follows from looks.

Why this file exists: three venues, one meaning. An outcome's price is a probability only while the market trades; its
resolution is a fact only when the venue calls it final; and a market whose outcomes or identity are not those of the
settings is another market. Never in it: a wire format.

Prices: strictly between 0 and 1. A market that still trades knows no certainty, and a log loss of it is infinite, so 0
and 1 are refused and counted in `refused["price"]`; so is an outcome that has no price. A market that does not trade
gives no quotes at all: what it shows then is its resolution.

A quote's `ts` is when we asked, as no venue says of when its price is. Its `size` is what was traded since the look
before, in the venue's own unit (Kalshi: contracts; Polymarket: USDC; Manifold: mana): 0.0 says that nothing was. It is
None at the first look, where the venue counts trades of several outcomes together, and where its count went down.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import ClassVar

from feeds.events.book import Finding, Terms
from feeds.events.evidence import body_hash
from feeds.events.question import MAX_OUTCOMES, printable
from feeds.sources.http import Answer, Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.source import (
    MAX_NAME,
    BadRule,
    MalformedAnswer,
    MalformedQuote,
    MarketChanged,
    QuoteGate,
    SourceClosed,
    SourceUnavailable,
)
from feeds.sources.url import Params, checked_url
from feeds.types import ANNULLED, SPLIT, UNDECIDED, Evidence, Fact, Micros, Quote

WIDEST_SPREAD = Decimal("0.1")
"""A book wider than this has no mid worth the name: the last trade counts instead, as Polymarket's own pages do."""
_PLACES = Decimal("0.000000001")
_MARKET = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """One market of a venue.

    `name`: the source's name. `market`: how the venue finds it. `id`: the venue's own lasting id, where it must be that
    one. `outcomes`: its outcomes exactly as the venue writes them, in its order. `symbols`: of their quotes, by default
    `market:outcome`. `question`: the id of the question that its resolution answers, `answers` then the index of that
    question's outcome for each of the market's. `url`: where the API is. Raises `BadRule`.
    """

    name: str
    market: str
    outcomes: tuple[str, ...]
    symbols: tuple[str, ...] = ()
    id: str = ""
    question: str = ""
    answers: tuple[int, ...] = ()
    url: str = ""
    default_url: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check every field, and fill in symbols and URL."""
        self._check_text("name", self.name, MAX_NAME)
        if not (isinstance(self.market, str) and _MARKET.fullmatch(self.market)):
            raise BadRule(f"source {self.name}: market", self.market, "1 to 200 letters, digits, dots, dashes")
        if not 2 <= len(self.outcomes) <= 100 or len(set(self.outcomes)) < len(self.outcomes):
            raise BadRule(f"source {self.name}: outcomes", self.outcomes, "2 to 100 different names")
        symbols = self.symbols or tuple(f"{self.market}:{outcome}" for outcome in self.outcomes)
        if len(symbols) != len(self.outcomes) or len(set(symbols)) < len(symbols):
            raise BadRule(f"source {self.name}: symbols", symbols, "one for each outcome, all different")
        for symbol in symbols:
            self._check_text("symbols", symbol, MAX_NAME)
        object.__setattr__(self, "symbols", symbols)
        url = (self.url or self.default_url).rstrip("/")
        checked_url(url)
        object.__setattr__(self, "url", url)
        self._check_answers()

    def _check_answers(self) -> None:
        if not self.question:
            if self.answers:
                raise BadRule(f"source {self.name}: answers", self.answers, "left out where there is no question")
            return
        number = self.question
        if not (len(number) == 66 and number.startswith("0x") and set(number[2:]) <= set("0123456789abcdef")):
            raise BadRule(f"source {self.name}: question", number, "a question's id, 0x and 64 hex digits")
        sound = all(type(a) is int and 0 <= a < MAX_OUTCOMES for a in self.answers)
        if not sound or len(self.answers) != len(self.outcomes) or len(set(self.answers)) < len(self.answers):
            limit = f"one index of the question's outcomes (0 to {MAX_OUTCOMES - 1}) for each outcome, all different"
            raise BadRule(f"source {self.name}: answers", self.answers, limit)

    def _check_text(self, field: str, value: object, limit: int) -> None:
        if not (isinstance(value, str) and 0 < len(value) <= limit and value.isprintable()):
            raise BadRule(f"source {self.name!s:.64}: {field}", value, f"1 to {limit} printable characters")


class MarketState(Enum):
    """Where a market is in its life; the value says it in words."""

    TRADING = "trading"
    HALTED = "not trading, not resolved"
    DISPUTED = "its resolution is disputed"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class MarketLook:
    """One market as its venue showed it once.

    `id`: the venue's lasting id. `rules`: title and rules, word for word. `prices`: of each outcome, None where there
    is none. `traded`: so far of each outcome, None where the venue does not say. `payouts`, once resolved: the part of
    each outcome, empty if the market was annulled. `said`: what the venue says of its resolution, in its words.
    """

    id: str
    rules: str
    closes: Micros | None
    state: MarketState
    outcomes: tuple[str, ...]
    prices: tuple[Decimal | None, ...]
    traded: tuple[Decimal | None, ...]
    payouts: tuple[Decimal, ...] = ()
    resolved_at: Micros | None = None
    said: str = ""


class PredictionMarket(ABC):
    """A `Fetcher` of one market's prices, and the `FactSource` of its resolution."""

    def __init__(self, settings: MarketSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet. `clock`: as every source takes one; the times here are those of the answers."""
        self.settings, self._http = settings, http
        self.gate = QuoteGate(settings.name)
        self._traded: tuple[Decimal | None, ...] = (None,) * len(settings.outcomes)
        self._finding: Finding | None = None
        self._terms: Terms | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """The source's name."""
        return self.settings.name

    @property
    def symbols(self) -> tuple[str, ...]:
        """A symbol for each outcome."""
        return self.settings.symbols

    @abstractmethod
    async def look(self) -> tuple[MarketLook, Answer]:
        """Ask the venue once: the market, and the answer that is the evidence of what it says. Raises FeedError."""

    async def fetch(self) -> list[Quote]:
        """One look: a quote for each outcome of a market that trades.

        Raises SourceUnavailable (MalformedAnswer, RateLimited), MarketChanged or SourceClosed.
        """
        if self._closed:
            raise SourceClosed(self.name)
        look, answer = await self.look()
        self._check_same(look)
        now = answer.received_at
        if self.settings.question:
            trading = look.state is MarketState.TRADING
            text = f"{look.id}\n\n{look.rules}"  # the id too: another market of the same name has other terms
            self._terms = Terms(self.name, self.settings.question, text, look.closes, trading, now)
            self._finding = self._found(look, answer)
        before, self._traded = self._traded, look.traded
        if look.state is not MarketState.TRADING:
            return []
        rows = zip(self.symbols, look.prices, before, look.traded, strict=True)
        quotes = [self._quote(symbol, price, _since(*traded), answer) for symbol, price, *traded in rows]
        return [quote for quote in quotes if quote is not None]

    def findings(self, now: Micros) -> list[Finding]:
        """What the newest look says of the question, if there is one and it was known by `now`."""
        found = self._finding
        return [found] if found is not None and found.fact.known_at <= now else []

    def terms(self, now: Micros) -> list[Terms]:
        """The market's terms by the newest look, if there is a question and it was known by `now`."""
        return [self._terms] if self._terms is not None and self._terms.known_at <= now else []

    async def close(self) -> None:
        """Refuse further looks; a second call does nothing."""
        self._closed = True

    async def ask(self, path: str, params: Params | None = None, base: str = "") -> Answer:
        """GET `path` of the venue's API. Raises FeedError; MarketChanged if the venue knows no such market."""
        url = (base or self.settings.url) + path
        answer = await self._http.request(self.name, "GET", url, params=params, any_status=True)
        if answer.status in (404, 410):
            raise MarketChanged(self.name, "page", "there", f"gone (HTTP status {answer.status})")
        if not 200 <= answer.status < 300:
            raise SourceUnavailable(self.name, f"HTTP status {answer.status}")
        return answer

    def _check_same(self, look: MarketLook) -> None:
        if look.outcomes != self.settings.outcomes:
            raise MarketChanged(self.name, "outcomes", self.settings.outcomes, look.outcomes)
        if self.settings.id and look.id != self.settings.id:
            raise MarketChanged(self.name, "id", self.settings.id, look.id)

    def _quote(self, symbol: str, price: Decimal | None, size: Decimal | None, answer: Answer) -> Quote | None:
        chance = None if price is None else float(price)
        if chance is None or not 0.0 < chance < 1.0:
            self.gate.last_refusal = MalformedQuote(self.name, "price", chance, "above 0 and below 1")
            self.gate.refused["price"] += 1
            return None
        amount = None if size is None else float(size)
        return self.gate.admit(symbol, chance, amount, answer.requested_at, answer.received_at)

    def _found(self, look: MarketLook, answer: Answer) -> Finding:
        """The look as a fact, with the answer as its evidence."""
        outcome, payouts = UNDECIDED, tuple[str, ...]()
        if look.state is MarketState.RESOLVED:
            outcome, payouts = self._outcome(look.payouts)
        known_at = answer.received_at
        ts = known_at if look.resolved_at is None or outcome == UNDECIDED else min(look.resolved_at, known_at)
        excerpt = printable(f"{look.state.value}: {look.said}; {look.rules}")
        evidence = Evidence(self.settings.url + self.path(), body_hash(answer.body), known_at, excerpt)
        fact = Fact(self.name, self.settings.question, outcome, ts, known_at, (evidence,), payouts)
        return Finding(fact, (answer.body,))

    @abstractmethod
    def path(self) -> str:
        """Where the venue's API has the market: what `look` asks for, and what a fact's evidence names."""

    def _outcome(self, parts: Sequence[Decimal]) -> tuple[int, tuple[str, ...]]:
        if not parts:
            return ANNULLED, ()
        if 1 in parts and sum(parts) == 1:
            return self.settings.answers[list(parts).index(Decimal(1))], ()
        shares = dict(zip(self.settings.answers, parts, strict=True))
        ordered = [shares.get(index, Decimal(0)) for index in range(max(shares) + 1)]
        return SPLIT, tuple(f"{part.quantize(_PLACES).normalize():f}" for part in ordered)


def middle(bid: Decimal | None, ask: Decimal | None, last: Decimal | None) -> Decimal | None:
    """The price of an outcome: the mid of its book, or its last trade where the book is wider than `WIDEST_SPREAD`.

    None if there is neither. An empty side is None, 0 (bid) or 1 (ask).

    >>> middle(Decimal("0.40"), Decimal("0.44"), Decimal("0.9")), middle(Decimal(0), Decimal("0.44"), Decimal("0.3"))
    (Decimal('0.42'), Decimal('0.3'))
    """
    sound = bid is not None and ask is not None and 0 < bid < ask < 1 and ask - bid <= WIDEST_SPREAD
    if sound and bid is not None and ask is not None:
        return (bid + ask) / 2
    return last if last is not None and 0 < last < 1 else None


def arranged(
    source: str, looks: Sequence[tuple[str, MarketLook]], outcomes: tuple[str, ...]
) -> list[tuple[str, MarketLook]]:
    """The markets of a group in the order of `outcomes`. Raises `MarketChanged` unless they are exactly those."""
    found = dict(looks)
    if len(found) != len(looks) or set(found) != set(outcomes):
        raise MarketChanged(source, "outcomes", outcomes, tuple(label for label, _ in looks))
    return [(label, found[label]) for label in outcomes]


def group(source: str, id_: str, rules: str, looks: Sequence[tuple[str, MarketLook]]) -> MarketLook:
    """Several markets of no and yes, of which one will be yes, as one: an outcome for each, priced by its yes.

    The yes of each is its first outcome. Trading while one of them trades; resolved once all are.
    Raises `MalformedAnswer` if all are resolved and not one of them, or their parts, make a whole.
    """
    states = {look.state for _, look in looks}
    order = (MarketState.TRADING, MarketState.DISPUTED, MarketState.HALTED, MarketState.RESOLVED)
    state = next(state for state in order if state in states)
    payouts: tuple[Decimal, ...] = ()
    if state is MarketState.RESOLVED and any(look.payouts for _, look in looks):
        payouts = tuple(look.payouts[0] if look.payouts else Decimal(0) for _, look in looks)
        if abs(sum(payouts, Decimal(-1))) > Decimal("0.000001"):
            raise MalformedAnswer(source, f"parts {[str(part) for part in payouts]}", "parts that make 1")
    ends = [look.closes for _, look in looks if look.closes is not None]
    times = [look.resolved_at for _, look in looks if look.resolved_at is not None]
    return MarketLook(
        id=id_,
        rules="\n\n".join([rules, *(look.rules for _, look in looks)]),
        closes=max(ends) if ends else None,
        state=state,
        outcomes=tuple(label for label, _ in looks),
        prices=tuple(look.prices[0] if look.state is MarketState.TRADING else None for _, look in looks),
        traded=tuple(look.traded[0] for _, look in looks),
        payouts=payouts,
        resolved_at=max(times) if times else None,
        said="; ".join(f"{label}: {look.said}" for label, look in looks if look.said)[:1000],
    )


def _since(before: Decimal | None, now: Decimal | None) -> Decimal | None:
    """What was traded between two looks."""
    return None if before is None or now is None or now < before else now - before
