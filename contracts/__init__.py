"""The chain room: Vyper sources and what Python needs to know of them.

`CONSTANTS` holds every number and EIP-712 type string of `constants.vy`, so that Python and Vyper can never
disagree. Compiled code comes from `contracts.artifacts`. This package imports nothing else of ours.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

SOURCES = Path(__file__).parent
"""Folder of the Vyper sources, in a checkout and in an installed wheel."""


def read_constants(path: Path) -> dict[str, int | str]:
    """Read `NAME: constant(type) = literal` lines of a Vyper file as Python values.

    Raises ValueError, naming the line, for anything that is not such a line with an integer or string literal.
    """
    found: dict[str, int | str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            raise ValueError(f"{path.name}:{node.lineno}: only `NAME: constant(type) = literal` lines are allowed here")
        value = node.value.value if isinstance(node.value, ast.Constant) else None
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise ValueError(f"{path.name}:{node.lineno}: {node.target.id} is not an integer or string literal")
        found[node.target.id] = value
    return found


CONSTANTS: Mapping[str, int | str] = MappingProxyType(read_constants(SOURCES / "constants.vy"))
"""Every constant of `constants.vy` by name."""


def constant_int(name: str) -> int:
    """Return the integer constant `name`; KeyError if unknown, TypeError if it is a string."""
    value = CONSTANTS[name]
    if not isinstance(value, int):
        raise TypeError(f"constants.vy: {name} is not an integer")
    return value


def constant_str(name: str) -> str:
    """Return the string constant `name`; KeyError if unknown, TypeError if it is an integer."""
    value = CONSTANTS[name]
    if not isinstance(value, str):
        raise TypeError(f"constants.vy: {name} is not a string")
    return value
