"""The transaction manager against pools, fees, reorgs and RPCs that do what real ones do."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from oracle.chain.adapter import encode_call
from oracle.chain.rpc import Rpc
from oracle.chain.transactions import (
    GWEI,
    FeeAboveCap,
    FeePolicy,
    InsufficientFunds,
    NotMined,
    Transactions,
    _fees_of,
    bumped,
)
from oracle.devchain import DevChain
from oracle.errors import Reverted, Unreachable
from oracle.journal import PendingTransaction
from oracle.keys import HotKey

QUICK = FeePolicy(max_fee=50 * GWEI, bump_after_s=0.05, give_up_s=30.0, poll_s=0.005)
SINK = b"\x22" * 20


@dataclass
class Store:
    """A journal's pending transactions, in memory."""

    rows: dict[int, PendingTransaction] = field(default_factory=dict)
    saved: list[PendingTransaction] = field(default_factory=list)

    def save_pending(self, pending: PendingTransaction) -> None:
        self.rows[pending.nonce] = pending
        self.saved.append(pending)

    def pending(self) -> list[PendingTransaction]:
        return [self.rows[nonce] for nonce in sorted(self.rows)]

    def clear_pending(self, nonce: int) -> None:
        self.rows.pop(nonce, None)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def make(rpc: Rpc, keys: tuple[HotKey, ...], store: Store) -> Callable[..., Transactions]:
    def build(policy: FeePolicy = QUICK, key: HotKey = keys[0]) -> Transactions:
        return Transactions(rpc, key, 31337, policy, store)

    return build


def sent(chain: DevChain, pending: PendingTransaction) -> Any:
    answer = chain.handle({"id": 1, "method": "eth_getTransactionByHash", "params": ["0x" + pending.hash.hex()]})
    return answer["result"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_send__quiet_chain__one_transaction_journaled_before_and_cleared_after(
    make: Any, store: Store, network: Any
) -> None:
    transactions = make()
    for nonce in range(3):
        receipt = await transactions.send(SINK, b"\x01", slot=nonce)
        assert receipt.hash == store.saved[-1].hash and store.saved[-1].nonce == nonce
        assert receipt.fee_wei > 0 and receipt.gas_used >= 21_000
    assert store.rows == {} and len(store.saved) == 3


async def test_send__simulation_not_worthwhile__nothing_sent(make: Any, store: Store) -> None:
    assert await make().send(SINK, b"", slot=1, worthwhile=lambda output: output != b"") is None
    assert store.saved == []


async def test_send__simulation_reverts__reason_and_nothing_sent(make: Any, store: Store, network: Any) -> None:
    configurator = bytes.fromhex(network.core.configurator.address[2:])
    with pytest.raises(Reverted, match="configurator: unknown config"):
        await make().send(configurator, encode_call("configOf(uint256)", 77), slot=1)
    assert store.saved == []


async def test_send__two_at_once__never_two_in_flight(make: Any, network: Any, store: Store) -> None:
    network.ledger.automine = False
    transactions = make(FeePolicy(bump_after_s=5, poll_s=0.005))
    tasks = [asyncio.create_task(transactions.send(SINK, b"", slot=slot)) for slot in (1, 2)]
    await until(lambda: bool(network.ledger._pool))
    await asyncio.sleep(0.05)
    assert len(store.saved) == len(network.ledger._pool) == 1
    network.ledger.mine()
    await until(lambda: bool(network.ledger._pool))
    assert len(store.saved) == 2
    network.ledger.mine()
    assert [receipt.hash for receipt in await asyncio.gather(*tasks)] == [row.hash for row in store.saved]


async def test_send__not_mined_in_time__replaced_with_at_least_12_5_percent_more(
    make: Any, network: Any, store: Store
) -> None:
    network.ledger.automine = False
    task = asyncio.create_task(make().send(SINK, b"", slot=1))
    await until(lambda: len(store.saved) >= 3)
    network.ledger.mine()
    receipt = await task
    assert {row.nonce for row in store.saved} == {0}
    fees = [_fees_of(row.raw) for row in store.saved]
    assert all(8 * new >= 9 * old for a, b in pairwise(fees) for old, new in zip(a, b, strict=True))
    assert receipt.hash in {row.hash for row in store.saved}
    assert store.rows == {}


async def test_send__pool_forgets_the_transaction__sent_again(make: Any, network: Any, store: Store) -> None:
    network.ledger.automine = False
    task = asyncio.create_task(make().send(SINK, b"", slot=1))
    await until(lambda: len(store.saved) == 1 and bool(network.ledger._pool))
    assert network.ledger.drop_pool() == 1
    await until(lambda: bool(network.ledger._pool))
    network.ledger.mine()
    assert (await task).hash in {row.hash for row in store.saved} and len(store.saved) > 1


async def test_send__never_mined__not_mined_and_next_send_takes_the_nonce(
    make: Any, network: Any, store: Store
) -> None:
    network.ledger.automine = False
    transactions = make(FeePolicy(bump_after_s=9, give_up_s=0.05, poll_s=0.005))
    with pytest.raises(NotMined, match="nonce 0"):
        await transactions.send(SINK, b"\x01", slot=1)
    network.ledger.automine = True
    receipt = await transactions.send(SINK, b"\x02", slot=2)
    assert [row.nonce for row in store.saved] == [0, 0] and receipt.hash == store.saved[1].hash
    assert sent(network.chain, store.saved[0]) is None


async def test_send__older_payload_mined_meanwhile__not_taken_for_ours(make: Any, network: Any, store: Store) -> None:
    network.ledger.automine = False
    transactions = make(FeePolicy(bump_after_s=9, give_up_s=0.05, poll_s=0.005))
    with pytest.raises(NotMined):
        await transactions.send(SINK, b"\x01", slot=1)
    network.ledger.mine()
    network.ledger.automine = True
    receipt = await transactions.send(SINK, b"\x02", slot=2)
    assert receipt.hash == store.saved[1].hash and store.saved[1].nonce == 1


async def test_send__restart_with_a_stuck_transaction__replaces_it(make: Any, network: Any, store: Store) -> None:
    network.ledger.automine = False
    with pytest.raises(NotMined):
        await make(FeePolicy(bump_after_s=9, give_up_s=0.03, poll_s=0.005)).send(SINK, b"\x01", slot=1)
    network.ledger.automine = True
    receipt = await make().send(SINK, b"\x02", slot=2)
    assert [row.nonce for row in store.saved] == [0, 0] and receipt.hash == store.saved[-1].hash and store.rows == {}


async def test_send__restart_without_journal__raises_the_fee_until_it_replaces(
    rpc: Rpc, keys: tuple[HotKey, ...], network: Any
) -> None:
    network.ledger.automine = False
    with pytest.raises(NotMined):
        await Transactions(rpc, keys[0], 31337, FeePolicy(bump_after_s=9, give_up_s=0.03)).send(SINK, b"\x01", slot=1)
    task = asyncio.create_task(Transactions(rpc, keys[0], 31337, QUICK).send(SINK, b"\x02", slot=2))
    await until(lambda: any(item.transaction.data == b"\x02" for item in network.ledger._pool.values()))
    network.ledger.mine()
    assert (await task).gas_used > 21_000


async def test_send__reorg_before_confirmation__lands_again(make: Any, network: Any, store: Store) -> None:
    ledger = network.ledger
    before = ledger.snapshot()
    patient = FeePolicy(confirmations=2, bump_after_s=0.05, poll_s=0.005)
    task = asyncio.create_task(make(patient).send(SINK, b"", slot=1))
    await until(lambda: bool(store.saved) and store.saved[0].hash in ledger.where)
    ledger.revert(before)
    ledger.mine()
    await until(lambda: any(row.hash in ledger.where for row in store.saved))
    ledger.mine()
    assert not task.done()
    ledger.mine()
    receipt = await task
    assert receipt.hash in ledger.where and ledger.where[receipt.hash][0] == receipt.block


async def test_send__nonce_used_elsewhere__quotes_again(
    make: Any, network: Any, proxy: Any, store: Store, keys: tuple[HotKey, ...]
) -> None:
    def meanwhile(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_estimateGas" and not store.saved:
            fields = {"chainId": 31337, "nonce": 0, "to": SINK, "gas": 30_000, "value": 0, "type": 2,
                      "maxFeePerGas": 9 * GWEI, "maxPriorityFeePerGas": GWEI}  # fmt: skip
            network.ledger.send_raw(bytes(Account.sign_transaction(fields, keys[0].secret).raw_transaction))
        return answer

    proxy.rewrite = meanwhile
    receipt = await make().send(SINK, b"", slot=1)
    assert receipt.hash == store.saved[-1].hash and [row.nonce for row in store.saved] == [0, 1]


async def test_send__answer_lost_after_sending__already_known_is_no_failure(
    make: Any, proxy: Any, store: Store
) -> None:
    proxy.faults.extend(["", "half"])
    receipt = await make().send(SINK, b"", slot=1)
    assert receipt is not None and len(store.saved) == 1
    assert proxy.seen.count("eth_sendRawTransaction") == 2


async def test_send__fee_spike_over_the_cap__fault_with_both_figures(make: Any, network: Any, store: Store) -> None:
    with pytest.raises(FeeAboveCap, match="max_fee_gwei") as caught:
        await make(FeePolicy(max_fee=1)).send(SINK, b"", slot=1)
    assert caught.value.limit == 1 and caught.value.given > 1
    assert store.saved == []


async def test_send__stuck_at_the_cap__same_bytes_sent_again_not_over_the_cap(
    make: Any, network: Any, store: Store
) -> None:
    network.ledger.automine = False
    base = network.ledger.base_fee()
    task = asyncio.create_task(
        make(FeePolicy(max_fee=2 * base, bump_after_s=0.03, poll_s=0.005)).send(SINK, b"", slot=1)
    )
    await until(lambda: len(store.saved) == 1)
    await asyncio.sleep(0.1)
    network.ledger.drop_pool()
    await until(lambda: bool(network.ledger._pool))
    network.ledger.mine()
    assert (await task).hash == store.saved[0].hash and len(store.saved) == 1


async def test_send__no_funds__fault_with_account_and_need(make: Any, keys: tuple[HotKey, ...], store: Store) -> None:
    with pytest.raises(InsufficientFunds, match=keys[1].checksum_address) as caught:
        await make(key=keys[1]).send(SINK, b"", slot=1)
    assert caught.value.given == 0 and caught.value.limit > 0 and store.saved == []


async def test_send__rpc_down__unreachable(make: Any, proxy: Any) -> None:
    proxy.faults.extend(["503"] * 3)
    with pytest.raises(Unreachable, match="503"):
        await make().send(SINK, b"", slot=1)


async def test_send__transient_errors_on_every_step__still_one_transaction(make: Any, proxy: Any, store: Store) -> None:
    proxy.faults.extend(["429", "", "500", "", "half", ""])
    assert await make().send(SINK, b"", slot=1) is not None
    assert len(store.saved) == 1


@given(fee=st.integers(0, 2**96))
def test_bumped__any_fee__at_least_12_5_percent_and_never_more_than_needed(fee: int) -> None:
    assert 8 * bumped(fee) >= 9 * fee > 8 * (bumped(fee) - 1)
