"""Causal temporal convolutional network with a quantile head that cannot cross.

Why this file exists: the network as an ordinary torch module (the plain form that the runtime's fast paths are checked
against), the same network on the positions that matter only (for training), and its fitting. Never in it: several
models at once (models/runtime_tcn.py), files.

Form: levels i = 0, 1, .. of kernel 2 and dilation 2 ** i (Bai, Kolter, Koltun 2018), ReLU, a residual from level 1 on;
the window is exactly the receptive field 2 ** levels, so no padding reaches the forecast. Head: per horizon the median
and the logarithms of the eight steps between neighbouring levels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.architectures import SIDE, raw_outputs
from models.features import FeatureSchema
from models.forecast import LEVELS, FloatArray
from models.score import trapezoid_weights
from models.zoo.baseline import root_bars

STEP_LIMIT = 6.0
"""Bound of the log of a step between two levels, in standard deviations of the bar."""


def head_quantiles(raw: Tensor, horizons: int, symmetric: bool) -> Tensor:
    """Standardised quantiles (..., H, 9) from the head's outputs (..., H * 9): median, 4 steps up, 4 steps down.

    If `symmetric`, the outputs are (..., H * 4): the median is 0 and the steps hold on both sides.
    """
    raw = raw.reshape(*raw.shape[:-1], horizons, -1)
    if symmetric:
        up = raw.clamp(-STEP_LIMIT, STEP_LIMIT).exp().cumsum(-1)
        return torch.cat([-up.flip(-1), torch.zeros_like(up[..., :1]), up], dim=-1)
    median = raw[..., :1]
    steps = raw[..., 1:].clamp(-STEP_LIMIT, STEP_LIMIT).exp()
    up = median + steps[..., :SIDE].cumsum(-1)
    down = median - steps[..., SIDE:].cumsum(-1)
    return torch.cat([down.flip(-1), median, up], dim=-1)


class CausalTcn(nn.Module):
    """The plain form: full-length causal convolutions, forecast read at the last bar."""

    def __init__(self, inputs: int, parameters: Mapping[str, int], horizons: int) -> None:
        """`inputs` features per bar; `parameters`: channels, levels and symmetric of tcn.v1."""
        super().__init__()
        channels, levels = parameters["channels"], parameters["levels"]
        self.horizons, self.symmetric = horizons, bool(parameters["symmetric"])
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs if level == 0 else channels, channels, 2, dilation=1 << level) for level in range(levels)
        )
        self.head = nn.Linear(channels, raw_outputs(parameters, horizons))

    def forward(self, x: Tensor) -> Tensor:
        """Windows (N, W, inputs) -> standardised quantiles (N, H, 9)."""
        x = x.transpose(1, 2)
        for level, convolution in enumerate(self.convolutions):
            y = functional.relu(convolution(functional.pad(x, (1 << level, 0))))
            x = y if level == 0 else y + x
        return head_quantiles(self.head(x[:, :, -1]), self.horizons, self.symmetric)

    def pruned(self, x: Tensor, keep: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """As `forward`, computing only what the last bar sees; dropout with probability 1 - `keep` in training."""
        for level, convolution in enumerate(self.convolutions):
            assert isinstance(convolution, nn.Conv1d) and convolution.bias is not None
            weight = convolution.weight.permute(2, 1, 0).flatten(0, 1)
            pairs = x.reshape(len(x), -1, len(weight))
            y = functional.relu(pairs @ weight + convolution.bias)
            if keep < 1.0:
                y = y * (torch.rand(y.shape, generator=generator, device="cpu").to(y.device) < keep) / keep
            x = y if level == 0 else y + x[:, 1::2]
        return head_quantiles(self.head(x[:, -1]), self.horizons, self.symmetric)


def to_tensors(model: CausalTcn) -> dict[str, NDArray[np.generic]]:
    """The weights by the names of tcn.v1: convolutions as (2 * inputs, channels), older bar first."""
    tensors: dict[str, NDArray[np.generic]] = {
        "head.weight": model.head.weight.detach().T.cpu().numpy().copy(),
        "head.bias": model.head.bias.detach().cpu().numpy().copy(),
    }
    for level, convolution in enumerate(model.convolutions):
        assert isinstance(convolution, nn.Conv1d) and convolution.bias is not None
        weight = convolution.weight.detach().permute(2, 1, 0).flatten(0, 1)
        tensors[f"level{level}.weight"] = weight.cpu().numpy().copy()
        tensors[f"level{level}.bias"] = convolution.bias.detach().cpu().numpy().copy()
    return tensors


def from_tensors(tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, int], horizons: int) -> CausalTcn:
    """The plain module with these weights, ready to predict."""
    model = CausalTcn(tensors["level0.weight"].shape[0] // 2, parameters, horizons)
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor(tensors["head.weight"].T.copy()))
        model.head.bias.copy_(torch.tensor(tensors["head.bias"].copy()))
        for level, convolution in enumerate(model.convolutions):
            assert isinstance(convolution, nn.Conv1d) and convolution.bias is not None
            weight = torch.tensor(tensors[f"level{level}.weight"].copy())
            convolution.weight.copy_(weight.reshape(2, -1, weight.shape[1]).permute(2, 1, 0))
            convolution.bias.copy_(torch.tensor(tensors[f"level{level}.bias"].copy()))
    return model.eval()


@dataclass(frozen=True, slots=True)
class TcnForecaster:
    """A forecaster from the plain module."""

    horizons: tuple[int, ...]
    schema: FeatureSchema
    model: CausalTcn

    def predict(self, features: FloatArray) -> FloatArray:
        """Quantiles of the log return: (N, window, F) -> (N, H, 9)."""
        with torch.inference_mode():
            standard = self.model(torch.tensor(features[:, :, 1:].astype(np.float32))).double().numpy()
        roots = root_bars(self.horizons, self.schema.width)
        forecast: FloatArray = standard * (features[:, -1, 0, None, None] * roots[:, None])
        return forecast


def construct(
    tensors: Mapping[str, NDArray[Any]],
    parameters: Mapping[str, int],
    schema: FeatureSchema,
    horizons: tuple[int, ...],
) -> TcnForecaster:
    """The forecaster in a tcn.v1 bundle."""
    return TcnForecaster(horizons, schema, from_tensors(tensors, parameters, len(horizons)))


@dataclass(frozen=True, slots=True)
class TcnFit:
    """Settings of one fit. `dropout` and `weight_decay` as usual; stops `patience` epochs after the best."""

    parameters: Mapping[str, int]
    learning_rate: float
    epochs: int
    batch: int
    dropout: float
    weight_decay: float
    patience: int
    seed: int


def crps(quantiles: Tensor, outcome: Tensor) -> Tensor:
    """Mean quantile CRPS of models.score in torch: (N, H, 9) against (N, H), outcomes that are NaN left out."""
    known = outcome.isfinite()
    gap = torch.where(known, outcome, 0.0)[..., None] - quantiles
    levels = torch.tensor(LEVELS, dtype=gap.dtype, device=gap.device)
    weights = torch.tensor(2.0 * trapezoid_weights(), dtype=gap.dtype, device=gap.device)
    loss = (torch.maximum(levels * gap, (levels - 1.0) * gap) * weights).sum(-1)
    return (loss * known).sum() / known.sum().clamp(min=1)


def fit(
    train: tuple[FloatArray, FloatArray],
    start: FloatArray,
    settings: TcnFit,
    progress: Callable[[int], object],
    valid: tuple[FloatArray, FloatArray] | None = None,
) -> tuple[CausalTcn, int]:
    """Fit to (windows (N, W, F), standardised outcomes (N, H)); returns the network and its number of epochs.

    With `valid`, keeps the epoch with the least CRPS there and stops `patience` epochs after it; without, runs
    `settings.epochs`. `start` (H, 9): the rising quantiles that the head states before it has learnt. `progress` is
    called after each epoch. Same bits on the same machine for the same input and seed.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    model = CausalTcn(train[0].shape[2] - 1, settings.parameters, train[1].shape[1])
    _start_head(model, start)
    model.to(device)
    x, y = _on_device(train, device)
    unseen = _on_device(valid, device) if valid is not None else None
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    best, best_loss, best_epoch = copy.deepcopy(model.state_dict()), float("inf"), settings.epochs
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(x), generator=generator).to(device)
        for rows in torch.split(order, settings.batch):
            loss = crps(model.pruned(x[rows], 1.0 - settings.dropout, generator), y[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        progress(1)
        if unseen is not None:
            with torch.inference_mode():
                loss_now = float(crps(model.pruned(unseen[0]), unseen[1]))
            if loss_now < best_loss:
                best, best_loss, best_epoch = copy.deepcopy(model.state_dict()), loss_now, epoch
            if epoch - best_epoch >= settings.patience:
                break
    if unseen is not None:
        model.load_state_dict(best)
    return model.cpu().eval(), best_epoch


def _on_device(pair: tuple[FloatArray, FloatArray], device: str) -> tuple[Tensor, Tensor]:
    """Inputs without the scale, and outcomes, in float32."""
    x, y = torch.tensor(pair[0][:, :, 1:].astype(np.float32)), torch.tensor(pair[1].astype(np.float32))
    return x.to(device), y.to(device)


def _start_head(model: CausalTcn, start: FloatArray) -> None:
    """Let the head state `start` for any input: zero weights, biases that spell the quantiles."""
    steps = np.log(np.maximum(np.diff(start, axis=1), 1e-3))
    bias = np.concatenate([start[:, SIDE : SIDE + 1], steps[:, SIDE:], steps[:, :SIDE][:, ::-1]], axis=1)
    if model.symmetric:
        bias = steps[:, SIDE:]
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor(bias.ravel()))
