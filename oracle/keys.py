"""The hot key: a keystore on disk in, 64-byte signatures out.

Why this file exists: it is the only file that holds a private key or knows the shape of a signature. Never in it: what
a digest means, or whether it may be signed (the journal decides that, before the key is asked).

A signature is EIP-2098: r, then s with the recovery bit on top; s is always in the lower half of the order.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Literal

from eth_abi.abi import encode as abi_encode
from eth_account import Account
from eth_keys.backends.coincurve import CoinCurveECCBackend
from eth_keys.datatypes import PrivateKey, PublicKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from contracts import constant_str
from oracle.config import KeySettings
from oracle.consensus.network import domain_separator
from oracle.errors import ConfigError, LocalFault
from oracle.settings import read_bounded

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HALF_ORDER = SECP256K1_ORDER // 2
_BACKEND = CoinCurveECCBackend()
_Y_PARITY = 1 << 255
MAX_KEYSTORE_BYTES = 64_000
MAX_PASSWORD_BYTES = 4_096
# What eth-keyfile raises on a wrong password and on a damaged keystore, and HotKey on what is no key.
UNDECRYPTABLE = (
    ValueError, TypeError, KeyError, AttributeError, OverflowError, NotImplementedError, MemoryError, LocalFault,
)  # fmt: skip


class HotKey:
    """A validator's signing key. Its text form shows the address only."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret) < SECP256K1_ORDER:
            raise LocalFault("a private key is 32 bytes between 1 and the order of secp256k1")
        self._key = PrivateKey(secret, backend=_BACKEND)
        self.address: bytes = self._key.public_key.to_canonical_address()

    def __repr__(self) -> str:
        return f"HotKey({self.checksum_address})"

    @property
    def checksum_address(self) -> str:
        """The address as EIP-55 text."""
        return to_checksum_address(self.address)

    @property
    def secret(self) -> bytes:
        """The 32 secret bytes, for the transaction signer only. Never log them."""
        return bytes(self._key.to_bytes())

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest: 64 bytes, EIP-2098, low s (deterministic, RFC 6979)."""
        if len(digest) != 32:
            raise LocalFault(f"a digest is 32 bytes, given {len(digest)}")
        signature = self._key.sign_msg_hash(digest)
        v, s = signature.v, signature.s
        if s > HALF_ORDER:
            v, s = 1 - v, SECP256K1_ORDER - s
        packed: bytes = signature.r.to_bytes(32) + (s | (_Y_PARITY if v else 0)).to_bytes(32)
        return packed


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """The 20-byte address that signed `digest`; None for whatever is not a valid low-s signature of 64 bytes."""
    if len(digest) != 32:
        raise LocalFault(f"a digest is 32 bytes, given {len(digest)}")
    if len(signature) != 64:
        return None
    r, packed = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    s, v = packed & (_Y_PARITY - 1), packed >> 255
    if not 0 < s <= HALF_ORDER or not 0 < r < SECP256K1_ORDER:
        return None
    try:
        public: PublicKey = Signature(vrs=(v, r, s), backend=_BACKEND).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError, ValueError):
        return None
    address: bytes = public.to_canonical_address()
    return address


def possession_digest(chain_id: int, staking: bytes, owner: bytes, key: bytes, nonce: int) -> bytes:
    """What a hot key signs to be registered: EIP-712 `KeyRegistration` in Staking's domain (name "Dodona Staking")."""
    domain = domain_separator(constant_str("STAKING_DOMAIN_NAME"), chain_id, staking)
    kind = keccak(constant_str("KEY_TYPE").encode())
    struct = keccak(abi_encode(["bytes32", "address", "address", "uint256"], [kind, owner, key, nonce]))
    return keccak(b"\x19\x01" + domain + struct)


def create_keystore(path: Path, password: str, *, secret: bytes | None = None, light: bool = False) -> HotKey:
    """Write a new version 3 keystore (mode 0600, never over an existing file) and return its key.

    `secret`: 32 bytes, drawn from the system if None. `light`: a cheap PBKDF2 for rehearsals instead of scrypt.
    Raises ConfigError if the file exists or cannot be written.
    """
    key = HotKey(secret if secret is not None else _fresh_secret())
    kdf: Literal["pbkdf2", "scrypt"] = "pbkdf2" if light else "scrypt"
    work = 1000 if light else 262_144
    text = json.dumps(Account.encrypt(key.secret, password, kdf=kdf, iterations=work))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError as error:
        raise ConfigError(f"{path}: exists already; a keystore is never overwritten: choose another path") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot write the keystore ({error.strerror}); choose a writable folder") from error
    finally:
        temporary.unlink(missing_ok=True)
    return key


def _fresh_secret() -> bytes:
    while not 0 < int.from_bytes(secret := secrets.token_bytes(32)) < SECP256K1_ORDER:
        continue
    return secret


def load_key(settings: KeySettings) -> HotKey:
    """Open the keystore that the settings name. Raises ConfigError naming the file and the mend."""
    path = settings.keystore
    try:
        content = json.loads(read_bounded(path, MAX_KEYSTORE_BYTES))
    except OSError as error:
        mend = "mend [key] keystore, or make one with `dodona node init`"
        raise ConfigError(f"{path}: cannot read the keystore ({error.strerror}); {mend}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a keystore (its JSON is damaged); restore it from its backup") from error
    password = _password(settings)
    if not isinstance(content, dict) or content.get("version") != 3:
        raise ConfigError(f"{path}: not a version 3 keystore; export the key again in that format")
    try:
        key = HotKey(bytes(Account.decrypt(content, password)))
    except UNDECRYPTABLE as error:
        if "MAC mismatch" in str(error):
            raise ConfigError(f"{path}: wrong password; check the password that [key] refers to") from error
        why = f"damaged keystore ({type(error).__name__})"
        raise ConfigError(f"{path}: {why}; restore it from its backup") from error
    stated = content.get("address")  # the format's checksum leaves out parts that decide the key
    if isinstance(stated, str) and stated.lower().removeprefix("0x") != key.address.hex():
        mend = "restore it from its backup"
        raise ConfigError(f"{path}: holds the key of {key.checksum_address}, states the address {stated}; {mend}")
    return key


def _password(settings: KeySettings) -> str:
    if settings.password_env is not None:
        value = os.environ.get(settings.password_env)
        if value is None:
            raise ConfigError(f"environment variable {settings.password_env} is not set; [key] password_env names it")
        return value
    file = settings.password_file
    if file is None:
        raise LocalFault("key settings without a password reference")
    try:
        return read_bounded(file, MAX_PASSWORD_BYTES).decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"{file}: cannot read the password file ({why}); mend [key] password_file") from error
