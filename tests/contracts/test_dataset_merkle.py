"""Chunks of a data set, proven to a contract: tree and proofs of `feeds.dataset` are those of `core/merkle`."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feeds.dataset.merkle import Leaf, leaf_hash, multiproof, root_of
from tests.contracts.mock_code import deploy_mock

FAST = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@pytest.fixture(scope="module")
def merkle(first_net):
    with first_net.chain.rewound():
        yield deploy_mock(first_net.chain.w3, first_net.chain.accounts[0], "MerkleMock")


LEAVES = st.lists(
    st.builds(
        lambda content, rows, known: Leaf(content, 0, rows, (known, known + 5)),
        st.binary(min_size=32, max_size=32),
        st.integers(1, 2**32),
        st.integers(0, 2**52),
    ),
    min_size=1,
    max_size=32,
)


@FAST
@given(leaves=LEAVES, data=st.data())
def test_chunks__any_data_set__root_and_proof_pass_on_chain(merkle, ask, leaves, data):
    records = [leaf.pack() for leaf in leaves]
    hashes = [leaf_hash(record) for record in records]
    assert ask(merkle, "rootOfAll", b"".join(records)) == root_of(hashes)
    chosen = sorted(data.draw(st.sets(st.integers(0, len(records) - 1), min_size=1)))
    proof = b"".join([*(records[place] for place in chosen), *multiproof(hashes, chosen)])
    bitmap = sum(1 << place for place in chosen)
    assert ask(merkle, "rootOfSome", proof, bitmap, len(records)) == root_of(hashes)
