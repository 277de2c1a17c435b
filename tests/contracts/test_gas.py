"""The gas of the chain core stays under its bars, and near what was recorded: benchmarks/gas_recorded.json."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from oracle.chain.gas import BARS, READ_BARS, Pushed, figures, measure_pushes, measure_reads
from oracle.chain.localnet import sample_words

RECORDED = json.loads((Path(__file__).parents[2] / "benchmarks" / "gas_recorded.json").read_text(encoding="utf-8"))
"""Whole transactions and cold reads as last recorded: `python benchmarks/gas.py --record` when the code gets better."""
GROWTH = 1.02
VALIDATORS, FEEDS = (4, 13, 31), (1, 8, 32)

pytestmark = pytest.mark.embedded("what is recorded was measured on py-evm, in networks that it starts itself")

pushes = cache(measure_pushes)
reads = cache(measure_reads)


def push(validators: int, feeds: int) -> Pushed:
    return next(pushed for pushed in pushes(validators, FEEDS) if pushed.feeds == feeds)


def test_recorded__figures__are_all_that_have_a_bar_and_all_reads():
    assert set(BARS) == {(validators, feeds) for validators in VALIDATORS for feeds in FEEDS}
    totals = {f"gas.n{validators}.f{feeds}.total" for validators, feeds in BARS}
    assert set(RECORDED) == totals | set(figures([], reads()))


@pytest.mark.parametrize(("validators", "feeds"), BARS)
def test_transmit__steady_state__within_bar_and_recorded_figure(validators, feeds):
    pushed = push(validators, feeds)
    assert pushed.per_feed <= BARS[validators, feeds]
    assert pushed.total <= RECORDED[f"gas.n{validators}.f{feeds}.total"] * GROWTH


@pytest.mark.parametrize("name", ["feed", "strict", "positive", "forecast", "event", "proxy"])
def test_latest_round_data__cold__within_bar_and_recorded_figure(name):
    gas = reads()[name]
    assert gas <= READ_BARS.get(name, gas)
    assert gas <= RECORDED[f"read.{name}.cold"] * GROWTH


def test_latest_round_data__through_the_proxy__cheaper_than_chainlinks():
    assert reads()["proxy"] < 18_233


def test_transmit__lost_race__costs_far_less_than_a_push(net):
    """A second arrival is looked at before its signatures: calldata, one code read, one word of heads."""
    blob = net.blob(net.draft(sample_words(net.active.feeds, 118_512_345)))
    won, lost = (net.transmit(blob)["gasUsed"] for _ in range(2))
    assert lost < 50_000 < won / 2
