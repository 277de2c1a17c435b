"""The ABI of each contract and interface, as JSON values.

An installed wheel carries the files `contracts/abi/NAME.json`, which `hatch_build.py` made when it was built; a
checkout has none (ape would take such a file for a contract type) and compiles. Either way `abi("Feed")` answers.
"""

from __future__ import annotations

import json
from typing import Any

from contracts import SOURCES
from contracts.artifacts import UnknownContract, artifact, contract_names

PACKAGED = SOURCES / "abi"
"""Folder of the generated files; only in an installed wheel."""


def interface_names() -> tuple[str, ...]:
    """Return the names of all interfaces (`.vyi`), sorted."""
    return tuple(sorted(path.stem for path in SOURCES.rglob("*.vyi")))


def abi(name: str) -> list[dict[str, Any]]:
    """Return the ABI entries of a deployable contract or of an interface; raises UnknownContract for another name."""
    known = (*contract_names(), *interface_names())
    if name not in known:
        raise UnknownContract(f"no contract or interface named {name!r}: known are {', '.join(known)}")
    packaged = PACKAGED / f"{name}.json"
    if packaged.exists():
        entries: list[dict[str, Any]] = json.loads(packaged.read_text(encoding="utf-8"))
        return entries
    return artifact(name).abi if name in contract_names() else _interface(name)


def abi_text(name: str) -> str:
    """Return the ABI as the JSON text that the command prints and the wheel carries, with a final newline."""
    return json.dumps(abi(name), indent=2) + "\n"


def _interface(name: str) -> list[dict[str, Any]]:
    # The compiler takes over a second to import: only who asks for an interface pays for it.
    from vyper.compiler import compile_from_file_input
    from vyper.compiler.input_bundle import FilesystemInputBundle

    (path,) = SOURCES.rglob(f"{name}.vyi")
    bundle = FilesystemInputBundle([SOURCES])
    with bundle.search_path(path.parent):
        source = bundle.load_file(path.resolve())
    entries: list[dict[str, Any]] = compile_from_file_input(source, input_bundle=bundle, output_formats=["abi"])["abi"]
    return entries
