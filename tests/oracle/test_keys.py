from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from oracle.config import KeySettings
from oracle.errors import ConfigError, LocalFault
from oracle.keys import HALF_ORDER, SECP256K1_ORDER, HotKey, create_keystore, load_key, possession_digest, recover

SECRETS = st.integers(1, SECP256K1_ORDER - 1).map(lambda number: number.to_bytes(32))
DIGESTS = st.binary(min_size=32, max_size=32)


@given(SECRETS, DIGESTS)
def test_sign__any_digest__is_low_s_and_recovers_the_key(secret: bytes, digest: bytes) -> None:
    key = HotKey(secret)
    signature = key.sign(digest)
    assert len(signature) == 64 and int.from_bytes(signature[32:]) & ((1 << 255) - 1) <= HALF_ORDER
    assert recover(digest, signature) == key.address
    assert key.checksum_address == Account.from_key(secret).address


@given(DIGESTS, st.integers(HALF_ORDER + 1, (1 << 255) - 1), st.integers(0, 1))
def test_recover__high_s__is_refused(digest: bytes, s: int, parity: int) -> None:
    r = HotKey(bytes(31) + b"\x01").sign(digest)[:32]
    assert recover(digest, r + (s | parity << 255).to_bytes(32)) is None


@given(DIGESTS, st.binary(max_size=130))
def test_recover__any_bytes__is_an_address_or_none(digest: bytes, signature: bytes) -> None:
    found = recover(digest, signature)
    assert found is None or len(found) == 20


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, (1).to_bytes(32) + bytes(32), b"", bytes(65)])
def test_recover__impossible_signature__is_none(signature: bytes) -> None:
    assert recover(bytes(32), signature) is None


def test_possession_digest__is_that_of_eip_712() -> None:
    owner, key, staking = bytes([1]) * 20, bytes([2]) * 20, bytes([3]) * 20
    typed = encode_typed_data(
        {"name": "Dodona Staking", "version": "1", "chainId": 5, "verifyingContract": "0x" + staking.hex()},
        {
            "KeyRegistration": [
                {"name": "owner", "type": "address"},
                {"name": "key", "type": "address"},
                {"name": "nonce", "type": "uint256"},
            ]
        },
        {"owner": "0x" + owner.hex(), "key": "0x" + key.hex(), "nonce": 9},
    )
    hot = HotKey(bytes(31) + b"\x07")
    theirs = Account.sign_message(typed, hot.secret)
    ours = hot.sign(possession_digest(5, staking, owner, key, 9))
    assert int.from_bytes(ours[:32]) == theirs.r and int.from_bytes(ours[32:]) & ((1 << 255) - 1) == theirs.s


def test_keystore__created__opens_with_its_password_and_nobody_else_reads_it(tmp_path: Path) -> None:
    path, password = tmp_path / "keys" / "hot.json", tmp_path / "password"
    password.write_text("correct horse\n")
    key = create_keystore(path, "correct horse", light=True)
    assert load_key(KeySettings(path, password_file=password)).address == key.address
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(file.name for file in path.parent.iterdir()) == ["hot.json"]
    assert key.secret.hex() not in repr(key) + path.read_text()


def test_keystore__exists__is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "hot.json"
    create_keystore(path, "a", light=True)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        create_keystore(path, "a", light=True)
    assert path.read_bytes() == before


def test_load_key__password_from_environment__opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = create_keystore(tmp_path / "k.json", "from env", light=True)
    settings = KeySettings(tmp_path / "k.json", password_env="DODONA_TEST_PASSWORD")
    with pytest.raises(ConfigError, match="DODONA_TEST_PASSWORD is not set"):
        load_key(settings)
    monkeypatch.setenv("DODONA_TEST_PASSWORD", "wrong")
    with pytest.raises(ConfigError, match="wrong password"):
        load_key(settings)
    monkeypatch.setenv("DODONA_TEST_PASSWORD", "from env")
    assert load_key(settings).address == key.address


@pytest.mark.parametrize(
    "content", ["", "[]", '{"version": 1}', '{"version": 3}', '{"version": 3, "crypto": {"kdf": 1}}']
)
def test_load_key__damaged_keystore__names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "k.json").write_text(content)
    (tmp_path / "p").write_text("x")
    with pytest.raises(ConfigError, match=r"k\.json"):
        load_key(KeySettings(tmp_path / "k.json", password_file=tmp_path / "p"))


@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["version", "crypto", "Crypto", "kdf", "kdfparams", "mac", "cipher", "ciphertext", "n", "c"]
                ),
                inner,
            )
        ),
        max_leaves=8,
    )
)
def test_load_key__any_json__is_a_config_error(tmp_path_factory: pytest.TempPathFactory, data: object) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    content = {**data, "version": 3} if isinstance(data, dict) else data
    (folder / "k.json").write_text(json.dumps(content))
    (folder / "p").write_text("x")
    with pytest.raises(ConfigError):
        load_key(KeySettings(folder / "k.json", password_file=folder / "p"))


def test_hot_key__not_a_key__is_a_local_fault() -> None:
    for secret in (bytes(32), b"\xff" * 32, b"x"):
        with pytest.raises(LocalFault):
            HotKey(secret)
