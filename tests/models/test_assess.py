from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.assess import assess, forecasts
from models.bundle import Bundle
from models.labels import SECOND
from models.panel import Panel, track
from tests.strategies.bundles import forest, random_walk, tcn
from tests.strategies.recorded import HOUR, closes, opens

BARS = 400
TS, CLOSE = (opens(BARS) + HOUR) * SECOND, np.median(closes(BARS), axis=1)


@pytest.mark.parametrize("bundle", [random_walk(1), forest(2), tcn(3)], ids=lambda bundle: bundle.manifest.family)
def test_forecasts__all_bars_at_once__equal_the_panel_bar_by_bar(bundle: Bundle) -> None:
    index, ours, walk = forecasts(bundle, TS, CLOSE)
    begin = int(TS[index[0]])
    panel = Panel([bundle], bundle.manifest.horizons, HOUR, learn_from=begin)
    said = track(panel, TS, CLOSE, begin)
    np.testing.assert_allclose(ours, said.members[:, 0], rtol=0, atol=1e-6)
    assert walk.shape == ours.shape == (len(index), 2, 9)


def test_forecasts__future_changed__past_stays() -> None:
    changed = CLOSE.copy()
    changed[300:] *= 1.5
    index, before, _ = forecasts(forest(2), TS, CLOSE)
    _, after, _ = forecasts(forest(2), TS, changed)
    past = index < 300
    np.testing.assert_array_equal(before[past], after[past])
    assert not np.array_equal(before[~past], after[~past])


def test_assess__no_start__only_bars_after_training() -> None:
    bundle = random_walk(1)
    until = int(TS[350]) // SECOND
    trained = Bundle(replace(bundle.manifest, trained_until=until), bundle.tensors)
    reports = assess(trained, TS, CLOSE)
    assert list(reports) == [3_600, 86_400]
    known = BARS - 350 - 1
    assert reports[3_600].forecasts == known - sum(np.diff(TS[350:]) > 3 * HOUR * SECOND)
    assert reports[3_600].ratio("random walk").crps > 0
    everything = assess(trained, TS, CLOSE, start=0)
    assert everything[3_600].forecasts > 250 and everything[3_600].forecasts > reports[3_600].forecasts


def test_assess__nothing_to_score_or_too_short__empty() -> None:
    assert dict(assess(random_walk(1), TS, CLOSE, start=int(TS[-1]))) == {}
    assert dict(assess(random_walk(1), TS[:50], CLOSE[:50])) == {}
