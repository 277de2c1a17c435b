"""Contracts some or all of whose words are any of their types: a sound quote, a counted refusal, or a FeedError."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.sources.onchain.abi import Block
from feeds.sources.onchain.reader import ROUND
from feeds.sources.source import FeedError, check_quote
from feeds.types import SECOND
from tests.feeds.sources.check_suite import Rig, Stage, StageTime, at_once
from tests.feeds.sources.onchain.rig_onchain import BASE, QUOTE, RIGS, WRITERS
from tests.feeds.sources.onchain.scripted import BLOCK_S, ScriptedChain

TIME = StageTime()
NOW = TIME.now // SECOND
SIZES = ("uint8", "uint16", "uint32", "uint64", "uint80", "uint112", "uint128", "uint160", "uint256")


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    """Any of them, often an edge, often something near a real value."""
    likely = [n for n in (0, 1, 6, 8, 18, 10**9, 10**18, 10**24, NOW, NOW - 5, NOW - 700, -1, -8) if low <= n <= high]
    return st.integers(low, high) | st.sampled_from([low, high, *likely])


WORDS: dict[str, st.SearchStrategy[Any]] = {name: integers(0, 2 ** int(name[4:]) - 1) for name in SIZES}
WORDS |= {name: integers(-(2 ** (int(name[3:]) - 1)), 2 ** (int(name[3:]) - 1) - 1) for name in
          ("int24", "int32", "int56", "int64", "int256")}  # fmt: skip
WORDS |= {
    "address": st.sampled_from([BASE, QUOTE]),
    "bytes": st.sampled_from([b"ETH / USD", b"", b"\xff"]),
    "int56[]": st.lists(WORDS["int56"], min_size=2, max_size=2).map(tuple) | st.just((NOW * -203_188, 0)),
    "uint160[]": st.lists(WORDS["uint160"], min_size=2, max_size=2).map(tuple),
}


class AnyContract:
    """In the place of the reader: honest words, of which about one in `honesty` is another; the chain is sound."""

    source = "it"

    def __init__(self, chain: ScriptedChain, honesty: int, draw: Any) -> None:
        self.chain, self.honesty, self.draw = chain, honesty, draw

    async def pin(self) -> Block:
        return Block(NOW // BLOCK_S, bytes(32), NOW)

    async def blocks(self, numbers: list[int]) -> list[Block]:
        return [Block(number, bytes(32), number * BLOCK_S) for number in numbers]

    async def read(self, block: Block, calls: list[Any], *, still: Any = ()) -> Any:
        return [self._words(call, call.at or block) for call in calls], [True] * len(still)

    def _words(self, call: Any, block: Block) -> tuple[object, ...]:
        honest = self.chain.words(call.address, call.function, block.timestamp)
        pairs = zip(call.function.outputs, honest, strict=True)
        odd = st.integers(1, self.honesty)
        return tuple(self.draw(WORDS[kind]) if self.draw(odd) == self.honesty else word for kind, word in pairs)

    def need(self, call: Any, output: Any) -> Any:
        return output


def outcome(rig: Rig, honesty: int, draw: Any) -> str:
    chain = ScriptedChain(lambda: NOW)
    WRITERS[rig.name](chain)
    source = rig.build(Stage("http://127.0.0.1:1", None, TIME))  # type: ignore[arg-type]
    source.reader = AnyContract(chain, honesty, draw)
    try:
        quotes = at_once(source.fetch())
    except FeedError:
        return "error"
    assert len(quotes) + source.gate.refused.total() == 1
    for quote in quotes:
        check_quote(quote)
        assert 1.0 < quote.price < 1e6 and quote.ts <= NOW * SECOND
    if quotes and hasattr(source, "depths"):
        assert all(depth.up > 0 and depth.down > 0 for depth in source.depths(TIME.now))
    return "quote" if quotes else "refused"


def test_fetch__any_words__sound_quote_refusal_or_feed_error_and_some_of_each():
    seen: Counter[str] = Counter()

    @settings(max_examples=250)
    @given(st.data(), st.sampled_from(RIGS), st.sampled_from([2, 10, 30]))
    def each(data, rig, honesty):
        seen[outcome(rig, honesty, data.draw)] += 1

    each()
    assert min(seen[kind] for kind in ("quote", "refused", "error")) >= 5, seen


def test_words__every_declared_type__has_a_strategy():
    assert set(ROUND.outputs) <= set(WORDS)
