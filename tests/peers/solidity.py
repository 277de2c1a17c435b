"""Compile Solidity with npm's compilers, which are the only ones that a package manager brings; results are kept.

The key of a kept result is the hash of all that goes in, imports too, so an edited source is compiled again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from contracts.artifacts import EVM_VERSION

PEERS = Path(__file__).parent
MODULES = PEERS / "node_modules"
IMPORT = re.compile(r"""^\s*import\s+(?:[^"';]*\sfrom\s+)?["']([^"']+)["']\s*;""", re.M)
COMPILERS = {"solc": EVM_VERSION, "solc-0.6.6": "istanbul"}
"""npm's names of the compilers, and the newest fork that each can compile for and we want."""
RUNS = 200
COMPILE_S = 120


class SolidityError(ValueError):
    """The compiler refused a source, or warned; the text is the compiler's."""


@dataclass(frozen=True, slots=True)
class Built:
    """ABI entries and creation code."""

    abi: list[dict[str, Any]]
    bytecode: str


def missing_packages() -> str | None:
    """Why nothing can be compiled here, or None."""
    if not (MODULES / ".installed").exists():
        return "npm's packages are not there: `make test` installs them where npm is on PATH"
    return None


def sources_of(unit: str, text: str) -> dict[str, str]:
    """A source and all that it imports, by the names that the compiler gives them."""
    found, wanted = {unit: text}, [unit]
    while wanted:
        name = wanted.pop()
        for path in IMPORT.findall(found[name]):
            target = os.path.normpath(Path(name).parent / path) if path.startswith(".") else path
            if target not in found:
                found[target] = (MODULES / target).read_text(encoding="utf-8")
                wanted.append(target)
    return found


def compile_text(unit: str, text: str, compiler: str = "solc", *, strict: bool = True) -> dict[str, Built]:
    """Contracts by name that stand in the source `unit` itself; raises SolidityError, for a warning too if `strict`."""
    outputs = {"*": {"*": ["abi", "evm.bytecode.object"]}}
    settings = {
        "optimizer": {"enabled": True, "runs": RUNS}, "evmVersion": COMPILERS[compiler], "outputSelection": outputs,
    }  # fmt: skip
    sources = {name: {"content": content} for name, content in sources_of(unit, text).items()}
    told = _run(compiler, json.dumps({"language": "Solidity", "sources": sources, "settings": settings}))
    bad = [e["formattedMessage"] for e in told.get("errors", []) if strict or e["severity"] == "error"]
    if bad:
        raise SolidityError("\n".join(bad))
    made = told["contracts"].get(unit, {})
    return {name: Built(out["abi"], "0x" + out["evm"]["bytecode"]["object"]) for name, out in made.items()}


@cache
def compile_file(path: Path, compiler: str = "solc") -> dict[str, Built]:
    """Contracts of a file: one of ours, which must give no warning, or one in an npm package."""
    theirs = path.is_relative_to(MODULES)
    unit = path.relative_to(MODULES).as_posix() if theirs else path.name
    return compile_text(unit, path.read_text(encoding="utf-8"), compiler, strict=not theirs)


def _run(compiler: str, request: str) -> dict[str, Any]:
    version = json.loads((MODULES / compiler / "package.json").read_text(encoding="utf-8"))["version"]
    key = hashlib.sha256(f"{version}\0{request}".encode()).hexdigest()[:32]
    stored = Path(os.environ.get("DODONA_CACHE") or Path.home() / ".cache" / "dodona") / f"solidity-{key}.json"
    if stored.exists():
        return dict(json.loads(stored.read_text(encoding="utf-8")))
    command = ["node", str(PEERS / "compile.js"), compiler]
    done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=COMPILE_S, check=True)
    told = dict(json.loads(done.stdout))
    stored.parent.mkdir(parents=True, exist_ok=True)
    written = stored.with_suffix(f".{os.getpid()}")
    written.write_text(done.stdout, encoding="utf-8")
    written.replace(stored)
    return told
