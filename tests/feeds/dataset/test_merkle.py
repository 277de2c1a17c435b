"""The tree over chunks: the one of a report's pages, and proofs that no other rows pass."""

from __future__ import annotations

import contextlib

import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.dataset.errors import WrongProof
from feeds.dataset.merkle import Leaf, leaf_hash, multiproof, root_from_multiproof, root_of
from oracle.consensus import words

RECORDS = st.lists(st.binary(min_size=128, max_size=128), min_size=1, max_size=32)


@settings(max_examples=40)
@given(RECORDS, st.data())
def test_root_and_proof__any_pages__those_of_the_reports_tree(records, data):
    leaves = [leaf_hash(record) for record in records]
    assert root_of(leaves) == words.merkle_root(records)
    chosen = data.draw(st.sets(st.integers(0, len(records) - 1), min_size=1))
    bitmap = sum(1 << place for place in chosen)
    assert multiproof(leaves, sorted(chosen)) == words.multiproof(records, bitmap)


@given(st.integers(1, 300), st.data())
def test_multiproof__any_tree_and_chunks__leads_to_the_root(count, data):
    leaves = [keccak(number.to_bytes(4)) for number in range(count)]
    chosen = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=20)))
    siblings = multiproof(leaves, chosen)
    assert root_from_multiproof(count, {place: leaves[place] for place in chosen}, siblings) == root_of(leaves)


@given(st.integers(1, 64), st.data())
def test_multiproof__anything_changed__another_root_or_refused(count, data):
    leaves = [keccak(number.to_bytes(4)) for number in range(count)]
    chosen = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=5)))
    siblings = list(multiproof(leaves, chosen))
    known = {place: leaves[place] for place in chosen}
    how = data.draw(st.sampled_from(["leaf", "fewer", "more"] + (["sibling", "short"] if siblings else [])))
    if how == "leaf":
        known[chosen[0]] = keccak(b"another")
    elif how == "fewer":
        known.pop(chosen[0])
    elif how == "more":
        siblings.append(bytes(32))
    else:
        place = data.draw(st.integers(0, len(siblings) - 1))
        siblings[place] = keccak(b"another") if how == "sibling" else b""
    with contextlib.suppress(WrongProof):
        assert root_from_multiproof(count, known, siblings) != root_of(leaves)


def test_inner_node__offered_as_a_leaf_record__refused():
    leaves = [keccak(number.to_bytes(4)) for number in range(4)]
    with pytest.raises(WrongProof, match="128 bytes"):
        Leaf.unpack(leaves[0] + leaves[1])


@given(st.binary(max_size=140))
def test_leaf_unpack__any_bytes__a_leaf_or_refused(record):
    with contextlib.suppress(WrongProof):
        assert Leaf.unpack(record).pack() == record


@given(st.binary(min_size=32, max_size=32), *[st.integers(0, 2**63)] * 2, st.integers(1, 2**62))
def test_leaf__packed__comes_back(content, early, more, rows):
    leaf = Leaf(content, early, rows, (early, early + more % 2**62))
    assert Leaf.unpack(leaf.pack()) == leaf


@pytest.mark.parametrize("count", [0, 2**20 + 1])
def test_root_from_multiproof__tree_of_no_size__refused(count):
    with pytest.raises(WrongProof, match="places"):
        root_from_multiproof(count, {0: bytes(32)}, [])
