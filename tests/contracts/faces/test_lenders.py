"""Lenders that check almost nothing are safe at the face that is made for them, directly and by proxy."""

from __future__ import annotations

import pytest

from contracts import constant_int
from oracle.chain.faces import Face
from oracle.chain.localnet import sample_words
from tests.contracts.mock_code import deploy_mock

FALLBACK = 77


@pytest.fixture
def taker(net):
    return deploy_mock(net.chain.w3, net.core.owner, "PriceTaker")


def at_and_through(made, face: Face) -> list[str]:
    return [made.faces[face].address, made.proxies[face].address]


def refuse(net) -> None:
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 300, constant_int("FLAG_INVALID")))))


def test_lenders__fresh_price__all_read_it(taker, net, made, told, ask):
    for face in (Face.FEED, Face.STRICT, Face.POSITIVE):
        for at in at_and_through(made, face):
            assert [ask(taker, name, at) for name in ("as_aave", "as_compound", "as_morpho")] == [201] * 3


def test_positive_feed__refused_price__aave_asks_its_fallback_and_compound_reverts(
    taker, net, made, told, ask, reverts
):
    refuse(net)
    for at in at_and_through(made, Face.POSITIVE):
        assert ask(taker, "as_aave", at) == FALLBACK
        with reverts("taker: bad price"):
            ask(taker, "as_compound", at)


def test_positive_feed__no_round_yet__aave_asks_its_fallback_and_compound_reverts(taker, made, ask, reverts):
    for at in at_and_through(made, Face.POSITIVE):
        assert ask(taker, "as_aave", at) == FALLBACK
        with reverts("No data present"):
            ask(taker, "as_compound", at)


def test_strict_feed__refused_price__morpho_reverts(taker, net, made, told, ask, reverts):
    refuse(net)
    for at in at_and_through(made, Face.STRICT):
        with reverts("feed: invalid"):
            ask(taker, "as_morpho", at)


def test_faces_for_others__refused_price__would_have_been_taken(taker, net, made, told, ask):
    """Why there are three faces: at the wrong one the same lender takes what was refused."""
    refuse(net)
    assert ask(taker, "as_morpho", made.faces[Face.POSITIVE].address) == 0
    assert ask(taker, "as_aave", made.faces[Face.FEED].address) == 201
