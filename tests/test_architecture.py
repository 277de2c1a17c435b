"""The rules of the house, enforced: who may import whom, how long things may be, where floats may live.

Each rule is a function from a source tree to findings, so that the rule itself is tested on a tree that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("feeds", "models", "oracle", "contracts")
MAY_IMPORT = {
    "contracts": set(),
    "feeds": set(),
    "models": {"feeds"},
    "oracle": {"feeds", "models", "contracts"},
}
PURE_ROOM = Path("oracle/consensus")
PURE_IMPORTS = {
    "__future__", "abc", "bisect", "collections", "contracts", "dataclasses", "enum", "eth_abi", "eth_utils",
    "functools", "hashlib", "heapq", "itertools", "math", "operator", "oracle", "random", "struct", "typing",
}  # fmt: skip
PURE_PARTS_OF_ORACLE = ("oracle.consensus", "oracle.errors")
SOURCE_SUFFIXES = {".py", ".vy", ".vyi", ".sol"}
NOT_OURS = {"__pycache__", ".build", "node_modules"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "tools"}
EXCEPT_SUPERVISOR = Path("oracle/node.py")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def sources(root: Path, *folders: str, suffix: str = ".py") -> Iterator[Path]:
    for folder in folders:
        for path in sorted((root / folder).rglob(f"*{suffix}")):
            if not NOT_OURS & set(path.parts):
                yield path


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Absolute names of all imported modules, with their lines; `from a import b` yields `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import at line {node.lineno}: name the package"
            assert node.module is not None
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def wrong_way_imports(root: Path) -> list[str]:
    """Imports against feeds -> models -> oracle."""
    found = []
    for path in sources(root, *PACKAGES):
        relative = path.relative_to(root)
        room = relative.parts[0]
        for line, module in imported_modules(parse(path)):
            target = module.split(".")[0]
            if target in PACKAGES and target != room and target not in MAY_IMPORT[room]:
                found.append(f"{relative}:{line} imports {module}")
    return found


def impure_imports(root: Path) -> list[str]:
    """Imports of the consensus room beyond the standard library's pure parts, hashing and itself."""
    found = []
    for path in sources(root, str(PURE_ROOM)):
        for line, module in imported_modules(parse(path)):
            top = module.split(".")[0]
            foreign = top == "oracle" and module != "oracle" and not module.startswith(PURE_PARTS_OF_ORACLE)
            if top not in PURE_IMPORTS or foreign:
                found.append(f"{path.relative_to(root)}:{line} imports {module}")
    return found


def floats_in_consensus(root: Path) -> list[str]:
    """Float literals, true divisions and float() where everything is signed; the simulator's odds are exempt."""
    found = []
    for path in sources(root, str(PURE_ROOM)):
        if path.name.startswith("simulate"):
            continue
        for node in ast.walk(parse(path)):
            literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
            division = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
            name = isinstance(node, ast.Name) and node.id == "float"
            if literal or division or name:
                found.append(f"{path.relative_to(root)}:{node.lineno}")
    return found


def long_files(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}: {count} lines"
        for suffix in SOURCE_SUFFIXES
        for path in sources(root, *PACKAGES, "tests", "examples", "benchmarks", suffix=suffix)
        if (count := path.read_text(encoding="utf-8").count("\n")) > MAX_FILE_LINES
    ]


def long_functions(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{node.lineno} {node.name}: {length} lines"
        for path in sources(root, *PACKAGES, "tests", "examples", "benchmarks")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]


def undocumented(root: Path) -> list[str]:
    """Public modules, classes and functions of the product without a docstring."""
    found = []
    for path in sources(root, *PACKAGES):
        tree = parse(path)
        if tree.body and ast.get_docstring(tree) is None:
            found.append(f"{path.relative_to(root)}: module")
        for node in public_definitions(tree):
            if ast.get_docstring(node) is None:
                found.append(f"{path.relative_to(root)}:{node.lineno} {node.name}")
    return found


def public_definitions(scope: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Functions, classes and methods that can be reached from outside; what stands inside a function cannot."""
    for node in scope.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def broad_excepts(root: Path) -> list[str]:
    found = []
    for path in sources(root, *PACKAGES):
        for node in ast.walk(parse(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = ast.unparse(node.type) if node.type else "everything"
            if caught in {"everything", "Exception", "BaseException"}:
                found.append(f"{path.relative_to(root)}:{node.lineno} catches {caught}")
    return found


def non_literal_constants(root: Path) -> list[str]:
    """Lines of contracts/constants.vy that are not `NAME: constant(type) = literal`."""
    found = []
    for node in parse(root / "contracts" / "constants.vy").body:
        is_constant = (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.annotation, ast.Call)
            and ast.unparse(node.annotation.func) == "constant"
            and isinstance(node.value, ast.Constant)
        )
        if not is_constant:
            found.append(f"contracts/constants.vy:{node.lineno} {ast.unparse(node)}")
    return found


def unlogged_contract_functions(root: Path) -> list[str]:
    """External contract functions without NatSpec."""
    pattern = re.compile(r"@external\n(?:@\w+(?:\([^\n]*\))?\n)*def (\w+)\([^)]*\)[^:]*:\n(?!\s+\"\"\")")
    return [
        f"{path.relative_to(root)} {match.group(1)}"
        for path in sources(root, "contracts", suffix=".vy")
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(
    "rule",
    [
        wrong_way_imports, impure_imports, floats_in_consensus, long_files, long_functions, undocumented,
        non_literal_constants, unlogged_contract_functions,
    ],
    ids=lambda rule: rule.__name__,
)  # fmt: skip
def test_tree__as_it_stands__keeps_rule(rule):
    findings = rule(ROOT)
    assert not findings, "\n".join(findings)


def test_broad_except__whole_tree__only_in_the_one_supervisor():
    findings = broad_excepts(ROOT)
    assert [f for f in findings if not f.startswith(str(EXCEPT_SUPERVISOR))] == []
    assert len(findings) <= 1, "oracle/node.py has one supervisor, not several"


def test_file_names__whole_tree__say_something():
    stems = [(p, p.stem) for p in sources(ROOT, *PACKAGES, "tests", "benchmarks", "examples")]
    assert [str(p) for p, stem in stems if stem in EMPTY_NAMES] == []


@pytest.fixture
def broken_tree(tmp_path: Path) -> Path:
    """A tree that breaks every rule once."""
    for package in (*PACKAGES, "oracle/consensus"):
        (tmp_path / package).mkdir(parents=True, exist_ok=True)
    (tmp_path / "feeds" / "a.py").write_text("import oracle.node\n")
    body = "import socket\n\ndef f():\n    try:\n        return 1 / 2\n    except Exception:\n        return 0.5\n"
    (tmp_path / "oracle" / "consensus" / "b.py").write_text(body)
    (tmp_path / "models" / "long.py").write_text("def g():\n" + "    x = 1\n" * 401)
    (tmp_path / "contracts" / "constants.vy").write_text("A: constant(uint256) = 2 ** 8\n")
    (tmp_path / "contracts" / "C.vy").write_text("@external\ndef f(a: uint256) -> uint256:\n    return a\n")
    return tmp_path


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        (wrong_way_imports, 1), (impure_imports, 1), (floats_in_consensus, 2), (long_files, 1), (long_functions, 1),
        (undocumented, 5), (broad_excepts, 1), (non_literal_constants, 1), (unlogged_contract_functions, 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_rule__tree_that_breaks_it__finds_each(broken_tree, rule, count):
    assert len(rule(broken_tree)) == count
