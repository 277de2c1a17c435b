"""Bodies of evidence: kept whole under their hash, and never shown if they are not what was kept."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.events.evidence import EvidenceStore, body_hash
from feeds.sources.source import BadRule, EvidenceDamaged


@pytest.fixture
def store(tmp_path):
    return EvidenceStore(tmp_path / "evidence", max_body=1000)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    return EvidenceStore(tmp_path_factory.mktemp("lasting"), max_body=1000)


@settings(max_examples=40)
@given(st.binary(max_size=1000))
def test_keep__any_body__is_read_back_by_its_hash(lasting, body):
    sha256 = lasting.keep(body)
    assert sha256 == body_hash(body) == lasting.keep(body)
    assert lasting.read(sha256) == body
    assert (lasting.path / sha256[:2] / sha256).read_bytes() == body


@given(st.text(max_size=70))
def test_read__any_hash__body_or_evidence_damaged(lasting, sha256):
    with pytest.raises(EvidenceDamaged):
        lasting.read(sha256)


@pytest.mark.parametrize("name", ["../" * 10 + "etc/passwd", "a" * 64 + "\n", "A" * 64, "/" + "a" * 63])
def test_read__name_that_is_no_hash__refused_before_the_disk(store, name):
    with pytest.raises(EvidenceDamaged, match="no SHA-256"):
        store.read(name)


@pytest.mark.parametrize("forged", [b"", b"a body!", b"another", b"x" * 1001])
def test_read__tampered_body__detected(store, forged):
    sha256 = store.keep(b"a body.")
    file = store.path / sha256[:2] / sha256
    file.write_bytes(forged)
    with pytest.raises(EvidenceDamaged):
        store.read(sha256)
    with pytest.raises(EvidenceDamaged):
        store.verify()
    with pytest.raises(EvidenceDamaged):
        store.keep(b"a body.")
    assert file.read_bytes() == forged, "what lies there is itself evidence, of tampering"


def test_read__link_or_pipe_in_its_place__refused_without_waiting(store, tmp_path):
    sha256 = store.keep(b"a body.")
    file = store.path / sha256[:2] / sha256
    (tmp_path / "elsewhere").write_bytes(b"a body.")
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EvidenceDamaged):
        store.read(sha256)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(EvidenceDamaged):
        store.read(sha256)


def test_keep__longer_than_the_limit__refused_and_nothing_written(store):
    with pytest.raises(EvidenceDamaged, match="limit 1000"):
        store.keep(b"x" * 1001)
    assert not store.path.exists()


@pytest.mark.parametrize("size", [0, -1, 1 << 31])
def test_store__limit_out_of_range__refused(tmp_path, size):
    with pytest.raises(BadRule):
        EvidenceStore(tmp_path, max_body=size)


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_keep__disk_refuses__evidence_damaged_and_no_trace(store, monkeypatch, call):
    sha256 = store.keep(b"first")

    def refuse(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(EvidenceDamaged, match="No space left"):
            store.keep(b"second")
    assert store.read(sha256) == b"first" and store.verify() == 1
    assert [path.name for path in store.path.rglob(".tmp-*")] == []
    store.keep(b"second")
    assert store.verify() == 2
