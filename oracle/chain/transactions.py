"""One account's transactions: fees, nonces, replacement, reorgs, funds.

Why this file exists: stuck nonces and silent failures are the commonest complaint of oracle operators (design page 6).
`Transactions.send` either returns the receipt of exactly one landed transaction, or None because the call would
change nothing, or raises one ChainFault that names the mend. Never in here: what is sent and whether it is still
worth sending (`adapter.py`).

How: the nonce is the account's mined count, so a transaction that got stuck is replaced by the next one and never
blocks it. A replacement raises both fees by at least 12.5 % (geth asks for 10 %, others for 12.5 %) and never goes over
the operator's cap. Every signed transaction is in the journal before it is sent. Fees: EIP-1559, twice the base fee
plus the tip, so that six full blocks in a row do not strand it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes

from oracle.chain.rpc import Rpc, RpcRefused
from oracle.errors import ChainFault, Reverted
from oracle.journal import PendingTransaction
from oracle.keys import HotKey

GWEI = 10**9
GAS_MARGIN_PERCENT = 20
MAX_ROUNDS = 8
ALREADY_THERE = ("already known", "known transaction", "already imported", "already exists")
TOO_LOW = ("nonce too low", "nonce is too low", "invalid nonce", "old nonce")
UNDERPRICED = ("replacement transaction underpriced", "underpriced", "fee too low to replace", "gas price too low")
BELOW_BASE = ("less than block base fee", "lower than block", "fee cap less than block", "max fee per gas less")
NO_FUNDS = ("insufficient funds", "insufficient balance")


class InsufficientFunds(ChainFault):
    """The transmitting account cannot pay for gas."""


class FeeAboveCap(ChainFault):
    """The chain asks for more per gas than the operator allows."""


class NotMined(ChainFault):
    """Sent, replaced, sent again, and not in a block in time. The next send takes over its nonce."""


class PendingStore(Protocol):
    """Where signed transactions are written before they are sent (the journal)."""

    def save_pending(self, pending: PendingTransaction) -> None:
        """Record, replacing the one of the same nonce."""

    def pending(self) -> list[PendingTransaction]:
        """Everything that may still land."""

    def clear_pending(self, nonce: int) -> None:
        """Forget one nonce."""


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """What the operator allows: cap per gas (wei), blocks on a receipt, seconds to replacing and to giving up."""

    max_fee: int = 100 * GWEI
    confirmations: int = 0
    bump_after_s: float = 15.0
    give_up_s: float = 120.0
    poll_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Receipt:
    """A landed transaction: hash, block, gas, fee paid in wei, and its raw logs (JSON)."""

    hash: bytes
    block: int
    gas_used: int
    fee_wei: int
    logs: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class _Intent:
    """What is to land: contract, calldata, and the slot that it is for."""

    to: bytes
    data: bytes
    slot: int


@dataclass(frozen=True, slots=True)
class _Quote:
    nonce: int
    gas: int
    max_fee: int
    tip: int
    balance: int


@dataclass(slots=True)
class _Attempts:
    """Everything sent under one nonce: hashes, and the fees that a replacement has to beat."""

    nonce: int
    hashes: list[bytes] = field(default_factory=list)
    raw: bytes = b""
    max_fee: int = 0
    tip: int = 0


def bumped(old: int) -> int:
    """The least fee that replaces `old` everywhere: 12.5 % more, rounded up.

    >>> bumped(8), bumped(1)
    (9, 2)
    """
    return old + (old + 7) // 8


class Transactions:
    """The transaction manager of one account. `send` calls are served one at a time."""

    __slots__ = ("_attempts", "_chain_id", "_key", "_lock", "_policy", "_rpc", "_store", "address")

    def __init__(
        self, rpc: Rpc, key: HotKey, chain_id: int, policy: FeePolicy, store: PendingStore | None = None
    ) -> None:
        self._rpc, self._key, self._chain_id, self._policy, self._store = rpc, key, chain_id, policy, store
        self.address = key.address
        self._lock = asyncio.Lock()
        self._attempts: _Attempts | None = None

    async def send(
        self, to: bytes, data: bytes, *, slot: int, worthwhile: Callable[[bytes], bool] = lambda output: True
    ) -> Receipt | None:
        """Simulate, send and wait until mined. None: the simulated output is not `worthwhile`, nothing was sent.

        `slot`: what it is for, written to the journal. Raises Reverted, InsufficientFunds, FeeAboveCap, NotMined,
        Unreachable, RpcRefused.
        """
        async with self._lock:
            self._recall()
            intent = _Intent(to, data, slot)
            deadline = _now() + self._policy.give_up_s
            for _ in range(MAX_ROUNDS):
                quote = await self._quote(intent, worthwhile)
                if quote is None:
                    return None
                attempts = self._open(quote.nonce)
                if not await self._launch(attempts, quote, intent):
                    continue
                receipt = await self._await_mined(attempts, intent, deadline)
                if receipt is not None:
                    return receipt
            raise NotMined(f"{self._rpc.url}: the nonce of {self._who()} moved {MAX_ROUNDS} times while sending; "
                           "is another program using this account?")  # fmt: skip

    async def balance(self) -> int:
        """Wei left on the account."""
        return await self._rpc.quantity("eth_getBalance", self._who(), "latest")

    # Before sending

    def _recall(self) -> None:
        """What an earlier send, or (by the journal) an earlier run, left unmined: a replacement must beat its fees."""
        if self._attempts is None and self._store is not None:
            for pending in self._store.pending():
                max_fee, tip = _fees_of(pending.raw)
                self._attempts = _Attempts(pending.nonce, [], pending.raw, max_fee, tip)
        if self._attempts is not None:
            self._attempts.hashes.clear()

    def _open(self, nonce: int) -> _Attempts:
        if self._attempts is None or self._attempts.nonce != nonce:
            if self._store is not None and self._attempts is not None and self._attempts.nonce < nonce:
                self._store.clear_pending(self._attempts.nonce)
            self._attempts = _Attempts(nonce)
        return self._attempts

    async def _quote(self, intent: _Intent, worthwhile: Callable[[bytes], bool]) -> _Quote | None:
        """One batch: simulation, nonce, balance, fees. Then the gas estimate, only for what is worth sending."""
        message = {"from": self._who(), "to": "0x" + intent.to.hex(), "data": "0x" + intent.data.hex()}
        output, nonce, balance, tip, block, gas = await self._rpc.batch([
            ("eth_call", [message, "latest"]),
            ("eth_getTransactionCount", [self._who(), "latest"]),
            ("eth_getBalance", [self._who(), "latest"]),
            ("eth_maxPriorityFeePerGas", []),
            ("eth_getBlockByNumber", ["latest", False]),
            ("eth_estimateGas", [message]),
        ])  # fmt: skip
        if not worthwhile(self._rpc.to_bytes(output)):
            return None
        base = self._rpc.to_int(block.get("baseFeePerGas") if isinstance(block, dict) else None)
        wanted_tip, cap = self._rpc.to_int(tip), self._policy.max_fee
        if base >= cap:
            raise FeeAboveCap(
                f"{self._rpc.url}: the base fee is {base / GWEI:.3f} gwei and [chain] max_fee_gwei allows "
                f"{cap / GWEI:.3f}; raise it or wait", given=base, limit=cap,
            )  # fmt: skip
        max_fee = min(2 * base + wanted_tip, cap)
        limit = self._rpc.to_int(gas) * (100 + GAS_MARGIN_PERCENT) // 100
        return _Quote(self._rpc.to_int(nonce), limit, max_fee, min(wanted_tip, max_fee), self._rpc.to_int(balance))

    def _fees(self, attempts: _Attempts, quote: _Quote) -> tuple[int, int]:
        """Max fee and tip: the quote's, but enough to replace what is there. Raises FeeAboveCap."""
        max_fee, tip = quote.max_fee, quote.tip
        if attempts.max_fee:
            max_fee, tip = max(max_fee, bumped(attempts.max_fee)), max(tip, bumped(attempts.tip))
        if max_fee > self._policy.max_fee:
            raise FeeAboveCap(
                f"{self._rpc.url}: replacing nonce {attempts.nonce} needs {max_fee / GWEI:.3f} gwei and [chain] "
                f"max_fee_gwei allows {self._policy.max_fee / GWEI:.3f}; raise it or wait",
                given=max_fee, limit=self._policy.max_fee,
            )  # fmt: skip
        return max_fee, min(tip, max_fee)

    # Sending

    async def _launch(self, attempts: _Attempts, quote: _Quote, intent: _Intent) -> bool:
        """Sign, journal, send. False: the nonce is not free any more, quote again. Raises on what cannot be mended."""
        for _ in range(MAX_ROUNDS):
            max_fee, tip = self._fees(attempts, quote)
            self._check_funds(quote.gas * max_fee, quote.balance)
            self._sign(attempts, quote.gas, max_fee, tip, intent)
            try:
                await self._rpc.request("eth_sendRawTransaction", "0x" + attempts.raw.hex())
                return True
            except RpcRefused as refusal:
                if not self._mendable(refusal, quote):
                    return _says(refusal, ALREADY_THERE) or await self._any_receipt(attempts) is not None
        raise NotMined(f"{self._rpc.url}: nonce {attempts.nonce} of {self._who()} could not be replaced in "
                       f"{MAX_ROUNDS} rises of the fee")  # fmt: skip

    def _mendable(self, refusal: RpcRefused, quote: _Quote) -> bool:
        """True: raise the fee and try again; False: it is there, or its nonce is gone. Raises for the rest."""
        if _says(refusal, NO_FUNDS):
            raise self._no_funds(quote.gas * quote.max_fee, quote.balance) from None
        if _says(refusal, (*ALREADY_THERE, *TOO_LOW)):
            return False
        if _says(refusal, (*UNDERPRICED, *BELOW_BASE)):
            return True
        raise refusal

    def _sign(self, attempts: _Attempts, gas: int, max_fee: int, tip: int, intent: _Intent) -> None:
        fields = {
            "type": 2, "chainId": self._chain_id, "nonce": attempts.nonce, "to": to_checksum_address(intent.to),
            "value": 0, "data": intent.data, "gas": gas, "maxFeePerGas": max_fee, "maxPriorityFeePerGas": tip,
        }  # fmt: skip
        signed = Account.sign_transaction(fields, self._key.secret)
        attempts.raw, attempts.max_fee, attempts.tip = bytes(signed.raw_transaction), max_fee, tip
        attempts.hashes.append(bytes(signed.hash))
        if self._store is not None:
            self._store.save_pending(PendingTransaction(attempts.nonce, intent.slot, bytes(signed.hash), attempts.raw))

    # After sending

    async def _await_mined(self, attempts: _Attempts, intent: _Intent, deadline: float) -> Receipt | None:
        """Poll, replace when late, confirm. None: another transaction took the nonce."""
        pause, bump_at = self._policy.poll_s, _now() + self._policy.bump_after_s
        while True:
            found = await self._any_receipt(attempts)
            if found is not None and await self._deep_enough(found):
                return self._landed(attempts, found)
            if found is None and await self._nonce_lost(attempts):
                return None
            if _now() > deadline:
                raise NotMined(
                    f"{self._rpc.url}: nonce {attempts.nonce} of {self._who()} was not mined in "
                    f"{self._policy.give_up_s:g} s at {attempts.max_fee / GWEI:.3f} gwei; the next send replaces it"
                )
            if found is None and _now() > bump_at:
                await self._replace(attempts, intent)
                bump_at = _now() + self._policy.bump_after_s
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    async def _replace(self, attempts: _Attempts, intent: _Intent) -> None:
        """Send again at a higher fee, or the very same bytes when the cap forbids it (they may have been dropped)."""
        try:
            quote = await self._quote(intent, lambda output: True)
        except Reverted:
            return  # it cannot land usefully any more; what was sent may still be mined
        assert quote is not None
        if quote.nonce != attempts.nonce:
            return
        try:
            await self._launch(attempts, quote, intent)
        except FeeAboveCap:
            await self._resend(attempts)

    async def _resend(self, attempts: _Attempts) -> None:
        try:
            await self._rpc.request("eth_sendRawTransaction", "0x" + attempts.raw.hex())
        except RpcRefused as refusal:
            if not _says(refusal, (*ALREADY_THERE, *TOO_LOW)):
                raise

    async def _any_receipt(self, attempts: _Attempts) -> dict[str, Any] | None:
        """Receipt of whichever attempt was mined."""
        asked = [("eth_getTransactionReceipt", ["0x" + digest.hex()]) for digest in reversed(attempts.hashes)]
        return next((found for found in await self._rpc.batch(asked) if isinstance(found, dict)), None)

    async def _deep_enough(self, receipt: dict[str, Any]) -> bool:
        if self._policy.confirmations == 0:
            return True
        head = await self._rpc.quantity("eth_blockNumber")
        return head - self._rpc.to_int(receipt.get("blockNumber")) >= self._policy.confirmations

    async def _nonce_lost(self, attempts: _Attempts) -> bool:
        """Whether the nonce was mined, and not with one of these attempts."""
        count = await self._rpc.quantity("eth_getTransactionCount", self._who(), "latest")
        return count > attempts.nonce and await self._any_receipt(attempts) is None

    def _landed(self, attempts: _Attempts, receipt: dict[str, Any]) -> Receipt:
        number = {key: self._rpc.to_int(receipt.get(key)) for key in ("blockNumber", "gasUsed", "effectiveGasPrice")}
        digest = self._rpc.to_bytes(receipt.get("transactionHash"))
        if self._store is not None:
            self._store.clear_pending(attempts.nonce)
        self._attempts = None
        if self._rpc.to_int(receipt.get("status")) != 1:
            raise Reverted(f"{self._rpc.url}: transaction 0x{digest.hex()} was mined and reverted", given=digest)
        fee = number["gasUsed"] * number["effectiveGasPrice"]
        return Receipt(digest, number["blockNumber"], number["gasUsed"], fee, tuple(receipt.get("logs") or ()))

    # Words

    def _who(self) -> str:
        return to_checksum_address(self.address)

    def _check_funds(self, need: int, have: int) -> None:
        if have < need:
            raise self._no_funds(need, have)

    def _no_funds(self, need: int, have: int) -> InsufficientFunds:
        return InsufficientFunds(
            f"{self._rpc.url}: account {self._who()} holds {have / 1e18:.6f} and the transaction may cost "
            f"{need / 1e18:.6f}; send it funds", given=have, limit=need,
        )  # fmt: skip


def _says(refusal: RpcRefused, words: tuple[str, ...]) -> bool:
    reason = refusal.reason.lower()
    return any(word in reason for word in words)


def _fees_of(raw: bytes) -> tuple[int, int]:
    """Max fee and tip of a signed type 2 transaction."""
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return int(fields["maxFeePerGas"]), int(fields["maxPriorityFeePerGas"])


def _now() -> float:
    return asyncio.get_running_loop().time()
