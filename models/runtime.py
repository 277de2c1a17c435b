"""Many bundles, one device: all members forecast in a few batched computations.

Why this file exists: an operator runs dozens of models on every feed each bar; a Python loop over them costs more than
the arithmetic. Bundles that share a form are merged into one group whose fast path equals the plain loop within 1e-5.
Never in it: feature code, weighting, learning.

A forecast that is not finite or beyond `MAX_RETURN` is replaced by NaN for that member and row: the member abstains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

import numpy as np

from models.architectures import inputs_of
from models.bundle import Bundle
from models.features import FeatureSchema
from models.forecast import LEVELS, FloatArray, Forecaster
from models.zoo.baseline import root_bars

MAX_RETURN = 3.0
"""Greatest size of a forecast log return that is believed (a factor of 20)."""

Features = Mapping[str, FloatArray]
"""Schema hash -> windows (N, window, F) of the same N series at the same bar, or rows (N, F) for one new bar."""


class InputError(ValueError):
    """Features that do not fit the bundles of a runtime; one line that names the schema."""


class GroupStream(Protocol):
    """State of one group between bars."""

    def step(self, features: Features) -> FloatArray:
        """Take one new row (N, F) of each schema; forecasts (k, N, H, 9)."""
        ...


class Group(Protocol):
    """Members that are computed together."""

    def predict(self, features: Features) -> FloatArray:
        """Forecasts (k, N, H, 9) of the group's k members from full windows."""
        ...

    def stream(self, features: Features) -> GroupStream:
        """State after the bars in these windows."""
        ...


def forecaster(bundle: Bundle) -> Forecaster:
    """The plain form of one bundle, from the closed registry."""
    manifest = bundle.manifest
    return manifest.entry.construct(bundle.tensors, manifest.parameters, manifest.features, manifest.horizons)


class Runtime:
    """K bundles on one device, forecasting together.

    `bundles` share horizons and bar width (InputError otherwise); `device` is a torch device for the networks. The
    process should set one thread for torch (`models.runtime_tcn` does so on import: two cost tail latency).
    """

    def __init__(self, bundles: Sequence[Bundle], device: str = "cpu") -> None:
        """Merge the bundles into groups."""
        if not bundles:
            raise InputError("a runtime needs at least one bundle")
        first = bundles[0].manifest
        for bundle in bundles:
            given = bundle.manifest
            if given.horizons != first.horizons or given.features.width != first.features.width:
                raise InputError(f"bundle {given.name} forecasts other horizons or bars than bundle {first.name}")
        self.bundles = tuple(bundles)
        self.horizons = first.horizons
        self.width = first.features.width
        self.schemas: Mapping[str, FeatureSchema] = {
            bundle.manifest.features.hash: bundle.manifest.features for bundle in bundles
        }
        self._groups = [(members, self._group(members, device)) for members in self._members().values()]

    def _members(self) -> dict[tuple[object, ...], list[int]]:
        """Positions of the bundles by what lets them be computed together."""
        found: dict[tuple[object, ...], list[int]] = {}
        for position, bundle in enumerate(self.bundles):
            manifest = bundle.manifest
            key: tuple[object, ...] = (manifest.architecture,)
            if manifest.family == "tcn":
                key += (*sorted(manifest.parameters.items()), inputs_of(manifest.features))
            elif manifest.family == "forest":
                key += (manifest.features.hash,)
            found.setdefault(key, []).append(position)
        return found

    def _group(self, members: list[int], device: str) -> Group:
        chosen = [self.bundles[position] for position in members]
        family = chosen[0].manifest.family
        if family == "tcn":
            return cast(Group, import_module("models.runtime_tcn").StackedTcn(chosen, device))
        if family == "forest":
            return cast(Group, import_module("models.runtime_forest").MergedForest(chosen))
        return StackedWalks(chosen)

    def predict(self, features: Features) -> FloatArray:
        """Forecasts of all members: (K, N, H, 9), in the order of the bundles; NaN where a member abstains.

        `features`: every schema's windows (N, window, F). Raises InputError if one is missing or has another shape.
        """
        count = self._check(features, windows=True)
        return self._collect([group.predict(features) for _, group in self._groups], count)

    def stream(self, features: Features) -> RuntimeStream:
        """Cached state after the bars in these windows (N, window, F), so that each new bar costs one step."""
        count = self._check(features, windows=True)
        return RuntimeStream(self, [group.stream(features) for _, group in self._groups], count)

    def _collect(self, parts: Sequence[FloatArray], count: int) -> FloatArray:
        forecasts = np.empty((len(self.bundles), count, len(self.horizons), len(LEVELS)))
        for (members, _), part in zip(self._groups, parts, strict=True):
            forecasts[members] = part
        with np.errstate(invalid="ignore"):
            good = (np.abs(forecasts) <= MAX_RETURN).all(axis=(2, 3))
        forecasts[~good] = np.nan
        return forecasts

    def _check(self, features: Features, windows: bool) -> int:
        """The number of series in these features."""
        counts = set()
        for key, schema in self.schemas.items():
            given = features.get(key)
            shape = (schema.window, len(schema.names)) if windows else (len(schema.names),)
            if given is None or given.shape[1:] != shape:
                stated = "missing" if given is None else f"of shape {given.shape}"
                raise InputError(f"features of schema {key[:10]} are {stated}, needs (N, {', '.join(map(str, shape))})")
            counts.add(len(given))
        if len(counts) != 1:
            raise InputError(f"features of different schemas hold {sorted(counts)} series; they must be the same")
        return int(counts.pop())


class RuntimeStream:
    """A runtime that remembers: one new bar of the same N series is one step of arithmetic."""

    def __init__(self, runtime: Runtime, streams: Sequence[GroupStream], count: int) -> None:
        """Made by `Runtime.stream`."""
        self._runtime, self._streams, self._count = runtime, streams, count

    def step(self, features: Features) -> FloatArray:
        """Forecasts (K, N, H, 9) after one new row (N, F) of every schema; equal to `predict` on the full windows."""
        count = self._runtime._check(features, windows=False)
        if count != self._count:
            raise InputError(f"this stream follows {self._count} series, given {count}")
        return self._runtime._collect([stream.step(features) for stream in self._streams], count)


class StackedWalks:
    """Random walks: quantiles times the scale of the last bar. The scale may be another column for each member."""

    def __init__(self, bundles: Sequence[Bundle]) -> None:
        """Stack the quantiles, (k, 1, H, 9)."""
        manifest = bundles[0].manifest
        unit = np.stack([bundle.tensors["quantiles"].astype(np.float64) for bundle in bundles])
        self._unit = (unit * root_bars(manifest.horizons, manifest.features.width)[:, None])[:, None]
        self._schemas = [bundle.manifest.features.hash for bundle in bundles]

    def predict(self, features: Features) -> FloatArray:
        """Forecasts (k, N, H, 9)."""
        return self.step({key: value[:, -1] for key, value in features.items()})

    def stream(self, features: Features) -> GroupStream:
        """Nothing to remember."""
        return self

    def step(self, features: Features) -> FloatArray:
        """Forecasts (k, N, H, 9) from rows (N, F)."""
        scale = np.stack([features[key][:, 0] for key in self._schemas])
        forecast: FloatArray = scale[:, :, None, None] * self._unit
        return forecast
