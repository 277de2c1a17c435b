"""The oracle adapter on the real contracts: what it reads, what it refuses to believe, what it transmits."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address

from contracts.artifacts import artifact
from oracle.chain.adapter import (
    CONFIG_TYPE,
    HEAD_TYPE,
    SPEC_TYPE,
    TABLE_TYPE,
    TRANSMITTED,
    ChainAdapter,
    NoSuchContract,
    selector,
)
from oracle.chain.deploy import roll_epoch, send
from oracle.config import ChainSettings
from oracle.consensus.network import FeedId
from oracle.devchain import dev_address
from oracle.errors import BadNetworkConfig, ChainFault, LocalFault, Reverted, WrongChain, WrongConfigDigest
from oracle.keys import HotKey

QUANTILES = (-900, -700, -500, -200, 10, 200, 500, 700, 900)


@pytest_asyncio.fixture
async def adapter(
    chain_settings: ChainSettings, keys: tuple[HotKey, ...], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ChainAdapter]:
    monkeypatch.setattr("oracle.chain.rpc.BACKOFF_S", 0.01)
    adapter = await ChainAdapter.connect(chain_settings, keys[0])
    yield adapter
    await adapter.close()


def answering(name: str, types: list[str], change: Any) -> Any:
    """A rewrite of one view function's decoded output."""

    def rewrite(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_call" and request["params"][0]["data"].startswith("0x" + selector(name).hex()):
            answer = answer | {"result": "0x" + abi_encode(types, change).hex()}
        return answer

    return rewrite


# Connecting


async def test_connect__other_chain_id__fault_names_both(chain_settings: ChainSettings) -> None:
    with pytest.raises(WrongChain, match=r"chain 31337.*chain_id says 1;") as caught:
        await ChainAdapter.connect(replace(chain_settings, chain_id=1))
    assert (caught.value.given, caught.value.limit) == (31337, 1)


async def test_connect__no_contract_there__fault_names_the_setting(chain_settings: ChainSettings) -> None:
    with pytest.raises(NoSuchContract, match=r"\[chain\] aggregator"):
        await ChainAdapter.connect(replace(chain_settings, aggregator="0x" + "12" * 20))
    with pytest.raises(NoSuchContract, match=r"\[chain\] staking"):
        await ChainAdapter.connect(replace(chain_settings, staking=chain_settings.aggregator))
    with pytest.raises(ChainFault):
        await ChainAdapter.connect(replace(chain_settings, aggregator=chain_settings.staking))


# Configs


async def test_network_config__as_rolled__digest_recomputed_and_stakes_capped(
    adapter: ChainAdapter, network: Any, keys: tuple[HotKey, ...]
) -> None:
    config = await adapter.network_config()
    assert [row.address for row in config.rows] == [key.address for key in keys]
    assert [row.stake * 10 // 10**18 for row in config.rows] == [225, 225, 200, 100]
    assert [feed.number for feed in config.feeds] == [0, 4]
    stated = network.core.configurator.functions.configOf(1).call()[14]
    assert config.digest == stated
    assert await adapter.endpoints(config) == {
        key.address: f"http://127.0.0.1:{9000 + number}" for number, key in enumerate(keys)
    }
    assert await adapter.revoked(1) == frozenset()


async def test_network_configs__rolled_again__both_are_given(adapter: ChainAdapter, network: Any) -> None:
    (first,) = await adapter.network_configs()
    network.ledger.set_time(first.anchor_time + 400)
    roll_epoch(network.w3, network.core, network.core.owner)
    assert await adapter.config_count() == 2
    older, newer = await adapter.network_configs()
    assert older == first and newer.count == 2 and newer.first_slot > older.first_slot
    assert newer.digest != older.digest


async def test_network_config__rpc_changes_a_field__digest_fault(
    adapter: ChainAdapter, proxy: Any, network: Any
) -> None:
    fields = list(network.core.configurator.functions.configOf(1).call())
    for place in (3, 4, 5, 6, 7, 8, 9, 10, 11):
        lie = list(fields)
        lie[place] = bytes(32) if place == 3 else lie[place] + 1
        proxy.rewrite = answering("configOf(uint256)", [CONFIG_TYPE], [tuple(lie)])
        with pytest.raises((WrongConfigDigest, BadNetworkConfig), match=re.escape(adapter.url)):
            await adapter.network_config(1)


async def test_network_config__rpc_changes_a_stake_and_the_digest__probe_or_digest_fault(
    adapter: ChainAdapter, proxy: Any, network: Any
) -> None:
    rows = [(row[0], row[1] + 1) for row in network.core.configurator.functions.table(1).call()]
    proxy.rewrite = answering("table(uint256)", [TABLE_TYPE], [rows])
    with pytest.raises(WrongConfigDigest, match="do not trust"):
        await adapter.network_config(1)


async def test_network_config__made_for_another_contract_or_chain__wrong_chain(
    adapter: ChainAdapter, proxy: Any, network: Any
) -> None:
    fields = network.core.configurator.functions.configOf(1).call()
    for place, value in ((0, 1), (1, "0x" + "11" * 20), (2, 7)):
        lie = [*fields[:place], value, *fields[place + 1 :]]
        proxy.rewrite = answering("configOf(uint256)", [CONFIG_TYPE], [tuple(lie)])
        with pytest.raises(WrongChain):
            await adapter.network_config(1)


async def test_network_config__other_domain__wrong_chain(adapter: ChainAdapter, proxy: Any) -> None:
    proxy.rewrite = answering("reportDigest(bytes32,uint256,uint256,bytes32)", ["bytes32"], [bytes(32)])
    with pytest.raises(WrongChain, match="EIP-712"):
        await adapter.network_config(1)


async def test_network_config__garbage_output__chain_fault(adapter: ChainAdapter, proxy: Any) -> None:
    for name in ("configOf(uint256)", "table(uint256)", "feedsOf(uint256)", "feedSpecOf(uint256,uint256)"):
        proxy.rewrite = answering(name, ["bool"], [True])
        with pytest.raises((ChainFault, BadNetworkConfig)):
            await adapter.network_config(1)


# Rounds and transmission


async def test_transmit__new_report__stored_and_read_back(adapter: ChainAdapter, network: Any, proxy: Any) -> None:
    config = await adapter.network_config()
    assert await adapter.heads(config) == {}
    proxy.seen.clear()
    landed = await adapter.transmit(network.attest(config, config.first_slot, 117_500_000, QUANTILES), 0b11)
    assert landed is not None and landed.feeds == (FeedId(0), FeedId(4)) and landed.slot == config.first_slot
    assert landed.gas_used > 60_000 and landed.fee_wei > 0
    assert proxy.seen.count("eth_sendRawTransaction") == 1 and len(proxy.seen) <= 8
    heads = await adapter.heads(config)
    first = heads[FeedId(0)]
    assert (first.value, first.slot, first.invalid) == (117_500_000, landed.slot, False)
    assert heads[FeedId(4)].components == QUANTILES and heads[FeedId(4)].value == QUANTILES[4]
    price, _ = await adapter.readings(config.feeds)
    assert price.round == 1 and price.word is not None and price.word.turnout == 10_000
    assert price.word.updated_at == network.ledger.head.header.timestamp


async def test_chain_heads__round_was_paid_for__named_until_it_is_stored(adapter: ChainAdapter, network: Any) -> None:
    config = await adapter.network_config()
    assert (await adapter.chain_heads(config)).requested == frozenset()
    attested = network.attest(config, config.first_slot, 7, QUANTILES)
    call = network.core.aggregator.functions.requestRound(4)
    network.w3.eth.wait_for_transaction_receipt(
        call.transact({"from": network.core.owner, "value": 10**17, "gas": 10**6})
    )
    assert (await adapter.chain_heads(config)).requested == {FeedId(4)}
    await adapter.transmit(attested, 0b01)
    assert (await adapter.chain_heads(config)).requested == {FeedId(4)}, "another page was stored"
    await adapter.transmit(attested, 0b10)
    found = await adapter.chain_heads(config)
    assert found.requested == frozenset() and set(found.heads) == {FeedId(0), FeedId(4)}


async def test_transmit__one_page__only_its_feed(adapter: ChainAdapter, network: Any) -> None:
    config = await adapter.network_config()
    landed = await adapter.transmit(network.attest(config, config.first_slot, 1, QUANTILES), 0b10)
    assert landed is not None and landed.feeds == (FeedId(4),)
    assert set(await adapter.heads(config)) == {FeedId(4)}


async def test_transmit__stored_by_somebody_else__not_paid_for(adapter: ChainAdapter, network: Any) -> None:
    config = await adapter.network_config()
    attested = network.attest(config, config.first_slot, 117_500_000)
    assert await adapter.transmit(attested, 0b01) is not None
    balance = await adapter.balance()
    assert await adapter.transmit(attested, 0b01) is None
    assert await adapter.balance() == balance


async def test_transmit__loses_the_race_after_simulation__landed_with_no_feeds(
    adapter: ChainAdapter, network: Any, proxy: Any, chain_settings: ChainSettings
) -> None:
    config = await adapter.network_config()
    attested = network.attest(config, config.first_slot, 117_500_000)
    data = "0x" + network.core.aggregator.encode_abi("transmit", [attested.blob(1)])[2:]

    def race(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_estimateGas" and network.ledger.head.transactions[-1:] != ():
            proxy.rewrite = lambda request, answer: answer
            owner = network.core.owner
            network.w3.eth.send_transaction({"from": owner, "to": network.core.aggregator.address, "data": data})
        return answer

    proxy.rewrite = race
    landed = await adapter.transmit(attested, 0b01)
    assert landed is not None and landed.feeds == () and landed.gas_used < 60_000


async def test_transmit__newest_block_older_than_the_report__waits_for_the_next(
    adapter: ChainAdapter, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oracle.chain.adapter.EARLY_WAIT_S", 0.01)
    config = await adapter.network_config()
    attested = network.attest(config, config.first_slot, 117_500_000)
    network.ledger.set_time(attested.report.observed_at - 1)
    waiting = asyncio.create_task(adapter.transmit(attested, 0b01))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    network.ledger.set_time(attested.report.observed_at)
    landed = await waiting
    assert landed is not None and landed.feeds == (0,)
    early = network.attest(config, config.first_slot + 1, 117_500_000)
    network.ledger.set_time(early.report.observed_at - 1)
    with pytest.raises(Reverted, match="report from the future"):
        await adapter.transmit(early, 0b01)


async def test_transmit__a_signer_revoked_its_key__lands_without_its_signature(
    adapter: ChainAdapter, network: Any, keys: tuple[HotKey, ...]
) -> None:
    config = await adapter.network_config()
    attested = network.attest(config, config.first_slot, 117_500_000)
    cold = to_checksum_address(dev_address(1))
    send(network.w3, network.core.staking.functions.revokeKey(), cold)
    revoked = await adapter.revoked(1)
    assert revoked == {config.index_of(keys[0].address)}
    with pytest.raises(Reverted, match="revoked signer"):
        await adapter.transmit(attested, 0b01)
    digest = attested.report.digest(config)
    rows = {index: key.sign(digest) for key in keys if (index := config.index_of(key.address)) not in revoked}
    landed = await adapter.transmit(replace(attested, signatures=tuple(sorted(rows.items()))), 0b01)
    assert landed is not None and landed.feeds == (0,)


async def test_transmit__too_few_signatures__reverted_with_the_contracts_words(
    adapter: ChainAdapter, network: Any
) -> None:
    config = await adapter.network_config()
    attested = network.attest(config, config.first_slot, 117_500_000)
    with pytest.raises(Reverted, match="aggregator: "):
        await adapter.transmit(replace(attested, signatures=attested.signatures[:1]), 0b01)


async def test_transmit__without_a_key__local_fault(chain_settings: ChainSettings, network: Any) -> None:
    reader = await ChainAdapter.connect(chain_settings)
    config = await reader.network_config()
    with pytest.raises(LocalFault, match="only reads"):
        await reader.transmit(network.attest(config, config.first_slot, 1), 1)
    await reader.close()


# Parity with the contracts


def components(entry: dict[str, Any]) -> str:
    if "components" in entry:
        inner = "(" + ",".join(components(part) for part in entry["components"]) + ")"
        return inner + entry["type"].removeprefix("tuple")
    return str(entry["type"])


def test_types__of_every_view_used__equal_the_compiled_abi() -> None:
    entries = artifact("Aggregator").abi + artifact("Configurator").abi
    abi = {entry["name"]: entry for entry in entries if "name" in entry}
    outputs = {
        "configOf": CONFIG_TYPE, "table": TABLE_TYPE, "feedsOf": "uint256[]", "feedSpecOf": SPEC_TYPE,
        "head": HEAD_TYPE, "configCount": "uint256", "revokedMask": "uint256", "reportDigest": "bytes32",
        "staking": "address", "configurator": "address", "vectorWord": "uint256", "transmit": "uint256",
    }  # fmt: skip
    assert {name: ",".join(components(part) for part in abi[name]["outputs"]) for name in outputs} == outputs
    assert [components(part) for part in abi["latest"]["outputs"]] == ["uint256", "uint256"]
    signature = "Transmitted(" + ",".join(components(part) for part in abi["Transmitted"]["inputs"]) + ")"
    assert selector(signature) == TRANSMITTED[:4]
