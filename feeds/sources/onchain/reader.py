"""Reading contracts of one chain, everything of one round at one block.

Why this file exists: two numbers read at two blocks belong to no moment, and an RPC may serve another chain, stand
still, or forget a block between two answers. Here a round first pins a block (chain id, age and depth checked), then
asks all its questions of that block by hash (EIP-1898, `requireCanonical`), so that a reorganisation in between is an
error and never a mixture. Never in it: what the contracts' answers mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from eth_utils.address import is_checksum_address, is_checksum_formatted_address

from feeds.sources.http import Http
from feeds.sources.live import Clock
from feeds.sources.onchain.abi import Block, Call, Function, OutputUnreadable
from feeds.sources.onchain.errors import (
    BlockGone,
    CallReverted,
    ChainStill,
    NoContract,
    RpcRefused,
    SequencerDown,
    WrongChain,
)
from feeds.sources.onchain.rpc import Failure, Request, Rpc, check_url
from feeds.sources.secret import Secret
from feeds.sources.source import MAX_NAME, BadRule, MalformedAnswer
from feeds.types import SECOND

MAX_AHEAD_S = 60
"""Seconds that a block may lie ahead of our clock: validators' and our clocks differ by a few."""
MAX_CONFIRMATIONS = 10_000
"""Deepest block that can be asked for; most nodes keep the state of fewer."""
ROUND = Function("latestRoundData", (), ("uint80", "int256", "uint256", "uint256", "uint80"))
"""AggregatorV3Interface: roundId, answer, startedAt, updatedAt, answeredInRound."""
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSettings:
    """What every source on a chain is told.

    `rpc_url`: where to ask; by `Secret` where the URL holds a key. `chain_id`: the chain that it must serve.
    `confirmations`: read so many blocks below the newest (0: the newest; its prices may be undone by a reorganisation).
    `by_hash`: pin the block by its hash; false for an RPC that takes numbers only (then the hash is checked after).
    `max_head_age_s`: seconds that the newest block may be old. `sequencer`: address of a rollup's uptime feed, empty
    for none; no quotes while it says down, nor for `sequencer_grace_s` after. A price not strictly between `min_price`
    and `max_price` is refused: the operator's own word on the unit, and on bounds where the other oracle would stick.
    """

    name: str
    symbol: str
    rpc_url: str | Secret = field(repr=False)
    chain_id: int
    confirmations: int = 0
    by_hash: bool = True
    max_head_age_s: int = 180
    sequencer: str = ""
    sequencer_grace_s: int = 3600
    min_price: float = 0.0
    max_price: float = math.inf

    def __post_init__(self) -> None:
        """Raise BadRule."""
        for key, text in (("name", self.name), ("symbol", self.symbol)):
            if not (isinstance(text, str) and 0 < len(text) <= MAX_NAME and text.isprintable()):
                raise BadRule(f"source {key}", text, f"1 to {MAX_NAME} printable characters")
        if isinstance(self.rpc_url, str):
            check_url(self.name, self.rpc_url)
        check_range(self.name, "chain_id", self.chain_id, 1, 2**64 - 1)
        check_range(self.name, "confirmations", self.confirmations, 0, MAX_CONFIRMATIONS)
        check_range(self.name, "max_head_age_s", self.max_head_age_s, 1, 86_400)
        check_range(self.name, "sequencer_grace_s", self.sequencer_grace_s, 0, 86_400)
        if self.sequencer:
            check_address(self.name, "sequencer", self.sequencer)
        check_number(self.name, "min_price", self.min_price, 0.0, math.inf)
        check_number(self.name, "max_price", self.max_price, 0.0, math.inf)
        if not self.min_price < self.max_price:
            raise BadRule(f"source {self.name}: min_price", self.min_price, f"below max_price, {self.max_price:g}")


def check_range(source: str, key: str, given: object, low: int, high: int) -> None:
    """Raise BadRule unless `given` is an integer from `low` to `high`."""
    if type(given) is not int or not low <= given <= high:
        raise BadRule(f"source {source}: {key}", given, f"a whole number from {low} to {high}")


def check_number(source: str, key: str, given: object, low: float, high: float) -> None:
    """Raise BadRule unless `given` is a number from `low` to `high`."""
    if not (isinstance(given, int | float) and type(given) is not bool and low <= given <= high):
        raise BadRule(f"source {source}: {key}", given, f"a number from {low:g} to {high:g}")


def check_address(source: str, key: str, given: object) -> None:
    """Raise BadRule unless `given` is 20 bytes of hex, with the right checksum if it has one (EIP-55)."""
    if not (isinstance(given, str) and _ADDRESS.fullmatch(given)):
        raise BadRule(f"source {source}: {key}", given, "an address: 0x and 40 hex digits")
    if is_checksum_formatted_address(given) and not is_checksum_address(given):
        raise BadRule(f"source {source}: {key}", given, "an address whose upper-case letters are its checksum (EIP-55)")


class ChainReader:
    """Asks the contracts of one chain on behalf of one source."""

    def __init__(self, settings: ChainSettings, http: Http, clock: Clock) -> None:
        """Nothing is asked yet. Raises BadRule."""
        self._settings, self._clock = settings, clock
        self.source = settings.name
        self._rpc = Rpc(settings.name, settings.rpc_url, http)

    async def pin(self) -> Block:
        """The block to read now, after checks: right chain, not standing still, deep enough.

        Raises WrongChain, ChainStill, MalformedAnswer, RpcRefused or SourceUnavailable.
        """
        settings = self._settings
        newest = Request("eth_getBlockByNumber", ("latest", False))
        answers = await self._ask([Request("eth_chainId"), newest])
        chain_id = self._rpc.quantity(answers[0], "the chain id")
        if chain_id != settings.chain_id:
            raise WrongChain(self.source, chain_id, settings.chain_id)
        head = self._block(answers[1])
        age = self._clock() / SECOND - head.timestamp
        if age > settings.max_head_age_s or age < -MAX_AHEAD_S:
            limit = settings.max_head_age_s if age > 0 else MAX_AHEAD_S
            raise ChainStill(self.source, head.number, age, limit)
        if settings.confirmations == 0:
            return head
        number = max(0, head.number - settings.confirmations)
        answers = await self._ask([_block_request(number)])
        block = self._block(answers[0])
        if block.number != number or block.timestamp > head.timestamp:
            raise MalformedAnswer(self.source, f"block {block.number}", f"block {number}, no newer than {head.number}")
        return block

    async def read(
        self, block: Block, calls: Sequence[Call], *, still: Sequence[Block] = ()
    ) -> tuple[list[tuple[object, ...] | Failure], list[bool]]:
        """Outputs of `calls` at `block` (or each call's own), and which of `still` are canonical.

        A call that reverted has a `Failure` in its place.
        Asks the sequencer's feed in the same batch. Raises SequencerDown, NoContract, MalformedAnswer, RpcRefused or
        SourceUnavailable.
        """
        asked = [*calls, Call(self._settings.sequencer, ROUND)] if self._settings.sequencer else list(calls)
        requests = [self._call_request(call, call.at or block) for call in asked]
        checked = [*still] if self._settings.by_hash else [*still, block]
        answers = await self._ask([*requests, *(_block_request(old.number) for old in checked)])
        outputs = [self._output(call, answer) for call, answer in zip(asked, answers[: len(asked)], strict=True)]
        if self._settings.sequencer:
            self._check_sequencer(self.need(asked[-1], outputs.pop()), block)
        found = answers[len(asked) :]
        kept = [answer is not None and self._block(answer) == old for old, answer in zip(checked, found, strict=True)]
        if not self._settings.by_hash and not kept.pop():
            raise BlockGone(self.source, block.number)
        return outputs, kept

    async def blocks(self, numbers: Sequence[int]) -> list[Block | None]:
        """Canonical blocks by number, None for one that the RPC does not have. Raises as `pin` does."""
        answers = await self._ask([_block_request(number) for number in numbers])
        return [None if answer is None else self._block(answer) for answer in answers]

    def need(self, call: Call, output: tuple[object, ...] | Failure) -> tuple[object, ...]:
        """The output; CallReverted where there is none."""
        if isinstance(output, Failure):
            raise CallReverted(self.source, call.address, call.function.signature, output.why)
        return output

    def _call_request(self, call: Call, block: Block) -> Request:
        by_hash = {"blockHash": "0x" + block.hash.hex(), "requireCanonical": True}
        place: object = by_hash if self._settings.by_hash else hex(block.number)
        return Request("eth_call", ({"to": call.address, "data": "0x" + call.data.hex()}, place))

    async def _ask(self, requests: Sequence[Request]) -> list[object | Failure]:
        """Answers; only those to `eth_call` may be a revert. Raises RpcRefused for any other failure."""
        answers = await self._rpc.ask(requests)
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Failure) and not (request.method == "eth_call" and answer.reverted):
                raise RpcRefused(self.source, request.method, answer.code, answer.said)
        return answers

    def _block(self, answer: object) -> Block:
        if not isinstance(answer, dict):
            raise MalformedAnswer(self.source, "no block", "a block object")
        number = self._rpc.quantity(answer.get("number"), "a block's number")
        timestamp = self._rpc.quantity(answer.get("timestamp"), "a block's timestamp")
        if number >= 2**63 or timestamp >= 2**40:
            raise MalformedAnswer(self.source, "a block beyond all measure", "number below 2^63, time below 2^40")
        return Block(number, self._rpc.data(answer.get("hash"), "a block's hash", 32), timestamp)

    def _output(self, call: Call, answer: object | Failure) -> tuple[object, ...] | Failure:
        if isinstance(answer, Failure):
            return answer
        data = self._rpc.data(answer, f"the output of {call.function.name}")
        if not data:
            raise NoContract(self.source, call.address, call.function.signature)
        try:
            return call.function.output(data)
        except OutputUnreadable as error:
            given = f"{call.function.signature} of {call.address} with what is not its types ({error})"
            raise MalformedAnswer(self.source, given[:80], ", ".join(call.function.outputs)) from None

    def _check_sequencer(self, output: tuple[object, ...], block: Block) -> None:
        """Rules of https://docs.chain.link/data-feeds/l2-sequencer-feeds: answer 0 is up, startedAt since when."""
        _, answer, started, _, _ = cast(tuple[int, ...], output)
        if answer != 0 or started == 0:  # 0: the feed on Arbitrum before its first update
            raise SequencerDown(self.source)
        if block.timestamp - started <= self._settings.sequencer_grace_s:
            raise SequencerDown(self.source, block.timestamp - started, self._settings.sequencer_grace_s)


def _block_request(number: int) -> Request:
    return Request("eth_getBlockByNumber", (hex(number), False))
