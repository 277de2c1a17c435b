"""A plan, a chain without sockets and an account, for tests of the deployment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eth_account import Account
from web3 import Web3
from web3.providers.base import JSONBaseProvider

from oracle.chain.deployment.runner import Pace, Runner
from oracle.chain.deployment.session import Session, open_session
from oracle.chain.deployment.verify import refuse_mismatch, verify
from oracle.devchain import DevChain, dev_alloc, dev_key
from oracle.ledger import Ledger

GENESIS = 1_700_000_000
OWNER = "0x00000000000000000000000000000000000A11cE"
DEPLOYER = Account.from_key(dev_key(0)).address
PACE = Pace(give_up_s=5.0, poll_s=0.01)
SHORT = Pace(give_up_s=0.05, poll_s=0.01)
CORE = """
owner = "0x00000000000000000000000000000000000A11cE"
[token]
supply = "1_000_000e18"
[staking]
min_self_bond = "10_000e18"
epoch_seconds = 86400
evidence_seconds = 604800
vote_seconds = 604800
[timing]
slot_seconds = 60
grace_ms = 1000
stage_ms = 2000
confirmation = 60
min_validators = 4
"""
PRICE = """
[[feeds]]
number = 0
kind = "price"
base = "EUR"
quote = "USD"
decimals = 8
reference = "1.1745"
heartbeat = 3600
deviation = 5000
max_dispersion = 20000
jump = 100000
veto_band = 40000
min_sources = 3
min_observers = 3
max_family_share = 10000
methodology = "median of fresh sources"
sources = "three exchanges"
"""
FORECAST = """
[[feeds]]
number = 1
kind = "forecast"
base = "EUR"
quote = "USD"
horizon = 3600
min_value = -1000000
max_value = 1000000
heartbeat = 3600
deviation = 2000
max_dispersion = 20000
jump = 100000
veto_band = 40000
min_sources = 3
min_observers = 3
max_family_share = 5000
methodology = "quantiles of the log return"
sources = "three exchanges"
"""
EVENT = """
[[feeds]]
number = 4
kind = "event"
base = "EUR/USD at 1.1750"
outcomes = 2
heartbeat = 86400
deviation = 10000
max_dispersion = 100000
jump = 1000000
veto_band = 400000
min_sources = 1
min_observers = 3
max_family_share = 10000
methodology = "rules of the question"
sources = "three exchanges"
"""
WHOLE = "\n".join([
    CORE, '[gates]\nguardian = "0x0000000000000000000000000000000000000B0b"\nrequest_fee = "1e12"', PRICE,
    'faces = ["Feed", "StrictFeed", "PositiveFeed"]\nproxies = ["StrictFeed"]', FORECAST,
    'faces = ["ForecastFeed:0"]', EVENT, 'faces = ["EventFeed:1"]',
])  # fmt: skip


class Direct(JSONBaseProvider):
    """web3 on a DevChain in this process. `hook(method, before)` is called around each request."""

    def __init__(self, chain: DevChain) -> None:
        super().__init__()
        self.chain = chain
        self.hook: Callable[[str, bool], None] = lambda method, before: None
        self.answers: dict[str, Callable[[list[Any], Any], Any]] = {}

    def make_request(self, method: Any, params: Any) -> Any:
        self.hook(method, True)
        answer = self.chain.handle(json.loads(self.encode_rpc_request(method, params)))
        self.hook(method, False)
        if method in self.answers and "result" in answer:
            answer["result"] = self.answers[method](list(params), answer["result"])
        return json.loads(json.dumps(answer))


class Key:
    """An account that signs with a development key; `signed` counts."""

    def __init__(self, index: int = 0) -> None:
        self._account = Account.from_key(dev_key(index))
        self.address: str = self._account.address
        self.signed = 0

    def sign(self, fields: Mapping[str, Any]) -> bytes:
        self.signed += 1
        given = {name: value for name, value in fields.items() if value is not None}
        return bytes(self._account.sign_transaction(given).raw_transaction)


class Place:
    """A chain, a folder and a plan file; `run()` is one run of the deployment."""

    def __init__(self, folder: Path, plan: str = CORE + PRICE, chain_id: int = 31337) -> None:
        ledger = Ledger(chain_id, GENESIS, dev_alloc(), GENESIS)
        self.chain = DevChain(ledger)
        self.provider = Direct(self.chain)
        self.w3 = Web3(self.provider)
        self.key, self.said = Key(), list[str]()
        self.plan, self.out = folder / "plan.toml", folder / "deployments"
        self.write(plan)

    @property
    def file(self) -> Path:
        return self.out / f"{self.chain.ledger.chain_id}.json"

    @property
    def sent(self) -> int:
        """Mined transactions of the deployer."""
        return self.w3.eth.get_transaction_count(DEPLOYER)

    def write(self, plan: str) -> None:
        self.plan.write_text(plan, encoding="utf-8")

    def open(self) -> Session:
        return open_session(self.w3, self.key.address, self.plan, self.out)

    def run(self, pace: Pace = PACE) -> Session:
        session = self.open()
        runner = Runner(
            self.w3, self.key, session.deployment, session.rehearsal, session.record, self.said.append, pace
        )
        runner.run()
        return session

    def recorded(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return found

    def other(self, data: bytes = b"", to: str | None = OWNER, key: int = 0) -> str:
        """A transaction that is no step, of the deployer or another account; returns its hash."""
        account = Key(key)
        nonce = self.w3.eth.get_transaction_count(account.address)  # type: ignore[arg-type]
        fields = {"type": 2, "chainId": self.chain.ledger.chain_id, "nonce": nonce, "to": to, "value": 0, "data": data,
                  "gas": 200_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9}  # fmt: skip
        return self.w3.eth.send_raw_transaction(account.sign(fields)).to_0x_hex()


def checked(place: Place, session: Session) -> int:
    """Read everything back; returns how many checks hold, raises Mismatch."""
    checks = verify(place.w3, session.deployment, session.rehearsal)
    refuse_mismatch(checks)
    return len(checks)
