"""Every decoder against anything: a value of the promised kind, or the one error it may raise."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feeds.sources.onchain.abi import MAX_OUTPUT, Function, OutputUnreadable, printable, revert_reason
from feeds.sources.onchain.aggregator_v3 import DESCRIPTION
from feeds.sources.onchain.pyth import PRICE
from feeds.sources.onchain.reader import ROUND, ChainReader, ChainSettings
from feeds.sources.onchain.rpc import Failure, Request, Rpc
from feeds.sources.onchain.uniswap_v2 import RESERVES
from feeds.sources.onchain.uniswap_v3 import OBSERVE, SLOT0
from feeds.sources.source import BadRule, FeedError, MalformedAnswer
from feeds.sources.url import without_keys

URL = "https://rpc.example/v3/0123456789abcdef"
FUNCTIONS = (ROUND, DESCRIPTION, PRICE, RESERVES, OBSERVE, SLOT0)
WORDS = st.lists(
    st.one_of(
        st.integers(0, 300).map(lambda n: n.to_bytes(32, "big")), st.binary(min_size=32, max_size=32),
        st.sampled_from([b"\xff" * 32, bytes(32), (2**255).to_bytes(32, "big"), (64).to_bytes(32, "big")]),
    ),
    max_size=12,
).map(b"".join)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["0x", "0x1", "0xzz", "0x" + "00" * 32, "0x" + "f" * 64]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["id", "result", "error", "code", "message", "data", "number", "hash", "timestamp"]), inner),
    max_leaves=12,
)  # fmt: skip


class Frozen:
    """Stands for the HTTP client: answers with one JSON value."""

    def __init__(self, value: object) -> None:
        self.value = value

    async def request(self, *positional: object, **named: object) -> Frozen:
        return self

    def json(self) -> object:
        return self.value


@given(st.sampled_from(FUNCTIONS), WORDS | st.binary(max_size=400))
@example(OBSERVE, (64).to_bytes(32, "big") * 2 + (2**256 - 1).to_bytes(32, "big"))
@example(OBSERVE, (2**255).to_bytes(32, "big") * 2)
@example(DESCRIPTION, (32).to_bytes(32, "big") + (2**255).to_bytes(32, "big"))
def test_output__any_bytes__values_or_unreadable(function, data):
    try:
        values = function.output(data)
    except OutputUnreadable:
        return
    assert len(values) == len(function.outputs)
    for kind, value in zip(function.outputs, values, strict=True):
        assert isinstance(value, bytes if kind == "bytes" else tuple if kind.endswith("[]") else int)


def test_output__longer_than_the_limit__unreadable():
    with pytest.raises(OutputUnreadable):
        ROUND.output(bytes(MAX_OUTPUT + 32))


@given(st.integers(0, 2**80 - 1), st.integers(-(2**255), 2**255 - 1), st.integers(0, 2**256 - 1))
def test_output__what_eth_abi_encodes__comes_back(round_id, answer, time):
    words = (round_id, answer, time, time, round_id)
    assert ROUND.output(encode(ROUND.outputs, words)) == words


@pytest.mark.parametrize(
    ("function", "selector"),
    [(ROUND, "feaf968c"), (PRICE, "96834ad3"), (RESERVES, "0902f1ac"), (OBSERVE, "883bdbfd"), (SLOT0, "3850c7bd")],
)
def test_selector__known_function__as_published(function, selector):
    assert function.selector.hex() == selector


@given(
    st.binary(max_size=300)
    | WORDS.map(lambda w: b"\x08\xc3\x79\xa0" + w)
    | WORDS.map(lambda w: b"\x4e\x48\x7b\x71" + w)
)
def test_revert_reason__any_bytes__one_short_printable_line(data):
    reason = revert_reason(data)
    assert reason.isprintable() and len(reason) <= 120


@given(st.text(max_size=2000))
def test_printable__any_text__short_and_printable(text):
    assert printable(text).isprintable() and len(printable(text)) <= 120


@settings(max_examples=200)
@given(JSON)
async def test_ask__any_json__answers_or_feed_error(value):
    rpc = Rpc("it", URL, Frozen(value))
    try:
        answers = await rpc.ask([Request("eth_chainId"), Request("eth_blockNumber")])
    except FeedError:
        return
    assert len(answers) == 2


@given(JSON, JSON)
async def test_ask__any_result_and_error__value_or_failure_with_printable_words(result, error):
    rpc = Rpc("it", URL, Frozen([{"id": 1, "result": result, "error": error}]))
    (answer,) = await rpc.ask([Request("eth_call")])
    if error is None:
        assert answer is result
    else:
        assert isinstance(answer, Failure)
        assert answer.said.isprintable() and answer.why.isprintable()


@given(JSON)
def test_block__any_json__block_or_feed_error(value):
    chain = ChainSettings(name="it", symbol="A/B", rpc_url=URL, chain_id=1)
    try:
        block = ChainReader(chain, None, lambda: 0)._block(value)
    except FeedError:
        return
    assert len(block.hash) == 32


@given(JSON)
def test_quantity_and_data__any_json__value_or_malformed(value):
    rpc = Rpc("it", URL, Frozen(None))
    for read in (lambda: rpc.quantity(value, "it"), lambda: rpc.data(value, "it"), lambda: rpc.data(value, "it", 32)):
        try:
            read()
        except MalformedAnswer:
            continue


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=6, max_size=40), st.text(max_size=40))
def test_without_keys__key_in_path_or_query__gone_in_either_case(key, text):
    for url in (f"https://rpc.example/v2/{key}", f"https://rpc.example/?apikey={key}", f"https://rpc.example/{key}/x"):
        for said in (f"{text}{key}", f"{key.upper()} {text}"):
            assert key not in without_keys(said, url).lower()


@pytest.mark.parametrize(
    "url",
    ["", "rpc.example", "ftp://rpc.example/0123456789abcdef", "https://me:0123456789abcdef@rpc.example",
     "https://rpc.example/0123456789abcdef#x", "https://rpc example/0123456789abcdef", "wss://rpc.example"],
)  # fmt: skip
def test_url__not_to_be_sent_to__bad_rule_without_its_text(url):
    with pytest.raises(BadRule, match="not shown") as caught:
        ChainSettings(name="it", symbol="A/B", rpc_url=url, chain_id=1)
    assert "0123456789abcdef" not in str(caught.value)


def test_function__call_data__selector_and_arguments():
    assert Function("f", ("uint32[]",), ()).call_data((600, 0))[4:] == encode(["uint32[]"], [[600, 0]])
