"""The RPC wrapper: whatever an endpoint answers is a value or a ChainFault that shows the URL."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.chain.adapter import encode_call
from oracle.chain.rpc import Rpc, RpcGarbled, RpcRefused, shown
from oracle.errors import ChainFault, Reverted, Unreachable


@pytest.mark.parametrize("fault", ["429", "500", "503", "half", "words"])
async def test_request__one_passing_fault__tried_again(rpc: Rpc, proxy: Any, fault: str) -> None:
    proxy.faults.extend([fault, fault])
    assert await rpc.quantity("eth_chainId") == 31337
    proxy.faults.extend([fault])
    assert await rpc.batch([("eth_chainId", []), ("net_version", [])]) == ["0x7a69", "31337"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [("429", Unreachable), ("502", Unreachable), ("half", RpcGarbled), ("null", RpcGarbled),
     ("list", RpcGarbled), ("words", RpcGarbled)],
)  # fmt: skip
async def test_request__lasting_fault__chain_fault_with_url(
    rpc: Rpc, proxy: Any, fault: str, error: type[ChainFault]
) -> None:
    for call in (lambda: rpc.request("eth_chainId"), lambda: rpc.batch([("eth_chainId", []), ("eth_chainId", [])])):
        proxy.faults.extend([fault] * 3)
        with pytest.raises(error, match=re.escape(rpc.url)):
            await call()
        proxy.faults.clear()


async def test_request__slower_than_the_time_out__tried_again_then_unreachable(
    proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oracle.chain.rpc.BACKOFF_S", 0.01)
    rpc = Rpc(proxy.url, timeout_s=0.6)
    proxy.faults.extend(["slow"])
    assert await rpc.quantity("eth_chainId") == 31337
    proxy.faults.extend(["slow"] * 3)
    with pytest.raises(Unreachable, match="no answer"):
        await rpc.batch([("eth_chainId", [])])
    await rpc.close()


async def test_request__client_error__not_repeated(rpc: Rpc, proxy: Any) -> None:
    proxy.faults.extend(["401"])
    with pytest.raises(Unreachable, match=r"HTTP 401.*key"):
        await rpc.request("eth_chainId")
    assert len(proxy.seen) == 1


async def test_request__nobody_listens__unreachable_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oracle.chain.rpc.BACKOFF_S", 0.001)
    rpc = Rpc("http://127.0.0.1:9/secret", timeout_s=1)
    with pytest.raises(Unreachable, match="rpc_url") as caught:
        await rpc.request("eth_chainId")
    assert "secret" not in str(caught.value)
    await rpc.close()


async def test_request__error_object__refused_or_reverted(rpc: Rpc, network: Any) -> None:
    with pytest.raises(RpcRefused, match="does not exist") as caught:
        await rpc.request("eth_nope")
    assert caught.value.code == -32601
    configurator = bytes.fromhex(network.core.configurator.address[2:])
    with pytest.raises(Reverted, match="unknown config"):
        await rpc.call(configurator, encode_call("configOf(uint256)", 9))


async def test_batch__more_than_a_part__all_answers_in_order(rpc: Rpc, proxy: Any) -> None:
    asked = [("eth_getBlockByNumber", [hex(n % 5), False]) for n in range(230)]
    found = await rpc.batch(asked)
    assert [int(block["number"], 16) for block in found] == [n % 5 for n in range(230)]


WORDS = st.sampled_from(["0x", "0x1", "0xzz", "0x" + "f" * 70])
NAMES = st.sampled_from(["id", "result", "error", "code"])
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=ANSWERS)
async def test_fuzz__any_json_answer__value_or_chain_fault(rpc: Rpc, proxy: Any, answer: Any) -> None:
    proxy.rewrite = lambda request, given: answer
    for call in (rpc.quantity("eth_chainId"), rpc.call(bytes(20), b""), rpc.calls([(bytes(20), b"")] * 2)):
        try:
            assert json.dumps(str(await call))
        except ChainFault as fault:
            assert rpc.url in str(fault)


def test_shown__url_with_secrets__host_only() -> None:
    assert shown("https://u:p@h.example:1/v3/key?x=1") == "https://h.example:1/..."
    assert shown("http://127.0.0.1:8545/") == "http://127.0.0.1:8545"
