import copy
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.secret import Secret
from feeds.sources.source import BadRule, FeedError, SecretMissing

KEY = "s3cr3t-k3y"


def shown(thing):
    return f"{thing} {thing!r} {pickle.dumps(thing)!r} {copy.deepcopy(thing)!r}"


def test_secret__from_environment__revealed_at_use_and_shown_nowhere(monkeypatch):
    secret = Secret.parse("env:DODONA_TEST_KEY")
    with pytest.raises(SecretMissing, match="set DODONA_TEST_KEY"):
        secret.reveal()
    monkeypatch.setenv("DODONA_TEST_KEY", f" {KEY}\n")
    assert secret.reveal() == KEY
    assert KEY not in shown(secret)
    assert pickle.loads(pickle.dumps(secret)) == secret
    monkeypatch.setenv("DODONA_TEST_KEY", "another")
    assert secret.reveal() == "another"


def test_secret__from_file_with_scheme__put_before_it(tmp_path):
    path = tmp_path / "key file"
    path.write_text(KEY + "\n")
    secret = Secret.parse(f"Bearer file:{path}")
    assert secret.reveal() == f"Bearer {KEY}"
    assert str(secret) == f"Bearer file:{path}"
    assert KEY not in shown(secret)


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"two\nlines", b"caf\xc3\xa9-" + KEY.encode(), b"\x00" + KEY.encode()]
)
def test_secret__unusable_content__refused_without_showing_it(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SecretMissing) as caught:
        Secret.parse(f"file:{path}").reveal()
    assert KEY not in "".join(traceback.format_exception(caught.value)) + shown(caught.value.args)


def test_secret__file_absent_too_large_or_no_path__refused(tmp_path):
    (tmp_path / "large").write_text("a" * 5000)
    for place in (tmp_path / "none", tmp_path, tmp_path / "large"):
        with pytest.raises(SecretMissing, match=str(place)):
            Secret.parse(f"file:{place}").reveal()


@pytest.mark.parametrize("text", [KEY, "", "env:", "env: ", "vault:x", "Two Words env:A", "env:A\nB", None, 7])
def test_parse__no_reference__refused_without_repeating_it(text):
    with pytest.raises(BadRule) as caught:
        Secret.parse(text)
    assert KEY not in str(caught.value)


@given(st.text(max_size=40))
def test_parse__any_text__a_secret_that_reads_back_or_feed_error(text):
    for reference in (text, f"env:{text}", f"Bearer file:{text}"):
        try:
            secret = Secret.parse(reference)
        except FeedError:
            continue
        assert Secret.parse(str(secret)) == secret
        try:
            secret.reveal()
        except FeedError:
            continue
