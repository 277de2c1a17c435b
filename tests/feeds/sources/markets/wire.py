"""Answers of prediction markets in their wire formats, as their pages show them, for rigs and tests to vary."""

from __future__ import annotations

import json

from aiohttp import web

CONDITION = "0xc1f0d7ad3dc0b3b7c7d7a4d3b5a0ab4df3aa0ae6e6fd7e9d6d66c5d8b1d40e5e"
TOKENS = ("71321045679252212594626385532706912750332728571942532289631379312455583992563", "5211431950124529151605510")


def gamma(**changed):
    """docs.polymarket.com, Gamma Markets API: lists are texts."""
    return {
        "id": "703257",
        "slug": "will-bitcoin-reach-150k",
        "conditionId": CONDITION,
        "question": "Will Bitcoin reach $150k by December 31?",
        "description": 'This market will resolve to "Yes" if the "Close" is $150,000 or higher.\nOtherwise "No".',
        "resolutionSource": "https://www.binance.com/en/trade/BTC_USDT",
        "endDate": "2023-12-31T17:00:00Z",
        "active": True,
        "closed": False,
        "acceptingOrders": True,
        "umaResolutionStatuses": "[]",
        "outcomes": '["Yes", "No"]',
        "outcomePrices": '["0.085", "0.915"]',
        "clobTokenIds": json.dumps(TOKENS),
        "volumeNum": 1000.5,
        "volume": "1000.5",
        "groupItemTitle": "$150k",
        **changed,
    }


def gamma_resolved(prices='["1", "0"]', **changed):
    """A final market: `closed` and `resolved`; the trail lags behind."""
    final = {
        "closed": True, "acceptingOrders": False, "umaResolutionStatus": "resolved",
        "umaResolutionStatuses": '["proposed"]', "outcomePrices": prices, "closedTime": "2023-12-31 18:57:10+00",
    }  # fmt: skip
    return gamma(**final | changed)


def gamma_event(*markets):
    """An event of markets of which one will be yes."""
    markets = markets or (
        gamma(groupItemTitle="Ann", outcomePrices='["0.6", "0.4"]'),
        gamma(groupItemTitle="Bob", outcomePrices='["0.3", "0.7"]'),
        gamma(groupItemTitle="Person C", active=False),
    )
    return {"id": "9001", "slug": "who-will-win", "title": "Who will win?", "negRisk": True, "markets": list(markets)}


def book(token, bids=(("0.07", "100"), ("0.08", "50")), asks=(("0.12", "10"), ("0.1", "5"))):
    """docs.polymarket.com, Orderbook; worst level first, as the CLOB sends it."""
    levels = {side: [{"price": p, "size": s} for p, s in rows] for side, rows in (("bids", bids), ("asks", asks))}
    return {"market": CONDITION, "asset_id": token, "timestamp": "1678536000123", "hash": "0xabc", **levels}


def manifold(**changed):
    """docs.manifold.markets/api, GET /v0/market/[marketId], a binary market."""
    return {
        "id": "lEoqtnDgJzft6apSKzYK",
        "question": "Will it rain?",
        "textDescription": "Resolves by the gauge.",
        "closeTime": 1_703_000_000_000,
        "outcomeType": "BINARY",
        "mechanism": "cpmm-1",
        "probability": 0.8958175225896258,
        "pool": {"YES": 112.0, "NO": 9.5},
        "volume": 241.5,
        "isResolved": False,
        **changed,
    }


def manifold_answers(answers=(("a1", "Ann", 0.75), ("b2", "Bob", 0.25)), **changed):
    """A multiple-choice market whose answers sum to one."""
    rows = [
        {"id": i, "text": text, "probability": p, "volume": 10 * p, "index": n}
        for n, (i, text, p) in enumerate(answers)
    ]
    whole = manifold(outcomeType="MULTIPLE_CHOICE", mechanism="cpmm-multi-1", shouldAnswersSumToOne=True, answers=rows)
    del whole["probability"]
    return {**whole, **changed}


def kalshi(**changed):
    """docs.kalshi.com, Get Market: dollars as text."""
    return {
        "ticker": "KXBTCD-26SEP1317-T66999.99",
        "event_ticker": "KXBTCD-26SEP1317",
        "market_type": "binary",
        "title": "Bitcoin price at 5pm?",
        "yes_sub_title": "Above $66,999.99",
        "rules_primary": "If the simple average is above 66999.99, the market resolves to Yes.",
        "rules_secondary": "",
        "status": "active",
        "close_time": "2026-09-13T21:00:00Z",
        "yes_bid_dollars": "0.4400",
        "yes_ask_dollars": "0.4600",
        "last_price_dollars": "0.5000",
        "volume_fp": "1200.00",
        "result": "",
        **changed,
    }


def kalshi_event(*markets):
    """docs.kalshi.com, Get Event, with nested markets."""
    rows = list(markets) or [
        kalshi(ticker="KXMVP-26-ANN", yes_bid_dollars="0.6000", yes_ask_dollars="0.6200"),
        kalshi(ticker="KXMVP-26-BOB", yes_bid_dollars="0.3000", yes_ask_dollars="0.3100"),
    ]
    return {"event": {"event_ticker": "KXMVP-26", "title": "MVP?", "mutually_exclusive": True, "markets": rows}}


def serving(answer):
    """An honest server: `answer` maps a path with its query to a JSON value; anything else is 404."""

    async def honest(request):
        value = answer(request.path_qs)
        if value is None:
            return web.json_response({"error": "not found"}, status=404)
        return web.json_response(value)

    return honest
