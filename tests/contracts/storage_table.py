"""The page `docs/storage.md`, made from the sources: where each contract keeps what.

`python tests/contracts/storage_table.py > docs/storage.md` writes it anew; `test_layout.py` holds it to the sources.
What a word packs is said by the comment over its declaration, so it is told in one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vyper.compiler.input_bundle import FilesystemInputBundle
from vyper.compiler.phases import CompilerData
from vyper.compiler.settings import Settings
from vyper.semantics.types import StructT

from contracts import SOURCES
from contracts.artifacts import EVM_VERSION, contract_names

HEAD = """# Storage

Where each contract keeps its state on chain: for `eth_getStorageAt`, and so that a change of layout is seen. No
contract can be upgraded, so no layout ever moves under a deployed one. The tables are made from the sources, and a test
holds them to the sources: `python tests/contracts/storage_table.py > docs/storage.md`.

Vyper gives every variable slots of its own, so what shares a word is packed by hand; a number behind a name in the last
column is its width in bits, from the highest down. An array's elements and a struct's members follow each other; a
`DynArray` has its length first. The value of a `HashMap` at `key` lies at `keccak256(slot, key)`, 32 bytes each.
Constants and immutables are part of the code and take no slot; the lock of `@nonreentrant` functions is transient
(EIP-1153).
"""


@dataclass(frozen=True)
class Variable:
    """A state variable of a contract: its first slot, how many, its name with its modules', type and comment."""

    slot: int
    slots: int
    name: str
    type: str
    packs: str


@cache
def compiler_data(path: Path) -> CompilerData:
    """The compiler's view of a contract; nothing is computed before it is asked for, and nothing twice."""
    spec = find_spec("snekmate")
    assert spec is not None and spec.submodule_search_locations
    site = Path(next(iter(spec.submodule_search_locations))).parent
    bundle = FilesystemInputBundle([site, SOURCES])
    with bundle.search_path(path.parent):
        source = bundle.load_file(path.resolve())
    return CompilerData(source, bundle, Settings(evm_version=EVM_VERSION))


def variables(name: str) -> list[Variable]:
    """The state variables of a deployable contract, by slot."""
    (path,) = SOURCES.rglob(f"{name}.vy")
    data = compiler_data(path)
    module = data.annotated_vyper_module._metadata["type"]
    found = _flat(data.storage_layout.get("storage_layout", {}), module, "")
    return sorted(found, key=lambda variable: variable.slot)


def _flat(layout: dict[str, Any], module: Any, prefix: str) -> Iterator[Variable]:
    for name, entry in layout.items():
        if isinstance(entry.get("slot"), int):
            kind = re.sub(r"[\w./-]*?(\w+)\.vyi", r"\1", entry["type"])
            told = " ".join(filter(None, (_comment(module, name), _members(module.variables[name].decl_node))))
            yield Variable(entry["slot"], entry["n_slots"], prefix + name, kind, told)
        else:
            yield from _flat(entry, module.imported_modules[name].module_t, f"{prefix}{name}.")


def _comment(module: Any, name: str) -> str:
    """The lines of comment right above a declaration."""
    node = module.variables[name].decl_node
    path = Path(node.module_node.resolved_path)
    if SOURCES not in path.parents:
        return "snekmate's"
    lines = path.read_text(encoding="utf-8").splitlines()[: node.lineno - 1]
    said: list[str] = []
    while lines and lines[-1].startswith("# "):
        said.insert(0, lines.pop()[2:].strip())
    return " ".join(said)


def _members(declaration: Any) -> str:
    """The members of the struct that a variable holds, alone or as a mapping's value."""
    kind = declaration.target._metadata["type"]
    while hasattr(kind, "value_type"):
        kind = kind.value_type
    if not isinstance(kind, StructT):
        return ""
    return f"`{kind._id}`: " + ", ".join(f"{name} {member}" for name, member in kind.member_types.items()) + "."


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in contract_names():
        parts.append(f"\n## {name}\n")
        found = variables(name)
        if not found:
            parts.append("No storage.\n")
            continue
        parts.append("| slot | slots | name | type | what it holds |\n|---|---|---|---|---|\n")
        for one in found:
            told = one.packs.replace("|", "\\|")
            parts.append(f"| {one.slot} | {one.slots} | `{one.name}` | `{one.type}` | {told} |\n")
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
