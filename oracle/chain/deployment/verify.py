"""Whether the chain holds what the plan says: code byte by byte, every tie and setting by reading it back.

Why this file exists: "deployed" is a claim of the deployer; this is how anybody checks it, at the end of a deployment
and years later. Code is compared with the rehearsal's, immutables included, because chain id, addresses and arguments
are the same there. Never in it: a key, a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from decimal import Decimal
from typing import Any

from eth_utils.address import to_checksum_address
from web3 import Web3

from oracle.chain.deploy import contract_at
from oracle.chain.deployment.plan import DeployPlan
from oracle.chain.deployment.plan_feeds import ZERO, ListedFeed
from oracle.chain.deployment.record import plain
from oracle.chain.deployment.rehearsal import Rehearsal
from oracle.chain.deployment.runner import asking
from oracle.chain.deployment.steps import OWNED, Deployment
from oracle.chain.faces import PROXY, Face
from oracle.errors import ChainFault, ConfigError

PPM = 1_000_000
FIELDS = ("roundId", "answer", "startedAt", "updatedAt", "answeredInRound")


class Mismatch(ChainFault):
    """The chain holds something else than the plan says."""


class ReferenceDisagrees(ConfigError):
    """A live feed that the plan names does not say what the plan's author states."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at on chain: what it is, what it should be, what it is."""

    what: str
    expected: Any
    found: Any

    @property
    def holds(self) -> bool:
        """Whether both agree."""
        return bool(self.expected == self.found)


@dataclass(frozen=True, slots=True)
class _Tie:
    contract: str
    address: str
    label: str
    function: str
    arguments: tuple[Any, ...]
    expected: Any


def verify(w3: Web3, deployment: Deployment, rehearsal: Rehearsal) -> list[Check]:
    """Everything that can be read back of a whole deployment. Raises ChainFault where the RPC does not answer."""
    checks = []
    for step in deployment.steps:
        if step.creates is None:
            continue
        with asking(f"code of {step.name}"):
            code = bytes(w3.eth.get_code(to_checksum_address(step.creates)))
        checks.append(Check(f"code of {step.name} at {step.creates}", _code(rehearsal.code[step.creates]), _code(code)))
    if any(not check.holds for check in checks):
        return checks  # what other code answers means nothing
    for tie in _ties(deployment):
        what = f"{tie.label}.{tie.function}({', '.join(map(str, tie.arguments))})"
        with asking(what):
            handle = contract_at(w3, tie.contract, tie.address)
            found = handle.get_function_by_name(tie.function)(*tie.arguments).call()
        checks.append(Check(what, plain(tie.expected), plain(found)))
    return [*checks, _request_fee(w3, deployment)]


def _request_fee(w3: Web3, deployment: Deployment) -> Check:
    """The fee that is asked is never below the plan's; it is above while gas is dear."""
    least = deployment.plan.gates.request_fee
    with asking("Aggregator.requestFee()"):
        found = contract_at(w3, "Aggregator", deployment.addresses["Aggregator"]).functions.requestFee().call()
    return Check("Aggregator.requestFee(), at least", least, min(least, found))


def refuse_mismatch(checks: Sequence[Check]) -> None:
    """Raise Mismatch that names each check which does not hold."""
    wrong = [check for check in checks if not check.holds]
    if wrong:
        shown = "; ".join(f"{check.what}: expected {check.expected}, found {check.found}" for check in wrong[:10])
        rest = f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise Mismatch(f"{len(wrong)} of {len(checks)} checks fail: {shown}{rest}", given=len(wrong))


def check_surroundings(w3: Web3, plan: DeployPlan) -> None:
    """What the plan says of contracts that exist already: token, sequencer source, reference feeds.

    Raises ConfigError, or ChainFault where the RPC does not answer.
    """
    for what, address in (("token.address", plan.token.address), ("gates.sequencer", plan.gates.sequencer)):
        if address is not None and not _has_code(w3, address):
            raise ConfigError(f"{what}: there is no contract at {address} on this chain; mend the plan", given=address)
    if plan.gates.sequencer is not None:
        _, answer, since, *_ = _round(w3, plan.gates.sequencer, "gates.sequencer")
        if answer not in (0, 1) or since == 0:
            says = f"{plan.gates.sequencer} answers {answer} since {since}"
            want = "an uptime feed answers 0 (up) or 1 (down) and since when; mend the plan"
            raise ConfigError(f"gates.sequencer: {says}; {want}", given=answer)
    for feed in plan.feeds:
        if feed.reference_feed is not None:
            _check_reference(w3, feed, feed.reference_feed)


def existing_code(w3: Web3, plan: DeployPlan) -> dict[str, bytes]:
    """Code of the contracts that the plan names and does not deploy, for the rehearsal."""
    with asking("code of existing contracts"):
        named = [address for address in (plan.token.address, plan.gates.sequencer) if address is not None]
        return {address: bytes(w3.eth.get_code(to_checksum_address(address))) for address in named}


def _check_reference(w3: Web3, feed: ListedFeed, address: str) -> None:
    what = f"feed {feed.spec.number}: reference_feed {address}"
    _, answer, *_ = _round(w3, address, what)
    with asking(what):
        decimals = _reader(w3, address).functions.decimals().call()
    live = Decimal(answer).scaleb(-decimals)
    stated = Decimal(feed.reference).scaleb(-feed.spec.decimals)
    if abs(live - stated) * PPM > stated * feed.within:
        says = f"says {live.normalize():f}, the plan states {stated.normalize():f}"
        why = f"further apart than {feed.within} ppm: wrong pair, wrong unit or an old plan"
        raise ReferenceDisagrees(f"{what}: {says}, {why}", given=live, limit=stated)


def _round(w3: Web3, address: str, what: str) -> tuple[int, ...]:
    with asking(f"{what}: latestRoundData"):
        return tuple(_reader(w3, address).functions.latestRoundData().call())


def _reader(w3: Web3, address: str) -> Any:
    outputs = [{"name": name, "type": kind} for name, kind in zip(FIELDS, _ROUND_TYPES, strict=True)]
    abi = [
        {"type": "function", "name": "latestRoundData", "stateMutability": "view", "inputs": [], "outputs": outputs},
        {"type": "function", "name": "decimals", "stateMutability": "view", "inputs": [],
         "outputs": [{"name": "", "type": "uint8"}]},
    ]  # fmt: skip
    return w3.eth.contract(address=to_checksum_address(address), abi=abi)


_ROUND_TYPES = ("uint80", "int256", "uint256", "uint256", "uint80")


def _has_code(w3: Web3, address: str) -> bool:
    with asking(f"code at {address}"):
        return bool(w3.eth.get_code(to_checksum_address(address)))


def _code(code: bytes) -> str:
    return f"{len(code)} bytes, keccak {Web3.keccak(code).to_0x_hex()}" if code else "none"


# Ties


def _ties(deployment: Deployment) -> Iterator[_Tie]:
    """Every view whose answer follows from the plan."""
    plan, at = deployment.plan, deployment.addresses
    token = plan.token.address or at["OracleToken"]
    expected: dict[str, dict[str, Any]] = {
        "Staking": {
            "token": token, "minSelfBond": plan.rules.min_self_bond, "epochSeconds": plan.rules.epoch_seconds,
            "evidenceSeconds": plan.rules.evidence_seconds, "voteSeconds": plan.rules.vote_seconds,
            "aggregator": at["Aggregator"], "slashing": at["Slashing"],
        },
        "Configurator": {
            "staking": at["Staking"], "aggregator": at["Aggregator"], "timing": astuple(plan.timing),
        },
        "Aggregator": {
            "configurator": at["Configurator"], "staking": at["Staking"], "guardian": plan.gates.guardian or ZERO,
            "sequencer": (plan.gates.sequencer or ZERO, plan.gates.sequencer_grace),
        },
        "Slashing": {"staking": at["Staking"], "evidenceSeconds": plan.rules.evidence_seconds},
        "FeedFactory": {"aggregator": at["Aggregator"]},
    }  # fmt: skip
    for name in OWNED:
        expected[name]["owner"] = plan.owner
    for name, views in expected.items():
        for function, value in views.items():
            yield _Tie(name, at[name], name, function, (), value)
    for place, contract in enumerate([face.contract for face in Face] + [PROXY]):
        blueprint = at[f"{contract} blueprint"]
        yield _Tie("FeedFactory", at["FeedFactory"], "FeedFactory", "blueprintOf", (place,), blueprint)
    for feed in plan.feeds:
        yield from _feed_ties(deployment, feed)


def _feed_ties(deployment: Deployment, feed: ListedFeed) -> Iterator[_Tie]:
    at, spec = deployment.addresses, feed.spec
    number = int(spec.number)
    yield _Tie("Configurator", at["Configurator"], "Configurator", "stagedSpec", (number,), astuple(spec))
    factory = at["FeedFactory"]
    for chosen in feed.faces:
        label = f"{chosen} of feed {number}"
        key = (int(chosen.face), number, chosen.component)
        yield _Tie("FeedFactory", factory, "FeedFactory", "addressOf", key, at[label])
        yield _Tie("FeedFactory", factory, "FeedFactory", "isFace", (at[label],), True)
        for function, value in (
            ("aggregator", at["Aggregator"]), ("number", number), ("kind", int(spec.kind)), ("base", spec.base),
            ("quote", spec.quote),
        ):  # fmt: skip
            yield _Tie(chosen.face.contract, at[label], label, function, (), value)
        if chosen.face.of_component:
            yield _Tie(chosen.face.contract, at[label], label, "component", (), chosen.component)
    for chosen in feed.proxies:
        face, label = at[f"{chosen} of feed {number}"], f"proxy over {chosen} of feed {number}"
        yield _Tie("FeedFactory", factory, "FeedFactory", "isProxy", (at[label],), True)
        for function, value in (("factory", factory), ("aggregator", face), ("owner", deployment.plan.owner)):
            yield _Tie(PROXY, at[label], label, function, (), value)
