import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from oracle.consensus.network import INT128, FeedKind
from oracle.consensus.simulate_world import small_feed
from oracle.consensus.words import (
    FeedWord,
    build_pages,
    merkle_root,
    multiproof,
    pack_blob,
    pack_confidence,
    pack_vector,
    pack_word,
    page_words,
    root_from_multiproof,
    unpack_blob,
    unpack_confidence,
    unpack_vector,
    unpack_word,
)
from oracle.errors import BadBlob, PeerFault, ValueOutOfRange, WrongRoot
from tests.strategies.consensus import int128s

FORECAST, EVENT = small_feed(4, FeedKind.FORECAST, 60), small_feed(8, FeedKind.EVENT, 60)
uints = st.integers(0, 2**256 - 1)


@st.composite
def chosen_pages(draw):
    """Pages of a tree and a non-empty bitmap of some."""
    count = draw(st.integers(1, 32))
    pages = [keccak(bytes([place])) * 4 for place in range(count)]
    return pages, draw(st.integers(1, (1 << count) - 1))


@given(
    st.integers(0, 65_535), int128s, st.integers(0, 2**128), st.integers(0, 65_535), st.integers(0, 255),
    st.integers(0, 2**32 - 1), st.integers(0, 65_535),
)  # fmt: skip
def test_word__packed_and_unpacked__is_the_same_but_for_confidence_rounding(
    feed, value, confidence, turn, flags, at, d
):
    word = FeedWord(feed, value, confidence, turn, flags, at, d)
    back = unpack_word(pack_word(word))
    assert (back.feed, back.value, back.turnout, back.flags, back.updated_at, back.delay) == (
        feed, value, turn, flags, at, d,
    )  # fmt: skip
    assert pack_word(back) == pack_word(word)
    assert confidence <= back.confidence <= confidence + confidence // 10**8 + 1


@given(st.integers(0, 2**128))
def test_confidence__any__is_rounded_up_with_the_least_exponent(confidence):
    bits = pack_confidence(confidence)
    mantissa, exponent = bits >> 8, bits & 255
    assert mantissa < 2**32
    assert (mantissa - 1) * 10**exponent < confidence <= mantissa * 10**exponent or confidence == mantissa == 0
    assert exponent == 0 or -(-confidence // 10 ** (exponent - 1)) >= 2**32
    assert pack_confidence(unpack_confidence(bits)) == bits


def test_word__written_out_by_hand__has_the_layout_of_page_three():
    packed = pack_word(FeedWord(0x1234, -2, 7, 9_999, 0x81))
    assert f"{packed:064x}" == "1234" + "f" * 31 + "e" + "00000007" + "00" + "270f" + "81" + "0" * 12


@pytest.mark.parametrize(
    "word",
    [
        FeedWord(65_536, 0, 0, 0, 0), FeedWord(0, INT128, 0, 0, 0), FeedWord(0, -INT128 - 1, 0, 0, 0),
        FeedWord(0, 0, -1, 0, 0), FeedWord(0, 0, 0, 65_536, 0), FeedWord(0, 0, 0, 0, 256),
        FeedWord(0, 0, 0, 0, 0, 2**32), FeedWord(0, 0, 0, 0, 0, 0, 65_536),
    ],
)  # fmt: skip
def test_word__field_too_large__raises(word):
    with pytest.raises(ValueOutOfRange):
        pack_word(word)


@given(st.lists(st.integers(-(2**23), 2**23 - 1), min_size=9, max_size=9))
def test_forecast_vector__packed_and_unpacked__is_the_same(quantiles):
    packed = pack_vector(FORECAST, quantiles)
    assert unpack_vector(FORECAST, packed) == tuple(quantiles)
    assert packed >> 240 == 5 and packed & (1 << 24) - 1 == 0


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=2))
def test_event_vector__packed_and_unpacked__is_the_same(parts):
    packed = pack_vector(EVENT, parts)
    assert unpack_vector(EVENT, packed) == tuple(parts)
    assert packed >> 226 & (1 << 14) - 1 == parts[0]


@pytest.mark.parametrize("components", [(1,) * 8, (2**23,) * 9, (-(2**23) - 1,) * 9])
def test_vector__wrong_shape_or_size__raises(components):
    with pytest.raises(ValueOutOfRange):
        pack_vector(FORECAST, components)


@given(st.dictionaries(st.integers(0, 127), uints, min_size=1))
def test_pages__words_by_lane__lie_where_their_number_says(words):
    numbers = sorted({lane // 4 for lane in words})
    for number, page in zip(numbers, build_pages(words, numbers), strict=True):
        assert page_words(page) == tuple(words.get(number * 4 + lane, 0) for lane in range(4))


def test_root__one_two_three_pages__is_the_tree_by_hand():
    a, b, c = (bytes([n]) * 128 for n in range(3))
    x, y, z = keccak(a), keccak(b), keccak(c)
    assert merkle_root([a]) == x
    assert merkle_root([a, b]) == keccak(x + y)
    assert merkle_root([a, b, c]) == keccak(keccak(x + y) + keccak(z + bytes(32)))


@given(chosen_pages())
def test_multiproof__any_choice__gives_the_root_of_the_full_tree(case):
    pages, chosen = case
    picked = [page for place, page in enumerate(pages) if chosen >> place & 1]
    siblings = multiproof(pages, chosen)
    assert root_from_multiproof(len(pages), chosen, picked, siblings) == merkle_root(pages)
    with pytest.raises(WrongRoot):
        root_from_multiproof(len(pages), chosen, picked, [*siblings, bytes(32)])
    if siblings:
        with pytest.raises(WrongRoot):
            root_from_multiproof(len(pages), chosen, picked, siblings[:-1])


@given(chosen_pages(), st.data())
def test_multiproof__one_page_changed__gives_another_root(case, data):
    pages, chosen = case
    picked = [page for place, page in enumerate(pages) if chosen >> place & 1]
    victim = data.draw(st.integers(0, len(picked) - 1))
    picked[victim] = bytes(128)
    assert root_from_multiproof(len(pages), chosen, picked, multiproof(pages, chosen)) != merkle_root(pages)


def test_multiproof__all_pages__needs_no_sibling():
    assert multiproof([bytes(128)] * 5, 0b11111) == ()


@pytest.mark.parametrize(("count", "chosen"), [(0, 1), (33, 1), (2, 0), (2, 4)])
def test_multiproof__impossible_bitmap__raises(count, chosen):
    with pytest.raises(WrongRoot):
        root_from_multiproof(count, chosen, [bytes(128)], [])


@given(chosen_pages(), st.sets(st.integers(0, 63)), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_blob__packed_and_unpacked__keeps_every_part(case, rows, slot, observed_at):
    pages, chosen = case
    signatures = [(row, bytes([row]) * 64) for row in rows]
    blob = unpack_blob(pack_blob(slot, observed_at, signatures, pages, chosen))
    assert (blob.slot, blob.observed_at, blob.chosen, blob.count) == (slot, observed_at, chosen, len(pages))
    assert blob.signers == sum(1 << row for row in rows)
    assert blob.signatures == tuple(signature for _, signature in sorted(signatures))
    assert root_from_multiproof(blob.count, blob.chosen, blob.pages, blob.siblings) == merkle_root(pages)


@given(st.binary(max_size=400))
def test_blob__any_bytes__gives_parts_or_a_peer_fault(data):
    try:
        blob = unpack_blob(data)
        root_from_multiproof(blob.count, blob.chosen, blob.pages, blob.siblings)
    except PeerFault as fault:
        assert fault.rule in {"BadBlob", "WrongRoot"}


def test_blob__cut_short__raises():
    data = pack_blob(1, 2, [(0, bytes(64))], [bytes(128)], 1)
    for length in (0, 31, 32, len(data) - 1):
        with pytest.raises(BadBlob):
            unpack_blob(data[:length])
