"""Manifold: markets that anybody makes and resolves, in play money or prize cash.

Why this file exists: see `feeds.sources.markets.market`. Never in it: trading, keys, what all venues have in common.

Wire format: docs.manifold.markets/api, `GET /v0/market/[marketId]`, a `FullMarket` (its types in the project's
`common/src/api/market-types.ts`). What is easily read wrongly:

- a market's creator resolves it, may resolve it again, and may rewrite its rules at any time; `isResolved` can turn
  back to false;
- `resolution` is `YES`, `NO`, `MKT` (`resolutionProbability` is what YES pays), `CANCEL` (every trade is undone), or of
  a multiple-choice market the id of the answer that won. If several share (`CHOOSE_MULTIPLE`), their parts are the
  weights of `resolutions` (answer id -> weight) or each answer's `resolutionProbability`; the page documents neither,
  so an answer that has none of both is refused rather than guessed at;
- `closeTime` becomes the time of resolution where that is earlier, which is no change of terms; a market without it
  never closes;
- the answers of a market with `shouldAnswersSumToOne` false are questions of their own: name one as `answer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from feeds.sources.http import Answer, Http
from feeds.sources.live import Clock, system_clock
from feeds.sources.markets.fields import Fields, decimal_of
from feeds.sources.markets.market import MarketLook, MarketSettings, MarketState, PredictionMarket
from feeds.sources.source import MalformedAnswer, MarketChanged
from feeds.types import Micros

YES_NO: tuple[str, ...] = ("YES", "NO")
"""Outcomes of a binary market, and of one answer of several independent ones."""
_PLACES = Decimal("0.000000001")


@dataclass(frozen=True, slots=True)
class ManifoldSettings(MarketSettings):
    """A market by its id. `answer`: the text of one of its independent answers, then asked as yes or no."""

    outcomes: tuple[str, ...] = YES_NO
    answer: str = ""
    default_url: ClassVar[str] = "https://api.manifold.markets"


class Manifold(PredictionMarket):
    """One market of Manifold."""

    settings: ManifoldSettings

    def __init__(self, settings: ManifoldSettings, http: Http, clock: Clock = system_clock) -> None:
        """Nothing is asked yet."""
        super().__init__(settings, http, clock)

    def path(self) -> str:
        """Where the API has it."""
        return f"/v0/market/{self.settings.market}"

    async def look(self) -> tuple[MarketLook, Answer]:
        """Ask for the market."""
        answer = await self.ask(self.path())
        look = parse_market(self.name, answer.json(), self.settings, answer.received_at)
        if look.id != self.settings.market:
            raise MarketChanged(self.name, "id", self.settings.market, look.id)
        return look, answer


def parse_market(source: str, value: object, settings: ManifoldSettings, now: Micros) -> MarketLook:
    """A `FullMarket` as it was at `now`. Raises `MalformedAnswer`, or `MarketChanged` for another kind of market."""
    fields = Fields(source, value)
    kind = fields.text("outcomeType")
    closes = fields.milliseconds("closeTime")
    resolved = fields.flag("isResolved")
    rules = [fields.text("question"), settings.answer, fields.maybe_text("textDescription")]
    decided: Fields = fields
    if kind == "BINARY" and not settings.answer:
        outcomes, prices = YES_NO, _yes_no(fields)
        traded: tuple[Decimal | None, ...] = (fields.number("volume"),) * 2
        payouts = _binary_payouts(fields) if resolved else ()
    elif kind == "MULTIPLE_CHOICE" and settings.answer:
        decided = _answer(fields, settings.answer)
        if fields.flag("shouldAnswersSumToOne"):
            raise MarketChanged(source, "shouldAnswersSumToOne", False, True)
        outcomes, prices, traded = YES_NO, _yes_no(decided), (decided.number("volume"),) * 2
        resolved = resolved or bool(decided.maybe_text("resolution"))
        payouts = _binary_payouts(decided if decided.maybe_text("resolution") else fields) if resolved else ()
    elif kind == "MULTIPLE_CHOICE":
        if not fields.flag("shouldAnswersSumToOne"):
            raise MarketChanged(source, "shouldAnswersSumToOne", True, False)
        answers = _arranged(fields, settings.outcomes)
        outcomes = settings.outcomes
        prices = tuple(answer.number("probability") for answer in answers)
        traded = tuple(answer.number("volume") for answer in answers)
        payouts = _shared_payouts(fields, answers) if resolved else ()
    else:
        raise MarketChanged(source, "outcomeType", "MULTIPLE_CHOICE" if settings.answer else "BINARY", kind)
    shut = closes is not None and closes <= now
    state = MarketState.RESOLVED if resolved else MarketState.HALTED if shut else MarketState.TRADING
    said = f"resolution {decided.maybe_text('resolution') or fields.maybe_text('resolution') or 'none'}"
    return MarketLook(
        id=fields.text("id"),
        rules="\n\n".join(text for text in rules if text),
        closes=closes,
        state=state,
        outcomes=outcomes,
        prices=prices,
        traded=traded,
        payouts=payouts,
        resolved_at=decided.milliseconds("resolutionTime") or fields.milliseconds("resolutionTime"),
        said=said[:300],
    )


def _yes_no(fields: Fields) -> tuple[Decimal | None, ...]:
    yes = fields.number("probability")
    return (None, None) if yes is None else (yes, 1 - yes)


def _binary_payouts(fields: Fields) -> tuple[Decimal, ...]:
    resolution = fields.text("resolution")
    if resolution == "CANCEL":
        return ()
    yes = {"YES": Decimal(1), "NO": Decimal(0)}.get(resolution)
    if resolution == "MKT":
        yes = fields.number("resolutionProbability")
    if yes is None or not 0 <= yes <= 1:
        raise MalformedAnswer(
            fields.source, f"resolution {resolution} at {yes}", "YES, NO, CANCEL, or MKT with its part"
        )
    yes = yes.quantize(_PLACES)
    return yes, 1 - yes


def _shared_payouts(fields: Fields, answers: list[Fields]) -> tuple[Decimal, ...]:
    resolution = fields.text("resolution")
    if resolution == "CANCEL":
        return ()
    ids = [answer.text("id") for answer in answers]
    if resolution in ids:
        return tuple(Decimal(id_ == resolution) for id_ in ids)
    parts = _weights(fields, ids) or [answer.number("resolutionProbability") for answer in answers]
    known = [part.quantize(_PLACES) for part in parts if part is not None and 0 <= part <= 1]
    if len(known) != len(parts) or abs(sum(known, Decimal(-1))) > Decimal("0.000001"):
        limit = "CANCEL, an answer's id, or a part of each answer that make 1"
        raise MalformedAnswer(fields.source, f"resolution {resolution}", limit)
    return tuple(known)


def _weights(fields: Fields, ids: list[str]) -> list[Decimal | None]:
    """The parts by `resolutions`, whatever its weights add up to; nothing where there are none."""
    given = fields.get("resolutions")
    if not isinstance(given, dict) or not set(given) <= set(ids):
        return []
    weights = [decimal_of(fields.source, "resolutions", given.get(id_, 0)) for id_ in ids]
    total = sum(weights, Decimal(0))
    return [weight / total for weight in weights] if total > 0 and min(weights) >= 0 else []


def _answer(fields: Fields, text: str) -> Fields:
    found = [answer for answer in fields.objects("answers") if answer.text("text") == text]
    if len(found) != 1:
        raise MarketChanged(fields.source, "answers", text, f"{len(found)} of that text")
    return found[0]


def _arranged(fields: Fields, outcomes: tuple[str, ...]) -> list[Fields]:
    answers = fields.objects("answers")
    found = {answer.text("text"): answer for answer in answers}
    if len(found) != len(answers) or set(found) != set(outcomes):
        raise MarketChanged(fields.source, "answers", outcomes, tuple(answer.text("text") for answer in answers))
    return [found[text] for text in outcomes]
