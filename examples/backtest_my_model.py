"""Your model on the whole network: `pytest examples/backtest_my_model.py`, or `ape test` with the same path.

It trains a small forest on the hours before the cut, then replays 72 hours of October 2017 through four validators
and the contracts. For a bundle that you have, drop the first fixture and name its folder in the mark: bundle="...".
"""

from datetime import UTC, datetime

import numpy as np
import pytest

from models.bundle import save
from models.features import FeatureSchema
from models.train import Recipe, train
from oracle.recorded import load_closes

CUT, HOUR = datetime(2017, 9, 20, tzinfo=UTC), 3_600
FEATURES = ("scale.96", "volatility.6", "volatility.24", "absolute.0", "absolute.23", "hour_sin.1", "hour_cos.1", "gap")
SETTINGS = {"symmetric": 1, "learning_rate": 0.1, "leaves": 5, "rounds": 60, "least": 80, "share": 0.7, "patience": 20}


@pytest.fixture
def my_bundle(tmp_path):
    ts, close = load_closes("eurusd", "EUR/USD", HOUR)
    past = int(np.searchsorted(ts, CUT.timestamp() * 1e6))
    recipe = Recipe("my-forest", "0x" + "01" * 20, "forest", FeatureSchema(FEATURES, 1, HOUR), (HOUR,), SETTINGS, 7)
    save(train(recipe, ts[:past], close[:past], "EUR/USD"), tmp_path / "my-forest")
    return tmp_path / "my-forest"


@pytest.mark.backtest(data="eurusd", slots=72, validators=4, start=datetime(2017, 10, 23, tzinfo=UTC))
def test_my_model(backtest, my_bundle):
    result = backtest(bundle=my_bundle)
    assert not result.cautions and result.accepted == 72
    assert result.skill() > -0.05  # 72 targets prove no skill; they do show a model that is badly off
    assert 0.80 <= result.coverage() <= 0.98
    assert result.gas_mean < 200_000
    assert result.face(0).functions.latestAnswer().call() == round(result.history["price"].iloc[-1] * 10**8)
