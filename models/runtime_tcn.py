"""K causal networks as a few batched matrix products.

Why this file exists: with kernel 2 and doubling dilations, the positions that the last bar sees form a binary tree:
each level is a reshape of neighbours into pairs and one product per model, all models in one call. Between bars, level
i keeps its last 2 ** i inputs, and a new bar is one row per level. Never in it: training, other architectures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from models.bundle import Bundle
from models.forecast import FloatArray
from models.zoo.baseline import root_bars
from models.zoo.neural import head_quantiles

CHUNK = 1 << 24
"""Floats of the widest level computed at a time (64 MiB)."""

torch.set_num_threads(1)


class StackedTcn:
    """k bundles of tcn.v1 with the same parameters, number of inputs and horizons; schemas may differ."""

    def __init__(self, bundles: Sequence[Bundle], device: str = "cpu") -> None:
        """Stack the weights on `device`: level i has (k, 2 * inputs, channels), biases (k, 1, channels)."""
        manifest = bundles[0].manifest
        self.parameters = manifest.parameters
        self.device = device
        self.levels = manifest.parameters["levels"]
        self.schemas = [bundle.manifest.features.hash for bundle in bundles]
        self.horizons = len(manifest.horizons)
        self._roots = root_bars(manifest.horizons, manifest.features.width)[:, None]
        names = [f"level{level}" for level in range(self.levels)] + ["head"]
        self.weights = [self._stack(bundles, f"{name}.weight") for name in names]
        self.biases = [self._stack(bundles, f"{name}.bias")[:, None] for name in names]

    def _stack(self, bundles: Sequence[Bundle], name: str) -> Tensor:
        return torch.tensor(np.stack([bundle.tensors[name] for bundle in bundles]), device=self.device)

    def inputs(self, features: Mapping[str, FloatArray]) -> Tensor:
        """Inputs (k or 1, N, ..): one shared tensor if all members read the same schema. Drops the scale."""
        distinct = list(dict.fromkeys(self.schemas))
        tensors = {key: torch.tensor(features[key][..., 1:].astype(np.float32)) for key in distinct}
        if len(distinct) == 1:
            return tensors[distinct[0]][None].to(self.device)
        return torch.stack([tensors[key] for key in self.schemas]).to(self.device)

    def predict(self, features: Mapping[str, FloatArray]) -> FloatArray:
        """Forecasts (k, N, H, 9) from full windows."""
        x = self.inputs(features)
        per_row = x.shape[2] // 2 * self.parameters["channels"] * len(self.schemas)
        with torch.inference_mode():
            parts = [self.full(part) for part in torch.split(x, max(1, CHUNK // per_row), dim=1)]
        return self.scaled(torch.cat(parts, dim=1), {key: value[:, -1] for key, value in features.items()})

    def full(self, x: Tensor) -> Tensor:
        """Standardised quantiles (k, N, H, 9) from inputs (k or 1, N, W, inputs), on the last bar's tree only."""
        count, size = x.shape[1], len(self.schemas)
        y = x
        for level in range(self.levels):
            weight = self.weights[level]
            pairs = y.reshape(y.shape[0], -1, weight.shape[1]).expand(size, -1, -1)
            z = torch.baddbmm(self.biases[level], pairs, weight).relu_()
            y = z if level == 0 else z.add_(y[:, 1::2])
        return self.head(y.view(size, count, -1))

    def head(self, y: Tensor) -> Tensor:
        """Standardised quantiles (k, N, H, 9) from the last level (k, N, channels)."""
        raw = torch.baddbmm(self.biases[-1], y, self.weights[-1])
        return head_quantiles(raw, self.horizons, bool(self.parameters["symmetric"]))

    def scaled(self, standard: Tensor, rows: Mapping[str, FloatArray]) -> FloatArray:
        """Log returns from standardised quantiles and the rows (N, F) of the last bar."""
        scale = np.stack([rows[key][:, 0] for key in self.schemas])
        forecast: FloatArray = standard.double().cpu().numpy() * (scale[:, :, None, None] * self._roots)
        return forecast

    def stream(self, features: Mapping[str, FloatArray]) -> TcnStream:
        """State after the bars in these windows."""
        return TcnStream(self, self.inputs(features))


class TcnStream:
    """The last 2 ** i inputs of every level i, in rings."""

    def __init__(self, model: StackedTcn, x: Tensor) -> None:
        """Fill the rings from windows (k or 1, N, W, inputs): every level at every bar that it can see whole."""
        self._model, self._time = model, 0
        size, self._rings = len(model.schemas), list[Tensor]()
        with torch.inference_mode():
            y = x.expand(size, -1, -1, -1)
            for level in range(model.levels):
                dilation = 1 << level
                self._rings.append(y[:, :, -dilation:].permute(2, 0, 1, 3).contiguous())
                pairs = torch.cat([y[:, :, :-dilation], y[:, :, dilation:]], dim=-1)
                z = torch.baddbmm(model.biases[level], pairs.flatten(1, 2), model.weights[level]).relu_()
                z = z.view(*pairs.shape[:3], -1)
                y = z if level == 0 else z.add_(y[:, :, dilation:])

    def step(self, features: Mapping[str, FloatArray]) -> FloatArray:
        """Forecasts (k, N, H, 9) after one new row (N, F) of each schema."""
        model = self._model
        with torch.inference_mode():
            standard = self.advance(model.inputs(features))
        return model.scaled(standard, features)

    def advance(self, x: Tensor) -> Tensor:
        """Standardised quantiles after inputs (k or 1, N, inputs), which join the rings."""
        model = self._model
        y = x.expand(len(model.schemas), -1, -1)
        for level, ring in enumerate(self._rings):
            oldest = ring[self._time % len(ring)]
            z = torch.baddbmm(model.biases[level], torch.cat([oldest, y], dim=-1), model.weights[level]).relu_()
            oldest.copy_(y)
            y = z if level == 0 else z.add_(y)
        self._time += 1
        return model.head(y)
