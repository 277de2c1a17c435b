"""Slashing over a mock of its neighbours, so that a test may have any table, any config and any time it likes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from web3.logs import DISCARD

from contracts import constant_str
from oracle.chain.deploy import deploy, send
from oracle.chain.evidence import KINDS, Proof, Statement
from oracle.chain.localnet import LocalChain, price_spec
from oracle.consensus.messages import Kind
from oracle.consensus.network import NetworkConfig, Slot, Stake, ValidatorRow
from oracle.keys import HotKey
from tests.contracts.mock_code import deploy_mock
from tests.contracts.typed_data import domain_of, typed_data, typed_hash

WINDOW = 8_000
SLOT_SECONDS = 60
ALL = 10**18
NOTHING = bytes(32)
PROPOSAL, OBSERVATION, REPORT = KINDS[Kind.PROPOSAL], KINDS[Kind.OBSERVATION], KINDS[Kind.REPORT]
TYPES = {PROPOSAL: "PROPOSAL_TYPE", OBSERVATION: "OBSERVATION_TYPE", REPORT: "REPORT_TYPE"}


def statement_data(kind: int, config: NetworkConfig, slot: int, statement: Statement, **domain: Any) -> dict[str, Any]:
    """The typed data of a statement; `domain` replaces fields of the domain."""
    values: dict[int, list[Any]] = {
        PROPOSAL: [statement.content],
        OBSERVATION: [statement.observed_at, statement.content, statement.extra],
        REPORT: [statement.observed_at, statement.content],
    }
    own = domain_of(constant_str("DOMAIN_NAME"), config.chain_id, "0x" + config.aggregator.hex())
    return typed_data(constant_str(TYPES[kind]), [config.digest, slot, *values[kind]], own | domain)


@dataclass(slots=True)
class Bench:
    """A chain, the mock, Slashing on it, the keys of all rows, the configs in order."""

    chain: LocalChain
    mock: Any
    slashing: Any
    keys: dict[bytes, HotKey] = field(default_factory=dict)
    configs: list[NetworkConfig] = field(default_factory=list)

    @classmethod
    def start(cls, chain: LocalChain, stakes: list[int], window: int = WINDOW) -> Bench:
        """Deploy, add one config whose first slot starts now, and go to the middle of it."""
        mock = deploy_mock(chain.w3, chain.accounts[0], "NetworkMock", window)
        bench = cls(chain, mock, deploy(chain.w3, chain.accounts[0], "Slashing", mock.address))
        bench.add(stakes)
        return bench

    def add(self, stakes: list[int], first_key: int = 0) -> NetworkConfig:
        """The next config, from the next slot on, with these effective stakes; row i belongs to account 1 + i."""
        old = self.configs[-1] if self.configs else None
        slot = 100 if old is None else old.slot_at(self.chain.now * 1000) + 1
        start = self.chain.now if old is None else old.slot_start_ms(slot) // 1000
        keys = [HotKey((7_000 + first_key + index).to_bytes(32)) for index in range(len(stakes))]
        self.keys |= {key.address: key for key in keys}
        rows = tuple(ValidatorRow(key.address, Stake(stake)) for key, stake in zip(keys, stakes, strict=True))
        config = NetworkConfig(
            chain_id=self.chain.w3.eth.chain_id, aggregator=bytes.fromhex(self.mock.address[2:]),
            count=len(self.configs) + 1, randomness=bytes(32), anchor_slot=Slot(slot), anchor_time=start,
            slot_seconds=SLOT_SECONDS, first_slot=Slot(slot), max_report_age=150, grace_ms=0, stage_ms=0,
            min_validators=1, rows=rows, feeds=(price_spec(0),),
        )  # fmt: skip
        fields = (
            config.chain_id, self.mock.address, config.count, config.randomness, config.anchor_slot,
            config.anchor_time, config.slot_seconds, config.first_slot, config.max_report_age, config.grace_ms,
            config.stage_ms, config.min_validators, config.table_hash, config.feeds_hash, config.digest,
            "0x" + "00" * 20,
        )  # fmt: skip
        table = [("0x" + row.address.hex(), row.stake) for row in rows]
        checked = [(self.chain.w3.to_checksum_address(key), stake) for key, stake in table]
        self.send(self.mock.functions.add(fields, checked, self.chain.accounts[1 : 1 + len(rows)]))
        self.configs.append(config)
        return config

    def send(self, call: Any, sender: str | None = None) -> Any:
        """Send a bound call; by default from the last account."""
        return send(self.chain.w3, call, self.chain.accounts[-1] if sender is None else sender)

    def slot_now(self) -> int:
        """Slot of the newest config's grid that the clock lies in."""
        return self.configs[-1].slot_at(self.chain.now * 1000)

    def owner(self, row: int) -> str:
        """Cold owner of a row."""
        return self.chain.accounts[1 + row]

    def sign(
        self, kind: int, config: NetworkConfig, row: int, slot: int, statement: Statement, **domain: Any
    ) -> Statement:
        """The statement with the row's signature."""
        digest = typed_hash(statement_data(kind, config, slot, statement, **domain))
        return replace(statement, signature=self.keys[config.rows[row].address].sign(digest))

    def proof(
        self, kind: int, row: int, slot: int | None = None, config: NetworkConfig | None = None, salt: int = 0
    ) -> Proof:
        """A row's double signature for a slot (default: now's) of a config (default: the newest)."""
        bound = self.configs[-1] if config is None else config
        number = self.slot_now() if slot is None else slot
        made = [
            Statement(
                0 if kind == PROPOSAL else bound.slot_start_ms(number) // 1000,
                bytes([salt, which]) * 16, NOTHING, b"",
            )
            for which in (1, 2)
        ]  # fmt: skip
        first, second = (self.sign(kind, bound, row, number, statement) for statement in made)
        return Proof(kind, bound.count, row, number, first, second)

    def report(self, proof: Proof, sender: str | None = None) -> Any:
        """Show a proof to the chain; the receipt."""
        return self.send(self.slashing.functions.reportEquivocation(proof.argument), sender)

    def settle(self, row: int) -> dict[str, Any]:
        """Settle the case of a row's owner; the arguments of the event."""
        receipt = self.send(self.slashing.functions.settle(self.owner(row)))
        return self.events("CaseSettled", receipt)[0]

    def events(self, name: str, receipt: Any, contract: Any = None) -> list[dict[str, Any]]:
        """Arguments of all events of a name in a receipt."""
        source = self.slashing if contract is None else contract
        return [dict(entry["args"]) for entry in source.events[name]().process_receipt(receipt, errors=DISCARD)]
