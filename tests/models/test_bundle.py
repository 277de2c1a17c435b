"""A bundle on disk: what was saved comes back, and any other bytes give a BundleError."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from models import weights
from models.architectures import ARCHITECTURES
from models.bundle import (
    BadManifest,
    BadWeights,
    Bundle,
    BundleError,
    BundleExists,
    BundleMissing,
    BundleTooLarge,
    HashMismatch,
    TensorMismatch,
    UnexpectedFile,
    UnknownArchitecture,
    load,
    save,
)
from tests.strategies import bundles as make

MAKERS: dict[str, Callable[[int], Bundle]] = {"random_walk": make.random_walk, "forest": make.forest, "tcn": make.tcn}


def written(folder: Path, bundle: Bundle) -> tuple[Path, Path]:
    save(bundle, folder)
    return folder / "manifest.json", folder / "weights.safetensors"


def change(path: Path, edit: Callable[[dict], object]) -> None:
    fields = json.loads(path.read_text())
    edit(fields)
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize("family", MAKERS)
def test_load__saved__same_bundle(tmp_path: Path, family: str) -> None:
    made = MAKERS[family](3)
    bundle = Bundle(dataclasses.replace(made.manifest, trained_until=1_505_865_600), made.tensors)
    _, data = written(tmp_path / "b", bundle)
    back = load(tmp_path / "b")
    assert back.manifest == bundle.manifest and back.hash == bundle.hash
    assert sorted(os.listdir(tmp_path)) == ["b"] and sorted(os.listdir(tmp_path / "b")) == sorted(
        ["manifest.json", "weights.safetensors"]
    )
    official = load_file(data)
    assert set(official) == set(bundle.tensors)
    assert all(np.array_equal(official[name], back.tensors[name]) for name in official)
    assert bundle.manifest.family == family


def test_save__folder_exists__refused_and_untouched(tmp_path: Path) -> None:
    save(make.random_walk(1), tmp_path / "b")
    before = (tmp_path / "b" / "manifest.json").read_bytes()
    with pytest.raises(BundleExists):
        save(make.random_walk(2), tmp_path / "b")
    assert (tmp_path / "b" / "manifest.json").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleMissing):
        save(make.random_walk(2), tmp_path / "file" / "b")


def test_hash__any_field_or_weight_changed__differs() -> None:
    base = make.random_walk(1)
    manifest = base.manifest
    edits = [
        {"name": "other"}, {"version": "2"}, {"owner": "0x" + "b2" * 20}, {"symbol": "ETH/USD"}, {"seed": 8},
        {"licence": "MIT"}, {"data_roots": ()}, {"libraries": {}}, {"scores": {}}, {"horizons": (3_600, 7_200)},
        {"features": make.schema(1, 96)}, {"trained_until": 1_505_865_600},
    ]  # fmt: skip
    hashes = {Bundle(dataclasses.replace(manifest, **edit), base.tensors).hash for edit in edits}
    hashes |= {base.hash, make.random_walk(2).hash}
    assert len(hashes) == len(edits) + 2
    assert make.random_walk(1).hash == base.hash


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda m: m.update(extra=1), BadManifest),
        (lambda m: m.pop("seed"), BadManifest),
        (lambda m: m.update(name="../x"), BadManifest),
        (lambda m: m.update(owner="0x12"), BadManifest),
        (lambda m: m.update(task="events"), BadManifest),
        (lambda m: m.update(seed=True), BadManifest),
        (lambda m: m.update(seed=-1), BadManifest),
        (lambda m: m.pop("trained_until"), BadManifest),
        (lambda m: m.update(trained_until=-1), BadManifest),
        (lambda m: m.update(trained_until=1.5), BadManifest),
        (lambda m: m.update(trained_until=True), BadManifest),
        (lambda m: m.update(horizons=[]), BadManifest),
        (lambda m: m.update(horizons=[7200, 3600]), BadManifest),
        (lambda m: m.update(horizons={"a": 1}), BadManifest),
        (lambda m: m.update(scores={"crps": 1e400}), BadManifest),
        (lambda m: m.update(libraries={"numpy": 1}), BadManifest),
        (lambda m: m["architecture"].update(id="pickle.v1"), UnknownArchitecture),
        (lambda m: m["architecture"].update(id=None), BadManifest),
        (lambda m: m["architecture"]["parameters"].update(trees=10**9), BadManifest),
        (lambda m: m["features"].update(window=64), BadManifest),
        (lambda m: m["features"].update(names=["scale.48", "exec"]), BadManifest),
        (lambda m: m["features"].update(names=7), BadManifest),
        (lambda m: m.update(weights="0x" + "00" * 32), HashMismatch),
        (lambda m: m.update(weights=None), BadManifest),
    ],
)
def test_load__manifest_field_wrong__named_error(tmp_path: Path, edit: Callable[[dict], object], error: type) -> None:
    path, _ = written(tmp_path / "b", make.random_walk(1))
    change(path, edit)
    with pytest.raises(error) as caught:
        load(tmp_path / "b")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 60_000, b'{"a": ' + b"9" * 5_000 + b"}", b"\xff"],
)
def test_load__manifest_not_json__refused(tmp_path: Path, text: bytes) -> None:
    path, _ = written(tmp_path / "b", make.random_walk(1))
    path.write_bytes(text)
    with pytest.raises(BadManifest):
        load(tmp_path / "b")


def test_load__folder_wrong__named_error(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing):
        load(tmp_path / "none")
    manifest, data = written(tmp_path / "b", make.random_walk(1))
    (tmp_path / "b" / "model.py").write_text("")
    with pytest.raises(UnexpectedFile, match=r"model\.py"):
        load(tmp_path / "b")
    (tmp_path / "b" / "model.py").unlink()
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(BundleMissing):
        load(tmp_path / "b")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleMissing):
        load(tmp_path / "b")
    data.unlink()
    os.mkfifo(data)
    with pytest.raises(BundleMissing):
        load(tmp_path / "b")
    data.unlink()
    with open(data, "wb") as file:
        file.truncate(weights.MAX_BYTES + 1)
    with pytest.raises(BundleTooLarge):
        load(tmp_path / "b")
    manifest.write_bytes(b" " * 70_000)
    with pytest.raises(BundleTooLarge):
        load(tmp_path / "b")


def header(entries: object, body: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 64,
        (2**63).to_bytes(8, "little"),
        header([]),
        header({"a": 1}),
        header({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8], "x": 1}}),
        header({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 8]}}),
        header({"a": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]}}),
        header({"a": {"dtype": "F64", "shape": [True], "data_offsets": [0, 8]}}),
        header({"a": {"dtype": "F64", "shape": [2**25, 2**25], "data_offsets": [0, 8]}}),
        header({"a": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}),
        header({"a": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}),
        header({"a": {"dtype": "F64", "shape": [1], "data_offsets": [8, 16]}}),
        header({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 9),
        header({"a": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}}),
        header({"a" * 99: {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}),
        header({f"t{i}": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i in range(65)}, b"\0" * 65),
    ],
)
def test_from_bytes__malformed__refused(data: bytes) -> None:
    with pytest.raises((BadWeights, BundleTooLarge)):
        weights.from_bytes(data)


@pytest.mark.parametrize("family", MAKERS)
def test_bundle__tensors_not_as_expected__refused(family: str) -> None:
    bundle = MAKERS[family](1)
    for name, tensor in bundle.tensors.items():
        without = {key: value for key, value in bundle.tensors.items() if key != name}
        spoilt = tensor.copy()
        cases = [without, without | {name: tensor[..., :-1]}, without | {name: tensor.astype(np.int64)}]
        if tensor.dtype.kind == "f":
            spoilt.flat[0] = np.nan
            cases.append(without | {name: spoilt})
        for tensors in (*cases, dict(bundle.tensors) | {"extra": tensor}):
            with pytest.raises(TensorMismatch):
                Bundle(bundle.manifest, tensors)


@pytest.mark.parametrize(
    ("name", "where", "value"),
    [
        ("left", (0, 0), 0),
        ("left", (0, 0), 99),
        ("right", (0, 0), -99),
        ("right", (0, 0), -1),
        ("feature", (0, 0), 6),
        ("feature", (0, 0), -1),
        ("output", (0,), 1),
        ("output", (-1,), 99),
    ],
)
def test_bundle__forest_that_would_not_end_or_stay_inside__refused(name: str, where: tuple, value: int) -> None:
    bundle = make.forest(1)
    spoilt = bundle.tensors[name].copy()
    spoilt[where] = value
    with pytest.raises(TensorMismatch):
        Bundle(bundle.manifest, dict(bundle.tensors) | {name: spoilt})


def test_bundle__tensors__are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        make.random_walk(1).tensors["quantiles"][0, 0] = 1.0


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_load__any_bytes__bundle_or_bundle_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    kind = data.draw(st.sampled_from(sorted(MAKERS)))
    save(MAKERS[kind](1), folder / "b")
    path = folder / "b" / data.draw(st.sampled_from(["manifest.json", "weights.safetensors"]))
    raw = bytearray(path.read_bytes())
    match data.draw(st.sampled_from(["replace", "flip", "cut", "insert"])):
        case "replace":
            raw = bytearray(data.draw(st.binary(max_size=200)))
        case "flip":
            for _ in range(data.draw(st.integers(1, 4))):
                raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        case "cut":
            del raw[data.draw(st.integers(0, len(raw) - 1)) :]
        case "insert":
            at = data.draw(st.integers(0, len(raw)))
            raw[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    path.write_bytes(raw)
    try:
        bundle = load(folder / "b")
    except BundleError as problem:
        assert "\n" not in str(problem)
    else:
        assert isinstance(bundle, Bundle)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data(), value=JSON)
@settings(max_examples=150, deadline=None)
def test_load__any_json_in_any_field__bundle_or_bundle_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, value: object
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path, _ = written(folder / "b", make.random_walk(1))
    fields = json.loads(path.read_text())
    place = fields
    key = data.draw(st.sampled_from(sorted(fields)))
    while isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
        place, key = place[key], data.draw(st.sampled_from(sorted(place[key])))
    place[key] = value
    path.write_text(json.dumps(fields))
    try:
        load(folder / "b")
    except BundleError as problem:
        assert "\n" not in str(problem)


def test_registry__every_entry__bounded_and_versioned() -> None:
    for key, entry in ARCHITECTURES.items():
        assert key == entry.id and key == f"{entry.family}.v1"
        assert all(least <= greatest for least, greatest in entry.bounds.values())
