"""The oracle adapter: config and rounds in, reports out.

Why this file exists: the one place where the node reads and writes the contracts, in as few requests as possible and
trusting the RPC with nothing that can be checked: the chain id is the operator's, the config's digest is recomputed,
the contract's own EIP-712 digest is compared. Never in here: who transmits when (consensus), fees (`transactions.py`).
Reads at `latest`. Slots of the chain and their reports are bound to time by the contract, so a reorg costs a slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts import constant_int
from oracle.chain.rpc import Rpc
from oracle.chain.transactions import GWEI, FeePolicy, PendingStore, Transactions
from oracle.config import ChainSettings
from oracle.consensus.events import AttestedReport, ChainHeads, Head
from oracle.consensus.messages import Report
from oracle.consensus.network import FeedId, FeedKind, FeedSpec, NetworkConfig, Slot, Stake, ValidatorRow
from oracle.consensus.words import FeedWord, bits_of, unpack_vector, unpack_word
from oracle.errors import BadFeedSpec, BadNetworkConfig, ChainFault, LocalFault, Reverted, WrongChain, WrongConfigDigest
from oracle.keys import HotKey

FLAG_FINAL = constant_int("FLAG_FINAL")
CONFIG_TYPE = (
    "(uint256,address,uint32,bytes32,uint32,uint64,uint32,uint32,uint32,uint32,uint32,uint8,bytes32,bytes32,bytes32,"
    "address)"
)
SPEC_TYPE = (
    "(uint16,uint8,uint8,uint8,bytes32,bytes32,uint32,uint32,uint32,int128,int128,uint32,uint32,uint32,uint8,uint8,"
    "uint16,bytes32,bytes32)"
)
TABLE_TYPE = "(address,uint96)[]"
HEAD_TYPE = "(bool,uint32,uint32)"
TRANSMITTED = keccak(b"Transmitted(uint32,uint256,uint256[])")
EARLY = "report from the future"
EARLY_TRIES, EARLY_WAIT_S = 16, 1.0
PROBE = (1, 2, bytes(range(32)))


class NoSuchContract(ChainFault):
    """There is no contract at the address, or one that does not answer as ours."""


@dataclass(frozen=True, slots=True)
class FeedReading:
    """A feed as the chain shows it. `round` 0: no valid round yet, then `word` is None and `components` empty.

    `slot`: last slot stored, valid or not; `invalid`: whether that one was INVALID.
    """

    spec: FeedSpec
    round: int
    slot: Slot
    invalid: bool
    word: FeedWord | None
    components: tuple[int, ...] = ()

    @property
    def head(self) -> Head | None:
        """What consensus needs to know of it; None for a feed that was never stored."""
        if self.round == 0 and self.slot == 0:
            return None
        value, flags = (0, 0) if self.word is None else (self.word.value, self.word.flags)
        final = flags & FLAG_FINAL != 0
        return Head(self.spec.number, self.slot, self.invalid, value, self.components, final)


@dataclass(frozen=True, slots=True)
class Landed:
    """A transmission in a block. `feeds`: numbers stored; empty when somebody else's landed first."""

    hash: bytes
    block: int
    slot: Slot
    gas_used: int
    fee_wei: int
    feeds: tuple[FeedId, ...]


@cache
def selector(signature: str) -> bytes:
    """First four bytes of the hash of a function's signature."""
    return keccak(signature.encode())[:4]


def encode_call(signature: str, *values: object) -> bytes:
    """Calldata of a function, such as `head(uint256)`, from Python values."""
    types = signature[signature.index("(") + 1 : -1]
    return selector(signature) + abi_encode(types.split(",") if types else [], values)


class ChainAdapter:
    """One chain's Aggregator, Configurator and Staking seen through one RPC. Make it with `connect`."""

    __slots__ = ("_aggregator", "_configs", "_configurator", "_rpc", "_staking", "_transactions", "chain_id", "url")

    def __init__(
        self, rpc: Rpc, chain_id: int, aggregator: bytes, staking: bytes, transactions: Transactions | None
    ) -> None:
        self._rpc, self._aggregator, self._staking, self._transactions = rpc, aggregator, staking, transactions
        self._configurator = bytes(20)
        self.chain_id, self.url = chain_id, rpc.url
        self._configs: dict[int, NetworkConfig] = {}

    @classmethod
    async def connect(
        cls, settings: ChainSettings, key: HotKey | None = None, store: PendingStore | None = None
    ) -> ChainAdapter:
        """Open the RPC and check that chain and contracts are the operator's. Without `key` it only reads.

        Raises Unreachable, WrongChain, NoSuchContract.
        """
        rpc = Rpc(settings.rpc_url, settings.timeout_s)
        aggregator, staking = (bytes.fromhex(text[2:]) for text in (settings.aggregator, settings.staking))
        policy = FeePolicy(max_fee=settings.max_fee_gwei * GWEI, confirmations=settings.confirmations)
        transactions = None if key is None else Transactions(rpc, key, settings.chain_id, policy, store)
        adapter = cls(rpc, settings.chain_id, aggregator, staking, transactions)
        async with AsyncExitStack() as unless_checked:
            unless_checked.push_async_callback(rpc.close)
            await adapter._check()
            unless_checked.pop_all()
        return adapter

    async def close(self) -> None:
        """Close the connections."""
        await self._rpc.close()

    async def _check(self) -> None:
        asked = await self._rpc.quantity("eth_chainId")
        if asked != self.chain_id:
            raise WrongChain(
                f"{self.url}: this is chain {asked}, [chain] chain_id says {self.chain_id}; correct one of the two",
                given=asked, limit=self.chain_id,
            )  # fmt: skip
        for name, address in (("aggregator", self._aggregator), ("staking", self._staking)):
            if await self._rpc.request("eth_getCode", "0x" + address.hex(), "latest") in ("0x", None):
                raise NoSuchContract(
                    f"{self.url}: no contract at {to_checksum_address(address)} on chain {self.chain_id}; "
                    f"correct [chain] {name}"
                )
        try:
            bound, configurator = await self._read([("staking()", ()), ("configurator()", ())], "address")
        except Reverted as reverted:
            raise NoSuchContract(
                f"{self.url}: {to_checksum_address(self._aggregator)} is no Aggregator; correct [chain] aggregator"
            ) from reverted
        if bound != to_checksum_address(self._staking).lower():
            raise NoSuchContract(f"{self.url}: the aggregator takes its table from {bound}; correct [chain] staking")
        self._configurator = _address(configurator)

    # Configs

    async def config_count(self) -> int:
        """Number of the newest config; 0 before the first."""
        (count,) = await self._read([("configCount()", ())], "uint256", to=self._configurator)
        return int(count)

    async def network_configs(self) -> tuple[NetworkConfig, ...]:
        """The newest config and the one before it (what slots before its `first_slot` still need), ascending."""
        count = await self.config_count()
        if count == 0:
            raise ChainFault(f"{self.url}: the network has no config yet; list feeds and call Staking.rollEpoch()")
        return tuple([await self.network_config(number) for number in range(max(1, count - 1), count + 1)])

    async def network_config(self, count: int | None = None) -> NetworkConfig:
        """A config by number (None: the newest), rebuilt from its parts and compared with the chain's digest.

        Only a reorg changes a config, so the whole is read again only when the stated digest is another one. Raises
        WrongChain, WrongConfigDigest, BadNetworkConfig.
        """
        if count is None:
            return (await self.network_configs())[-1]
        outputs = await self._call([
            ("configOf(uint256)", (count,)), ("table(uint256)", (count,)), ("feedsOf(uint256)", (count,)),
        ], to=self._configurator)  # fmt: skip
        fields = self._decode(CONFIG_TYPE, outputs[0])
        known = self._configs.get(count)
        if known is None or known.digest != fields[14]:
            known = await self._build_config(count, fields, outputs[1], outputs[2])
            self._configs[count] = known
        return known

    async def _build_config(self, count: int, fields: Sequence[Any], table: bytes, feeds: bytes) -> NetworkConfig:
        rows = self._decode(TABLE_TYPE, table)
        numbers = self._decode("uint256[]", feeds)
        calls = [("feedSpecOf(uint256,uint256)", (count, number)) for number in numbers]
        specs = await self._read(calls, SPEC_TYPE, to=self._configurator)
        try:
            config = NetworkConfig(
                chain_id=fields[0], aggregator=_address(fields[1]), count=fields[2], randomness=fields[3],
                anchor_slot=Slot(fields[4]), anchor_time=fields[5], slot_seconds=fields[6], first_slot=Slot(fields[7]),
                max_report_age=fields[8], grace_ms=fields[9], stage_ms=fields[10], min_validators=fields[11],
                rows=tuple(ValidatorRow(_address(key), Stake(stake)) for key, stake in rows),
                feeds=tuple(_spec(spec) for spec in specs),
            )  # fmt: skip
        except (BadFeedSpec, ValueError) as error:
            raise BadNetworkConfig(f"{self.url}: config {count} of the aggregator cannot be used: {error}") from error
        await self._check_config(config, count, fields[14])
        return config

    async def _check_config(self, config: NetworkConfig, count: int, digest: bytes) -> None:
        if (config.chain_id, config.aggregator, config.count) != (self.chain_id, self._aggregator, count):
            raise WrongChain(
                f"{self.url}: config {count} was made for chain {config.chain_id}, contract "
                f"0x{config.aggregator.hex()}, as number {config.count}; correct [chain] or use another RPC"
            )
        if config.digest != digest:
            raise WrongConfigDigest(
                f"{self.url}: config {count} hashes to 0x{config.digest.hex()} but the chain states 0x{digest.hex()}; "
                "do not trust this RPC", given=digest, limit=config.digest,
            )  # fmt: skip
        slot, observed_at, root = PROBE
        probe = Report(config.digest, Slot(slot), observed_at, root).digest(config)
        call = ("reportDigest(bytes32,uint256,uint256,bytes32)", (config.digest, slot, observed_at, root))
        (theirs,) = await self._read([call], "bytes32")
        if probe != theirs:
            raise WrongChain(
                f"{self.url}: the aggregator signs in another EIP-712 domain than chain {self.chain_id}, contract "
                f"0x{self._aggregator.hex()}; correct [chain]", given=theirs, limit=probe,
            )  # fmt: skip

    async def revoked(self, count: int) -> frozenset[int]:
        """Rows of a config whose key was revoked since: the Aggregator refuses a report that one of them signed."""
        (mask,) = await self._read([("revokedMask(uint256)", (count,))], "uint256", to=self._configurator)
        return frozenset(bits_of(mask))

    async def endpoints(self, config: NetworkConfig) -> dict[bytes, str]:
        """Each validator's HTTP endpoint by its key's address; empty text where none is registered."""
        calls = [("endpointOf(address)", ("0x" + row.address.hex(),)) for row in config.rows]
        found = await self._read(calls, "string", to=self._staking)
        return {row.address: str(endpoint) for row, endpoint in zip(config.rows, found, strict=True)}

    async def registration_nonce(self, owner: bytes) -> int:
        """The nonce that a hot key's proof of possession for this cold owner (20 bytes) has to hold."""
        (nonce,) = await self._read([("nonces(address)", ("0x" + owner.hex(),))], "uint256", to=self._staking)
        return int(nonce)

    # Rounds

    async def readings(self, feeds: Sequence[FeedSpec]) -> tuple[FeedReading, ...]:
        """What the chain shows of each feed: one request, and a second one if there are vectors."""
        calls = [(name, (feed.number,)) for feed in feeds for name in ("head(uint256)", "latest(uint256)")]
        outputs = await self._call(calls)
        heads = [self._decode(HEAD_TYPE, output) for output in outputs[::2]]
        words = [self._decode("(uint256,uint256)", output) for output in outputs[1::2]]
        wanted = [
            (feed, round_) for feed, (round_, _) in zip(feeds, words, strict=True) if feed.is_vector and round_ > 0
        ]
        packed = await self._read(
            [("vectorWord(uint256,uint256)", (feed.number, round_)) for feed, round_ in wanted], "uint256"
        )
        vectors = {
            feed.number: unpack_vector(feed, word) for (feed, _), word in zip(wanted, packed, strict=True) if word
        }
        return tuple(
            FeedReading(
                feed, round_, Slot(slot), invalid, unpack_word(word) if round_ else None, vectors.get(feed.number, ())
            )
            for feed, (invalid, _, slot), (round_, word) in zip(feeds, heads, words, strict=True)
        )

    async def heads(self, config: NetworkConfig) -> Mapping[FeedId, Head]:
        """Heads of all feeds that were ever stored, by number."""
        readings = await self.readings(config.feeds)
        return {reading.spec.number: head for reading in readings if (head := reading.head) is not None}

    async def chain_heads(self, config: NetworkConfig) -> ChainHeads:
        """The answer to `ReadHeads`: heads, rows whose key was revoked, feeds asked for since they were last stored."""
        heads, revoked = await self.heads(config), await self.revoked(config.count)
        calls = [("requestedSlot(uint256)", (feed.number,)) for feed in config.feeds]
        slots = await self._read(calls, "uint256")
        requested = frozenset(
            feed.number
            for feed, slot in zip(config.feeds, slots, strict=True)
            if slot > (head.slot if (head := heads.get(feed.number)) is not None else 0)
        )
        return ChainHeads(heads, requested, revoked)

    async def chain_time(self) -> int:
        """Timestamp of the latest block, seconds."""
        block = await self._rpc.request("eth_getBlockByNumber", "latest", False)
        return self._rpc.to_int(block.get("timestamp") if isinstance(block, dict) else None)

    # Transmission

    async def transmit(self, attested: AttestedReport, pages: int) -> Landed | None:
        """Store the pages of bitmap `pages`; returns once mined. None: all of it is stale by now, nothing was sent.

        Where the newest block is older than the report, a call to it fails: then wait for the next block. Raises
        Reverted with the contract's reason, and what `Transactions.send` raises.
        """
        if self._transactions is None:
            raise LocalFault("this adapter was opened without a key: it only reads")
        data = encode_call("transmit(bytes)", attested.blob(pages))
        slot = attested.report.slot
        for attempt in range(EARLY_TRIES):
            try:
                receipt = await self._transactions.send(
                    self._aggregator, data, slot=slot, worthwhile=lambda output: int.from_bytes(output) > 0
                )
                break
            except Reverted as reverted:
                if EARLY not in str(reverted) or attempt + 1 == EARLY_TRIES:
                    raise
                await asyncio.sleep(EARLY_WAIT_S)
        if receipt is None:
            return None
        known = {result.feed for result in attested.results}
        stored = tuple(FeedId(number) for number in self._stored(receipt.logs) if number in known)
        return Landed(receipt.hash, receipt.block, slot, receipt.gas_used, receipt.fee_wei, stored)

    async def balance(self) -> int:
        """Wei on the transmitting account."""
        if self._transactions is None:
            raise LocalFault("this adapter was opened without a key: it has no account")
        return await self._transactions.balance()

    def _stored(self, logs: Sequence[Mapping[str, Any]]) -> list[int]:
        """Lane numbers in the Transmitted event of a receipt."""
        for log in logs:
            topics = log.get("topics") or ["0x"]
            ours = self._rpc.to_bytes(log.get("address")) == self._aggregator
            if ours and self._rpc.to_bytes(topics[0]) == TRANSMITTED:
                # The data of an event are a tuple without the offset that a function's output has in front.
                event = (32).to_bytes(32) + self._rpc.to_bytes(log.get("data"))
                return [word >> 240 for word in self._decode("(uint256,uint256[])", event)[1]]
        return []

    # Calls

    async def _call(self, calls: Sequence[tuple[str, tuple[object, ...]]], to: bytes | None = None) -> list[bytes]:
        if not calls:
            return []
        target = self._aggregator if to is None else to
        return await self._rpc.calls([(target, encode_call(signature, *values)) for signature, values in calls])

    async def _read(
        self, calls: Sequence[tuple[str, tuple[object, ...]]], kind: str, to: bytes | None = None
    ) -> list[Any]:
        return [self._decode(kind, output) for output in await self._call(calls, to)]

    def _decode(self, kind: str, output: bytes) -> Any:
        try:
            return abi_decode([kind], output)[0]
        except (DecodingError, OverflowError, ValueError) as error:
            raise NoSuchContract(
                f"{self.url}: 0x{self._aggregator.hex()} does not answer as ours; correct [chain] ({error})"
            ) from error


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _spec(fields: Sequence[Any]) -> FeedSpec:
    return FeedSpec(FeedId(fields[0]), FeedKind(fields[1]), *fields[2:])
