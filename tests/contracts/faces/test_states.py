"""What each face answers in each state of a feed: one table, held against the contracts, directly and by proxy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from web3 import Web3

from contracts import constant_int
from oracle.chain.deploy import send
from oracle.chain.faces import Face
from oracle.chain.localnet import LocalNet, sample_words
from oracle.consensus.words import unpack_vector, unpack_word
from tests.contracts.conftest import first_feeds
from tests.contracts.faces.conftest import SERIES, Made
from tests.contracts.mock_code import deploy_mock

TABLE = """
| the feed is                     | Feed                      | StrictFeed, ForecastFeed, EventFeed | PositiveFeed              |
|---------------------------------|---------------------------|-------------------------------------|---------------------------|
| fresh                           | value                     | value                               | value                     |
| fresh, the value not above 0    | value                     | value                               | 0                         |
| stale                           | value                     | reverts `feed: stale`               | 0                         |
| INVALID                         | value                     | reverts `feed: invalid`             | 0                         |
| paused                          | value                     | reverts `feed: paused`              | 0                         |
| paused with all others          | value                     | reverts `feed: paused`              | 0                         |
| behind a sequencer that is down | value                     | reverts `feed: sequencer down`      | 0                         |
| behind one that is just back    | value                     | reverts `feed: sequencer down`      | 0                         |
| behind one that does not answer | value                     | reverts `feed: sequencer down`      | 0                         |
| retired                         | value                     | reverts `feed: retired`             | 0                         |
| without a round                 | reverts `No data present` | reverts `No data present`           | reverts `No data present` |
"""  # noqa: E501
"""The newest answer by `latestRoundData`, and by V2's `latestAnswer` and `latestTimestamp` with one exception: before
the first round Feed and PositiveFeed answer 0 there. "value": the last valid round's, however old."""

PRICE_FACES = (Face.FEED, Face.STRICT, Face.POSITIVE)
NOTICE = constant_int("RETIREMENT_NOTICE")
NO_DATA = "No data present"


def rows(table: str) -> dict[str, dict[str, str]]:
    """State -> contract -> cell."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    heads = [head.split(", ") for head in lines[0][1:]]
    return {
        line[0]: {name: cell for names, cell in zip(heads, line[1:], strict=True) for name in names}
        for line in lines[2:]
    }


EXPECTED = rows(TABLE)


def reason_in(cell: str) -> str:
    return cell.removeprefix("reverts ").strip("`")


class Scene:
    """Brings all feeds that the tests read into a state."""

    def __init__(self, net: LocalNet) -> None:
        self.net, self.guardian = net, net.chain.accounts[-4]

    def do(self, call: Any, sender: str | None = None) -> None:
        send(self.net.chain.w3, call, self.net.core.owner if sender is None else sender)

    def tell(self, value: int, flags: int = 0) -> None:
        net = self.net
        net.chain.move_to(net.chain.now + 60)
        draft = net.draft(sample_words(net.active.feeds, value, flags))
        net.transmit(net.blob(draft))

    def sequencer(self, *says: int, silent: bool = False) -> None:
        aggregator, now = self.net.core.aggregator.functions, self.net.chain.now
        source = deploy_mock(self.net.chain.w3, self.net.core.owner, "UptimeMock")
        self.do(source.functions.say(*says) if says else source.functions.say(0, now - 7_200))
        if silent:
            self.do(source.functions.fall_silent())
        self.do(aggregator.setSequencer(source.address, 3_600))

    def pause(self, name: str, *numbers: int) -> None:
        aggregator = self.net.core.aggregator.functions
        self.do(aggregator.setGuardian(self.guardian))
        for arguments in [[number] for number in numbers] or [[]]:
            self.do(getattr(aggregator, name)(*arguments), self.guardian)

    def reach(self, state: str) -> None:
        net, numbers = self.net, sorted({number for number, _ in SERIES.values()})
        if state == "fresh, the value not above 0":
            self.tell(-900)
        elif state == "stale":
            longest = max(net.core.aggregator.functions.staleAfter(number).call() for number in numbers)
            net.chain.move_to(net.chain.now + longest + 1)
        elif state == "INVALID":
            self.tell(300, constant_int("FLAG_INVALID"))
        elif state == "paused":
            self.pause("pause", *numbers)
        elif state == "paused with all others":
            self.pause("pauseAll")
        elif state == "behind a sequencer that is down":
            self.sequencer(1, net.chain.now - 7_200)
        elif state == "behind one that is just back":
            self.sequencer(0, net.chain.now - 3_500)
        elif state == "behind one that does not answer":
            self.sequencer(silent=True)
        elif state == "retired":
            self.retire(numbers)
        else:
            assert state in ("fresh", "without a round")

    def retire(self, numbers: list[int]) -> None:
        """Notice, a roll that tells the Aggregator, the end of the notice, and one more round, which helps nothing."""
        for number in numbers:
            self.do(self.net.core.configurator.functions.retireFeed(number))
        self.net.chain.move_to(self.net.chain.now + 600)
        self.net.roll()
        self.net.chain.move_to(self.net.chain.now + NOTICE)
        self.tell(400)


@dataclass(frozen=True)
class Reached:
    """A state that the network is in, and the faces to read it through."""

    state: str
    net: LocalNet
    made: Made

    def cell(self, face: Face) -> str:
        return EXPECTED[self.state][face.contract]

    def both(self, face: Face) -> tuple[tuple[Any, int], ...]:
        """The face and its proxy, with what the proxy adds to a round id in phase 1."""
        return (self.made.faces[face], 0), (self.made.proxies[face], 1 << 64)


@pytest.fixture(scope="module", params=EXPECTED)
def reached(request: pytest.FixtureRequest, made: Made, first_net: LocalNet) -> Iterator[Reached]:
    """Each state once, for all tests that only read."""
    taken = first_net.chain.snapshot()
    net = replace(first_net)
    scene = Scene(net)
    if request.param != "without a round":
        scene.tell(100)
        scene.tell(200)
    scene.reach(request.param)
    yield Reached(request.param, net, made)
    first_net.chain.revert(taken)


@pytest.fixture
def scene(made: Made, net: LocalNet) -> Scene:
    return Scene(net)


def stored(net: LocalNet, face: Face, round_: int) -> tuple[int, int, int]:
    """Answer, time of observation and of storing, taken from the Aggregator's words without any face."""
    number, component = SERIES[face]
    word = net.core.aggregator.functions.roundWord(number, round_).call()
    vector = net.core.aggregator.functions.vectorWord(number, round_).call()
    spec = next(feed for feed in first_feeds() if feed.number == number)
    read = unpack_word(word)
    answer = unpack_vector(spec, vector)[component] if face.of_component else read.value
    return answer, read.updated_at - read.delay, read.updated_at


@pytest.mark.parametrize("face", Face, ids=lambda face: face.contract)
def test_newest_answer__any_face_and_state__is_that_of_the_table(reached, ask, reverts, face):
    cell = reached.cell(face)
    round_ = reached.net.core.aggregator.functions.latest(SERIES[face][0]).call()[0]
    assert (round_ == 0) == (reached.state == "without a round")
    for at, phase in reached.both(face):
        assert ask(at, "latestRound") == phase + round_
        if cell.startswith("reverts "):
            reason = reason_in(cell)
            with reverts(reason):
                ask(at, "latestRoundData")
            for name in ("latestAnswer", "latestTimestamp"):
                if reason == NO_DATA and face in (Face.FEED, Face.POSITIVE):
                    assert ask(at, name) == 0
                else:
                    with reverts(reason):
                        ask(at, name)
        else:
            value, observed_at, stored_at = stored(reached.net, face, round_)
            assert cell == "value" or (cell == "0" and value != 0)
            answer = value if cell == "value" else 0
            expected = [phase + round_, answer, observed_at, stored_at, phase + round_]
            assert list(ask(at, "latestRoundData")) == expected
            assert (ask(at, "latestAnswer"), ask(at, "latestTimestamp")) == (answer, stored_at)


@pytest.mark.parametrize("face", Face, ids=lambda face: face.contract)
def test_history__any_face_and_state__tells_what_was_stored(reached, ask, face):
    newest = reached.net.core.aggregator.functions.latest(SERIES[face][0]).call()[0]
    assert newest >= 2 or reached.state == "without a round"
    for round_ in range(1, newest + 1):
        value, observed_at, stored_at = stored(reached.net, face, round_)
        for at, phase in reached.both(face):
            id_ = phase + round_
            assert list(ask(at, "getRoundData", id_)) == [id_, value, observed_at, stored_at, id_]
            assert (ask(at, "getAnswer", id_), ask(at, "getTimestamp", id_)) == (value, stored_at)


STATUS = {
    "fresh": 0, "fresh, the value not above 0": 0, "stale": 1, "INVALID": 2, "paused": 4, "paused with all others": 4,
    "behind a sequencer that is down": 8, "behind one that is just back": 8, "behind one that does not answer": 8,
    "retired": 16, "without a round": 33,
}  # fmt: skip


def test_status__any_state__same_at_every_face(reached, ask):
    expected = STATUS[reached.state]
    for at in reached.made.faces.values():
        assert ask(at, "status") == expected
        assert ask(at, "isStale") == bool(expected & 33)
        assert ask(at, "invalid") == (reached.state == "INVALID")
        assert ask(at, "paused") == reached.state.startswith("paused")


def test_latest_vector__any_state__reverts_where_the_strict_answer_does(reached, ask, reverts):
    faces, cell = reached.made.faces, reached.cell(Face.STRICT)
    calls = [(faces[face], "latestVector") for face in (Face.STRICT, Face.FORECAST, Face.EVENT)]
    for at, name in [*calls, (faces[Face.FORECAST], "quantiles"), (faces[Face.EVENT], "probabilities")]:
        if cell == "value":
            assert ask(at, name)[0] == ask(at, "latestRound")
        else:
            with reverts(reason_in(cell)):
                ask(at, name)
    for face in (Face.FEED, Face.POSITIVE):
        assert list(ask(faces[face], "latestVector")) == [ask(faces[face], "latestRound"), []]


def test_strict__several_reasons__the_one_that_lasts_longest_is_given(scene, net, made, told, ask, reverts):
    strict, aggregator = made.faces[Face.STRICT], net.core.aggregator.functions
    net.chain.move_to(net.chain.now + 10**6)
    scene.tell(500, constant_int("FLAG_INVALID"))
    scene.reach("behind a sequencer that is down")
    scene.reach("paused with all others")
    assert ask(strict, "status") == 1 + 2 + 4 + 8
    with reverts("feed: paused"):
        ask(strict, "latestAnswer")
    scene.do(aggregator.unpauseAll(), scene.guardian)
    with reverts("feed: sequencer down"):
        ask(strict, "latestAnswer")
    scene.do(aggregator.setSequencer(Web3.to_checksum_address("00" * 20), 0))
    with reverts("feed: invalid"):
        ask(strict, "latestAnswer")


def test_strict__retired_and_everything_else__is_retired(scene, net, made, told, ask, reverts):
    strict = made.faces[Face.STRICT]
    scene.reach("retired")
    scene.reach("INVALID")
    scene.reach("paused with all others")
    scene.reach("behind one that does not answer")
    net.chain.move_to(net.chain.now + 20_000)
    assert ask(strict, "status") == 1 + 2 + 4 + 8 + 16
    with reverts("feed: retired"):
        ask(strict, "latestAnswer")


def test_strict__no_round_and_paused__has_no_data(scene, made, ask, reverts):
    scene.reach("paused with all others")
    with reverts(NO_DATA):
        ask(made.faces[Face.STRICT], "latestAnswer")


def test_retires_at__notice_given__told_at_once(scene, net, made, told, ask):
    assert ask(made.faces[Face.FEED], "retiresAt") == 0
    scene.do(net.core.configurator.functions.retireFeed(1))
    assert all(ask(made.faces[face], "retiresAt") >= net.chain.now - 1 + NOTICE for face in PRICE_FACES)
    assert ask(made.faces[Face.EVENT], "retiresAt") == 0


def test_feed_table__after_a_retired_feed_has_left__is_its_last_line(scene, net, made, told, ask, reverts):
    scene.reach("retired")
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    with reverts("configurator: unknown feed"):
        ask(net.core.configurator, "feedSpec", 1)
    assert ask(made.faces[Face.FEED], "heartbeat") == 3_600
