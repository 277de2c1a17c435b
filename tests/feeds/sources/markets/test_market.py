"""From looks to quotes and facts, over a server that speaks the real wire formats."""

from decimal import Decimal

import pytest
from aiohttp import web

from feeds.events.book import EventBook, FactSource
from feeds.events.question import Above, Winner, question_id
from feeds.events.standing import Agreed, Open, StandingRule
from feeds.sources.http import Http
from feeds.sources.markets.kalshi import Kalshi, KalshiSettings
from feeds.sources.markets.manifold import Manifold, ManifoldSettings
from feeds.sources.markets.market import MarketSettings, middle
from feeds.sources.markets.polymarket import Polymarket, PolymarketSettings
from feeds.sources.source import BadRule, MalformedAnswer, MarketChanged, SourceClosed, SourceUnavailable
from feeds.types import ANNULLED, SPLIT, UNDECIDED, Micros
from tests.feeds.sources.check_suite import BEGIN, LIMITS, StageTime
from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.markets.wire import (
    CONDITION,
    TOKENS,
    book,
    gamma,
    gamma_event,
    gamma_resolved,
    kalshi,
    kalshi_event,
    manifold,
    serving,
)

RISE = Above("BTC/USD", "150000", Micros(BEGIN - 10), inclusive=True)
ID = question_id(RISE)
ONE = StandingRule(1)
SLUG = "/markets/slug/will-bitcoin-reach-150k"


class Venue:
    """A server with pages that a test turns, and what a source needs to ask it."""

    def __init__(self):
        self.pages = {SLUG: gamma()}
        self.time = StageTime()

    async def __aenter__(self):
        self.server = HostileServer(serving(lambda path: self.pages.get(path)))
        await self.server.__aenter__()
        time = self.time
        self.http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
        return self

    async def __aexit__(self, *error):
        await self.http.close()
        await self.server.__aexit__(None, None, None)

    def polymarket(self, **more):
        given = {"question": ID, "answers": (1, 0), "url": self.server.url, "clob_url": self.server.url, **more}
        settings = PolymarketSettings("poly", "will-bitcoin-reach-150k", **given)
        return Polymarket(settings, self.http, self.time.clock)


@pytest.fixture
async def venue():
    async with Venue() as venue:
        yield venue


async def look(venue, source):
    venue.time.advance(60)
    return await source.fetch()


async def test_fetch__trading__a_quote_for_each_outcome_and_no_answer_yet(venue):
    source = venue.polymarket()
    quotes = await look(venue, source)
    assert [(q.symbol, q.price, q.size) for q in quotes] == [
        ("will-bitcoin-reach-150k:Yes", 0.085, None), ("will-bitcoin-reach-150k:No", 0.915, None),
    ]  # fmt: skip
    assert isinstance(source, FactSource)
    (found,) = source.findings(venue.time.now)
    assert found.fact.outcome == UNDECIDED and found.fact.evidence[0].url == venue.server.url + SLUG
    assert source.findings(Micros(found.fact.known_at - 1)) == [] == source.terms(Micros(found.fact.known_at - 1))


async def test_fetch__traded_since__is_the_size(venue):
    source = venue.polymarket()
    await look(venue, source)
    sizes = []
    for volume in ("1000.5", "1250.5", "1200", None, "1300", "1300"):
        venue.pages[SLUG] = gamma(volumeNum=None, volume=volume)
        sizes.append((await look(venue, source))[0].size)
    assert sizes == [0.0, 250.0, None, None, None, 0.0]


@pytest.mark.parametrize(
    ("prices", "count", "refused"),
    [('["0", "1"]', 0, 2), ('["1", "0.5"]', 1, 1), (None, 0, 2), ('["1.5", "-0.5"]', 0, 2), ('["0.9", "0.2"]', 2, 0)],
)
async def test_fetch__certainty_while_it_trades__refused_and_counted(venue, prices, count, refused):
    venue.pages[SLUG] = gamma(outcomePrices=prices)
    source = venue.polymarket()
    assert len(await look(venue, source)) == count and source.gate.refused["price"] == refused


async def test_fetch__life_of_a_market__facts_only_when_final_and_taken_back_when_disputed(venue, tmp_path):
    source, events = venue.polymarket(), EventBook(tmp_path)
    events.ask(RISE, Micros(BEGIN - 5))
    story = [
        (gamma(), Open), (gamma(closed=True, umaResolutionStatus="proposed", outcomePrices='["1","0"]'), Open),
        (gamma(closed=True, umaResolutionStatus="disputed", outcomePrices='["1","0"]'), Open),
        (gamma_resolved(closedTime="2023-03-11 12:00:00+00"), Agreed),
        (gamma_resolved(closedTime="2023-03-11 12:00:00+00", umaResolutionStatus="disputed"), Open),
        (gamma_resolved('["0", "1"]', closedTime="2023-03-11 12:00:00+00"), Agreed),
    ]  # fmt: skip
    for page, expected in story:
        venue.pages[SLUG] = page
        quotes = await look(venue, source)
        assert bool(quotes) == (not page["closed"])
        events.collect([source], venue.time.now)
        assert isinstance(events.standing(ID, venue.time.now, ONE), expected), page
    final = events.standing(ID, venue.time.now, ONE)
    assert final.outcome == 0 and [fact.outcome for fact in final.told.revised] == [UNDECIDED, 1, UNDECIDED]
    assert b"disputed" in events.evidence.read(final.told.revised[-1].evidence[0].sha256)
    assert not events.refused
    events.close()


async def test_fetch__rules_or_id_rewritten__flagged_and_every_version_kept(venue, tmp_path):
    source, events = venue.polymarket(), EventBook(tmp_path)
    events.ask(RISE, Micros(BEGIN - 5))
    for page in (gamma(), gamma(description="Any price will do."), gamma(conditionId="0x" + "9" * 64)):
        venue.pages[SLUG] = page
        await look(venue, source)
        events.collect([source], venue.time.now)
    standing = events.standing(ID, venue.time.now, ONE)
    assert any("its rules are" in flag for flag in standing.told.flags)
    texts = [events.evidence.read(seen.sha256).decode() for seen in events.log.rules(ID)]
    assert len(texts) == 3 and "Any price will do." in texts[1] and texts[0].startswith(CONDITION)
    events.close()


@pytest.mark.parametrize(
    ("page", "field"),
    [
        (gamma(outcomes='["Up", "Down"]'), "outcomes"),
        (gamma(outcomes='["No", "Yes"]'), "outcomes"),
        (gamma(slug="another"), "slug"),
        (gamma(conditionId="0x" + "9" * 64), "id"),
        (None, "page"),
    ],
)
async def test_fetch__renamed_merged_or_removed__market_changed(venue, page, field):
    source = venue.polymarket(id=CONDITION)
    await look(venue, source)
    venue.pages[SLUG] = page
    with pytest.raises(MarketChanged, match="mend the source's settings") as refusal:
        await look(venue, source)
    assert refusal.value.field == field
    venue.pages[SLUG] = gamma()
    assert len(await look(venue, source)) == 2


@pytest.mark.parametrize("price", ["book", "midpoint"])
async def test_fetch__prices_of_the_clob__each_outcome_by_its_token(venue, price):
    for token, mid in zip(TOKENS, ("0.09", "0.91"), strict=True):
        low, high = Decimal(mid) - Decimal("0.01"), Decimal(mid) + Decimal("0.01")
        venue.pages[f"/book?token_id={token}"] = book(token, ((str(low), "1"),), ((str(high), "1"),))
        venue.pages[f"/midpoint?token_id={token}"] = {"mid": mid}
    assert [q.price for q in await look(venue, venue.polymarket(price=price))] == [0.09, 0.91]
    venue.pages[SLUG] = gamma(clobTokenIds="[]")
    with pytest.raises(MalformedAnswer, match="clobTokenIds"):
        await look(venue, venue.polymarket(price=price))


async def test_fetch__manifold__annulled_and_split_are_facts(venue):
    path = f"/v0/market/{manifold()['id']}"
    settings = ManifoldSettings("m", manifold()["id"], question=ID, answers=(1, 0), url=venue.server.url)
    source = Manifold(settings, venue.http, venue.time.clock)
    facts = []
    for resolution in ({"resolution": "CANCEL"}, {"resolution": "MKT", "resolutionProbability": 0.25}):
        venue.pages[path] = manifold(isResolved=True, resolutionTime=BEGIN // 1000, **resolution)
        assert await look(venue, source) == []
        facts.append(source.findings(venue.time.now)[0].fact)
    assert [(fact.outcome, fact.payouts) for fact in facts] == [(ANNULLED, ()), (SPLIT, ("0.75", "0.25"))]
    assert facts[0].ts == BEGIN
    venue.pages[path] = manifold(id="another")
    with pytest.raises(MarketChanged, match="id"):
        await look(venue, source)


async def test_fetch__kalshi__several_outcomes_answer_one_question(venue, tmp_path):
    race = Winner("MVP?", ("Bob", "Ann"), "By the league.", Micros(BEGIN - 10))
    names = ("KXMVP-26-ANN", "KXMVP-26-BOB")
    more = {"question": question_id(race), "answers": (1, 0), "url": venue.server.url, "event": True}
    source = Kalshi(KalshiSettings("k", "KXMVP-26", names, ("ANN", "BOB"), **more), venue.http, venue.time.clock)
    path = "/events/KXMVP-26?with_nested_markets=true"
    events = EventBook(tmp_path)
    events.ask(race, Micros(BEGIN - 5))
    venue.pages[path] = kalshi_event()
    assert {q.symbol: q.price for q in await look(venue, source)} == {"ANN": 0.61, "BOB": 0.305}
    final = {"status": "finalized", "settlement_ts": "2023-03-11T12:00:00Z"}
    venue.pages[path] = kalshi_event(
        *(kalshi(ticker=n, result=r, **final) for n, r in zip(names, ("yes", "no"), strict=True))
    )
    assert await look(venue, source) == []
    events.collect([source], venue.time.now)
    assert events.standing(question_id(race), venue.time.now, ONE).outcome == 1
    venue.pages[path] = {"event": None}
    with pytest.raises(MalformedAnswer):
        await look(venue, source)
    events.close()


async def test_fetch__resolved_ahead_of_our_clock__fact_is_of_now(venue):
    venue.pages[SLUG] = gamma_resolved()
    source = venue.polymarket()
    await look(venue, source)
    (found,) = source.findings(venue.time.now)
    assert found.fact.ts == found.fact.known_at == venue.time.now


@pytest.mark.parametrize(
    ("status", "error"), [(403, SourceUnavailable), (500, SourceUnavailable), (410, MarketChanged)]
)
async def test_fetch__refused_by_the_venue__feed_error_and_recovers(venue, status, error):
    source = venue.polymarket()
    honest = venue.server.honest

    async def refuse(request):
        return web.json_response({"error": "no"}, status=status)

    venue.server.honest = refuse
    with pytest.raises(error):
        await look(venue, source)
    venue.server.honest = honest
    assert len(await look(venue, source)) == 2


async def test_fetch__closed__refused(venue):
    source = venue.polymarket()
    await source.close()
    await source.close()
    with pytest.raises(SourceClosed):
        await source.fetch()


async def test_fetch__event__numbers_find_it_too(venue):
    venue.pages["/events/9001"] = gamma_event()
    given = {"event": True, "url": venue.server.url}
    source = Polymarket(PolymarketSettings("e", "9001", ("Ann", "Bob"), **given), venue.http, venue.time.clock)
    assert [q.symbol for q in await look(venue, source)] == ["9001:Ann", "9001:Bob"]
    assert source.findings(venue.time.now) == [] == source.terms(venue.time.now)


def test_middle__crossed_or_beyond_the_ends__no_mid():
    half = Decimal("0.5")
    assert middle(Decimal("0.6"), Decimal("0.4"), half) == half
    assert middle(Decimal("0.99"), Decimal(1), None) is None
    assert middle(None, None, Decimal(1)) is None


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": ""}, "name"), ({"market": "../x"}, "market"), ({"market": "a b"}, "market"),
        ({"outcomes": ("Yes",)}, "outcomes"), ({"outcomes": ("Yes", "Yes")}, "outcomes"),
        ({"symbols": ("A",)}, "symbols"), ({"symbols": ("A", "A")}, "symbols"), ({"symbols": ("A", "B\n")}, "symbols"),
        ({"market": "a" * 62}, "symbols"), ({"question": "0x12", "answers": (1, 0)}, "question"),
        ({"question": ID}, "answers"), ({"question": ID, "answers": (1, 1)}, "answers"),
        ({"answers": (1, 0)}, "answers"),
        ({"question": ID, "answers": (1, 16)}, "answers"), ({"question": ID, "answers": (True, 0)}, "answers"),
        ({"url": "https://a b"}, "url"), ({"url": "https://user@host"}, "url"),
    ],
)  # fmt: skip
def test_settings__wrong__refused_by_field(more, field):
    given = {"name": "n", "market": "slug", "outcomes": ("Yes", "No"), "url": "https://a.org", **more}
    with pytest.raises(BadRule) as refusal:
        MarketSettings(**given)
    assert field in refusal.value.field
