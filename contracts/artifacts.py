"""Compile the Vyper sources in this process and keep the result on disk.

`artifact("Feed")` gives ABI and creation code. A deployable contract is a PascalCase `.vy` file; it may import
interfaces (`.vyi`) and modules (snake_case `.vy`), ours and snekmate's. The cache key is the hash of exactly these
sources with the compiler's and snekmate's version, so an edited source is compiled again and nothing else is.
Nothing here touches a chain.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from contracts import SOURCES

EVM_VERSION = "prague"
"""Fork that the code is compiled for; the gas bars hold on it."""

EIP170_LIMIT = 24_576
"""Largest runtime code in bytes that a chain accepts (https://eips.ethereum.org/EIPS/eip-170)."""

OPTIMIZATION = dict.fromkeys(
    ("Aggregator", "Feed", "StrictFeed", "PositiveFeed", "ForecastFeed", "EventFeed", "FeedProxy"), "gas"
)
"""Optimiser level by contract: what is called again and again is made fast; `codesize` for all others."""


class UnknownContract(LookupError):
    """No deployable Vyper source has this name."""


class CodeTooLarge(ValueError):
    """A contract's runtime code is above EIP-170's limit, so no chain would take it."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract: ABI entries, creation code, and the size in bytes of the code it leaves on chain, immutables
    included.

    `layout`: first storage slot of each state variable, modules' variables as `module.variable`.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime_size: int
    layout: dict[str, int]

    @property
    def blueprint(self) -> bytes:
        """Creation code of an ERC-5202 blueprint of this contract (https://eips.ethereum.org/EIPS/eip-5202)."""
        body = b"\xfe\x71\x00" + self.bytecode
        return b"\x61" + len(body).to_bytes(2, "big") + b"\x3d\x81\x60\x0a\x3d\x39\xf3" + body


def contract_names() -> tuple[str, ...]:
    """Return the names of all deployable contracts, sorted."""
    return tuple(sorted(_deployables()))


@cache
def artifact(name: str) -> Artifact:
    """Return the compiled contract `name`, for example `artifact("Aggregator")`.

    Raises UnknownContract for a name without a source and CodeTooLarge where EIP-170 would refuse the code;
    a source that does not compile raises the compiler's own error.
    """
    path = _deployables().get(name)
    if path is None:
        raise UnknownContract(f"no contract named {name!r}: known are {', '.join(contract_names())}")
    stored = _cache_dir() / f"{name}-{_key(name, path)}.json"
    data = _read(stored)
    if data is None:
        data = _compile(name, path)
        _write(stored, data)
    found = Artifact(name, data["abi"], bytes.fromhex(data["bytecode"]), data["runtime_size"], data["layout"])
    if found.runtime_size > EIP170_LIMIT:
        raise CodeTooLarge(f"{name}: runtime code of {found.runtime_size} bytes is above the limit of {EIP170_LIMIT}")
    return found


def _deployables() -> dict[str, Path]:
    return {path.stem: path for path in SOURCES.rglob("*.vy") if path.stem[:1].isupper()}


def _cache_dir() -> Path:
    given = os.environ.get("DODONA_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "dodona"


def _key(name: str, path: Path) -> str:
    shared = [p for p in SOURCES.rglob("*.vy") if p.stem[:1].islower()]
    sources = [path, *sorted([*shared, *SOURCES.rglob("*.vyi")])]
    digest = hashlib.sha256(
        f"{version('vyper')} {version('snekmate')} {EVM_VERSION} {OPTIMIZATION.get(name, 'codesize')}".encode()
    )
    for source in sources:
        digest.update(source.relative_to(SOURCES).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _read(stored: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(stored.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # no entry, or one that cannot be used: it is compiled anew
    complete = isinstance(data, dict) and {"abi", "bytecode", "runtime_size", "layout"} <= data.keys()
    return data if complete else None


def _write(stored: Path, data: dict[str, Any]) -> None:
    stored.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=stored.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(data, file)
    os.replace(temporary, stored)


def _compile(name: str, path: Path) -> dict[str, Any]:
    # The compiler takes over a second to import: only a miss of the cache pays for it.
    from vyper.compiler import compile_from_file_input
    from vyper.compiler.input_bundle import FilesystemInputBundle
    from vyper.compiler.settings import OptimizationLevel, Settings

    spec = find_spec("snekmate")
    if spec is None or not spec.submodule_search_locations:
        raise UnknownContract("snekmate is not installed: pip install snekmate")
    site = Path(next(iter(spec.submodule_search_locations))).parent
    bundle = FilesystemInputBundle([site, SOURCES])
    level = OptimizationLevel.from_string(OPTIMIZATION.get(name, "codesize"))
    settings = Settings(evm_version=EVM_VERSION, optimize=level)
    with bundle.search_path(path.parent):
        source = bundle.load_file(path.resolve())
    formats = ["abi", "bytecode", "bytecode_runtime", "layout"]
    out = compile_from_file_input(source, input_bundle=bundle, settings=settings, output_formats=formats)
    return {
        "abi": out["abi"],
        "bytecode": out["bytecode"].removeprefix("0x"),
        "runtime_size": len(out["bytecode_runtime"].removeprefix("0x")) // 2
        + _immutable_bytes(out["layout"].get("code_layout", {})),
        "layout": _flat(out["layout"].get("storage_layout", {})),
    }


def _immutable_bytes(layout: dict[str, Any]) -> int:
    """Bytes that the constructor puts behind the compiled code: EIP-170 counts them too."""
    return sum(
        entry["length"] if isinstance(entry.get("length"), int) else _immutable_bytes(entry)
        for entry in layout.values()
    )


def _flat(layout: dict[str, Any], prefix: str = "") -> dict[str, int]:
    slots: dict[str, int] = {}
    for name, entry in layout.items():
        if isinstance(entry.get("slot"), int):
            slots[prefix + name] = entry["slot"]
        else:
            slots |= _flat(entry, f"{prefix}{name}.")
    return slots
