"""The whole deployment on an embedded chain: same chain id, same account, same nonces, so the same addresses and code.

Why this file exists: what would revert is found before anything is paid for, gas is measured instead of guessed, and
afterwards the code that the real chain holds can be compared byte by byte, immutables included, with what the sources
give. Never in it: a key, a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_tester.backends.pyevm.main import get_default_genesis_params, setup_tester_chain

from oracle.chain.deployment.steps import Deployment, Step
from oracle.errors import ConfigError
from oracle.ledger import revert_reason
from oracle.recursion import restore_limit

restore_limit()
GAS_LIMIT = 16_777_216
"""Most gas of one transaction (https://eips.ethereum.org/EIPS/eip-7825)."""


class RehearsalFailed(ConfigError):
    """A step of the plan reverts on the embedded chain; on a real one it would too."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a deployment uses and leaves: gas of each step, and the code at each address that it creates."""

    gas: tuple[int, ...]
    code: Mapping[str, bytes]

    @property
    def total_gas(self) -> int:
        """Gas of all steps."""
        return sum(self.gas)


def rehearse(deployment: Deployment, existing: Mapping[str, bytes]) -> Rehearsal:
    """Run every step. `existing`: code of contracts that the plan names and does not deploy, by address.

    Raises RehearsalFailed with the contract's reason.
    """
    start = deployment.start
    deployer = bytes.fromhex(start.deployer[2:])
    world: dict[bytes, dict[str, Any]] = {
        bytes.fromhex(address[2:]): {"balance": 0, "nonce": 1, "code": code, "storage": {}}
        for address, code in existing.items()
    }
    world[deployer] = {"balance": 10**30, "nonce": start.first_nonce, "code": b"", "storage": {}}
    params = get_default_genesis_params({"timestamp": start.anchor_time, "gas_limit": 2 * GAS_LIMIT})
    _keys, chain = setup_tester_chain(genesis_params=params, genesis_state=world)
    type(chain).chain_id = start.chain_id
    header = chain.create_header_from_parent(chain.get_canonical_head(), timestamp=start.anchor_time + 1)
    state = chain.get_vm(header.copy(base_fee_per_gas=0)).state
    gas = tuple(_run(state, deployment, step, deployer) for step in deployment.steps)
    code: dict[str, bytes] = {}
    for step in deployment.steps:
        if step.creates is not None:
            code[step.creates] = bytes(state.get_code(bytes.fromhex(step.creates[2:])))
            if not code[step.creates]:
                raise RehearsalFailed(f"{step.name}: leaves no code at {step.creates}: the address formula is wrong")
    return Rehearsal(gas, code)


def _run(state: Any, deployment: Deployment, step: Step, sender: bytes) -> int:
    builder: Any = PragueVM.get_transaction_builder()
    unsigned = builder.new_unsigned_dynamic_fee_transaction(
        chain_id=deployment.start.chain_id, nonce=deployment.nonce(step), max_priority_fee_per_gas=0,
        max_fee_per_gas=0, gas=GAS_LIMIT, to=b"" if step.to is None else bytes.fromhex(step.to[2:]), value=0,
        data=step.data, access_list=(),
    )  # fmt: skip
    state.lock_changes()
    computation = state.apply_transaction(SpoofTransaction(unsigned, from_=sender))
    if computation.is_error:
        reason = revert_reason(bytes(computation.output)) or type(computation.error).__name__
        raise RehearsalFailed(f"{step.name}: {step.contract} would refuse it: {reason}; mend the plan", given=step.name)
    used = GAS_LIMIT - int(computation.get_gas_remaining())
    used -= min(used // 5, int(computation.get_gas_refund()))
    return max(used, int(computation.data_floor_gas))
