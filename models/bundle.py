"""A model on disk: manifest.json and weights.safetensors, data and nothing else.

Why this file exists: operators run models of strangers. A bundle carries no code: the architecture is looked up in our
closed registry, the manifest is a fixed set of bounded fields, the weights are arrays of the expected shapes. Any bytes
in either file give a Bundle or a BundleError. Never in it: pickle, code loading, LightGBM text, training.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models import weights
from models.architectures import (
    ARCHITECTURES,
    Architecture,
    BadManifest,
    BadWeights,
    BundleError,
    BundleExists,
    BundleMissing,
    BundleTooLarge,
    HashMismatch,
    TensorMismatch,
    Tensors,
    UnexpectedFile,
    UnknownArchitecture,
)
from models.features import FeatureError, FeatureSchema

__all__ = [
    "ARCHITECTURES",
    "BadManifest",
    "BadWeights",
    "Bundle",
    "BundleError",
    "BundleExists",
    "BundleMissing",
    "BundleTooLarge",
    "HashMismatch",
    "Manifest",
    "TensorMismatch",
    "UnexpectedFile",
    "UnknownArchitecture",
    "load",
    "save",
]

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
MAX_MANIFEST = 64 << 10
"""Greatest size of manifest.json in bytes."""
MAX_HORIZON = 31 * 86_400
MAX_TIME = 2**40
"""Greatest UTC second that a manifest may name."""
TASK = "price-quantiles"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,31}")
_OWNER = re.compile(r"0x[0-9a-fA-F]{40}")
_DIGEST = re.compile(r"0x[0-9a-f]{64}")
_WORDS = re.compile(r"[ -~]{1,64}")
_SYMBOL = re.compile(r"[A-Z0-9]{1,12}/[A-Z0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says about itself.

    `owner`: 0x address. `task`: "price-quantiles". `architecture`: id in the registry; `parameters`: its integers.
    `data_roots`: 0x SHA-256 of each training set. `libraries`: name -> version trained with. `scores`: validation
    figures by name. `horizons`: seconds, ascending. `symbol`: BASE/QUOTE. `trained_until`: UTC seconds of the newest
    price that training saw, None where it is not stated: a score of anything earlier says nothing. Raises BadManifest
    for anything else.
    """

    name: str
    version: str
    owner: str
    architecture: str
    parameters: Mapping[str, int]
    features: FeatureSchema
    horizons: tuple[int, ...]
    symbol: str
    data_roots: tuple[str, ...]
    seed: int
    libraries: Mapping[str, str]
    licence: str
    scores: Mapping[str, float] = field(default_factory=dict)
    task: str = TASK
    trained_until: int | None = None

    def __post_init__(self) -> None:
        """Hold every field to its bounds, and freeze the mappings."""
        for name, pattern in _PATTERNS.items():
            _text(name, getattr(self, name), pattern)
        if self.task != TASK:
            raise BadManifest(f"task must be {TASK!r}")
        _each("data_roots", self.data_roots, 16, lambda value: _text("data_roots", value, _DIGEST))
        _integer("seed", self.seed, 0, 2**63 - 1)
        if self.trained_until is not None:
            _integer("trained_until", self.trained_until, 0, MAX_TIME)
        _each("horizons", self.horizons, 8, lambda value: _integer("horizons", value, 1, MAX_HORIZON))
        if not self.horizons or list(self.horizons) != sorted(set(self.horizons)):
            raise BadManifest("horizons must be one or more rising numbers of seconds")
        _keys("parameters", self.parameters, lambda value: _integer("parameters", value, -(2**53), 2**53))
        _keys("libraries", self.libraries, lambda value: _text("libraries", value, _WORDS))
        _keys("scores", self.scores, _score)
        for name in ("parameters", "libraries", "scores"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def family(self) -> str:
        """random_walk, forest or tcn."""
        return self.entry.family

    @property
    def entry(self) -> Architecture:
        """The registry's entry; UnknownArchitecture if there is none."""
        found = ARCHITECTURES.get(self.architecture)
        if found is None:
            raise UnknownArchitecture(
                f"architecture {self.architecture!r} is unknown; known: {', '.join(ARCHITECTURES)}"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """The fields as they stand in manifest.json, without the hash of the weights."""
        return {
            "name": self.name,
            "version": self.version,
            "owner": self.owner,
            "task": self.task,
            "architecture": {"id": self.architecture, "parameters": dict(self.parameters)},
            "features": {
                "version": self.features.version,
                "names": list(self.features.names),
                "window": self.features.window,
                "width": self.features.width,
                "hash": self.features.hash,
            },
            "horizons": list(self.horizons),
            "symbol": self.symbol,
            "data_roots": list(self.data_roots),
            "trained_until": self.trained_until,
            "seed": self.seed,
            "libraries": dict(self.libraries),
            "licence": self.licence,
            "scores": dict(self.scores),
        }


_PATTERNS = {
    "name": _NAME,
    "version": _VERSION,
    "owner": _OWNER,
    "architecture": _WORDS,
    "symbol": _SYMBOL,
    "licence": _WORDS,
}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest and the tensors it describes. Building one validates it: BundleError unless everything fits."""

    manifest: Manifest
    tensors: Tensors

    def __post_init__(self) -> None:
        """Check the tensors against the architecture and keep read-only copies."""
        manifest = self.manifest
        manifest.entry.validate(self.tensors, manifest.parameters, manifest.features, len(manifest.horizons))
        object.__setattr__(self, "tensors", MappingProxyType(dict(weights.copy_of(self.tensors))))

    @property
    def weights_hash(self) -> str:
        """SHA-256 over the tensors in canonical order."""
        return weights.content_hash(self.tensors)

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical manifest, which holds the hash of the weights: the bundle's identity."""
        return "0x" + hashlib.sha256(_canonical(self.manifest.as_json() | {"weights": self.weights_hash})).hexdigest()


def _canonical(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def save(bundle: Bundle, folder: Path) -> None:
    """Write the bundle to `folder`, which must not exist, all or nothing.

    Raises BundleExists if something is there, BundleMissing if the folder cannot be made.
    """
    if folder.exists():
        raise BundleExists(f"{folder} already exists; choose another folder or remove it")
    fields = bundle.manifest.as_json() | {"weights": bundle.weights_hash}
    text = json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"
    draft: str | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
        for name, data in ((MANIFEST, text.encode()), (WEIGHTS, weights.to_bytes(bundle.tensors))):
            with open(Path(draft) / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        os.chmod(draft, 0o755)
        os.rename(draft, folder)
    except OSError as problem:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        if folder.exists():
            raise BundleExists(f"{folder} already exists; choose another folder or remove it") from problem
        raise BundleMissing(f"cannot write the bundle {folder}: {problem.strerror}") from problem


def load(folder: Path) -> Bundle:
    """Read and validate a bundle. Any bytes in its files give a Bundle or a BundleError, never anything else."""
    try:
        found = sorted(entry.name for entry in os.scandir(folder))
    except OSError as problem:
        raise BundleMissing(f"cannot read the bundle {folder}: {problem.strerror}") from problem
    extra = [name for name in found if name not in (MANIFEST, WEIGHTS)]
    if extra:
        raise UnexpectedFile(f"{folder} holds {extra[0]!r}; a bundle is {MANIFEST} and {WEIGHTS} and nothing else")
    manifest, stated = _manifest(_read(folder / MANIFEST, MAX_MANIFEST))
    bundle = Bundle(manifest, weights.from_bytes(_read(folder / WEIGHTS, weights.MAX_BYTES)))
    if bundle.weights_hash != stated:
        raise HashMismatch(f"{folder}: the weights are {bundle.weights_hash}, the manifest was written for {stated}")
    return bundle


def _read(path: Path, limit: int) -> bytes:
    """Bytes of a regular file, not more than `limit`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BundleMissing(f"{path} is not a regular file")
            if status.st_size > limit:
                raise BundleTooLarge(str(path), status.st_size, limit)
            data = file.read(limit + 1)
    except OSError as problem:
        raise BundleMissing(f"cannot read {path}: {problem.strerror}") from problem
    if len(data) > limit:
        raise BundleTooLarge(str(path), len(data), limit)
    return data


_FIELDS = {
    "name", "version", "owner", "task", "architecture", "features", "horizons", "symbol", "data_roots", "seed",
    "libraries", "licence", "scores", "trained_until", "weights",
}  # fmt: skip


def _manifest(data: bytes) -> tuple[Manifest, str]:
    """The manifest in these bytes and the hash of the weights that it states."""
    raw = _object("manifest.json", weights.parse_json(data, MANIFEST, BadManifest), _FIELDS)
    architecture = _object("architecture", raw["architecture"], {"id", "parameters"})
    stated = _object("features", raw["features"], {"version", "names", "window", "width", "hash"})
    for name in ("version", "window", "width"):
        _integer(f"features.{name}", stated[name], 0, 2**31)
    _each("features.names", stated["names"], 64, lambda value: _text("features.names", value, _WORDS))
    _text("weights", raw["weights"], _DIGEST)
    for name in ("horizons", "data_roots"):
        _each(name, raw[name], 16, lambda value: None)
    try:
        schema = FeatureSchema(tuple(stated["names"]), stated["window"], stated["width"], stated["version"])
    except FeatureError as problem:
        raise BadManifest(f"features: {problem}") from problem
    if stated["hash"] != schema.hash:
        raise BadManifest(f"features: the hash is not that of the schema, which is {schema.hash}")
    manifest = Manifest(
        architecture=architecture["id"],
        parameters=architecture["parameters"],
        features=schema,
        horizons=tuple(raw["horizons"]),
        data_roots=tuple(raw["data_roots"]),
        **{name: raw[name] for name in ("name", "version", "owner", "symbol", "seed", "libraries", "licence")},
        scores=raw["scores"],
        task=raw["task"],
        trained_until=raw["trained_until"],
    )
    return manifest, raw["weights"]


def _object(what: str, value: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadManifest(f"{what} must be an object with the fields {', '.join(sorted(names))}")
    if odd := sorted(str(name) for name in names ^ set(value)):
        wrong = "lacks" if odd[0] in names else "may not hold"
        raise BadManifest(f"{what} {wrong} {odd[0][:60]!r}; train the model again with this version of dodona")
    return value


def _text(what: str, value: Any, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadManifest(f"{what} {str(value)[:60]!r} does not match {pattern.pattern}")


def _integer(what: str, value: Any, least: int, greatest: int) -> None:
    if type(value) is not int or not least <= value <= greatest:
        raise BadManifest(f"{what} must be an integer from {least} to {greatest}")


def _score(value: Any) -> None:
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > 1e12:
        raise BadManifest("scores must be finite numbers")


def _each(what: str, values: Any, limit: int, check: Callable[[Any], None]) -> None:
    if not isinstance(values, list | tuple) or len(values) > limit:
        raise BadManifest(f"{what} must be a list of at most {limit} values")
    for value in values:
        check(value)


def _keys(what: str, values: Any, check: Callable[[Any], None]) -> None:
    if not isinstance(values, Mapping) or len(values) > 32:
        raise BadManifest(f"{what} must be an object of at most 32 entries")
    for name, value in values.items():
        _text(what, name, _WORDS)
        check(value)
