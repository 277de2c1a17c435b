"""The Ethereum JSON-RPC wire of the embedded chain: hex in, py-evm objects out as JSON.

Why this file exists: one place for the encoding rules of the execution API specification (quantities without leading
zeros, data as whole bytes, null for what is absent). Never in here: state, sockets, rules of the chain.
Every `*_of` raises `Refused` with code -32602 naming what was wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NoReturn

from eth_utils.address import to_checksum_address

from oracle.ledger import Call, MinedBlock, Refused

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
MAX_QUANTITY = 2**256 - 1
MAX_TOPIC_CHOICES = 1000
QUANTITY = re.compile("0x[0-9a-fA-F]{1,64}")
DATA = re.compile("0x([0-9a-fA-F]{2})*")

Topics = list[frozenset[str] | None]


def quantity(value: int) -> str:
    """Integer as a JSON-RPC quantity."""
    return hex(value)


def raw(data: bytes) -> str:
    """Bytes as JSON-RPC data."""
    return "0x" + data.hex()


def number_of(value: object) -> int:
    """Quantity (hex text, or a plain non-negative JSON integer) to int."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_QUANTITY:
        return value
    if isinstance(value, str) and QUANTITY.fullmatch(value):
        return int(value[2:], 16)
    _bad("a quantity such as 0x1a", value)


def _bad(expected: str, value: object) -> NoReturn:
    raise Refused(INVALID_PARAMS, f"expected {expected}, got {str(value)[:80]!r}")


def bytes_of(value: object) -> bytes:
    """Data (hex text with an even number of digits) to bytes."""
    if isinstance(value, str) and DATA.fullmatch(value):
        return bytes.fromhex(value[2:])
    _bad("0x data with whole bytes", value)


def address_of(value: object) -> bytes:
    """20 bytes."""
    data = bytes_of(value)
    if len(data) != 20:
        _bad("an address of 20 bytes", value)
    return data


def call_of(value: object) -> Call:
    """Transaction object of eth_call and eth_estimateGas."""
    if not isinstance(value, dict):
        _bad("a transaction object", value)
    to = value.get("to")
    data = value.get("input", value.get("data"))
    price = value.get("maxFeePerGas", value.get("gasPrice"))
    return Call(
        sender=address_of(value["from"]) if value.get("from") else bytes(20),
        to=address_of(to) if to else b"",
        data=bytes_of(data) if data else b"",
        value=number_of(value["value"]) if value.get("value") is not None else 0,
        gas=number_of(value["gas"]) if value.get("gas") is not None else None,
        max_fee=number_of(price) if price is not None else None,
    )


# Results


def transaction_json(transaction: Any, block: MinedBlock | None, index: int | None) -> dict[str, Any]:
    """Transaction object; block fields are null while it waits in the pool."""
    kind = transaction.type_id or 0
    answer: dict[str, Any] = {
        "hash": raw(transaction.hash),
        "type": quantity(kind),
        "nonce": quantity(transaction.nonce),
        "blockHash": None if block is None else raw(block.header.hash),
        "blockNumber": None if block is None else quantity(block.number),
        "transactionIndex": None if index is None else quantity(index),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "input": raw(transaction.data),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
    }
    if transaction.chain_id is not None:
        answer["chainId"] = quantity(transaction.chain_id)
    if kind == 0:
        return answer | {"gasPrice": quantity(transaction.gas_price), "v": quantity(transaction.v)}
    answer |= {"v": quantity(transaction.y_parity), "yParity": quantity(transaction.y_parity)}
    answer["accessList"] = [
        {"address": to_checksum_address(who), "storageKeys": [raw(key.to_bytes(32, "big")) for key in keys]}
        for who, keys in transaction.access_list
    ]
    if kind == 1:
        return answer | {"gasPrice": quantity(transaction.gas_price)}
    answer |= {
        "maxFeePerGas": quantity(transaction.max_fee_per_gas),
        "maxPriorityFeePerGas": quantity(transaction.max_priority_fee_per_gas),
        "gasPrice": quantity(transaction.max_fee_per_gas if block is None else _paid(transaction, block)),
    }
    return answer


def _paid(transaction: Any, block: MinedBlock) -> int:
    base = int(block.header.base_fee_per_gas)
    return min(int(transaction.max_fee_per_gas), base + int(transaction.max_priority_fee_per_gas))


def block_json(block: MinedBlock, full: bool) -> dict[str, Any]:
    """Block object with transaction hashes, or whole transactions."""
    header = block.header
    transactions: list[Any] = [
        transaction_json(transaction, block, index) if full else raw(transaction.hash)
        for index, transaction in enumerate(block.transactions)
    ]
    return {
        "number": quantity(block.number),
        "hash": raw(header.hash),
        "parentHash": raw(header.parent_hash),
        "nonce": raw(bytes(header.nonce).rjust(8, b"\0")),
        "sha3Uncles": raw(header.uncles_hash),
        "logsBloom": raw(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": raw(header.transaction_root),
        "stateRoot": raw(header.state_root),
        "receiptsRoot": raw(header.receipt_root),
        "miner": to_checksum_address(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": quantity(0),
        "extraData": raw(header.extra_data),
        "size": quantity(600 + sum(len(t.encode()) for t in block.transactions)),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "mixHash": raw(header.mix_hash),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "withdrawalsRoot": raw(header.withdrawals_root),
        "withdrawals": [],
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "parentBeaconBlockRoot": raw(header.parent_beacon_block_root),
        "requestsHash": raw(header.requests_hash),
        "uncles": [],
        "transactions": transactions,
    }


def receipt_json(block: MinedBlock, index: int) -> dict[str, Any]:
    """Receipt object of one transaction of a block."""
    transaction, receipt, created = block.transactions[index], block.receipts[index], block.created[index]
    before = block.receipts[index - 1].gas_used if index else 0
    return {
        "transactionHash": raw(transaction.hash),
        "transactionIndex": quantity(index),
        "blockHash": raw(block.header.hash),
        "blockNumber": quantity(block.number),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(receipt.gas_used - before),
        "effectiveGasPrice": quantity(_paid(transaction, block)),
        "contractAddress": to_checksum_address(created) if created else None,
        "logs": [log for log in logs_json(block) if log["transactionIndex"] == quantity(index)],
        "logsBloom": raw(receipt.bloom.to_bytes(256, "big")),
        "type": quantity(transaction.type_id or 0),
        "status": quantity(1 if receipt.state_root == b"\x01" else 0),
    }


def logs_json(block: MinedBlock) -> list[dict[str, Any]]:
    """All logs of a block, numbered through the block."""
    found: list[dict[str, Any]] = []
    for index, (transaction, receipt) in enumerate(zip(block.transactions, block.receipts, strict=True)):
        for log in receipt.logs:
            found.append({
                "address": to_checksum_address(log.address),
                "topics": [raw(topic.to_bytes(32, "big")) for topic in log.topics],
                "data": raw(log.data),
                "blockNumber": quantity(block.number),
                "blockHash": raw(block.header.hash),
                "transactionHash": raw(transaction.hash),
                "transactionIndex": quantity(index),
                "logIndex": quantity(len(found)),
                "removed": False,
            })  # fmt: skip
    return found


# Filters


def topics_of(value: object) -> Topics:
    """Topic filter: per position null (any), one topic, or a list of choices."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > 4:
        _bad("at most four topics", value)
    return [None if not entry else _choices(entry if isinstance(entry, list) else [entry]) for entry in value]


def _choices(entries: Iterable[object]) -> frozenset[str]:
    chosen = frozenset(raw(bytes_of(entry)) for entry in entries)
    if len(chosen) > MAX_TOPIC_CHOICES:
        _bad(f"at most {MAX_TOPIC_CHOICES} choices for a topic", len(chosen))
    return chosen


def log_matches(log: dict[str, Any], addresses: set[bytes] | None, topics: Topics) -> bool:
    """Whether a log passes an address and topic filter."""
    if addresses is not None and bytes.fromhex(log["address"][2:]) not in addresses:
        return False
    if len(topics) > len(log["topics"]):
        return False
    return all(choice is None or topic in choice for choice, topic in zip(topics, log["topics"], strict=False))
