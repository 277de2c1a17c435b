"""Who vouches for a data set: the provider's EIP-712 signature over its manifest.

Why this file exists: rewards and disputes need to know who gave data, and a wallet must be able to show what it signs.
Never in it: what a manifest says (`feeds.dataset.manifest`), keys on disk (`oracle.keys`).

Domain: name "Dodona Data", version "1", and neither chain nor contract, for data belongs to none. Struct:
`DataSet(bytes32 manifest,bytes32 root,bytes32 content,uint64 rows,string name,string version,address provider)`, where
`manifest` is keccak256 of the manifest's canonical JSON without the signature; the rest is there to be read.
"""

from __future__ import annotations

from typing import Literal

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from feeds.dataset.manifest import Manifest
from feeds.dataset.pack import NOBODY
from oracle.errors import ConfigError
from oracle.keys import HotKey, recover

DOMAIN_TYPE = "EIP712Domain(string name,string version)"
DOMAIN_NAME = "Dodona Data"
DOMAIN_VERSION = "1"
DATA_SET_TYPE = (
    "DataSet(bytes32 manifest,bytes32 root,bytes32 content,uint64 rows,string name,string version,address provider)"
)

Standing = Literal["signed", "unsigned", "forged"]


class WrongProvider(ConfigError):
    """A manifest that names one provider, to be signed by the key of another."""


def signing_digest(manifest: Manifest) -> bytes:
    """What the provider signs: keccak256(0x1901 || domain || struct hash), 32 bytes."""
    domain = [keccak(text.encode()) for text in (DOMAIN_TYPE, DOMAIN_NAME, DOMAIN_VERSION)]
    fields = (
        keccak(DATA_SET_TYPE.encode()),
        manifest.digest,
        bytes.fromhex(manifest.root[2:]),
        bytes.fromhex(manifest.content[2:]),
        manifest.rows,
        keccak(manifest.name.encode()),
        keccak(manifest.version.encode()),
        bytes.fromhex(manifest.provider[2:]),
    )
    kinds = ["bytes32", "bytes32", "bytes32", "bytes32", "uint64", "bytes32", "bytes32", "address"]
    return keccak(b"\x19\x01" + keccak(abi_encode(["bytes32"] * 3, domain)) + keccak(abi_encode(kinds, fields)))


def sign(manifest: Manifest, key: HotKey) -> Manifest:
    """The manifest with the provider's signature. Raises `WrongProvider` if it names another address."""
    mine = "0x" + key.address.hex()
    if manifest.provider == NOBODY:
        raise WrongProvider(
            f"manifest {manifest.name}: it names no provider; pack the data again with --keystore, or with "
            f"--provider {mine} to sign it afterwards",
            given=mine,
            limit=NOBODY,
        )
    if manifest.provider != mine:
        raise WrongProvider(
            f"manifest {manifest.name}: its provider is {manifest.provider}, the key is of {mine}; "
            "pack it with that provider, or sign with the provider's keystore",
            given=mine,
            limit=manifest.provider,
        )
    return manifest.signed("0x" + key.sign(signing_digest(manifest)).hex())


def standing(manifest: Manifest) -> tuple[Standing, str]:
    """Whether the provider signed, and one line that says so.

    "forged": there is a signature, but not of the provider over this manifest.
    """
    if manifest.signature is None:
        who = "nobody vouches for it" if manifest.provider == NOBODY else f"{manifest.provider} is only a claim"
        return "unsigned", f"NOT SIGNED: {who}"
    signer = recover(signing_digest(manifest), bytes.fromhex(manifest.signature[2:]))
    if signer is not None and "0x" + signer.hex() == manifest.provider:
        return "signed", f"signed by its provider {manifest.provider}"
    found = "of nobody" if signer is None else f"of 0x{signer.hex()}"
    return "forged", f"WRONG SIGNATURE: {found}, not of the provider {manifest.provider}"
