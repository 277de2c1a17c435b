"""Which reasons the Vyper sources can revert with, read from the compiler's own syntax trees.

A reason is the literal of an `assert` or `raise`, or one that is handed to a function which asserts with its argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eth_utils import keccak
from vyper import ast as vy_ast

from contracts import SOURCES
from tests.contracts.storage_table import compiler_data


@dataclass(frozen=True)
class Function:
    """An external function of a contract and the reasons that its code, internal calls included, can give."""

    contract: str
    signature: str
    selector: bytes
    reasons: frozenset[str]

    def __str__(self) -> str:
        return f"{self.contract}.{self.signature}"


def every_literal() -> dict[str, str]:
    """All reasons of the contracts folder, each with a place where it stands."""
    return {
        reason.value: f"{path.relative_to(SOURCES)}:{reason.lineno}"
        for path in vyper_files()
        for reason in given(syntax(path))
        if literal(reason, path)
    }


def external_functions(name: str) -> list[Function]:
    """The functions of a deployable contract, exported and generated ones included; the constructor is none."""
    (path,) = SOURCES.rglob(f"{name}.vy")
    found = []
    for function in compiler_data(path).annotated_vyper_module._metadata["type"].exposed_functions:
        if function.is_constructor or function.is_fallback:
            continue
        code = [part.decl_node for part in (function, *function.reachable_internal_functions) if part.decl_node]
        reasons = frozenset(reason.value for node in code for reason in given(node) if literal(reason, path))
        for signature in function.method_ids:
            found.append(Function(name, signature, keccak(text=signature)[:4], reasons))
    return found


def vyper_files() -> list[Path]:
    return sorted(SOURCES.rglob("*.vy"))


@cache
def syntax(path: Path) -> Any:
    return vy_ast.parse_to_ast(path.read_text(encoding="utf-8"), resolved_path=str(path))


def given(code: Any) -> Iterator[Any]:
    """The nodes that say why, wherever a piece of code refuses."""
    for node in code.get_descendants((vy_ast.Assert, vy_ast.Raise)):
        reason = node.msg if isinstance(node, vy_ast.Assert) else node.exc
        if reason is not None:
            yield reason
    for call in code.get_descendants(vy_ast.Call):
        place = asserting().get(getattr(call.func, "attr", ""))
        if place is not None:
            yield call.args[place]


def literal(reason: Any, path: Path) -> bool:
    """Whether a node is a reason's text. An argument is not, its callers have it; anything else nobody could find."""
    if isinstance(reason, vy_ast.Str):
        return True
    if argument_of(reason) is None:
        raise TypeError(f"{path.name}:{reason.lineno}: a reason must be a literal")
    return False


def argument_of(reason: Any) -> tuple[str, int] | None:
    """The function whose argument a node names, and the argument's place."""
    function = reason.get_ancestor(vy_ast.FunctionDef)
    names = [argument.arg for argument in function.args.args]
    known = isinstance(reason, vy_ast.Name) and reason.id in names
    return (function.name, names.index(reason.id)) if known else None


@cache
def asserting() -> dict[str, int]:
    """Functions that assert with one of their arguments, and which one it is."""
    reasons = [
        check.msg for path in vyper_files() for check in syntax(path).get_descendants(vy_ast.Assert) if check.msg
    ]
    return dict(found for reason in reasons if (found := argument_of(reason)))
