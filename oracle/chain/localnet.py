"""The chain side of a whole network inside this process: for contract tests, gas figures and back-tests.

`LocalChain` is eth-tester on py-evm with a clock that only moves when told. `LocalNet` puts the contracts on it,
registers validators with known keys and makes attested reports. No node, no consensus, no network in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from eth.constants import GENESIS_PARENT_HASH
from eth_hash.auto import keccak
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.backends.pyevm.main import generate_genesis_state_for_keys, get_default_account_keys
from eth_tester.backends.pyevm.main import get_default_genesis_params as genesis_params
from eth_typing import ChecksumAddress
from web3 import EthereumTesterProvider, Web3
from web3.contract import Contract

from contracts import constant_int
from contracts.artifacts import artifact
from oracle.chain.deploy import (
    Core,
    Timing,
    deploy_core,
    deploy_feed,
    list_feeds,
    register_validator,
    roll_epoch,
    send,
)
from oracle.consensus.messages import Report
from oracle.consensus.network import FeedKind, FeedSpec, NetworkConfig, Slot, ValidatorRow
from oracle.consensus.words import FLAG_VECTOR, FeedWord, build_pages, merkle_root, pack_blob, pack_vector, pack_word
from oracle.keys import HotKey
from oracle.recursion import restore_limit

restore_limit()
GENESIS_TIME = 1_700_000_000
TOKEN = 10**18
MINUTE = Timing(
    slot_seconds=60, max_report_age=150, grace_ms=1_000, stage_ms=2_000, confirmation=60, min_validators=1
)  # fmt: skip


def name32(text: str) -> bytes:
    """A name as the chain keeps it: ASCII, padded on the right to 32 bytes."""
    return text.encode("ascii").ljust(32, b"\0")


def price_spec(number: int, **changes: Any) -> FeedSpec:
    """A price feed `S<number> / USD` with usual limits; `changes` replace single fields."""
    fields: dict[str, Any] = {
        "number": number, "kind": FeedKind.PRICE, "decimals": 8, "outcomes": 0, "base": name32(f"S{number}"),
        "quote": name32("USD"), "horizon": 0, "heartbeat": 3600, "deviation": 5_000, "min_value": 1,
        "max_value": 10**20, "max_dispersion": 20_000, "jump": 100_000, "veto_band": 40_000, "min_sources": 1,
        "min_observers": 1, "max_family_share": 10_000, "methodology": name32("test"), "sources": name32("test"),
    }  # fmt: skip
    return FeedSpec(**(fields | changes))


def forecast_spec(number: int, horizon: int = 3600, **changes: Any) -> FeedSpec:
    """A forecast feed of the log return of `S<number>` to `horizon` seconds; owns lane `number + 1` too."""
    fixed = {"kind": FeedKind.FORECAST, "decimals": 6, "horizon": horizon, "min_value": -(10**6), "max_value": 10**6}
    return price_spec(number, **(fixed | changes))


def event_spec(number: int, outcomes: int = 2, **changes: Any) -> FeedSpec:
    """An event feed with question id `question <number>`; owns lane `number + 1` too."""
    fixed = {
        "kind": FeedKind.EVENT, "decimals": 0, "outcomes": outcomes, "base": name32(f"question {number}"),
        "quote": bytes(32), "min_value": 0, "max_value": outcomes - 1,
    }  # fmt: skip
    return price_spec(number, **(fixed | changes))


def sample_words(feeds: Iterable[FeedSpec], value: int, flags: int = 0) -> dict[int, int]:
    """Words (lane -> uint256) for every feed: `value` plus the feed's number, and plausible vectors, with `flags`."""
    words: dict[int, int] = {}
    for spec in feeds:
        vector = FLAG_VECTOR if spec.is_vector else 0
        words[spec.number] = pack_word(FeedWord(spec.number, value + spec.number, 12_345, 10_000, flags | vector))
        if spec.kind is FeedKind.FORECAST:
            words[spec.number + 1] = pack_vector(spec, [1_000 * (step - 4) for step in range(9)])
        elif spec.kind is FeedKind.EVENT:
            rest = [10_000 // spec.outcomes] * (spec.outcomes - 1)
            words[spec.number + 1] = pack_vector(spec, [10_000 - sum(rest), *rest])
    return words


class Chain(Protocol):
    """A chain that a `LocalNet` can stand on: `LocalChain` (py-evm) or `oracle.chain.anvil.AnvilChain` (revm)."""

    w3: Web3
    accounts: list[ChecksumAddress]

    @property
    def now(self) -> int:
        """Second of the next block."""

    def move_to(self, second: int) -> None:
        """Give the next block this time."""

    def snapshot(self) -> Any:
        """Remember the chain as it is now, for `revert`."""

    def revert(self, taken: Any) -> None:
        """Go back to a snapshot, time included."""

    def rewound(self) -> AbstractContextManager[None]:
        """Undo whatever happens inside."""

    def set_storage(self, contract: str, values: Mapping[int, int]) -> None:
        """Write storage words directly."""


class LocalChain:
    """An in-process chain. Time stands still but for `move_to`; every transaction is mined at once."""

    def __init__(self, accounts: int = 80, start: int = GENESIS_TIME) -> None:
        """Start a chain with `accounts` funded accounts at second `start`."""
        state = generate_genesis_state_for_keys(get_default_account_keys(quantity=accounts))
        self.backend = PyEVMBackend(genesis_parameters=genesis_params({"timestamp": start}), genesis_state=state)
        _fix_headers(self.backend.chain)
        self.tester = EthereumTester(self.backend)
        self.w3 = Web3(EthereumTesterProvider(self.tester))
        self.accounts: list[ChecksumAddress] = list(self.w3.eth.accounts)
        # Else web3 asks for all accounts at each call.
        self.w3.eth.default_account = self.accounts[0]
        self.move_to(start + 1)

    @property
    def now(self) -> int:
        """Second of the next block."""
        return int(self.backend.chain.header.timestamp)

    def move_to(self, second: int) -> None:
        """Give the next block this time."""
        self.backend.chain.header = self.backend.chain.header.copy(timestamp=second)

    def snapshot(self) -> tuple[Any, Any]:
        """Remember the chain as it is now, for `revert`: the newest block's header and the next one's."""
        chain = self.backend.chain
        return chain.get_canonical_head(), chain.header

    def revert(self, taken: tuple[Any, Any]) -> None:
        """Go back to a snapshot, time included. Nothing is executed again: all states stay in the database."""
        chain = self.backend.chain
        chain.chaindb._set_as_canonical_chain_head(chain.chaindb.db, taken[0], GENESIS_PARENT_HASH)
        chain.header = taken[1]

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """Undo whatever happens inside."""
        taken = self.snapshot()
        try:
            yield
        finally:
            self.revert(taken)

    def set_storage(self, contract: str, values: Mapping[int, int]) -> None:
        """Write storage words directly, to start a measurement from a stated state."""
        chain = self.backend.chain
        state = chain.get_vm().state
        for place, value in values.items():
            state.set_storage(bytes.fromhex(contract[2:]), place, value)
        state.persist()
        chain.header = chain.header.copy(state_root=state.state_root)


def _fix_headers(chain: Any) -> None:
    """Take time and randomness of new blocks from their parent, where eth-tester asks the machine."""
    from_parent, mine = chain.create_header_from_parent, chain.mine_block

    def create_header_from_parent(parent: Any, **given: Any) -> Any:
        fixed = {"timestamp": parent.timestamp + 1, "mix_hash": keccak(parent.hash)}
        return from_parent(parent, **(fixed | given))

    def mine_block(*positional: Any, **given: Any) -> Any:
        return mine(*positional, **(given | {"mix_hash": chain.header.mix_hash}))

    chain.create_header_from_parent, chain.mine_block = create_header_from_parent, mine_block


@dataclass(frozen=True, slots=True)
class Draft:
    """A report before it is signed: its slot, its second, and the words of every page of the config."""

    slot: int
    observed_at: int
    pages: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        """Merkle root over the pages."""
        return merkle_root(self.pages)


@dataclass(slots=True)
class LocalNet:
    """A deployed network with the validators' keys in hand. `config` is what the chain last rolled."""

    chain: Chain
    core: Core
    keys: dict[bytes, HotKey] = field(default_factory=dict)
    config: NetworkConfig | None = None

    @classmethod
    def start(
        cls,
        stakes: Sequence[int],
        feeds: Sequence[FeedSpec],
        *,
        timing: Timing = MINUTE,
        chain: Chain | None = None,
    ) -> LocalNet:
        """Deploy, register one validator a stake (in whole tokens), list the feeds, roll, and go to the first slot."""
        place = LocalChain() if chain is None else chain
        core = deploy_core(place.w3, place.accounts[0], timing, supply=10**9 * TOKEN, min_self_bond=TOKEN)
        net = cls(place, core)
        for index, stake in enumerate(stakes):
            net.register(index, stake * TOKEN)
        list_feeds(place.w3, core, feeds)
        net.roll()
        return net

    def register(self, index: int, stake: int, key: HotKey | None = None) -> HotKey:
        """Make account `index + 1` a validator with `stake` in the smallest unit; its key is made from the index."""
        owner = self.chain.accounts[index + 1]
        hot = HotKey((index + 1_000).to_bytes(32, "big")) if key is None else key
        send(self.chain.w3, self.core.token.functions.transfer(owner, stake), self.core.owner)
        register_validator(
            self.chain.w3, self.core, owner, hot.checksum_address, f"http://127.0.0.1:{9000 + index}", stake, hot.sign
        )
        self.keys[hot.address] = hot
        return hot

    def roll(self) -> NetworkConfig:
        """Roll the epoch and move the clock into the first slot of the new config."""
        roll_epoch(self.chain.w3, self.core, self.core.owner)
        config = self.config = self.read_config(self.core.configurator.functions.configCount().call())
        self.chain.move_to(config.slot_start_ms(config.first_slot) // 1000 + 1)
        return config

    def read_config(self, count: int) -> NetworkConfig:
        """Rebuild config `count` from the chain's views, as a node does."""
        view = self.core.configurator.functions
        fields = view.configOf(count).call()
        rows = tuple(ValidatorRow(bytes.fromhex(key[2:]), stake) for key, stake in view.table(count).call())
        specs = []
        for number in view.feedsOf(count).call():
            spec = view.feedSpecOf(count, number).call()
            specs.append(FeedSpec(spec[0], FeedKind(spec[1]), *spec[2:]))
        return NetworkConfig(
            chain_id=fields[0], aggregator=bytes.fromhex(fields[1][2:]), count=fields[2], randomness=fields[3],
            anchor_slot=Slot(fields[4]), anchor_time=fields[5], slot_seconds=fields[6], first_slot=Slot(fields[7]),
            max_report_age=fields[8], grace_ms=fields[9], stage_ms=fields[10], min_validators=fields[11],
            rows=rows, feeds=tuple(specs),
        )  # fmt: skip

    @property
    def active(self) -> NetworkConfig:
        """The config last rolled; raises ValueError before the first roll."""
        if self.config is None:
            raise ValueError("no config yet: call roll()")
        return self.config

    def draft(self, words: Mapping[int, int], *, slot: int | None = None, late: int = 0) -> Draft:
        """A report of `words` (lane -> uint256) for `slot` (default: now's), observed `late` seconds into it."""
        config = self.active
        number = config.slot_at(self.chain.now * 1000) if slot is None else slot
        return Draft(number, config.slot_start_ms(number) // 1000 + late, build_pages(words, config.pages))

    def sign(
        self, draft: Draft, signers: Iterable[int], config: NetworkConfig | None = None
    ) -> list[tuple[int, bytes]]:
        """Signatures of the rows `signers` of the table under a draft."""
        bound = self.active if config is None else config
        report = Report(bound.digest, Slot(draft.slot), draft.observed_at, draft.root)
        digest = report.digest(bound)
        return [(row, self.keys[bound.rows[row].address].sign(digest)) for row in signers]

    def quorum(self) -> range:
        """The fewest rows, largest first, that hold more than two thirds of the effective stake."""
        config, signed = self.active, 0
        for row, line in enumerate(config.rows):
            signed += line.stake
            if 3 * signed > 2 * config.total_stake:
                return range(row + 1)
        raise ValueError("the whole table is no quorum")

    def blob(self, draft: Draft, *, signers: Iterable[int] | None = None, chosen: int | None = None) -> bytes:
        """Bytes for `Aggregator.transmit`: signed by `signers` (default: `quorum()`), pushing the pages of `chosen`."""
        signatures = self.sign(draft, self.quorum() if signers is None else signers)
        pages = (1 << len(draft.pages)) - 1 if chosen is None else chosen
        return pack_blob(draft.slot, draft.observed_at, signatures, draft.pages, pages)

    def transmit(self, blob: bytes) -> Any:
        """Send a blob from the last account and return the receipt; a revert raises with the contract's reason."""
        return send(self.chain.w3, self.core.aggregator.functions.transmit(blob), self.chain.accounts[-1])

    def wear_in(self) -> None:
        """Fill the storage word that the next round of each feed takes, as it is once the ring has gone round."""
        ring, size = artifact("Aggregator").layout["rounds.ring"], constant_int("RING")
        words: dict[int, int] = {}
        for feed in self.active.feeds:
            taken = self.core.aggregator.functions.head(feed.number).call()[1] + 1
            for number in range(feed.number, feed.number + 1 + feed.is_vector):
                words[ring + number * size + taken % size] = 1
        self.chain.set_storage(self.core.aggregator.address, words)

    def face(self, number: int) -> Contract:
        """Deploy the `Feed` of a listed feed."""
        return deploy_feed(self.chain.w3, self.core.owner, self.core.aggregator, number)
