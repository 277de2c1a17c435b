"""The embedded chain: JSON-RPC wire, time, pool rules, snapshots, and that hostile input only gives error objects."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import ContractLogicError

from oracle.devchain import MAX_BODY, DevChain, Serving, dev_address, dev_alloc, dev_key, main, serve
from oracle.ledger import Ledger

GENESIS = 1_500_000_000
GWEI = 10**9
# Runtime code in bytes: answer with block.timestamp; revert with `Error("no")`; log one topic.
CLOCK = "425f5260205ff3"
PREVRANDAO = "445f5260205ff3"
REVERTING = (
    "7f08c379a0" + "00" * 28 + "5f52" + "7f00000020" + "00" * 28 + "602052" + "7f00000002" + "6e6f" + "00" * 26
    + "604052" + "60645ffd"
)  # fmt: skip
LOGGING = "60075f5fa100"


def init_code(runtime: str) -> bytes:
    body = bytes.fromhex(runtime)
    return bytes.fromhex(f"61{len(body):04x}80600a3d393df3") + body


def ledger() -> Ledger:
    return Ledger(31337, GENESIS, dev_alloc(3), GENESIS)


def signed(nonce: int, *, fee: int = 10 * GWEI, tip: int = GWEI, account: int = 0, **fields: Any) -> bytes:
    fields = {"chainId": 31337, "nonce": nonce, "gas": 400_000, "value": 0, "maxFeePerGas": fee,
              "maxPriorityFeePerGas": tip, "type": 2} | fields  # fmt: skip
    return bytes(Account.sign_transaction(fields, dev_key(account)).raw_transaction)


def ask(chain: DevChain, method: str, *params: Any) -> Any:
    answer = chain.handle({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
    assert answer["id"] == 1
    return answer["result"] if "result" in answer else answer["error"]


def send(chain: DevChain, raw: bytes) -> Any:
    return ask(chain, "eth_sendRawTransaction", "0x" + raw.hex())


def deploy(chain: DevChain, runtime: str, nonce: int = 0) -> str:
    digest = send(chain, signed(nonce, data=init_code(runtime)))
    receipt = ask(chain, "eth_getTransactionReceipt", digest)
    assert receipt["status"] == "0x1"
    return str(receipt["contractAddress"])


@pytest.fixture
def chain() -> DevChain:
    return DevChain(ledger())


@pytest_asyncio.fixture
async def serving() -> AsyncIterator[Serving]:
    server = await serve(ledger())
    yield server
    await server.stop()


def test_set_time__call_at_latest__sees_the_set_time(chain: DevChain) -> None:
    clock = deploy(chain, CLOCK)
    assert ask(chain, "dodona_setTime", GENESIS + 5000) == hex(GENESIS + 5000)
    for tag in ("latest", "pending"):
        assert int(ask(chain, "eth_call", {"to": clock}, tag), 16) == GENESIS + 5000
    ask(chain, "evm_mine")
    assert ask(chain, "eth_getBlockByNumber", "latest", False)["timestamp"] == hex(GENESIS + 5000)
    assert int(ask(chain, "eth_call", {"to": clock}, "latest"), 16) == GENESIS + 5001


def test_set_time__backwards__the_second_after_the_latest_block_applies(chain: DevChain) -> None:
    ask(chain, "dodona_setTime", GENESIS + 100)
    ask(chain, "evm_mine")
    assert ask(chain, "dodona_setTime", GENESIS + 50) == hex(GENESIS + 101)


def test_set_time__null__follows_the_system_clock(chain: DevChain) -> None:
    assert abs(int(ask(chain, "dodona_setTime", None), 16) - int(time.time())) <= 2


def test_mining__same_transactions__same_blocks() -> None:
    hashes = []
    for _ in range(2):
        chain = DevChain(ledger())
        randao = deploy(chain, PREVRANDAO)
        ask(chain, "dodona_setTime", GENESIS + 60)
        send(chain, signed(1, to=randao))
        block = ask(chain, "eth_getBlockByNumber", "latest", False)
        hashes.append((block["hash"], ask(chain, "eth_call", {"to": randao})))
    assert hashes[0] == hashes[1]
    assert int(hashes[0][1], 16) > 2**200


def test_revert__error_string__code_3_with_data(chain: DevChain) -> None:
    target = deploy(chain, REVERTING)
    for method in ("eth_call", "eth_estimateGas"):
        error = ask(chain, method, {"to": target})
        assert (error["code"], error["message"]) == (3, "execution reverted: no")
        assert error["data"].startswith("0x08c379a0")


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_nothing", [], -32601),
        ("eth_getBalance", ["0x12"], -32602),
        ("eth_getBalance", [], -32602),
        ("eth_getBalance", ["0x" + "11" * 20, "latest", 1], -32602),
        ("eth_getBlockByNumber", ["0xzz", False], -32602),
        ("eth_sendRawTransaction", ["0xdead"], -32602),
        ("eth_call", ["text"], -32602),
        ("eth_call", [{"to": "0x" + "11" * 20}, "0xffff"], -32000),
        ("eth_getLogs", [{"topics": [1]}], -32602),
        ("dodona_setTime", [-1], -32602),
        ("evm_setAutomine", ["yes"], -32602),
    ],
)
def test_bad_params__any_method__standard_error(chain: DevChain, method: str, params: list[Any], code: int) -> None:
    assert ask(chain, method, *params)["code"] == code


def test_batch__mixed__answers_in_order_and_notifications_are_silent(chain: DevChain) -> None:
    request = {"jsonrpc": "2.0", "method": "eth_chainId", "params": []}
    answers = chain.handle([request | {"id": 7}, request, request | {"id": "x", "method": "nope"}])
    assert [answer["id"] for answer in answers] == [7, "x"]
    assert answers[0]["result"] == "0x7a69" and answers[1]["error"]["code"] == -32601
    assert chain.handle([])["error"]["code"] == -32600
    assert chain.handle(request) is None


def test_pool__automine_off__replacement_needs_ten_percent(chain: DevChain) -> None:
    ask(chain, "evm_setAutomine", False)
    sink = "0x" + "22" * 20
    first = send(chain, signed(0, to=sink, value=1))
    assert ask(chain, "eth_getTransactionReceipt", first) is None
    assert ask(chain, "eth_getTransactionByHash", first)["blockNumber"] is None
    assert send(chain, signed(0, to=sink, value=1))["message"] == "already known"
    assert "underpriced" in send(chain, signed(0, to=sink, value=2, fee=10 * GWEI + 1))["message"]
    second = send(chain, signed(0, to=sink, value=2, fee=11 * GWEI, tip=GWEI * 11 // 10))
    assert ask(chain, "eth_getTransactionCount", "0x" + dev_address(0).hex(), "pending") == "0x1"
    ask(chain, "evm_mine")
    assert ask(chain, "eth_getBalance", sink) == "0x2"
    assert ask(chain, "eth_getTransactionReceipt", first) is None
    assert ask(chain, "eth_getTransactionReceipt", second)["status"] == "0x1"
    assert "nonce too low" in send(chain, signed(0, to=sink, value=3))["message"]


def test_pool__fee_under_base_fee__waits_until_it_falls(chain: DevChain) -> None:
    digest = send(chain, signed(0, to="0x" + "22" * 20, fee=GWEI // 2, tip=1))
    mined = []
    for _ in range(8):
        ask(chain, "evm_mine")
        mined.append(ask(chain, "eth_getTransactionReceipt", digest) is not None)
    assert mined[0] is False and mined[-1] is True


def test_pool__gap_in_nonces__mined_once_filled(chain: DevChain) -> None:
    late = send(chain, signed(1, to="0x" + "22" * 20))
    assert ask(chain, "eth_getTransactionReceipt", late) is None
    early = send(chain, signed(0, to="0x" + "22" * 20))
    receipts = [ask(chain, "eth_getTransactionReceipt", digest) for digest in (early, late)]
    assert [receipt["transactionIndex"] for receipt in receipts] == ["0x0", "0x1"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"chainId": 1}, "invalid chain id"),
        ({"value": 10**30}, "insufficient funds"),
        ({"gas": 20_000}, "intrinsic gas too low"),
        ({"gas": 10**8}, "exceeds block gas limit"),
        ({"maxPriorityFeePerGas": 11 * GWEI}, "max priority fee"),
    ],
)
def test_send__inadmissible_transaction__refused_in_geths_words(
    chain: DevChain, fields: dict[str, int], words: str
) -> None:
    assert words in send(chain, signed(0, to="0x" + "22" * 20, **fields))["message"]


def test_logs__filtered__by_topic_address_and_range(chain: DevChain) -> None:
    target = deploy(chain, LOGGING)
    for nonce in (1, 2):
        send(chain, signed(nonce, to=target))
    topic = "0x" + (7).to_bytes(32, "big").hex()
    assert len(ask(chain, "eth_getLogs", {"fromBlock": "0x0", "topics": [[topic, topic]]})) == 2
    assert len(ask(chain, "eth_getLogs", {"fromBlock": "0x3", "address": [target]})) == 1
    assert ask(chain, "eth_getLogs", {"fromBlock": "0x0", "topics": [None, topic]}) == []
    assert ask(chain, "eth_getLogs", {"fromBlock": "0x0", "address": "0x" + "33" * 20}) == []
    block = ask(chain, "eth_getBlockByNumber", "0x2", True)
    assert len(ask(chain, "eth_getLogs", {"blockHash": block["hash"], "topics": []})) == 1
    assert block["transactions"][0]["to"] == target


def test_snapshot__reverted__undoes_blocks_time_and_receipts(chain: DevChain) -> None:
    sink = "0x" + "22" * 20
    number = ask(chain, "evm_snapshot")
    ask(chain, "dodona_setTime", GENESIS + 900)
    digest = send(chain, signed(0, to=sink, value=5))
    assert ask(chain, "eth_getBalance", sink) == "0x5"
    assert ask(chain, "evm_revert", number) is True
    assert ask(chain, "evm_revert", number) is False
    assert ask(chain, "eth_getTransactionReceipt", digest) is None
    assert (ask(chain, "eth_blockNumber"), ask(chain, "eth_getBalance", sink)) == ("0x0", "0x0")
    send(chain, signed(0, to=sink, value=6))
    assert ask(chain, "eth_getBalance", sink) == "0x6"


def test_estimate__deployment_and_call__suffices_and_is_close(chain: DevChain) -> None:
    for fields in ({"data": "0x" + init_code(CLOCK).hex()}, {"to": deploy(chain, LOGGING)}):
        estimate = int(ask(chain, "eth_estimateGas", {"from": "0x" + dev_address(0).hex(), **fields}), 16)
        nonce = int(ask(chain, "eth_getTransactionCount", "0x" + dev_address(0).hex()), 16)
        plain = {"data": fields["data"]} if "data" in fields else {"to": fields["to"]}
        receipt = ask(chain, "eth_getTransactionReceipt", send(chain, signed(nonce, gas=estimate, **plain)))
        used = int(receipt["gasUsed"], 16)
        assert receipt["status"] == "0x1" and used <= estimate <= used * 1.1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["latest", "pending", "0x", "0x0", "0x" + "11" * 20, "0x" + "ab" * 32]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["to", "from", "data", "gas", "value", "topics", "address", "blockHash"]), inner),
    max_leaves=6,
)  # fmt: skip
FUZZED = DevChain(ledger())


@settings(max_examples=300, deadline=None)
@given(method=st.sampled_from(sorted(FUZZED._methods)), params=st.lists(JSON, max_size=3))
def test_fuzz__any_json__result_or_error_object(method: str, params: list[Any]) -> None:
    answer = FUZZED.handle({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    assert ("result" in answer) != ("error" in answer)
    json.dumps(answer)


@settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=200) | st.tuples(
        st.just(signed(0, to="0x" + "22" * 20)), st.integers(0, 110), st.binary(min_size=1, max_size=3)
    ).map(lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + len(cut[2]) :])
)  # fmt: skip
def test_fuzz__damaged_transactions__error_object_or_hash(body: bytes) -> None:
    answer = FUZZED.handle({"id": 1, "method": "eth_sendRawTransaction", "params": ["0x" + body.hex()]})
    assert "result" in answer or answer["error"]["code"] in (-32000, -32602)


@given(body=JSON)
@settings(max_examples=100, deadline=None)
def test_fuzz__any_body__never_raises(body: Any) -> None:
    FUZZED.handle(body)


async def test_http__web3_client__cannot_tell_it_from_a_node(serving: Serving) -> None:
    web3 = AsyncWeb3(AsyncHTTPProvider(serving.url))
    account = Account.from_key(dev_key(0))
    assert await web3.eth.chain_id == 31337
    fee = await web3.eth.fee_history(2, "latest", [50])
    assert len(fee["baseFeePerGas"]) == 2
    fields = {"from": account.address, "data": init_code(REVERTING), "nonce": 0, "chainId": 31337}
    fields["gas"] = await web3.eth.estimate_gas(fields)
    fields |= {"maxFeePerGas": 10 * GWEI, "maxPriorityFeePerGas": await web3.eth.max_priority_fee}
    digest = await web3.eth.send_raw_transaction(account.sign_transaction(fields).raw_transaction)
    receipt = await web3.eth.wait_for_transaction_receipt(digest)
    assert (await web3.eth.get_transaction(digest))["from"] == account.address
    assert (await web3.eth.get_block("latest", True))["transactions"][0]["hash"] == digest
    with pytest.raises(ContractLogicError, match="no"):
        await web3.eth.call({"to": receipt["contractAddress"]})
    await web3.provider.disconnect()


async def test_http__hostile_bodies__error_object_or_413(serving: Serving) -> None:
    async with aiohttp.ClientSession() as session:
        for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null"):
            async with session.post(serving.url, data=body) as response:
                assert response.status == 200
                assert (await response.json())["error"]["code"] in (-32700, -32600)
        async with session.post(serving.url, data=io.BytesIO(b" " * (MAX_BODY + 1))) as response:
            assert response.status == 413


async def test_main__port_in_use__one_line_and_exit_code_2(
    serving: Serving, capsys: pytest.CaptureFixture[str]
) -> None:
    port = serving.url.rsplit(":", 1)[1]
    code = await asyncio.to_thread(main, ["--genesis-time", str(GENESIS), "--port", port])
    assert code == 2
    assert f"port {port}" in capsys.readouterr().err
