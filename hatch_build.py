"""Build hook: the wheel carries the ABI of each contract and interface as `contracts/abi/NAME.json`.

The files are compiled when the wheel is built and never lie in the source tree, where `ape compile` would take them
for contract types. An editable install needs none: `contracts.abis` compiles from the sources that it finds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AbiHook(BuildHookInterface):  # type: ignore[misc]
    """Compile every ABI into a folder of its own and have hatchling place the files in the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files; `version` is "standard" or "editable"."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from contracts.abis import abi_text, interface_names
        from contracts.artifacts import contract_names

        self._made = tempfile.TemporaryDirectory()
        for name in (*contract_names(), *interface_names()):
            file = Path(self._made.name) / f"{name}.json"
            file.write_text(abi_text(name), encoding="utf-8")
            build_data["force_include"][str(file)] = f"contracts/abi/{name}.json"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatchling once the wheel is written."""
        if version != "editable":
            self._made.cleanup()
