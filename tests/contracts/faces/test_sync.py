"""`sync`: Chainlink's events for the rounds of a face, each once, by whoever pays."""

from __future__ import annotations

import pytest
from web3.logs import DISCARD

from contracts import constant_int
from contracts.artifacts import artifact
from oracle.chain.deploy import send
from oracle.chain.faces import Face
from oracle.chain.localnet import sample_words

RING, BATCH = constant_int("RING"), 32


def sync(net, face, sender: str | None = None) -> tuple[int, list[tuple[int, int, int]]]:
    """What the call returned, and its rounds as (round, answer, updatedAt); checks that the events come in pairs."""
    caller = net.chain.accounts[7] if sender is None else sender
    count = face.functions.sync().call({"from": caller}, "pending")
    receipt = send(net.chain.w3, face.functions.sync(), caller)
    rounds, answers = (
        [log["args"] for log in event().process_receipt(receipt, errors=DISCARD)]
        for event in (face.events.NewRound, face.events.AnswerUpdated)
    )
    assert len(receipt["logs"]) == len(rounds) + len(answers)
    assert [new["roundId"] for new in rounds] == [new["roundId"] for new in answers]
    assert all(new["startedBy"] == caller for new in rounds)
    for new in rounds:
        assert new["startedAt"] == face.functions.getRoundData(new["roundId"]).call()[2]
    return count, [(new["roundId"], new["current"], new["updatedAt"]) for new in answers]


def told_by(face, first: int, last: int) -> list[tuple[int, int, int]]:
    found = (face.functions.getRoundData(round_).call() for round_ in range(first, last + 1))
    return [(data[0], data[1], data[3]) for data in found]


@pytest.mark.parametrize("sort", Face, ids=lambda sort: sort.contract)
def test_sync__two_rounds__logged_once_as_history_tells_them(net, made, told, ask, sort):
    face = made.faces[sort]
    assert sync(net, face) == (2, told_by(face, 1, 2))
    assert ask(face, "lastSynced") == 2
    assert sync(net, face) == (0, [])
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 300))))
    assert sync(net, face, net.chain.accounts[8]) == (1, told_by(face, 3, 3))


def test_sync__before_the_first_round__logs_nothing(net, made, ask):
    face = made.faces[Face.FEED]
    assert sync(net, face) == (0, [])
    assert ask(face, "lastSynced") == 0


def age(net, number: int, newest: int) -> None:
    """Put a feed's head at round `newest` with every word of its ring in place, as if that many had been stored."""
    layout, aggregator = artifact("Aggregator").layout, net.core.aggregator
    round_, word = aggregator.functions.latest(number).call()
    head = int.from_bytes(net.chain.w3.eth.get_storage_at(aggregator.address, layout["rounds.heads"] + number // 4))
    words = {layout["rounds.ring"] + number * RING + place: word for place in range(RING)}
    moved = head + (newest - round_ << 64 * (number % 4) + 32)
    net.chain.set_storage(aggregator.address, words | {layout["rounds.heads"] + number // 4: moved})
    assert aggregator.functions.latest(number).call({}, "pending")[0] == newest


def test_sync__more_rounds_than_a_batch__several_calls_log_each_once(net, made, told, ask):
    face = made.faces[Face.FEED]
    age(net, 1, 2 * BATCH + 5)
    assert [[log[0] for log in sync(net, face)[1]] for _ in range(4)] == [
        list(range(1, 33)), list(range(33, 65)), list(range(65, 70)), [],
    ]  # fmt: skip
    assert ask(face, "lastSynced") == 69


def test_sync__rounds_lost_by_the_ring__are_jumped_over(net, made, told, ask):
    face = made.faces[Face.FEED]
    assert sync(net, face)[0] == 2
    age(net, 1, 5_000)
    count, logs = sync(net, face)
    assert (count, logs[0][0], logs[-1][0]) == (BATCH, 5_000 - RING + 1, 5_000 - RING + BATCH)
    assert ask(face, "lastSynced") == logs[-1][0]


def test_sync__exactly_a_full_ring_behind__loses_none(net, made, told):
    face = made.faces[Face.FEED]
    age(net, 1, RING)
    assert sync(net, face)[1][0][0] == 1
    age(net, 1, RING + BATCH + 1)
    count, logs = sync(net, face)
    assert (count, logs[0][0]) == (BATCH, BATCH + 2), "the lost round takes no place in the batch"


def test_sync__paused_or_invalid__history_is_logged_all_the_same(net, made, told):
    net.transmit(net.blob(net.draft(sample_words(net.active.feeds, 300, constant_int("FLAG_INVALID")))))
    send(net.chain.w3, net.core.aggregator.functions.setGuardian(net.core.owner), net.core.owner)
    send(net.chain.w3, net.core.aggregator.functions.pauseAll(), net.core.owner)
    for face in made.faces.values():
        assert sync(net, face) == (2, told_by(face, 1, 2))
