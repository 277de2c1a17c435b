"""The built package: ABI files inside, and contracts that answer from it as they do in the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from contracts.abis import abi, interface_names
from contracts.artifacts import artifact, contract_names

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout with the tools of this environment and no network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(ROOT)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_wheel__abi_files__one_a_contract_and_interface(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {n for n in archive.namelist() if n.startswith("contracts/abi/")}
        assert found == {f"contracts/abi/{name}.json" for name in (*contract_names(), *interface_names())}
        for name in contract_names():
            assert json.loads(archive.read(f"contracts/abi/{name}.json")) == artifact(name).abi
        for name in interface_names():
            assert json.loads(archive.read(f"contracts/abi/{name}.json")) == abi(name)
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_wheel__build__leaves_no_json_among_the_sources(wheel: Path) -> None:
    assert wheel.exists() and not list((ROOT / "contracts").rglob("*.json"))


def test_wheel__unpacked__answers_from_its_own_files(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = (
        "import json, contracts\n"
        "from contracts.abis import PACKAGED, abi, abi_text\n"
        "from contracts.artifacts import artifact\n"
        "same = abi('Feed') == artifact('Feed').abi\n"
        "print(json.dumps([contracts.__file__, PACKAGED.is_dir(), same, abi_text('IFeed')]))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    place, packaged, same, text = json.loads(done.stdout)
    assert place.startswith(str(tmp_path / "site")) and packaged and same
    assert json.loads(text) == abi("IFeed")
