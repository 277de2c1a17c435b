"""Send what a deployment still lacks, one step after the other, and write down each.

Why this file exists: a step is signed for one nonce only, and its signed bytes are on disk before they are sent.
Whoever comes back after a kill, a time-out or a lost connection asks the chain for exactly that transaction, sends the
same bytes again, or replaces it under the same nonce; a second copy of a step cannot exist. Never in it: which steps
there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from requests import RequestException
from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3Exception
from web3.types import RPCEndpoint

from oracle.chain.deployment.record import Attempt, Record
from oracle.chain.deployment.rehearsal import Rehearsal
from oracle.chain.deployment.steps import Deployment, Step
from oracle.chain.transactions import (
    ALREADY_THERE,
    GAS_MARGIN_PERCENT,
    GWEI,
    TOO_LOW,
    FeeAboveCap,
    InsufficientFunds,
    NotMined,
    bumped,
)
from oracle.errors import ChainFault, Reverted, Unreachable


class Signer(Protocol):
    """The deployer's account."""

    address: str

    def sign(self, fields: Mapping[str, Any]) -> bytes:
        """The signed bytes of an EIP-1559 transaction with these fields (web3's names)."""


class NonceSpent(ChainFault):
    """The nonce of a step was used for another transaction, so the planned addresses cannot come about."""


class ForgottenStep(ChainFault):
    """The chain does not know what the record says was confirmed: a deep reorg, or another chain."""


class WrongCode(ChainFault):
    """A step is mined and does not leave the code that the rehearsal left."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait: blocks on top of a step, seconds until giving up, seconds between looks; fee cap in wei."""

    confirmations: int = 0
    give_up_s: float = 300.0
    poll_s: float = 0.25
    max_fee: int = 200 * GWEI


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn what web3 raises into one ChainFault that says what was being done."""
    try:
        yield
    except ContractLogicError as error:
        raise Reverted(f"{what}: {error.message or error}", given=str(error.message)) from error
    except RequestException as error:
        raise Unreachable(f"{what}: the RPC did not answer ({type(error).__name__}); run it again") from error
    except (Web3Exception, ValueError, TypeError, KeyError) as error:
        raise ChainFault(f"{what}: {type(error).__name__}: {str(error)[:300]}") from error


class Runner:
    """One run of one deployment. `say` gets a line for each thing that happens."""

    def __init__(
        self, w3: Web3, signer: Signer, deployment: Deployment, rehearsal: Rehearsal, record: Record,
        say: Callable[[str], None], pace: Pace,
    ) -> None:  # fmt: skip
        self._w3, self._signer, self._deployment, self._rehearsal = w3, signer, deployment, rehearsal
        self._record, self._say, self._pace = record, say, pace
        self._deployer: ChecksumAddress = to_checksum_address(deployment.start.deployer)

    def run(self) -> None:
        """Send and confirm every missing step. Raises ChainFault with the step's name; running again goes on there."""
        steps, done = self._deployment.steps, len(self._record.done)
        self._check_known()
        self._check_funds(sum(self._rehearsal.gas[done:]))
        if done:
            self._say(f"{done} of {len(steps)} steps were confirmed before")
        for step in steps[done:]:
            receipt = self._settle(step)
            self._say(f"{step.index + 1}/{len(steps)} {step.name}: {receipt['transactionHash'].to_0x_hex()}")

    # Before the first step

    def _check_known(self) -> None:
        done = self._record.done
        if not done:
            return
        with asking(f"{done[-1]['name']}: looking for it"):
            receipt = self._receipt(done[-1]["tx"])
        if receipt is None or receipt["status"] != 1:
            known = f"{done[-1]['tx']}, confirmed by {self._record.path}"
            mend = "wait for the RPC to catch up, or move the file away to deploy anew"
            raise ForgottenStep(f"{done[-1]['name']}: this chain does not know {known}; {mend}")

    def _check_funds(self, gas: int) -> None:
        max_fee, tip = self._fees()
        with asking("funds of the deployer"):
            balance = self._w3.eth.get_balance(self._deployer)
        cost = gas * (max_fee - tip) // 2 + gas * tip
        if balance < cost:
            need = f"holds {balance} wei, the missing steps cost about {cost} wei"
            raise InsufficientFunds(f"{self._deployer}: {need}; send it more", given=balance, limit=cost)

    # One step

    def _settle(self, step: Step) -> Mapping[str, Any]:
        """Bring one step on chain exactly once, whatever became of it before."""
        nonce = self._deployment.nonce(step)
        receipt = self._mined(step)
        if receipt is None and self._count(step) > nonce:
            receipt = self._adopt(step, nonce)
        if receipt is None:
            self._launch(step, nonce)
            receipt = self._await(step)
        if receipt["status"] != 1:
            tx = receipt["transactionHash"].to_0x_hex()
            why = f"{tx} reverted on chain and took nonce {nonce}, on which all later addresses rest"
            raise Reverted(f"{step.name}: {why}; move {self._record.path} away to deploy anew", given=tx)
        self._record.confirm(step, nonce, receipt, self._left(step))
        return receipt

    def _count(self, step: Step) -> int:
        with asking(f"{step.name}: nonce of {self._deployer}"):
            count = int(self._w3.eth.get_transaction_count(self._deployer, "latest"))
        nonce = self._deployment.nonce(step)
        if count < nonce:
            why = f"it needs nonce {nonce}, {self._deployer} is at {count} on chain"
            raise ForgottenStep(f"{step.name}: {why}; wait for the RPC to catch up", given=count, limit=nonce)
        return count

    def _launch(self, step: Step, nonce: int) -> None:
        """Send the signed bytes that are on disk once more, or sign new ones where there are none or the fees rose."""
        max_fee, tip = self._fees()
        ours = [attempt for attempt in self._record.attempts if attempt.raw]
        last = ours[-1] if ours else None
        if last is None or max_fee >= bumped(last.max_fee):
            if last is not None:
                tip = max(tip, bumped(last.tip))
                max_fee = max(max_fee, tip)
            self._record.sign(self._signed(step, nonce, max_fee, tip))
        for attempt in self._record.attempts[-1:]:
            self._send(step, attempt)

    def _signed(self, step: Step, nonce: int, max_fee: int, tip: int) -> Attempt:
        message: dict[str, Any] = {"from": self._deployer, "data": "0x" + step.data.hex(), "value": 0}
        if step.to is not None:
            message["to"] = step.to
        with asking(f"{step.name}: gas estimate"):
            gas = self._w3.eth.estimate_gas(message)  # type: ignore[arg-type]
        fields: dict[str, Any] = {
            "type": 2, "chainId": self._deployment.start.chain_id, "nonce": nonce, "to": step.to, "value": 0,
            "data": step.data, "gas": gas + gas * GAS_MARGIN_PERCENT // 100, "maxFeePerGas": max_fee,
            "maxPriorityFeePerGas": tip,
        }  # fmt: skip
        raw = self._signer.sign(fields)
        return Attempt("0x" + keccak(raw).hex(), "0x" + raw.hex(), max_fee, tip)

    def _send(self, step: Step, attempt: Attempt) -> None:
        with asking(f"{step.name}: sending it"):
            answer = self._w3.provider.make_request(RPCEndpoint("eth_sendRawTransaction"), [attempt.raw])
        if "error" not in answer:
            return
        error = answer["error"]
        text = str(error.get("message") if isinstance(error, dict) else error)
        # Known or mined already: what we want. Waiting for its receipt tells the two from a nonce that another spent.
        if not any(words in text.lower() for words in (*ALREADY_THERE, *TOO_LOW)):
            raise ChainFault(f"{step.name}: the RPC refused it: {text[:300]}; mend that and run this again", given=text)

    def _await(self, step: Step) -> Mapping[str, Any]:
        deadline = time.monotonic() + self._pace.give_up_s
        while (receipt := self._mined(step)) is None:
            if time.monotonic() > deadline:
                late = f"{self._record.attempts[-1].tx} is not confirmed after {self._pace.give_up_s:g} s"
                raise NotMined(f"{step.name}: {late}; run this again: it goes on here, and raises the fee if need be")
            time.sleep(self._pace.poll_s)
        return receipt

    def _mined(self, step: Step) -> Mapping[str, Any] | None:
        """Receipt of the attempt that was mined, once enough blocks lie on top."""
        for attempt in self._record.attempts:
            with asking(f"{step.name}: receipt"):
                receipt = self._receipt(attempt.tx)
                if receipt is None:
                    continue
                if self._w3.eth.block_number - receipt["blockNumber"] >= self._pace.confirmations:
                    return receipt
        return None

    def _receipt(self, tx: str) -> Mapping[str, Any] | None:
        try:
            return self._w3.eth.get_transaction_receipt(tx)  # type: ignore[arg-type]
        except TransactionNotFound:
            return None

    def _left(self, step: Step) -> bytes | None:
        """The code that a step has left, which must be what the rehearsal left."""
        if step.creates is None:
            return None
        with asking(f"{step.name}: its code"):
            code = bytes(self._w3.eth.get_code(to_checksum_address(step.creates)))
        if code != self._rehearsal.code[step.creates]:
            why = f"the code at {step.creates} is not what these sources give"
            raise WrongCode(f"{step.name}: {why}; do not use it; move {self._record.path} away to deploy anew")
        return code

    def _adopt(self, step: Step, nonce: int) -> Mapping[str, Any] | None:
        """The mined transaction of a nonce that is spent and not by bytes of ours on disk: ours if it does the same.

        None: an attempt of ours is mined after all and waits for its confirmations.
        """
        if any(self._receipt(attempt.tx) is not None for attempt in self._record.attempts):
            return self._await(step)
        with asking(f"{step.name}: looking for nonce {nonce} of {self._deployer} (an RPC with old state is needed)"):
            block = self._block_of(nonce)
            full = self._w3.eth.get_block(block, full_transactions=True)
            sent: list[Any] = [
                tx
                for tx in full["transactions"]
                if isinstance(tx, Mapping) and tx["from"] == self._deployer and tx["nonce"] == nonce
            ]
        for tx in sent:
            if bytes(tx["input"]) == step.data and tx.get("to") == step.to:
                self._record.sign(Attempt(tx["hash"].to_0x_hex(), "", 0, 0))
                return self._await(step)
        tx_hash = sent[0]["hash"].to_0x_hex() if sent else "an unknown transaction"
        why = f"nonce {nonce} of {self._deployer} went to {tx_hash}, which is another transaction"
        mend = f"move {self._record.path} away to deploy anew, from an account that does nothing else"
        raise NonceSpent(f"{step.name}: {why}; {mend}", given=tx_hash)

    def _block_of(self, nonce: int) -> int:
        """The block that holds the deployer's transaction of this nonce: where the account's count passes it."""
        low = self._record.done[-1]["block"] if self._record.done else 0
        high = int(self._w3.eth.block_number)
        while low < high:
            middle = (low + high) // 2
            if self._w3.eth.get_transaction_count(self._deployer, middle) > nonce:
                high = middle
            else:
                low = middle + 1
        return int(low)

    def _fees(self) -> tuple[int, int]:
        """(max fee, tip) in wei per gas: twice the base fee plus the tip. Raises FeeAboveCap."""
        max_fee, tip = suggested_fees(self._w3)
        cap = self._pace.max_fee
        if (max_fee + tip) // 2 > cap:
            price = (max_fee + tip) // 2
            why = f"gas costs {price} wei now, --max-fee-gwei allows {cap} wei"
            raise FeeAboveCap(f"{why}; wait or raise it", given=price, limit=cap)
        return min(max_fee, cap), min(tip, cap)


def suggested_fees(w3: Web3) -> tuple[int, int]:
    """What the chain asks now: (twice the base fee plus the tip, the tip), wei per gas."""
    with asking("fees"):
        base = int(w3.eth.get_block("latest").get("baseFeePerGas", 0))
        tip = int(w3.eth.max_priority_fee)
    return 2 * base + tip, tip
