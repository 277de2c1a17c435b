"""Prediction markets in the check suite."""

from feeds.sources.markets.kalshi import Kalshi, KalshiSettings
from feeds.sources.markets.manifold import Manifold, ManifoldSettings
from feeds.sources.markets.polymarket import Polymarket, PolymarketSettings
from tests.feeds.sources.check_suite import Rig
from tests.feeds.sources.markets.wire import TOKENS, book, gamma, gamma_event, kalshi_event, manifold, serving

ASKED = {"question": "0x" + "1" * 64}


def polymarket(time):
    answers = {"/markets/slug/will-bitcoin-reach-150k": gamma()}
    sides = ((("0.90", "1"),), (("0.92", "1"),))
    books = {f"/book?token_id={TOKENS[0]}": book(TOKENS[0]), f"/book?token_id={TOKENS[1]}": book(TOKENS[1], *sides)}
    return serving((answers | books).get)


def build_polymarket(stage):
    settings = PolymarketSettings(
        "poly", "will-bitcoin-reach-150k", symbols=("BTC150K", "BTC150K no"), price="book", url=stage.url,
        clob_url=stage.url, answers=(1, 0), **ASKED,
    )  # fmt: skip
    return Polymarket(settings, stage.http, stage.time.clock)


def build_event(stage):
    settings = PolymarketSettings("poly-event", "who-will-win", ("Ann", "Bob"), event=True, url=stage.url)
    return Polymarket(settings, stage.http, stage.time.clock)


def build_manifold(stage):
    settings = ManifoldSettings("manifold", manifold()["id"], url=stage.url, answers=(1, 0), **ASKED)
    return Manifold(settings, stage.http, stage.time.clock)


def build_kalshi(stage):
    tickers = ("KXMVP-26-ANN", "KXMVP-26-BOB")
    settings = KalshiSettings("kalshi", "KXMVP-26", tickers, event=True, url=stage.url, answers=(0, 1), **ASKED)
    return Kalshi(settings, stage.http, stage.time.clock)


RIGS = [
    Rig("polymarket-book", build_polymarket, {"BTC150K": 0.09, "BTC150K no": 0.91}, polymarket),
    Rig(
        "polymarket-event", build_event, {"who-will-win:Ann": 0.6, "who-will-win:Bob": 0.3},
        lambda time: serving({"/events/slug/who-will-win": gamma_event()}.get),
    ),
    Rig(
        "manifold", build_manifold,
        {"lEoqtnDgJzft6apSKzYK:YES": 0.8958175225896258, "lEoqtnDgJzft6apSKzYK:NO": 0.1041824774103742},
        lambda time: serving({f"/v0/market/{manifold()['id']}": manifold()}.get),
    ),
    Rig(
        "kalshi-event", build_kalshi, {"KXMVP-26:KXMVP-26-ANN": 0.61, "KXMVP-26:KXMVP-26-BOB": 0.305},
        lambda time: serving({"/events/KXMVP-26?with_nested_markets=true": kalshi_event()}.get),
    ),
]  # fmt: skip
