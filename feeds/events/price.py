"""Was the price above the strike? The fact that a node's own quotes make.

Why this file exists: a question about a price needs nobody's word, only what this node knew of the price at its time;
but where the sources stand on both sides of the strike there is no fact, and a median that falls on one of them would
make one up. Never in it: network, a float in a comparison with a strike, quotes known after the time asked about.

At `at` the node knew some quotes. Those that fusion counts (`feeds.monitor`, all its rules) are each compared with the
strike, as decimals. All on one side: that is the outcome, exactly at the strike as the question says. On both sides, or
no price by the rules of fusion, or one that rests on a jump not yet confirmed: undecided. The quotes are the evidence.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal

from feeds.events.book import Finding, Terms
from feeds.events.evidence import body_hash
from feeds.events.question import Above, printable, question_id, title
from feeds.monitor import Monitor
from feeds.rule import Fused, FusionRule, Refusal
from feeds.sources.source import BadRule, MixedSymbols
from feeds.store import Store, to_quotes
from feeds.types import SECOND, UNDECIDED, Evidence, Fact, Micros, Quote

SETTLE = 60 * SECOND
"""So long after the time asked about the store holds what was known by then: quotes reach the disk once a slot."""


class PriceFacts:
    """A `FactSource` for one question, from the quotes of a store.

    `rule`: how fusion weighs the symbol's sources. `sources`: whose quotes count, all if None. `settle`: microseconds
    after the question's time at which the store is read, once. Raises `MixedSymbols` or `BadRule`.
    """

    def __init__(
        self,
        name: str,
        question: Above,
        store: Store,
        rule: FusionRule,
        sources: tuple[str, ...] | None = None,
        settle: int = SETTLE,
    ) -> None:
        """Nothing is read yet."""
        if rule.symbol != question.symbol:
            raise MixedSymbols(question.symbol, rule.symbol)
        if settle < 0:
            raise BadRule(f"facts of {name}: settle", settle, "at least 0 microseconds")
        self.name, self.question = name, question
        self._store, self._rule, self._sources, self._settle = store, rule, sources, settle
        self._found: Finding | None = None

    def findings(self, now: Micros) -> list[Finding]:
        """The answer, from `settle` after the question's time on. Raises `StoreDamaged`, `NotKept`."""
        at = self.question.at
        if self._found is None and now >= at + self._settle:
            since = Micros(Monitor.since(self._rule, at) + 1)
            known = to_quotes(self._store.as_of(at, self.question.symbol, since))
            if self._sources is not None:
                known = [quote for quote in known if quote.source in self._sources]
            self._found = price_finding(self.name, self.question, known, self._rule, now)
        found = self._found
        return [found] if found is not None and found.fact.known_at <= now else []

    def terms(self, now: Micros) -> list[Terms]:
        """None: there is no market whose terms could change."""
        return []


def price_finding(name: str, question: Above, quotes: list[Quote], rule: FusionRule, now: Micros) -> Finding:
    """What `quotes` say of `question`, found out at `now`. Those known after its time count for nothing."""
    monitor = Monitor(rule)
    monitor.add(quote for quote in quotes if quote.known_at <= question.at)
    answer = monitor.at(question.at)
    counted = [quote for source in answer.sources if (quote := monitor.newest[source]) is not None]
    outcome, why = _decide(question, answer, counted)
    body = _body(question, rule, answer, counted, why)
    url = f"store:{question.symbol}?t={question.at}"
    evidence = Evidence(url, body_hash(body), now, printable(why))
    fact = Fact(name, question_id(question), outcome, question.at, now, (evidence,))
    return Finding(fact, (body,))


def _decide(question: Above, answer: Fused | Refusal, counted: list[Quote]) -> tuple[int, str]:
    """The outcome, and the sentence that says why."""
    if isinstance(answer, Refusal):
        return UNDECIDED, f"no price: {answer.rule}: {answer.reason}"
    held = [flag for flag in answer.flags if flag.startswith("held")]
    if held:
        return UNDECIDED, held[0]
    prices = sorted(Decimal(repr(quote.price)) for quote in counted)
    low, high = prices[0], prices[-1]
    outcome = question.answer(low)
    said = f"{len(prices)} sources from {low} to {high}, strike {question.strike}"
    if outcome != question.answer(high):
        return UNDECIDED, f"{said} lies between them"
    return outcome, f"{question.outcomes[outcome]}: {said}"


def _body(question: Above, rule: FusionRule, answer: Fused | Refusal, counted: list[Quote], why: str) -> bytes:
    """Everything that the answer was made of, as JSON; prices as the text that gives the same float64 again."""
    values = {
        "question": title(question),
        "id": question_id(question),
        "why": why,
        "counted": [{**asdict(quote), "price": repr(quote.price), "size": _text(quote.size)} for quote in counted],
        "set_aside": [list(item) for item in answer.set_aside],
        "rule": {name: repr(getattr(rule, name)) for name in rule.__slots__},
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _text(size: float | None) -> str | None:
    return None if size is None else repr(size)
