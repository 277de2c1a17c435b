"""`[[sources]]` tables: every kind read, refused with the mend, and written back."""

from __future__ import annotations

import contextlib
import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.secret import Secret
from oracle.settings import SettingError, Table
from oracle.source_settings import KINDS, LiveSettings, ReplaySettings, SourceSettings, read_source, write_source

FILE = Path("/etc/dodona/node.toml")
ADDRESS = "0x" + "ab" * 20
CHAIN = {"symbol": "ETH/USD", "rpc_url": "env:RPC_URL", "chain_id": 1}
POOL = CHAIN | {
    "pool": ADDRESS,
    "base": "0x" + "cd" * 20,
    "quote": ADDRESS,
    "min_liquidity": 1e6,
    "depth_bps": [50, 100.5],
}
MINIMAL: dict[str, dict[str, Any]] = {
    "replay": {"data": "bars.csv#a", "symbol": "EUR/USD"},
    "exchange": {"venue": "kraken", "symbols": ["BTC/USD", "ETH/USD"]},
    "json": {"url": "https://api.example/{base}", "symbols": ["BTC/USD"], "price": "$.price"},
    "adapter": {"url": "http://127.0.0.1:8080/", "symbols": ["BTC/USD"]},
    "aggregator_v3": CHAIN | {"address": ADDRESS, "heartbeat_s": 3600},
    "pyth": CHAIN | {"address": ADDRESS, "feed_id": "0x" + "ef" * 32},
    "uniswap_v2": POOL,
    "uniswap_v3": POOL,
    "polymarket": {"market": "will-it-rain"},
    "manifold": {"market": "abc123"},
    "kalshi": {"market": "RAIN-24"},
}


def table(values: dict[str, Any]) -> Table:
    return Table(FILE, "sources[0]", values)


def read(of: str, **changes: Any) -> SourceSettings:
    """The minimal table of a kind with changes; None takes a key away."""
    values = {"name": "s", "kind": of} | MINIMAL[of] | changes
    return read_source(table({key: value for key, value in values.items() if value is not None}))


def again(settings: SourceSettings) -> SourceSettings:
    """Written and read back."""
    (values,) = tomllib.loads(write_source(settings))["sources"]
    return read_source(table(values))


def test_kinds__each_has_an_example_here() -> None:
    assert set(MINIMAL) == {"replay", *KINDS}


@pytest.mark.parametrize("kind", MINIMAL)
def test_read__minimal_table_of_each_kind__is_written_and_read_back_equal(kind: str) -> None:
    settings = read(kind)
    assert settings.name == "s" and settings.symbols and again(settings) == settings
    if isinstance(settings, LiveSettings):
        assert settings.kind == kind and settings.every_s == KINDS[kind].every_s
        assert read(kind, every_s=7) == dataclasses.replace(read(kind, every_s=7), every_s=7.0)


def test_read__file_of_a_secret_and_of_a_recording__are_beside_the_settings_file() -> None:
    replay, headers = read("replay"), {"X-Key": "file:key", "Authorization": "Bearer file:/run/token", "Accept": "a/b"}
    assert replay == ReplaySettings("s", "/etc/dodona/bars.csv#a", "EUR/USD")
    live = read("json", headers=headers)
    assert isinstance(live, LiveSettings)
    assert live.origin.headers == {
        "X-Key": Secret("file", "/etc/dodona/key"), "Authorization": Secret("file", "/run/token", "Bearer"),
        "Accept": "a/b",
    }  # fmt: skip
    chain = read("pyth")
    assert isinstance(chain, LiveSettings) and chain.origin.rpc_url == Secret("env", "RPC_URL")


LITERALS = [
    ("json", "headers", {"Authorization": "hunter2"}),
    ("json", "headers", {"X-Api-Key": "hunter2"}),
    ("json", "headers", {"x-cg-pro-api-key": "hunter2"}),
    ("json", "headers", {"COOKIE": "hunter2"}),
    ("json", "headers", {"X-Session": "Bearer hunter2"}),
    ("json", "query", {"access_token": "hunter2"}),
    ("json", "query", {"apiKey": "hunter2"}),
    ("json", "query", {"client_secret": "hunter2"}),
    ("adapter", "headers", {"Proxy-Authorization": "hunter2"}),
    ("adapter", "data", {"apikey": "hunter2"}),
    ("json", "headers", {"Authorization": "Bearer env:"}),
]


@pytest.mark.parametrize(("kind", "key", "values"), LITERALS)
def test_read__a_secret_itself__is_refused_and_not_repeated(kind: str, key: str, values: dict[str, str]) -> None:
    with pytest.raises(SettingError) as caught:
        read(kind, **{key: values})
    line = str(caught.value)
    assert "(hidden)" in line and "env:NAME" in line and f"sources[0].{key}.{next(iter(values))}" in line
    assert "hunter2" not in line + repr(caught.value.args) + str(caught.value.given)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("adapter", {"kind": "ftp"}, ["sources[0].kind", '"adapter"', '"kalshi"']),
        ("adapter", {"name": "a b"}, ["sources[0].name", "letters"]),
        ("adapter", {"symbols": None}, ["sources[0].symbols", "given nothing", "Add `symbols`"]),
        ("adapter", {"symbols": "BTC/USD"}, ["sources[0].symbols", "a list, each a text"]),
        ("adapter", {"symbols": [1]}, ["sources[0].symbols", "given 1", "a text"]),
        ("adapter", {"symbols": []}, ["sources[0].symbols", "1 to 64 different pairs"]),
        ("adapter", {"urls": "x"}, ["sources[0].urls", "Did you mean `url`?"]),
        ("adapter", {"url": "ftp://x"}, ["sources[0].url", "'ftp://x'"]),
        ("adapter", {"every_s": 0}, ["sources[0].every_s", "0.05"]),
        ("adapter", {"headers": ["x"]}, ["sources[0].headers", "a table"]),
        ("adapter", {"data": {"a": [1]}}, ["sources[0].data.a", "a whole number"]),
        ("aggregator_v3", {"heartbeat_s": 0}, ["sources[0].heartbeat_s", "given 0"]),
        ("aggregator_v3", {"heartbeat_s": 1.5}, ["sources[0].heartbeat_s", "a whole number"]),
        ("aggregator_v3", {"invert": 1}, ["sources[0].invert", "true or false"]),
        ("aggregator_v3", {"address": "0x1"}, ["sources[0].address", "40 hex digits"]),
        ("pyth", {"max_confidence_bps": float("nan")}, ["sources[0].max_confidence_bps", "nan"]),
        ("uniswap_v3", {"depth_bps": [0]}, ["sources[0].depth_bps"]),
        ("exchange", {"venue": "krakken"}, ["sources[0].venue", "'krakken'"]),
        ("exchange", {"price": "last"}, ["sources[0].price", '"mid"']),
        ("exchange", {"streaming": "yes"}, ["sources[0].streaming", "true or false"]),
        ("json", {"price": "$["}, ["sources[0].price"]),
        ("json", {"every_s": 0.01}, ["sources[0].every_s"]),
        ("polymarket", {"outcomes": ["Yes"]}, ["sources[0].outcomes"]),
        ("manifold", {"market": ""}, ["sources[0].market"]),
        ("replay", {"width_s": 0}, ["sources[0].width_s"]),
        ("replay", {"venue": "kraken"}, ["sources[0].venue", "known keys"]),
    ],
)  # fmt: skip
def test_read__wrong_key__names_file_key_given_and_allowed(
    kind: str, changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SettingError) as caught:
        read(kind, **changes)
    assert all(word in str(caught.value) for word in [str(FILE), *words]), str(caught.value)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
PAIRS = st.from_regex(r"[A-Z]{2,5}/[A-Z]{2,5}", fullmatch=True)
SECRETS = st.builds("{}:{}".format, st.just("env"), st.from_regex(r"[A-Z_]{1,9}", fullmatch=True))
HEADERS = st.dictionaries(st.from_regex(r"X-[a-z\"\\\x7f.é ]{1,8}", fullmatch=True), SECRETS, max_size=3)
CHANGES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "replay": st.fixed_dictionaries({}, optional={"width_s": st.integers(1, 604_800), "data": TEXT.filter(bool)}),
    "adapter": st.fixed_dictionaries(
        {"symbols": st.lists(PAIRS, min_size=1, max_size=4, unique=True)},
        optional={"headers": HEADERS, "every_s": st.floats(0.05, 86_400), "url": SECRETS,
                  "data": st.dictionaries(st.sampled_from(["endpoint", 'a"b', "é x"]),
                                          TEXT | st.integers(-9, 9) | st.booleans())},
    ),
    "json": st.fixed_dictionaries(
        {}, optional={"headers": HEADERS, "query": HEADERS, "decimals": st.integers(-30, 77), "size": st.just("$.a"),
                      "invert": st.booleans(), "rate": st.floats(1e-4, 1000), "every_s": st.integers(1, 86_400)},
    ),
    "uniswap_v3": st.fixed_dictionaries(
        {}, optional={"min_price": st.floats(0, 1e3), "max_price": st.just(float("inf")) | st.floats(1e4, 1e300),
                      "depth_bps": st.lists(st.floats(0.1, 9999) | st.integers(1, 9999), max_size=3)},
    ),
    "kalshi": st.fixed_dictionaries({}, optional={"event": st.booleans(), "every_s": st.floats(1, 1e4)}),
}  # fmt: skip


@given(name=NAMES, data=st.data())
@pytest.mark.parametrize("kind", CHANGES)
def test_write__any_settings__are_read_back_equal(kind: str, name: str, data: st.DataObject) -> None:
    settings = read(kind, name=name, **data.draw(CHANGES[kind]))
    assert again(settings) == settings


LEAVES = st.booleans() | st.integers() | st.floats() | TEXT | SECRETS | st.datetimes()
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(TEXT, LEAVES, max_size=2)
FIELDS = sorted({field.name for kind in KINDS.values() for field in dataclasses.fields(kind.settings)} | {"every_s"})


@given(kind=st.sampled_from(sorted(MINIMAL)), changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
def test_read__any_values__are_settings_or_a_setting_error(kind: str, changes: dict[str, Any]) -> None:
    with contextlib.suppress(SettingError):
        read(kind, **changes)


KEY = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("json", {"headers": f"Authorization: Bearer {KEY}"}), ("json", {"headers": [f"Bearer {KEY}"]}),
        ("json", {"headers": {"X-Foo": [KEY]}}), ("json", {"headers": {"X-Foo": {"a": KEY}}}),
        ("json", {"query": f"apikey={KEY}"}), ("json", {"query": {"x": [KEY]}}),
        ("json", {"url": f"https://api.example/{{base}}?apikey={KEY}"}),
        ("json", {"url": f"https://api.example/{{base}}?x=1&access_token={KEY}"}), ("json", {"url": [KEY]}),
        ("json", {"api_key": KEY}), ("json", {"header": {"X-Key": KEY}}),
        ("adapter", {"data": KEY}), ("adapter", {"data": {"x": [KEY]}}),
        ("adapter", {"url": f"https://x.example/?token={KEY}"}), ("adapter", {"url": [f"https://x.example/{KEY}"]}),
        ("aggregator_v3", {"rpc_ur": f"https://rpc.example/v3/{KEY}"}), ("aggregator_v3", {"rpc_url": [KEY]}),
        ("aggregator_v3", {"rpc_url": f"https://rpc.example/?key={KEY}"}),
        ("polymarket", {"url": f"https://x.example/?token={KEY}"}),
        ("exchange", {"url": f"https://x.example/{KEY}"}), ("exchange", {"secret": KEY}),
    ],
)  # fmt: skip
def test_read__secret_in_the_wrong_place__refused_and_in_no_error(kind: str, changes: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as caught:
        read(kind, **changes)
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__


def test_read__url_with_a_short_or_filled_in_token__is_no_secret() -> None:
    for url in ("https://api.example/?token=BTC&x={base}", "https://api.example/?token={base}"):
        assert again(read("json", url=url)) == read("json", url=url)
