"""Every face tells the whole line of its feed in the table, and what the newest round was worth."""

from __future__ import annotations

import pytest

from oracle.chain.faces import Face
from oracle.consensus.words import unpack_word
from tests.contracts.faces.conftest import SERIES

TABLE = {
    "kind": 1, "outcomes": 3, "base": 4, "quote": 5, "horizon": 6, "heartbeat": 7, "deviation": 8, "maxDispersion": 11,
    "jump": 12, "vetoBand": 13, "minSources": 14, "minObservers": 15, "maxFamilyShare": 16, "methodology": 17,
    "sourceList": 18,
}  # fmt: skip
"""Getter of a face, and the place of its answer in the feed's spec."""


@pytest.mark.parametrize("face", SERIES, ids=lambda face: face.name)
def test_face__line_of_the_table__is_the_configurators(made, told, net, ask, face):
    at, (number, component) = made.faces[face], SERIES[face]
    spec = ask(net.core.configurator, "feedSpec", number)
    assert {name: ask(at, name) for name in TABLE} == {name: spec[place] for name, place in TABLE.items()}
    assert tuple(ask(at, "bounds")) == (spec[9], spec[10])
    assert (ask(at, "number"), ask(at, "version"), ask(at, "retiresAt")) == (number, 1, 0)
    said = f"outcome {component} of event" if face is Face.EVENT else f"S{number} / USD"
    assert said in ask(at, "description")


@pytest.mark.parametrize("face", SERIES, ids=lambda face: face.name)
def test_face__newest_round__is_told_with_all_its_word_holds(made, told, net, ask, face):
    at, (number, _) = made.faces[face], SERIES[face]
    round_, packed = ask(net.core.aggregator, "latest", number)
    word = unpack_word(packed)
    assert [ask(at, name) for name in ("turnout", "confidence", "flags")] == [word.turnout, word.confidence, word.flags]
    assert ask(at, "slotOf", round_) == told[-1].slot
    vector = ask(at, "vector", round_)
    assert (len(vector) == 0) == (face in (Face.FEED, Face.STRICT, Face.POSITIVE))
    assert ask(at, "vector", round_ + 1) == []
