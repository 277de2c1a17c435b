"""A careful reader that knows only Chainlink's AggregatorV3Interface, on every price face of ours, unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from oracle.chain.faces import Face
from tests.peers.conftest import EMPTY, PRICE, PRICE_FACES, Place, ask
from tests.peers.solidity import PEERS, compile_file

MAX_AGE = 3_700
UNIT = 10**10
"""From the feed's 8 decimals to the reader's 18."""
INVALID = 1
WAYS = [(face, behind) for face in PRICE_FACES for behind in (False, True)]
EACH_WAY = pytest.mark.parametrize(
    "way", WAYS, ids=[f"{face.contract}{'-behind-FeedProxy' * behind}" for face, behind in WAYS]
)


def reader_of(place: Place, way: tuple[Face, bool], number: int = PRICE) -> Any:
    face, behind = way
    at = place.face(face, number)
    source = place.proxy(at) if behind else at
    built = compile_file(PEERS / "consumers" / "CheckedReader.sol")["CheckedReader"]
    return place.deploy(built, source.address, MAX_AGE)


@EACH_WAY
def test_reader__fresh_price__passes_every_check(place, way):
    for value in (10_000, 11_000):
        place.tell(value)
    reader = reader_of(place, way)
    assert ask(reader, "price") == ask(reader, "tryPrice") == 11_000 * UNIT
    assert ask(reader, "change") == 1_000


@EACH_WAY
def test_reader__walks_back__finds_the_first_round_of_the_last_minutes(place, way):
    for value in range(100, 106):
        place.tell(value)
    reader, now = reader_of(place, way), place.net.chain.now
    newest = ask(reader, "firstSince", now - 30)
    assert newest % 2**64 == 6
    assert ask(reader, "firstSince", now - 150) == newest - 2
    assert ask(reader, "firstSince", 0) == newest - 5, "the walk ends where history does"


@EACH_WAY
def test_reader__stale_price__is_refused_by_the_reader_or_before(place, way, refused):
    place.tell(100)
    reader = reader_of(place, way)
    place.net.chain.move_to(place.net.chain.now + 10_000)
    told = {Face.FEED: "reader: price too old", Face.STRICT: "feed: stale", Face.POSITIVE: "reader: price not positive"}
    with refused(told[way[0]]):
        ask(reader, "price")
    assert ask(reader, "tryPrice") == (100 * UNIT if way[0] is Face.FEED else 0)


@EACH_WAY
def test_reader__invalid_report__is_refused_by_the_faces_that_say_so(place, way, refused):
    """AggregatorV3 has no word for INVALID, so behind the plain Feed a reader goes on with the last valid price."""
    place.tell(100)
    place.tell(999, flags=INVALID)
    reader = reader_of(place, way)
    if way[0] is Face.FEED:
        assert ask(reader, "price") == 100 * UNIT
        return
    with refused("feed: invalid" if way[0] is Face.STRICT else "reader: price not positive"):
        ask(reader, "price")
    assert ask(reader, "tryPrice") == 0


@EACH_WAY
def test_reader__no_round_yet__no_data_present(place, way, refused):
    reader = reader_of(place, way, EMPTY)
    with refused("No data present"):
        ask(reader, "price")
    assert ask(reader, "tryPrice") == 0
    place.tell(100)
    with refused("No data present"):
        ask(reader, "change")


@EACH_WAY
def test_reader__only_one_round__has_no_round_before(place, way, refused):
    place.tell(100)
    with refused("No data present"):
        ask(reader_of(place, way), "change")
