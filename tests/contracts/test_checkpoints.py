"""The checkpoint module against a list that is searched from end to end."""

from __future__ import annotations

import pytest
from eth_utils import keccak
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oracle.chain.deploy import send
from oracle.chain.localnet import LocalChain
from tests.contracts.mock_code import deploy_mock, mock_code

TOTAL = keccak(b"total")
ALICE, BOB = bytes(12) + b"\x01" * 20, bytes(12) + b"\x02" * 20
HIGHEST = 2**208 - 1
LONGEST = 2**32 - 1
CHANGE = st.tuples(st.sampled_from([ALICE, BOB, TOTAL]), st.integers(0, 3) | st.just(HIGHEST))
BLOCKS = st.lists(st.tuples(st.integers(0, 3), st.lists(CHANGE, min_size=1, max_size=4)), max_size=12)


@pytest.fixture(scope="module")
def chain():
    return LocalChain(accounts=2)


@pytest.fixture(scope="module")
def module(chain):
    """The module behind `tests/contracts/mocks/CheckpointsMock.vy`."""
    assert mock_code("CheckpointsMock")["layout"]["storage_layout"]["checkpoints"]["traces"]["slot"] == 0
    return deploy_mock(chain.w3, chain.accounts[0], "CheckpointsMock")


def value_then(points: list[tuple[int, int]], second: int) -> int:
    """The model: what the last change at or before `second` left."""
    value = 0
    for time, changed in points:
        if time <= second:
            value = changed
    return value


def trace_words(key: bytes, points: list[tuple[int, int]]) -> dict[int, int]:
    """Storage words of a trace: its length, then a word a point."""
    place = int.from_bytes(keccak(bytes(32) + key))
    return {place: len(points)} | {place + 1 + i: time << 208 | value for i, (time, value) in enumerate(points)}


@settings(max_examples=15)
@given(BLOCKS)
@example([(0, [(ALICE, 5), (ALICE, 0), (ALICE, 7), (ALICE, 5)])])  # changes of one second, undone on the way
@example([(0, [(ALICE, 5)]), (1, [(ALICE, 6), (ALICE, 5)])])  # back to what it was, within a second
def test_push__any_changes_in_any_blocks__equals_the_model(chain, module, blocks):
    model = {ALICE: [], BOB: [], TOTAL: []}
    with chain.rewound():
        start = chain.now
        for wait, changes in blocks:
            chain.move_to(chain.now + wait)
            for key, value in changes:
                model[key].append((chain.now, value))
            keys, values = zip(*changes, strict=True)
            send(chain.w3, module.functions.push_many(keys, values), chain.accounts[0])
        for key, points in model.items():
            asked = range(start - 1, chain.now + 2)
            answers = module.functions.history(key, asked.start, len(asked)).call()
            assert answers == [value_then(points, second) for second in asked]
            assert module.functions.latest(key).call() == (points[-1][1] if points else 0)
            assert module.functions.length(key).call() <= len({time for time, _ in points}), "one point a second"


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, HIGHEST)), max_size=90), st.integers(0, 2**48 - 600))
def test_at__any_trace__equals_a_linear_search(chain, module, changes, start):
    points, time = [], start + 1
    for wait, value in changes:
        time += wait
        points.append((time, value))
    with chain.rewound():
        chain.set_storage(module.address, trace_words(BOB, points))
        asked = range(start, time + 3)
        answers = module.functions.history(BOB, start, len(asked)).call({}, "pending")
        assert answers == [value_then(points, second) for second in asked]
        assert module.functions.at(BOB, 2**256 - 1).call({}, "pending") == (points[-1][1] if points else 0)
        assert module.functions.at(ALICE, start).call({}, "pending") == 0


def test_at__longest_possible_trace__is_searched_to_the_end(chain, module):
    """Points never written read as zeros, so the search goes to the right at each of its steps."""
    count, place = LONGEST, int.from_bytes(keccak(bytes(32) + ALICE))
    with chain.rewound():
        words = {place: count, place + count - 1: 1_000 << 208 | 7, place + count: 2_000 << 208 | 9}
        chain.set_storage(module.address, words)
        assert module.functions.at(ALICE, 2_000).call({}, "pending") == 9
        assert module.functions.at(ALICE, 1_999).call({}, "pending") == 7
        assert module.functions.at(ALICE, 1_000).call({}, "pending") == 7
        assert module.functions.at(ALICE, 999).call({}, "pending") == 0


def test_at__first_of_the_longest_trace__takes_every_step_there_is(chain, module):
    """Only the points that the search looks at are written: it goes to the left 31 times, then to the right."""
    place, looked_at, high = int.from_bytes(keccak(bytes(32) + ALICE)), [LONGEST - 1], LONGEST - 1
    while high > 1:
        high //= 2
        looked_at.append(high)
    assert len(looked_at) == 32
    with chain.rewound():
        words = {place: LONGEST, place + 1: 10 << 208 | 7} | {place + 1 + at: 20 << 208 | 8 for at in looked_at}
        chain.set_storage(module.address, words)
        answers = [module.functions.at(ALICE, second).call({}, "pending") for second in (9, 10, 19, 20)]
        assert answers == [0, 7, 7, 8]


def test_push__same_second__overwrites_and_leaves_one_point(chain, module):
    with chain.rewound():
        send(chain.w3, module.functions.push_many([ALICE, ALICE], [3, 4]), chain.accounts[0])
        second = chain.w3.eth.get_block("latest")["timestamp"]
        assert module.functions.length(ALICE).call() == 1
        assert module.functions.point(ALICE, 0).call() == second << 208 | 4
        assert module.functions.at(ALICE, second - 1).call() == 0


def test_push__the_present_value__writes_nothing(chain, module):
    with chain.rewound():
        for value in (0, 6, 6, 6):
            send(chain.w3, module.functions.push(ALICE, value), chain.accounts[0])
        assert module.functions.length(ALICE).call() == 1


@pytest.mark.parametrize("value", [2**208, 2**256 - 1])
def test_push__value_that_would_reach_into_the_time__reverts(chain, module, reverts, value):
    with reverts("checkpoints: value above 2**208 - 1"):
        module.functions.push(ALICE, value).call({}, "pending")


def test_total__key__is_no_account(chain, module):
    with chain.rewound():
        send(chain.w3, module.functions.push(TOTAL, 8), chain.accounts[0])
        assert module.functions.latest(bytes(32)).call() == 0
        assert any(TOTAL[:12]), "an account's key starts with twelve zero bytes"


def test_traces__two_keys__never_touch(chain, module):
    with chain.rewound():
        for key, value in ((ALICE, 1), (BOB, 2), (ALICE, 3)):
            send(chain.w3, module.functions.push(key, value), chain.accounts[0])
        assert [module.functions.latest(key).call() for key in (ALICE, BOB, TOTAL)] == [3, 2, 0]
        assert [module.functions.length(key).call() for key in (ALICE, BOB, TOTAL)] == [2, 1, 0]
