"""From a recipe and a series to a bundle: split, fit, score, package, cache.

Why this file exists: training must be repeatable to the bit on one machine and honest about time. Outcomes that end
inside the validation span are purged from training, an embargo follows, and early stopping looks at the CRPS of the
validation span only. Never in it: feature code, secrets, pickle.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from models import bundle as bundles
from models.architectures import ARCHITECTURES, SIDE, BundleError, BundleExists, Tensors
from models.bundle import Bundle, Manifest
from models.features import FeatureSchema, FloatArray, IntArray, build
from models.forecast import LEVELS
from models.labels import SECOND, labels
from models.score import crps_from_quantiles
from models.usage import NOBODY, Run, UsageLog, Use
from models.zoo import baseline, boosted

LIBRARIES = ("lightgbm", "numpy", "torch")
Progress = Callable[[int], object]


class TrainingError(ValueError):
    """A recipe or a series that nothing can be trained from; one line that names the thing and the mend."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a bundle, beside the data.

    `family`: random_walk, forest or tcn; `settings`: what that family's fit takes (`fit_*` below); `owner`: 0x
    address; `horizons`: seconds, ascending; `embargo`: seconds left out after the purge.
    """

    name: str
    owner: str
    family: str
    features: FeatureSchema
    horizons: tuple[int, ...]
    settings: Mapping[str, int | float | str]
    seed: int
    version: str = "1.0.0"
    licence: str = "AGPL-3.0-only"
    folds: int = 3
    valid_share: float = 0.15
    embargo: int = 86_400

    def as_json(self) -> str:
        """Canonical JSON: equal recipes give equal text."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name not in ("features", "settings")}
        fields |= {"features": self.features.hash, "settings": dict(self.settings)}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows to learn from and rows to validate on, as index arrays; all of `train` is over before `valid` starts."""

    train: IntArray
    valid: IntArray


def walk_forward(ts: IntArray, folds: int, valid_share: float, purge: int, embargo: int) -> tuple[Fold, ...]:
    """Expanding walk-forward split of rows at times `ts` (microseconds, rising).

    The last `folds` spans of `valid_share` of the rows each are validated in turn. A row is learnt from only if its
    outcome, `purge` seconds later, is known at least `embargo` seconds before the span starts (Lopez de Prado 2018,
    ch. 7). Raises TrainingError if a fold would have fewer than 32 rows on a side.
    """
    size, found = int(len(ts) * valid_share), []
    for fold in range(folds):
        start = len(ts) - (folds - fold) * size
        if size < 32 or start < 64:
            raise TrainingError(f"{len(ts)} rows are too few for {folds} folds; give a longer series or fewer folds")
        last = min(start, int(np.searchsorted(ts, ts[start] - (purge + embargo) * SECOND, side="right")))
        if last < 32:
            raise TrainingError(f"purge and embargo leave {last} rows before fold {fold}; give a longer series")
        found.append(Fold(np.arange(last), np.arange(start, start + size)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Windows (N, window, F), outcomes (N, H) with NaN where unknown, their times (N,), and the folds."""

    ts: IntArray
    windows: FloatArray
    outcomes: FloatArray
    standard: FloatArray
    folds: tuple[Fold, ...]


def training_set(recipe: Recipe, ts: IntArray, close: FloatArray) -> TrainingSet:
    """Features, labels and folds of a series under a recipe; outcomes standardised by scale and root of horizon."""
    index, windows = build(ts, close, recipe.features)
    outcomes = labels(ts, close, recipe.horizons, recipe.features.width)[index]
    known = np.isfinite(outcomes).any(axis=1)
    index, windows, outcomes = index[known], windows[known], outcomes[known]
    folds = walk_forward(ts[index], recipe.folds, recipe.valid_share, max(recipe.horizons), recipe.embargo)
    standard = baseline.standardise(outcomes, windows[:, -1, 0], recipe.horizons, recipe.features.width)
    return TrainingSet(ts[index], windows, outcomes, standard, folds)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Final tensors and parameters, and the tensors of a fit that has not seen the last fold's validation span.

    `epochs`: how often the final fit was shown every row.
    """

    tensors: Tensors
    parameters: Mapping[str, int]
    held_out: Tensors
    epochs: int = 1


def fit_random_walk(recipe: Recipe, data: TrainingSet, progress: Progress) -> Fitted:
    """Quantiles of standardised returns. Settings: `kind` (gaussian or empirical)."""
    kind = str(recipe.settings["kind"])
    held_out = baseline.fit(data.standard[data.folds[-1].train], kind)
    final = baseline.fit(data.standard, kind)
    progress(1)
    return Fitted(final, {}, held_out)


def fit_forest(recipe: Recipe, data: TrainingSet, progress: Progress) -> Fitted:
    """LightGBM quantile boosters on standardised returns, packed as arrays.

    Settings: `symmetric` (1: sizes of returns, one booster per level above .50, mirrored) and those of `Growth`. The
    number of rounds is the median over folds of where the pinball loss stopped falling; then all rows are fitted.
    """
    from models.zoo import growing

    symmetric = int(recipe.settings["symmetric"])
    options: dict[str, Any] = {name: recipe.settings[name] for name in growing.Growth.__slots__ if name != "seed"}
    growth = growing.Growth(**options, seed=recipe.seed)
    inputs, final, held_out = boosted.flatten(data.windows), list[str](), list[str]()
    for column, horizon in enumerate(recipe.horizons):
        rows = np.flatnonzero(np.isfinite(data.standard[:, column]))
        x, y = inputs[rows], data.standard[rows, column]
        folds = walk_forward(data.ts[rows], recipe.folds, recipe.valid_share, horizon, recipe.embargo)
        levels: Sequence[float] = [2 * level - 1 for level in LEVELS[SIDE + 1 :]] if symmetric else LEVELS
        y = np.abs(y) if symmetric else y
        for level in levels:
            stops = [
                growing.early_stop(growth, level, (x[fold.train], y[fold.train]), (x[fold.valid], y[fold.valid]))
                for fold in folds
            ]
            final.append(growing.grow(growth, level, x, y, int(np.median([rounds for rounds, _ in stops]))))
            held_out.append(stops[-1][1])
            progress(1)
    trees, validated = boosted.pack(final), boosted.pack(held_out)
    parameters = {"trees": len(trees.output), "leaves": trees.leaf.shape[1], "symmetric": symmetric}
    return Fitted(trees.tensors(), parameters, validated.tensors())


def fit_tcn(recipe: Recipe, data: TrainingSet, progress: Progress) -> Fitted:
    """A causal network. Settings: `channels`, `levels`, `symmetric` and those of `TcnFit`.

    The number of epochs is where the CRPS of the last fold's validation span was least; then all rows are fitted.
    """
    from models.zoo import neural

    settings = recipe.settings
    parameters = {name: int(settings[name]) for name in ("channels", "levels", "symmetric")}
    options: dict[str, Any] = {
        name: settings[name] for name in neural.TcnFit.__slots__ if name not in ("parameters", "seed")
    }
    options |= {"parameters": parameters, "seed": recipe.seed}
    fold, inputs = data.folds[-1], data.windows
    train, valid = ((inputs[rows], data.standard[rows]) for rows in (fold.train, fold.valid))
    start = baseline.fit(train[1], "empirical")["quantiles"].astype(np.float64)
    model, epochs = neural.fit(train, start, neural.TcnFit(**options), progress, valid)
    final, _ = neural.fit(
        (inputs, data.standard),
        baseline.fit(data.standard, "empirical")["quantiles"].astype(np.float64),
        neural.TcnFit(**options | {"epochs": epochs}),
        progress,
    )
    return Fitted(neural.to_tensors(final), parameters, neural.to_tensors(model), max(1, epochs))


FITS: Mapping[str, Callable[[Recipe, TrainingSet, Progress], Fitted]] = {
    "random_walk": fit_random_walk,
    "forest": fit_forest,
    "tcn": fit_tcn,
}


def scores(recipe: Recipe, data: TrainingSet, fitted: Fitted) -> dict[str, float]:
    """Mean CRPS on the last validation span by horizon, and over that of a Gaussian random walk on the same scale."""
    windows, outcomes = data.windows[data.folds[-1].valid], data.outcomes[data.folds[-1].valid]
    entry = ARCHITECTURES[f"{recipe.family}.v1"]
    forecast = entry.construct(fitted.held_out, fitted.parameters, recipe.features, recipe.horizons).predict(windows)
    normal = baseline.gaussian_quantiles(len(recipe.horizons))
    walk = baseline.RandomWalkEwma(recipe.horizons, recipe.features, normal).predict(windows)
    found: dict[str, float] = {}
    for column, horizon in enumerate(recipe.horizons):
        known = np.isfinite(outcomes[:, column])
        ours, theirs = (
            float(crps_from_quantiles(outcomes[known, column], quantiles[known, column]).mean())
            for quantiles in (forecast, walk)
        )
        found |= {f"crps.{horizon}": ours, f"crps_vs_random_walk.{horizon}": ours / max(theirs, 1e-12)}
    return found


def data_root(ts: IntArray, close: FloatArray, symbol: str) -> str:
    """SHA-256 over symbol, times and closes: the identity of a training series."""
    digest = hashlib.sha256(symbol.encode() + b"\0")
    digest.update(np.ascontiguousarray(ts, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(close, dtype="<f8").tobytes())
    return "0x" + digest.hexdigest()


def code_version() -> str:
    """SHA-256 over the sources that decide a bundle and the versions of the libraries."""
    room = Path(__file__).parent
    digest = hashlib.sha256(json.dumps(library_versions(), sort_keys=True).encode())
    names = ("architectures", "features", "forecast", "labels", "score", "train", "weights")
    for path in [*(room / f"{name}.py" for name in names), *sorted((room / "zoo").glob("*.py"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return "0x" + digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of python and of the libraries that decide the weights."""
    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return found | {"python": ".".join(platform.python_version_tuple()[:2])}


def train(
    recipe: Recipe,
    ts: IntArray,
    close: FloatArray,
    symbol: str,
    cache: Path | None = None,
    progress: bool = True,
    sets: Sequence[Use] = (),
    usage: UsageLog | None = None,
) -> Bundle:
    """The bundle of a recipe on a series, from `cache` if it was trained before on the same data by the same code.

    `ts`: int64 (T,), UTC microseconds at which each close was known; `close` (T,). Nothing after ts[-1] is used: cut
    the series where training has to end. A damaged cache entry is trained anew. `sets`: the data sets that the series
    was made from, and how much of each (their `epochs` are filled in here); the bundle names their roots after its
    series' own. `usage`: the book in which the run is recorded before the bundle is handed out; a cached bundle whose
    run is not in it is trained again. Raises TrainingError, FeatureError, UsageError.
    """
    if recipe.family not in FITS:
        raise TrainingError(f"recipe {recipe.name}: family {recipe.family!r} is none of {', '.join(FITS)}")
    whole = _whole_series(ts, close, symbol)
    roots = (whole.root, *sorted(use.root for use in sets))
    key = _key(recipe, whole.root, symbol, sets)
    folder = cache / key[:32] if cache else None
    if folder is not None and folder.exists() and (usage is None or usage.knows("0x" + key)):
        try:
            return bundles.load(folder)
        except BundleError:
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    with tqdm(total=_steps(recipe), desc=f"train {recipe.name}", disable=not progress, leave=True) as bar:
        data = training_set(recipe, ts, close)
        fitted = FITS[recipe.family](recipe, data, bar.update)
        bar.update(_steps(recipe) - bar.n)
    until = -(-int(ts[-1]) // SECOND)
    bundle = Bundle(_manifest(recipe, fitted, scores(recipe, data, fitted), roots, symbol, until), fitted.tensors)
    if usage is not None:
        uses = tuple(replace(use, epochs=fitted.epochs) for use in (whole, *sets))
        usage.record(Run("0x" + key, bundle.hash, uses))
    if folder is not None:
        try:
            bundles.save(bundle, folder)
        except BundleExists:
            return bundles.load(folder)
    return bundle


def _whole_series(ts: IntArray, close: FloatArray, symbol: str) -> Use:
    """The series itself as a data set of one chunk, that nobody vouches for."""
    root, span = data_root(ts, close, symbol), (int(ts[0]), int(ts[-1])) if len(ts) else (0, 0)
    return Use(root, NOBODY, (0, 1), max(1, len(ts)), 1, span)


def _key(recipe: Recipe, root: str, symbol: str, sets: Sequence[Use]) -> str:
    """SHA-256 over all that decides a bundle: equal keys are one training run."""
    parts = [recipe.as_json(), root, symbol, code_version()]
    parts += [json.dumps(use.as_json(), sort_keys=True) for use in sorted(sets, key=lambda use: use.root)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _steps(recipe: Recipe) -> int:
    if recipe.family == "forest":
        return len(recipe.horizons) * (SIDE if recipe.settings["symmetric"] else len(LEVELS))
    return 2 * int(recipe.settings["epochs"]) if recipe.family == "tcn" else 1


def _manifest(
    recipe: Recipe, fitted: Fitted, found: Mapping[str, float], roots: tuple[str, ...], symbol: str, until: int
) -> Manifest:
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        owner=recipe.owner,
        architecture=f"{recipe.family}.v1",
        parameters=fitted.parameters,
        features=recipe.features,
        horizons=recipe.horizons,
        symbol=symbol,
        data_roots=roots,
        seed=recipe.seed,
        libraries=library_versions(),
        licence=recipe.licence,
        scores=found,
        trained_until=until,
    )


def train_all(
    recipes: Sequence[Recipe],
    ts: IntArray,
    close: FloatArray,
    symbol: str,
    cache: Path | None = None,
    progress: bool = True,
) -> tuple[Bundle, ...]:
    """`train` for each recipe, in order."""
    return tuple(train(recipe, ts, close, symbol, cache, progress) for recipe in recipes)
