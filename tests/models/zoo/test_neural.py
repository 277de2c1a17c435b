"""The causal network: no crossing, no look-ahead, a head that starts where it is told, fits to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.score import crps_from_quantiles
from models.zoo import baseline, neural

PARAMETERS = {"channels": 6, "levels": 3, "symmetric": 0}


@given(seed=st.integers(0, 2**31), symmetric=st.booleans(), size=st.floats(0, 1e6))
@settings(max_examples=30, deadline=None)
def test_head__any_output__never_crosses(seed: int, symmetric: bool, size: float) -> None:
    raw = size * torch.randn(5, 2 * (4 if symmetric else 9), generator=torch.Generator().manual_seed(seed))
    found = neural.head_quantiles(raw, 2, symmetric)
    assert found.shape == (5, 2, 9)
    assert bool((found.diff(dim=-1) >= 0).all()) and bool(found.isfinite().all())
    assert not symmetric or torch.equal(found, -found.flip(-1))


def test_forward__later_bars_changed__earlier_forecast_unchanged() -> None:
    torch.manual_seed(1)
    model = neural.CausalTcn(4, PARAMETERS, 2)
    x = torch.randn(3, 20, 4)
    changed = x.clone()
    changed[:, 12:] += 1.0
    assert torch.equal(model(x[:, :12]), model(changed[:, :12]))
    assert torch.allclose(model(x[:, 4:12]), model(x[:, :12]), atol=1e-6), "nothing before the receptive field counts"


def test_tensors__there_and_back__same_forecast() -> None:
    torch.manual_seed(2)
    model = neural.CausalTcn(4, PARAMETERS, 2).eval()
    back = neural.from_tensors(neural.to_tensors(model), PARAMETERS, 2)
    x = torch.randn(3, 8, 4)
    assert torch.equal(model(x), back(x))


def test_crps__equals_score_py_and_leaves_unknown_out() -> None:
    random = np.random.default_rng(1)
    quantiles, outcome = np.sort(random.normal(size=(50, 2, 9)), axis=-1), random.normal(size=(50, 2))
    outcome[::5, 1] = np.nan
    known = np.isfinite(outcome)
    expected = crps_from_quantiles(outcome[known], quantiles[known]).mean()
    assert float(neural.crps(torch.tensor(quantiles), torch.tensor(outcome))) == pytest.approx(expected, rel=1e-12)


def data(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes whose size is told by the last input."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 8, 5))
    y = random.normal(size=(count, 2)) * np.exp(0.7 * x[:, -1, 3:4])
    y[::9, 1] = np.nan
    return x, y


@pytest.mark.parametrize("symmetric", [0, 1])
def test_fit__spread_told_by_an_input__beats_the_start_and_repeats_to_the_bit(symmetric: int) -> None:
    train, valid = data(1, 600), data(2, 300)
    start = np.asarray(baseline.fit(train[1], "empirical")["quantiles"], dtype=np.float64)
    options = neural.TcnFit(PARAMETERS | {"symmetric": symmetric}, 1e-2, 12, 64, 0.1, 0.01, 4, seed=3)
    steps: list[int] = []
    (model, epochs), (again, _) = (neural.fit(train, start, options, steps.append, valid) for _ in range(2))
    x, y = torch.tensor(valid[0][:, :, 1:], dtype=torch.float32), torch.tensor(valid[1], dtype=torch.float32)
    with torch.inference_mode():
        before = float(neural.crps(torch.tensor(start, dtype=torch.float32).expand(len(y), -1, -1), y))
        after = float(neural.crps(model(x), y))
    assert after < 0.97 * before
    assert 1 <= epochs <= 12 and len(steps) <= 24
    ours, theirs = neural.to_tensors(model), neural.to_tensors(again)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_fit__no_epochs__states_the_start() -> None:
    start = np.sort(np.random.default_rng(1).normal(size=(2, 9)), axis=1)
    model, _ = neural.fit(data(1, 64), start, neural.TcnFit(PARAMETERS, 1e-3, 0, 64, 0.0, 0.0, 1, 1), lambda _: None)
    with torch.inference_mode():
        np.testing.assert_allclose(model(torch.randn(3, 8, 4))[1].numpy(), start, atol=2e-3)
