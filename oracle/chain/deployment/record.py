"""`deployments/<chain id>.json`: what a deployment has done so far, true after a kill at any moment.

Why this file exists: a deployment is many transactions over minutes, and half of one is worse than none. Each signed
transaction is written down before it is sent and each confirmed step as soon as it is confirmed, by replacing the whole
file; so a second run knows what can have happened and never sends a step twice. Never in it: a key, a network.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

from contracts.artifacts import EVM_VERSION, artifact
from oracle.chain.deployment.plan import DeployPlan, parse_plan
from oracle.chain.deployment.steps import Deployment, Start, Step
from oracle.errors import ConfigError
from oracle.settings import read_bounded

FORMAT = 1
MAX_BYTES = 20_000_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction of a step: its hash, its bytes, its fees (wei per gas)."""

    tx: str
    raw: str
    max_fee: int
    tip: int


@dataclass(slots=True)
class Record:
    """The file's content. `done`: confirmed steps in order; `attempts`: what was signed for the step after them."""

    path: Path
    start: Start
    genesis: str
    plan_text: str
    plan_hash: str
    sources: dict[str, str]
    done: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    complete: bool = False

    @property
    def addresses(self) -> dict[str, str]:
        """Every address that confirmed steps have made, by name."""
        return {step["name"]: step["address"] for step in self.done if step["address"] is not None}

    def plan(self) -> DeployPlan:
        """The plan that this deployment follows. Raises ConfigError."""
        return parse_plan(self.path, self.plan_text)

    def sign(self, attempt: Attempt) -> None:
        """Write down a signed transaction of the next step, before it is sent."""
        self.attempts.append(attempt)
        self.save()

    def confirm(self, step: Step, nonce: int, receipt: Mapping[str, Any], code: bytes | None) -> None:
        """Write down that the next step is confirmed. `code`: what lies at the address that it created."""
        self.done.append({
            "name": step.name, "contract": step.contract, "function": step.function,
            "arguments": plain(step.arguments), "nonce": nonce, "to": step.to, "address": step.creates,
            "tx": receipt["transactionHash"].to_0x_hex(), "block": receipt["blockNumber"],
            "gas_used": receipt["gasUsed"], "code_hash": None if code is None else "0x" + keccak(code).hex(),
        })  # fmt: skip
        self.attempts.clear()
        self.save()

    def finish(self) -> None:
        """Write down that every step is confirmed and everything read back is as planned."""
        self.complete = True
        self.save()

    def save(self) -> None:
        """Replace the file; after a power cut there is the old one or the new one."""
        start, addresses = self.start, self.addresses
        values = {
            "format": FORMAT, "chain_id": start.chain_id, "genesis": self.genesis, "complete": self.complete,
            "aggregator": addresses.get("Aggregator"), "staking": addresses.get("Staking"), "addresses": addresses,
            "deployer": start.deployer, "first_nonce": start.first_nonce, "anchor_time": start.anchor_time,
            "plan_hash": self.plan_hash, "plan": self.plan_text,
            "compiler": {"vyper": version("vyper"), "snekmate": version("snekmate"), "evm_version": EVM_VERSION},
            "creation_code_hashes": self.sources, "steps": self.done,
            "unconfirmed": [
                {"tx": a.tx, "raw": a.raw, "max_fee": a.max_fee, "tip": a.tip} for a in self.attempts
            ],
        }  # fmt: skip
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(values, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def begin(path: Path, deployment: Deployment, genesis: str, plan_text: str) -> Record:
    """The record of a deployment of which nothing is sent yet; not written to disk."""
    plan_hash = deployment.plan.hash
    return Record(path, deployment.start, genesis, plan_text, plan_hash, creation_code_hashes(deployment))


def creation_code_hashes(deployment: Deployment) -> dict[str, str]:
    """Keccak of the creation code of each contract that a deployment uses, arguments left out."""
    names = {step.contract for step in deployment.steps}
    return {name: "0x" + keccak(artifact(name).bytecode).hex() for name in sorted(names)}


def load(path: Path) -> Record | None:
    """The record on disk, None where there is none. Raises ConfigError for a file that is damaged."""
    mend = "move it away to deploy anew, or bring back the file that `dodona deploy` wrote"
    try:
        values = json.loads(read_bounded(path, MAX_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the deployment ({error.strerror}); {mend}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: damaged; {mend}") from error
    try:
        if values["format"] != FORMAT:
            raise ConfigError(f"{path}: format {values['format']!r}, this version reads {FORMAT}; {mend}")
        start = Start(values["chain_id"], values["deployer"], values["first_nonce"], values["anchor_time"])
        attempts = [Attempt(a["tx"], a["raw"], a["max_fee"], a["tip"]) for a in values["unconfirmed"]]
        steps = [dict(step) for step in values["steps"]]
        for step in steps:
            missing = {"name", "tx", "block", "address", "gas_used"} - step.keys()
            if missing:
                raise KeyError(*missing)
        record = Record(
            path, start, values["genesis"], values["plan"], values["plan_hash"], dict(values["creation_code_hashes"]),
            steps, attempts, values["complete"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: damaged ({type(error).__name__}: {error}); {mend}") from error
    return record


def plain(value: Any) -> Any:
    """A contract's arguments as JSON holds them: bytes in hex, integers beyond 2^53 as text."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if abs(value) < 2**53 else str(value)
    return value
