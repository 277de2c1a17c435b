"""The embedded chain itself: blocks, pool, calls and snapshots on py-evm under Prague rules.

Why this file exists: a development chain whose time is set by hand (a replay of 2017 runs as fast as the machine
allows) and whose every block, `prevrandao` included, is the same in every run. Bytes and integers only: hex, JSON and
HTTP are in `devchain.py`. Never in here: anything that knows Dodona's contracts.

Fork rules are py-evm's through eth-tester's chain set-up. Pool rules follow geth's: one transaction per sender and
nonce, a replacement must raise both fees by at least 10 %, `nonce too low`, `already known`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eth.exceptions import Revert, UnrecognizedTransactionType
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_keys.exceptions import BadSignature
from eth_tester.backends.pyevm.main import get_default_genesis_params, setup_tester_chain
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

from oracle.recursion import restore_limit

restore_limit()
GAS_LIMIT = 30_029_122
MIN_BUMP_PERCENT = 10
MAX_POOL = 4096
# What py-evm, rlp and eth-keys raise between them on bytes that are no transaction.
UNDECODABLE = (
    ValidationError, RLPException, UnrecognizedTransactionType, BadSignature, ValueError, TypeError,
    IndexError,
)  # fmt: skip


class Refused(Exception):
    """The chain declines a request. Carries the JSON-RPC code, one line for people, and revert data if there is any."""

    def __init__(self, code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True, slots=True)
class Call:
    """A message to run without a transaction. `to` empty means contract creation."""

    sender: bytes = bytes(20)
    to: bytes = b""
    data: bytes = b""
    value: int = 0
    gas: int | None = None
    max_fee: int | None = None


@dataclass(frozen=True, slots=True)
class MinedBlock:
    """A block of the canonical chain with what its transactions left behind."""

    header: Any
    transactions: tuple[Any, ...] = ()
    receipts: tuple[Any, ...] = ()
    created: tuple[bytes | None, ...] = ()

    @property
    def number(self) -> int:
        """Height, genesis = 0."""
        return int(self.header.block_number)


@dataclass(frozen=True, slots=True)
class _Pooled:
    transaction: Any
    sender: bytes
    arrival: int


@dataclass(frozen=True, slots=True)
class _Snapshot:
    height: int
    pool: tuple[_Pooled, ...]
    now: int | None


def _fees(transaction: Any) -> tuple[int, int]:
    """(max fee, max priority fee) per gas; a legacy price is both."""
    return int(transaction.max_fee_per_gas), int(transaction.max_priority_fee_per_gas)


class Ledger:
    """One in-memory chain with automatic mining (switch off with `automine = False`).

    `now` is the time of the next block in seconds, None follows the system clock. A block is always at least one
    second above its parent, as the consensus rules demand.
    """

    def __init__(self, chain_id: int, genesis_time: int, alloc: Mapping[bytes, int], now: int | None = None) -> None:
        params = get_default_genesis_params({"timestamp": genesis_time, "gas_limit": GAS_LIMIT})
        state = {
            address: {"balance": wei, "nonce": 0, "code": b"", "storage": {}} for address, wei in sorted(alloc.items())
        }
        _keys, self._chain = setup_tester_chain(genesis_params=params, genesis_state=state)
        type(self._chain).chain_id = chain_id
        self.chain_id = chain_id
        self.now = now
        self.automine = True
        self._seed = chain_id.to_bytes(32, "big")
        self.blocks: list[MinedBlock] = [MinedBlock(self._chain.get_canonical_head())]
        self.where: dict[bytes, tuple[int, int]] = {}
        self.by_hash: dict[bytes, int] = {bytes(self.blocks[0].header.hash): 0}
        self._pool: dict[tuple[bytes, int], _Pooled] = {}
        self._pooled_hashes: dict[bytes, tuple[bytes, int]] = {}
        self._snapshots: dict[int, _Snapshot] = {}
        self._arrivals = 0
        self._builder: Any = PragueVM.get_transaction_builder()

    # Time and headers

    @property
    def head(self) -> MinedBlock:
        """Latest mined block."""
        return self.blocks[-1]

    def set_time(self, seconds: int) -> int:
        """Fix the time of the next block and of calls at the head; returns the time that really applies.

        Time never runs backwards: under the latest block's timestamp, the second after it applies.
        """
        self.now = seconds
        return self.next_timestamp()

    def next_timestamp(self) -> int:
        """Timestamp that a block mined now would carry, seconds."""
        wanted = int(time.time()) if self.now is None else self.now
        return max(wanted, int(self.head.header.timestamp) + 1)

    def pending_header(self) -> Any:
        """Header that the next block starts from: the state is the head's, time is the set time."""
        parent = self.head.header
        mix = keccak(self._seed + (parent.block_number + 1).to_bytes(32, "big"))
        return self._chain.create_header_from_parent(parent, timestamp=self.next_timestamp(), mix_hash=mix)

    def base_fee(self) -> int:
        """Base fee per gas of the next block, wei."""
        return int(self.pending_header().base_fee_per_gas)

    # State

    def _state(self, block: MinedBlock | None) -> Any:
        """Throw-away state with a free base fee; None is the next block's context on the head's state."""
        header = (self.pending_header() if block is None else block.header).copy(base_fee_per_gas=0)
        return self._chain.get_vm(header).state

    def nonce(self, address: bytes, block: MinedBlock | None = None) -> int:
        """Number of mined transactions of an account."""
        return int(self._state(block).get_nonce(address))

    def pending_nonce(self, address: bytes) -> int:
        """Next nonce when the pool's unbroken run for this account is counted too."""
        nonce = self.nonce(address)
        while (address, nonce) in self._pool:
            nonce += 1
        return nonce

    def balance(self, address: bytes, block: MinedBlock | None = None) -> int:
        """Wei held."""
        return int(self._state(block).get_balance(address))

    def code(self, address: bytes, block: MinedBlock | None = None) -> bytes:
        """Deployed code, empty when there is none."""
        return bytes(self._state(block).get_code(address))

    def storage(self, address: bytes, slot: int, block: MinedBlock | None = None) -> int:
        """One storage word."""
        return int(self._state(block).get_storage(address, slot))

    # Calls

    def _execute(self, call: Call, gas: int, block: MinedBlock | None) -> Any:
        state = self._state(block)
        if call.max_fee is not None and call.max_fee * gas + call.value > state.get_balance(call.sender):
            raise Refused(-32000, f"insufficient funds for gas * price + value: address 0x{call.sender.hex()}")
        unsigned = self._builder.new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id, nonce=state.get_nonce(call.sender), max_priority_fee_per_gas=0, max_fee_per_gas=0,
            gas=gas, to=call.to, value=call.value, data=call.data, access_list=(),
        )  # fmt: skip
        try:
            return state.apply_transaction(SpoofTransaction(unsigned, from_=call.sender))
        except ValidationError as exc:
            raise Refused(-32000, f"call refused: {exc}") from None

    def call(self, call: Call, block: MinedBlock | None = None) -> bytes:
        """Run a message and return its output.

        Raises Refused with code 3 and the revert data on a revert, -32000 on any other failure (out of gas, bad jump).
        """
        computation = self._execute(call, min(call.gas or GAS_LIMIT, GAS_LIMIT), block)
        _raise_if_failed(computation)
        return bytes(computation.output)

    def estimate_gas(self, call: Call, block: MinedBlock | None = None) -> int:
        """Smallest gas limit known to succeed: the gas used, raised only as far as EIP-150's 63/64 rule needs."""
        limit = min(call.gas or GAS_LIMIT, GAS_LIMIT)
        full = self._execute(call, limit, block)
        _raise_if_failed(full)
        guess = limit - int(full.get_gas_remaining()) + int(full.data_floor_gas)
        for candidate in (guess, guess + guess // 63 + 2_300, guess + guess // 4 + 10_000, guess * 2):
            if candidate >= limit:
                break
            try:
                if not self._execute(call, candidate, block).is_error:
                    return candidate
            except Refused:
                continue  # below the intrinsic or floor gas: try the next candidate
        return limit

    # Pool

    def send_raw(self, raw: bytes) -> bytes:
        """Take a signed transaction into the pool, mine at once under `automine`; returns its hash.

        Raises Refused with geth's words: they are what clients look for.
        """
        transaction = self._decode(raw)
        digest = bytes(transaction.hash)
        if digest in self._pooled_hashes or digest in self.where:
            raise Refused(-32000, "already known")
        sender = bytes(transaction.sender)
        self._check_admission(transaction, sender)
        key = (sender, int(transaction.nonce))
        replaced = self._pool.get(key)
        if replaced is not None:
            old, new = _fees(replaced.transaction), _fees(transaction)
            if any(n * 100 < o * (100 + MIN_BUMP_PERCENT) for o, n in zip(old, new, strict=True)):
                raise Refused(-32000, "replacement transaction underpriced")
            del self._pooled_hashes[bytes(replaced.transaction.hash)]
        elif len(self._pool) >= MAX_POOL:
            raise Refused(-32000, "txpool is full")
        self._arrivals += 1
        self._pool[key] = _Pooled(transaction, sender, self._arrivals)
        self._pooled_hashes[digest] = key
        if self.automine:
            self.mine()
        return digest

    def _decode(self, raw: bytes) -> Any:
        if raw[:1] == b"\x03":
            raise Refused(-32000, "transaction type 3 (blobs) is not served by this chain")
        try:
            transaction = self._builder.decode(raw)
            transaction.validate()
            transaction.check_signature_validity()
        except UNDECODABLE as exc:
            raise Refused(-32602, f"not a signed transaction: {type(exc).__name__}: {exc}"[:200]) from None
        if transaction.chain_id is not None and transaction.chain_id != self.chain_id:
            raise Refused(-32000, f"invalid chain id for signer: have {transaction.chain_id} want {self.chain_id}")
        return transaction

    def _check_admission(self, transaction: Any, sender: bytes) -> None:
        state = self._state(None)
        expected = state.get_nonce(sender)
        if transaction.nonce < expected:
            raise Refused(-32000, f"nonce too low: next nonce {expected}, tx nonce {transaction.nonce}")
        max_fee, tip = _fees(transaction)
        if tip > max_fee:
            raise Refused(-32000, "max priority fee per gas higher than max fee per gas")
        cost = transaction.gas * max_fee + transaction.value
        have = state.get_balance(sender)
        if cost > have:
            raise Refused(
                -32000,
                f"insufficient funds for gas * price + value: address 0x{sender.hex()} have {have} want {cost}",
            )
        if transaction.gas > GAS_LIMIT:
            raise Refused(-32000, "exceeds block gas limit")
        if transaction.gas < transaction.intrinsic_gas:
            raise Refused(-32000, f"intrinsic gas too low: gas {transaction.gas}, minimum {transaction.intrinsic_gas}")

    def pooled(self, digest: bytes) -> Any | None:
        """Transaction waiting in the pool, by hash."""
        key = self._pooled_hashes.get(digest)
        return None if key is None else self._pool[key].transaction

    def drop_pool(self) -> int:
        """Forget everything that waits, as an overfull node does; returns how many."""
        count = len(self._pool)
        self._pool.clear()
        self._pooled_hashes.clear()
        return count

    def _executable(self, base_fee: int) -> Iterator[_Pooled]:
        """Best tip first, each account in nonce order, ties by arrival."""
        following = {sender: self.nonce(sender) for sender, _ in self._pool}
        while True:
            ready = [
                item
                for sender, nonce in following.items()
                if (item := self._pool.get((sender, nonce))) is not None and _fees(item.transaction)[0] >= base_fee
            ]
            if not ready:
                return
            best = min(ready, key=lambda item: (-_tip(item.transaction, base_fee), item.arrival))
            following[best.sender] += 1
            yield best

    # Mining

    def mine(self) -> MinedBlock:
        """Mine one block from the pool (possibly empty) and make it the head."""
        header = self.pending_header()
        vm = self._chain.get_vm(header)
        taken: list[Any] = []
        receipts: list[Any] = []
        created: list[bytes | None] = []
        refused: set[bytes] = set()
        for item in self._executable(int(header.base_fee_per_gas)):
            if item.sender in refused or header.gas_used + item.transaction.gas > header.gas_limit:
                refused.add(item.sender)
                continue
            try:
                receipt, computation = vm.apply_transaction(header, item.transaction)
            except ValidationError:
                refused.add(item.sender)  # cannot pay any more: it stays in the pool, as on a real node
                continue
            header = vm.add_receipt_to_header(header, receipt)
            taken.append(item.transaction)
            receipts.append(receipt)
            created.append(bytes(computation.msg.storage_address) if item.transaction.to == b"" else None)
        filled = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, tuple(taken), tuple(receipts))
        sealed = vm.mine_block(filled, blob_gas_used=0).block
        self._chain.chaindb.persist_header(sealed.header)
        self._append(MinedBlock(sealed.header, tuple(taken), tuple(receipts), tuple(created)))
        return self.head

    def _append(self, block: MinedBlock) -> None:
        self.blocks.append(block)
        self.by_hash[bytes(block.header.hash)] = block.number
        for index, transaction in enumerate(block.transactions):
            digest = bytes(transaction.hash)
            self.where[digest] = (block.number, index)
            key = self._pooled_hashes.pop(digest)
            del self._pool[key]

    # Snapshots

    def snapshot(self) -> int:
        """Remember head, pool and time; returns the number to give to `revert`."""
        number = max(self._snapshots, default=0) + 1
        self._snapshots[number] = _Snapshot(len(self.blocks), tuple(self._pool.values()), self.now)
        return number

    def revert(self, number: int) -> bool:
        """Go back to a snapshot, which is used up together with all later ones. False: there is none of that number."""
        snapshot = self._snapshots.get(number)
        if snapshot is None:
            return False
        for later in [key for key in self._snapshots if key >= number]:
            del self._snapshots[later]
        for block in self.blocks[snapshot.height :]:
            del self.by_hash[bytes(block.header.hash)]
            for transaction in block.transactions:
                del self.where[bytes(transaction.hash)]
        del self.blocks[snapshot.height :]
        self._pool = {(item.sender, int(item.transaction.nonce)): item for item in snapshot.pool}
        self._pooled_hashes = {bytes(item.transaction.hash): key for key, item in self._pool.items()}
        self.now = snapshot.now
        return True


def _tip(transaction: Any, base_fee: int) -> int:
    max_fee, tip = _fees(transaction)
    return min(tip, max_fee - base_fee)


def _raise_if_failed(computation: Any) -> None:
    """Turn a failed run into Refused: revert data under code 3, as geth and anvil answer."""
    if not computation.is_error:
        return
    if isinstance(computation.error, Revert):
        data = bytes(computation.output)
        reason = revert_reason(data)
        raise Refused(3, f"execution reverted: {reason}" if reason else "execution reverted", data)
    raise Refused(-32000, f"execution failed: {type(computation.error).__name__}: {computation.error}")


def revert_reason(data: bytes) -> str:
    """Text of a Solidity/Vyper `Error(string)` revert, empty when the data is something else."""
    if data[:4] != b"\x08\xc3y\xa0" or len(data) < 68:
        return ""
    length = int.from_bytes(data[36:68], "big")
    return data[68 : 68 + min(length, 1024)].decode("utf-8", "replace")
