"""Bring plan, record and chain together before anything is sent, and refuse where they disagree.

Why this file exists: a half-done deployment may only be continued by the same plan, the same code, the same account, on
the same chain; each difference has its own answer here. Never in it: a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eth_utils.address import to_checksum_address
from web3 import Web3

from oracle.chain.deployment.plan import differences, parse_plan, read_plan
from oracle.chain.deployment.record import Record, begin, creation_code_hashes, load
from oracle.chain.deployment.rehearsal import Rehearsal, rehearse
from oracle.chain.deployment.runner import asking
from oracle.chain.deployment.steps import Deployment, Start, build
from oracle.chain.deployment.verify import check_surroundings, existing_code
from oracle.errors import ConfigError
from oracle.locks import Held, hold


class PlanChanged(ConfigError):
    """The plan is not the one that a half-done deployment follows."""


class SourcesChanged(ConfigError):
    """The contracts compile to other code than when the deployment began."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a run works with."""

    deployment: Deployment
    rehearsal: Rehearsal
    record: Record


def open_session(w3: Web3, deployer: str, plan_path: Path, folder: Path) -> Session:
    """Start a deployment, or take up the one on disk. Writes nothing. Raises ConfigError or ChainFault."""
    text = read_plan(plan_path)
    plan = parse_plan(plan_path, text)
    chain_id, genesis = _chain(w3)
    record = load(record_path(folder, chain_id))
    if record is None:
        check_surroundings(w3, plan)
        deployment = build(plan, _start(w3, chain_id, to_checksum_address(deployer)))
        record = begin(record_path(folder, chain_id), deployment, genesis, text)
    else:
        _check_chain(record, genesis)
        changed = differences(record.plan().stated(), plan.stated())
        if changed:
            what = f"is not the plan of {record.path}: {'; '.join(changed[:8])}"
            mend = "put these back, or move that file away to deploy anew"
            raise PlanChanged(f"{plan_path}: {what}; {mend}", given=changed)
        if record.start.deployer != to_checksum_address(deployer):
            begun = f"{record.path} was begun by {record.start.deployer}, not by {deployer}"
            raise ConfigError(f"--account: {begun}; name that account", given=deployer, limit=record.start.deployer)
        deployment = build(plan, record.start)
        _check_sources(record, deployment)
    return Session(deployment, rehearse(deployment, existing_code(w3, plan)), record)


def reopen_session(w3: Web3, folder: Path) -> Session:
    """The complete deployment on disk, to be verified. Raises ConfigError or ChainFault."""
    chain_id, genesis = _chain(w3)
    path = record_path(folder, chain_id)
    record = load(path)
    if record is None:
        raise ConfigError(f"{path}: there is no deployment for this chain; `dodona deploy --plan` makes one")
    _check_chain(record, genesis)
    deployment = build(record.plan(), record.start)
    _check_sources(record, deployment)
    if len(record.done) != len(deployment.steps):
        done = f"{len(record.done)} of {len(deployment.steps)} steps are done"
        raise ConfigError(f"{path}: {done}; finish it first with `dodona deploy --plan`")
    return Session(deployment, rehearse(deployment, existing_code(w3, deployment.plan)), record)


def record_path(folder: Path, chain_id: int) -> Path:
    """Where the deployment on a chain is written down."""
    return folder / f"{chain_id}.json"


@contextmanager
def hold_record(w3: Web3, folder: Path) -> Iterator[None]:
    """One run at a time on a chain's record. Raises ConfigError while another one works."""
    chain_id, _ = _chain(w3)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{chain_id}.lock"
    try:
        lock = hold(path)
    except Held as held:
        raise ConfigError(f"{path}: process {held.holder} is deploying; wait until it ends") from held
    with lock:
        yield


def has_code(w3: Web3, address: str) -> bool:
    """Whether there is a contract at an address."""
    with asking(f"code at {address}"):
        return bool(w3.eth.get_code(to_checksum_address(address)))


def _chain(w3: Web3) -> tuple[int, str]:
    """Chain id, and the hash of the first block, which tells two chains of one id apart."""
    with asking("chain id"):
        block = w3.eth.get_block(0)
        return w3.eth.chain_id, block["hash"].to_0x_hex()


def _start(w3: Web3, chain_id: int, deployer: str) -> Start:
    with asking("state of the deployer"):
        sender = to_checksum_address(deployer)
        nonce = w3.eth.get_transaction_count(sender, "latest")
        pending = w3.eth.get_transaction_count(sender, "pending")
        newest = w3.eth.get_block("latest")["timestamp"]
    if pending != nonce:
        why = f"{deployer} has {pending - nonce} transactions that are not mined yet"
        raise ConfigError(f"--account: {why}; wait for them", given=pending, limit=nonce)
    return Start(chain_id, deployer, nonce, newest)


def _check_chain(record: Record, genesis: str) -> None:
    if record.genesis != genesis:
        why = f"its first block is {record.genesis}, this one's is {genesis}"
        message = f"{record.path}: is of another chain with this id ({why}); move it away"
        raise ConfigError(message, given=genesis, limit=record.genesis)


def _check_sources(record: Record, deployment: Deployment) -> None:
    now = creation_code_hashes(deployment)
    changed = sorted(name for name in now.keys() | record.sources.keys() if now.get(name) != record.sources.get(name))
    if changed:
        why = f"these compile to other code than when it was begun: {', '.join(changed)}"
        raise SourcesChanged(f"{record.path}: {why}; use the version of Dodona that began it", given=changed)
