"""The deployment plan: every number ranged, every price feed held against what its author says it is worth."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.chain.deployment.plan import DeployPlan, differences, load_plan, parse_plan
from oracle.chain.faces import Face
from oracle.errors import ConfigError
from tests.strategies.deployments import CORE, EVENT, FORECAST, OWNER, PRICE, WHOLE

HERE = Path("plan.toml")


def parse(text: str) -> DeployPlan:
    return parse_plan(HERE, text)


def swapped(text: str, key: str, value: str) -> str:
    """The text with the line of `key` replaced (or, if there is none, appended)."""
    lines = text.splitlines()
    place = [number for number, line in enumerate(lines) if line.startswith(f"{key} =")]
    new = f"{key} = {value}"
    if not place:
        return "\n".join([*lines, new])
    return "\n".join(line if number != place[0] else new for number, line in enumerate(lines))


def without(text: str, key: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(f"{key} ="))


def test_plan__whole__says_what_the_file_says() -> None:
    plan = parse(WHOLE)
    assert plan.owner == OWNER and plan.token.supply == 10**24 and plan.token.holder == OWNER
    assert (plan.rules.min_self_bond, plan.rules.epoch_seconds) == (10**22, 86_400)
    assert plan.timing.max_report_age == 150  # two slots and 30 seconds
    price, forecast, event = plan.feeds
    assert (price.reference, price.spec.min_value, price.spec.max_value) == (117_450_000, 1_174_500, 11_745_000_000)
    assert [str(face) for face in price.faces] == ["Feed", "StrictFeed", "PositiveFeed"]
    assert forecast.faces[0].face is Face.FORECAST and forecast.spec.decimals == 6
    assert str(event.faces[0]) == "EventFeed:1" and (event.spec.min_value, event.spec.max_value) == (0, 1)
    assert event.spec.base.rstrip(b"\0") == b"EUR/USD at 1.1750" and event.spec.quote == bytes(32)


def test_plan__layout_and_comments__do_not_count_in_its_hash() -> None:
    other = "# a comment\n" + CORE.replace("1_000_000e18", "1000e21") + PRICE
    assert parse(CORE + PRICE).hash == parse(other).hash
    assert parse(CORE).hash != parse(CORE + PRICE).hash


def test_plan__one_value_differs__is_named() -> None:
    before, now = parse(CORE + PRICE), parse(CORE + swapped(PRICE, "heartbeat", "1800"))
    assert differences(before.stated(), now.stated()) == ["feeds.0.heartbeat: was 3600, is 1800"]


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (without(CORE, "owner"), "owner", "given nothing"),
        (swapped(CORE, "owner", '"0x0000000000000000000000000000000000000000"'), "owner", "Nobody holds"),
        (swapped(CORE, "owner", '"0x00000000000000000000000000000000000a11Ce"'), "owner", "checksum"),
        (swapped(CORE, "supply", "5"), "token.supply", "as text"),
        (swapped(CORE, "supply", '"1__0"'), "token.supply", "as text"),
        (swapped(CORE, "supply", '"1e39"'), "token.supply", "from 1 to"),
        (CORE.replace("supply", f'address = "{OWNER}"\nsupply'), "token.supply", "remove it"),
        (swapped(CORE, "min_self_bond", '"0"'), "staking.min_self_bond", "from 1 to"),
        (swapped(CORE, "epoch_seconds", "59"), "staking.epoch_seconds", "from 60 to"),
        (swapped(CORE, "evidence_seconds", "true"), "staking.evidence_seconds", "whole number"),
        (swapped(CORE, "slot_seconds", "0"), "timing.slot_seconds", "from 1 to"),
        (swapped(CORE, "grace_ms", "60000"), "timing.grace_ms", "from 0 to 59999"),
        (swapped(CORE, "max_report_age", "59"), "timing.max_report_age", "at least slot_seconds"),
        (swapped(CORE, "min_validators", "65"), "timing.min_validators", "from 1 to 64"),
        (CORE + "[gates]\nsequencer_grace = 1", "gates.sequencer_grace", "without `sequencer`"),
        (CORE + f'[gates]\nsequencer = "{OWNER}"', "gates.sequencer_grace", "given nothing"),
        (CORE + "[gate]\n", "gate", "Did you mean `gates`"),
        ("owner = ", "plan.toml", "not valid TOML"),
    ],
    ids=lambda text: None if "\n" not in text else "plan",
)
def test_plan__bad_value__is_refused_by_its_name(text: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert key in str(refused.value) and words in str(refused.value), str(refused.value)


@pytest.mark.parametrize(
    ("feed", "key", "value", "words"),
    [
        (PRICE, "decimals", "37", "from 0 to 36"),
        (PRICE, "decimals", "3", "more than a basis point"),
        (PRICE, "reference", '"0"', "at least 10000 units"),
        (PRICE, "reference", '"-1"', "positive decimal"),
        (PRICE, "min_value", '"58725001"', "58725000"),
        (PRICE, "min_value", '"117449"', "117450 to"),
        (PRICE, "max_value", '"234899999"', "234900000 to"),
        (PRICE, "max_value", '"117450000001"', "wrong power of ten"),
        (PRICE, "base", '""', "1 to 32 printable"),
        (PRICE, "base", '"euro \\u20ac"', "1 to 32 printable"),
        (PRICE, "veto_band", "39999", "from 40000"),
        (PRICE, "faces", '["ForecastFeed:0"]', "Feed, StrictFeed, PositiveFeed"),
        (PRICE, "proxies", '["StrictFeed"]', "to faces"),
        (PRICE, "reference_feed", '"0x00000000000000000000000000000000000a11Ce"', "checksum"),
        (PRICE, "outcomes", "2", "known keys"),
        (FORECAST, "decimals", "8", "6 for this kind"),
        (FORECAST, "number", "3", "next lane"),
        (FORECAST, "faces", '["ForecastFeed:9"]', "ForecastFeed:8"),
        (FORECAST, "faces", '["PositiveFeed"]', "Feed, StrictFeed, ForecastFeed:0"),
        (FORECAST, "min_value", "0", "to -1"),
        (EVENT, "outcomes", "17", "from 2 to 16"),
        (EVENT, "faces", '["EventFeed:2"]', "EventFeed:1"),
    ],
    ids=lambda text: None if "\n" not in text else "plan",
)
def test_feed__bad_value__is_refused_by_its_name(feed: str, key: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(CORE + swapped(feed, key, value))
    assert "feeds[0]" in str(refused.value) and words in str(refused.value), str(refused.value)


def test_feeds__second_lane_of_a_forecast__cannot_be_taken() -> None:
    with pytest.raises(ConfigError, match=r"feeds\[1\]\.number.*Feed 1 has lane 2"):
        parse(CORE + FORECAST + swapped(PRICE, "number", "2"))


def test_plan_file__absent_or_no_text__is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the plan .*--plan"):
        load_plan(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_plan(tmp_path / "bytes.toml")


@given(st.text(max_size=200))
def test_plan__any_text__is_a_plan_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        parse(CORE + text)


@given(
    st.sampled_from(["supply", "owner", "slot_seconds", "reference", "base", "faces", "min_value", "decimals"]),
    st.one_of(st.integers(), st.text(max_size=40).map(repr), st.booleans().map(lambda b: str(b).lower())),
)
def test_plan__any_value__is_a_plan_or_a_config_error(key: str, value: object) -> None:
    with suppress(ConfigError):
        parse(swapped(CORE + PRICE, key, str(value)))
