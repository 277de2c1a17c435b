from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.adapter import AdapterSettings
from feeds.sources.secret import Secret
from oracle.config import (
    ChainSettings,
    ClockSettings,
    FaultSettings,
    FeedSettings,
    HttpSettings,
    KeySettings,
    LocalConfig,
    ModelSettings,
    NodeSettings,
    QuestionSettings,
    load,
    to_toml,
)
from oracle.errors import ConfigError
from oracle.settings import SettingError
from oracle.source_settings import LiveSettings, ReplaySettings
from tests.strategies.settings import MINIMAL

LIVE = LiveSettings("adapter", AdapterSettings(name="far", url="http://127.0.0.1:9/", symbols=("EUR/USD",)), 10.0)


def write(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def full(folder: Path) -> LocalConfig:
    return LocalConfig(
        path=folder / "node.toml",
        node=NodeSettings("alder", folder / "data", "debug"),
        chain=ChainSettings("https://rpc.example/v3", 31337, "0x" + "ab" * 20, "0x" + "cd" * 20, 7, 3, 5),
        key=KeySettings(folder / "key.json", password_file=folder / 'pass"word\\'),
        http=HttpSettings("127.0.0.2", 9301, Secret("env", "BRIDGE_TOKEN")),
        clock=ClockSettings("stepped", 1_508_112_000_123),
        sources=(ReplaySettings("mid", "eurusd:mid", "EUR/USD"),),
        feeds=(
            FeedSettings(0, "EUR/USD", ("mid",), 7200, 1, min_depth=250_000.5),
            FeedSettings(
                4,
                "EUR/USD",
                ("mid", "far"),
                7200,
                1,
                ("far",),
                QuestionSettings("EUR/USD", "1.1750", 1_509_000_000_000),
            ),
        ),
        models=ModelSettings(folder / "bundles", ("0x" + "ab" * 32,), 1_505_865_600_000),
        faults=FaultSettings(10, 100, 150),
    )


def test_load__minimal_file__has_defaults_and_paths_beside_the_file(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL))
    assert config.http == HttpSettings("127.0.0.1", 9300)
    assert config.clock == ClockSettings("system", 0)
    assert config.node.data_dir == tmp_path / "data"
    assert (config.sources, config.feeds, config.models, config.faults) == ((), (), None, None)


def test_to_toml__load__gives_the_same_config(tmp_path: Path) -> None:
    config = full(tmp_path)
    assert load(write(tmp_path, to_toml(config))) == config


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "alder"', "", ["node.name", "given nothing", "Add `name` to [node]"]),
        ('name = "alder"', 'name = "a b"', ["node.name", "'a b'", "letters"]),
        ('name = "alder"', 'name = "a"\nlog_levle = "info"', ["node.log_levle", "Did you mean `log_level`?"]),
        ('name = "alder"', 'name = "a"\nlog_level = "loud"', ["node.log_level", "'loud'", '"debug"']),
        ("chain_id = 1", "chain_id = 0", ["chain.chain_id", "given 0", "from 1 to"]),
        ("chain_id = 1", "chain_id = true", ["chain.chain_id", "given True"]),
        ("chain_id = 1", 'chain_id = "1"', ["chain.chain_id", "given '1'"]),
        ("port = 9300", "port = 70000", ["http.port", "70000", "65535"]),
        ("port = 9300", 'port = 1\nhost = "example"', ["http.host"]),
        ("port = 9300", 'port = 1\nhost = "1.2.3"', ["http.host", "IP address"]),
        ('"http://127.0.0.1:8545"', '"ftp://x"', ["chain.rpc_url", "'ftp://x'"]),
        ('"0x00000000000000000000000000000000000000aa"', '"0xaa"', ["chain.aggregator", "40 hex digits"]),
        ('password_env = "SECRET"', "", ["key.password_file", "exactly one"]),
        ('password_env = "SECRET"', 'password_env = "A"\npassword_file = "b"', ["key.password_file", "exactly one"]),
        ('password_env = "SECRET"', 'password = "hunter2"', ["key.password", "(hidden)", "password_file"]),
        ("[http]", "[[http]]", ["http", "a table"]),
        ("[node]", "surprise = 1\n[node]", ["surprise", "known keys"]),
        ("port = 9300", "port = 1\n[clock]\nmode = \"stepped\"", ["clock.start", "given nothing"]),
        ("port = 9300", "port = 1\n[clock]\nstart = 2017-01-01T00:00:00Z", ["clock.start", "Remove it"]),
        ("port = 9300", "port = 1\n[clock]\nmode = \"stepped\"\nstart = 2017-01-01T00:00:00", ["clock.start", "zone"]),
        ("port = 9300", "port = 1\n[faults]\nprice_multiplier = 10\nfrom_slot = 5\nto_slot = 5", ["faults.to_slot"]),
        ("port = 9300", "port = 1\n[[feeds]]\nnumber = 0\nsymbol = \"A\"\nsources = []", ["feeds[0].sources"]),
        ("port = 9300", "port = 1\n[[feeds]]\nnumber = 0\nsymbol = \"A\"\nsources = [\"x\", \"x\"]", ["repeated"]),
        (
            "port = 9300",
            "port = 1\n[[feeds]]\nnumber = 0\nsymbol = \"A\"\nsources = [\"x\"]\nmin_depth = 0",
            ["feeds[0].min_depth", "given 0"],
        ),
        ("port = 9300", "port = 1\n[[sources]]\nname = \"a\"\nkind = \"http\"", ["sources[0].kind", '"replay"']),
        ("port = 9300", "port = 1\nadapter_token = \"hunter2\"", ["http.adapter_token", "(hidden)", "env:NAME"]),
        ("port = 9300", "port = 1\nadapter_token = \"Bearer env:A\"", ["http.adapter_token", "always Bearer"]),
        ("port = 9300", "port = 9300 9", ["not valid TOML"]),
    ],
)  # fmt: skip
def test_load__bad_setting__names_file_key_given_allowed_and_mend(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    path = write(tmp_path, MINIMAL.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load(path)
    line = str(caught.value)
    assert str(path) in line and all(word in line for word in words), line
    assert "hunter2" not in line and "\n" not in line.split("(", 1)[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"http": HttpSettings("0.0.0.0", 1)}, ["stepped clock", "loopback", "0.0.0.0"]),
        ({"clock": ClockSettings()}, ["rehearsed fault", "stepped"]),
        ({"sources": ()}, ["feed 0", "'mid'"]),
        ({"models": None}, ["event feed 4", "[models]"]),
        ({"sources": (ReplaySettings("mid", "eurusd:mid", "EUR/USD"), LIVE)}, ["'far' is live", "stepped"]),
        ({"feeds": (FeedSettings(1, "A", ("mid",)), FeedSettings(1, "B", ("mid",)))}, ["feed 1 is given twice"]),
        ({"sources": (ReplaySettings("mid", "eurusd:mid", "A"),) * 2}, ["'mid' is given twice"]),
        (
            {"feeds": (FeedSettings(1, "A", ("mid",), question=QuestionSettings("A", "1", 0), min_depth=1.0),)},
            ["event feed 1 has min_depth", "Remove it"],
        ),
    ],
)
def test_load__contradiction__is_refused(tmp_path: Path, change: dict[str, object], words: list[str]) -> None:
    path = write(tmp_path, to_toml(replace(full(tmp_path), **change)))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert all(word in str(caught.value) for word in [str(path), *words])


def test_load__no_such_file__says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot read"):
        load(tmp_path / "none.toml")


def test_setting_error__carries_given_and_allowed(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        load(write(tmp_path, MINIMAL.replace("chain_id = 1", "chain_id = -4")))
    assert (caught.value.key, caught.value.given) == ("chain.chain_id", -4)


@given(data=st.binary(max_size=200))
def test_load__any_bytes__is_a_config_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "node.toml"
    path.write_bytes(MINIMAL.encode() + data)
    with contextlib.suppress(ConfigError):
        load(path)
