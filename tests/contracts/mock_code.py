"""Compile a contract of `tests/contracts/mocks/`, which may import interfaces and modules of the product."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from contracts import SOURCES
from contracts.artifacts import EVM_VERSION
from oracle.chain.deploy import send

MOCKS = Path(__file__).parent / "mocks"


@cache
def mock_code(name: str) -> dict[str, Any]:
    """ABI, creation code and storage layout; imports start at the contracts folder, as `from core import merkle`."""
    from vyper.compiler import compile_code
    from vyper.compiler.input_bundle import FilesystemInputBundle
    from vyper.compiler.settings import Settings

    return compile_code(
        (MOCKS / f"{name}.vy").read_text(encoding="utf-8"), output_formats=["abi", "bytecode", "layout"],
        input_bundle=FilesystemInputBundle([SOURCES]), settings=Settings(evm_version=EVM_VERSION),
    )  # fmt: skip


def deploy_mock(w3: Any, sender: str, name: str, *arguments: Any) -> Any:
    """Deploy a mock and return its handle."""
    code = mock_code(name)
    made = w3.eth.contract(abi=code["abi"], bytecode=code["bytecode"])
    return made(send(w3, made.constructor(*arguments), sender)["contractAddress"])
