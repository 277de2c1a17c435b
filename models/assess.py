"""A frozen bundle over a recorded series, all bars at once: seconds for years, before a replay on chain is worth it.

Why this file exists: a modeller tries many models; most are settled without consensus or contracts. Same features, same
arithmetic and same scores as at an operator (`models/panel.py` goes bar by bar). Never in it: fitting, files, chains.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.bundle import Bundle
from models.evaluate import EvaluationReport, evaluate
from models.features import FloatArray, IntArray, build
from models.labels import SECOND, labels
from models.runtime import Runtime
from models.zoo import baseline

RANDOM_WALK = "random walk"


def forecasts(bundle: Bundle, ts: IntArray, close: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """What the bundle says at every bar: indices of bars (N,), its quantiles (N, H, 9), a random walk's beside it.

    `ts` int64 (T,) UTC microseconds at which each close was known; `close` (T,). The walk is Gaussian on the bundle's
    own scale. The first bars feed the features and get none. Raises FeatureError for a series that is not clean.
    """
    schema, horizons = bundle.manifest.features, bundle.manifest.horizons
    index, windows = build(ts, close, schema)
    normal = baseline.RandomWalkEwma(horizons, schema, baseline.gaussian_quantiles(len(horizons)))
    return index, Runtime([bundle]).predict({schema.hash: windows})[0], normal.predict(windows)


def assess(bundle: Bundle, ts: IntArray, close: FloatArray, start: int | None = None) -> Mapping[int, EvaluationReport]:
    """Scores by horizon (seconds) over the bars from `start` on (UTC microseconds); horizons without an outcome lack.

    `start` None: where the bundle's training ended. What was trained on says nothing: give an earlier start only to
    see that. Series as in `forecasts`.
    """
    about = bundle.manifest
    begin = (about.trained_until or 0) * SECOND if start is None else start
    index, ours, walk = forecasts(bundle, ts, close)
    rows = ts[index] >= begin
    index, ours, walk = index[rows], ours[rows], walk[rows]
    outcomes = labels(ts, close, about.horizons, about.features.width)[index]
    reports = {}
    for column, horizon in enumerate(about.horizons):
        known = np.isfinite(outcomes[:, column]) & np.isfinite(ours[:, column]).all(axis=-1)
        if known.any():
            beside = {RANDOM_WALK: walk[:, column]}
            reports[horizon] = evaluate(
                about.name, ts[index], ours[:, column], outcomes[:, column], beside, horizon, about.features.width
            )
    return reports
