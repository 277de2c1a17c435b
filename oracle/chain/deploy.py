"""Put Dodona's contracts on a chain: the same code for tests, devnet and demo.

Plain synchronous web3 with an account that the RPC or a signing middleware can send from. Every transaction is waited
for and checked. Nothing here knows how the chain runs; the order of the steps is in `deploy_core`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from eth_typing import ChecksumAddress
from web3 import Web3
from web3.contract import Contract

from contracts.artifacts import artifact
from oracle.consensus.network import FeedSpec
from oracle.errors import ChainFault

WEEK = 7 * 86_400
GAS_LIMIT = 16_000_000
"""Gas given to each transaction: estimating would double the work, and unused gas costs nothing."""


class TransactionReverted(ChainFault):
    """A transaction of the deployment was mined and reverted."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Operating numbers of a config, in the field order of the Vyper struct.

    Seconds: `slot_seconds`, `max_report_age`, `confirmation` (depth after which a block is taken as final).
    Milliseconds: `grace_ms`, `stage_ms`. The chain refuses values outside its ranges.
    """

    slot_seconds: int
    max_report_age: int
    grace_ms: int
    stage_ms: int
    confirmation: int
    min_validators: int


@dataclass(frozen=True, slots=True)
class Core:
    """The deployed core: web3 contract handles and the account that owns them."""

    token: Contract
    staking: Contract
    configurator: Contract
    aggregator: Contract
    slashing: Contract
    owner: ChecksumAddress


def contract_at(w3: Web3, name: str, address: str) -> Contract:
    """Return a handle of the deployed contract `name` (one of `contract_names()`) at `address`."""
    return w3.eth.contract(address=Web3.to_checksum_address(address), abi=artifact(name).abi)


def send(w3: Web3, call: Any, sender: str, gas: int = GAS_LIMIT) -> Any:
    """Send a bound call or constructor from `sender`, wait for it, return its receipt.

    Raises TransactionReverted if it is mined and reverts; a node that refuses it outright raises web3's error with
    the contract's reason.
    """
    receipt = w3.eth.wait_for_transaction_receipt(call.transact({"from": sender, "gas": gas}))
    if receipt["status"] != 1:
        raise TransactionReverted(f"transaction {receipt['transactionHash'].to_0x_hex()} reverted on chain")
    return receipt


def deploy(w3: Web3, sender: str, name: str, *arguments: Any) -> Contract:
    """Deploy the contract `name` with constructor `arguments` and return its handle."""
    built = artifact(name)
    factory = w3.eth.contract(abi=built.abi, bytecode=built.bytecode)
    receipt = send(w3, factory.constructor(*arguments), sender)
    return contract_at(w3, name, receipt["contractAddress"])


def deploy_core(
    w3: Web3,
    sender: str,
    timing: Timing,
    *,
    supply: int,
    min_self_bond: int,
    epoch_seconds: int = 0,
    evidence_seconds: int = WEEK,
    vote_seconds: int = WEEK,
    anchor_time: int | None = None,
) -> Core:
    """Deploy the core and tie it together; `sender` holds the supply and owns all roles.

    `supply` and `min_self_bond` in the token's smallest unit. `evidence_seconds`: how long a double signature can be
    proved; `vote_seconds`: the longest vote that staked tokens have to outlast. `anchor_time`: second at which slot 0
    starts (None: the newest block's). No feed is listed and no config rolled yet.
    """
    start = w3.eth.get_block("latest")["timestamp"] if anchor_time is None else anchor_time
    token = deploy(w3, sender, "OracleToken", supply)
    rules = (min_self_bond, epoch_seconds, evidence_seconds, vote_seconds)
    staking = deploy(w3, sender, "Staking", token.address, rules)
    configurator = deploy(w3, sender, "Configurator", staking.address, astuple(timing), start)
    aggregator = deploy(w3, sender, "Aggregator", configurator.address)
    slashing = deploy(w3, sender, "Slashing", staking.address)
    send(w3, configurator.functions.setAggregator(aggregator.address), sender)
    send(w3, staking.functions.setNetwork(aggregator.address, slashing.address), sender)
    return Core(token, staking, configurator, aggregator, slashing, Web3.to_checksum_address(sender))


def list_feeds(w3: Web3, core: Core, specs: Sequence[FeedSpec]) -> None:
    """List feeds (or their changed specs) for the next config, as the owner."""
    for spec in specs:
        send(w3, core.configurator.functions.listFeed(astuple(spec)), core.owner)


def register_validator(
    w3: Web3, core: Core, owner: str, key: str, endpoint: str, stake: int, sign: Callable[[bytes], bytes]
) -> None:
    """Bond `stake` of `owner`'s tokens and register hot key `key`, reached at `endpoint`.

    `sign` maps a 32-byte digest to the hot key's 64-byte EIP-2098 signature: the proof of possession.
    """
    send(w3, core.token.functions.approve(core.staking.address, stake), owner)
    digest = core.staking.functions.registrationDigest(owner, key).call()
    send(w3, core.staking.functions.register(key, endpoint, stake, sign(digest)), owner)


def roll_epoch(w3: Web3, core: Core, sender: str) -> int:
    """Roll the epoch, which anyone may do, and return the first slot of the new config."""
    send(w3, core.staking.functions.rollEpoch(), sender)
    count = core.configurator.functions.configCount().call()
    return int(core.configurator.functions.configOf(count).call()[7])


def deploy_feed(w3: Web3, sender: str, aggregator: Contract, number: int) -> Contract:
    """Deploy the Chainlink-shaped face of a listed feed."""
    return deploy(w3, sender, "Feed", aggregator.address, number)
