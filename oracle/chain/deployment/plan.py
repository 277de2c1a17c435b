"""What is to be deployed: one TOML file, every number ranged, every feed held against a value that a person states.

Why this file exists: a feed listed with wrong decimals or bounds is a loan book lost (design page 6: Moonwell's wrapper
forgot a factor). `load_plan` refuses what cannot be right before anything costs gas. Never in it: a chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contracts import constant_int
from oracle.chain.deploy import Timing
from oracle.chain.deployment.plan_feeds import ListedFeed, read_address, read_feeds
from oracle.errors import ConfigError
from oracle.settings import MAX_FILE_BYTES, Table, parse_toml, read_bounded

DAY = 86_400
YEAR = 366 * DAY
MAX_SUPPLY = 2**128 - 1
AMOUNT = r"[0-9]{1,60}(_[0-9]{1,20}){0,20}(e[0-9]{1,2})?"
AMOUNT_ALLOWED = 'a whole number of the smallest unit as text, e.g. "10_000e18"'


@dataclass(frozen=True, slots=True)
class TokenPlan:
    """The bonded token: an existing one at `address`, or a new OracleToken of `supply` that `holder` gets."""

    address: str | None
    supply: int
    holder: str | None


@dataclass(frozen=True, slots=True)
class Rules:
    """Staking's rules, in the field order of the Vyper struct: smallest unit of the token, then seconds."""

    min_self_bond: int
    epoch_seconds: int
    evidence_seconds: int
    vote_seconds: int


@dataclass(frozen=True, slots=True)
class GatePlan:
    """What the owner sets at the Aggregator: who may pause, the L2's sequencer feed, the fee of a requested round."""

    guardian: str | None
    sequencer: str | None
    sequencer_grace: int
    request_fee: int


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """A whole plan. `owner` holds every role in the end: a timelock, if money depends on it."""

    owner: str
    token: TokenPlan
    rules: Rules
    timing: Timing
    gates: GatePlan
    feeds: tuple[ListedFeed, ...]

    def stated(self) -> dict[str, Any]:
        """Every value of the plan as JSON holds it, by its full name: `timing.slot_seconds`, `feeds.0.decimals`..."""
        flat: dict[str, Any] = {"owner": self.owner}
        for name in ("token", "rules", "timing", "gates"):
            flat |= {f"{name}.{key}": _json(value) for key, value in asdict(getattr(self, name)).items()}
        for feed in self.feeds:
            flat |= {f"feeds.{feed.spec.number}.{key}": _json(value) for key, value in feed.stated().items()}
        return flat

    @property
    def hash(self) -> str:
        """SHA-256 over `stated()`: layout and comments of the file do not count."""
        return plan_hash(self.stated())


def plan_hash(stated: Mapping[str, Any]) -> str:
    """SHA-256 of a plan's values in canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two plans as `stated()` gives them, one line a value."""
    names = sorted(before.keys() | now.keys())
    gone = "nothing"
    return [
        f"{name}: was {before.get(name, gone)!r}, is {now.get(name, gone)!r}"
        for name in names
        if before.get(name, gone) != now.get(name, gone)
    ]


def load_plan(path: Path) -> DeployPlan:
    """Read and check a plan. Raises ConfigError that names the key, what was given, what is allowed and the mend."""
    return parse_plan(path, read_plan(path))


def read_plan(path: Path) -> str:
    """The text of a plan. Raises ConfigError where the file cannot be read as text."""
    try:
        return read_bounded(path, MAX_FILE_BYTES).decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the plan ({error.strerror}); name a TOML file with --plan") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML ({error}); save it as UTF-8 text") from error


def parse_plan(path: Path, text: str) -> DeployPlan:
    """Check the text of a plan, which `path` holds or held. Raises ConfigError as `load_plan` does."""
    top = Table(path, "", parse_toml(path, text))
    owner = read_address(top, "owner")
    plan = DeployPlan(
        owner=owner,
        token=_token(top.table("token"), owner),
        rules=_rules(top.table("staking")),
        timing=_timing(top.table("timing")),
        gates=_gates(top.table("gates")),
        feeds=read_feeds(top),
    )
    top.finish()
    return plan


def _token(table: Table, owner: str) -> TokenPlan:
    if table.has("address"):
        for key in ("supply", "holder"):
            if table.has(key):
                allowed = "nothing beside `address`"
                raise table.fail(key, "a value", allowed, "A token that exists has both: remove it.")
        plan = TokenPlan(read_address(table, "address"), 0, None)
    else:
        supply = _amount(table, "supply", 1, MAX_SUPPLY)
        plan = TokenPlan(None, supply, read_address(table, "holder") if table.has("holder") else owner)
    table.finish()
    return plan


def _rules(table: Table) -> Rules:
    rules = Rules(
        min_self_bond=_amount(table, "min_self_bond", 1, constant_int("MAX_STAKE")),
        epoch_seconds=table.integer("epoch_seconds", 60, 90 * DAY),
        evidence_seconds=table.integer("evidence_seconds", 60, YEAR),
        vote_seconds=table.integer("vote_seconds", 0, YEAR),
    )
    table.finish()
    return rules


def _timing(table: Table) -> Timing:
    slot = table.integer("slot_seconds", 1, DAY)
    age = table.integer("max_report_age", 1, 65_535, min(2 * slot + 30, 65_535))
    if age < slot:
        allowed = f"at least slot_seconds ({slot})"
        raise table.fail("max_report_age", age, allowed, "A report signed at the end of its slot must still be taken.")
    timing = Timing(
        slot_seconds=slot,
        max_report_age=age,
        grace_ms=table.integer("grace_ms", 0, slot * 1000 - 1),
        stage_ms=table.integer("stage_ms", 0, slot * 1000 - 1),
        confirmation=table.integer("confirmation", 0, DAY),
        min_validators=table.integer("min_validators", 1, constant_int("MAX_VALIDATORS")),
    )
    table.finish()
    return timing


def _gates(table: Table) -> GatePlan:
    source = read_address(table, "sequencer") if table.has("sequencer") else None
    if source is None and table.has("sequencer_grace"):
        mend = "Name the uptime feed, or remove it."
        raise table.fail("sequencer_grace", "a value", "nothing without `sequencer`", mend)
    plan = GatePlan(
        guardian=read_address(table, "guardian") if table.has("guardian") else None,
        sequencer=source,
        sequencer_grace=table.integer("sequencer_grace", 0, DAY, None if source else 0),
        request_fee=_amount(table, "request_fee", 0, 10**18) if table.has("request_fee") else 0,
    )
    table.finish()
    return plan


def _amount(table: Table, key: str, low: int, high: int) -> int:
    text = table.text(key, AMOUNT, AMOUNT_ALLOWED)
    digits, _, exponent = text.partition("e")
    amount: int = int(digits) * 10 ** int(exponent or 0)
    if not low <= amount <= high:
        raise table.fail(key, text, f"{AMOUNT_ALLOWED}, from {low} to {high}")
    return amount


def _json(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value) if isinstance(value, int) and abs(value) >= 2**53 else value
