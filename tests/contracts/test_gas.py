"""The gas of the chain core stays under its bars, and under what it was."""

from __future__ import annotations

import pytest

from oracle.chain.gas import BARS, FEED_READ_BAR, measure_feed_read, measure_push
from oracle.chain.localnet import sample_words

RECORDED = {(4, 1): 61_329, (4, 8): 108_767, (13, 32): 318_735}
"""Whole transactions as last recorded: lower them when the code gets better."""
RECORDED_READ = 10_774
GROWTH = 1.02


@pytest.mark.parametrize(("validators", "feeds"), RECORDED)
def test_transmit__steady_state__within_bar_and_recorded_figure(validators, feeds):
    pushed = measure_push(validators, feeds)
    assert pushed.per_feed <= BARS[validators, feeds]
    assert pushed.total <= RECORDED[validators, feeds] * GROWTH


def test_latest_round_data__cold__within_bar_and_recorded_figure():
    gas = measure_feed_read()
    assert gas <= min(FEED_READ_BAR, RECORDED_READ * GROWTH)


def test_transmit__lost_race__costs_far_less_than_a_push(net):
    """A second arrival is looked at before its signatures: calldata, one code read, one word of heads."""
    blob = net.blob(net.draft(sample_words(net.active.feeds, 118_512_345)))
    won, lost = (net.transmit(blob)["gasUsed"] for _ in range(2))
    assert lost < 50_000 < won / 2
