"""The provider's signature: what any wallet would sign, by nobody else, over no other manifest."""

from __future__ import annotations

import dataclasses

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak

from oracle.data_signature import DATA_SET_TYPE, WrongProvider, sign, signing_digest, standing
from oracle.keys import HotKey
from tests.contracts.typed_data import compact
from tests.feeds.dataset.test_manifest import MANIFEST

KEY = HotKey(b"\x07" * 32)
MINE = dataclasses.replace(MANIFEST, provider="0x" + KEY.address.hex())


def wallet(manifest):
    """The typed data as a wallet is given it."""
    name, members = DATA_SET_TYPE.removesuffix(")").split("(")
    fields = [tuple(reversed(member.split(" "))) for member in members.split(",")]
    values = {"manifest": manifest.digest} | {
        field: getattr(manifest, field) for field in ("root", "content", "rows", "name", "version", "provider")
    }
    return encode_typed_data(
        full_message={
            "types": {
                "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "version", "type": "string"}],
                name: [{"name": field, "type": kind} for field, kind in fields],
            },
            "primaryType": name,
            "domain": {"name": "Dodona Data", "version": "1"},
            "message": values,
        }
    )


def test_digest_and_signature__any_wallet__says_the_same():
    signable = wallet(MINE)
    assert keccak(b"\x19" + signable.version + signable.header + signable.body) == signing_digest(MINE)
    theirs = Account.sign_message(signable, KEY.secret)
    ours = sign(MINE, KEY).signature
    assert ours == "0x" + compact((theirs.v, theirs.r, theirs.s)).hex()


def test_standing__signed_unsigned_changed_or_by_another__told_apart():
    signed = sign(MINE, KEY)
    assert standing(signed) == ("signed", f"signed by its provider {MINE.provider}")
    assert standing(MINE)[0] == "unsigned" and "only a claim" in standing(MINE)[1]
    assert "nobody" in standing(dataclasses.replace(MANIFEST, provider="0x" + "0" * 40))[1]
    for changed in (
        dataclasses.replace(signed, licence="MIT"),
        dataclasses.replace(signed, provider="0x" + "11" * 20),
        signed.signed("0x" + "00" * 64),
        signed.signed("0x" + "ff" * 64),
        MINE.signed("0x" + HotKey(b"\x08" * 32).sign(signing_digest(MINE)).hex()),
    ):
        assert standing(changed)[0] == "forged"


def test_sign__key_of_another__refused():
    with pytest.raises(WrongProvider, match="the key is of"):
        sign(MANIFEST, KEY)
