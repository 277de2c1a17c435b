"""EIP-712 as eth_account does it: a second opinion on our digests and signatures, built from the type strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak

DOMAIN = [("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address")]


def typed_data(type_string: str, values: Sequence[Any], domain: dict[str, Any]) -> dict[str, Any]:
    """What a wallet would be asked to sign: `Name(type field,...)` with a value a field, in a domain."""
    name, members = type_string.removesuffix(")").split("(")
    fields = [member.split(" ") for member in members.split(",")]
    return {
        "types": {
            "EIP712Domain": [{"name": field, "type": kind} for field, kind in DOMAIN],
            name: [{"name": field, "type": kind} for kind, field in fields],
        },
        "primaryType": name,
        "domain": domain,
        "message": {field: value for (_, field), value in zip(fields, values, strict=True)},
    }


def domain_of(name: str, chain_id: int, contract: str, version: str = "1") -> dict[str, Any]:
    """The domain of a contract."""
    return {"name": name, "version": version, "chainId": chain_id, "verifyingContract": contract}


def altered(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The same with some fields of the message or of the domain replaced; every one of them must be there."""
    assert set(changes) <= data["message"].keys() | data["domain"].keys()
    parts = {
        part: data[part] | {name: value for name, value in changes.items() if name in data[part]}
        for part in ("message", "domain")
    }
    return data | parts


def typed_hash(data: dict[str, Any]) -> bytes:
    """The digest that eth_account signs."""
    signable = encode_typed_data(full_message=data)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


def typed_signature(data: dict[str, Any], secret: bytes) -> tuple[int, int, int]:
    """eth_account's own signature: v (27 or 28), r, s."""
    signed = Account.sign_message(encode_typed_data(full_message=data), secret)
    return signed.v, signed.r, signed.s


def compact(signature: tuple[int, int, int]) -> bytes:
    """The 64 bytes of EIP-2098."""
    v, r, s = signature
    return r.to_bytes(32) + ((v - 27) << 255 | s).to_bytes(32)
