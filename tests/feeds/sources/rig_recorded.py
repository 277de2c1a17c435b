"""Recorded data in the check suite: at its own times, and played at several speeds."""

import numpy as np
import pandas as pd

from feeds.sources.playback import play
from feeds.sources.replay import ReplaySource
from feeds.types import SECOND
from tests.feeds.sources.check_suite import BEGIN, Rig

MINUTE = 60 * SECOND


def recording():
    ts = BEGIN + MINUTE * np.arange(5, dtype=np.int64)
    frames = {
        symbol: pd.DataFrame({"ts": ts, "close": closes, "volume": 1.0})
        for symbol, closes in (("A/B", [1.0, 2.0, np.nan, 4.0, 5.0]), ("C/D", [10.0, 20.0, 30.0, 40.0, 50.0]))
    }
    return ReplaySource("recorded", frames, MINUTE)


LAST = {"A/B": 5.0, "C/D": 50.0}
RIGS = [
    Rig("recorded", lambda stage: recording(), LAST),
    Rig("played-real-time", lambda stage: play([recording()])[0], LAST),
    Rig("played-60-times", lambda stage: play([recording()], 60.0)[0], LAST),
    Rig("played-as-asked", lambda stage: play([recording()], None)[0], LAST),
]
