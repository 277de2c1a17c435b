"""anvil behaves as py-evm does wherever a test could tell: clock, snapshots, refusals, storage, mining."""

from __future__ import annotations

import gc
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_tester.exceptions import TransactionFailed

from oracle.chain.anvil import AnvilChain, AnvilMissing, AnvilSilent, find_anvil
from oracle.chain.deploy import TransactionReverted, deploy, send
from oracle.chain.localnet import GENESIS_TIME, LocalChain

NOW_CODE = "0x60078060093d393df3" + "425f5260205ff3"
"""Creation code of a contract that returns the block's time."""
HOLDER, READER = 3, 4
HOLD = "from oracle.chain.anvil import AnvilChain as C; c = C(1); print(c.w3.provider.ipc_path, flush=True); input()"
"""A program that starts a chain and waits."""


@pytest.fixture(scope="module", params=[LocalChain, AnvilChain], ids=["py-evm", "anvil"])
def standing_chain(request: pytest.FixtureRequest) -> Iterator[Any]:
    chain = request.param(accounts=5)
    yield chain
    if isinstance(chain, AnvilChain):
        chain.close()


@pytest.fixture
def chain(standing_chain: Any) -> Iterator[Any]:
    with standing_chain.rewound():
        yield standing_chain


@pytest.fixture
def token(chain: Any) -> Any:
    return deploy(chain.w3, chain.accounts[HOLDER], "OracleToken", 1_000)


def latest(chain: Any) -> int:
    return int(chain.w3.eth.get_block("latest")["timestamp"])


def pass_block(chain: Any) -> Any:
    """Mine a block with an empty payment in it."""
    payment = {"from": chain.accounts[0], "to": chain.accounts[1], "value": 0, "gas": 21_000}
    return chain.w3.eth.get_transaction_receipt(chain.w3.eth.send_transaction(payment))


def test_start__clock_and_accounts__are_the_same_on_both(chain):
    assert (latest(chain), chain.now) == (GENESIS_TIME, GENESIS_TIME + 1)
    assert chain.accounts == LocalChain(accounts=5).accounts
    assert {chain.w3.eth.get_balance(account) for account in chain.accounts} == {10**24}


def test_clock__between_blocks__moves_by_one_second_or_as_told(chain):
    pass_block(chain)
    assert (latest(chain), chain.now) == (GENESIS_TIME + 1, GENESIS_TIME + 2)
    chain.move_to(GENESIS_TIME + 500)
    chain.move_to(GENESIS_TIME + 400)
    assert (latest(chain), chain.now) == (GENESIS_TIME + 1, GENESIS_TIME + 400)
    assert pass_block(chain)["status"] == 1
    assert (latest(chain), chain.now) == (GENESIS_TIME + 400, GENESIS_TIME + 401)


def test_call__pending__sees_the_next_block_s_time(chain):
    made = chain.w3.eth.send_transaction({"from": chain.accounts[0], "data": NOW_CODE, "gas": 10**6})
    call = {"to": chain.w3.eth.get_transaction_receipt(made)["contractAddress"], "from": chain.accounts[0]}
    chain.move_to(GENESIS_TIME + 900)
    assert int.from_bytes(chain.w3.eth.call(call, "pending")) == GENESIS_TIME + 900
    assert int.from_bytes(chain.w3.eth.call(call, "latest")) == latest(chain) == GENESIS_TIME + 1


def test_snapshot__gone_back_to_twice__brings_state_and_time_back_each_time(chain, token):
    chain.move_to(GENESIS_TIME + 77)
    taken = chain.snapshot()
    for _ in range(2):
        send(chain.w3, token.functions.transfer(chain.accounts[READER], 10), chain.accounts[HOLDER])
        chain.move_to(GENESIS_TIME + 10_000)
        chain.revert(taken)
        assert token.functions.balanceOf(chain.accounts[READER]).call() == 0
        assert (latest(chain), chain.now) == (GENESIS_TIME + 1, GENESIS_TIME + 77)


def test_rewound__inside_another__each_undoes_its_own(chain, token):
    def held() -> int:
        return int(token.functions.balanceOf(chain.accounts[READER]).call())

    with chain.rewound():
        send(chain.w3, token.functions.transfer(chain.accounts[READER], 1), chain.accounts[HOLDER])
        with chain.rewound():
            send(chain.w3, token.functions.transfer(chain.accounts[READER], 2), chain.accounts[HOLDER])
            assert held() == 3
        assert held() == 1
    assert held() == 0


def test_refused_call__with_a_reason__is_told_in_the_same_words(chain, token):
    call = token.functions.transfer(chain.accounts[0], 2_000)
    with pytest.raises(TransactionFailed) as told:
        call.call({"from": chain.accounts[HOLDER]}, "pending")
    assert str(told.value) == "execution reverted: erc20: transfer amount exceeds balance"


def test_refused_call__without_a_reason__is_told_in_the_same_words(chain, token):
    with pytest.raises(TransactionFailed) as told:
        chain.w3.eth.call({"to": token.address, "from": chain.accounts[0], "data": "0x12345678"}, "pending")
    assert str(told.value) == "execution reverted: b''"


def test_reverting_transaction__with_gas_given__is_mined_and_named(chain, token):
    before = chain.w3.eth.block_number
    with pytest.raises(TransactionReverted, match="reverted on chain"):
        send(chain.w3, token.functions.transfer(chain.accounts[0], 2_000), chain.accounts[HOLDER])
    assert chain.w3.eth.block_number == before + 1


def test_set_storage__words__are_there_in_the_next_call_and_block(chain, token):
    chain.set_storage(token.address, {9: 2**256 - 1, 10: 5})
    pass_block(chain)
    assert [int.from_bytes(chain.w3.eth.get_storage_at(token.address, slot)) for slot in (9, 10)] == [2**256 - 1, 5]


def test_anvil__snapshot_after_one_gone_back_to__is_lost_and_says_so():
    chain = AnvilChain(accounts=2)
    first = chain.snapshot()
    pass_block(chain)
    second = chain.snapshot()
    chain.revert(first)
    with pytest.raises(AnvilSilent, match="no longer has this snapshot"):
        chain.revert(second)
    chain.close()


@pytest.mark.parametrize("forgotten", [False, True])
def test_anvil__closed_or_forgotten__leaves_no_process_and_no_folder(forgotten):
    chain = AnvilChain(accounts=1)
    path = chain.w3.provider.ipc_path
    assert answers(path)
    if forgotten:
        del chain
        gc.collect()
    else:
        chain.close()
    assert not answers(path) and not Path(path).parent.exists()


def test_anvil__chain_forgotten_but_a_contract_held__goes_on():
    token = deploy((chain := AnvilChain(accounts=1)).w3, chain.accounts[0], "OracleToken", 7)
    del chain
    gc.collect()
    assert token.functions.totalSupply().call() == 7


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_anvil__parent_killed__dies_with_it():
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        path = parent.stdout.readline().strip()
        assert answers(path)
        parent.kill()
    end = time.monotonic() + 10
    while answers(path) and time.monotonic() < end:
        time.sleep(0.01)
    assert not answers(path)
    shutil.rmtree(Path(path).parent)


def answers(path: str) -> bool:
    """Whether something listens on a socket file."""
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(path)
        except OSError:
            return False
        return True


def test_find_anvil__npm_s_starter_script__is_passed_by(monkeypatch, tmp_path):
    assert Path(find_anvil()).read_bytes()[:2] != b"#!"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AnvilMissing, match="no anvil on PATH"):
        find_anvil()
